package channels_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"assent/approvals"
	"assent/channels"
	"assent/channels/channeltest"
	"assent/store"
)

// TestRepeatedEvents: every event of a whole life comes three times, from several goroutines.
func TestRepeatedEvents(t *testing.T) {
	h := newHouse(t)
	r := h.ask(t, "ann")
	h.everything(t, r.ID)
	h.deny(t, r)
	h.everything(t, r.ID)
	if n := h.phone.Calls(); n != 1 {
		t.Errorf("Send was called %d times, want once", n)
	}
	if want := []string{"phone accepted", "phone retracted"}; !slices.Equal(h.timeline(t, r.ID), want) {
		t.Errorf("timeline is %q, want %q", h.timeline(t, r.ID), want)
	}
	if n := h.due(t); n != 0 {
		t.Errorf("%d steps are left, want none", n)
	}
}

func (h *house) everything(t *testing.T, id approvals.ID) {
	t.Helper()
	events, err := h.Events(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	results := make(chan error)
	for range 3 {
		for _, e := range events {
			go func() { results <- h.Handle(t.Context(), e) }()
		}
	}
	for range 3 * len(events) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// TestTwoNodes: two processes on one store work at the same requests. The second one's memory never hears of a change: its
// hub is alone, and what it has read it keeps for ever. Every person gets one message, and nothing stays on a screen.
func TestTwoNodes(t *testing.T) {
	one := newHouse(t)
	two := one.beside()
	const n = 60
	requests := make([]*approvals.Request, n)
	for i := range requests {
		requests[i] = one.ask(t, "ann")
		if _, err := two.desk.Request(t.Context(), requests[i].ID); err != nil { // now it is in memory
			t.Fatal(err)
		}
	}
	both(t, func(h *house) { h.sweep(t) }, one, two)
	if got := one.phone.Calls(); got != n {
		t.Errorf("Send was called %d times, want %d", got, n)
	}
	for _, r := range requests {
		one.deny(t, r)
	}
	one.clock.Advance(channels.DefaultWait)
	both(t, func(h *house) { h.sweep(t) }, one, two)
	if got := one.phone.Calls() + one.mail.Calls(); got != n {
		t.Errorf("Send was called %d times, want %d: nothing after the decision", got, n)
	}
	if !retracted(one.phone.Items()) {
		t.Error("messages are left on a screen")
	}
	for _, r := range requests {
		if want := []string{"phone accepted", "phone retracted"}; !slices.Equal(one.timeline(t, r.ID), want) {
			t.Errorf("timeline is %q, want %q", one.timeline(t, r.ID), want)
		}
	}
	if n := one.due(t); n != 0 {
		t.Errorf("%d steps are left, want none", n)
	}
}

func both(t *testing.T, do func(*house), houses ...*house) {
	t.Helper()
	var all sync.WaitGroup
	for _, h := range houses {
		all.Go(func() { do(h) })
	}
	all.Wait()
}

// TestEventOfAnotherNode: the decision was made elsewhere, and its event arrives before any signal.
func TestEventOfAnotherNode(t *testing.T) {
	one := newHouse(t)
	two := one.beside()
	r := one.ask(t, "ann")
	two.sweep(t)
	one.deny(t, r)
	events, err := one.Events(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := two.Handle(t.Context(), events[len(events)-1]); err != nil {
		t.Fatal(err)
	}
	if !retracted(one.phone.Items()) {
		t.Error("message is left on the screen")
	}
}

// sluggish is a store whose first commit of a request takes long: the next thing happens before its caller hears of it.
type sluggish struct {
	store.Store
	once      sync.Once
	meanwhile func()
}

func (s *sluggish) Update(ctx context.Context, id approvals.ID,
	change func(*approvals.Request) error) (*approvals.Request, error) {
	r, err := s.Store.Update(ctx, id, change)
	s.once.Do(s.meanwhile)
	return r, err
}

// TestSlowCommit: a claim is no licence to send for ever. Whoever hears of its own claim too late leaves the message to
// the next try, and if another process has settled the claim, to that process.
func TestSlowCommit(t *testing.T) {
	tests := []struct {
		name  string
		takes time.Duration
		want  []string
	}{
		{"longer than the call may take", channels.SendTimeout, []string{"phone failed", "phone accepted"}},
		{"longer than the lease", channels.SendTimeout + 10*time.Second,
			[]string{"phone unknown", "phone accepted again", "phone failed"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			one := newHouse(t)
			two := one.beside()
			r := one.ask(t, "ann")
			one.Store = &sluggish{Store: one.Store, meanwhile: func() {
				one.clock.Advance(tt.takes)
				two.sweep(t)
			}}
			one.build()
			one.sweep(t)
			one.clock.Advance(2 * time.Second)
			one.sweep(t)
			if n := one.phone.Calls(); n != 1 {
				t.Errorf("Send was called %d times, want once", n)
			}
			if got := one.timeline(t, r.ID); !slices.Equal(got, tt.want) {
				t.Errorf("timeline is %q, want %q", got, tt.want)
			}
		})
	}
}

// mute is a channel whose provider never says what became of a message.
type mute struct{ *channeltest.Recorder }

func (mute) Send(context.Context, approvals.Address, channels.Message) (approvals.Delivery, error) {
	return approvals.Delivery{}, errors.New("no answer")
}

// TestOpenedAtAnotherNode: the page was opened elsewhere, and no signal says so, when it is time to give the request up.
func TestOpenedAtAnotherNode(t *testing.T) {
	for _, opened := range []bool{false, true} {
		one := newHouse(t)
		two := one.beside()
		two.Channels = map[string]channels.Channel{"phone": mute{one.phone}}
		r := one.ask(t, "ann")
		two.sweep(t)
		want := approvals.Failed
		if opened {
			want = approvals.Pending
			if err := one.desk.Opened(t.Context(), r.ID, "ann", time.Time{}); err != nil {
				t.Fatal(err)
			}
		}
		one.clock.Advance(channels.DefaultWait)
		two.sweep(t)
		if got, err := one.Store.Request(t.Context(), r.ID); err != nil || got.State != want {
			t.Errorf("opened %t: request is %+v, %v; want it %s", opened, got, err, want)
		}
	}
}
