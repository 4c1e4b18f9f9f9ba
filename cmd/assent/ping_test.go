package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const pingToken = "wYPF0h30jpKf7Xn42vNF4FA1iXKHO9Uw"

// pingEnd is an agent's notification endpoint that outlives the service.
type pingEnd struct {
	*httptest.Server
	mu     sync.Mutex
	calls  map[string]int // by auth_req_id
	strays []string
	hold   chan struct{} // calls wait until it is closed; nil: they do not
}

func newPingEnd(t *testing.T) *pingEnd {
	t.Helper()
	e := &pingEnd{calls: map[string]int{}}
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	return e
}

// ServeHTTP counts a ping.
func (e *pingEnd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body map[string]string
	raw, _ := io.ReadAll(r.Body)
	good := json.Unmarshal(raw, &body) == nil && len(body) == 1 && r.Header.Get("Authorization") == "Bearer "+pingToken
	e.mu.Lock()
	hold := e.hold
	if good {
		e.calls[body["auth_req_id"]]++
	} else {
		e.strays = append(e.strays, fmt.Sprintf("%s %s %s", r.Method, r.Header, raw))
	}
	e.mu.Unlock()
	if hold != nil {
		<-hold
	}
	w.WriteHeader(http.StatusNoContent)
}

// of returns how often there were pings for these handles: how many had one, and how many had more.
func (e *pingEnd) of(handles []string) (told, often int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, h := range handles {
		if e.calls[h] > 0 {
			told++
		}
		often += max(0, e.calls[h]-1)
	}
	return told, often
}

// newPingData is newData whose bot is a ping client.
func newPingData(t *testing.T, endpoint string) string {
	t.Helper()
	data := newData(t)
	all := strings.Replace(fixtures, `"client_id": "bot",`, `"client_id": "bot", "backchannel_token_delivery_mode": "ping",
		"backchannel_client_notification_endpoint": "`+endpoint+`",`, 1)
	if err := os.WriteFile(filepath.Join(data, "..", "fixtures.json"), []byte(all), 0o600); err != nil {
		t.Fatal(err)
	}
	return data
}

// pingAsks opens that many requests in ping mode.
func pingAsks(t *testing.T, agent *agentHTTP, n int) []string {
	t.Helper()
	handles := make([]string, n)
	var running sync.WaitGroup
	for i := range handles {
		running.Go(func() {
			a, err := agent.ask(t.Context(), url.Values{"client_notification_token": {pingToken}}, nil)
			if err != nil || a.status != http.StatusOK {
				t.Errorf("ask: %d %s %v", a.status, a.body, err)
			}
			handles[i] = a.member("auth_req_id")
		})
	}
	running.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return handles
}

// A ping for every kind of end, over the real binary: approved, denied, withdrawn, expired. Then the agent collects as
// any other does.
func TestPingStory(t *testing.T) {
	t.Parallel()
	end := newPingEnd(t)
	p := restartDev(t, newPingData(t, end.URL+"/cb"))
	agent := bot(p.issuer)
	handles := pingAsks(t, agent, 4)
	must(t, 204)(devDecide(t.Context(), agent.http, p.pages, handles[0], true))
	must(t, 204)(devDecide(t.Context(), agent.http, p.pages, handles[1], false))
	must(t, 200)(agent.send(t.Context(), "/requests/cancel", url.Values{"auth_req_id": {handles[2]}}, nil))
	within(t, "pings", func() bool { n, _ := end.of(handles[:3]); return n == 3 })
	must(t, 200)(agent.poll(t.Context(), handles[0], nil))
	forward(t, p, "301s")
	within(t, "ping on expiry", func() bool { n, _ := end.of(handles); return n == 4 })
	for i, want := range []string{"invalid_grant", "access_denied", "access_denied", "expired_token"} {
		if a := must(t, 400)(agent.poll(t.Context(), handles[i], nil)); a.member("error") != want {
			t.Errorf("request %d: %s, want %s", i, a.body, want)
		}
	}
	if _, often := end.of(handles); often > 0 || len(end.strays) > 0 {
		t.Errorf("%d pings too many, strays %v", often, end.strays)
	}
}

// forward puts the clock of dev mode forward.
func forward(t *testing.T, p *process, by string) {
	t.Helper()
	resp, err := http.Post(p.pages+"/dev/clock", "application/json", strings.NewReader(`{"advance": "`+by+`"}`))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("advance the clock: %v %v", resp, err)
	}
	resp.Body.Close()
}

// Killed while pings are under way and robbed of its JetStream folder, the service still tells of every decision, and
// repeats at most what was under way at the kill (REQ-218).
func TestPingCrash(t *testing.T) {
	t.Parallel()
	const some = 40
	end := newPingEnd(t)
	data := newPingData(t, end.URL+"/cb")
	end.hold = make(chan struct{})
	p := restartDev(t, data)
	agent := bot(p.issuer)
	agent.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: some}, Timeout: startTime}
	handles := pingAsks(t, agent, some)
	var deciding sync.WaitGroup
	for i, id := range handles {
		deciding.Go(func() {
			if a, err := devDecide(t.Context(), agent.http, p.pages, id, i%2 == 0); err != nil || a.status != http.StatusNoContent {
				t.Errorf("decide: %d %s %v", a.status, a.body, err)
			}
		})
	}
	deciding.Wait()
	within(t, "some pings", func() bool { n, _ := end.of(handles); return n > 0 })
	p.kill()
	open, _ := end.of(handles)
	end.mu.Lock()
	close(end.hold)
	end.hold = nil
	end.mu.Unlock()
	if err := os.RemoveAll(filepath.Join(data, "jetstream")); err != nil {
		t.Fatal(err)
	}

	p = restartDev(t, data)
	agent.issuer = p.issuer
	within(t, "pings of what was not under way", func() bool { n, _ := end.of(handles); return n == some })
	forward(t, p, "20s") // leases are over
	began := time.Now()
	within(t, "repeats of what was under way", func() bool { _, often := end.of(handles); return often == open })
	_, often := end.of(handles)
	t.Logf("%d calls open at the kill, %d repeats, after %v", open, often, time.Since(began).Round(time.Millisecond))
	if often > open || len(end.strays) > 0 {
		t.Errorf("%d repeats of %d open calls, strays %v", often, open, end.strays)
	}
	for i, id := range handles {
		if a := must(t, map[bool]int{true: 200, false: 400}[i%2 == 0])(agent.poll(t.Context(), id, nil)); i%2 == 1 && a.member("error") != "access_denied" {
			t.Errorf("denied: %s", a.body)
		}
	}
}

// Killed between decision and ping: nothing was under way, so nothing is repeated.
func TestPingLostBetween(t *testing.T) {
	t.Parallel()
	const some = 30
	end := newPingEnd(t)
	data := newPingData(t, end.URL+"/cb")
	p := restartDev(t, data)
	agent := bot(p.issuer)
	handles := pingAsks(t, agent, some)
	go func() {
		for _, id := range handles {
			if _, err := devDecide(t.Context(), agent.http, p.pages, id, true); err != nil {
				return
			}
		}
	}()
	within(t, "some pings", func() bool { n, _ := end.of(handles); return n > 3 })
	p.kill()
	told, _ := end.of(handles)
	p = restartDev(t, data)
	agent.issuer = p.issuer
	for _, id := range handles {
		a, err := devDecide(t.Context(), agent.http, p.pages, id, true)
		if err != nil || a.status != 204 && a.status != 409 {
			t.Fatalf("decide: %d %s %v", a.status, a.body, err)
		}
	}
	forward(t, p, "20s")
	within(t, "every ping", func() bool { n, _ := end.of(handles); return n == some })
	_, often := end.of(handles)
	t.Logf("%d told at the kill, %d repeats", told, often)
	if often > laneWidthOfPings {
		t.Errorf("%d repeats, at most %d calls can be open at a kill", often, laneWidthOfPings)
	}
}

// laneWidthOfPings is how many calls of one client run side by side.
const laneWidthOfPings = 4
