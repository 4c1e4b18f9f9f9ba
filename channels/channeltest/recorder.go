package channeltest

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"assent/approvals"
	"assent/channels"
)

// Mood is how a [Recorder] answers.
type Mood string

// Moods of a Recorder.
const (
	Accept Mood = "accept"
	Busy   Mood = "busy"
	Later  Mood = "later" // busy, and says for how long: [LaterBy]
	Reject Mood = "reject"
	Gone   Mood = "gone"
	Fault  Mood = "fault" // refuses our account or settings
	Capped Mood = "cap"   // is kept back by a cap of ours for [CapTime]
	Hang   Mood = "hang"  // takes the message and never answers
	Break  Mood = "break" // takes the message and breaks the answer off
)

// LaterBy is the Retry-After of a provider in the mood [Later].
const LaterBy = 7 * time.Second

// CapTime is how long the cap of the mood [Capped] lasts.
const CapTime = 2 * time.Minute

// Item is one message that a [Recorder] has.
type Item struct {
	To        approvals.Address
	Message   channels.Message
	Retracted bool
}

// Recorder is a provider in memory, with a channel to it. It keeps what it accepts as a provider would, and answers as it
// is told.
type Recorder struct {
	name string

	mu    sync.Mutex
	mood  Mood
	items []Item
	calls int
	news  chan struct{} // closed at the next change
}

// NewRecorder returns a channel of that name that accepts everything.
func NewRecorder(name string) *Recorder {
	return &Recorder{name: name, mood: Accept, news: make(chan struct{})}
}

// Name is the channel's name.
func (r *Recorder) Name() string { return r.name }

// Set changes the mood.
func (r *Recorder) Set(m Mood) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mood = m
	r.changed()
}

// Send keeps the message and answers by mood.
func (r *Recorder) Send(ctx context.Context, to approvals.Address, m channels.Message) (approvals.Delivery, error) {
	if err := ctx.Err(); err != nil {
		return approvals.Delivery{}, err
	}
	mood, n := r.take(to, m)
	switch mood {
	case Busy:
		return approvals.Delivery{}, fmt.Errorf("send: %w", channels.ErrBusy)
	case Reject:
		return approvals.Delivery{Code: "no"}, fmt.Errorf("send: %w", channels.ErrRejected)
	case Gone:
		return approvals.Delivery{}, fmt.Errorf("send: %w", channels.ErrGone)
	case Later:
		return approvals.Delivery{Code: "429"}, fmt.Errorf("send: %w", &channels.BusyError{After: LaterBy})
	case Fault:
		return approvals.Delivery{Code: "401"}, fmt.Errorf("send: %w", channels.ErrFault)
	case Capped:
		return approvals.Delivery{Code: "cap"}, fmt.Errorf("send: %w", &channels.CapError{After: CapTime})
	case Break:
		return approvals.Delivery{}, fmt.Errorf("send: %w", io.ErrUnexpectedEOF)
	case Hang:
		<-ctx.Done()
		return approvals.Delivery{}, ctx.Err()
	}
	return approvals.Delivery{Provider: fmt.Sprintf("m%d", n)}, nil
}

func (r *Recorder) take(to approvals.Address, m channels.Message) (Mood, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	if r.mood == Accept || r.mood == Hang || r.mood == Break {
		r.items = append(r.items, Item{To: to, Message: m})
	}
	r.changed()
	return r.mood, len(r.items)
}

// Retract marks every message of that tag at that address.
func (r *Recorder) Retract(ctx context.Context, to approvals.Address, m channels.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.mood {
	case Busy:
		return fmt.Errorf("retract: %w", channels.ErrBusy)
	case Reject:
		return fmt.Errorf("retract: %w", channels.ErrRejected)
	case Gone:
		return fmt.Errorf("retract: %w", channels.ErrGone)
	}
	for i := range r.items {
		if r.items[i].Message.Tag == m.Tag && r.items[i].To == to {
			r.items[i].Retracted = true
		}
	}
	r.changed()
	return nil
}

// Items returns what the provider has, oldest first.
func (r *Recorder) Items() []Item {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.items)
}

// Calls returns how often Send was called.
func (r *Recorder) Calls() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls
}

// Await returns the items as soon as they fulfil ok, or when ctx ends. ok must not keep what it is given.
func (r *Recorder) Await(ctx context.Context, ok func([]Item) bool) ([]Item, bool) {
	for {
		found, news := r.check(ok)
		if found {
			return r.Items(), true
		}
		select {
		case <-news:
		case <-ctx.Done():
			return r.Items(), false
		}
	}
}

func (r *Recorder) check(ok func([]Item) bool) (bool, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return ok(r.items), r.news
}

// changed wakes whoever awaits; the caller holds mu.
func (r *Recorder) changed() {
	close(r.news)
	r.news = make(chan struct{})
}
