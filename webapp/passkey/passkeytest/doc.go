// Package passkeytest is an authenticator in software (W3C Web Authentication Level 3, section 6), for tests: it makes
// discoverable ES256 credentials and signs with them, honestly or not as a test wants it. It knows nothing of the code
// that checks what it makes.
package passkeytest
