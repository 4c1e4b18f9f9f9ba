// Package web brings messages to browsers by Web Push.
//
//	encrypt.go       a message for one browser alone     RFC 8188, RFC 8291
//	vapid.go         who sends: our key, our tokens      RFC 8292
//	web.go           the channel: one POST a message     RFC 8030
//	payload.go       what the browser shows              Push API, declarative web push
//	subscription.go  what a browser hands in, checked
//	keep.go          what is kept of it
//	enrol.go         how a browser is added: only a test that comes back makes it an address
//	tied.go          on which sign-in a browser is: who signs out there ends it
//
// The package owns the record kinds "web.key" and "web.subscription". Where a browser listens is a secret: whoever
// knows it can fill a screen. So endpoint and keys are sealed, a person's address is only a name for them, and neither
// is in an error or a log.
//
// It refuses to send to hosts that are not push services by its list, to follow redirects, to send what is over, and to
// bring one-time codes: a code that appears in the browser that asks for it proves nothing.
package web
