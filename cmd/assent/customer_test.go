package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// customer is a person with an agent, on connections of their own. They take one matter after the other from asking to
// collecting, write down what was acknowledged, and go on with the same matter when the service comes back.
type customer struct {
	*crash
	name    string
	agent   *agentHTTP
	pages   string
	browser *browser // of those who press real buttons; nil: decides through dev mode
	signed  bool     // the browser is signed in
	keys    bool     // sends Idempotency-Keys

	count  int
	now    *matter
	recent []*matter // finished in the last life
}

// matter is one request, as its customer knows it.
type matter struct {
	binding string // unique, so that a request made twice shows
	id      string // "" until acknowledged
	deny    bool

	asked, decided, collected, done bool // acknowledged
	lostAsk, lostCollect            bool // sent, and no answer came: it may have happened
	lostDecision                    bool
	token                           []byte // what a redemption with an Idempotency-Key answered
}

func newCustomer(c *crash, name string, n int) *customer {
	transport := func() http.RoundTripper { return &http.Transport{MaxIdleConnsPerHost: 2} }
	who := &customer{crash: c, name: name, agent: bot(""), keys: n%2 == 0}
	who.agent.http.Transport = transport()
	if n%8 == 0 {
		who.browser = newBrowser()
		who.browser.http.Transport = transport()
	}
	return who
}

// live works until the service is gone.
func (c *customer) live(p *process) error {
	if err := c.resume(p); err != nil {
		return err
	}
	for {
		if err := c.advance(); err != nil {
			return err
		}
	}
}

// finish ends the matter at hand.
func (c *customer) finish(p *process) error {
	if err := c.resume(p); err != nil {
		return err
	}
	for done := false; !done; done = c.now != nil && c.now.done {
		if err := c.advance(); err != nil {
			return err
		}
	}
	return nil
}

// resume looks again at what was finished before the kill: it must stay so.
func (c *customer) resume(p *process) error {
	c.agent.issuer, c.pages = p.issuer, p.pages
	for ; len(c.recent) > 0; c.recent = c.recent[1:] {
		if err := c.again(c.recent[0]); err != nil {
			return err
		}
	}
	return nil
}

// advance takes the next step of the matter at hand.
func (c *customer) advance() error {
	if c.now == nil || c.now.done {
		c.count++
		c.now = &matter{binding: fmt.Sprintf("%s-%d", c.name, c.count), deny: c.count%5 == 0}
	}
	m, ctx := c.now, context.Background()
	switch {
	case m.id == "":
		return c.ask(ctx, m)
	case !m.asked:
		return c.wait(ctx, m)
	case !m.decided:
		return c.decide(ctx, m)
	case !m.collected:
		return c.collect(ctx, m)
	}
	if err := c.again(m); err != nil {
		return err
	}
	m.done = true
	if c.recent = append(c.recent, m); len(c.recent) > 2 {
		c.recent = c.recent[1:]
	}
	return nil
}

// key is the Idempotency-Key of one of the matter's calls, if this customer sends any.
func (c *customer) key(m *matter, of string) http.Header {
	if !c.keys {
		return nil
	}
	return http.Header{"Idempotency-Key": {of + " " + m.binding}}
}

// ask asks. An answer that got lost is asked for again under the same key, or the request is given up.
func (c *customer) ask(ctx context.Context, m *matter) error {
	if m.lostAsk && !c.keys {
		c.now = nil
		return nil
	}
	a, err := c.agent.ask(ctx, url.Values{"login_hint": {c.name}, "binding_message": {m.binding}}, c.key(m, "ask"))
	if err != nil {
		m.lostAsk = true
		return err
	}
	if a.status != http.StatusOK {
		return c.surprise("ask", a)
	}
	m.id = a.member("auth_req_id")
	c.journal.add(opAsk, m.id)
	return nil
}

// wait polls before the decision.
func (c *customer) wait(ctx context.Context, m *matter) error {
	a, err := c.agent.poll(ctx, m.id, nil)
	if err != nil {
		return err
	}
	switch a.member("error") {
	case "authorization_pending", "slow_down":
	case "invalid_grant":
		c.lost("request %s is unknown", m.id)
		m.done = true
		return nil
	default:
		return c.surprise("poll", a)
	}
	m.asked = true
	c.journal.add(opWaiting, m.id)
	return nil
}

// decide presses a button, real or simulated. A decision whose answer got lost is made again; then it may be the second.
func (c *customer) decide(ctx context.Context, m *matter) (err error) {
	if c.browser != nil {
		err = c.press(ctx, m)
	} else {
		err = c.simulate(ctx, m)
	}
	if err != nil {
		m.lostDecision = true
		return err
	}
	m.decided = true
	c.journal.add(map[bool]string{false: opApprove, true: opDeny}[m.deny], m.id)
	return nil
}

func (c *customer) simulate(ctx context.Context, m *matter) error {
	a, err := devDecide(ctx, c.agent.http, c.pages, m.id, !m.deny)
	if err != nil {
		return err
	}
	if a.status == http.StatusNoContent || a.status == http.StatusConflict && m.lostDecision {
		return nil
	}
	return c.surprise("decision", a)
}

// press signs in by the first message's link, and after that goes straight to the request.
func (c *customer) press(ctx context.Context, m *matter) error {
	if !c.signed {
		if err := c.browser.openOnPhone(ctx, c.pages, "u_"+c.name, startTime); err != nil {
			return err
		}
		c.signed = true
	}
	id, _, _ := strings.Cut(m.id, ".")
	if err := c.browser.open(ctx, c.pages+"/requests/"+id); err != nil {
		return err
	}
	verdict := c.browser.page.verdict()
	if verdict == "open" {
		if err := c.browser.press(ctx, map[bool]string{false: "/approve", true: "/deny"}[m.deny], nil); err != nil {
			return err
		}
		verdict = c.browser.page.verdict()
	} else if !m.lostDecision {
		c.lost("request %s has another decision: %s", m.id, c.browser.page.visible())
	}
	if want := map[bool]string{false: "approved", true: "denied"}[m.deny]; verdict != want {
		return fmt.Errorf("%w: the page of %s says %q: %s", errOdd, m.id, verdict, c.browser.page.visible())
	}
	return nil
}

// collect redeems an approval, or hears of a denial.
func (c *customer) collect(ctx context.Context, m *matter) error {
	a, err := c.agent.poll(ctx, m.id, c.key(m, "token"))
	if err != nil {
		m.lostCollect = true
		return err
	}
	switch what := a.member("error"); {
	case a.status == http.StatusOK && !m.deny:
		m.token = a.body
		c.journal.add(opRedeem, m.id)
	case what == "access_denied" && m.deny, what == "invalid_grant" && m.lostCollect && !c.keys:
		c.journal.add(opRefused, m.id)
	case what == "authorization_pending", what == "slow_down", what == "invalid_grant", what == "access_denied":
		c.lost("the decision about %s: %s", m.id, a.body)
	default:
		return c.surprise("redemption", a)
	}
	m.collected = true
	return nil
}

// again tries to collect what has been collected.
func (c *customer) again(m *matter) error {
	a, err := c.agent.poll(context.Background(), m.id, c.key(m, "token"))
	if err != nil {
		return err
	}
	switch what := a.member("error"); {
	case a.status == http.StatusOK && !c.keys:
		c.double("%s", m.id)
	case a.status == http.StatusOK && bytes.Equal(a.body, m.token):
		c.journal.add(opRepeat, m.id)
	case a.status == http.StatusOK:
		c.double("%s: another token for the same Idempotency-Key", m.id)
	case what == "access_denied" && m.deny, what == "invalid_grant" && !m.deny && !c.keys:
		c.journal.add(opRefused, m.id)
	default:
		return c.surprise("second redemption", a)
	}
	return nil
}

// surprise reports an answer that nothing explains, and forgets the matter.
func (c *customer) surprise(doing string, a wireAnswer) error {
	c.t.Errorf("customer %s: %v", c.name, odd(doing, a))
	return errors.New("gave up")
}
