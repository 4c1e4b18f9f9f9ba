package webapp

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"assent/approvals"
)

// newBrowserWorld is a world that a browser on this machine reaches, with approvals that take a passkey.
func newBrowserWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, true)
	w.desk.Ceiling = approvals.LevelPasskey
	w.server.URL = strings.Replace(w.server.URL, "127.0.0.1", "localhost", 1)
	c := w.pages.Config
	c.PagesURL = w.server.URL
	w.pages.Close()
	pages, err := New(c)
	check(t, err)
	w.pages = pages
	return w
}

// caught keeps the confirmed form instead of sending it.
const caught = `addEventListener('submit', (event) => {
	const form = event.target.elements;
	if (!form.credential?.value) return;
	event.preventDefault();
	event.stopImmediatePropagation();
	window.kept = { ticket: form.ticket.value, credential: form.credential.value };
}, true)`

// sent posts what was kept to a request, with the form's own fields as its page has them or with another digest, and
// returns the status; 0 is a redirect.
const sent = `(async (id, digest) => {
	const page = await (await fetch('/requests/' + id)).text();
	const field = (name) => page.match(new RegExp('name="' + name + '" value="([^"]+)"'))[1];
	const body = new URLSearchParams({ digest: digest || field('digest'), locale: field('locale'), token: field('token'), ...window.kept });
	return (await fetch('/requests/' + id + '/approve', { method: 'POST', body, redirect: 'manual' })).status;
})(%q, %q)`

// hinted keeps what hints the browser is given with the next ceremony.
const hinted = `{
	const get = navigator.credentials.get.bind(navigator.credentials);
	navigator.credentials.get = (options) => { sessionStorage.hints = JSON.stringify(options.publicKey.hints); return get(options); };
}; true`

// A person with a real browser: the invitation, the first passkey, an approval by it and by one of another device; refused
// without verification of the user, on another request and over another text.
func TestUX04Passkey(t *testing.T) {
	t.Parallel()
	w := newBrowserWorld(t)
	c := newChromium(t)
	inv, err := w.pages.Invite(t.Context(), "ann")
	check(t, err)
	c.open(inv.URL)
	c.click("main form button")
	c.until("code", "!!document.querySelector('#code')")
	evaluate[bool](c, fmt.Sprintf("document.querySelector('#code').value = %q, true", w.code("ann")))
	c.click("main form button")
	c.click("form[data-passkey=create] button")
	c.reads("Not used yet.")

	high := func(a *approvals.Ask) { a.Level = approvals.LevelPasskey }
	at := func(r *approvals.Request) string { return w.server.URL + "/requests/" + string(r.ID) }
	r := w.ask("ann", payment, high)
	c.open(at(r))
	c.reads("To approve, you confirm with your passkey.")
	c.click("#approve button")
	c.reads("Travel Bot may now do this once.")
	got := w.read(r)
	if got.State != approvals.Approved || got.Decisions[0].Level.ACR() != "phr" ||
		!slices.Contains(got.Decisions[0].AMR, "user") {
		t.Errorf("%s: %+v", got.State, got.Decisions)
	}

	elsewhere := w.ask("ann", payment, high)
	c.open(at(elsewhere))
	evaluate[bool](c, hinted)
	c.click("[data-elsewhere]")
	c.reads("Travel Bot may now do this once.")
	if got := w.read(elsewhere); got.State != approvals.Approved || got.Decisions[0].Level.ACR() != "phr" {
		t.Errorf("with a passkey from another device: %s", got.State)
	}
	if hints := evaluate[string](c, "sessionStorage.hints"); hints != `["hybrid"]` {
		t.Errorf("the browser was given hints %s", hints)
	}

	unverified := w.ask("ann", payment, high)
	c.verifies(false)
	c.open(at(unverified))
	c.click("#approve button")
	c.reads("Your device did not check that it is you.")
	c.verifies(true)

	meant, other := w.ask("ann", payment, high), w.ask("ann", payment, high)
	c.open(at(meant))
	evaluate[bool](c, caught+", true")
	c.click("#approve button")
	c.until("confirmation", "!!window.kept")
	for name, script := range map[string]string{"another request": fmt.Sprintf(sent, other.ID, ""),
		"another digest": fmt.Sprintf(sent, meant.ID, strings.Repeat("A", 43))} {
		if status := evaluate[int](c, script); status != 422 {
			t.Errorf("%s: %d", name, status)
		}
	}
	for _, r := range []*approvals.Request{unverified, meant, other} {
		if got := w.read(r); got.State != approvals.Pending {
			t.Errorf("%s", got.State)
		}
	}
	if status := evaluate[int](c, fmt.Sprintf(sent, meant.ID, "")); status != 0 || w.read(meant).State != approvals.Approved {
		t.Errorf("as meant: %d", status)
	}

	c.open(w.server.URL)
	c.click("footer form button")
	c.click("form[data-passkey=get] button")
	c.reads("Signed in as Ann")
	c.click("footer form button")
	c.click("form[data-passkey=get] [data-elsewhere]")
	c.reads("Signed in as Ann")
}
