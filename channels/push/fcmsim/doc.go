// Package fcmsim is a provider of push messages that behaves: an HTTP server with the part of the FCM v1 API that we use,
// its errors, and the token endpoint of its service accounts. Tests and dev mode run it; nothing ever leaves it for a
// device.
//
// It owns its own form of the API, written from the vendor's reference and not with the vendor's SDK, so that a mistake in
// one is not repeated in the other. How it answers goes by the registration token ([Answers]), or is set by
// [Server.Behave] and [Server.BehaveTo], or over HTTP under /control/.
//
// It refuses calls without an access token that it has given out, and messages that the vendor would refuse.
package fcmsim
