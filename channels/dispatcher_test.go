package channels_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
	"assent/approvals/stream"
	"assent/channels"
	"assent/channels/channeltest"
	"assent/store"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for something that must happen; it only passes when something is broken.
const patience = 20 * time.Second

const pagesURL = "https://approve.example.com"

// clock is the time of a house; it stands still until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// house is a store, a desk and a dispatcher with two channels, without a bus until one is connected.
type house struct {
	store.Store
	clock     *clock
	hub       *approvals.Hub
	desk      *approvals.Desk
	directory *approvals.Directory
	root      *keys.Root
	phone     *channeltest.Recorder
	mail      *channeltest.Recorder
	*channels.Dispatcher
}

func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{clock: &clock{at: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}, hub: approvals.NewHub(),
		root: channeltest.Root(t), phone: channeltest.NewRecorder("phone"), mail: channeltest.NewRecorder("mail")}
	var err error
	dsn := "bolt:" + filepath.Join(t.TempDir(), "assent.db")
	if h.Store, err = store.Open(context.Background(), dsn, h.clock.Now); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Store.Close() })
	h.build()
	ann := &approvals.Person{ID: "ann", Name: "Ann", Locale: "en", Zone: "Europe/Berlin", Addresses: []approvals.Address{
		{Channel: "phone", Value: "ann-phone"}, {Channel: "mail", Value: "ann@example.com"}}}
	ben := &approvals.Person{ID: "ben", Name: "Ben", Locale: "ko"}
	for _, p := range []*approvals.Person{ann, ben} {
		if err := h.directory.SavePerson(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.directory.SaveAgent(t.Context(), &approvals.Agent{ID: "bot", Name: "Travel Bot"}); err != nil {
		t.Fatal(err)
	}
	return h
}

// beside is a second process on the store of h, with a hub of its own that hears of nothing.
func (h *house) beside() *house {
	other := &house{Store: h.Store, clock: h.clock, hub: approvals.NewHub(), root: h.root, phone: h.phone, mail: h.mail}
	other.build()
	return other
}

// build makes everything that lives in memory, as a process does when it starts.
func (h *house) build() {
	log := slog.New(slog.DiscardHandler)
	h.directory = approvals.NewDirectory(h.Store, h.hub, 0, h.clock.Now)
	h.desk = approvals.NewDesk(approvals.DeskParts{Store: h.Store, Records: h.Store, Directory: h.directory, Hub: h.hub,
		Hash: func(s string) []byte { return h.root.MAC(keys.LabelHandle, s) }, Now: h.clock.Now, Log: log})
	h.Dispatcher = &channels.Dispatcher{Desk: h.desk, Directory: h.directory, Records: h.Store, Root: h.root,
		PagesURL: pagesURL, Channels: map[string]channels.Channel{"phone": h.phone, "mail": h.mail},
		Addresses: func(p *approvals.Person) []approvals.Address { return p.Addresses }, Now: h.clock.Now, Log: log}
}

// connect starts relay, consumer and workers on a bus, and returns what stops them all.
func (h *house) connect(t testing.TB, c stream.Config) (stop func()) {
	t.Helper()
	c.Now, c.Log = h.clock.Now, slog.New(slog.DiscardHandler)
	bus, err := stream.Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	h.Bus = bus
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, run := range []func() error{
		func() error { return bus.Relay(ctx, h.Store, h.hub) },
		func() error { return bus.Consume(ctx, "dispatcher", h.Handle, channels.Kinds()...) },
		func() error { return bus.Work(ctx, "phone", channels.InFlight, h.Work) },
		func() error { return bus.Work(ctx, "mail", channels.InFlight, h.Work) },
	} {
		all.Go(func() {
			if err := run(); err != nil {
				t.Errorf("loop: %v", err)
			}
		})
	}
	stop = sync.OnceFunc(func() {
		cancel()
		all.Wait()
		bus.Close()
	})
	t.Cleanup(stop)
	return stop
}

// ask opens a request for a person.
func (h *house) ask(t testing.TB, who approvals.PersonID) *approvals.Request {
	t.Helper()
	p, err := h.directory.Person(t.Context(), who)
	if err != nil {
		t.Fatal(err)
	}
	a, err := h.directory.Agent(t.Context(), "bot")
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := h.desk.Open(t.Context(), approvals.Ask{Agent: a, Subject: p, Scope: []string{"openid"}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sweep runs one sweep and returns how many steps it took.
func (h *house) sweep(t testing.TB) int {
	t.Helper()
	n, err := h.Sweep(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// due counts the deliver steps in the store, whenever they are due.
func (h *house) due(t testing.TB) int {
	t.Helper()
	recs, err := h.Scan(t.Context(), "due."+approvals.StepDeliver, "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	return len(recs)
}

// timeline lists the reports of a request as "channel status".
func (h *house) timeline(t testing.TB, id approvals.ID) (out []string) {
	t.Helper()
	r, err := h.Store.Request(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range r.Deliveries {
		line := d.Channel + " " + string(d.Status)
		if d.Duplicate {
			line += " again"
		}
		out = append(out, line)
	}
	return out
}

// deny decides no.
func (h *house) deny(t testing.TB, r *approvals.Request) {
	t.Helper()
	if _, err := h.desk.Deny(t.Context(), r.ID, approvals.Answer{By: r.Subject, Level: approvals.LevelSession}); err != nil {
		t.Fatal(err)
	}
}

// await waits until the channel has what ok wants.
func await(t testing.TB, c *channeltest.Recorder, ok func([]channeltest.Item) bool) []channeltest.Item {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	items, found := c.Await(ctx, ok)
	if !found {
		t.Fatalf("%s has %d messages and not what was expected", c.Name(), len(items))
	}
	return items
}

func have(n int) func([]channeltest.Item) bool {
	return func(items []channeltest.Item) bool { return len(items) >= n }
}

func retracted(items []channeltest.Item) bool {
	for _, i := range items {
		if !i.Retracted {
			return false
		}
	}
	return len(items) > 0
}

func TestMessageOnceWithLinkThenTakenBack(t *testing.T) {
	h := newHouse(t)
	h.connect(t, stream.Config{Dir: filepath.Join(t.TempDir(), "jetstream")})
	r := h.ask(t, "ann")
	m := await(t, h.phone, have(1))[0].Message
	handle, found := strings.CutPrefix(m.URL, pagesURL+"/r/")
	if !found || len(handle) != 12 {
		t.Fatalf("URL is %q, want pages URL, /r/ and a handle of 12 characters", m.URL)
	}
	link, err := approvals.FindLink(t.Context(), h.Store, h.root.Name(keys.LabelLookup, handle))
	if err != nil {
		t.Fatal(err)
	}
	want := approvals.Link{V: 1, Request: r.ID, Person: "ann", Channel: "phone", Attempt: 1}
	if link != want {
		t.Errorf("link is %+v, want %+v", link, want)
	}
	h.deny(t, r)
	await(t, h.phone, retracted)
	if n := h.phone.Calls(); n != 1 {
		t.Errorf("Send was called %d times, want once", n)
	}
}
