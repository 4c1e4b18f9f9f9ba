package webapp

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"

	"assent/approvals"
)

// pushes behaves as a channel to browsers does: a subscription counts once its proof has come back.
type pushes struct {
	mu    sync.Mutex
	fail  error
	tests []string          // endpoints
	told  map[string]string // endpoint → person, with "?" until the proof is there

	labels map[string]string // endpoint → what the person knows the browser by
	tied   map[string]string // endpoint → sign-in

	records approvals.Records
}

func (p *pushes) Key() string { return "BCVx-key" }

// Browsers names browsers by their endpoints.
func (p *pushes) Browsers(_ context.Context, person approvals.PersonID) (browsers []Browser, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for endpoint, who := range p.told {
		if who == string(person) {
			browsers = append(browsers, Browser{ID: endpoint, Label: p.labels[endpoint]})
		}
	}
	return browsers, nil
}

func (p *pushes) Remove(_ context.Context, person approvals.PersonID, id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.told[id] != string(person) {
		return approvals.ErrNotFound
	}
	delete(p.told, id)
	return nil
}

func (p *pushes) Subscribe(_ context.Context, person approvals.PersonID, label string, subscription []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.labels == nil {
		p.labels = map[string]string{}
	}
	p.labels[string(subscription)] = label
	if p.fail != nil {
		return p.fail
	}
	p.tests = append(p.tests, string(subscription))
	if p.told == nil {
		p.told = map[string]string{}
	}
	p.told[string(subscription)] = "?" + string(person)
	return nil
}

func (p *pushes) Arrived(ctx context.Context, person approvals.PersonID, proof, session string, still ...approvals.Write) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	endpoint, found := strings.CutPrefix(proof, "proof of ")
	if !found || p.told[endpoint] != "?"+string(person) {
		return approvals.ErrNotFound
	}
	if err := p.records.Apply(ctx, still...); err != nil {
		return err
	}
	if p.tied == nil {
		p.tied = map[string]string{}
	}
	p.told[endpoint], p.tied[endpoint] = string(person), session
	return nil
}

func (p *pushes) Tie(ctx context.Context, _ approvals.PersonID, endpoint, session string, still ...approvals.Write) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.records.Apply(ctx, still...); err != nil {
		return err
	}
	p.tied[endpoint] = session
	return nil
}

func (p *pushes) Silence(ctx context.Context, person approvals.PersonID, ends func(string) bool, also ...approvals.Write) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.records.Apply(ctx, also...); err != nil {
		return err
	}
	for endpoint, who := range p.told {
		if who == string(person) && ends(p.tied[endpoint]) {
			delete(p.told, endpoint)
		}
	}
	return nil
}

func (p *pushes) Verified(_ context.Context, person approvals.PersonID, endpoint string) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.told[endpoint] == string(person), nil
}

func (p *pushes) Unsubscribe(_ context.Context, _ approvals.PersonID, endpoint string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.told, endpoint)
	return nil
}

// token is what the offer gives to script, or "" where there is no offer.
func (p *page) offer() string {
	for _, n := range p.all("section") {
		if attr(n, "id") == "push" {
			return attr(n, "data-token")
		}
	}
	return ""
}

// TestOffer: notifications are offered to who has decided something, and to nobody before.
func TestOffer(t *testing.T) {
	w := newWorld(t, false)
	b, p := w.openPage(w.ask("ann", payment))
	if p.offer() != "" || b.get("/").offer() != "" {
		t.Error("offered before the first decision")
	}
	done := b.follow(b.press(p, "/deny")).want(http.StatusOK)
	if done.offer() == "" || b.get("/").offer() == "" {
		t.Error("not offered after the first decision")
	}
	min := w.signedIn("min")
	if min.get("/").offer() != "" {
		t.Error("offered to somebody who has decided nothing")
	}
	for _, n := range done.all("section") {
		if id := attr(n, "id"); strings.HasPrefix(id, "push") && !slices.ContainsFunc(n.Attr,
			func(a html.Attribute) bool { return a.Key == "hidden" }) {
			t.Errorf("#%s shows without script", id)
		}
	}
}

// TestPushForms: each form of the notifications, and what it takes.
func TestPushForms(t *testing.T) {
	w := newWorld(t, false)
	b, p := w.openPage(w.ask("ann", payment))
	token := b.follow(b.press(p, "/deny")).offer()
	send := func(path string, status int, fields ...string) {
		t.Helper()
		values := url.Values{}
		for i := 0; i+1 < len(fields); i += 2 {
			values.Set(fields[i], fields[i+1])
		}
		b.post(path, values).want(status)
	}
	send("/push/check", http.StatusNotFound, "token", token, "endpoint", "e")
	send("/push/subscribe", http.StatusForbidden, "token", "x", "subscription", "e")
	send("/push/subscribe", http.StatusForbidden, "subscription", "e")
	send("/push/subscribe", http.StatusBadRequest, "token", token, "subscription", "e", "more", "x")
	send("/push/subscribe", http.StatusAccepted, "token", token, "subscription", "e")
	send("/push/check", http.StatusNotFound, "token", token, "endpoint", "e")
	send("/push/arrived", http.StatusNotFound, "proof", "wrong")
	send("/push/arrived", http.StatusNoContent, "proof", "proof of e")
	send("/push/check", http.StatusNoContent, "token", token, "endpoint", "e")
	send("/push/unsubscribe", http.StatusForbidden, "token", "x", "endpoint", "e")
	send("/push/unsubscribe", http.StatusNoContent, "token", token, "endpoint", "e")
	send("/push/check", http.StatusNotFound, "token", token, "endpoint", "e")

	w.pushes.fail = &approvals.FieldError{Field: "endpoint", Rule: "must be https"}
	send("/push/subscribe", http.StatusBadRequest, "token", token, "subscription", "e")
	w.pushes.fail = errors.New("push service is busy")
	send("/push/subscribe", http.StatusBadGateway, "token", token, "subscription", "e")
	w.pushes.fail = nil

	for _, path := range []string{"/push/subscribe", "/push/check", "/push/unsubscribe", "/push/arrived"} {
		if got := b.get(path); got.status != http.StatusMethodNotAllowed {
			t.Errorf("GET %s: %d", path, got.status)
		}
		cross := b.send("POST", path, "token="+token, http.Header{"Content-Type": {"application/x-www-form-urlencoded"},
			"Sec-Fetch-Site": {"cross-site"}})
		if cross.status != http.StatusForbidden {
			t.Errorf("cross-site POST %s: %d", path, cross.status)
		}
		field := map[string]string{"/push/subscribe": "subscription", "/push/arrived": "proof"}[path]
		if field == "" {
			field = "endpoint"
		}
		stranger := w.browser().post(path, url.Values{field: {"e"}})
		if stranger.status != http.StatusSeeOther {
			t.Errorf("POST %s of a stranger: %d", path, stranger.status)
		}
	}
}

// A person may ask for some tests at once and not for more; others are not held up by it.
func TestTestsAreLimited(t *testing.T) {
	w := newWorld(t, false)
	b, p := w.openPage(w.ask("ann", payment))
	token := b.follow(b.press(p, "/deny")).offer()
	form := url.Values{"token": {token}, "subscription": {"e"}}
	for range testBurst {
		b.post("/push/subscribe", form).want(http.StatusAccepted)
	}
	b.post("/push/subscribe", form).want(http.StatusTooManyRequests)
	w.advance(testEvery)
	b.post("/push/subscribe", form).want(http.StatusAccepted)
	if len(w.pushes.tests) != testBurst+1 {
		t.Errorf("%d tests", len(w.pushes.tests))
	}
}

// A link alone signs in weakly, and only in dev mode: then it may add a browser too.
func TestWeakSignInAddsNoBrowser(t *testing.T) {
	w := newWorld(t, false)
	v := &visit{h: w.pages, who: &session{Person: "ann", Level: approvals.LevelLink}}
	if w.pages.mayEnrol(v) {
		t.Error("a link alone may add a browser")
	}
	if !newWorld(t, true).pages.mayEnrol(v) {
		t.Error("not even in dev mode")
	}
}

func TestPushWorker(t *testing.T) {
	w := newWorld(t, false)
	b := w.browser()
	worker := b.get("/sw.js").want(http.StatusOK)
	if kind := worker.header.Get("Content-Type"); !strings.HasPrefix(kind, "text/javascript") {
		t.Errorf("worker is %s", kind)
	}
	for name, want := range map[string]string{"Cache-Control": "no-cache", "Service-Worker-Allowed": "",
		"Content-Security-Policy": csp} {
		if got := worker.header.Get(name); got != want {
			t.Errorf("%s of the worker: %q", name, got)
		}
	}
	for _, never := range []string{"fetch'", "caches", "indexedDB", "actions", "importScripts", "/approve", "/deny"} {
		if strings.Contains(worker.body, never) {
			t.Errorf("worker has %q", never)
		}
	}
	if icon := w.pages.static.path("icon-192.png"); !strings.Contains(worker.body, icon) {
		t.Error("worker names another icon")
	}
}

// Where nothing can be pushed, nothing is offered and no script of it is served.
func TestPushIsOff(t *testing.T) {
	w := newWorld(t, false)
	c := w.pages.Config
	c.Push = nil
	off, err := New(c)
	check(t, err)
	w.pages.Close()
	w.pages = off
	b, p := w.openPage(w.ask("ann", payment))
	done := b.follow(b.press(p, "/deny"))
	if done.offer() != "" {
		t.Error("offered all the same")
	}
	b.get("/sw.js").want(http.StatusNotFound)
	b.post("/push/arrived", url.Values{"proof": {"x"}}).want(http.StatusNotFound)
}

// turnOn turns notifications on in a browser whose person has decided something.
func (b *browserOf) turnOn(endpoint string) {
	b.w.t.Helper()
	b.post("/push/subscribe", url.Values{"token": {b.get("/").offer()}, "subscription": {endpoint}}).want(http.StatusAccepted)
	b.post("/push/arrived", url.Values{"proof": {"proof of " + endpoint}}).want(http.StatusNoContent)
}

// decides lets the person decide something, after which they are offered notifications.
func (b *browserOf) decides() *browserOf {
	b.w.t.Helper()
	b.press(b.open(b.w.ask("ann", payment)), "/deny").want(http.StatusSeeOther)
	return b
}

// TestSignedOutIsSilent: a browser is told no more once its sign-in ends by hand, there or from elsewhere, whatever has
// become of the session's secret. A session that ends by itself silences nobody until its person ends all others.
func TestSignedOutIsSilent(t *testing.T) {
	here := func(b, _ *browserOf) { b.post("/signout", url.Values{}).want(http.StatusSeeOther) }
	all := func(_, other *browserOf) {
		token := other.get("/sessions").want(http.StatusOK).form("/sessions").fields["token"]
		other.post("/sessions", url.Values{"token": token}).want(http.StatusSeeOther)
	}
	lapse := func(b *browserOf) { b.w.advance(sessionLife) }
	tests := []struct {
		name        string
		end         func(b, other *browserOf)
		told, there bool // here, and in the other browser
	}{
		{"sign out", here, false, true},
		{"sign out after the secret turned", func(b, other *browserOf) {
			b.w.advance(turnAfter)
			before := b.held()
			if b.decides(); b.held() == before {
				t.Fatal("the secret did not turn")
			}
			here(b, other)
		}, false, true},
		{"sign out after signing in once more", func(b, other *browserOf) {
			b.codeAgain("ann")
			here(b, other)
		}, false, true},
		{"end it from elsewhere", func(_, other *browserOf) {
			p := other.get("/sessions").want(http.StatusOK)
			other.press(p, "/sessions").want(http.StatusSeeOther)
		}, false, true},
		{"end all others", all, false, true},
		{"it ends by itself", func(b, _ *browserOf) { lapse(b) }, true, true},
		{"it ends by itself, then all others are ended", func(b, other *browserOf) {
			lapse(b)
			other.codeAgain("ann")
			other.checks("there")
			b.w.signedIn("ann")
			all(b, other)
		}, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, false)
			b, other := w.signedIn("ann").decides(), w.signedIn("ann")
			b.turnOn("here")
			other.turnOn("there")
			tt.end(b, other)
			w.pushes.mu.Lock()
			defer w.pushes.mu.Unlock()
			if told, there := w.pushes.told["here"] == "ann", w.pushes.told["there"] == "ann"; told != tt.told || there != tt.there {
				t.Errorf("told %t and %t there, want %t and %t", told, there, tt.told, tt.there)
			}
		})
	}
}

// codeAgain signs in on top of what is there.
func (b *browserOf) codeAgain(who approvals.PersonID) {
	b.w.t.Helper()
	ask := b.follow(b.post("/signin", url.Values{"next": {"/"}}))
	b.press(ask, "/signin/code", "code", b.w.code(who)).want(http.StatusSeeOther)
}

// checks is what the script of a page does where notifications are on.
func (b *browserOf) checks(endpoint string) {
	b.w.t.Helper()
	b.decides()
	b.post("/push/check", url.Values{"token": {b.get("/").offer()}, "endpoint": {endpoint}}).want(http.StatusNoContent)
}

// TestTurnedWhileIn: a change of the secret between the reading of a session and the proof of a test does not lose the proof.
func TestTurnedWhileIn(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann").decides()
	w.advance(turnAfter)
	tries := 0
	r, err := http.NewRequest("POST", w.server.URL, nil)
	check(t, err)
	r.AddCookie(w.pages.cookie(cookieSession, b.held(), time.Hour))
	s, err := w.pages.session(r)
	check(t, err)
	b.decides() // turns it
	err = w.pages.whileIn(&visit{Request: r, who: s}, func(s *session) error {
		tries++
		return w.store.Apply(t.Context(), s.still())
	})
	if err != nil || tries != 2 {
		t.Errorf("%d tries: %v", tries, err)
	}
	b.post("/signout", url.Values{}).want(http.StatusSeeOther)
	if err := w.pages.whileIn(&visit{Request: r, who: s}, func(s *session) error {
		return w.store.Apply(t.Context(), s.still())
	}); !errors.Is(err, errSignIn) {
		t.Errorf("signed out: %v", err)
	}
}
