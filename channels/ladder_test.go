package channels_test

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"assent/approvals"
	"assent/approvals/stream"
	"assent/channels"
	"assent/channels/channeltest"
)

// TestFailureReceipt: the provider took the message and reports later that it never arrived.
func TestFailureReceipt(t *testing.T) {
	h := newHouse(t)
	h.connect(t, stream.Config{Dir: filepath.Join(t.TempDir(), "jetstream")})
	r := h.ask(t, "ann")
	await(t, h.phone, have(1))
	h.recorded(t, r.ID, 1)
	receipt := channels.Receipt{Message: h.phone.Items()[0].Message.ID, Status: approvals.StatusFailed}
	if err := h.Receipt(t.Context(), receipt); err != nil {
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
		{"both are gone", [2]channeltest.Mood{channeltest.Gone, channeltest.Gone},
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

// TestOpenedIsNotFailed: no provider takes a message, but the person has found the request in the inbox and reads it.
func TestOpenedIsNotFailed(t *testing.T) {
	h := newHouse(t)
	h.phone.Set(channeltest.Busy)
	h.mail.Set(channeltest.Reject)
	r := h.ask(t, "ann")
	h.sweep(t)
	if err := h.desk.Opened(t.Context(), r.ID, "ann", time.Time{}); err != nil {
		t.Fatal(err)
	}
	for h.clock.Now().Before(r.DecideBy) {
		h.sweep(t)
		h.clock.Advance(time.Second)
	}
	if got, err := h.desk.Request(t.Context(), r.ID); err != nil || got.State != approvals.Pending {
		t.Errorf("request is %+v, %v; want it pending", got, err)
	}
	if n := h.phone.Calls() + h.mail.Calls(); n != 1 {
		t.Errorf("Send was called %d times, want once, before the page was opened", n)
	}
}

// TestFailedRetractionIsLogged: what stays on somebody's screen is a warning that says why, until it is gone.
func TestFailedRetractionIsLogged(t *testing.T) {
	h := newHouse(t)
	var out bytes.Buffer
	h.Log = slog.New(slog.NewTextHandler(&out, nil))
	r := h.ask(t, "ann")
	h.sweep(t)
	h.phone.Set(channeltest.Busy)
	h.deny(t, r)
	if err := h.Handle(t.Context(), approvals.Event{Kind: "denied", Request: r.ID}); err != nil {
		t.Fatal(err)
	}
	if want := `level=WARN msg="message not taken back" of=` + string(r.ID); !strings.Contains(out.String(), want) ||
		!strings.Contains(out.String(), `again=true err="retract: `+channels.ErrBusy.Error()+`"`) {
		t.Errorf("log is %s, want a warning with the error", &out)
	}
	out.Reset()
	h.phone.Set(channeltest.Accept)
	h.clock.Advance(2 * time.Second)
	h.sweep(t)
	if want := `level=INFO msg="message taken back" of=` + string(r.ID); !strings.Contains(out.String(), want) {
		t.Errorf("log is %s, want %s", &out, want)
	}
}
