package channels_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"assent/approvals"
	"assent/channels"
	"assent/channels/channeltest"
	"assent/store"
)

// TestProviderDownForTheWholeLife: the request fails before its end, with a reason, and nobody was sent anything.
func TestProviderDownForTheWholeLife(t *testing.T) {
	for _, mood := range []channeltest.Mood{channeltest.Busy, channeltest.Later, channeltest.Fault} {
		t.Run(string(mood), func(t *testing.T) {
			h := newHouse(t)
			h.prefer(t, func(p *approvals.Person) { p.Addresses = p.Addresses[:1] })
			h.phone.Set(mood)
			var asked []*approvals.Request
			for range 20 {
				asked = append(asked, h.ask(t, "ann"))
			}
			for h.clock.Now().Before(asked[0].ExpiresAt) {
				h.sweep(t)
				h.clock.Advance(time.Second)
			}
			for _, r := range asked {
				if state, why := h.state(t, r.ID); state != approvals.Failed || why != approvals.Unreachable {
					t.Errorf("request is %s because of %q, want failed, unreachable", state, why)
				}
			}
			// Without a breaker it would be five calls for each request.
			if calls := h.phone.Calls(); calls > 60 || len(h.phone.Items()) != 0 {
				t.Errorf("provider was called %d times and has %d messages", calls, len(h.phone.Items()))
			}
			if n := h.due(t); n != 0 {
				t.Errorf("%d steps are left, want none", n)
			}
		})
	}
}

// TestBreakerLetsTheNextGoAhead: what one provider has cost five requests costs the sixth nothing, and once it is back it
// is used again.
func TestBreakerLetsTheNextGoAhead(t *testing.T) {
	h := newHouse(t)
	h.phone.Set(channeltest.Busy)
	for range 5 {
		h.ask(t, "ann")
		h.sweep(t)
	}
	before := h.phone.Calls()
	r := h.ask(t, "ann")
	h.sweep(t)
	if got := h.timeline(t, r.ID); !slices.Equal(got, []string{"mail accepted"}) || h.phone.Calls() != before {
		t.Errorf("timeline is %q after %d calls of a provider that is down, want mail at once", got, h.phone.Calls()-before)
	}
	for _, p := range h.Providers() {
		if p.Down != (p.Channel == "phone") {
			t.Errorf("provider is %+v", p)
		}
	}
	h.phone.Set(channeltest.Accept)
	h.clock.Advance(10 * time.Second)
	h.sweep(t)
	for range 20 { // the call that finds out, then everybody
		h.clock.Advance(10 * time.Second)
		h.sweep(t)
	}
	r = h.ask(t, "ann")
	h.sweep(t)
	if got := h.timeline(t, r.ID); !slices.Equal(got, []string{"phone accepted"}) {
		t.Errorf("timeline is %q, want the provider to be used again", got)
	}
}

// TestRetractionWaitsForTheProvider: what cannot be taken back now is taken back when the provider is back.
func TestRetractionWaitsForTheProvider(t *testing.T) {
	h := newHouse(t)
	r := h.ask(t, "ann")
	h.sweep(t)
	h.phone.Set(channeltest.Busy)
	for range 5 {
		h.ask(t, "ann")
		h.sweep(t)
	}
	h.deny(t, r)
	if err := h.Handle(t.Context(), approvals.Event{Kind: "denied", Request: r.ID}); err != nil {
		t.Fatal(err)
	}
	h.phone.Set(channeltest.Accept)
	for range 10 {
		h.clock.Advance(10 * time.Second)
		h.sweep(t)
	}
	if got := h.timeline(t, r.ID); !slices.Contains(got, "phone retracted") {
		t.Errorf("timeline is %q, want the message taken back", got)
	}
}

// TestNothingAfterTheClose: whatever the moment, no message leaves that nobody could act on.
func TestNothingAfterTheClose(t *testing.T) {
	for _, early := range []time.Duration{-time.Millisecond, 0, time.Millisecond, time.Second} {
		h := newHouse(t)
		r := h.lived(t, 10*time.Second)
		h.clock.Advance(r.DecideBy.Sub(h.clock.Now()) - early)
		h.sweep(t)
		want := 0
		if early > 0 {
			want = 1
		}
		if n := h.phone.Calls(); n != want {
			t.Errorf("%s before the close: %d messages, want %d", early, n, want)
		}
	}
}

// slowStore takes its time for each change, on the house's clock.
type slowStore struct {
	store.Store
	clock *clock
	takes time.Duration
}

func (s *slowStore) Update(ctx context.Context, id approvals.ID,
	change func(*approvals.Request) error) (*approvals.Request, error) {
	r, err := s.Store.Update(ctx, id, change)
	s.clock.Advance(s.takes)
	return r, err
}

// TestClaimCommittedAfterTheClose: the claim was made in time and its commit took until after the close.
func TestClaimCommittedAfterTheClose(t *testing.T) {
	h := newHouse(t)
	r := h.lived(t, 10*time.Second)
	h.Store = &slowStore{h.Store, h.clock, 2 * time.Second}
	h.build()
	h.clock.Advance(r.DecideBy.Sub(h.clock.Now()) - time.Second)
	h.sweep(t)
	if n := h.phone.Calls(); n != 0 {
		t.Errorf("%d messages after the close", n)
	}
}

// fullBus is a bus whose streams are full: it takes nothing.
type fullBus struct{ refused atomic.Int32 }

var errFull = errors.New("maximum bytes exceeded")

func (b *fullBus) Send(context.Context, string, string, string, time.Time, []byte) error {
	b.refused.Add(1)
	return errFull
}

// TestFullStream: the bus takes no job. An event is given back to it, and the sweep sends everything all the same, once.
func TestFullStream(t *testing.T) {
	h := newHouse(t)
	full := &fullBus{}
	h.Bus = full
	var asked []*approvals.Request
	for range 10 {
		r := h.ask(t, "ann")
		asked = append(asked, r)
		if err := h.Handle(t.Context(), approvals.Event{Kind: "pending", Request: r.ID}); !errors.Is(err, errFull) {
			t.Errorf("Handle: %v, want the event to be given back", err)
		}
	}
	var sweeps sync.WaitGroup
	for range 3 {
		sweeps.Go(func() { h.Sweep(t.Context()) })
	}
	sweeps.Wait()
	if n := h.phone.Calls(); n != len(asked) || full.refused.Load() == 0 {
		t.Errorf("%d messages for %d requests, %d jobs refused", n, len(asked), full.refused.Load())
	}
	h.clock.Advance(channels.DefaultWait)
	h.sweep(t)
	if n := h.mail.Calls(); n != len(asked) {
		t.Errorf("%d messages by the second channel, want %d", n, len(asked))
	}
}
