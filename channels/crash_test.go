package channels_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/approvals"
	"assent/approvals/stream"
	"assent/channels"
	"assent/channels/channeltest"
	"assent/store"
)

// mortal is a store whose process dies in the middle: from a chosen moment on no write succeeds.
type mortal struct {
	store.Store
	dead func() bool
}

var errDead = errors.New("process is dead")

func (m *mortal) Apply(ctx context.Context, w ...approvals.Write) error {
	if m.dead() {
		return errDead
	}
	return m.Store.Apply(ctx, w...)
}

func (m *mortal) Update(ctx context.Context, id approvals.ID,
	change func(*approvals.Request) error) (*approvals.Request, error) {
	if m.dead() {
		return nil, errDead
	}
	return m.Store.Update(ctx, id, change)
}

// TestCrashBetweenClaimAndOutcome: the process dies when the provider already has the message. The claim keeps the next
// process from sending until its lease is over; then the message goes once more, marked, and that one is heard of.
func TestCrashBetweenClaimAndOutcome(t *testing.T) {
	h := newHouse(t)
	r := h.ask(t, "ann")
	whole := h.Store
	h.Store = &mortal{whole, func() bool { return len(h.phone.Items()) == 1 }}
	h.build()
	h.sweep(t)
	if n := len(h.phone.Items()); n != 1 {
		t.Fatalf("provider has %d messages, want 1", n)
	}
	h.Store = whole
	h.build()
	h.sweep(t)
	if n := h.phone.Calls(); n != 1 {
		t.Fatalf("Send was called %d times within the lease, want once", n)
	}
	h.clock.Advance(channels.SendTimeout + 10*time.Second)
	for range 3 {
		h.sweep(t)
	}
	want := []string{"phone unknown", "phone accepted again"}
	if got := h.timeline(t, r.ID); !slices.Equal(got, want) {
		t.Errorf("timeline is %q, want %q", got, want)
	}
	if n := h.phone.Calls(); n != 2 {
		t.Errorf("Send was called %d times, want twice", n)
	}
}

// TestCrashAtEveryWrite: a process dies at each of its writes in turn, before the write or after it and without hearing of
// it. The next process brings the request to its end: the person is told, at most once more than needed, and nothing is
// left on the screen or in the store.
func TestCrashAtEveryWrite(t *testing.T) {
	for _, written := range []bool{false, true} {
		for last := range 6 {
			t.Run(fmt.Sprintf("write %d committed %t", last, written), func(t *testing.T) {
				h := newHouse(t)
				r := h.ask(t, "ann")
				h.during(last, written, func() { h.sweep(t) })
				h.clock.Advance(channels.SendTimeout + 10*time.Second) // the lease of a claim that died
				h.sweep(t)
				h.sweep(t)
				h.deny(t, r)
				h.during(last, written, func() { h.sweep(t) })
				h.clock.Advance(channels.DefaultWait)
				h.sweep(t)
				if n := h.phone.Calls(); n < 1 || n > 2 {
					t.Errorf("Send was called %d times, want once or twice", n)
				}
				if n := h.mail.Calls(); n != 0 {
					t.Errorf("the second channel was called %d times", n)
				}
				if !retracted(h.phone.Items()) {
					t.Errorf("left on the screen: %v", h.timeline(t, r.ID))
				}
				if n := h.due(t); n != 0 {
					t.Errorf("%d steps are left, want none", n)
				}
			})
		}
	}
}

// during runs do in a process that dies at its write number last, and starts another one.
func (h *house) during(last int, written bool, do func()) {
	whole := h.Store
	m := &counted{Store: whole, left: last, written: written}
	h.Store = m
	h.build()
	do()
	h.Store = whole
	h.build()
}

// counted is a store that serves so many writes; the next one is the last its process does, seen or not.
type counted struct {
	store.Store
	mu      sync.Mutex
	left    int
	written bool // whether that last write commits
}

func (c *counted) may() (write, tell bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left--
	return c.left >= 0 || c.left == -1 && c.written, c.left >= 0
}

func (c *counted) Apply(ctx context.Context, w ...approvals.Write) error {
	write, tell := c.may()
	if write {
		if err := c.Store.Apply(ctx, w...); err != nil {
			return err
		}
	}
	if !tell {
		return errDead
	}
	return nil
}

func (c *counted) Update(ctx context.Context, id approvals.ID,
	change func(*approvals.Request) error) (r *approvals.Request, err error) {
	write, tell := c.may()
	if write {
		if r, err = c.Store.Update(ctx, id, change); err != nil {
			return nil, err
		}
	}
	if !tell {
		return nil, errDead
	}
	return r, nil
}

// TestFolderDeletedWhileDown: JetStream acknowledged the events and is then lost with everything in it.
func TestFolderDeletedWhileDown(t *testing.T) {
	h := newHouse(t)
	dir := filepath.Join(t.TempDir(), "jetstream")
	bus, err := stream.Open(t.Context(), stream.Config{Dir: dir, Log: h.Log})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		h.ask(t, "ann")
	}
	ctx, cancel := context.WithCancel(t.Context())
	relayed := make(chan error, 1)
	go func() { relayed <- bus.Relay(ctx, h.Store, h.hub) }()
	for left := 1; left > 0; {
		events, err := h.Unsent(t.Context(), 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		left = len(events)
	}
	cancel()
	<-relayed
	bus.Close()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	h.connect(t, stream.Config{Dir: dir})
	if n := h.sweep(t); n != 20 {
		t.Errorf("sweep took %d steps up, want 20", n)
	}
	await(t, h.phone, have(20))
	if n := h.phone.Calls(); n != 20 {
		t.Errorf("Send was called %d times, want 20", n)
	}
}

// TestBusDown: without a bus the sweep brings messages; with it back, nothing goes twice.
func TestBusDown(t *testing.T) {
	h := newHouse(t)
	dir := filepath.Join(t.TempDir(), "jetstream")
	bus, err := stream.Open(t.Context(), stream.Config{Dir: dir, Log: h.Log})
	if err != nil {
		t.Fatal(err)
	}
	bus.Close()
	h.Bus = bus
	h.ask(t, "ann")
	h.sweep(t)
	await(t, h.phone, have(1))
	h.ask(t, "ann")
	h.connect(t, stream.Config{Dir: dir})
	await(t, h.phone, have(2))
	if n := h.phone.Calls(); n != 2 {
		t.Errorf("Send was called %d times, want twice", n)
	}
}

// behind shows a record once as it was, and then as it is.
type behind struct {
	approvals.Records
	was *approvals.Record
}

func (b behind) Get(ctx context.Context, kind, key string) (approvals.Record, error) {
	if old := *b.was; kind == old.Kind && key == old.Key {
		*b.was = approvals.Record{}
		return old, nil
	}
	return b.Records.Get(ctx, kind, key)
}

// TestFailOnOldClaims: a lease is over while its worker still lives, who then says that nothing was sent and that it will try
// again. Whoever has read the claims before that, and the timeline after it, sees a ladder that has failed: that must not
// count, because the claims say something else by now.
func TestFailOnOldClaims(t *testing.T) {
	h := newHouse(t)
	h.prefer(t, func(p *approvals.Person) { p.Addresses = p.Addresses[:1] })
	h.phone.Set(channeltest.Busy)
	r := h.ask(t, "ann")
	h.event(t, r)
	claims, err := h.Scan(t.Context(), "claim", "", 2)
	if err != nil || len(claims) != 1 || !strings.Contains(string(claims[0].Value), `"busy"`) {
		t.Fatalf("claims: %v, %v, want one that was busy", claims, err)
	}
	old := claims[0]
	old.Value, old.Revision = []byte(strings.Replace(string(old.Value), `"busy"`, `"unknown"`, 1)), old.Revision-1
	h.Records = behind{h.Store, &old}
	h.event(t, r)
	if state, why := h.state(t, r.ID); old.Key != "" || state != approvals.Pending {
		t.Errorf("request is %s because of %q, want it to wait for the next try", state, why)
	}
	h.phone.Set(channeltest.Accept)
	h.clock.Advance(2 * time.Second)
	h.sweep(t)
	if got := h.timeline(t, r.ID); got[len(got)-1] != "phone accepted" {
		t.Errorf("timeline is %q, want the next try to be accepted", got)
	}
}
