package webapp

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
)

// hintsOf are the hints in the options that a page's script gets for a form, as the browser reads them.
func (b *browserOf) hintsOf(p *page, action string, elsewhere bool) (hints []string) {
	b.w.t.Helper()
	begin, send := p.scripted(action)
	fields, body := p.form(action).fields, url.Values{}
	for _, name := range send {
		body.Set(name, fields.Get(name))
	}
	if elsewhere {
		body.Set("elsewhere", "1")
	}
	answer := b.post(begin, body).want(http.StatusOK)
	var o struct {
		PublicKey struct {
			Hints            []string `json:"hints"`
			UserVerification string   `json:"userVerification"`
		} `json:"publicKey"`
	}
	check(b.w.t, json.Unmarshal([]byte(answer.body), &o))
	if o.PublicKey.UserVerification != "required" {
		b.w.t.Errorf("user verification %q", o.PublicKey.UserVerification)
	}
	return o.PublicKey.Hints
}

// TestElsewhere: who chooses another device is led to it by a hint, at a confirmation and at sign-in; nobody else is, and
// there is no such choice where no passkey is taken. The passkey counts like any other.
func TestElsewhere(t *testing.T) {
	w := newNamedWorld(t)
	b, d := w.withPasskey("ann")
	if p := b.open(w.ask("ann", payment)); p.choosesDevice() {
		t.Error("another device for what takes no passkey")
	}
	r := w.ask("ann", payment, high)
	p := b.open(r)
	door := w.browser().get("/signin")
	for what, hints := range map[string][2][]string{
		"confirmation": {b.hintsOf(p, "/approve", false), b.hintsOf(p, "/approve", true)},
		"sign-in":      {b.hintsOf(door, "/signin/passkey", false), b.hintsOf(door, "/signin/passkey", true)},
	} {
		if len(hints[0]) != 0 || len(hints[1]) != 1 || hints[1][0] != "hybrid" {
			t.Errorf("%s: hints %q and %q", what, hints[0], hints[1])
		}
	}
	if !p.choosesDevice() || !door.choosesDevice() {
		t.Error("no choice of another device")
	}
	b.use(p, "/approve", d.Get).want(http.StatusSeeOther)
}

// choosesDevice reports whether a page offers another device, as a button of the form that takes the passkey.
func (p *page) choosesDevice() bool {
	for _, n := range p.all("button") {
		if has(n, "data-elsewhere") {
			return true
		}
	}
	return false
}
