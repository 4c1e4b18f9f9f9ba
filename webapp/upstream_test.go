package webapp

import (
	"io"
	"net/http"
	"net/url"
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
	defer func() { t.Log(w.logged.String()) }()
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
