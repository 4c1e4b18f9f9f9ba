// Package channels tells people that something waits for them, and tells them again when it no longer does.
//
// It owns:
//
//   - the port to a provider ([Channel], with [Retracter] and [Reporter] for those that can do more) and what its errors
//     mean ([ErrGone], [ErrRejected], [ErrBusy], [ErrFault], anything else: unknown);
//   - the door for what providers report later ([Dispatcher.Receipt]);
//   - the answer to why nothing happens ([Dispatcher.Outlook]), and one more message when an operator asks for it
//     ([Dispatcher.Resend]);
//   - the ladder as data ([Ladder], [Policy]) and the planner ([Plan]): a pure function from what is known to the one next
//     step and its reason, which goes into the request's timeline;
//   - the [Dispatcher], which takes steps, one claim at a time: by workers of this process while there are free ones, and
//     over the bus by whoever is;
//   - what stands in front of each provider ([Limits]): calls side by side, calls a second, and a circuit breaker;
//   - the words of the messages (message.go).
//
// What stops the second message is the claim: a record of the request, changed by compare-and-set in one transaction, on
// condition that the request still waits. What makes every step happen is the due step in the store: one of
// approvals.StepDeliver lies there from the request's creation until the request has ended and what was sent has been
// taken back, or until nothing more is to be done. Events and jobs that come over the bus only make it sooner.
//
// The inbox is no channel. Every pending request lies in its person's inbox by being pending, without a message, so the
// inbox never counts as accepted and never fails: a person without an outside address simply costs no message, and the
// request waits.
//
// It refuses: SDKs and HTTP (each provider is a package of its own), and deciding anything about a request beside its
// failure when nobody could be reached.
package channels
