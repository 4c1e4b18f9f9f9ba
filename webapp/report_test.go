package webapp

import (
	"errors"
	"net/http"
	"net/url"
	"testing"
	"time"

	"assent/approvals"
	"assent/ciba/rowtest"
)

// asks reports what becomes of the bot's next request for a person.
func (w *world) asks(who approvals.PersonID) error {
	w.t.Helper()
	agent, err := w.people.Agent(w.t.Context(), "travel-bot")
	check(w.t, err)
	person, err := w.people.Person(w.t.Context(), who)
	check(w.t, err)
	_, _, err = w.desk.Open(w.t.Context(), approvals.Ask{Agent: agent, Subject: person, Scope: []string{"openid"}})
	return err
}

// TestReportOnThePage is REQ-266: a person denies and reports without script and without a better sign-in, whatever the
// approval would take; the pair is blocked, and what else the agent had is gone.
func TestReportOnThePage(t *testing.T) {
	rowtest.Row(t, "REQ-266")
	w := newWorld(t, false)
	other := w.ask("ann", payment)
	r := w.ask("ann", payment, func(a *approvals.Ask) { a.Level = approvals.LevelPasskey })
	b, p := w.openPage(r)
	p.want(http.StatusOK, "Report as suspicious", "It cannot ask you again until someone reviews it.")
	for range 2 { // a double tap
		done := b.follow(b.press(p, "/report"))
		done.want(http.StatusOK, "Denied and reported. Travel Bot cannot ask you again until someone reviews it.")
	}
	got := w.read(r)
	if got.State != approvals.Denied || len(got.Decisions) != 1 || !got.Decisions[0].Reported {
		t.Errorf("%s, %+v", got.State, got.Decisions)
	}
	if err := w.asks("ann"); !errors.Is(err, approvals.ErrShutOut) {
		t.Errorf("the agent asks again: %v", err)
	}
	if err := w.asks("min"); err != nil {
		t.Errorf("the agent asks somebody else: %v", err)
	}
	b.get("/requests/"+string(other.ID)).want(http.StatusOK, "Withdrawn, because you disconnected or reported Travel Bot.")
	elsewhere := w.signedIn("ann")
	elsewhere.header.Set("User-Agent", "Mozilla/5.0 (iPhone) Safari/604.1")
	elsewhere.get("/requests/"+string(r.ID)).want(http.StatusOK, "Already denied on Chrome (Android)", "It was reported as suspicious, too.")
}

// TestReportRefused: nobody reports for somebody else, with a form of another sign-in, or from another site.
func TestReportRefused(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b, p := w.openPage(r)
	at := "/requests/" + string(r.ID) + "/report"
	fields := p.form("/report").fields
	w.signedIn("min").post(at, fields).want(http.StatusForbidden, "다른 사람에게 온 요청이에요").lacks("Travel Bot", "480")
	w.browser().post(at, fields).want(http.StatusSeeOther)
	w.signedIn("ann").post(at, fields).want(http.StatusForbidden, "This page is out of date")
	b.post(at, url.Values{"token": {"forged"}}).want(http.StatusForbidden)
	b.send("POST", at, fields.Encode(), http.Header{"Content-Type": {"application/x-www-form-urlencoded"},
		"Sec-Fetch-Site": {"cross-site"}}).want(http.StatusForbidden)
	b.get(at).want(http.StatusMethodNotAllowed)
	if got := w.read(r); got.State != approvals.Pending {
		t.Errorf("state %s", got.State)
	}
	if err := w.asks("ann"); err != nil {
		t.Errorf("the pair is blocked: %v", err)
	}
}

// TestWrongPersonIsAudited is ux 8 #10: who acts on somebody else's request learns nothing, changes nothing, and leaves an
// audit record; a flood of tries leaves no flood of records, and looking leaves none.
func TestWrongPersonIsAudited(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b := w.signedIn("min")
	b.get("/requests/" + string(r.ID)).want(http.StatusForbidden)
	for range 10 {
		for _, verb := range []string{"approve", "deny", "report", "opened"} {
			b.post("/requests/"+string(r.ID)+"/"+verb, url.Values{"token": {"x"}}).want(http.StatusForbidden).lacks("Travel Bot", "480")
		}
	}
	events, err := w.store.Events(t.Context(), r.ID)
	check(t, err)
	if len(events) != 9 {
		t.Errorf("%d audit records, want the request and 8 refusals", len(events))
	}
	if e := events[1]; e.Kind != "refused" || e.By.ID != "min" || e.Facts["reason"] != "wrong_person" {
		t.Errorf("audit record %+v", e)
	}
	if got := w.read(r); got.State != approvals.Pending || !got.OpenedAt.IsZero() {
		t.Errorf("%s, opened at %s", got.State, got.OpenedAt)
	}
}

// TestDisconnectedAtTheClick is ux 8 #10: a yes that comes after the person has shut the agent out elsewhere is none, and
// the page says why.
func TestDisconnectedAtTheClick(t *testing.T) {
	w := newWorld(t, false)
	for name, tt := range map[string]struct {
		who   approvals.PersonID
		words string
	}{"English": {"ann", "Withdrawn, because you disconnected or reported Travel Bot."},
		"Korean": {"min", "취소된 요청이에요. Travel Bot의 연결을 끊었거나 신고했어요."}} {
		t.Run(name, func(t *testing.T) {
			r := w.ask(tt.who, payment)
			b, p := w.openPage(r)
			check(t, w.desk.Disconnect(t.Context(), tt.who, "travel-bot"))
			for _, verb := range []string{"/approve", "/deny", "/report"} {
				b.follow(b.press(p, verb)).want(http.StatusOK, tt.words)
			}
			events, err := w.store.Events(t.Context(), r.ID)
			check(t, err)
			last := events[len(events)-1]
			if len(events) != 2 || last.Kind != "cancelled" || last.By.ID != string(tt.who) || last.Facts["reason"] != "shut_out" {
				t.Errorf("%d audit records, the last %+v", len(events), last)
			}
		})
	}
}

// TestPausedAtTheClick: what waits when the person pauses the agent can still be decided.
func TestPausedAtTheClick(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b, p := w.openPage(r)
	check(t, w.desk.Pause(t.Context(), "ann", "travel-bot", start.Add(time.Hour)))
	b.follow(b.press(p, "/approve")).want(http.StatusOK, "Approved at 14:26 CET.")
}
