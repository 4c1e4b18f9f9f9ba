package webapp

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"assent/approvals"
	"assent/webapp/passkey"
	"assent/webapp/passkey/passkeytest"
)

// siteName is a name that the test server's client leads to the server, so that passkeys are possible.
const siteName = "https://example.com"

// newNamedWorld is a world whose pages have a name.
func newNamedWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, false)
	w.server.URL = siteName
	c := w.pages.Config
	c.PagesURL = siteName
	w.pages.Close()
	pages, err := New(c)
	check(t, err)
	w.pages = pages
	return w
}

func newDevice() *passkeytest.Authenticator { return &passkeytest.Authenticator{Origin: siteName} }

// scripted finds the form with an action and returns what its script is told.
func (p *page) scripted(action string) (begin string, send []string) {
	p.t.Helper()
	for _, n := range p.all("form") {
		if strings.Contains(attr(n, "action"), action) && attr(n, "data-passkey") != "" {
			return attr(n, "data-begin"), strings.Fields(attr(n, "data-send"))
		}
	}
	p.t.Fatalf("%s: %d: no form for %q asks for a passkey in\n%s", p.at, p.status, action, p.words())
	return "", nil
}

func (p *page) asksPasskey(action string) bool {
	for _, n := range p.all("form") {
		if strings.Contains(attr(n, "action"), action) && attr(n, "data-passkey") != "" {
			return true
		}
	}
	return false
}

// begun does what the script does first: it fetches options with some fields of the form.
func (b *browserOf) begun(p *page, action string) passkey.Options {
	b.w.t.Helper()
	begin, send := p.scripted(action)
	fields, body := p.form(action).fields, url.Values{}
	for _, name := range send {
		body.Set(name, fields.Get(name))
	}
	answer := b.post(begin, body).want(http.StatusOK)
	var o passkey.Options
	check(b.w.t, json.Unmarshal([]byte(answer.body), &o))
	return o
}

// use presses a form with a passkey: options, device, form.
func (b *browserOf) use(p *page, action string, device func([]byte) (string, error), typed ...string) *page {
	b.w.t.Helper()
	o := b.begun(p, action)
	raw, err := json.Marshal(o)
	check(b.w.t, err)
	credential, err := device(raw)
	check(b.w.t, err)
	return b.press(p, action, append(typed, "ticket", o.Ticket, "credential", credential)...)
}

// withPasskey is a browser on which a person accepted an invitation and added a passkey.
func (w *world) withPasskey(who approvals.PersonID) (*browserOf, *passkeytest.Authenticator) {
	w.t.Helper()
	b, d := w.signedIn(who), newDevice()
	b.use(b.get("/passkeys"), "/passkeys", d.Create).want(http.StatusSeeOther)
	return b, d
}

// byCode is the same person on the same browser, signed in with a code.
func (b *browserOf) byCode(who approvals.PersonID) {
	b.w.t.Helper()
	b.press(b.get("/"), "/signout")
	ask := b.follow(b.press(b.get("/signin"), "/signin"))
	b.press(ask, "/signin/code", "code", b.w.code(who)).want(http.StatusSeeOther)
}

// Adding a passkey takes a sign-in of just now; for an hour the invitation is one, and who could not sign in anew goes on.
func TestPasskeyTakesFreshSignIn(t *testing.T) {
	w := newNamedWorld(t)
	b, d := w.signedIn("ann"), newDevice()
	w.advance(directly)
	late := b.get("/passkeys").want(http.StatusOK, "Name of the new passkey")
	w.advance(time.Second)
	b.get("/passkeys").want(http.StatusOK).link("Sign in again to add a passkey")
	token := url.Values{"token": {late.form("/passkeys").fields.Get("token")}}
	for _, at := range []string{"/passkeys/begin", "/passkeys"} {
		got := b.post(at, token).want(http.StatusSeeOther).header.Get("Location")
		if got != "/signin?fresh=1&next=%2Fpasskeys" {
			t.Errorf("%s leads to %s", at, got)
		}
	}
	w.pages.CanSend = func(*approvals.Person) bool { return false }
	b.use(b.get("/passkeys"), "/passkeys", d.Create).want(http.StatusSeeOther)
	b.get("/passkeys").want(http.StatusOK).link("Sign in again to add a passkey") // with which there is a way to
}

func TestEnrolment(t *testing.T) {
	w := newNamedWorld(t)
	b, d := w.signedIn("ann"), newDevice()
	door := b.get("/passkeys").want(http.StatusOK, "Passkeys", "Name of the new passkey")
	if got := door.form("/passkeys").fields.Get("name"); got != "Chrome (Android)" {
		t.Errorf("suggested name %q", got)
	}
	b.follow(b.use(door, "/passkeys", d.Create, "name", "My <b>phone</b>")).
		want(http.StatusOK, "My <b>phone</b>", "Added 14:26 CET.", "Not used yet.").lacks("New: confirms")
	b.byCode("ann")
	b.follow(b.use(b.get("/passkeys"), "/passkeys", newDevice().Create)).
		want(http.StatusOK, "New: confirms approvals that take a passkey from 3 Mar 14:26 CET.")
	if !strings.Contains(b.get("/?lang=ko").words(), "패스키") {
		t.Error("no way to the passkeys")
	}
}

// An accepted invitation leads to the first passkey.
func TestInvitationLeadsToPasskey(t *testing.T) {
	w := newNamedWorld(t)
	inv, err := w.pages.Invite(t.Context(), "min")
	check(t, err)
	b := w.browser()
	done := b.press(b.follow(b.press(b.get(inv.URL), "/i/")), "/code", "code", w.code("min")).want(http.StatusSeeOther)
	b.follow(done).want(http.StatusOK, "새 패스키 이름")
}

func TestEnrolmentRefusals(t *testing.T) {
	w := newNamedWorld(t)
	b, d := w.signedIn("ann"), newDevice()
	door := b.get("/passkeys")
	d.Unverified = true
	b.use(door, "/passkeys", d.Create).want(http.StatusUnprocessableEntity, "Your device did not check that it is you.")
	d = newDevice()
	b.use(door, "/passkeys", d.Create, "name", strings.Repeat("x", 61)).want(http.StatusBadRequest)
	b.press(door, "/passkeys").want(http.StatusUnprocessableEntity, "That passkey was not accepted.")
	other := w.signedIn("min")
	other.post("/passkeys/begin", url.Values{"token": {door.form("/passkeys").fields.Get("token")}}).
		want(http.StatusForbidden, "오래된 화면이에요")
	w.browser().get("/passkeys").want(http.StatusSeeOther)
	w.browser().post("/passkeys/begin", url.Values{"token": {"x"}}).want(http.StatusSeeOther)
	if list, err := w.pages.passkeys.List(t.Context(), "ann"); err != nil || len(list) > 0 {
		t.Errorf("%d passkeys, %v", len(list), err)
	}
}

// The only way in stays.
func TestRemovePasskeys(t *testing.T) {
	w := newNamedWorld(t)
	b, _ := w.withPasskey("ann")
	w.canSend = false
	only := b.get("/passkeys").want(http.StatusOK, "This is your only way in, so it stays.")
	if only.hasForm("/passkeys/remove") {
		t.Error("the last one can be removed")
	}
	w.canSend = true
	page := b.get("/passkeys")
	w.canSend = false
	b.press(page, "/passkeys/remove").want(http.StatusUnprocessableEntity, "This is your only way in")
	w.canSend = true
	b.follow(b.press(page, "/passkeys/remove")).want(http.StatusOK).lacks("Not used yet.")
	b.press(page, "/passkeys/remove").want(http.StatusSeeOther) // sent twice
}

// Under an IP address browsers allow no passkeys: nothing offers any.
func TestNoPasskeysWithoutAName(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	b.get("/").want(http.StatusOK).lacks("/passkeys")
	b.get("/passkeys").want(http.StatusNotFound)
	w.browser().post("/signin/passkey", url.Values{}).want(http.StatusNotFound)
}

func TestPasskeyAfterAFewMinutes(t *testing.T) {
	w := newNamedWorld(t)
	b, d := w.signedIn("ann"), newDevice()
	door := b.get("/passkeys")
	b.use(door, "/passkeys", func(raw []byte) (string, error) {
		w.advance(5 * time.Minute)
		return d.Create(raw)
	}).want(http.StatusUnprocessableEntity, "Please try again.")
}

// A passkey signs in on a browser that nobody has bound, and its acr is the highest.
func TestSignInByPasskey(t *testing.T) {
	w := newNamedWorld(t)
	_, d := w.withPasskey("ann")
	r := w.ask("ann", payment)
	b := w.browser()
	door := b.visit("/requests/"+string(r.ID)).want(http.StatusOK, "This browser is not known yet", "Sign in with passkey")
	in := b.use(door, "/signin/passkey", d.Get).want(http.StatusSeeOther)
	page := b.follow(in).want(http.StatusOK, "Approve this?")
	b.follow(b.press(page, "/approve")).want(http.StatusOK, "Approved")
	got := w.read(r).Decisions[0]
	if got.Level.ACR() != "phr" || strings.Join(got.AMR, " ") != "pop hwk user mfa" || !got.AuthTime.Equal(start) {
		t.Errorf("decision %s %v at %v", got.Level.ACR(), got.AMR, got.AuthTime)
	}
}

func TestSignInByPasskeyRefusals(t *testing.T) {
	w := newNamedWorld(t)
	_, d := w.withPasskey("ann")
	b := w.browser()
	door := b.get("/signin")
	var kept url.Values
	keep := func(raw []byte) (string, error) {
		credential, err := d.Get(raw)
		var o passkey.Options
		check(t, json.Unmarshal(raw, &o))
		kept = url.Values{"ticket": {o.Ticket}, "credential": {credential}}
		return credential, err
	}
	b.use(door, "/signin/passkey", keep).want(http.StatusSeeOther)
	b.press(b.get("/"), "/signout").want(http.StatusSeeOther)
	b.post("/signin/passkey", kept).want(http.StatusUnprocessableEntity, "That passkey was not accepted.")
	w.browser().post("/signin/passkey", kept).want(http.StatusUnprocessableEntity, "That passkey was not accepted.")
	b.press(door, "/signin/passkey").want(http.StatusUnprocessableEntity, "That passkey was not accepted.")

	d.Unverified = true
	b.use(door, "/signin/passkey", d.Get).want(http.StatusUnprocessableEntity, "Your device did not check that it is you.")
	d.Unverified = false
	for _, over := range []func(*approvals.Person){
		func(p *approvals.Person) { p.SignedOutAt = w.clock() },
		func(p *approvals.Person) { p.SignedOutAt, p.Disabled = time.Time{}, true },
	} {
		ann, err := w.people.Person(t.Context(), "ann")
		check(t, err)
		changed := *ann
		over(&changed)
		check(t, w.people.SavePerson(t.Context(), &changed))
		b.use(door, "/signin/passkey", d.Get).want(http.StatusUnprocessableEntity, "That passkey was not accepted.")
	}
	b.get("/").want(http.StatusSeeOther)
}

// The page of a code lets the browser offer a passkey in the same place; the invitation's own does not.
func TestAutofill(t *testing.T) {
	w := newNamedWorld(t)
	b, _ := w.withPasskey("ann")
	b.press(b.get("/"), "/signout")
	code := b.follow(b.press(b.get("/signin"), "/signin")).want(http.StatusOK)
	if !strings.Contains(code.body, `autocomplete="one-time-code webauthn"`) || !code.asksPasskey("/signin/passkey") {
		t.Error("no offer where the code goes")
	}
	inv, err := w.pages.Invite(t.Context(), "min")
	check(t, err)
	other := w.browser()
	if other.follow(other.press(other.get(inv.URL), "/i/")).asksPasskey("/signin/passkey") {
		t.Error("an invitation offers a passkey")
	}
}
