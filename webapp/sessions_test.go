package webapp

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
)

// held is what the browser's session cookie holds.
func (b *browserOf) held() string {
	b.w.t.Helper()
	at, err := url.Parse(b.w.server.URL)
	check(b.w.t, err)
	for _, c := range b.client.Jar.Cookies(at) {
		if c.Name == b.w.pages.cookie(cookieSession, "x", time.Hour).Name {
			return c.Value
		}
	}
	return ""
}

// with is a browser that has nothing but somebody's session cookie, as a thief of it would.
func (w *world) with(secret string) *browserOf {
	w.t.Helper()
	b := w.browser()
	at, err := url.Parse(w.server.URL)
	check(w.t, err)
	b.client.Jar.SetCookies(at, []*http.Cookie{w.pages.cookie(cookieSession, secret, time.Hour)})
	return b
}

func (b *browserOf) isIn() bool {
	b.w.t.Helper()
	return b.get("/inbox").status == http.StatusOK
}

// A session in use gets a new secret each hour. Tabs that are open go on, what was under way with the old secret arrives,
// and a copy of it is worth nothing two minutes later.
func TestSecretTurns(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	first := b.held()
	tab, other := b.open(w.ask("ann", payment, long)), b.open(w.ask("ann", payment, long))
	w.advance(turnAfter - time.Second)
	b.press(b.open(w.ask("ann", payment)), "/deny").want(http.StatusSeeOther)
	if b.held() != first {
		t.Fatal("turned before its time")
	}
	w.advance(time.Second)
	b.press(tab, "/deny").want(http.StatusSeeOther)
	second := b.held()
	if second == first || !b.isIn() {
		t.Fatalf("turned: %v, signed in: %v", second != first, b.isIn())
	}
	late := w.with(first) // whose answer with the new secret was lost
	w.advance(turnOverlap - time.Second)
	if !late.isIn() || late.held() != second {
		t.Error("who missed the new secret is not given it again")
	}
	w.advance(time.Second)
	if w.with(first).isIn() {
		t.Error("the old secret is good for longer")
	}
	b.press(other, "/deny").want(http.StatusSeeOther) // a form from before: same sign-in
	if rows := b.get("/sessions").want(http.StatusOK).sessions(); len(rows) != 1 {
		t.Errorf("%d sessions listed, want the one", len(rows))
	}
}

func long(a *approvals.Ask) { a.Life = 6 * time.Hour }

// Two tabs that turn the secret at one moment agree on the next one.
func TestTabsTurnTogether(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	var pages []*page
	for range 8 {
		pages = append(pages, b.open(w.ask("ann", payment, long)))
	}
	w.advance(turnAfter)
	var running sync.WaitGroup
	for _, p := range pages {
		running.Go(func() {
			if got := b.press(p, "/deny"); got.header.Get("Location") == "/signin" || got.status != http.StatusSeeOther {
				t.Errorf("%d to %s", got.status, got.header.Get("Location"))
			}
		})
	}
	running.Wait()
	w.advance(turnOverlap)
	if !b.isIn() {
		t.Error("signed out by its own tabs")
	}
}

// Confirming with a passkey is a rise: the secret changes with the decision.
func TestSecretTurnsWithTheConfirmation(t *testing.T) {
	w := newNamedWorld(t)
	b, d := w.withPasskey("ann")
	before := b.held()
	tab := b.open(w.ask("ann", payment))
	b.use(b.open(w.ask("ann", payment, high)), "/approve", d.Get).want(http.StatusSeeOther)
	if b.held() == before || !b.isIn() {
		t.Error("the secret did not change, or leads nowhere")
	}
	b.press(tab, "/deny").want(http.StatusSeeOther)
	w.advance(turnOverlap)
	if w.with(before).isIn() {
		t.Error("the secret of before the rise is good")
	}
}

// A sign-in begins under a secret that nobody could have known or planted, and what came before never rises with it.
func TestNoFixation(t *testing.T) {
	w := newNamedWorld(t)
	b, d := w.withPasskey("ann")
	before := b.held()
	s := b.stream(b.get("/").stream(), "")
	defer s.stop()
	s.want("clock")
	s.want("show")
	b.use(b.get("/signin?fresh=1"), "/signin/passkey", d.Get).want(http.StatusSeeOther)
	if w.with(before).isIn() {
		t.Error("the session of before the sign-in still leads in")
	}
	w.hub.Signal(approvals.TopicPerson("ann"))
	if e, more := s.next(); more {
		t.Errorf("the live page of before is told %s, want to come back with the new cookie", e.name)
	}
	planted := newSecret()
	victim := w.with(planted)
	victim.use(victim.get("/signin"), "/signin/passkey", d.Get).want(http.StatusSeeOther)
	if victim.held() == planted || w.with(planted).isIn() || !victim.isIn() {
		t.Error("a planted secret leads in")
	}
}

// stream is where the page's live stream is.
func (p *page) stream() string {
	p.t.Helper()
	at, _ := p.live()
	return at
}

// sessions are the ids on the page, in order; that of the visitor's own is "".
func (p *page) sessions() (ids []string) {
	for _, li := range p.all("li") {
		id := ""
		for _, in := range p.all("input") {
			if attr(in, "name") == "id" && inside(in, li) {
				id = attr(in, "value")
			}
		}
		ids = append(ids, id)
	}
	return ids
}

func TestSessionsListed(t *testing.T) {
	w := newNamedWorld(t)
	b, d := w.withPasskey("ann")
	w.signedIn("min")
	w.advance(time.Hour)
	phone := w.browser()
	phone.header.Set("User-Agent", "Mozilla/5.0 (iPhone) Safari/604.1")
	phone.use(phone.get("/signin"), "/signin/passkey", d.Get).want(http.StatusSeeOther)
	w.advance(time.Minute)
	p := b.get("/sessions").want(http.StatusOK, "Chrome (Android)", "This browser", "with an invitation", "Safari (iPhone)",
		"Signed in 15:26 CET with a passkey.", "Last used 15:26 CET.")
	if got := p.sessions(); len(got) != 2 || got[0] != "" || got[1] == "" {
		t.Fatalf("sessions %q", got)
	}
	w.browser().get("/sessions").want(http.StatusSeeOther)
	min := w.signedIn("min").get("/sessions?lang=ko").want(http.StatusOK, "로그인한 기기", "지금 쓰는 브라우저")
	if got := min.sessions(); len(got) != 2 {
		t.Errorf("sessions of another person: %q", got)
	}
}

// A person ends one session, or all others; live pages of it end at once, nothing of it is good any more, and nobody
// else's is touched.
func TestSessionsEnded(t *testing.T) {
	w := newWorld(t, false)
	b, lost, third, min := w.signedIn("ann"), w.signedIn("ann"), w.signedIn("ann"), w.signedIn("min")
	s := lost.stream(lost.get("/").stream(), "")
	defer s.stop()
	s.want("clock")
	s.want("show")
	open := lost.open(w.ask("ann", payment))
	s.want("show")
	lostID := w.pages.Root.Name(keys.LabelCookie, cookieSession, lost.held())
	minID := w.pages.Root.Name(keys.LabelCookie, cookieSession, min.held())
	token := b.get("/sessions").form("/sessions").fields.Get("token")

	b.post("/sessions", url.Values{"token": {token}, "id": {minID}}).want(http.StatusSeeOther)
	if !min.isIn() {
		t.Fatal("ended somebody else's")
	}
	b.post("/sessions", url.Values{"token": {"x"}, "id": {lostID}}).want(http.StatusForbidden)
	min.post("/sessions", url.Values{"token": {token}, "id": {lostID}}).want(http.StatusForbidden)
	if !lost.isIn() {
		t.Fatal("ended without the form of the page")
	}
	b.post("/sessions", url.Values{"token": {token}, "id": {lostID}}).want(http.StatusSeeOther)
	s.want("end")
	if lost.isIn() || !third.isIn() || !b.isIn() {
		t.Errorf("lost %v, third %v, own %v", lost.isIn(), third.isIn(), b.isIn())
	}
	if got := lost.press(open, "/approve"); got.status != http.StatusSeeOther || w.read(w.last("ann")).State != approvals.Pending {
		t.Errorf("an ended session decides: %d", got.status)
	}
	b.post("/sessions", url.Values{"token": {token}, "id": {lostID}}).want(http.StatusSeeOther) // sent twice
	b.post("/sessions", url.Values{"token": {token}}).want(http.StatusSeeOther)
	if third.isIn() || !b.isIn() || !min.isIn() {
		t.Errorf("third %v, own %v, min %v", third.isIn(), b.isIn(), min.isIn())
	}
	b.get("/sessions").want(http.StatusOK, "You are signed in nowhere else.")
}

func (w *world) last(who approvals.PersonID) *approvals.Request {
	w.t.Helper()
	list, err := w.desk.List(w.t.Context(), approvals.Query{Person: who, Limit: 1})
	check(w.t, err)
	return list[0]
}

// Sessions that no index knows, from an earlier release, go on, get into the list as they are used, and end with all
// others.
func TestSessionsOfBefore(t *testing.T) {
	w := newWorld(t, false)
	before := func() *browserOf {
		secret := newSecret()
		value, err := json.Marshal(map[string]any{"v": 1, "person": "ann", "level": "urn:assent:acr:session",
			"amr": []string{"otp"}, "auth_time": w.clock(), "seen": w.clock(), "ends": w.clock().Add(sessionLife)})
		check(t, err)
		check(t, w.store.Apply(t.Context(), approvals.PutNew(kindSession,
			w.root.Name(keys.LabelCookie, cookieSession, secret), value, w.clock().Add(sessionIdle))))
		return w.with(secret)
	}
	used, unused, b := before(), before(), w.signedIn("ann")
	form := used.open(w.ask("ann", payment))
	used.press(form, "/deny").want(http.StatusSeeOther)
	if rows := b.get("/sessions").sessions(); len(rows) != 2 {
		t.Errorf("%d sessions listed, want its own and the one in use", len(rows))
	}
	used.get("/sessions").want(http.StatusOK, "Unknown device")
	if !unused.isIn() {
		t.Fatal("a session of before is over")
	}
	w.advance(time.Second)
	b.post("/sessions", url.Values{}).want(http.StatusForbidden)
	token := b.get("/sessions").form("/sessions").fields.Get("token")
	b.post("/sessions", url.Values{"token": {token}}).want(http.StatusSeeOther)
	if used.isIn() || unused.isIn() || !b.isIn() {
		t.Errorf("used %v, unused %v, own %v", used.isIn(), unused.isIn(), b.isIn())
	}
}

// Ending a session wins over its change of secret, whichever commits first: it never lives on under the new one.
func TestEndedWhileTurning(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	for range 10 {
		victim := w.signedIn("ann")
		page := victim.open(w.ask("ann", payment, long))
		w.advance(turnAfter)
		id := w.pages.Root.Name(keys.LabelCookie, cookieSession, victim.held())
		token := b.get("/sessions").form("/sessions").fields.Get("token")
		var running sync.WaitGroup
		running.Go(func() { victim.press(page, "/deny") })
		running.Go(func() { b.post("/sessions", url.Values{"token": {token}, "id": {id}}).want(http.StatusSeeOther) })
		running.Wait()
		if victim.isIn() {
			t.Fatal("the session goes on under its new secret")
		}
	}
}

// Signing out, and in anew, end the session also when another tab changes its secret after it was read, or before.
func TestSignedOutWhileTurning(t *testing.T) {
	w := newWorld(t, false)
	h := w.pages
	p, err := w.people.Person(t.Context(), "ann")
	check(t, err)
	out := func(v *visit) { _, err := h.end(v); check(t, err) }
	anew := func(v *visit) {
		_, writes := h.begin(v, p, approvals.LevelSession, "otp")
		check(t, h.Records.Apply(t.Context(), writes...))
	}
	turn := func(v *visit) error {
		_, writes := h.turn(*v.who, v.who.record())
		return h.Records.Apply(t.Context(), writes...)
	}
	for name, ends := range map[string]func(*visit){"out": out, "anew": anew} {
		for _, turnsFirst := range []bool{true, false} {
			cookie, writes := h.begin(&visit{Request: httptest.NewRequest(http.MethodPost, "/signin", nil), h: h}, p,
				approvals.LevelSession, "otp")
			check(t, h.Records.Apply(t.Context(), writes...))
			secret := cookie.Value
			tab, other := w.visits(secret), w.visits(secret)
			if turnsFirst {
				check(t, turn(other))
			}
			ends(tab)
			if !turnsFirst && !errors.Is(turn(other), approvals.ErrConflict) {
				t.Errorf("%s: the secret of a session that is over changes", name)
			}
			if w.with(secret).isIn() || w.with(h.following(secret)).isIn() {
				t.Errorf("%s, turned first %v: still signed in", name, turnsFirst)
			}
			if list, err := h.listed(t.Context(), "ann", tab.who.ID); err != nil || len(list) > 0 {
				t.Errorf("%s: %d listed, %v", name, len(list), err)
			}
		}
	}
}

// visits is a request under way with the session of a cookie.
func (w *world) visits(secret string) *visit {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/signout", nil)
	r.AddCookie(w.pages.cookie(cookieSession, secret, time.Hour))
	v, err := w.pages.visit(r)
	check(w.t, err)
	return v
}

// The index forgets sessions by itself, when they must end at the latest.
func TestIndexExpires(t *testing.T) {
	w := newWorld(t, false)
	w.signedIn("ann")
	w.advance(sessionLife)
	if left, err := w.store.Scan(t.Context(), kindSessions, "", 10); err != nil || len(left) > 0 {
		t.Errorf("%d left, %v", len(left), err)
	}
}
