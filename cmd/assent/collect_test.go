package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"assent/approvals"
	"assent/ciba/client"
)

// rivalsEach is how many of one agent's processes collect one approval at once.
const rivalsEach = 10

// collection is one approval, and what came of collecting it.
type collection struct {
	*cell
	handle *client.Waiting

	mu     sync.Mutex
	tokens map[string]int // and how often each was given
}

func (c *collection) collect(ctx context.Context) error {
	token, err := c.client.Poll(ctx, c.handle, 0)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens[token.AccessToken]++
	return nil
}

// TestCollectKilled: many collect one approval while the service is killed, after the ping where there is one. With a key
// that makes their polls repeatable they all get one and the same token, also those who come after the restart; without
// it at most one of them gets any. Whatever was given is on record once.
func TestCollectKilled(t *testing.T) {
	t.Parallel()
	rounds := 4
	if *long {
		rounds = 100
	}
	m := newMatrix(t)
	var cells []*cell
	for i, mode := range matrixModes {
		for j, binding := range matrixBindings {
			for k, once := range []bool{false, true} {
				c := &cell{mode: mode, binding: binding, details: map[bool]string{true: "once", false: "repeatable"}[once], once: once,
					method: matrixMethods[(i+j+2*k)%len(matrixMethods)], matrix: m, polls: make(chan struct{}, 100000)}
				c.client = c.register(t)
				cells = append(cells, c)
			}
		}
	}
	var all []*collection
	given, lost := 0, 0
	for range rounds {
		round := m.approve(t, cells)
		m.collectAndKill(t, round)
		for _, c := range round {
			switch n := c.finish(t); {
			case n > 0:
				given++
			default:
				lost++
			}
		}
		all = append(all, round...)
	}
	if err := m.stop(); err != nil {
		t.Fatalf("stop: %v\n%s", err, m.log())
	}
	trail := openAudit(t, m.data)
	for _, c := range all {
		if kinds := trail.kinds(t, c.handle.Handle); kinds[approvals.Approved] != 1 || kinds[approvals.Redeemed] != 1 {
			t.Errorf("%s: audit records %v", c, kinds)
		}
	}
	t.Logf("%d kills; %d approvals collected by %d each: %d gave a token, %d answers went down with the service",
		rounds, len(all), rivalsEach, given, lost)
}

// approve opens a request of every agent, has it approved, and waits for the pings.
func (m *matrix) approve(t *testing.T, cells []*cell) (round []*collection) {
	t.Helper()
	for _, c := range cells {
		m.mu.Lock()
		before := m.told[c.id()]
		m.mu.Unlock()
		w, err := c.client.Ask(t.Context(), client.Ask{Hint: "ann", Message: "TEAL-7"})
		if err != nil {
			t.Fatalf("%s: %v", c, err)
		}
		c.act(t, "approved", w)
		round = append(round, &collection{cell: c, handle: w, tokens: map[string]int{}})
		if c.mode == "poll" {
			continue
		}
		within(t, "ping", func() bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.told[c.id()] > before
		})
	}
	return round
}

// collectAndKill lets everybody loose at once, kills the service meanwhile, and starts it again.
func (m *matrix) collectAndKill(t *testing.T, round []*collection) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTime)
	defer cancel()
	start := make(chan struct{})
	var running sync.WaitGroup
	for _, c := range round {
		for range rivalsEach {
			running.Go(func() {
				<-start
				_ = c.collect(ctx) // what it got is kept; that it got nothing may be the kill
			})
		}
	}
	close(start)
	<-time.After(time.Duration(5+rand.IntN(120)) * time.Millisecond)
	m.kill()
	running.Wait()
	m.restart(t)
}

// finish comes once more, when the service is back, and returns how many have had a token.
func (c *collection) finish(t *testing.T) (had int) {
	t.Helper()
	err := c.collect(t.Context())
	if err != nil && !(c.once && errors.Is(err, client.ErrGone)) {
		t.Errorf("%s: after the restart: %v", c.cell, err)
	}
	for _, n := range c.tokens {
		had += n
	}
	if len(c.tokens) > 1 || c.once && had > 1 || !c.once && had == 0 {
		t.Errorf("%s: %d different tokens, given %d times", c.cell, len(c.tokens), had)
	}
	return had
}

// What is taken away from an approval stays away over kill -9, and what comes back is as good as before.
func TestTakenAwayKilled(t *testing.T) {
	row(t, "REQ-074", "REQ-200")
	t.Parallel()
	end := newPingEnd(t)
	data := newPingData(t, end.URL+"/cb")
	p := restartDev(t, data)
	agent := bot(p.issuer)
	again := func() {
		p.kill()
		p = restartDev(t, data)
		agent.issuer = p.issuer
	}
	admin, err := newAdminClient(data)
	if err != nil {
		t.Fatal(err)
	}
	command := func(path string) {
		t.Helper()
		if err := admin.call(t.Context(), "POST", path, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	approved := func() string {
		t.Helper()
		handle := pingAsks(t, agent, 1)[0]
		must(t, http.StatusNoContent)(devDecide(t.Context(), agent.http, p.pages, handle, true))
		within(t, "ping", func() bool { n, _ := end.of([]string{handle}); return n == 1 })
		return handle
	}
	handle := approved()
	command("/agents/bot/disable")
	must(t, http.StatusUnauthorized)(agent.poll(t.Context(), handle, nil))
	again()
	must(t, http.StatusUnauthorized)(agent.poll(t.Context(), handle, nil))
	command("/agents/bot/enable")
	must(t, http.StatusOK)(agent.poll(t.Context(), handle, nil))

	handle = approved()
	command("/people/u_ann/disable")
	again()
	refused := must(t, http.StatusBadRequest)(agent.poll(t.Context(), handle, nil))
	command("/people/u_ann/enable")
	again()
	for _, a := range []wireAnswer{refused, must(t, http.StatusBadRequest)(agent.poll(t.Context(), handle, nil))} {
		if code := a.member("error"); code != "invalid_grant" && code != "access_denied" {
			t.Errorf("%s", a.body)
		}
	}
	if _, often := end.of([]string{handle}); often > 0 {
		t.Errorf("%d pings too many", often)
	}
}
