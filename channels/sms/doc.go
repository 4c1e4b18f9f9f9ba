// Package sms brings messages to phones over Twilio: SMS, and RCS where the Messaging Service has an RCS sender.
//
// It owns:
//
//   - the call to the provider and what each of its answers means (call.go, codes.go);
//   - the words of a text message, which never take more parts than allowed (text.go, parts.go);
//   - the guards against cost and annoyance: countries, caps per number, parts per day (guard.go, purse.go);
//   - what comes back: status callbacks and inbound messages, signed by the provider (callback.go).
//
// It keeps records of two kinds, "sms.number" under a keyed name of the number and "sms.day"; neither holds a number or a
// text.
//
// It refuses: deciding by reply, because a text message shows too little of what would be decided; any number that is not
// in the person's record; and telling the provider's words, a number or a text to logs and errors.
package sms
