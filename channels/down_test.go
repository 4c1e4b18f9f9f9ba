package channels_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"assent/approvals"
	"assent/approvals/stream"
	"assent/channels"
	"assent/channels/channeltest"
	"assent/store"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
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

// TestRefusedRetraction: the timeline does not say that a message was taken back that was not, and nobody tries again.
func TestRefusedRetraction(t *testing.T) {
	for _, mood := range []channeltest.Mood{channeltest.Reject, channeltest.Gone} {
		h := newHouse(t)
		r := h.ask(t, "ann")
		h.sweep(t)
		h.phone.Set(mood)
		h.deny(t, r)
		if err := h.Handle(t.Context(), approvals.Event{Kind: "denied", Request: r.ID}); err != nil {
			t.Fatal(err)
		}
		if got := h.timeline(t, r.ID); !slices.Equal(got, []string{"phone accepted"}) {
			t.Errorf("%s: timeline is %q, want nothing taken back", mood, got)
		}
		if n := h.due(t); n != 0 {
			t.Errorf("%s: %d steps are left, want none", mood, n)
		}
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

// squeeze leaves room for one job on the bus of a server at that address, and lets it forget quickly what it had.
func squeeze(t *testing.T, url string) {
	t.Helper()
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := js.Stream(t.Context(), "SEND")
	if err != nil {
		t.Fatal(err)
	}
	config := jobs.CachedInfo().Config
	config.MaxMsgs, config.Duplicates = 1, 100*time.Millisecond
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

// TestFullStream: a bus that is full drops its oldest jobs. Their steps are still in the store, and sweeps make the jobs
// again until everybody was told, once.
func TestFullStream(t *testing.T) {
	srv, err := server.NewServer(&server.Options{ServerName: "full", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	go srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(patience) {
		t.Fatal("server does not start")
	}
	h := newHouse(t)
	h.Bus, err = stream.Open(t.Context(), stream.Config{URL: srv.ClientURL(), Now: h.clock.Now, Log: h.Log})
	if err != nil {
		t.Fatal(err)
	}
	full := h.Bus.(*stream.Bus)
	squeeze(t, srv.ClientURL())
	const n = 20
	for range n {
		r := h.ask(t, "ann")
		if err := h.Handle(t.Context(), approvals.Event{Kind: "pending", Request: r.ID}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	worked := make(chan error, 1)
	go func() { worked <- full.Work(ctx, "phone", channels.InFlight, h.Work) }()
	for end := time.Now().Add(patience); h.phone.Calls() < n; {
		h.sweep(t)
		if time.Now().After(end) {
			t.Fatalf("%d of %d were told", h.phone.Calls(), n)
		}
	}
	h.sweep(t)
	cancel()
	if err := <-worked; err != nil {
		t.Error(err)
	}
	full.Close()
	if calls := h.phone.Calls(); calls != n {
		t.Errorf("%d messages for %d requests", calls, n)
	}
}

// TestRetryAfter: a provider that says when to come again is left alone until then.
func TestRetryAfter(t *testing.T) {
	h := newHouse(t)
	h.prefer(t, func(p *approvals.Person) { p.Addresses = p.Addresses[:1] })
	h.phone.Set(channeltest.Later)
	r := h.ask(t, "ann")
	h.sweep(t)
	h.phone.Set(channeltest.Accept)
	h.clock.Advance(channeltest.LaterBy - time.Millisecond)
	h.sweep(t)
	if n := h.phone.Calls(); n != 1 {
		t.Fatalf("%d calls before the provider wanted any", n)
	}
	h.clock.Advance(time.Millisecond)
	h.sweep(t)
	if got := h.timeline(t, r.ID); !slices.Equal(got, []string{"phone failed", "phone accepted"}) {
		t.Errorf("timeline is %q, want the second call to be taken", got)
	}
}
