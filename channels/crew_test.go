package channels_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"assent/approvals"
	"assent/approvals/stream"
	"assent/channels"
	"assent/channels/channeltest"
)

// jobs is a bus that shows what is put on it: the zero time is now.
type jobs chan time.Time

func (j jobs) Send(_ context.Context, _, _, _ string, at time.Time, _ []byte) error {
	j <- at
	return nil
}

// gate is a recorder whose calls wait until it is opened.
type gate struct {
	*channeltest.Recorder
	came chan struct{}
	open chan struct{}
}

func (g *gate) Send(ctx context.Context, to approvals.Address, m channels.Message) (approvals.Delivery, error) {
	g.came <- struct{}{}
	<-g.open
	return g.Recorder.Send(ctx, to, m)
}

// run starts the loops of the dispatcher and returns what stops them and waits.
func (h *house) run(t testing.TB) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx, h.hub) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// event is what the bus says of a new request.
func (h *house) event(t testing.TB, r *approvals.Request) {
	t.Helper()
	if err := h.Handle(t.Context(), approvals.Event{Kind: "pending", Request: r.ID}); err != nil {
		t.Fatal(err)
	}
}

// TestCrew: a message goes by hand as long as a worker of its channel is free; the next one lies on the bus. Whoever stops
// the dispatcher waits for what has begun, and from then on everything goes by the bus.
func TestCrew(t *testing.T) {
	h := newHouse(t)
	phone := &gate{h.phone, make(chan struct{}), make(chan struct{})}
	h.Channels["phone"] = phone
	h.Limits = map[string]channels.Limits{"phone": {InFlight: 2}}
	bus := make(jobs, 10)
	h.Bus = bus
	h.event(t, h.ask(t, "ann")) // nobody works yet
	if n := len(bus); n != 1 {
		t.Fatalf("%d jobs before anybody works, want 1", n)
	}
	stop := h.run(t)
	<-phone.came // found by the first sweep
	second := h.ask(t, "ann")
	h.event(t, second)
	<-phone.came
	h.event(t, second) // a repeat finds the claim
	h.event(t, h.ask(t, "ann"))
	if n := len(bus); n != 2 {
		t.Errorf("%d jobs with both workers busy, want 2", n)
	}
	go close(phone.open)
	stop()
	if n := h.phone.Calls(); n != 2 {
		t.Errorf("%d messages after the stop, want the 2 that had begun", n)
	}
	h.event(t, h.ask(t, "ann"))
	if n := len(bus); n != 3 {
		t.Errorf("%d jobs after the stop, want 3", n)
	}
}

// TestCrewFails: what a worker cannot do is left to the bus, which tries again.
func TestCrewFails(t *testing.T) {
	h := newHouse(t)
	bus := make(jobs, 10)
	h.Bus = bus
	h.Desk = approvals.NewDesk(approvals.DeskParts{Store: refusing{h.Store}, Records: h.Store, Directory: h.directory, Hub: h.hub,
		Hash: func(string) []byte { return nil }, Now: h.clock.Now, Log: h.Log})
	h.run(t)
	h.event(t, h.ask(t, "ann"))
	select {
	case <-bus:
	case <-time.After(patience):
		t.Fatal("no job for what could not be claimed")
	}
	if n := h.phone.Calls(); n != 0 {
		t.Errorf("%d messages without a claim", n)
	}
}

var errAway = errors.New("store is away")

// refusing is a store that reads but does not write.
type refusing struct{ approvals.Store }

func (refusing) Update(context.Context, approvals.ID, func(*approvals.Request) error) (*approvals.Request, error) {
	return nil, errAway
}

// TestSchedule: a step lies on the bus only once no sweep comes by before it. Until then most people have decided.
func TestSchedule(t *testing.T) {
	h := newHouse(t)
	h.ask(t, "ann")
	h.sweep(t)
	await(t, h.phone, have(1))
	due := h.clock.Now().Add(channels.DefaultWait)
	bus := make(jobs, 10)
	h.Bus = bus
	for _, wait := range []time.Duration{0, 14 * time.Second} {
		h.clock.Advance(wait)
		if n := h.sweep(t); n != 0 || len(bus) != 0 {
			t.Fatalf("%s before the step: %d steps taken, %d jobs, want none", due.Sub(h.clock.Now()), n, len(bus))
		}
	}
	h.clock.Advance(time.Second)
	if n := h.sweep(t); n != 0 || len(bus) != 1 {
		t.Fatalf("45 s before the step: %d steps taken, %d jobs, want a schedule", n, len(bus))
	}
	if at := <-bus; !at.Equal(due) {
		t.Errorf("scheduled for %s, want %s", at, due)
	}
	h.clock.Advance(45 * time.Second)
	if n := h.sweep(t); n != 1 || len(bus) != 1 {
		t.Errorf("at its time: %d steps taken, %d jobs, want one each", n, len(bus))
	}
}

// TestCrewAndBus: a hundred requests at once, two workers, and a bus for the rest: everybody is told once.
func TestCrewAndBus(t *testing.T) {
	h := newHouse(t)
	h.Limits = map[string]channels.Limits{"phone": {InFlight: 2}}
	h.connect(t, stream.Config{Dir: filepath.Join(t.TempDir(), "jetstream")})
	h.run(t)
	const n = 100
	var all sync.WaitGroup
	for range n {
		all.Go(func() { h.ask(t, "ann") })
	}
	all.Wait()
	await(t, h.phone, have(n))
	h.sweep(t)
	if calls := h.phone.Calls(); calls != n {
		t.Errorf("Send was called %d times, want %d", calls, n)
	}
}

// between is a store that lets something happen right before an update, which is not made if that is an error.
type between struct {
	approvals.Store
	before func(n int) error // the n-th one
	n      *int
}

func (b between) Update(ctx context.Context, id approvals.ID, change func(*approvals.Request) error) (*approvals.Request, error) {
	*b.n++
	if err := b.before(*b.n); err != nil {
		return nil, err
	}
	return b.Store.Update(ctx, id, change)
}

// between gives the house a desk on such a store and returns how many updates there were.
func (h *house) between(before func(n int) error) *int {
	n := new(int)
	h.desk = approvals.NewDesk(approvals.DeskParts{Store: between{h.Store, before, n}, Records: h.Store, Directory: h.directory,
		Hub: h.hub, Hash: func(string) []byte { return nil }, Now: h.clock.Now, Log: h.Log})
	h.Desk = h.desk
	return n
}

// TestChangedWhileSending: something happens to the request when the provider has answered, and a moment before that is kept.
// Its event finds a claim that is open; so whoever keeps the answer has to look once more, and does what is wanted.
func TestChangedWhileSending(t *testing.T) {
	tests := []struct {
		name, event string
		change      func(h *house, r *approvals.Request)
		want        func([]channeltest.Item) bool
	}{
		{"decided: the message is taken back", "denied", func(h *house, r *approvals.Request) { h.deny(t, r) }, retracted},
		{"asked for once more: another one is sent", approvals.KindResend, func(h *house, r *approvals.Request) {
			h.clock.Advance(time.Second)
			if _, err := h.desk.Resend(t.Context(), r.ID, clerk); err != nil {
				t.Error(err)
			}
		}, have(2)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			r := h.ask(t, "ann")
			updates := h.between(func(n int) error {
				if n != 2 { // the first one was the claim
					return nil
				}
				tt.change(h, r)
				return h.Handle(t.Context(), approvals.Event{Kind: tt.event, Request: r.ID})
			})
			h.event(t, r)
			if items := h.phone.Items(); *updates < 3 || !tt.want(items) {
				t.Errorf("%d updates, %d messages", *updates, len(items))
			}
		})
	}
}

// TestOutcomeNotKept: the store takes neither the answer nor, once the lease is over, that it is unknown. What was not kept
// counts for nothing, in memory neither: the next sweep tries again.
func TestOutcomeNotKept(t *testing.T) {
	h := newHouse(t)
	r := h.ask(t, "ann")
	h.between(func(n int) error {
		if n == 2 || n == 3 {
			return errAway
		}
		return nil
	})
	for range 3 {
		_, _ = h.Sweep(t.Context()) // steps that fail are logged
		h.clock.Advance(channels.SendTimeout + time.Minute)
	}
	r, err := h.Store.Request(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Deliveries) == 0 || r.Deliveries[0].Status != approvals.StatusUnknown {
		t.Errorf("reports %+v, want one that the first message is unknown", r.Deliveries)
	}
}
