package webapp

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	cdpnetwork "github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
	"go.uber.org/goleak"
)

// patience is how long a browser may take for one thing. Two cores that also run everything else are slow.
const patience = 30 * time.Second

// shared is the one browser of all tests: starting it takes longer than most of them.
type shared struct {
	once sync.Once
	ctx  context.Context
	stop func()
	err  error
}

var theBrowser shared

// start returns the browser's context, in which tabs open.
func (s *shared) start() (context.Context, error) {
	s.once.Do(func() { s.ctx, s.stop, s.err = startBrowser() })
	return s.ctx, s.err
}

func startBrowser() (context.Context, func(), error) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		return nil, nil, err
	}
	profile, err := os.MkdirTemp("", "assent-chromium-")
	if err != nil {
		return nil, nil, err
	}
	options := []chromedp.ExecAllocatorOption{chromedp.ExecPath(path), chromedp.UserDataDir(profile)}
	for _, flag := range []string{"headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "disable-quic", "no-first-run",
		"disable-background-networking", "disable-component-update", "disable-sync", "hide-scrollbars"} {
		options = append(options, chromedp.Flag(flag, true))
	}
	allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, stopBrowser := chromedp.NewContext(allocator, chromedp.WithErrorf(func(string, ...any) {})) // outlives every test's log
	return ctx, func() { stopBrowser(); stopAllocator(); _ = os.RemoveAll(profile) }, chromedp.Do(ctx)
}

// closing is a run of tests that ends with the browser, if one was started.
type closing struct{ *testing.M }

func (c closing) Run() int {
	code := c.M.Run()
	if theBrowser.stop != nil {
		theBrowser.stop()
	}
	return code
}

// TestMain lets twice as many tests run side by side as usual: in a browser they wait half of their time.
func TestMain(m *testing.M) {
	flag.Parse()
	side := flag.Lookup("test.parallel")
	if n, err := strconv.Atoi(side.DefValue); err == nil && side.Value.String() == side.DefValue {
		_ = side.Value.Set(strconv.Itoa(2 * n))
	}
	goleak.VerifyTestMain(closing{m})
}

// demanded reports whether ASSENT_REQUIRE names a tool.
func demanded(tool string) bool {
	return slices.Contains(strings.Split(os.Getenv("ASSENT_REQUIRE"), ","), tool)
}

// required skips a test for want of a tool, and fails it where ASSENT_REQUIRE names the tool.
func required(t *testing.T, tool string, err error) {
	t.Helper()
	switch {
	case err == nil:
	case demanded(tool):
		t.Fatalf("%s is required: %v", tool, err)
	default:
		t.Skipf("needs %s: %v", tool, err)
	}
}

// chromium is one tab of a real browser, with cookies of its own and an authenticator in it. Whatever a page logs as an
// error or has refused by its content security policy fails the test.
type chromium struct {
	t      *testing.T
	ctx    context.Context
	device webauthn.AuthenticatorID

	mu         sync.Mutex
	complaints []string
}

// reports makes every refusal of the content security policy and of Trusted Types an error in the console.
const reports = `addEventListener('securitypolicyviolation', (e) =>
	console.error('refused by policy: ' + e.effectiveDirective + ' ' + e.blockedURI + ' ' + e.sample))`

// hurry lets the time pass at once for which the details must have been on the screen: tests that only look need not wait.
const hurry = `{
	const wait = setTimeout, now = performance.now.bind(performance);
	let passed = 0;
	performance.now = () => now() + passed;
	setTimeout = (then, after, ...rest) => after === 700 ? wait(() => { passed += after; then(...rest); }) : wait(then, after, ...rest);
}`

// before runs a script in each page before those of the page.
func (c *chromium) before(script string) {
	c.t.Helper()
	_, err := chromedp.Call(c.ctx, cdppage.AddScriptToEvaluateOnNewDocument,
		cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: script})
	check(c.t, err)
}

// newChromium opens a tab on a phone's screen.
func newChromium(t *testing.T) *chromium {
	t.Helper()
	browser, err := theBrowser.start()
	if errors.Is(err, exec.ErrNotFound) {
		required(t, "chromium", err)
	}
	check(t, err)
	c := &chromium{t: t}
	ctx, stop := chromedp.NewContext(browser, chromedp.WithNewBrowserContext(), chromedp.WithListener(c.listen))
	t.Cleanup(stop)
	c.ctx = ctx
	check(t, chromedp.Do(ctx))
	c.ctx, stop = context.WithTimeout(ctx, 9*time.Minute)
	t.Cleanup(stop)
	c.before(reports)
	_, err = chromedp.Call(c.ctx, webauthn.Enable, webauthn.EnableParams{})
	check(t, err)
	added, err := chromedp.Call(c.ctx, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
		Options: &webauthn.VirtualAuthenticatorOptions{Protocol: webauthn.AuthenticatorProtocolCtap2,
			Transport: webauthn.AuthenticatorTransportInternal, HasResidentKey: true, HasUserVerification: true,
			IsUserVerified: true, AutomaticPresenceSimulation: true}})
	check(t, err)
	c.device = added.AuthenticatorID
	c.screen(390, 844, "light")
	t.Cleanup(func() { c.calm(t) })
	return c
}

// calm fails a test if anything was complained about.
func (c *chromium) calm(t *testing.T) {
	for _, said := range c.heard() {
		t.Errorf("console: %s", said)
	}
}

// again makes the tab as good as new for another test, which is much quicker than another tab.
func (c *chromium) again(t *testing.T) {
	t.Helper()
	c.t = t
	t.Cleanup(func() { c.calm(t) })
	c.open("about:blank")
	_, err := chromedp.Call(c.ctx, storage.ClearCookies, storage.ClearCookiesParams{})
	check(t, err)
	_, err = chromedp.Call(c.ctx, webauthn.ClearCredentials, webauthn.ClearCredentialsParams{AuthenticatorID: c.device})
	check(t, err)
	c.screen(390, 844, "light")
}

// listen keeps what must not happen. That a page was answered with a status of its own is no mistake of the page.
func (c *chromium) listen(ev any) {
	said := ""
	switch ev := ev.(type) {
	case *log.EventEntryAdded:
		if ev.Entry.Level == log.EntryLevelError && ev.Entry.Source != log.EntrySourceNetwork {
			said = ev.Entry.Text
		}
	case *runtime.EventExceptionThrown:
		said = ev.ExceptionDetails.Text
	case *runtime.EventConsoleAPICalled:
		for _, a := range ev.Args {
			said += string(a.Value)
		}
	}
	if said != "" {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.complaints = append(c.complaints, said)
	}
}

// heard returns what was complained about, and forgets it.
func (c *chromium) heard() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	said := c.complaints
	c.complaints = nil
	return said
}

func (c *chromium) do(steps ...chromedp.Action[chromedp.Void]) {
	c.t.Helper()
	check(c.t, chromedp.Do(c.ctx, steps...))
}

func (c *chromium) open(link string) {
	c.t.Helper()
	c.do(chromedp.Navigate(link))
}

// screen sets the size in CSS pixels and what the person prefers: "light" or "dark", and any other media features.
func (c *chromium) screen(width, height int64, theme string, features ...string) {
	c.t.Helper()
	c.do(chromedp.EmulateViewport(width, height))
	media := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}
	for i := 0; i+1 < len(features); i += 2 {
		media = append(media, &emulation.MediaFeature{Name: features[i], Value: features[i+1]})
	}
	_, err := chromedp.Call(c.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: media})
	check(c.t, err)
}

// carry gives the tab the cookies of a browser that signed in over plain HTTP.
func (c *chromium) carry(b *browserOf) {
	c.t.Helper()
	at, err := url.Parse(b.w.server.URL)
	check(c.t, err)
	var cookies []*cdpnetwork.CookieParam
	for _, k := range b.client.Jar.Cookies(at) {
		cookies = append(cookies, &cdpnetwork.CookieParam{Name: k.Name, Value: k.Value, URL: b.w.server.URL, HTTPOnly: true,
			SameSite: cdpnetwork.CookieSameSiteLax})
	}
	_, err = chromedp.Call(c.ctx, cdpnetwork.SetCookies, cdpnetwork.SetCookiesParams{Cookies: cookies})
	check(c.t, err)
}

// click presses what a person would, once it is there and enabled.
func (c *chromium) click(selector string) {
	c.t.Helper()
	c.until(selector, fmt.Sprintf(`(() => { const b = document.querySelector(%q); return !!b && !b.disabled; })()`, selector))
	c.do(chromedp.Click(chromedp.CSS(selector)))
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
	for deadline := time.Now().Add(patience); ; <-time.After(20 * time.Millisecond) {
		if yes, err := chromedp.Run(c.ctx, chromedp.Evaluate[bool](script, awaited)); err == nil && yes {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: not in %s; the page says %q", what, patience, evaluate[string](c, "document.body.innerText"))
		}
	}
}

func (c *chromium) reads(words string) {
	c.t.Helper()
	c.until(words, fmt.Sprintf(`document.body.innerText.replace(/\s+/g, ' ').includes(%q)`, words))
}

// verifies makes the authenticator say that it verified the user, or that it did not.
func (c *chromium) verifies(yes bool) {
	c.t.Helper()
	_, err := chromedp.Call(c.ctx, webauthn.SetResponseOverrideBits,
		webauthn.SetResponseOverrideBitsParams{AuthenticatorID: c.device, IsBadUV: new(!yes)})
	check(c.t, err)
}
