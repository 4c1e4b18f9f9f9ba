// Package sms brings messages to phones over Twilio: SMS, and RCS where the Messaging Service has an RCS sender.
//
// It owns:
//
//   - the call to the provider and what each of its answers means (call.go, codes.go);
//   - the words of a text message, which never take more parts than allowed (text.go, parts.go);
//   - the guards against cost and annoyance: countries, caps per number, parts per day (guard.go, purse.go);
//   - what comes back: status callbacks and inbound messages, signed by the provider (callback.go);
//   - decisions by reply, off unless an operator wants them (reply.go): a request may be approved so only if it takes no more
//     than a link and the message says all of its disclosure (replytext.go), because a text message shows nothing else.
//
// It keeps records of three kinds, "sms.number" and "sms.offer" under a keyed name of the number and "sms.day"; none holds a
// number, a text or a code.
//
// It refuses: words such as YES and STOP as decisions, which belong to carriers; any number that is not
// in the person's record; and telling the provider's words, a number or a text to logs and errors.
package sms
