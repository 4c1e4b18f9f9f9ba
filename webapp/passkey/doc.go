// Package passkey performs WebAuthn ceremonies (W3C Web Authentication Level 3) and keeps people's passkeys.
//
//	adding a passkey                         add.go
//	signing in, confirming one decision      assert.go
//	challenges: derived, five minutes, once  challenge.go
//	what proves a decision for ever          evidence.go
//	what is stored of a person's passkeys    record.go
//
// Every ceremony asks for user verification and refuses an answer without it. A challenge is derived from the root key,
// the browser it was given to and its purpose, so that no store holds one and none is good anywhere else. The challenge
// of a decision is the SHA-256 of what is decided: an assertion over it proves which words a person agreed to.
//
// The package owns the record kinds "passkeys" (all of one person), "passkey" (whose a credential is) and "ceremony"
// (challenges that are spent). It refuses to know pages, sessions and requests, attestation of any maker, and addresses
// without a name: a relying party id is a domain (section 5.1.2), never an IP address.
package passkey
