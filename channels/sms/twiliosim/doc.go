// Package twiliosim is a provider of text messages that behaves: an HTTP server with the part of Twilio's Messages API
// that we use, its errors, its status callbacks and its inbound messages, both signed. Tests and dev mode run it; nothing
// ever leaves it for a phone.
//
// It owns its own signatures and its own form of the API, written from the vendor's pages and not with the vendor's SDK,
// so that a mistake in one is not repeated in the other. How it behaves is set by [Server.Behave] and [Server.BehaveTo],
// or over HTTP under /control/.
//
// It refuses to guess: everything it does, it does because it was told, in the order it was told.
package twiliosim
