package approvals_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"assent/approvals"
	"assent/ciba/rowtest"
)

// prompt lets an agent ask a person about a payment to somebody.
func (o *office) prompt(agent approvals.AgentID, who approvals.PersonID, creditor string) (*approvals.Request, error) {
	o.t.Helper()
	a, err := o.dir.Agent(o.t.Context(), agent)
	if err != nil {
		o.t.Fatal(err)
	}
	p, err := o.dir.Person(o.t.Context(), who)
	if err != nil {
		o.t.Fatal(err)
	}
	details, err := o.Renderer.Types.Parse(fmt.Appendf(nil, `[{"type":"payment_initiation","instructedAmount":
		{"currency":"EUR","amount":"480.00"},"creditorName":%q}]`, creditor), everything)
	if err != nil {
		o.t.Fatal(err)
	}
	r, _, err := o.Open(o.t.Context(), approvals.Ask{Agent: a, Subject: p, Scope: []string{"openid"}, Details: details,
		Life: time.Hour})
	return r, err
}

// limited is an office with limits and three agents.
func limited(t *testing.T) *office {
	t.Helper()
	o := newOffice(t)
	o.Prompts = approvals.DefaultPromptLimits()
	for _, id := range []approvals.AgentID{"bot2", "bot3"} {
		o.saveAgent(&approvals.Agent{ID: id, Name: "Other Bot", Types: []string{"payment_initiation"}})
	}
	return o
}

// asks wants one more request to be taken or refused.
func (o *office) asks(agent approvals.AgentID, who approvals.PersonID, creditor string, want error) *approvals.Request {
	o.t.Helper()
	r, err := o.prompt(agent, who, creditor)
	if !errors.Is(err, want) {
		o.t.Errorf("%s asks %s: %v, want %v", agent, who, err, want)
	}
	return r
}

func (o *office) denies(r *approvals.Request) {
	o.t.Helper()
	if _, err := o.Deny(o.t.Context(), r.ID, approvals.Answer{By: r.Subject, Level: approvals.LevelSession}); err != nil {
		o.t.Fatal(err)
	}
}

// TestPromptsPerMinute: five new requests a minute for one person, whoever asks.
func TestPromptsPerMinute(t *testing.T) {
	rowtest.Row(t, "REQ-264")
	o := limited(t)
	for i, agent := range []approvals.AgentID{"bot", "bot", "bot2", "bot2", "bot3"} {
		o.asks(agent, "ann", fmt.Sprint("Shop ", i), nil)
		o.wait(time.Second)
	}
	o.asks("bot3", "ann", "Shop 6", approvals.ErrTooOften)
	o.asks("bot3", "bob", "Shop 6", nil) // others are not meant
	o.wait(55 * time.Second)
	o.asks("bot3", "ann", "Shop 6", nil) // the first one is a minute ago
	o.asks("bot3", "ann", "Shop 7", approvals.ErrTooOften)
}

// TestPromptsOpen: three pending requests of one agent for one person; a decision makes room, and so does time.
func TestPromptsOpen(t *testing.T) {
	rowtest.Row(t, "REQ-264")
	o := limited(t)
	var first *approvals.Request
	for i := range 3 {
		r := o.asks("bot", "ann", fmt.Sprint("Shop ", i), nil)
		if first == nil {
			first = r
		}
	}
	o.wait(time.Minute)
	o.asks("bot", "ann", "Shop 4", approvals.ErrTooOften)
	o.asks("bot2", "ann", "Shop 4", nil)
	if _, err := o.Approve(t.Context(), first.ID, o.answer(first)); err != nil {
		t.Fatal(err)
	}
	o.asks("bot", "ann", "Shop 4", nil)
	o.asks("bot", "ann", "Shop 5", approvals.ErrTooOften)
	o.wait(time.Hour)
	o.asks("bot", "ann", "Shop 5", nil)
}

// TestPromptsEndedElsewhere: another process has ended what this one takes for pending.
func TestPromptsEndedElsewhere(t *testing.T) {
	o := limited(t)
	var last *approvals.Request
	for i := range 3 {
		last = o.asks("bot", "ann", fmt.Sprint("Shop ", i), nil)
	}
	_, err := o.store.Update(t.Context(), last.ID, func(r *approvals.Request) error {
		return r.Cancel(approvals.Actor{Kind: "agent", ID: "bot"}, approvals.WithdrawnByAgent, o.now())
	})
	if err != nil {
		t.Fatal(err)
	}
	o.hub.Deliver(string(last.ID))
	o.asks("bot", "ann", "Shop 4", nil)
}

// TestCoolDown: two denials within ten minutes give the person a rest from that agent, twice as long each time.
func TestCoolDown(t *testing.T) {
	rowtest.Row(t, "REQ-265")
	o := limited(t)
	twice := func() {
		t.Helper()
		o.denies(o.asks("bot", "ann", "Shop", nil))
		o.wait(time.Minute)
		o.denies(o.asks("bot", "ann", "Shop", nil))
	}
	twice()
	if until := o.CoolUntil("ann", "bot"); !until.Equal(o.now().Add(15 * time.Minute)) {
		t.Errorf("cools down until %s, want 15 minutes", until)
	}
	o.asks("bot", "ann", "Shop", approvals.ErrTooOften)
	o.asks("bot", "bob", "Shop", nil)
	o.asks("bot2", "ann", "Shop", nil)
	o.wait(15*time.Minute - 1)
	o.asks("bot", "ann", "Shop", approvals.ErrTooOften)
	o.wait(1)
	twice()
	if until := o.CoolUntil("ann", "bot"); !until.Equal(o.now().Add(30 * time.Minute)) {
		t.Errorf("cools down until %s, want 30 minutes", until)
	}
	o.wait(25 * time.Hour)
	twice() // a day later nothing is held against it any more
	if until := o.CoolUntil("ann", "bot"); !until.Equal(o.now().Add(15 * time.Minute)) {
		t.Errorf("cools down until %s, want 15 minutes", until)
	}
}

// TestDenialsFarApart are no reason to rest.
func TestDenialsFarApart(t *testing.T) {
	o := limited(t)
	for range 4 {
		o.denies(o.asks("bot", "ann", "Shop", nil))
		o.wait(10 * time.Minute)
	}
	if until := o.CoolUntil("ann", "bot"); !until.IsZero() {
		t.Errorf("cools down until %s", until)
	}
}

// TestJoins: equal requests stay two, and the second one knows whose messages speak for it.
func TestJoins(t *testing.T) {
	o := limited(t)
	first := o.asks("bot", "ann", "Shop", nil)
	second := o.asks("bot", "ann", "Shop", nil)
	other := o.asks("bot", "ann", "Another Shop", nil)
	if first.Joins != "" || second.Joins != first.ID || other.Joins != "" {
		t.Errorf("%q, %q, %q: want the second to join the first", first.Joins, second.Joins, other.Joins)
	}
	if ids := o.Joined(first); len(ids) != 1 || ids[0] != second.ID {
		t.Errorf("Joined: %v, want %s", ids, second.ID)
	}
	o.wait(time.Minute)
	if r := o.asks("bot2", "ann", "Shop", nil); r.Joins != "" {
		t.Errorf("another agent's request joins %s", r.Joins)
	}
	if r := o.asks("bot", "bob", "Shop", nil); r.Joins != "" {
		t.Errorf("another person's request joins %s", r.Joins)
	}
	o.denies(first)
	third := o.asks("bot", "ann", "Shop", nil)
	if third.Joins != "" { // the second one does not speak: it is spoken for
		t.Errorf("the third joins %s", third.Joins)
	}
	o.denies(other)
	o.wait(20 * time.Minute)
	if r := o.asks("bot", "ann", "Shop", nil); r.Joins != "" {
		t.Errorf("after more than ten minutes it joins %s", r.Joins)
	}
}

// TestPromptsLifted: without limits nothing is counted and nothing joined.
func TestPromptsLifted(t *testing.T) {
	o := newOffice(t)
	for range 20 {
		if r := o.asks("bot", "ann", "Shop", nil); r.Joins != "" {
			t.Fatalf("joins %s", r.Joins)
		}
	}
}

// TestPromptGivenBack: a request that could not be written was not put before anybody.
func TestPromptGivenBack(t *testing.T) {
	o := limited(t)
	o.Terms.MaxOpen = 0
	for range 5 {
		o.asks("bot", "ann", "Shop", approvals.ErrTooMany)
	}
	o.Terms.MaxOpen = 10
	o.asks("bot", "ann", "Shop", nil)
}
