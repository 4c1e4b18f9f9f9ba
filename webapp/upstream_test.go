package webapp

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"assent/approvals"
	"assent/webapp/upstream"
	"assent/webapp/upstream/upstreamtest"
)

// newUpstreamWorld is a world with one provider.
func newUpstreamWorld(t *testing.T, change ...func(*upstream.Settings)) (*world, *upstreamtest.Provider) {
	t.Helper()
	w := newWorld(t, false)
	p := upstreamtest.New(t, w.clock)
	s := upstream.Settings{Name: "corp", EN: "Example ID", KO: "예시 아이디", Issuer: p.Issuer, ClientID: p.ClientID, Secret: p.Secret}
	for _, c := range change {
		c(&s)
	}
	w.elsewhere(p.Client(), s)
	return w, p
}

// elsewhere starts the pages anew with providers.
func (w *world) elsewhere(client *http.Client, list ...upstream.Settings) {
	t := w.t
	t.Helper()
	c := w.pages.Config
	var err error
	c.Upstream, err = upstream.New(upstream.Config{Records: w.store, Root: w.root, Now: w.clock, Log: c.Log, HTTP: client,
		Origin: c.PagesURL, Providers: list, Loopback: true, Since: w.pages.signedOutAt})
	check(t, err)
	w.pages.Close()
	w.pages, err = New(c)
	check(t, err)
}

// link finds a link by its words and returns where it leads.
func (p *page) link(words string) string {
	p.t.Helper()
	for _, n := range p.all("a") {
		if strings.Contains(textOf(n), words) || attr(n, "aria-label") == words {
			return attr(n, "href")
		}
	}
	p.t.Fatalf("%s: %d: no link %q in\n%s", p.at, p.status, words, p.words())
	return ""
}

// abroad follows a way to a provider that asks nothing, and back to the page between it and us.
func (b *browserOf) abroad(p *upstreamtest.Provider, away *page) *page {
	b.w.t.Helper()
	return b.get(b.answerOf(p, away))
}

// answerOf is the address to which a provider sends the browser back.
func (b *browserOf) answerOf(p *upstreamtest.Provider, away *page) string {
	t := b.w.t
	t.Helper()
	away.want(http.StatusSeeOther)
	resp, err := p.Client().Get(away.header.Get("Location"))
	check(t, err)
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	to, err := url.Parse(resp.Header.Get("Location"))
	check(t, err)
	return to.RequestURI()
}

// connected is a browser on which a person has connected who they are at the provider.
func (w *world) connected(p *upstreamtest.Provider, who approvals.PersonID, sub string) *browserOf {
	t := w.t
	t.Helper()
	p.SignIn(upstreamtest.User{"sub": sub, "preferred_username": sub + "@corp"})
	b := w.signedIn(who)
	page := b.abroad(p, b.get(b.get("/accounts").link("Connect Example ID")))
	b.follow(b.press(page, "/back")).want(http.StatusOK, sub+"@corp")
	return b
}

// A person connects an account from a signed-in page, and signs in with it on a browser that nobody has seen before.
func TestUpstreamConnectAndSignIn(t *testing.T) {
	w, p := newUpstreamWorld(t)
	p.SignIn(upstreamtest.User{"sub": "a-1", "preferred_username": "ann@corp", "email": "min@example.com",
		"amr": []string{"pwd", "mfa", "house"}, "auth_time": start.Add(-time.Hour).Unix()})
	b := w.signedIn("ann")
	away := b.get(b.get("/accounts").want(http.StatusOK, "Not connected.").link("Connect Example ID"))
	between := b.abroad(p, away).want(http.StatusOK, "Connect this account?")
	b.get("/accounts").want(http.StatusOK, "Not connected.") // the address alone connected nothing
	b.follow(b.press(between, "/back")).want(http.StatusOK, "ann@corp", "Not used yet.")

	w.advance(time.Minute)
	other := w.browser()
	r := w.ask("ann", payment)
	door := other.visit("/requests/"+string(r.ID)).want(http.StatusOK, "Sign in", "Continue with Example ID")
	between = other.abroad(p, other.get(door.link("Continue with Example ID"))).want(http.StatusOK, "Almost there")
	if got := other.get("/").status; got != http.StatusSeeOther {
		t.Fatalf("the address alone signed in: %d", got)
	}
	page := other.follow(other.press(between, "/back")).want(http.StatusOK, "Approve this?", "Signed in as Ann")
	other.press(page, "/approve")
	d := w.read(r).Decisions[0]
	if got := strings.Join(d.AMR, " "); got != "pwd mfa" || d.Level != approvals.LevelSession ||
		!d.AuthTime.Equal(start.Add(-time.Hour)) {
		t.Errorf("decided with level %v, amr %q, auth_time %v", d.Level, got, d.AuthTime)
	}
}

// A provider that does not say when somebody signed in there may have recognised a cookie that is months old: what takes a
// sign-in of just now is refused, and nobody is told a time. One that is asked for a fresh sign-in has to say.
func TestUpstreamSilentIsNotFresh(t *testing.T) {
	w, p := newUpstreamWorld(t)
	w.connected(p, "ann", "a-1") // no auth_time
	w.advance(3 * time.Hour)
	b := w.browser()
	b.follow(b.press(b.abroad(p, b.get("/signin/corp?next=/accounts")), "/back")).want(http.StatusOK, "a-1@corp")
	b.get("/sessions").want(http.StatusOK, "with an account elsewhere")
	to := b.press(b.get("/accounts"), "/accounts/disconnect").want(http.StatusSeeOther).header.Get("Location")
	if !strings.HasPrefix(to, "/signin?fresh=1&") {
		t.Errorf("disconnecting leads to %s", to)
	}
	r := w.ask("ann", payment)
	b.press(b.open(r), "/approve").want(http.StatusSeeOther)
	if d := w.read(r).Decisions[0]; d.Level != approvals.LevelSession || !d.AuthTime.IsZero() {
		t.Errorf("decided with level %v, auth_time %v", d.Level, d.AuthTime)
	}
	b.press(b.abroad(p, b.get("/signin/corp?fresh=1&next=/accounts")), "/back").want(http.StatusUnprocessableEntity)
	p.SignIn(upstreamtest.User{"sub": "a-1", "auth_time": w.clock().Unix()})
	b.follow(b.press(b.abroad(p, b.get("/signin/corp?fresh=1&next=/accounts")), "/back")).want(http.StatusOK)
	b.press(b.get("/accounts"), "/accounts/disconnect").want(http.StatusSeeOther)
	b.get("/accounts").want(http.StatusOK, "Not connected.")
}

// What can happen on the way has a plain page with the other ways in, and none of the provider's words.
func TestUpstreamProblems(t *testing.T) {
	tests := []struct {
		name   string
		faults upstreamtest.Faults
		status int
		en, ko string
	}{
		{"down", upstreamtest.Faults{Status: map[string]int{"/token": 500}}, http.StatusServiceUnavailable,
			"Example ID does not answer right now.", "예시 아이디: 지금 응답이 없어요."},
		{"given up", upstreamtest.Faults{Error: "access_denied"}, http.StatusUnprocessableEntity,
			"The sign-in at Example ID was not finished.", "예시 아이디: 로그인을 끝내지 않았어요."},
		{"refused", upstreamtest.Faults{Error: "invented"}, http.StatusUnprocessableEntity,
			"We could not verify what Example ID sent.", "예시 아이디: 보내온 내용을 확인하지 못했어요."},
		{"forged", upstreamtest.Faults{Foreign: true}, http.StatusUnprocessableEntity,
			"We could not verify what Example ID sent.", "예시 아이디: 보내온 내용을 확인하지 못했어요."},
		{"weak", upstreamtest.Faults{Error: "unmet_authentication_requirements"}, http.StatusUnprocessableEntity,
			"Example ID did not confirm", "예시 아이디: 여기에 필요한 로그인 방식을"},
		{"unknown", upstreamtest.Faults{}, http.StatusUnprocessableEntity,
			"That account at Example ID is not connected to anybody here.", "예시 아이디: 아직 연결되지 않은 계정이에요."},
	}
	w, p := newUpstreamWorld(t)
	p.SignIn(upstreamtest.User{"sub": "stranger", "email": "ann@example.com"})
	for _, tt := range tests {
		for lang, words := range map[string]string{"en": tt.en, "ko": tt.ko} {
			p.Break(upstreamtest.Faults{})
			b := w.browser()
			away := b.get("/signin/corp?lang=" + lang) // chosen by hand, and remembered on the way
			p.Break(tt.faults)
			page := b.abroad(p, away)
			if page.status == http.StatusOK {
				page = b.press(page, "/back")
			}
			page.want(tt.status, words, map[string]string{"en": "Continue with Example ID", "ko": "예시 아이디로 계속하기"}[lang])
			page.lacks("provider says", "invented", "stranger")
			if got := b.get("/").status; got != http.StatusSeeOther {
				t.Errorf("%s in %s: signed in", tt.name, lang)
			}
		}
	}
	for _, words := range []string{"provider says", "invented", "stranger", "ann@example.com"} {
		if strings.Contains(w.logged.String(), words) {
			t.Errorf("%q is in the log", words)
		}
	}
}

// An account belongs to one person, and a person has one at each provider; both have a page.
func TestUpstreamTaken(t *testing.T) {
	w, p := newUpstreamWorld(t)
	ann := w.connected(p, "ann", "a-1")
	b := w.signedIn("min")
	page := b.abroad(p, b.get(b.get("/accounts?lang=en").link("Connect Example ID")))
	b.press(page, "/back").want(http.StatusUnprocessableEntity, "belongs to another person here")
	b.get("/accounts?lang=en").want(http.StatusOK, "Not connected.")

	ann.press(ann.get("/accounts"), "/accounts/disconnect").want(http.StatusSeeOther)
	ann.get("/accounts").want(http.StatusOK, "Not connected.")
	page = b.abroad(p, b.get(b.get("/accounts?lang=en").link("Connect Example ID")))
	b.follow(b.press(page, "/back")).want(http.StatusOK, "a-1@corp")
}

// Who connects has signed in just now, here; the form and the link are bound to that sign-in, and what the link holds, which
// logs and histories may keep, is good for setting out to that provider alone.
func TestUpstreamConnectIsBound(t *testing.T) {
	w, p := newUpstreamWorld(t)
	p.SignIn(upstreamtest.User{"sub": "a-1"})
	b := w.signedIn("ann")
	link := b.get("/accounts").link("Connect Example ID")
	stranger, min := w.browser(), w.signedIn("min")
	if to := stranger.get(link).want(http.StatusSeeOther).header.Get("Location"); to != "/signin?next=%2Faccounts" {
		t.Errorf("nobody signed in: to %s", to)
	}
	min.get(link).want(http.StatusForbidden)
	b.get("/signin/corp/connect").want(http.StatusForbidden)

	setOut, err := url.Parse(link)
	check(t, err)
	inLink := setOut.Query().Get("token")
	b.post("/accounts/disconnect", url.Values{"key": {"x"}, "token": {inLink}}).want(http.StatusForbidden)
	b.get("/signin/other/connect?token=" + inLink).want(http.StatusForbidden)

	between := b.answerOf(p, b.get(link))
	min.get(between).want(http.StatusSeeOther) // to the inbox: it is nothing of this browser
	page := b.get(between).want(http.StatusOK, "Connect this account?")
	f := page.form("/back")
	for _, token := range []string{"x", inLink} {
		f.fields.Set("token", token)
		b.post(f.action, f.fields).want(http.StatusForbidden)
	}
	b.send("POST", f.action, f.fields.Encode(), http.Header{"Content-Type": {"application/x-www-form-urlencoded"},
		"Sec-Fetch-Site": {"cross-site"}}).want(http.StatusForbidden)
	b.get("/accounts").want(http.StatusOK, "Not connected.")

	w.advance(freshFor + time.Second)
	if to := b.get(link).want(http.StatusSeeOther).header.Get("Location"); to != "/signin?fresh=1&next=%2Faccounts" {
		t.Errorf("signed in too long ago: to %s", to)
	}
	b.get("/signin/corp?next=https://evil.example").want(http.StatusSeeOther)
	b.get("/signin/nowhere").want(http.StatusNotFound)
	b.get("/signin/nowhere/back?code=a&state=b").want(http.StatusNotFound)
}

// Nobody is sent elsewhere after a sign-in, whatever the link said, and an answer that is sent twice signs in once.
func TestUpstreamLeadsBack(t *testing.T) {
	w, p := newUpstreamWorld(t)
	w.connected(p, "ann", "a-1")
	for next, want := range map[string]string{"https://evil.example/": "/", "//evil.example": "/", "/accounts": "/accounts"} {
		b := w.browser()
		page := b.abroad(p, b.get("/signin/corp?next="+url.QueryEscape(next)))
		for range 2 {
			if to := b.press(page, "/back").want(http.StatusSeeOther).header.Get("Location"); to != want {
				t.Errorf("next %s leads to %s", next, to)
			}
		}
		other := w.browser()
		other.press(page, "/back").want(http.StatusUnprocessableEntity, "began on another browser")
		other.get("/").want(http.StatusSeeOther)
	}
}

// What an operator does not count reads and denies, and takes nothing away from a better sign-in.
func TestUpstreamWeakSession(t *testing.T) {
	w, p := newUpstreamWorld(t, func(s *upstream.Settings) { s.SessionAMR = []string{"mfa"} })
	signedIn := w.connected(p, "ann", "a-1")
	b := w.browser()
	b.press(b.abroad(p, b.get("/signin/corp")), "/back").want(http.StatusSeeOther)
	r := w.ask("ann", payment)
	page := b.get("/requests/"+string(r.ID)).want(http.StatusOK, "Approve this?")
	if to := b.press(page, "/approve").want(http.StatusSeeOther).header.Get("Location"); !strings.HasPrefix(to, "/signin?") {
		t.Errorf("approve leads to %s", to)
	}
	if got := w.read(r); got.State != approvals.Pending {
		t.Fatalf("approved with a weak sign-in: %s", got.State)
	}
	b.get("/accounts").want(http.StatusSeeOther)
	b.press(page, "/deny")
	if got := w.read(r); got.State != approvals.Denied {
		t.Errorf("denied: %s", got.State)
	}
	signedIn.press(signedIn.abroad(p, signedIn.get("/signin/corp")), "/back").want(http.StatusSeeOther)
	signedIn.get("/accounts").want(http.StatusOK) // still as well as before
}

// A provider's word is no passkey, and somebody who is disabled or was signed out everywhere does not come in by it.
func TestUpstreamIsNoPasskey(t *testing.T) {
	w, p := newUpstreamWorld(t)
	w.connected(p, "ann", "a-1")
	p.SignIn(upstreamtest.User{"sub": "a-1", "acr": "phr", "amr": []string{"hwk", "user"}})
	b := w.browser()
	b.press(b.abroad(p, b.get("/signin/corp")), "/back").want(http.StatusSeeOther)
	r := w.ask("ann", payment, high)
	b.press(b.get("/requests/"+string(r.ID)), "/approve")
	if got := w.read(r); got.State != approvals.Pending {
		t.Errorf("approved without a passkey: %s", got.State)
	}
	tries := func(what string) {
		t.Helper()
		b := w.browser()
		b.press(b.abroad(p, b.get("/signin/corp")), "/back").want(http.StatusUnprocessableEntity, "is not connected to anybody here")
		b.get("/").want(http.StatusSeeOther)
	}
	w.change("ann", func(p *approvals.Person) { p.Disabled = true })
	tries("disabled")
	b.get("/").want(http.StatusSeeOther)
	w.change("ann", func(p *approvals.Person) { p.Disabled, p.SignedOutAt = false, w.clock() })
	w.advance(time.Minute)
	tries("signed out everywhere")
}

// The last way in stays.
func TestUpstreamOnlyWayIn(t *testing.T) {
	w, p := newUpstreamWorld(t)
	w.canSend = false
	b := w.connected(p, "ann", "a-1")
	page := b.get("/accounts").want(http.StatusOK, "This is your only way in, so it stays.")
	if page.hasForm("/disconnect") {
		t.Error("the last way in can be disconnected")
	}
	list, err := w.pages.Upstream.List(t.Context(), "ann")
	check(t, err)
	values := url.Values{"key": {list[0].Key}, "token": {w.accountsToken(b)}}
	b.post("/accounts/disconnect", values).want(http.StatusUnprocessableEntity, "is your only way in")
	w.canSend = true
	b.press(b.get("/accounts"), "/disconnect").want(http.StatusSeeOther)
	b.get("/accounts").want(http.StatusOK, "Not connected.")
}

// accountsToken is the token of the page's forms.
func (w *world) accountsToken(b *browserOf) string {
	w.t.Helper()
	w.canSend = true
	token := b.get("/accounts").form("/disconnect").fields.Get("token")
	w.canSend = false
	return token
}

// A provider that is down keeps nobody from the other ways in, and setting out leaves nothing in the store.
func TestUpstreamDown(t *testing.T) {
	w, p := newUpstreamWorld(t)
	b := w.signedIn("ann")
	b.post("/signout", url.Values{"next": {"/"}})
	before := w.everything()
	p.Break(upstreamtest.Faults{Status: map[string]int{"/.well-known/openid-configuration": 502}})
	b.get("/signin").want(http.StatusOK, "Continue with Example ID", "Text me a code")
	b.get("/signin/corp").want(http.StatusServiceUnavailable, "Example ID does not answer right now.", "Text me a code")
	p.Break(upstreamtest.Faults{})
	w.advance(time.Minute)
	b.abroad(p, b.get("/signin/corp")).want(http.StatusOK)
	if after := w.everything(); !slices.Equal(before, after) {
		t.Errorf("before %v\nafter %v", before, after)
	}
}

// The order of the ways in, and the particle after a provider's name.
func TestUpstreamButtons(t *testing.T) {
	w, _ := newUpstreamWorld(t)
	b := w.signedIn("ann")
	b.post("/signout", url.Values{"next": {"/"}})
	words := b.get("/signin").words()
	if strings.Index(words, "Continue with Example ID") > strings.Index(words, "Text me a code") {
		t.Errorf("order: %s", words)
	}
	for name, want := range map[string]string{"예시 아이디": "예시 아이디로", "구글": "구글로", "회사 로그인": "회사 로그인으로", "예시 (본점)": "예시 (본점)으로",
		"Example ID": "Example ID(으)로", "회사 2": "회사 2(으)로", "!": "!(으)로"} {
		if got := toward("ko", name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if got := toward("en", "구글"); got != "구글" {
		t.Error(got)
	}
}

// The language can be changed on the page between, without losing the answer.
func TestUpstreamLanguage(t *testing.T) {
	w, p := newUpstreamWorld(t)
	w.connected(p, "ann", "a-1")
	b := w.browser()
	page := b.abroad(p, b.get("/signin/corp"))
	at, err := url.Parse(page.at)
	check(t, err)
	at, err = at.Parse(page.link("한국어"))
	check(t, err)
	ko := b.get(at.String()).want(http.StatusOK, "거의 다 됐어요")
	b.press(ko, "/back").want(http.StatusSeeOther)
	b.get("/").want(http.StatusOK)
}
