package channels_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"assent/approvals"
	"assent/approvals/stream"
	"assent/channels"
	"assent/channels/channeltest"
)

// TestReceipt: reports come late, twice and in any order; the timeline only rises, and a failure moves the ladder on.
func TestReceipt(t *testing.T) {
	h := newHouse(t)
	r := h.ask(t, "ann")
	h.sweep(t)
	id := h.phone.Items()[0].Message.ID
	for _, s := range []approvals.Status{approvals.StatusSent, approvals.StatusFailed, approvals.StatusSent,
		approvals.StatusFailed} {
		if err := h.Receipt(t.Context(), channels.Receipt{Message: id, Provider: "m1", Status: s, Code: "30003"}); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"phone accepted", "phone sent", "phone failed", "mail accepted"}
	if got := h.timeline(t, r.ID); !slices.Equal(got, want) {
		t.Errorf("timeline is %q, want %q", got, want)
	}
	if n := len(h.mail.Items()); n != 1 {
		t.Errorf("%d messages by mail after the failure, want 1", n)
	}
}

// TestReceiptCutOff: the process ends right after it has kept a failure. The next one moves the ladder on at once, and not
// only when the wait for an answer is over.
func TestReceiptCutOff(t *testing.T) {
	h := newHouse(t)
	h.ask(t, "ann")
	h.sweep(t)
	bus, err := stream.Open(t.Context(), stream.Config{Dir: filepath.Join(t.TempDir(), "jetstream"), Log: h.Log})
	if err != nil {
		t.Fatal(err)
	}
	bus.Close()
	h.Bus = bus
	receipt := channels.Receipt{Message: h.phone.Items()[0].Message.ID, Status: approvals.StatusFailed}
	if err := h.Receipt(t.Context(), receipt); err != nil {
		t.Fatal(err)
	}
	if n := len(h.mail.Items()); n != 0 {
		t.Fatalf("%d messages by mail without a bus, want none yet", n)
	}
	h.sweep(t)
	if n := len(h.mail.Items()); n != 1 {
		t.Errorf("%d messages by mail after the sweep, want 1", n)
	}
	h.sweep(t)
	if n := h.phone.Calls() + h.mail.Calls(); n != 2 {
		t.Errorf("%d messages after another sweep, want 2", n)
	}
}

// TestReceiptAfterTheEnd: the claims have gone, the timeline still grows.
func TestReceiptAfterTheEnd(t *testing.T) {
	h := newHouse(t)
	r := h.ask(t, "ann")
	h.sweep(t)
	if _, err := h.desk.Cancel(t.Context(), r.ID, approvals.Actor{Kind: "agent"}, approvals.WithdrawnByAgent); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	receipt := channels.Receipt{Message: h.phone.Items()[0].Message.ID, Status: approvals.StatusDelivered}
	err := h.Receipt(t.Context(), receipt)
	if got := h.timeline(t, r.ID); err != nil || !slices.Contains(got, "phone retracted") {
		t.Errorf("%v, timeline is %q", err, got)
	}
}

func TestReceiptRefusals(t *testing.T) {
	h := newHouse(t)
	r := h.ask(t, "ann")
	h.sweep(t)
	good := channels.Receipt{Message: string(r.ID) + "/phone/1", Status: approvals.StatusDelivered, At: time.Now()}
	tests := []struct {
		name   string
		change func(*channels.Receipt)
		want   error
	}{
		{"no message", func(r *channels.Receipt) { r.Message = "" }, approvals.ErrInvalid},
		{"no attempt", func(r *channels.Receipt) { r.Message = "a/phone/x" }, approvals.ErrInvalid},
		{"attempt below 1", func(r *channels.Receipt) { r.Message = "a/phone/0" }, approvals.ErrInvalid},
		{"endless", func(r *channels.Receipt) { r.Message = strings.Repeat("a", 200) + "/phone/1" }, approvals.ErrInvalid},
		{"unknown channel", func(r *channels.Receipt) { r.Message = "a/fax/1" }, approvals.ErrNotFound},
		{"unknown request", func(r *channels.Receipt) { r.Message = "a/phone/1" }, approvals.ErrNotFound},
		{"never sent", func(m *channels.Receipt) { m.Message = string(r.ID) + "/phone/2" }, approvals.ErrNotFound},
		{"a status that is ours to say", func(r *channels.Receipt) { r.Status = approvals.StatusRetracted }, approvals.ErrInvalid},
		{"no status", func(r *channels.Receipt) { r.Status = "" }, approvals.ErrInvalid},
		{"long code", func(r *channels.Receipt) { r.Code = strings.Repeat("1", 101) }, approvals.ErrInvalid},
		{"long name", func(r *channels.Receipt) { r.Provider = strings.Repeat("1", 101) }, approvals.ErrInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			receipt := good
			tt.change(&receipt)
			if err := h.Receipt(t.Context(), receipt); !errors.Is(err, tt.want) {
				t.Errorf("Receipt: %v, want %v", err, tt.want)
			}
		})
	}
	if err := h.Receipt(t.Context(), good); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

// TestReceiptForLostAnswer: the answer of the call got lost, and the provider says later that it has the message.
func TestReceiptForLostAnswer(t *testing.T) {
	h := newHouse(t)
	h.phone.Set(channeltest.Break)
	r := h.ask(t, "ann")
	h.sweep(t)
	receipt := channels.Receipt{Message: h.phone.Items()[0].Message.ID, Status: approvals.StatusAccepted}
	if err := h.Receipt(t.Context(), receipt); err != nil {
		t.Fatal(err)
	}
	if got := h.timeline(t, r.ID); got[0] != "phone unknown" || got[len(got)-1] != "phone accepted" {
		t.Errorf("timeline is %q, want it to end with accepted", got)
	}
}

// unreadable is a store whose records cannot be read.
type unreadable struct{ approvals.Records }

var errUnreadable = errors.New("store is away")

func (unreadable) Get(context.Context, string, string) (approvals.Record, error) {
	return approvals.Record{}, errUnreadable
}

// TestReceiptWhileStoreIsAway: a provider must come again, so the error is not that of a message that is not ours.
func TestReceiptWhileStoreIsAway(t *testing.T) {
	h := newHouse(t)
	r := h.ask(t, "ann")
	h.Dispatcher.Records = unreadable{h.Store}
	err := h.Receipt(t.Context(), channels.Receipt{Message: string(r.ID) + "/phone/1", Status: approvals.StatusDelivered})
	if !errors.Is(err, errUnreadable) || errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("Receipt: %v, want the store's error alone", err)
	}
}
