package webapp

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/approvals"
)

// order lists the links of requests on a page, from top to bottom.
func (p *page) order() (ids []string) {
	for _, n := range p.all("a") {
		if id, ok := strings.CutPrefix(attr(n, "id"), "r-"); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

func living(d time.Duration) func(*approvals.Ask) {
	return func(a *approvals.Ask) { a.Life = d }
}

// TestInboxGroups: by time left, and those of one agent together where the most urgent of them stands. Nothing approves
// more than one, and only an agent with more than one can be denied at once.
func TestInboxGroups(t *testing.T) {
	w := newWorld(t, false)
	mail := w.from("mail-bot", "Mail Bot")
	late := w.ask("ann", payment, living(time.Hour))
	middle := w.ask("ann", reading, mail, living(30*time.Minute))
	soon := w.ask("ann", payment, living(10*time.Minute))
	p := w.signedIn("ann").get("/").want(http.StatusOK, "Travel Bot · 2 requests", "Deny all from Travel Bot", "Deny these 2")
	want := []string{string(soon.ID), string(late.ID), string(middle.ID)}
	if got := p.order(); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("order %v, want %v", got, want)
	}
	p.lacks("Deny all from Mail Bot")
	if n := strings.Count(textOf(p.doc), "Travel Bot"); n != 2 { // the heading, and what denies all
		t.Errorf("the agent of two requests is named %d times", n)
	}
	for _, n := range p.all("form") {
		if strings.Contains(attr(n, "action"), "approve") {
			t.Error("the inbox approves")
		}
	}
}

// TestInboxReported: what a person has reported ends with the word that the history has for it.
func TestInboxReported(t *testing.T) {
	w := newWorld(t, false)
	b, p := w.openPage(w.ask("ann", payment))
	b.press(p, "/report").want(http.StatusSeeOther)
	b.get("/").want(http.StatusOK, "Reported").lacks("Denied")
}

// TestDenyAll, without script: those that were on the screen are denied, each by a decision of its own; what was decided
// meanwhile or came later is left, and the page says of each what it is.
func TestDenyAll(t *testing.T) {
	w := newWorld(t, false)
	one, two, three := w.ask("ann", payment), w.ask("ann", reading), w.ask("ann", payment)
	mails := w.ask("ann", reading, w.from("mail-bot", "Mail Bot"))
	b := w.signedIn("ann")
	inbox := b.get("/")
	b.press(b.get("/requests/"+string(two.ID)), "/approve").want(http.StatusSeeOther)
	later := w.ask("ann", payment)
	for range 2 { // a double tap
		done := b.follow(b.press(inbox, "/agents/travel-bot/deny"))
		done.want(http.StatusOK, "2 denied", "Approved", "Denied")
		if got := done.order(); len(got) != 3 {
			t.Errorf("%d results, want 3", len(got))
		}
	}
	for r, want := range map[*approvals.Request]approvals.State{one: approvals.Denied, two: approvals.Approved,
		three: approvals.Denied, mails: approvals.Pending, later: approvals.Pending} {
		got := w.read(r)
		if got.State != want || want == approvals.Denied && (len(got.Decisions) != 1 || got.Decisions[0].By != "ann") {
			t.Errorf("%s is %s by %+v, want %s", r.ID, got.State, got.Decisions, want)
		}
	}
	b.get("/").want(http.StatusOK, "(2) Approval requests")
}

// TestDenyAllRace: whoever decides one of them at the same moment wins or loses, and nothing is decided twice.
func TestDenyAllRace(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	for range 5 {
		one := w.ask("ann", payment)
		w.ask("ann", payment)
		inbox, alone := b.get("/"), b.get("/requests/"+string(one.ID))
		var both sync.WaitGroup
		both.Go(func() { b.press(inbox, "/agents/travel-bot/deny").want(http.StatusSeeOther) })
		both.Go(func() { b.press(alone, "/approve").want(http.StatusSeeOther) })
		both.Wait()
		if got := w.read(one); len(got.Decisions) != 1 {
			t.Errorf("%s with %d decisions", got.State, len(got.Decisions))
		}
	}
}

// TestDenyAllFails: what could not be written still waits, and the page says so.
func TestDenyAllFails(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	w.ask("ann", payment)
	b := w.signedIn("ann")
	f := b.get("/").form("/deny")
	b.press(b.get("/requests/"+string(r.ID)), "/deny")
	b.get("/agents/travel-bot/denied?requests="+strings.ReplaceAll(f.fields.Get("requests"), " ", "+")).
		want(http.StatusOK, "1 denied", "1 of them still wait.", "Still waiting")
	f.fields.Set("requests", strings.Repeat(string(r.ID)+" ", maxWaiting)+string(r.ID))
	b.post(f.action, f.fields).want(http.StatusBadRequest)
	f.fields.Set("requests", "")
	b.post(f.action, f.fields).want(http.StatusBadRequest)
}

// TestNextWaiting: the result leads to the most urgent of what waits, and to the agent when nothing can be undone.
func TestNextWaiting(t *testing.T) {
	w := newWorld(t, false)
	first := w.ask("ann", payment)
	b, p := w.openPage(first)
	b.follow(b.press(p, "/approve")).want(http.StatusOK).lacks("Waiting next")
	w.ask("ann", payment, living(time.Hour))
	soon := w.ask("ann", reading, living(20*time.Minute))
	done := b.get("/requests/"+string(first.ID)).want(http.StatusOK, "Waiting next", "Read “doc-7781”")
	if got := done.order(); len(got) != 1 || got[0] != string(soon.ID) {
		t.Errorf("next is %v, want %s", got, soon.ID)
	}
	b.get("/requests/" + string(w.stands("ann").ID)).want(http.StatusOK)
}

// TestLiveInboxGroups: what the stream sends is the grouped inbox, with the same ids for what has the focus.
func TestLiveInboxGroups(t *testing.T) {
	w := newWorld(t, false)
	w.ask("ann", payment)
	b := w.signedIn("ann")
	before := b.get("/")
	w.ask("ann", payment)
	news := b.get("/live?inbox=1&once=1&seen=" + attr(before.all("div")[0], "data-seen"))
	news.want(http.StatusOK, "Travel Bot · 2 requests", "Deny all from Travel Bot")
	after := b.get("/")
	for _, id := range append(before.order(), "x") {
		if id != "x" && !strings.Contains(news.body, `id="r-`+id+`"`) {
			t.Errorf("no #r-%s in the fragment", id)
		}
	}
	for _, id := range []string{`id="all-travel-bot"`, `id="all-travel-bot-summary"`, `id="all-travel-bot-now"`} {
		if !strings.Contains(news.body, id) || !strings.Contains(after.body, id) {
			t.Errorf("no %s", id)
		}
	}
}
