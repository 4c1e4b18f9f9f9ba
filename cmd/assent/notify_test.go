package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestNotification: in a real browser, from the tap on the offer to the page that a notification opens. A notification
// replaces the one before it, has no buttons, leads nowhere else, and decides nothing.
func TestNotification(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	p := newDev(t)
	c := newChromium(t, p.pages)
	agent := bot(p.issuer)
	must(t, 200)(agent.ask(ctx, nil, nil))
	phone := newBrowser()
	if err := phone.openOnPhone(ctx, p.pages, "u_ann", startTime); err != nil {
		t.Fatal(err)
	}
	link := phoneLink(t, p, "u_ann")

	c.open(link)
	c.click("main form button", true)
	c.click("#deny button", true)
	c.until("offer after the first decision", `document.querySelector('#push').dataset.stage === 'ask'`)

	// The browser has no push service here: it gets a subscription at the simulated one.
	subscription := simulatedSubscription(t, p)
	eval[string](c, `PushManager.prototype.subscribe = async (options) => {
		if (!options.userVisibleOnly || options.applicationServerKey.length !== 65) throw new Error('asked wrongly');
		return { toJSON: () => (`+subscription+`) };
	}; 'stubbed'`)
	c.click(`#push button[data-in="ask off"]`, false)
	test := pushedTo(t, p, 1)[0]
	if stage := eval[string](c, `document.querySelector('#push').dataset.stage`); stage != "testing" {
		t.Errorf("before the test has come back the offer is at %q", stage)
	}
	worker := c.registration()
	c.deliver(worker, string(test.Raw))
	c.until("the test came back", `document.querySelector('#push').dataset.stage === 'works'`)

	id := must(t, 200)(agent.ask(ctx, nil, nil)).member("auth_req_id")
	first := pushedTo(t, p, 2)[1]
	told := first.Note
	shown := c.deliverShown(worker, string(first.Raw), told.Tag, told.Body)
	if len(shown) != 1 || shown[0].Title != "Approval request from Travel Bot" || shown[0].Data != told.Navigate ||
		shown[0].Silent || shown[0].Actions != 0 {
		t.Errorf("shown: %+v", shown)
	}

	// Decided elsewhere: the quiet word takes the notification's place.
	must(t, 204)(devDecide(ctx, agent.http, p.pages, id, false))
	closed := pushedTo(t, p, 3)[2]
	shown = c.deliverShown(worker, string(closed.Raw), told.Tag, closed.Note.Body)
	if len(shown) != 1 || !shown[0].Silent || !strings.HasSuffix(shown[0].Body, "is closed. Nothing to do.") {
		t.Errorf("after the decision: %+v", shown)
	}

	// A tap leads to the landing page of the link, and decides nothing.
	id = must(t, 200)(agent.ask(ctx, nil, nil)).member("auth_req_id")
	second := pushedTo(t, p, 4)[3]
	told = second.Note
	c.deliverShown(worker, string(second.Raw), told.Tag, told.Body)
	if to := c.tap(told.Tag); to != told.Navigate {
		t.Fatalf("a tap leads to %s, want %s", to, told.Navigate)
	}
	c.open(told.Navigate)
	if words := eval[string](c, `document.body.innerText`); !strings.Contains(words, "You have an approval request") ||
		strings.Contains(words, "480.00") {
		t.Errorf("the page says %q", words)
	}
	if a := must(t, 400)(agent.poll(ctx, id, nil)); a.member("error") != "authorization_pending" {
		t.Errorf("after the tap: %s", a.body)
	}

	// Whatever a message says, it leads to a link of ours or to the inbox.
	for i, to := range []string{"https://evil.example/r/abc", "javascript:alert(1)", "/requests/x/approve",
		"//evil.example/r/x", ""} {
		hostile, err := json.Marshal(map[string]any{"notification": map[string]any{"title": "x", "tag": to + "t",
			"navigate": to}})
		if err != nil {
			t.Fatal(err)
		}
		c.deliverShown(worker, string(hostile), to+"t", "")
		if led := c.tap(to + "t"); led != p.pages+"/" {
			t.Errorf("%d: a tap leads to %s", i, led)
		}
	}
	c.deliverShown(worker, "no JSON", "", "")
}

// phoneLink is the newest link on a person's simulated phone.
func phoneLink(t *testing.T, p *process, person string) string {
	t.Helper()
	b := newBrowser()
	if err := b.open(t.Context(), p.pages+"/dev/phone/"+person); err != nil {
		t.Fatal(err)
	}
	link, err := b.page.link(func(href string) bool { return strings.Contains(href, "/r/") })
	if err != nil {
		t.Fatal(err)
	}
	return link
}
