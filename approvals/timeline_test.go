package approvals_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"assent/approvals"
)

// story is what happens to one request, by the real desk, and what is then told of it.
type story struct {
	*office
	r      *approvals.Request
	secret string
}

func (s *story) send(channel string, attempt int, status approvals.Status, code string) {
	s.t.Helper()
	d := approvals.Delivery{Channel: channel, Attempt: attempt, Status: status, Code: code, At: s.now()}
	switch status {
	case approvals.StatusAccepted:
		d.Why, d.Claimed, d.Provider = "next address", s.now().Add(-80*time.Millisecond), "P"+fmt.Sprint(attempt)
	case approvals.StatusFailed, approvals.StatusUnknown:
		if code != "30003" { // which comes later, as a receipt
			d.Why, d.Claimed = "next address", s.now().Add(-80*time.Millisecond)
		}
	case approvals.StatusHeld:
		d.Why, d.Code = code, ""
	}
	if channel == approvals.ChannelPing {
		d.Why, d.Claimed, d.Provider = "", time.Time{}, ""
	}
	s.then(s.Record(s.t.Context(), s.r.ID, d))
}

func (s *story) then(r *approvals.Request, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	s.r = r
	s.wait(time.Second)
}

// open is the page with a sign-in some seconds before it.
func (s *story) open(signedIn time.Duration) approvals.Answer {
	s.t.Helper()
	a := s.answer(s.r)
	a.AuthTime = s.now().Add(-signedIn)
	if err := s.Opened(s.t.Context(), s.r.ID, "ann", a.AuthTime); err != nil {
		s.t.Fatal(err)
	}
	s.wait(4 * time.Second)
	return a
}

func (s *story) line() string {
	s.t.Helper()
	events, err := s.store.Events(s.t.Context(), s.r.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	return lines(s.r, approvals.Timeline(s.r, events))
}

func lines(r *approvals.Request, entries []approvals.Entry) string {
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "%7.2fs %-12s by %s", e.At.Sub(r.CreatedAt).Seconds(), e.Stage, e.By.Kind)
		for _, part := range []string{e.By.ID, e.Code, e.Why, e.Provider} {
			if part != "" {
				fmt.Fprintf(&b, ", %s", part)
			}
		}
		if e.Channel != "" {
			fmt.Fprintf(&b, ", %s %d", e.Channel, e.Attempt)
		}
		fmt.Fprintf(&b, " [%d]\n", e.Record)
	}
	return b.String()
}

// TestTimeline: each line says what, when and who; times come from whoever knows them, and every line names its record.
func TestTimeline(t *testing.T) {
	operator := approvals.Actor{Kind: "operator", ID: "admin.sock"}
	agent := approvals.Actor{Kind: "agent", ID: "bot"}
	tests := []struct {
		name string
		act  func(s *story)
	}{
		{"approved after the second channel", func(s *story) {
			s.send("push", 1, approvals.StatusFailed, "gone")
			s.send("sms", 1, approvals.StatusAccepted, "")
			s.send("sms", 1, approvals.StatusDelivered, "")
			s.then(s.Approve(s.t.Context(), s.r.ID, s.open(2*time.Second)))
			s.send(approvals.ChannelPing, 1, approvals.StatusFailed, "503")
			s.send(approvals.ChannelPing, 2, approvals.StatusAccepted, "204")
			s.then(s.Redeem(s.t.Context(), "bot", s.r.ID, s.secret))
			s.send("sms", 1, approvals.StatusRetracted, "")
			s.then(s.Revoke(s.t.Context(), s.r.ID, approvals.Revocation{By: agent, Why: approvals.RevokedByAgent}))
		}},
		{"denied by somebody who was signed in before", func(s *story) {
			s.send("sms", 1, approvals.StatusAccepted, "")
			s.then(s.Deny(s.t.Context(), s.r.ID, s.open(time.Hour)))
		}},
		{"a receipt that fails, and a message that nobody knows about", func(s *story) {
			s.send("sms", 1, approvals.StatusAccepted, "")
			s.send("sms", 1, approvals.StatusFailed, "30003")
			s.send("mail", 1, approvals.StatusUnknown, "no_answer")
			s.then(s.Fail(s.t.Context(), s.r.ID, approvals.Unreachable))
		}},
		{"kept back, then withdrawn by an operator", func(s *story) {
			s.send("sms", 1, approvals.StatusHeld, "quiet hours")
			s.then(s.Cancel(s.t.Context(), s.r.ID, operator, approvals.WithdrawnByOperator))
		}},
		{"nobody answers", func(s *story) {
			s.wait(5 * time.Minute)
			if _, err := s.Sweep(s.t.Context()); err != nil {
				s.t.Fatal(err)
			}
		}},
	}
	var all strings.Builder
	for _, tt := range tests {
		o := newOffice(t)
		r, secret := o.ask(5 * time.Minute)
		o.wait(time.Second)
		s := &story{o, r, secret}
		tt.act(s)
		fmt.Fprintf(&all, "%s\n%s\n", tt.name, s.line())
	}
	approvals.Golden(t, "timeline.golden", all.String())
}

// TestTimelineOfWhatIsLeft: records outlive their request, and tell what they can.
func TestTimelineOfWhatIsLeft(t *testing.T) {
	o := newOffice(t)
	r, secret := o.ask(5 * time.Minute)
	s := &story{o, r, secret}
	s.send("sms", 1, approvals.StatusAccepted, "")
	events, err := o.store.Events(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	events = append(events, approvals.Event{N: 3, Kind: "of a later release", At: o.now()})
	var stages []string
	for _, e := range approvals.Timeline(nil, events) {
		stages = append(stages, string(e.Stage))
	}
	if got, want := strings.Join(stages, ", "), "queued, accepted, of a later release"; got != want {
		t.Errorf("stages are %s, want %s", got, want)
	}
}

// TestOperatorsDecideNothing: whatever an operator does, nothing is approved, and a decision stays as it is.
func TestOperatorsDecideNothing(t *testing.T) {
	by := approvals.Actor{Kind: "operator", ID: "admin.sock"}
	o := newOffice(t)
	r, secret := o.ask(5 * time.Minute)
	got, err := o.Resend(t.Context(), r.ID, by)
	if err != nil || got.State != approvals.Pending || !got.ResendAt.Equal(o.now()) {
		t.Errorf("resend: %+v, %v", got, err)
	}
	for _, remark := range []string{strings.Repeat("x", 281), "a\nb", "a\u202eb"} {
		if _, err := o.Withdraw(t.Context(), r.ID, by, remark); !errors.Is(err, approvals.ErrInvalid) {
			t.Errorf("remark %q: %v, want %v", remark, err, approvals.ErrInvalid)
		}
	}
	got, err = o.Withdraw(t.Context(), r.ID, by, "Ann has left")
	if err != nil || got.State != approvals.Cancelled || got.Reason != approvals.WithdrawnByOperator || got.Remark != "Ann has left" {
		t.Errorf("withdraw: %+v, %v", got, err)
	}
	for name, act := range map[string]func() (*approvals.Request, error){
		"resend":   func() (*approvals.Request, error) { return o.Resend(t.Context(), r.ID, by) },
		"withdraw": func() (*approvals.Request, error) { return o.Withdraw(t.Context(), r.ID, by, "again") },
		"redeem":   func() (*approvals.Request, error) { return o.Redeem(t.Context(), "bot", r.ID, secret) },
	} {
		if _, err := act(); !errors.Is(err, approvals.ErrWithdrawn) {
			t.Errorf("%s after that: %v, want %v", name, err, approvals.ErrWithdrawn)
		}
	}
	events, err := o.store.Events(t.Context(), r.ID)
	if err != nil || strings.Contains(fmt.Sprint(events), "Ann has left") {
		t.Errorf("records are %+v, %v; want no free text", events, err)
	}
	if kinds := o.kinds(r.ID); kinds != "[pending resend cancelled]" {
		t.Errorf("records are %s", kinds)
	}
}
