package webapp

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"assent/approvals"
)

// from makes another agent the one that asks; it is registered when it is new.
func (w *world) from(id approvals.AgentID, name string) func(*approvals.Ask) {
	w.t.Helper()
	agent, err := w.people.Agent(w.t.Context(), id)
	if errors.Is(err, approvals.ErrNotFound) {
		agent = &approvals.Agent{ID: id, Name: name, Operator: "Example Mail", Types: []string{"payment_initiation", "document_access"}}
		err = w.people.SaveAgent(w.t.Context(), agent)
	}
	check(w.t, err)
	return func(a *approvals.Ask) { a.Agent = agent }
}

const reading = `[{"type":"document_access","identifier":"doc-7781","name":"Offer","actions":["read"]}]`

func standing(a *approvals.Ask) { a.Standing = true }

// redeemed has a request approved and collected.
func (w *world) redeemed(r *approvals.Request, secret string) {
	w.t.Helper()
	_, err := w.desk.Redeem(w.t.Context(), r.Agent, r.ID, secret)
	check(w.t, err)
}

// stands is an approval that the bot can come back on.
func (w *world) stands(who approvals.PersonID) *approvals.Request {
	w.t.Helper()
	var secret string
	r := w.ask(who, reading, standing, func(a *approvals.Ask) {
		a.Also = func(_ *approvals.Request, s string) ([]approvals.Write, error) { secret = s; return nil, nil }
	})
	b := w.signedIn(who)
	b.press(b.get("/requests/"+string(r.ID)), "/approve").want(http.StatusSeeOther)
	w.redeemed(r, secret)
	return r
}

// TestAgents: a person sees every agent that has asked them, nobody else's, and what each has asked within 30 days.
func TestAgents(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	b.get("/agents").want(http.StatusOK, "No agent has asked you yet.")
	w.ask("ann", payment)
	w.ask("ann", reading, w.from("mail-bot", "Mail Bot"))
	w.ask("min", reading, w.from("other-bot", "Other Bot"))
	deny := w.ask("ann", payment)
	b.press(b.get("/requests/"+string(deny.ID)), "/deny").want(http.StatusSeeOther)
	yes := w.ask("ann", payment)
	b.press(b.get("/requests/"+string(yes.ID)), "/approve").want(http.StatusSeeOther)
	list := b.get("/agents").want(http.StatusOK, "Travel Bot 30 days: 3 asked, 1 approved, 1 denied",
		"Mail Bot 30 days: 1 asked, 0 approved, 0 denied")
	list.lacks("Other Bot", "other-bot")
	w.advance(31 * 24 * time.Hour)
	b = w.signedIn("ann")
	b.get("/agents").want(http.StatusOK, "Travel Bot 30 days: 0 asked")
	b.get("/agents/mail-bot").want(http.StatusOK, "Mail Bot", "mail-bot", "Operated byExample Mail", "pay money", "read, change, share or delete documents")
	const anything = "anything else, every value of which you then read as it was sent"
	b.get("/agents/travel-bot").want(http.StatusOK, anything)
	b.get("/agents/mail-bot").lacks(anything)
	korean := w.signedIn("min").get("/agents/other-bot")
	korean.want(http.StatusOK, "결제", "문서 읽기, 수정, 공유, 삭제", "최근 30일: 요청 0건, 승인 0건, 거절 0건", "1시간 멈춤", "연결 끊기")
}

// TestAgentCounts: beyond a hundred the page does not pretend to have counted.
func TestAgentCounts(t *testing.T) {
	for _, tt := range []struct {
		n     int
		short bool
		want  string
	}{{0, false, "0"}, {100, false, "100"}, {101, false, "100+"}, {7, true, "7+"}, {500, true, "100+"}} {
		if got := many(tt.n, tt.short); got != tt.want {
			t.Errorf("%d, %v: %s, want %s", tt.n, tt.short, got, tt.want)
		}
	}
}

// TestPauseOnThePage, without script: paused, resumed, and each page says how things stand.
func TestPauseOnThePage(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b := w.signedIn("ann")
	paused := b.follow(b.press(b.get("/agents/travel-bot"), "/pause"))
	paused.want(http.StatusOK, "Paused. New requests are refused for an hour.", "Paused until 15:26 CET", "Resume")
	if err := w.asks("ann"); !errors.Is(err, approvals.ErrShutOut) {
		t.Errorf("it asks while paused: %v", err)
	}
	b.get("/agents").want(http.StatusOK, "Paused until 15:26 CET")
	b.get("/requests/"+string(r.ID)).want(http.StatusOK, "Approve 480.00 EUR")
	resumed := b.follow(b.press(paused, "/resume")).want(http.StatusOK, "Resumed. It may ask you again.")
	if err := w.asks("ann"); err != nil {
		t.Errorf("it asks after the pause: %v", err)
	}
	b.get("/agents/travel-bot?done=paused").lacks("New requests are refused for an hour.</p>", "role=\"status\">Paused")
	b.press(resumed, "/pause")
	w.advance(time.Hour)
	b.get("/agents/travel-bot").want(http.StatusOK).lacks("Paused until")
}

// TestDisconnectOnThePage, without script: everything of the agent ends, and connecting again brings nothing of it back.
func TestDisconnectOnThePage(t *testing.T) {
	w := newWorld(t, false)
	stands, waits, theirs := w.stands("ann"), w.ask("ann", payment), w.ask("min", payment)
	b := w.signedIn("ann")
	p := b.get("/agents/travel-bot").want(http.StatusOK, "May come back without asking", "Read “doc-7781”", "Disconnect now")
	off := b.follow(b.press(p, "/disconnect")).want(http.StatusOK, "Disconnected. What waited was withdrawn.", "Connect again")
	off.lacks("May come back without asking")
	if got := w.read(waits); got.State != approvals.Cancelled || got.Reason != approvals.ShutOut {
		t.Errorf("what waited is %s (%s)", got.State, got.Reason)
	}
	if w.read(stands).RevokedAt.IsZero() {
		t.Error("the agent can still come back")
	}
	if got := w.read(theirs); got.State != approvals.Pending {
		t.Errorf("somebody else's request is %s", got.State)
	}
	if err := w.asks("ann"); !errors.Is(err, approvals.ErrShutOut) {
		t.Errorf("it asks: %v", err)
	}
	b.follow(b.press(off, "/reconnect")).want(http.StatusOK, "Connected again.")
	if err := w.asks("ann"); err != nil {
		t.Errorf("it asks after connecting again: %v", err)
	}
	if w.read(stands).RevokedAt.IsZero() {
		t.Error("connecting again has brought an approval back")
	}
}

// TestStopOnThePage ends one approval and leaves the agent connected.
func TestStopOnThePage(t *testing.T) {
	w := newWorld(t, false)
	one, two := w.stands("ann"), w.stands("ann")
	b := w.signedIn("ann")
	p := b.get("/agents/travel-bot")
	f := p.form("/stop")
	f.fields.Set("request", string(one.ID))
	for range 2 { // a double tap
		b.follow(b.post(f.action, f.fields)).want(http.StatusOK, "Stopped. What the agent already holds ends within five minutes.")
	}
	if w.read(one).RevokedAt.IsZero() || !w.read(two).RevokedAt.IsZero() {
		t.Error("not the one that was stopped")
	}
}

// TestStopWhileCollecting: an approval that the agent collects in another process, of which this one has not heard, is
// stopped all the same.
func TestStopWhileCollecting(t *testing.T) {
	for _, page := range []string{"/stop", "/withdraw"} {
		w := newWorld(t, false)
		r := w.ask("ann", reading, standing)
		b := w.signedIn("ann")
		at := b.get("/requests/" + string(r.ID))
		shown := b.follow(b.press(at, "/approve"))
		if page == "/stop" {
			shown = b.get("/agents/travel-bot")
		}
		_, err := w.store.Update(t.Context(), r.ID, func(r *approvals.Request) error { return r.Redeem(w.clock()) })
		check(t, err)
		b.follow(b.press(shown, page)).want(http.StatusOK, "Stopped.")
		if got := w.read(r); got.State != approvals.Redeemed || got.RevokedAt.IsZero() {
			t.Errorf("%s: %s, and the agent can come back", page, got.State)
		}
	}
}

// TestStoppedIsTrue: a link that somebody made up does not say that anything was stopped.
func TestStoppedIsTrue(t *testing.T) {
	w := newWorld(t, false)
	stands, waits, theirs := w.stands("ann"), w.ask("ann", payment), w.stands("min")
	check(t, errors.Join(w.taken("ann", stands), w.taken("min", theirs)))
	more := w.stands("ann")
	b := w.signedIn("ann")
	const said = "What the agent already holds ends"
	for _, request := range []approvals.ID{"", "x", more.ID, waits.ID, theirs.ID} {
		b.get("/agents/travel-bot?done=stopped&request=" + string(request)).want(http.StatusOK).lacks(said)
	}
	b.get("/agents/travel-bot?done=stopped&request="+string(stands.ID)).want(http.StatusOK, said)
}

// taken has a person take an approval back.
func (w *world) taken(who approvals.PersonID, r *approvals.Request) error {
	_, err := w.desk.TakeBack(w.t.Context(), r.ID, who)
	return err
}

// TestLinkNarrowsOnly: whoever has a link and nothing else may keep an agent away from its person, but gives it nothing
// back, and does not read what is long past. Dev mode's ceiling makes links as good as anything.
func TestLinkNarrowsOnly(t *testing.T) {
	for _, ceiling := range []approvals.Level{approvals.LevelLink, approvals.LevelSession, approvals.LevelPasskey} {
		w := newWorld(t, true)
		w.desk.Ceiling = ceiling
		r := w.ask("ann", payment)
		b := w.browser()
		b.follow(b.press(b.get("/r/"+w.handle(r)), "/r/")).want(http.StatusOK)
		weak := ceiling > approvals.LevelLink
		refused := func(what string, p *page) {
			t.Helper()
			asked := strings.HasPrefix(p.header.Get("Location"), "/signin?next=")
			if asked != weak {
				t.Errorf("ceiling %v: %s: %d, %q", ceiling, what, p.status, p.header.Get("Location"))
			}
		}
		paused := b.follow(b.press(b.get("/agents/travel-bot"), "/pause")).want(http.StatusOK, "Paused until")
		refused("resume", b.press(paused, "/resume"))
		if p, err := w.desk.Pair(t.Context(), "ann", "travel-bot"); err != nil || p.Paused(w.clock()) != weak {
			t.Errorf("ceiling %v: paused %v, %v", ceiling, p.Paused(w.clock()), err)
		}
		off := b.follow(b.press(b.get("/agents/travel-bot"), "/disconnect")).want(http.StatusOK, "Connect again")
		refused("reconnect", b.press(off, "/reconnect"))
		if p, err := w.desk.Pair(t.Context(), "ann", "travel-bot"); err != nil || p.DisconnectedAt.IsZero() == weak {
			t.Errorf("ceiling %v: disconnected at %v, %v", ceiling, p.DisconnectedAt, err)
		}
		refused("the history", b.get("/history"))
		refused("one of it", b.get("/history/"+string(r.ID)))
	}
}

// TestReportedAgent: only a review lifts a report, and the page says so.
func TestReportedAgent(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b, p := w.openPage(r)
	b.press(p, "/report").want(http.StatusSeeOther)
	about := b.get("/agents/travel-bot").want(http.StatusOK, "Reported: it cannot ask you until someone reviews it")
	if about.hasForm("/reconnect") || about.hasForm("/pause") {
		t.Error("a report can be lifted by the person")
	}
	about = b.follow(b.press(about, "/disconnect")).want(http.StatusOK, "You have reported it as well")
	b.follow(b.press(about, "/reconnect")).want(http.StatusOK, "Reported: it cannot ask you")
	_, err := w.desk.Clear(t.Context(), "travel-bot")
	check(t, err)
	b.get("/agents/travel-bot").want(http.StatusOK, "Pause for 1 hour").lacks("Reported")
}

// TestAgentsOfOthers: an agent that has never asked this person looks like one that does not exist, and nobody acts on it,
// nor with the forms of somebody else.
func TestAgentsOfOthers(t *testing.T) {
	w := newWorld(t, false)
	theirs := w.ask("min", payment)
	ann, min := w.signedIn("ann"), w.signedIn("min")
	minForm := min.get("/agents/travel-bot").form("/pause").fields
	w.browser().get("/agents").want(http.StatusSeeOther)
	w.browser().get("/agents/travel-bot").want(http.StatusSeeOther)
	known, nobody := ann.get("/agents/travel-bot"), ann.get("/agents/nobody")
	known.want(http.StatusNotFound, "There is no such page").lacks("Travel Bot")
	if known.words() != nobody.words() || nobody.status != known.status {
		t.Errorf("the pages differ:\n%s\n%s", known.words(), nobody.words())
	}
	anns := w.ask("ann", reading, w.from("mail-bot", "Mail Bot"))
	own := ann.get("/agents/mail-bot").form("/pause").fields
	for _, verb := range []string{"pause", "resume", "disconnect", "reconnect"} {
		for name, values := range map[string]url.Values{"min's form": minForm, "the form of an agent of hers": own, "no token": {}} {
			if p := ann.post("/agents/travel-bot/"+verb, values); p.status != http.StatusForbidden {
				t.Errorf("%s with %s: %d", verb, name, p.status)
			}
		}
		if p := ann.get("/agents/mail-bot/" + verb); p.status != http.StatusMethodNotAllowed {
			t.Errorf("GET %s: %d", verb, p.status)
		}
		if p := ann.send("POST", "/agents/mail-bot/"+verb, own.Encode(), http.Header{"Sec-Fetch-Site": {"cross-site"},
			"Content-Type": {"application/x-www-form-urlencoded"}}); p.status != http.StatusForbidden {
			t.Errorf("%s from another site: %d", verb, p.status)
		}
	}
	for _, id := range []string{string(theirs.ID), string(anns.ID) + " " + string(theirs.ID)} {
		for _, verb := range []string{"stop", "deny"} {
			field := map[string]string{"stop": "request", "deny": "requests"}[verb]
			p := ann.post("/agents/mail-bot/"+verb, url.Values{"token": own["token"], field: {id}})
			p.want(http.StatusForbidden, "This request is for someone else").lacks("Travel Bot", "480")
		}
		ann.get("/agents/mail-bot/denied?requests="+url.QueryEscape(id)).want(http.StatusForbidden).lacks("Travel Bot", "480")
	}
	if got := w.read(theirs); got.State != approvals.Pending {
		t.Errorf("state %s", got.State)
	}
	if got := w.read(anns); got.State != approvals.Pending {
		t.Errorf("state %s", got.State)
	}
	for who, agent := range map[approvals.PersonID]approvals.AgentID{"min": "travel-bot", "ann": "mail-bot"} {
		if p, err := w.desk.Pair(t.Context(), who, agent); err != nil || p.Revision != 0 {
			t.Errorf("%s has said something about %s: %+v, %v", who, agent, p, err)
		}
	}
}

// TestAgentsPaged: who asked before the requests that are read at once stands on the next page, and only there.
func TestAgentsPaged(t *testing.T) {
	w := newWorld(t, false)
	w.ask("ann", reading, w.from("old-bot", "Old Bot"))
	for range maxAsked + 1 {
		w.advance(time.Millisecond) // ids of one millisecond have no order
		check(t, w.asks("ann"))
	}
	b := w.signedIn("ann")
	p := b.get("/agents").want(http.StatusOK, "Travel Bot 30 days: 100+ asked", "Who asked earlier")
	p.lacks("Old Bot")
	next := ""
	for _, n := range p.all("a") {
		if textOf(n) == "Who asked earlier" {
			next = attr(n, "href")
		}
	}
	b.get(next).want(http.StatusOK, "Old Bot 30 days: 1 asked").lacks("Travel Bot")
	b.get("/agents/old-bot").want(http.StatusOK, "Old Bot")
	b.get("/agents?before=nothing").want(http.StatusBadRequest)
}

// TestPagesReadLittle: what a page about agents or the past reads does not grow with what there is, nor with what other
// agents have asked.
func TestPagesReadLittle(t *testing.T) {
	w := newWorld(t, false)
	w.ask("ann", reading, w.from("old-bot", "Old Bot"))
	for range 2 * maxAsked {
		w.advance(time.Millisecond)
		check(t, w.asks("ann"))
	}
	b := w.signedIn("ann")
	for path, most := range map[string]int64{"/agents": maxAsked + 1, "/agents/travel-bot": maxAsked + 1, "/agents/old-bot": 2,
		"/history": historyRows + 1 + historyAskers} {
		before := w.listed.Load()
		b.get(path).want(http.StatusOK)
		if n := w.listed.Load() - before; n > most {
			t.Errorf("%s reads %d requests, want at most %d", path, n, most)
		}
	}
	b.get("/agents/old-bot").want(http.StatusOK, "Old Bot", "30 days: 1 asked")
}

// TestAgentGone: an agent that operators have disabled or removed is named as the person knew it.
func TestAgentGone(t *testing.T) {
	w := newWorld(t, false)
	w.ask("ann", payment)
	b := w.signedIn("ann")
	agent, err := w.people.Agent(t.Context(), "travel-bot")
	check(t, err)
	off := *agent
	off.Disabled = true
	check(t, w.people.SaveAgent(t.Context(), &off))
	b.get("/agents").want(http.StatusOK, "Travel Bot Switched off by an operator")
	if agent, err = w.people.Agent(t.Context(), "travel-bot"); err == nil {
		err = w.people.RemoveAgent(t.Context(), agent)
	}
	check(t, err)
	b.get("/agents/travel-bot").want(http.StatusOK, "Travel Bot", "Switched off by an operator")
}

// TestOddAgentIDs: ids that mean something in addresses lead where they belong.
func TestOddAgentIDs(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	for i, id := range []approvals.AgentID{"a.b~c", "denied", "-", "_._"} {
		name := fmt.Sprintf("Odd %d", i)
		w.ask("ann", reading, w.from(id, name))
		b.follow(b.press(b.get("/agents/"+string(id)), "/pause")).want(http.StatusOK, name, "Paused until")
	}
}
