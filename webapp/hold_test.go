package webapp

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"assent/approvals"
	"assent/webapp/passkey"
)

// change edits a person, as operators and channels do.
func (w *world) change(who approvals.PersonID, edit func(*approvals.Person)) {
	w.t.Helper()
	p, err := w.people.Person(w.t.Context(), who)
	check(w.t, err)
	changed := *p
	edit(&changed)
	check(w.t, w.people.SavePerson(w.t.Context(), &changed))
}

// What is new is held from approvals that take a passkey, however well its owner had signed in: whoever copied a cookie,
// took a number over or talked an operator into a new invitation has a day less than the person needs to notice.
func TestHeldFromHighApprovals(t *testing.T) {
	tests := []struct {
		name string
		add  func(t *testing.T, w *world) (*browserOf, signs)
		held bool
	}{
		{"the very first passkey, on the invitation", func(t *testing.T, w *world) (*browserOf, signs) {
			b, d := w.withPasskey("ann")
			return b, d.Get
		}, false},
		{"the first passkey, an hour after the invitation", func(t *testing.T, w *world) (*browserOf, signs) {
			b, d := w.signedIn("ann"), newDevice()
			w.advance(directly + time.Second)
			b.byCode("ann")
			b.use(b.get("/passkeys"), "/passkeys", d.Create).want(http.StatusSeeOther)
			return b, d.Get
		}, true},
		{"a second one on the same invitation", func(t *testing.T, w *world) (*browserOf, signs) {
			b, _ := w.withPasskey("ann")
			d := newDevice()
			b.use(b.get("/passkeys"), "/passkeys", d.Create).want(http.StatusSeeOther)
			b.use(b.get("/signin?fresh=1"), "/signin/passkey", d.Get).want(http.StatusSeeOther)
			return b, d.Get
		}, true},
		{"one in the place of the first", func(t *testing.T, w *world) (*browserOf, signs) {
			b, _ := w.withPasskey("ann")
			b.press(b.get("/passkeys"), "/passkeys/remove").want(http.StatusSeeOther)
			d := newDevice()
			b.use(b.get("/passkeys"), "/passkeys", d.Create).want(http.StatusSeeOther)
			return b, d.Get
		}, true},
		{"one that a session by passkey added", func(t *testing.T, w *world) (*browserOf, signs) {
			_, first := w.withPasskey("ann")
			thief, d := w.browser(), newDevice()
			thief.use(thief.get("/signin"), "/signin/passkey", first.Get).want(http.StatusSeeOther)
			copied := w.with(thief.held())
			copied.use(copied.get("/passkeys"), "/passkeys", d.Create).want(http.StatusSeeOther)
			return copied, d.Get
		}, true},
		{"one after a recovery", func(t *testing.T, w *world) (*browserOf, signs) {
			w.withPasskey("ann")
			w.advance(time.Hour)
			w.change("ann", func(p *approvals.Person) { p.SignedOutAt = w.clock() })
			w.advance(time.Second)
			b, d := w.withPasskey("ann")
			return b, d.Get
		}, true},
		{"an old one, with a new number", func(t *testing.T, w *world) (*browserOf, signs) {
			b, d := w.withPasskey("ann")
			w.change("ann", func(p *approvals.Person) { p.Phone = "+4930123456" })
			return b, d.Get
		}, true},
		{"an old one, with the number taken away", func(t *testing.T, w *world) (*browserOf, signs) {
			b, d := w.withPasskey("ann")
			w.change("ann", func(p *approvals.Person) { p.Email = "ann@example.com" })
			return b, d.Get
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newNamedWorld(t)
			b, sign := tt.add(t, w)
			r := w.ask("ann", payment, high, func(a *approvals.Ask) { a.Life = 72 * time.Hour })
			answer, _ := b.confirm(r, sign)
			if got := answer.status == http.StatusSeeOther; got == tt.held || (w.read(r).State == approvals.Approved) == tt.held {
				t.Fatalf("held %v: %d, %s", !got, answer.status, w.read(r).State)
			}
			if !tt.held {
				return
			}
			answer.want(http.StatusUnprocessableEntity, "is too new for this")
			if w.read(r).State != approvals.Pending {
				t.Errorf("%s, want pending: it can still be denied", w.read(r).State)
			}
			w.advance(testHold)
			again := w.browser()
			again.use(again.get("/signin"), "/signin/passkey", sign).want(http.StatusSeeOther)
			if answer, _ := again.confirm(r, sign); answer.status != http.StatusSeeOther {
				t.Errorf("after the hold: %d", answer.status)
			}
		})
	}
}

type signs = func([]byte) (string, error)

// confirm approves with a passkey whatever the page offers: as a script that somebody else wrote would.
func (b *browserOf) confirm(r *approvals.Request, sign signs) (*page, url.Values) {
	b.w.t.Helper()
	p := b.open(r)
	fields := p.form("/approve").fields
	begun := b.post("/requests/"+string(r.ID)+"/confirm", url.Values{"token": {fields.Get("token")},
		"digest": {fields.Get("digest")}, "locale": {fields.Get("locale")}}).want(http.StatusOK)
	var o passkey.Options
	check(b.w.t, json.Unmarshal([]byte(begun.body), &o))
	credential, err := sign([]byte(begun.body))
	check(b.w.t, err)
	fields.Set("ticket", o.Ticket)
	fields.Set("credential", credential)
	return b.post("/requests/"+string(r.ID)+"/approve", fields), fields
}

// A cookie of a session by passkey, copied, approves nothing that takes one: each approval takes an assertion of its own.
func TestCopiedCookieDoesNotApprove(t *testing.T) {
	w := newNamedWorld(t)
	_, d := w.withPasskey("ann")
	b := w.browser()
	b.use(b.get("/signin"), "/signin/passkey", d.Get).want(http.StatusSeeOther)
	first, second := w.ask("ann", payment, high), w.ask("ann", payment, high)
	thief := w.with(b.held())
	p := thief.open(second)
	answer, fields := b.confirm(first, d.Get)
	answer.want(http.StatusSeeOther)
	thief.press(p, "/approve").want(http.StatusUnprocessableEntity, "Nothing was approved")
	stolen := p.form("/approve").fields
	for _, name := range []string{"ticket", "credential"} { // of the confirmation before
		stolen.Set(name, fields.Get(name))
	}
	thief.post("/requests/"+string(second.ID)+"/approve", stolen).want(http.StatusUnprocessableEntity)
	if got := w.read(second); got.State != approvals.Pending || len(got.Decisions) > 0 {
		t.Errorf("%s with %d decisions", got.State, len(got.Decisions))
	}
}

// What needs a passkey never takes a code, however fresh, and says so instead of sending anybody to a weaker sign-in.
func TestNoSilentDowngrade(t *testing.T) {
	w := newNamedWorld(t)
	b, _ := w.withPasskey("ann")
	b.byCode("ann")
	r := w.ask("ann", payment, high)
	p := b.press(b.open(r), "/approve").want(http.StatusUnprocessableEntity, "this needs your passkey")
	if p.hasForm("/signin") {
		t.Error("the way to a weaker sign-in is offered")
	}
	if got := w.read(r); got.State != approvals.Pending {
		t.Error(got.State)
	}
}

// Removing a passkey takes a sign-in, or a confirmation, of the last ten minutes.
func TestRemovalTakesAFreshSignIn(t *testing.T) {
	w := newNamedWorld(t)
	b, d := w.withPasskey("ann")
	w.advance(freshFor + time.Second)
	p := b.get("/passkeys").want(http.StatusOK, "Removing one asks you to sign in again.")
	asked := b.press(p, "/passkeys/remove").want(http.StatusSeeOther)
	door := b.follow(asked).want(http.StatusOK, "Sign in")
	if list, err := w.pages.passkeys.List(t.Context(), "ann"); err != nil || len(list) != 1 {
		t.Fatalf("%d passkeys, %v", len(list), err)
	}
	p = b.follow(b.use(door, "/signin/passkey", d.Get)).want(http.StatusOK, "Passkeys").lacks("sign in again")
	b.press(p, "/passkeys/remove").want(http.StatusSeeOther)
	if list, err := w.pages.passkeys.List(t.Context(), "ann"); err != nil || len(list) != 0 {
		t.Errorf("%d passkeys, %v", len(list), err)
	}
}

// What was signed is stored with the decision and proves it from those bytes alone; the page shows it.
func TestDecisionKeepsItsProof(t *testing.T) {
	w := newNamedWorld(t)
	b, d := w.withPasskey("ann")
	r := w.ask("ann", payment, high)
	done, _ := b.confirm(r, d.Get)
	shown := b.follow(done).want(http.StatusOK, "Signed by passkey")
	w.close()
	w.open(false)
	got := w.read(r)
	proof := got.Decisions[0].Proof
	m := passkey.Matter{Verb: "approve", Disclosure: got.Decisions[0].Digest, Granted: got.Granted.Digest()}
	if _, err := passkey.VerifyEvidence(proof, m, siteName); err != nil {
		t.Error(err)
	}
	w.signedIn("ann").get("/history/"+string(r.ID)).want(http.StatusOK, "Confirmed by passkey")
	if _, err := passkey.VerifyEvidence([]byte(shown.byID("decision-proof")), m, siteName); err != nil {
		t.Errorf("as shown: %v", err)
	}
	m.Granted = m.Disclosure
	if _, err := passkey.VerifyEvidence(proof, m, siteName); err == nil {
		t.Error("proves something else as well")
	}
}
