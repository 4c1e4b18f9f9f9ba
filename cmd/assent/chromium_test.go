package main

import (
	"context"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/serviceworker"
	cdptarget "github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// chromium is one tab of a real browser with a profile of its own.
type chromium struct {
	t      *testing.T
	ctx    context.Context
	origin string // of the pages
}

// newChromium starts the browser, which reaches this machine only, with notifications allowed for an origin.
func newChromium(t *testing.T, origin string) *chromium {
	t.Helper()
	path, err := exec.LookPath("chromium")
	need(t, "chromium", err)
	options := []chromedp.ExecAllocatorOption{chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir())}
	for _, flag := range []string{"headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "disable-quic",
		"no-first-run",
		"disable-background-networking", "disable-component-update", "disable-sync"} {
		options = append(options, chromedp.Flag(flag, true))
	}
	limited, stop := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(stop)
	allocator, stop := chromedp.NewExecAllocator(limited, options...)
	t.Cleanup(stop)
	ctx, stop := chromedp.NewContext(allocator, chromedp.WithErrorf(t.Logf))
	t.Cleanup(stop)
	c := &chromium{t, ctx, origin}
	c.ok(chromedp.Do(ctx))
	_, err = chromedp.CallBrowser(ctx, cdpbrowser.SetPermission, cdpbrowser.SetPermissionParams{Origin: origin,
		Permission: &cdpbrowser.PermissionDescriptor{Name: "notifications"}, Setting: cdpbrowser.PermissionSettingGranted})
	c.ok(err)
	return c
}

func (c *chromium) ok(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *chromium) open(link string) {
	c.t.Helper()
	c.ok(chromedp.Do(c.ctx, chromedp.Navigate(link)))
}

// click presses what a person would, and waits for the next page if there is to be one.
func (c *chromium) click(selector string, leads bool) {
	c.t.Helper()
	press := chromedp.Click(chromedp.CSS(selector))
	if leads {
		_, err := chromedp.RunResponse(c.ctx, press)
		c.ok(err)
		return
	}
	c.ok(chromedp.Do(c.ctx, press))
}

// awaited lets a script return a promise.
func awaited(p *runtime.EvaluateParams) { p.AwaitPromise = new(true) }

// eval runs a script in the page and returns what it says.
func eval[T any](c *chromium, script string) T {
	c.t.Helper()
	got, err := chromedp.Run(c.ctx, chromedp.Evaluate[T](script, awaited))
	c.ok(err)
	return got
}

// until looks again and again, as a person does, whether a script says true.
func (c *chromium) until(what, script string) {
	c.t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !eval[bool](c, script); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: not in 15 s; the page says %q", what, eval[string](c, "document.body.innerText"))
		}
	}
}

// registration finds the service worker that the page has registered.
func (c *chromium) registration() serviceworker.RegistrationID {
	c.t.Helper()
	updates := chromedp.Events(c.ctx, serviceworker.WorkerRegistrationUpdated)
	_, err := chromedp.Call(c.ctx, serviceworker.Enable, cdp.Empty{})
	c.ok(err)
	for update, err := range updates {
		c.ok(err)
		for _, r := range update.Registrations {
			if r.ScopeURL == c.origin+"/push/" && !r.IsDeleted {
				return r.RegistrationID
			}
		}
	}
	c.t.Fatal("no service worker is registered")
	return ""
}

// deliver hands the service worker what a push service would.
func (c *chromium) deliver(to serviceworker.RegistrationID, payload string) {
	c.t.Helper()
	_, err := chromedp.Call(c.ctx, serviceworker.DeliverPushMessage,
		serviceworker.DeliverPushMessageParams{Origin: c.origin, RegistrationID: to, Data: payload})
	c.ok(err)
}

// notification is one as it lies on the screen.
type notification struct {
	Title, Body, Tag, Data string
	Silent                 bool
	Actions                int
}

const notifications = `navigator.serviceWorker.getRegistration('/push/').then((r) => r.getNotifications()).then((all) => JSON.stringify(
	all.map((n) => ({ title: n.title, body: n.body, tag: n.tag, data: n.data, silent: n.silent === true,
		actions: (n.actions || []).length }))))`

// shown returns the notifications with a tag.
func (c *chromium) shown(tag string) (found []notification) {
	c.t.Helper()
	var all []notification
	c.ok(json.Unmarshal([]byte(eval[string](c, notifications)), &all))
	for _, n := range all {
		if n.Tag == tag {
			found = append(found, n)
		}
	}
	return found
}

// deliverShown delivers a message and waits until the notification of a tag has a body. A browser that is just putting its
// service worker to sleep may lose what comes by this way, so it comes again: the tag makes that one notification.
func (c *chromium) deliverShown(to serviceworker.RegistrationID, payload, tag, body string) []notification {
	c.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		c.deliver(to, payload)
		for again := time.Now().Add(3 * time.Second); time.Now().Before(again); <-time.After(20 * time.Millisecond) {
			if found := c.shown(tag); len(found) > 0 && found[len(found)-1].Body == body {
				return found
			}
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("shown with tag %q: %+v, want %q", tag, c.shown(tag), body)
		}
	}
}

// tap makes a tap on the notification of a tag, and returns where the service worker wants to lead. A browser without a
// screen has nothing to tap on and opens no window, so both ends of the service worker are held by hand.
const tap = `(async (tag) => {
	let opened;
	clients.openWindow = async (url) => { opened = url; };
	const [notification] = (await registration.getNotifications({ tag }));
	const event = new NotificationEvent('notificationclick', { notification });
	let done;
	Object.defineProperty(event, 'waitUntil', { value: (promise) => { done = promise; } });
	self.dispatchEvent(event);
	await done;
	return String(opened);
})`

func (c *chromium) tap(tag string) string {
	c.t.Helper()
	targets, err := chromedp.Targets(c.ctx)
	c.ok(err)
	var worker cdptarget.ID
	for _, found := range targets {
		if found.Type == "service_worker" && strings.HasSuffix(found.URL, "/sw.js") { // the shell has one too
			worker = found.TargetID
		}
	}
	if worker == "" {
		c.t.Fatal("service worker does not run")
	}
	ctx, stop := chromedp.NewContext(c.ctx, chromedp.WithTargetID(worker), chromedp.WithDetachOnCancel())
	defer stop()
	script, _ := json.Marshal(tag)
	opened, err := chromedp.Run(ctx, chromedp.Evaluate[string](tap+"("+string(script)+")", awaited))
	c.ok(err)
	return opened
}
