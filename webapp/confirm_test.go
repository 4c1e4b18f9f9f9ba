package webapp

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/approvals"
)

// high asks for the highest level.
func high(a *approvals.Ask) { a.Level = approvals.LevelPasskey }

func (b *browserOf) open(r *approvals.Request) *page {
	b.w.t.Helper()
	return b.get("/requests/" + string(r.ID))
}

// A request that takes a passkey takes it every time, over its very words, however the person is signed in.
func TestApproveByPasskey(t *testing.T) {
	w := newNamedWorld(t)
	b, d := w.withPasskey("ann")
	w.advance(time.Minute)
	r := w.ask("ann", payment, high)
	page := b.open(r).want(http.StatusOK, "To approve, you confirm with your passkey.")
	b.press(page, "/approve").want(http.StatusUnprocessableEntity, "Nothing was approved: this needs your passkey")
	done := b.use(page, "/approve", d.Get).want(http.StatusSeeOther)
	b.follow(done).want(http.StatusOK, "Approved at 14:27 CET. Travel Bot may now do this once.")
	got := w.read(r)
	decision := got.Decisions[0]
	if got.State != approvals.Approved || decision.Level.ACR() != "phr" || !decision.AuthTime.Equal(w.clock()) ||
		strings.Join(decision.AMR, " ") != "pop hwk user mfa" {
		t.Errorf("%s: %+v", got.State, decision)
	}
	w.browser().visit("/requests/"+string(r.ID)).want(http.StatusOK, "This browser is not known yet")
	next := b.open(w.ask("ann", payment, high)).want(http.StatusOK)
	b.press(next, "/approve").want(http.StatusUnprocessableEntity, "Nothing was approved")
}

// An assertion confirms one approval of one request with one text. Anything else leaves the request as it was.
func TestConfirmationReplayed(t *testing.T) {
	w := newNamedWorld(t)
	b, d := w.withPasskey("ann")
	r, other := w.ask("ann", payment, high), w.ask("ann", payment, high)
	ask := b.open(r)
	o := b.begun(ask, "/approve")
	raw, err := json.Marshal(o)
	check(t, err)
	credential, err := d.Get(raw)
	check(t, err)
	with := func(shown *page) url.Values {
		f := shown.form("/approve").fields
		f.Set("ticket", o.Ticket)
		f.Set("credential", credential)
		return f
	}
	refused := "That passkey was not accepted."
	b.post("/requests/"+string(other.ID)+"/approve", with(b.open(other))).want(http.StatusUnprocessableEntity, refused)

	altered := with(ask)
	altered.Set("digest", strings.Repeat("A", 43))
	b.post("/requests/"+string(r.ID)+"/approve", altered).want(http.StatusUnprocessableEntity, refused)

	korean := b.get("/requests/" + string(r.ID) + "?lang=ko")
	b.post("/requests/"+string(r.ID)+"/approve", with(korean)).want(http.StatusUnprocessableEntity, refused)

	stranger := w.browser()
	stranger.use(stranger.get("/signin"), "/signin/passkey", d.Get).want(http.StatusSeeOther)
	stranger.post("/requests/"+string(r.ID)+"/approve", with(stranger.open(r))).want(http.StatusUnprocessableEntity, refused)
	for _, still := range []*approvals.Request{r, other} {
		if got := w.read(still); got.State != approvals.Pending || len(got.Decisions) > 0 {
			t.Fatalf("%s with %d decisions", got.State, len(got.Decisions))
		}
	}
	form := with(ask)
	b.post("/requests/"+string(r.ID)+"/approve", form).want(http.StatusSeeOther)
	b.follow(b.post("/requests/"+string(r.ID)+"/approve", form)).want(http.StatusOK, "Approved at") // pressed twice
	if got := w.read(r); len(got.Decisions) != 1 {
		t.Errorf("%d decisions", len(got.Decisions))
	}
}

func TestConfirmationRefusals(t *testing.T) {
	w := newNamedWorld(t)
	b, d := w.withPasskey("ann")
	r := w.ask("ann", payment, high)
	d.Unverified = true
	b.use(b.open(r), "/approve", d.Get).want(http.StatusUnprocessableEntity, "Your device did not check that it is you.")
	d.Unverified, d.Origin = false, "https://example.com.evil.example"
	b.use(b.open(r), "/approve", d.Get).want(http.StatusUnprocessableEntity, "That passkey was not accepted.")
	d.Origin = siteName
	b.press(b.open(r), "/approve", "ticket", "x", "credential", "{}").want(http.StatusUnprocessableEntity)
	if got := w.read(r); got.State != approvals.Pending {
		t.Fatal(got.State)
	}
	b.follow(b.press(b.open(r), "/deny")).want(http.StatusOK, "Denied.") // takes nothing
}

// A passkey that a code alone put there waits before it approves what takes one.
func TestNewPasskeyIsHeld(t *testing.T) {
	w := newNamedWorld(t)
	b, d := w.signedIn("ann"), newDevice()
	b.byCode("ann")
	b.use(b.get("/passkeys"), "/passkeys", d.Create).want(http.StatusSeeOther)
	r := w.ask("ann", payment, high, func(a *approvals.Ask) { a.Life = 48 * time.Hour })
	b.use(b.open(r), "/approve", d.Get).want(http.StatusUnprocessableEntity, "a passkey, number or device of yours is too new")
	b.open(r).want(http.StatusOK, "You can approve this from 3 Mar 14:26 CET").lacks(`data-begin="/requests/x`)
	low := w.ask("ann", payment)
	b.press(b.open(low), "/approve").want(http.StatusSeeOther) // takes none, and is not held
	w.advance(testHold)
	b.use(b.get("/signin"), "/signin/passkey", d.Get).want(http.StatusSeeOther)
	b.use(b.open(r), "/approve", d.Get).want(http.StatusSeeOther)
	if got := w.read(r); got.State != approvals.Approved {
		t.Error(got.State)
	}
}

// Without a passkey there is no way around one, and no is as easy as ever.
func TestApprovalTakesAPasskeyAndThereIsNone(t *testing.T) {
	for _, w := range []*world{newNamedWorld(t), newWorld(t, false)} {
		b := w.signedIn("ann")
		r := w.ask("ann", payment, high)
		page := b.open(r).want(http.StatusOK, "Approving this takes a passkey, and you have none yet. You can deny.")
		b.press(page, "/approve").want(http.StatusUnprocessableEntity, "Nothing was approved")
		b.follow(b.press(page, "/deny")).want(http.StatusOK, "Denied.")
	}
}

// Of ten who send one confirmation side by side, one decides.
func TestConfirmationRace(t *testing.T) {
	w := newNamedWorld(t)
	b, d := w.withPasskey("ann")
	r := w.ask("ann", payment, high)
	page := b.open(r)
	o := b.begun(page, "/approve")
	raw, err := json.Marshal(o)
	check(t, err)
	credential, err := d.Get(raw)
	check(t, err)
	f := page.form("/approve")
	f.fields.Set("ticket", o.Ticket)
	f.fields.Set("credential", credential)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() { b.post(f.action, f.fields) })
	}
	all.Wait()
	if got := w.read(r); got.State != approvals.Approved || len(got.Decisions) != 1 {
		t.Errorf("%s with %d decisions", got.State, len(got.Decisions))
	}
	if list, err := w.pages.passkeys.List(t.Context(), "ann"); err != nil || list[0].UsedAt.IsZero() {
		t.Errorf("%+v, %v", list, err)
	}
}
