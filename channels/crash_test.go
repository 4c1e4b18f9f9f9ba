package channels_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"assent/approvals"
	"assent/approvals/stream"
	"assent/channels"
	"assent/channels/channeltest"
	"assent/store"
)

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
		line := d.Channel + " " + d.Status
		if d.Duplicate {
			line += " again"
		}
		out = append(out, line)
	}
	return out
}

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

func (m *mortal) Update(ctx context.Context, id approvals.ID, change func(*approvals.Request) error) (*approvals.Request, error) {
	if m.dead() {
		return nil, errDead
	}
	return m.Store.Update(ctx, id, change)
}

// TestCrashBetweenClaimAndOutcome: the process dies when the provider already has the message. The claim keeps the next
// process from sending until its lease is over; then the message goes once more, marked, and never a third time.
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

func (c *counted) Update(ctx context.Context, id approvals.ID, change func(*approvals.Request) error) (r *approvals.Request, err error) {
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
// hub is alone and its clock stands still. Every person gets one message, and nothing stays on a screen.
func TestTwoNodes(t *testing.T) {
	one := newHouse(t)
	two := &house{Store: one.Store, clock: one.clock, hub: approvals.NewHub(), root: one.root, phone: one.phone, mail: one.mail}
	two.build()
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
	two := &house{Store: one.Store, clock: one.clock, hub: approvals.NewHub(), root: one.root, phone: one.phone, mail: one.mail}
	two.build()
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

// TestFailureReceipt: the provider took the message and reports later that it never arrived.
func TestFailureReceipt(t *testing.T) {
	h := newHouse(t)
	h.connect(t, stream.Config{Dir: filepath.Join(t.TempDir(), "jetstream")})
	r := h.ask(t, "ann")
	await(t, h.phone, have(1))
	h.recorded(t, r.ID, 1)
	_, err := h.desk.Record(t.Context(), r.ID, approvals.Delivery{Channel: "phone", Attempt: 1, Status: "failed", At: h.clock.Now()})
	if err != nil {
		t.Fatal(err)
	}
	await(t, h.mail, have(1))
}

// recorded waits until the request has so many reports.
func (h *house) recorded(t *testing.T, id approvals.ID, n int) {
	t.Helper()
	w := h.hub.Watch(string(id))
	defer w.Close()
	for len(h.timeline(t, id)) < n {
		select {
		case <-w.C:
		case <-time.After(patience):
			t.Fatal("waited in vain")
		}
	}
}

// TestScheduleBringsTheNextTry: a wait of seconds ends over the bus, long before the next sweep.
func TestScheduleBringsTheNextTry(t *testing.T) {
	h := newHouse(t)
	h.connect(t, stream.Config{Dir: filepath.Join(t.TempDir(), "jetstream")})
	h.phone.Set(channeltest.Busy)
	h.ask(t, "ann")
	for end := time.Now().Add(patience); !h.onlySchedule(t); {
		if time.Now().After(end) {
			t.Fatal("no schedule")
		}
	}
	h.phone.Set(channeltest.Accept)
	h.clock.Advance(2 * time.Second) // the schedule itself runs on the server's clock
	await(t, h.phone, have(1))
}

// onlySchedule reports whether the first job is done and another one waits for its time.
func (h *house) onlySchedule(t *testing.T) bool {
	t.Helper()
	depths, err := h.Bus.(*stream.Bus).Depths(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return h.phone.Calls() == 1 && depths[1].Messages == 1 && depths[1].Consumers["send-phone"] == 0
}

// TestGoneAddressIsForgotten: the provider says that a device is no more.
func TestGoneAddressIsForgotten(t *testing.T) {
	h := newHouse(t)
	h.phone.Set(channeltest.Gone)
	h.ask(t, "ann")
	h.sweep(t)
	p, err := h.directory.Person(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Addresses) != 1 || p.Addresses[0].Channel != "mail" {
		t.Errorf("addresses are %v, want mail only", p.Addresses)
	}
	if n := len(h.mail.Items()); n != 1 {
		t.Errorf("mail has %d messages, want 1", n)
	}
}

// TestInboxOnly: a person without an outside address costs no message, and no step stays behind.
func TestInboxOnly(t *testing.T) {
	h := newHouse(t)
	r := h.ask(t, "ben")
	h.everything(t, r.ID)
	if n := h.due(t); n != 0 {
		t.Errorf("%d steps are left, want none", n)
	}
	got, err := h.desk.Request(t.Context(), r.ID)
	if err != nil || got.State != approvals.Pending || len(got.Deliveries) != 0 || got.Rev != 1 {
		t.Errorf("request is %+v, %v; want it untouched", got, err)
	}
}

// TestNothingAfterTheEnd: whatever is asked of the dispatcher after a decision or decide_by, nothing leaves.
func TestNothingAfterTheEnd(t *testing.T) {
	tests := []struct {
		name string
		end  func(t *testing.T, h *house, r *approvals.Request)
	}{
		{"denied", func(t *testing.T, h *house, r *approvals.Request) { h.deny(t, r) }},
		{"past decide_by", func(_ *testing.T, h *house, r *approvals.Request) { h.clock.Advance(r.DecideBy.Sub(r.CreatedAt)) }},
		{"past expires_at", func(_ *testing.T, h *house, r *approvals.Request) { h.clock.Advance(r.ExpiresAt.Sub(r.CreatedAt)) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			r := h.ask(t, "ann")
			tt.end(t, h, r)
			h.everything(t, r.ID)
			h.sweep(t)
			if n := h.phone.Calls() + h.mail.Calls(); n != 0 {
				t.Errorf("Send was called %d times, want never", n)
			}
			if n := h.due(t); n != 0 {
				t.Errorf("%d steps are left, want none", n)
			}
		})
	}
}

// TestLadder walks one request through its life by sweeps alone.
func TestLadder(t *testing.T) {
	tests := []struct {
		name  string
		moods [2]channeltest.Mood // phone, mail
		want  []string
		state approvals.State
	}{
		{"nobody answers", [2]channeltest.Mood{channeltest.Accept, channeltest.Accept},
			[]string{"phone accepted", "mail accepted", "mail accepted", "phone retracted", "mail retracted"}, approvals.Expired},
		{"first refuses", [2]channeltest.Mood{channeltest.Reject, channeltest.Accept},
			[]string{"phone failed", "mail accepted", "mail accepted", "mail retracted"}, approvals.Expired},
		{"first is gone, second refuses", [2]channeltest.Mood{channeltest.Gone, channeltest.Reject},
			[]string{"phone failed", "mail failed"}, approvals.Failed},
		{"first is busy", [2]channeltest.Mood{channeltest.Busy, channeltest.Accept},
			[]string{"phone failed", "phone failed", "phone failed", "phone failed", "mail accepted", "mail accepted",
				"phone failed", "mail retracted"}, approvals.Expired},
		{"both are busy for the whole life", [2]channeltest.Mood{channeltest.Busy, channeltest.Busy}, nil, approvals.Failed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			h.phone.Set(tt.moods[0])
			h.mail.Set(tt.moods[1])
			r := h.ask(t, "ann")
			for h.clock.Now().Before(r.ExpiresAt.Add(time.Second)) {
				h.sweep(t)
				h.clock.Advance(time.Second)
			}
			if _, err := h.desk.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			h.sweep(t)
			if got := h.timeline(t, r.ID); tt.want != nil && !slices.Equal(got, tt.want) {
				t.Errorf("timeline is %q, want %q", got, tt.want)
			}
			if got, _ := h.desk.Request(t.Context(), r.ID); got.State != tt.state {
				t.Errorf("request is %s, want %s", got.State, tt.state)
			}
			if n := h.due(t); n != 0 {
				t.Errorf("%d steps are left, want none", n)
			}
		})
	}
}

// TestDecisionWhileSending: the decision lands while the provider has the call. Nothing is taken back before the outcome is
// known, and then at once.
func TestDecisionWhileSending(t *testing.T) {
	h := newHouse(t)
	h.phone.Set(channeltest.Hang)
	r := h.ask(t, "ann")
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	slow := h.slow(channeltest.Accept)
	go func() { done <- h.Handle(ctx, approvals.Event{Kind: "pending", Request: r.ID}) }()
	<-slow.called
	h.deny(t, r)
	if err := h.Handle(t.Context(), approvals.Event{Kind: "denied", Request: r.ID}); err != nil {
		t.Fatal(err)
	}
	close(slow.answer)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if want := []string{"phone accepted", "phone retracted"}; !slices.Equal(h.timeline(t, r.ID), want) {
		t.Errorf("timeline is %q, want %q", h.timeline(t, r.ID), want)
	}
	if n := h.due(t); n != 0 {
		t.Errorf("%d steps are left, want none", n)
	}
}

// slowly is a channel that answers when it is told.
type slowly struct {
	*channeltest.Recorder
	called, answer chan struct{}
}

func (s *slowly) Send(ctx context.Context, to approvals.Address, m channels.Message) (approvals.Delivery, error) {
	close(s.called)
	<-s.answer
	return s.Recorder.Send(ctx, to, m)
}

func (h *house) slow(mood channeltest.Mood) *slowly {
	h.phone.Set(mood)
	s := &slowly{h.phone, make(chan struct{}), make(chan struct{})}
	h.Channels["phone"] = s
	return s
}

// TestHangingProvider: a call without an answer is given up after SendTimeout, is unknown, and goes once more.
func TestHangingProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.phone.Set(channeltest.Hang)
		r := h.ask(t, "ann")
		h.sweep(t)
		want := []string{"phone unknown", "phone unknown again"}
		if got := h.timeline(t, r.ID); !slices.Equal(got, want) {
			t.Errorf("timeline is %q, want %q", got, want)
		}
		h.Store.Close()
	})
}

// TestCode: one message with the digits, on the first address; never after its end, and never twice.
func TestCode(t *testing.T) {
	h := newHouse(t)
	c := approvals.Code{ID: "Xy_7-code", Person: "ann", Locale: "ko", Expires: h.clock.Now().Add(5 * time.Minute)}
	h.put(t, c)
	for range 3 {
		h.sweep(t)
	}
	items := h.phone.Items()
	if len(items) != 1 || items[0].Message.Code != h.root.Code(c.ID) || items[0].Message.Kind != channels.KindCode {
		t.Fatalf("phone has %+v, want one message with the code", items)
	}
	late := approvals.Code{ID: "late", Person: "ann", Expires: h.clock.Now()}
	h.put(t, late)
	h.sweep(t)
	if n := h.phone.Calls() + h.mail.Calls(); n != 1 {
		t.Errorf("Send was called %d times, want once", n)
	}
	if recs, _ := h.Scan(t.Context(), "due."+approvals.StepCode, "", 10); len(recs) != 0 {
		t.Errorf("%d steps are left, want none", len(recs))
	}
}

// TestCodeByBus: the signal brings a code at once, over the bus and its worker.
func TestCodeByBus(t *testing.T) {
	h := newHouse(t)
	h.connect(t, stream.Config{Dir: filepath.Join(t.TempDir(), "jetstream")})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx, h.hub) }()
	c := approvals.Code{ID: "code1", Person: "ann", Expires: h.clock.Now().Add(5 * time.Minute)}
	h.put(t, c)
	h.hub.Signal(approvals.TopicDue)
	await(t, h.phone, have(1))
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func (h *house) put(t testing.TB, c approvals.Code) {
	t.Helper()
	if err := h.Apply(t.Context(), c.Step(h.clock.Now()).Put()); err != nil {
		t.Fatal(err)
	}
}
