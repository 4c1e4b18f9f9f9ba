package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"assent/approvals"
	"assent/ciba"
	"assent/ciba/rowtest"
	"assent/store"
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
	row(t, "REQ-205", "REQ-209", "REQ-210", "REQ-286")
	t.Parallel()
	rowtest.Row(t, "REQ-209", "REQ-210", "REQ-205")
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
	row(t, "REQ-217", "REQ-218")
	t.Parallel()
	rowtest.Row(t, "REQ-218")
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
	row(t, "REQ-218")
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

// REQ-023, 024: an installation takes no endpoint on this machine or inside a network, however it is spelled; dev mode
// takes this machine only.
func TestPingEndpointsAtRegistration(t *testing.T) {
	t.Parallel()
	rowtest.Row(t, "REQ-023", "REQ-024", "REQ-284")
	folder, err := os.MkdirTemp("", "assent") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	p, err := startProcess([]string{"serve", "--data", filepath.Join(folder, "data"), "--listen", "127.0.0.1:0",
		"--issuer", "https://approve.example.com", "--trusted-proxy", "127.0.0.1/32"}, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	api, err := newAdminClient(filepath.Join(folder, "data"))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]bool{"https://desk.example.invalid.test/cb": true, "https://localhost/": false, "http://127.0.0.1:80/": false,
		"https://127.0.0.1/": false, "https://169.254.169.254/": false, "https://10.0.0.5/": false, "https://[::1]/": false,
		"https://desk.example.invalid.test:8443/": false, "http://desk.example.invalid.test/": false, "https://2130706433/": false}
	for endpoint, want := range tests {
		metadata := fmt.Sprintf(`{"backchannel_token_delivery_mode": "ping", "client_name": "Desk", "backchannel_client_notification_endpoint": %q}`, endpoint)
		err := api.call(t.Context(), "POST", "/agents", newAgent{Metadata: []byte(metadata)}, nil)
		if (err == nil) != want {
			t.Errorf("%s: %v", endpoint, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "backchannel_client_notification_endpoint must") || strings.Contains(err.Error(), endpoint)) {
			t.Errorf("%s: %v names the wrong thing", endpoint, err)
		}
	}
}

// REQ-024: what a name stands for is looked at when a client is registered.
func TestGuardLooksUp(t *testing.T) {
	t.Parallel()
	rowtest.Row(t, "REQ-024")
	resolver := newDNS(t, func(name string) []string {
		switch {
		case strings.HasPrefix(name, "inside."):
			return []string{"10.1.2.3"}
		case strings.HasPrefix(name, "both."):
			return []string{"93.184.216.34", "127.0.0.1"}
		case strings.HasPrefix(name, "mapped."):
			return []string{"::ffff:169.254.169.254"}
		case strings.HasPrefix(name, "public."):
			return []string{"93.184.216.34"}
		}
		return nil
	})
	outside, dev := guardRules{resolver: resolver}, guardRules{resolver: resolver, loopback: true, plain: true}
	tests := []struct {
		url          string
		outside, dev bool
	}{
		{"https://public.example/", true, true},
		{"https://public.example:444/", false, false},
		{"https://inside.example/", false, false},
		{"https://both.example/", false, true},
		{"https://mapped.example/", false, false},
		{"https://nowhere.example/", true, true},
		{"http://public.example/", false, false},
		{"http://127.0.0.1:99/", false, true},
		{"https://127.0.0.1:99/", false, true},
		{"https://[::ffff:127.0.0.1]/", false, false},
		{"https://u@public.example/", false, false},
		{"https://public.example:x/", false, false},
	}
	for _, tt := range tests {
		if err := outside.check(t.Context(), tt.url); (err == nil) != tt.outside {
			t.Errorf("%s: %v", tt.url, err)
		}
		if err := dev.check(t.Context(), tt.url); (err == nil) != tt.dev {
			t.Errorf("%s in dev mode: %v", tt.url, err)
		}
	}
}

// REQ-219, 220, 284: an endpoint that points inside by the time of the ping is not connected to, and the decision stands.
// The same trap is reached under this machine's own name, so it works.
func TestPingsAreGuarded(t *testing.T) {
	t.Parallel()
	rowtest.Row(t, "REQ-220", "REQ-284")
	tr := newTrap(t)
	hosts := []string{tr.url("0.0.0.0"), tr.url("[::]"), tr.url("169.254.169.254"), tr.url("[::ffff:127.0.0.1]"),
		strings.Replace(tr.url("0.0.0.0"), "https", "http", 1)}
	for _, host := range ownAddresses(t) {
		hosts = append(hosts, tr.url(host), strings.Replace(tr.url(host), "https", "http", 1))
	}
	data := newPingData(t, "https://localhost/")
	restartDev(t, data).kill() // the agent is registered
	for i, host := range append(hosts, tr.url("127.0.0.1")) {
		moveEndpoint(t, data, host)
		p := restartDev(t, data)
		agent := bot(p.issuer)
		handle := pingAsks(t, agent, 1)[0]
		must(t, 204)(devDecide(t.Context(), agent.http, p.pages, handle, true))
		within(t, "attempt", func() bool { return strings.Contains(p.log(), `"msg":"ping not accepted"`) })
		if own := i == len(hosts); (tr.count.Load() > 0) != own {
			t.Errorf("%s: %d connections", host, tr.count.Load())
		}
		must(t, 200)(agent.poll(t.Context(), handle, nil))
		for _, secret := range []string{"169.254.", pingToken, handle, "0.0.0.0"} {
			if strings.Contains(p.log(), secret) {
				t.Errorf("the log has %s", secret)
			}
		}
		p.kill()
	}
}

// moveEndpoint does what no registration allows.
func moveEndpoint(t *testing.T, data, to string) {
	t.Helper()
	db, err := store.Open(t.Context(), "bolt:"+filepath.Join(data, "assent.db"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	dir := approvals.NewDirectory(db, approvals.NewHub(), 0, time.Now)
	found, err := dir.Agent(t.Context(), "bot")
	if err != nil {
		t.Fatal(err)
	}
	a := *found
	c, err := ciba.ClientOf(&a)
	if err != nil {
		t.Fatal(err)
	}
	c.NotifyURL = to
	if err := errors.Join(c.Keep(&a), dir.SaveAgent(t.Context(), &a)); err != nil {
		t.Fatal(err)
	}
}

// A ping that nobody took is listed, can be sent again, and is seen in the metrics.
func TestPingReplay(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	broken.Store(true)
	came := make(chan struct{}, 100)
	end := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			w.Header().Set("Retry-After", "7200")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		came <- struct{}{}
	}))
	t.Cleanup(end.Close)
	data := newPingData(t, end.URL)
	p := restartDev(t, data, "--admin-listen", "127.0.0.1:0")
	agent := bot(p.issuer)
	handle := pingAsks(t, agent, 1)[0]
	id, _, _ := strings.Cut(handle, ".")
	must(t, 204)(devDecide(t.Context(), agent.http, p.pages, handle, false))
	command := func(args ...string) (string, int) {
		var out, errOut strings.Builder
		code := run(t.Context(), append(args, "--data", data), strings.NewReader(""), &out, &errOut)
		return out.String() + errOut.String(), code
	}
	within(t, "ping given up", func() bool { out, _ := command("pings", "list"); return strings.Contains(out, id) })
	if out, code := command("agent", "add", "Desk", "--ping", end.URL); code != 0 || !strings.Contains(out, "client_secret") {
		t.Errorf("agent add: %d %s", code, out)
	}
	if out, code := command("agent", "add", "Desk", "--ping", "http://desk.example/"); code != exitFailed || !strings.Contains(out, "backchannel_client_notification_endpoint") {
		t.Errorf("agent add: %d %s", code, out)
	}
	if out, code := command("pings", "list", "--json"); code != 0 || !strings.Contains(out, `"agent":"bot","calls":1`) || strings.Contains(out, handle) {
		t.Errorf("list: %d %s", code, out)
	}
	broken.Store(false)
	if out, code := command("pings", "replay", id); code != 0 {
		t.Fatalf("replay: %d %s", code, out)
	}
	select {
	case <-came:
	case <-time.After(startTime):
		t.Fatal("no ping")
	}
	within(t, "empty list", func() bool { out, _ := command("pings", "list"); return !strings.Contains(out, id) })
	if out, code := command("pings", "replay", id); code != exitFailed || !strings.Contains(out, "not found") {
		t.Errorf("replay of what has arrived: %d %s", code, out)
	}
	resp, err := http.Get("http://" + p.metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	numbers, _ := io.ReadAll(resp.Body)
	for _, want := range []string{`approvals_pings_total{outcome="accepted"} 1`, `approvals_pings_total{outcome="failed"} 1`,
		`approvals_pings_total{outcome="given_up"} 1`, `approvals_pings_open{stage="running"}`} {
		if !strings.Contains(string(numbers), want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}
