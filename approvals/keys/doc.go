// Package keys holds the root key and what is derived from it: keyed hashes, sealed values, short codes.
//
// It owns the root key file, the labels that keep purposes apart, and the signer interface. It refuses HTTP, stores and
// every import beside the standard library. Signing keys themselves lie in the store, sealed by [Root.Seal].
package keys
