package webapp

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"assent/approvals"
)

// chromium is one tab of a real browser, with an authenticator in it.
type chromium struct {
	t      *testing.T
	ctx    context.Context
	device webauthn.AuthenticatorID
}

// newChromium starts a browser with a profile of its own. Without one the test is skipped, and where ASSENT_REQUIRE names
// it that is a failure.
func newChromium(t *testing.T) *chromium {
	t.Helper()
	path, err := exec.LookPath("chromium")
	switch {
	case err != nil && slices.Contains(strings.Split(os.Getenv("ASSENT_REQUIRE"), ","), "chromium"):
		t.Fatalf("chromium is required: %v", err)
	case err != nil:
		t.Skipf("needs chromium: %v", err)
	}
	options := []chromedp.ExecAllocatorOption{chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir())}
	for _, flag := range []string{"headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "disable-quic",
		"no-first-run", "disable-background-networking", "disable-component-update", "disable-sync"} {
		options = append(options, chromedp.Flag(flag, true))
	}
	limited, stop := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(stop)
	allocator, stop := chromedp.NewExecAllocator(limited, options...)
	t.Cleanup(stop)
	ctx, stop := chromedp.NewContext(allocator, chromedp.WithErrorf(t.Logf))
	t.Cleanup(stop)
	c := &chromium{t: t, ctx: ctx}
	check(t, chromedp.Do(ctx))
	_, err = chromedp.Call(ctx, webauthn.Enable, webauthn.EnableParams{})
	check(t, err)
	added, err := chromedp.Call(ctx, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
		Options: &webauthn.VirtualAuthenticatorOptions{Protocol: webauthn.AuthenticatorProtocolCtap2,
			Transport: webauthn.AuthenticatorTransportInternal, HasResidentKey: true, HasUserVerification: true,
			IsUserVerified: true, AutomaticPresenceSimulation: true}})
	check(t, err)
	c.device = added.AuthenticatorID
	return c
}

func (c *chromium) open(link string) {
	c.t.Helper()
	check(c.t, chromedp.Do(c.ctx, chromedp.Navigate(link)))
}

// click presses what a person would, once it is there and enabled.
func (c *chromium) click(selector string) {
	c.t.Helper()
	c.until(selector, fmt.Sprintf(`(() => { const b = document.querySelector(%q); return !!b && !b.disabled; })()`, selector))
	check(c.t, chromedp.Do(c.ctx, chromedp.Click(chromedp.CSS(selector))))
}

func awaited(p *runtime.EvaluateParams) { p.AwaitPromise = new(true) }

func evaluate[T any](c *chromium, script string) T {
	c.t.Helper()
	got, err := chromedp.Run(c.ctx, chromedp.Evaluate[T](script, awaited))
	check(c.t, err)
	return got
}

// until looks again and again, as a person does, whether a script says true. A page that is just being left says nothing.
func (c *chromium) until(what, script string) {
	c.t.Helper()
	for deadline := time.Now().Add(15 * time.Second); ; <-time.After(20 * time.Millisecond) {
		if yes, err := chromedp.Run(c.ctx, chromedp.Evaluate[bool](script, awaited)); err == nil && yes {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: not in 15 s; the page says %q", what, evaluate[string](c, "document.body.innerText"))
		}
	}
}

func (c *chromium) reads(words string) {
	c.t.Helper()
	c.until(words, fmt.Sprintf("document.body.innerText.includes(%q)", words))
}

// verifies makes the authenticator say that it verified the user, or that it did not.
func (c *chromium) verifies(yes bool) {
	c.t.Helper()
	_, err := chromedp.Call(c.ctx, webauthn.SetResponseOverrideBits,
		webauthn.SetResponseOverrideBitsParams{AuthenticatorID: c.device, IsBadUV: new(!yes)})
	check(c.t, err)
}

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

// A person with a real browser: the invitation, the first passkey, an approval by it; refused without verification of the
// user, on another request and over another text.
func TestPasskeyInABrowser(t *testing.T) {
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
}
