package sms_test

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
	"assent/channels"
	"assent/channels/channeltest"
	"assent/channels/sms/twiliosim"
)

// ladder is a desk and a dispatcher over the house's channel, with a second address behind it.
type ladder struct {
	*house
	*channels.Dispatcher
	desk *approvals.Desk
	mail *channeltest.Recorder
}

func newLadder(t *testing.T) *ladder {
	t.Helper()
	l := &ladder{house: newHouse(t), mail: channeltest.NewRecorder("mail")}
	l.set(noon)
	log, hub := slog.New(slog.DiscardHandler), approvals.NewHub()
	dir := approvals.NewDirectory(l.store, hub, 0, l.now)
	l.desk = approvals.NewDesk(approvals.DeskParts{Store: l.store, Records: l.store, Directory: dir, Hub: hub,
		Hash: func(s string) []byte { return l.cfg.Root.MAC(keys.LabelHandle, s) }, Now: l.now, Log: log})
	l.Dispatcher = &channels.Dispatcher{Desk: l.desk, Directory: dir, Records: l.store, Root: l.cfg.Root, PagesURL: pages,
		Channels:  map[string]channels.Channel{"sms": l.Channel, "mail": l.mail},
		Addresses: func(p *approvals.Person) []approvals.Address { return p.Addresses }, Now: l.now, Log: log}
	l.setReceipt(l.Dispatcher.Receipt)
	ann := &approvals.Person{ID: "ann", Name: "Ann", Locale: "en", Zone: "Europe/Berlin", Addresses: []approvals.Address{
		to(phone), {Channel: "mail", Value: "ann@example.com"}}}
	if err := dir.SavePerson(t.Context(), ann); err != nil {
		t.Fatal(err)
	}
	if err := dir.SaveAgent(t.Context(), &approvals.Agent{ID: "bot", Name: "Travel Bot"}); err != nil {
		t.Fatal(err)
	}
	return l
}

// ask opens a request of ten minutes for Ann.
func (l *ladder) ask(t *testing.T) approvals.ID {
	t.Helper()
	ann, err := l.Directory.Person(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	bot, err := l.Directory.Agent(t.Context(), "bot")
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := l.desk.Open(t.Context(), approvals.Ask{Agent: bot, Subject: ann, Scope: []string{"openid"},
		Life: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return r.ID
}

// after moves the clock and takes what is due.
func (l *ladder) after(t *testing.T, d time.Duration) {
	t.Helper()
	l.set(l.now().Add(d))
	if _, err := l.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (l *ladder) timeline(t *testing.T, id approvals.ID) (out []string) {
	t.Helper()
	r, err := l.desk.Request(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range r.Deliveries {
		line := d.Channel + " " + string(d.Status)
		if d.Code != "" {
			line += " " + d.Code
		}
		out = append(out, line)
	}
	return out
}

func (l *ladder) wants(t *testing.T, id approvals.ID, texts, mails int, timeline ...string) {
	t.Helper()
	if got := l.timeline(t, id); !slices.Equal(got, timeline) {
		t.Errorf("timeline %q, want %q", got, timeline)
	}
	if n := len(l.twilio.Messages()); n != texts {
		t.Errorf("provider has %d messages, want %d", n, texts)
	}
	if n := len(l.mail.Items()); n != mails {
		t.Errorf("%d mails, want %d", n, mails)
	}
}

// TestFlowReportBeforeAnswer: a report that overtakes the answer counts, and what comes after it changes nothing.
func TestFlowReportBeforeAnswer(t *testing.T) {
	l := newLadder(t)
	l.twilio.Behave(twiliosim.Behaviour{Early: []string{"delivered", "sent", "delivered"}})
	id := l.ask(t)
	l.after(t, 0)
	l.wants(t, id, 1, 0, "sms delivered")
	sid := l.twilio.Messages()[0].SID
	for _, word := range []string{"sent", "undelivered 30003", "queued", "delivered", "read", "delivered"} {
		if status, err := l.twilio.Report(t.Context(), sid, word); err != nil || status != 204 {
			t.Errorf("%s: answered %d, %v", word, status, err)
		}
	}
	l.wants(t, id, 1, 0, "sms delivered", "sms opened")
}

// TestFlowFailureBeforeAnswer: so does a failure, and the next address is tried.
func TestFlowFailureBeforeAnswer(t *testing.T) {
	l := newLadder(t)
	l.twilio.Behave(twiliosim.Behaviour{Early: []string{"undelivered 30003"}})
	id := l.ask(t)
	l.after(t, 0)
	l.wants(t, id, 1, 1, "sms failed 30003", "mail accepted")
}

// TestFlowFailureReport: a failure that is reported later moves on at once, not after the wait.
func TestFlowFailureReport(t *testing.T) {
	l := newLadder(t)
	id := l.ask(t)
	l.after(t, 0)
	l.twilio.Report(t.Context(), l.twilio.Messages()[0].SID, "undelivered 30007")
	l.wants(t, id, 1, 1, "sms accepted", "sms failed 30007", "mail accepted")
}

// TestFlowLostAnswer: nobody knows, so the provider's report is waited for; with it nothing is sent again, and without it
// the message is sent once more.
func TestFlowLostAnswer(t *testing.T) {
	l := newLadder(t)
	l.twilio.Behave(twiliosim.Behaviour{Break: true})
	id := l.ask(t)
	l.after(t, 0)
	l.after(t, 30*time.Second)
	l.wants(t, id, 1, 0, "sms unknown bad_answer")
	l.twilio.Behave(twiliosim.Behaviour{})
	l.twilio.Report(t.Context(), l.twilio.Messages()[0].SID, "queued")
	l.after(t, 29*time.Second)
	l.wants(t, id, 1, 0, "sms unknown bad_answer", "sms accepted")

	other := newLadder(t)
	other.twilio.Behave(twiliosim.Behaviour{Break: true})
	id = other.ask(t)
	other.after(t, 0)
	other.twilio.Behave(twiliosim.Behaviour{})
	other.after(t, 61*time.Second)
	other.wants(t, id, 2, 0, "sms unknown bad_answer", "sms accepted")
}

// TestFlowRefusals: what will never pass moves on at once; what is busy is tried again.
func TestFlowRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		b    twiliosim.Behaviour
		code string
	}{
		"number": {twiliosim.Behaviour{Status: 400, Code: 21211}, "21211"},
		"region": {twiliosim.Behaviour{Status: 400, Code: 21408}, "21408"},
		"fault":  {twiliosim.Behaviour{Status: 401, Code: 20003}, "20003"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLadder(t)
			l.twilio.Behave(tt.b)
			id := l.ask(t)
			l.after(t, 0)
			l.wants(t, id, 0, 1, "sms failed "+tt.code, "mail accepted")
		})
	}
	l := newLadder(t)
	l.twilio.Behave(twiliosim.Behaviour{Status: 429, Code: 20429, After: 20})
	id := l.ask(t)
	l.after(t, 0)
	l.twilio.Behave(twiliosim.Behaviour{})
	l.after(t, 19*time.Second)
	l.wants(t, id, 0, 0, "sms failed 20429")
	l.after(t, 2*time.Second)
	l.wants(t, id, 1, 0, "sms failed 20429", "sms accepted")
}

// TestFlowStop: whoever has said STOP is told by the next address.
func TestFlowStop(t *testing.T) {
	l := newLadder(t)
	l.twilio.Inbound(t.Context(), phone, "STOP")
	id := l.ask(t)
	l.after(t, 0)
	l.wants(t, id, 0, 1, "sms failed opted_out", "mail accepted")
}
