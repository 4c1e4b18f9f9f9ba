package channels_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"assent/approvals"
	"assent/approvals/stream"
	"assent/channels"
	"assent/channels/channeltest"
)

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

// stuck is a recorder that keeps every request waiting until it is released, and lets codes pass.
type stuck struct {
	*channeltest.Recorder
	came, release chan struct{}
}

func (s *stuck) Send(ctx context.Context, to approvals.Address, m channels.Message) (approvals.Delivery, error) {
	if m.Kind == channels.KindRequest {
		close(s.came)
		<-s.release
	}
	return s.Recorder.Send(ctx, to, m)
}

// TestCodeDoesNotWaitForSweeps: a person signs in while a sweep is held up.
func TestCodeDoesNotWaitForSweeps(t *testing.T) {
	h := newHouse(t)
	phone := &stuck{h.phone, make(chan struct{}), make(chan struct{})}
	h.Channels["phone"] = phone
	h.ask(t, "ann")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx, h.hub) }()
	<-phone.came
	h.put(t, approvals.Code{ID: "code1", Person: "ann", Expires: h.clock.Now().Add(5 * time.Minute)})
	h.hub.Signal(approvals.TopicDue)
	await(t, h.phone, have(1))
	cancel()
	select {
	case <-done:
		t.Error("stopped while a sweep was still at work")
	default:
	}
	close(phone.release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
