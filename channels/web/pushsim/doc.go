// Package pushsim is a push service with browsers behind it, for tests and for dev mode.
//
// It does what RFC 8030 asks of a push service and is as strict as the strictest of them: it checks the sender's token
// (RFC 8292) against the key that the browser subscribed to, every header, and the size, and opens the message with the
// browser's key (RFC 8291), by code of its own. It refuses to know the sender: nothing of ours is imported.
package pushsim
