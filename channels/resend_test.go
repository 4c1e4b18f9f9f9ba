package channels_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"assent/approvals"
	"assent/channels"
	"assent/channels/channeltest"
)

var clerk = approvals.Actor{Kind: "operator", ID: "test"}

// TestResend: an operator's wish brings one more message, by the ladder's own rules, and leaves the operator's name. It is
// in the store: should the process die before it acts, the sweep of another one does.
func TestResend(t *testing.T) {
	tests := []struct {
		name string
		wish func(h *house, id approvals.ID) error
	}{
		{"at once", func(h *house, id approvals.ID) error {
			o, err := h.Resend(t.Context(), id, clerk)
			if o.Next.Do != channels.Wait || !o.Told || len(h.phone.Items()) != 2 {
				t.Errorf("outlook is %+v, want the message sent", o)
			}
			return err
		}},
		{"after a crash", func(h *house, id approvals.ID) error {
			_, err := h.desk.Resend(t.Context(), id, clerk)
			return err
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			r := h.ask(t, "ann")
			h.sweep(t)
			h.clock.Advance(5 * time.Second)
			if err := tt.wish(h, r.ID); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				h.sweep(t)
				if n, due := len(h.phone.Items()), h.due(t); n != 2 || due != 1 {
					t.Errorf("phone has %d messages and %d steps are due, want 2 and 1", n, due)
				}
			}
			events, err := h.Events(t.Context(), r.ID)
			if err != nil {
				t.Fatal(err)
			}
			wish := slices.IndexFunc(events, func(e approvals.Event) bool { return e.Kind == approvals.KindResend })
			if wish < 0 || events[wish].By != clerk {
				t.Errorf("records are %+v, want one of the operator", events)
			}
		})
	}
}

// TestResendRefused: nothing is asked for in vain, and a decision is not touched.
func TestResendRefused(t *testing.T) {
	tests := []struct {
		name string
		who  approvals.PersonID
		act  func(h *house, r *approvals.Request)
		want error
	}{
		{"no address", "ben", func(*house, *approvals.Request) {}, approvals.ErrInvalid},
		{"decided", "ann", func(h *house, r *approvals.Request) { h.deny(t, r) }, approvals.ErrDecided},
		{"too late to approve", "ann", func(h *house, r *approvals.Request) { h.clock.Advance(r.DecideBy.Sub(r.CreatedAt)) },
			approvals.ErrTooLate},
		{"over", "ann", func(h *house, r *approvals.Request) { h.clock.Advance(r.ExpiresAt.Sub(r.CreatedAt)) },
			approvals.ErrDecided},
	}
	for _, tt := range tests {
		h := newHouse(t)
		r := h.ask(t, tt.who)
		tt.act(h, r)
		if _, err := h.Resend(t.Context(), r.ID, clerk); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if n := len(h.phone.Items()); n != 0 {
			t.Errorf("%s: phone has %d messages, want none", tt.name, n)
		}
	}
}

// TestResendElsewhere: the address that has just refused is not the one to try again, unless there is no other.
func TestResendElsewhere(t *testing.T) {
	h := newHouse(t)
	h.phone.Set(channeltest.Reject)
	r := h.ask(t, "ann")
	h.sweep(t)
	h.clock.Advance(5 * time.Second)
	if _, err := h.Resend(t.Context(), r.ID, clerk); err != nil {
		t.Fatal(err)
	}
	if phone, mail := h.phone.Calls(), h.mail.Calls(); phone != 1 || mail != 2 {
		t.Errorf("%d messages by phone, %d by mail; want 1 and 2", phone, mail)
	}
	h.prefer(t, func(p *approvals.Person) { p.Addresses = p.Addresses[:1] })
	h.clock.Advance(5 * time.Second)
	if _, err := h.Resend(t.Context(), r.ID, clerk); err != nil || h.phone.Calls() != 2 {
		t.Errorf("%d messages by phone, %v; want the only address tried again", h.phone.Calls(), err)
	}
}

// TestResendWaitsForTheMorning: an operator does not break through quiet hours.
func TestResendWaitsForTheMorning(t *testing.T) {
	h := newHouse(t)
	p, err := h.directory.Person(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	quiet := *p
	quiet.Zone, quiet.Quiet = "UTC", approvals.QuietHours{From: "11:00", To: "12:01"}
	if err := h.directory.SavePerson(t.Context(), &quiet); err != nil {
		t.Fatal(err)
	}
	r := h.ask(t, "ann")
	h.sweep(t)
	o, err := h.Resend(t.Context(), r.ID, clerk)
	if err != nil || !o.Next.Held || o.Next.Reason != channels.WhyQuiet || o.Told || len(h.phone.Items()) != 0 {
		t.Errorf("outlook is %+v, %v; want it held", o, err)
	}
	if _, err := h.Resend(t.Context(), r.ID, clerk); !errors.Is(err, approvals.ErrConflict) {
		t.Errorf("second wish: %v, want %v", err, approvals.ErrConflict)
	}
	h.clock.Advance(time.Minute)
	h.sweep(t)
	if n := len(h.phone.Items()); n != 1 {
		t.Errorf("phone has %d messages in the morning, want 1", n)
	}
}

// TestOutlook: looking changes nothing, and says what the planner says.
func TestOutlook(t *testing.T) {
	h := newHouse(t)
	r := h.ask(t, "ann")
	o, err := h.Outlook(t.Context(), r.ID)
	if err != nil || o.Next.Do != channels.Send || o.Told || o.Addresses != 2 || !o.Due.Equal(r.CreatedAt) {
		t.Errorf("new: %+v, %v", o, err)
	}
	h.phone.Set(channeltest.Busy)
	h.sweep(t)
	if o, err = h.Outlook(t.Context(), r.ID); err != nil || o.Next.Do != channels.Wait || o.Told ||
		!o.Due.Equal(o.Next.At) {
		t.Errorf("busy: %+v, %v", o, err)
	}
	h.phone.Set(channeltest.Accept)
	h.clock.Advance(2 * time.Second)
	h.sweep(t)
	if o, err = h.Outlook(t.Context(), r.ID); err != nil || !o.Told || o.Next.Channel != "mail" {
		t.Errorf("told: %+v, %v", o, err)
	}
	if _, err := h.Outlook(t.Context(), "nothing"); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
	got, err := h.desk.Request(t.Context(), r.ID)
	if err != nil || len(got.Deliveries) != 2 || !got.Deliveries[1].Claimed.Equal(h.clock.Now()) {
		t.Errorf("reports are %+v, %v; want two, with their claims", got.Deliveries, err)
	}
}

// TestOutlookWhileProviderIsDown: whoever looks learns until when a provider is left alone.
func TestOutlookWhileProviderIsDown(t *testing.T) {
	h := newHouse(t)
	h.phone.Set(channeltest.Busy)
	for range 5 {
		h.ask(t, "ann")
		h.sweep(t)
	}
	r := h.ask(t, "ann")
	o, err := h.Outlook(t.Context(), r.ID)
	if err != nil || !o.Down["phone"].After(h.clock.Now()) || o.Told || o.Next.Channel != "mail" {
		t.Errorf("outlook is %+v, %v; want the phone's provider down, and mail next", o, err)
	}
}

// TestExplain: whatever the dispatcher puts into a report by itself has words.
func TestExplain(t *testing.T) {
	for _, o := range []channels.Outcome{channels.Gone, channels.Rejected, channels.Busy, channels.Fault, "late"} {
		if channels.Explain(string(o)) == "" {
			t.Errorf("%s has no words", o)
		}
	}
}
