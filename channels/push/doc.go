// Package push brings messages to apps on phones and tablets over Firebase Cloud Messaging, which hands those for Apple's
// devices to APNs.
//
// It owns:
//
//   - what is sent: an alert in the person's language and an opaque id, for both kinds of devices (message.go);
//   - the one call of a message, and the account that makes it (push.go, call.go, account.go);
//   - what each answer of the provider means (codes.go);
//   - the devices: what is kept of them, and how one is added (device.go, enrol.go).
//
// It keeps records of two kinds: "push.device" under a keyed name of the device's registration token, and "push.tests",
// by which test messages are counted. A token is sealed: whoever has it and our account fills a screen. A person's
// address is only a name for it.
//
// It refuses: details of a request in a message, because lock screens and providers read along; trying again by itself;
// a device that has not shown that a test came through; one-time codes, because a signed-in browser can add a device,
// and whoever took one over for a while would get codes for ever; and telling a token, a text or the provider's words to logs and
// errors.
package push
