package channels

import (
	"context"
	"time"

	"assent/approvals"
)

// SendTimeout is how long a provider may take to answer; after it the outcome is unknown.
const SendTimeout = 10 * time.Second

// InFlight is how many calls of one provider may run side by side.
const InFlight = 256

// leaseMargin is how much longer a claim lasts than its call, for the write of the outcome.
const leaseMargin = 10 * time.Second

// Channel is one way to a person. The dispatcher calls it from many goroutines.
type Channel interface {
	// Name matches [approvals.Address.Channel]: "sms", "push", "web".
	Name() string
	// Send hands the message to the provider, within ctx, and calls it once: whether to try again is for the dispatcher to
	// say. nil means that the provider has it, not that anyone saw it. The Delivery says how the provider names it
	// (Provider) and, beside an error too, why (Code: the provider's code from its closed set); its other members are
	// filled in by the dispatcher. Errors wrap [ErrGone], [ErrRejected], [ErrBusy] or [ErrFault]; any other one means
	// "unknown". Errors never carry the address, the text, or what a provider wrote.
	Send(ctx context.Context, to approvals.Address, m Message) (approvals.Delivery, error)
}

// Counter is a channel that counts in the store what it sends. Its count commits with the claim of the message: it costs no
// commit of its own, and what is counted is what was claimed.
type Counter interface {
	// Count says what counts a message to that address as of now, without making the writes. Until [Count.Done] is called
	// other messages to the same address may wait.
	Count(ctx context.Context, to approvals.Address, m Message) Count
}

// Count is how a message counts that is about to be claimed.
type Count struct {
	Writes  []approvals.Write
	At      time.Time            // becomes [Message.Counted]
	Done    func(committed bool) // called once the writes have committed, or did not; may be nil
	Back    func()               // takes the count back once it has committed: the message was not handed over; may be nil
	Refused error                // what Send would answer without calling the provider; then nothing is counted
	Code    string               // of Refused
}

func (c Count) done(committed bool) {
	if c.Done != nil {
		c.Done(committed)
	}
}

func (c Count) back() {
	if c.Back != nil {
		c.Back()
	}
}

// Retracter is a channel that can take a message back or replace it by "closed" on the person's device.
type Retracter interface {
	// Retract is called with a message of [KindClosed] whose Tag is that of the messages it closes, and whose Closes names
	// them as the provider does. It bears repeats and messages that are no longer there. Errors mean what they mean for
	// Send.
	Retract(ctx context.Context, to approvals.Address, m Message) error
}

// Answerable is a channel by which people can answer what it brings.
type Answerable interface {
	// Answers reports whether answers count. Messages then say what may be answered: see [Message.Answer].
	Answers() bool
}

// Reporter is a channel whose provider reports later what became of a message. Whoever takes such a callback hands it to
// [Dispatcher.Receipt].
type Reporter interface {
	// ReportsLater says whether it is worth waiting for a report when the outcome of a call is unknown.
	ReportsLater() bool
}
