package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/approvals"
	"assent/channels"
)

// ladderTOML is the ladder of TestEveryStep: so many messages to everybody, a second apart.
const (
	ladderSteps = 3
	ladderTOML  = "[[ladder]]\nchannel = \"any\"\nwait = 1\nrepeat = 3\n"
)

// TestEveryStep kills a service with a slow provider again and again while it works off many ladders, now and then with
// everything that JetStream had. Every person gets every step; a message comes again only for a claim that was open at
// a kill; and after a decision nothing comes but what was under way at that instant.
func TestEveryStep(t *testing.T) {
	t.Parallel()
	requests, kills := 240, 6
	switch {
	case *long:
		requests, kills = 10_000, 100
	case testing.Short():
		requests, kills = 60, 2
	}
	s := newSteps(t)
	lives := 0
	for ; lives < kills || len(s.asked) < requests; lives++ {
		s.life(min(2*requests/kills, requests-len(s.asked)))
		if lives%3 == 2 {
			s.loseBus()
		}
		if t.Failed() {
			t.Fatalf("after %d kills", lives+1)
		}
	}
	s.finish()
	s.report(lives)
}

// steps is the whole run.
type steps struct {
	*crash
	agents []*agentHTTP

	mu     sync.Mutex
	asked  []string            // acknowledged handles
	denied map[string]bool     // acknowledged
	claims map[string]struct{} // open at a kill: request/channel/attempt
	ahead  time.Duration       // what the clock is put forward by
	passed *process            // whose clock that is
}

func newSteps(t *testing.T) *steps {
	s := &steps{crash: newCrash(t), denied: map[string]bool{}, claims: map[string]struct{}{}}
	config := filepath.Join(s.data, "..", "assent.toml")
	if err := os.WriteFile(config, []byte(ladderTOML), 0o600); err != nil {
		t.Fatal(err)
	}
	s.args = []string{"--config", config, "--dev-phone-delay", "300ms"}
	for range 16 {
		agent := bot("")
		agent.http.Transport = &http.Transport{MaxIdleConnsPerHost: 1}
		s.agents = append(s.agents, agent)
	}
	return s
}

// life opens requests and decides some, until the service is killed.
func (s *steps) life(requests int) {
	p := s.start()
	killed := make(chan struct{})
	time.AfterFunc(time.Duration(100+rand.IntN(600))*time.Millisecond, func() {
		s.dead.Store(true)
		p.kill()
		close(killed)
	})
	var busy sync.WaitGroup
	for i, agent := range s.agents {
		agent.issuer = p.issuer
		busy.Go(func() {
			for n := i; n < requests && !s.dead.Load(); n += len(s.agents) {
				s.ask(agent, p)
			}
		})
	}
	busy.Wait()
	<-killed
	s.look()
}

// ask opens one request, and lets somebody decide about an earlier one now and then.
func (s *steps) ask(agent *agentHTTP, p *process) {
	who := fmt.Sprintf("c%02d", rand.IntN(customers))
	a, err := agent.ask(s.t.Context(), url.Values{"login_hint": {who}, "requested_expiry": {"3600"}}, nil)
	switch {
	case err != nil && s.dead.Load():
		return
	case err != nil || a.status != http.StatusOK:
		s.t.Errorf("ask: %d %s %v", a.status, a.body, err)
		return
	}
	handle := a.member("auth_req_id")
	s.mu.Lock()
	s.asked = append(s.asked, handle)
	other := s.asked[rand.IntN(len(s.asked))]
	decide := !s.denied[other] && rand.IntN(4) == 0
	s.mu.Unlock()
	if !decide {
		return
	}
	a, err = devDecide(s.t.Context(), agent.http, p.pages, other, false)
	switch {
	case err == nil && (a.status == http.StatusNoContent || a.status == http.StatusConflict): // by another one just now
		s.mu.Lock()
		s.denied[other] = true
		s.mu.Unlock()
	case err == nil || !s.dead.Load():
		s.t.Errorf("deny: %d %s %v", a.status, a.body, err)
	}
}

// look notes which claims the killed process had open.
func (s *steps) look() {
	db := s.store()
	defer db.Close()
	for after := ""; ; {
		page, err := db.ScanAfter(s.t.Context(), "claim", after, 1000)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, rec := range page {
			after = rec.Key
			var sheet struct{ Tries []channels.Try }
			if err := json.Unmarshal(rec.Value, &sheet); err != nil {
				s.t.Fatal(err)
			}
			for _, try := range sheet.Tries {
				if try.Outcome == channels.Open {
					id := strings.TrimPrefix(rec.Key, approvals.StepDeliver+"-")
					s.claims[fmt.Sprintf("%s/%s/%d", id, try.Channel, try.Attempt)] = struct{}{}
				}
			}
		}
		if len(page) < 1000 {
			return
		}
	}
}

// loseBus deletes everything that JetStream has kept.
func (s *steps) loseBus() {
	if err := os.RemoveAll(filepath.Join(s.data, "jetstream")); err != nil {
		s.t.Fatal(err)
	}
}

// finish lets time pass until everybody who still has to decide was told as often as the ladder says.
func (s *steps) finish() {
	for range 10 {
		p := s.start()
		s.pass(p, 30*time.Second) // leases of the dead are over
		for range ladderSteps + 1 {
			s.pass(p, 2*time.Second)
			s.calm()
		}
		if err := p.stop(); err != nil {
			s.t.Errorf("stop: %v\n%s", err, p.log())
		}
		if s.left() == 0 {
			return
		}
	}
	s.t.Errorf("%d requests have not got every step", s.left())
}

// pass puts the clock forward. It begins anew with each process, so what was passed before is passed again.
func (s *steps) pass(p *process, by time.Duration) {
	s.t.Helper()
	s.ahead += by
	if s.passed == p {
		advanceClock(s.t, p, by)
		return
	}
	advanceClock(s.t, p, s.ahead)
	s.passed = p
}

// calm waits until no message has come for a while.
func (s *steps) calm() {
	outbox := filepath.Join(s.data, outboxFile)
	size := int64(-1)
	for {
		info, err := os.Stat(outbox)
		if err != nil {
			s.t.Fatal(err)
		}
		if info.Size() == size {
			return
		}
		size = info.Size()
		<-time.After(700 * time.Millisecond) // twice what the provider takes
	}
}

// left counts the pending requests that have not got every step.
func (s *steps) left() (n int) {
	db := s.store()
	defer db.Close()
	for _, handle := range s.asked {
		id, _, _ := strings.Cut(handle, ".")
		r, err := db.Request(s.t.Context(), approvals.ID(id))
		if err != nil {
			s.t.Fatalf("an acknowledged request: %v", err)
		}
		if r.State == approvals.Pending && stepsOf(r) < ladderSteps {
			n++
		}
	}
	return n
}

// stepsOf counts the messages that the provider is known to have.
func stepsOf(r *approvals.Request) (n int) {
	for _, d := range r.Deliveries {
		if d.Status == approvals.StatusAccepted {
			n++
		}
	}
	return n
}

// report compares what was sent with what the store says, and prints the figures.
func (s *steps) report(kills int) {
	db := s.store()
	defer db.Close()
	sent := map[approvals.ID][]outboxLine{}
	seen := map[string]bool{}
	messages := 0
	for _, m := range readLines[outboxLine](s.t, filepath.Join(s.data, outboxFile)) {
		if m.Kind == channels.KindClosed {
			continue
		}
		if messages++; seen[m.ID] {
			s.t.Errorf("message %s was sent twice", m.ID)
		}
		seen[m.ID] = true
		sent[m.Request] = append(sent[m.Request], m)
	}
	var decided, repeats, late int
	for _, handle := range s.asked {
		id, _, _ := strings.Cut(handle, ".")
		r, err := db.Request(s.t.Context(), approvals.ID(id))
		if err != nil {
			s.t.Fatal(err)
		}
		if r.State == approvals.Denied {
			decided++
			late += s.afterwards(r, sent[r.ID])
			continue
		}
		if n := stepsOf(r); r.State != approvals.Pending || n != ladderSteps {
			s.t.Errorf("request %s is %s after %d steps: %+v", id, r.State, n, r.Deliveries)
		}
		extra, open := len(sent[r.ID])-ladderSteps, s.openOf(r)
		if extra < 0 || extra > open {
			s.t.Errorf("request %s: %d messages beyond its %d steps, %d claims were open at a kill", id, extra, ladderSteps, open)
		}
		repeats += extra
	}
	s.t.Logf("%d requests, %d decided, %d kills, %d messages: %d repeats for %d claims open at a kill, %d after a decision "+
		"that were under way", len(s.asked), decided, kills, messages, repeats, len(s.claims), late)
}

// openOf counts r's claims that were open at a kill.
func (s *steps) openOf(r *approvals.Request) (n int) {
	for claim := range s.claims {
		if strings.HasPrefix(claim, string(r.ID)+"/") {
			n++
		}
	}
	return n
}

// afterwards counts what came after the decision: in the same life at most the one message that was under way, and in a
// later one nothing.
func (s *steps) afterwards(r *approvals.Request, sent []outboxLine) (n int) {
	for _, m := range sent {
		if !m.At.After(r.EndedAt) {
			continue
		}
		if n++; n > 1 || s.lifeOf(m.At) != s.lifeOf(r.EndedAt) {
			s.t.Errorf("request %s was decided at %s, message %s came at %s", r.ID, r.EndedAt, m.ID, m.At)
		}
	}
	return n
}

// advanceClock puts the clock of a dev service forward.
func advanceClock(t *testing.T, p *process, by time.Duration) {
	t.Helper()
	devPost(t, p, "/dev/clock", fmt.Sprintf(`{"advance":%q}`, by))
}

// devPost posts JSON to an endpoint of dev mode, which must take it.
func devPost(t *testing.T, p *process, path, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", p.pages+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	a, err := do(http.DefaultClient, req)
	if err != nil || a.status >= 300 {
		t.Fatalf("%s: %d %s %v", path, a.status, a.body, err)
	}
}
