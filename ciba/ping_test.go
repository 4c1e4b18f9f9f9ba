package ciba

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/approvals"
	"assent/approvals/stream"
)

const (
	pingToken  = "8d67dc78-7faa-4d41-aabd-67707b374255.~+/-_=="
	pingClient = `{"client_id":"travel","client_name":"Travel Bot","client_secret":"` + testSecret + `",` + allTypes +
		`,"backchannel_token_delivery_mode":"ping","backchannel_client_notification_endpoint":"`
	pingPatienceInTests = 20 * time.Second // only passes when something is broken
)

// pinged is one call as an agent's endpoint saw it.
type pinged struct {
	method, path, body string
	header             http.Header
}

// receiver is an agent's notification endpoint.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	calls  []pinged
	came   chan pinged
	answer func(w http.ResponseWriter, r *http.Request, n int) // n-th call, from 1; nil: 204
}

func newReceiver(t testing.TB, answer func(w http.ResponseWriter, r *http.Request, n int)) *receiver {
	t.Helper()
	rec := &receiver{came: make(chan pinged, 1000), answer: answer}
	rec.Server = httptest.NewServer(rec)
	t.Cleanup(rec.Close)
	return rec
}

// ServeHTTP notes a call and answers it.
func (rec *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	p := pinged{r.Method, r.URL.RequestURI(), string(body), r.Header.Clone()}
	rec.mu.Lock()
	rec.calls = append(rec.calls, p)
	n := len(rec.calls)
	rec.mu.Unlock()
	defer func() { rec.came <- p }()
	if rec.answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	rec.answer(w, r, n)
}

func (rec *receiver) count() int {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return len(rec.calls)
}

// next waits for a call to be answered.
func (rec *receiver) next(t testing.TB) pinged {
	t.Helper()
	select {
	case p := <-rec.came:
		return p
	case <-time.After(pingPatienceInTests):
		t.Fatal("no ping")
		panic("unreachable")
	}
}

// pinger is the door with ping clients, a bus, and a notifier on it.
type pinger struct {
	*service
	parts    NotifierParts
	notifier *Notifier
	logs     *lockedBuffer
}

// lockedBuffer is a log that may be read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements [io.Writer].
func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// newPinger registers the travel client with the endpoint and starts every loop that a ping needs, on a real bus.
func newPinger(t testing.TB, endpoint string) *pinger {
	t.Helper()
	bus, err := stream.Open(t.Context(), stream.Config{Dir: filepath.Join(t.TempDir(), "jetstream"),
		Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() { must(t, bus.Close()) })
	p := newIdlePinger(t, endpoint, bus)
	p.run(t, bus)
	return p
}

// newIdlePinger is newPinger without the loops.
func newIdlePinger(t testing.TB, endpoint string, bus Bus, options ...func(*NotifierParts)) *pinger {
	t.Helper()
	logs := &lockedBuffer{}
	log := slog.New(slog.NewJSONHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := newService(t, func(p *Parts) { p.Log = log })
	p := &pinger{service: s, logs: logs}
	p.register(t, "travel", endpoint)
	p.parts = NotifierParts{Desk: s.Desk, Directory: s.Directory, Records: s.store, Root: s.Root, Bus: bus,
		HTTP: &http.Client{Timeout: pingTime}, Now: s.Now, Log: log}
	for _, o := range options {
		o(&p.parts)
	}
	p.restart(t)
	return p
}

// restart puts a new notifier in the place of the old one, as a new process would.
func (p *pinger) restart(t testing.TB) {
	p.notifier = NewNotifier(p.parts)
	t.Cleanup(p.notifier.lanes.close)
}

// register makes a client a ping client with that endpoint.
func (p *pinger) register(t testing.TB, id, endpoint string) {
	t.Helper()
	m, err := ParseDevMetadata([]byte(strings.Replace(pingClient, "travel", id, 1)+endpoint+`"}`), p.Desk.Renderer.Types)
	must(t, err)
	a, err := m.Agent(p.Root, time.Now())
	must(t, err)
	if old, err := p.Directory.Agent(t.Context(), a.ID); err == nil {
		a.Revision = old.Revision
	}
	must(t, p.Directory.SaveAgent(t.Context(), a))
}

// run starts the loops as the service does, and stops them with the test.
func (p *pinger) run(t testing.TB, bus *stream.Bus) {
	ctx, stop := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	for _, loop := range []func() error{
		func() error { return bus.Relay(ctx, p.store, p.Hub) },
		func() error { return bus.Consume(ctx, "notifier", p.notifier.Handle, PingKinds()...) },
		func() error { return bus.Work(ctx, PingChannel, 16, p.notifier.Work) },
		func() error { return p.notifier.Run(ctx) },
	} {
		loops.Go(func() { must(t, loop()) })
	}
	t.Cleanup(func() { stop(); loops.Wait() })
}

// ask opens a request in ping mode.
func (p *pinger) ask(t testing.TB, pairs ...string) string {
	t.Helper()
	return p.service.ask(t, append([]string{"client_notification_token", pingToken}, pairs...)...)
}

// timeline waits until the request has that many reports about pings, and the errand is as it should be.
func (p *pinger) timeline(t testing.TB, handle string, reports int) []approvals.Delivery {
	t.Helper()
	watch := p.Hub.Watch(string(idOf(handle)))
	defer watch.Close()
	for deadline := time.After(pingPatienceInTests); ; {
		r, err := p.Desk.Request(t.Context(), idOf(handle))
		must(t, err)
		if len(r.Deliveries) >= reports {
			return r.Deliveries
		}
		select {
		case <-watch.C:
		case <-deadline:
			t.Fatalf("%d reports, want %d: %+v", len(r.Deliveries), reports, r.Deliveries)
		}
	}
}

// erased reports whether nothing is left of a ping: neither what was sealed nor a due step.
func (p *pinger) erased(t testing.TB, handle string) bool {
	t.Helper()
	_, err := readErrand(t.Context(), p.store, idOf(handle))
	return err != nil && len(p.steps(t)) == 0
}

func (p *pinger) steps(t testing.TB) []approvals.Step {
	t.Helper()
	steps, err := approvals.Due(t.Context(), p.store, StepPing, time.Now().Add(100*time.Hour), 100)
	must(t, err)
	return steps
}

// CIBA section 10.2: the exact call, what it does not say, and what is left of it: REQ-207, 208, 209, 211, 213.
func TestPing(t *testing.T) {
	row(t, "REQ-207", "REQ-208", "REQ-209", "REQ-211", "REQ-213")
	t.Parallel()
	outcomes := map[string]func(p *pinger, handle string){
		"approved": func(p *pinger, handle string) { p.approve(p.t, handle) },
		"denied":   func(p *pinger, handle string) { p.deny(p.t, handle, "not today") },
		"failed": func(p *pinger, handle string) {
			_, err := p.Desk.Fail(context.Background(), idOf(handle), approvals.Unreachable)
			must(p.t, err)
		},
		"withdrawn": func(p *pinger, handle string) {
			if a := p.post("/requests/cancel", tk(handle)); a.status != 200 {
				p.t.Errorf("cancel: %d %s", a.status, a.raw)
			}
		},
	}
	for name, end := range outcomes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			row(t, "REQ-207", "REQ-208", "REQ-209", "REQ-211")
			rec := newReceiver(t, nil)
			p := newPinger(t, rec.URL+"/hooks/ciba?a=b")
			handle := p.ask(t)
			end(p, handle)
			got := rec.next(t)
			want := pinged{"POST", "/hooks/ciba?a=b", `{"auth_req_id":"` + handle + `"}`, nil}
			if got.method != want.method || got.path != want.path || got.body != want.body {
				t.Errorf("ping: %+v", got)
			}
			if got.header.Get("Authorization") != "Bearer "+pingToken || got.header.Get("Content-Type") != "application/json" {
				t.Errorf("headers: %v", got.header)
			}
			names := []string{"Accept-Encoding", "Authorization", "Content-Length", "Content-Type", "User-Agent"}
			for name := range got.header {
				if !slices.Contains(names, name) {
					t.Errorf("header %s says too much", name)
				}
			}
			report := p.timeline(t, handle, 1)[0]
			if report.Channel != "ping" || report.Status != "accepted" || report.Code != "204" || report.Attempt != 1 || report.Duplicate {
				t.Errorf("timeline: %+v", report)
			}
			if !p.erased(t, handle) || rec.count() != 1 {
				t.Errorf("after the ping: erased %v, %d calls", p.erased(t, handle), rec.count())
			}
		})
	}
}

// REQ-212: whoever collects while the ping is being answered gets the tokens.
func TestPingResultIsThere(t *testing.T) {
	t.Parallel()
	row(t, "REQ-212", "REQ-190")
	var p *pinger
	var handle string
	got := make(chan answer, 1)
	rec := newReceiver(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
		got <- p.post("/token", tk(handle))
		w.WriteHeader(http.StatusNoContent)
	})
	p = newPinger(t, rec.URL)
	handle = p.ask(t)
	if a := p.post("/token", tk(handle)); a.code() != "authorization_pending" {
		t.Errorf("before: %s", a.raw)
	}
	p.approve(t, handle)
	rec.next(t)
	if a := <-got; a.status != http.StatusOK {
		t.Errorf("token: %d %s", a.status, a.raw)
	}
}

// REQ-214: where a redirect points to is never called, whatever client is handed in.
func TestPingFollowsNothing(t *testing.T) {
	t.Parallel()
	row(t, "REQ-214")
	silent := newReceiver(t, nil)
	rec := newReceiver(t, func(w http.ResponseWriter, r *http.Request, n int) {
		http.Redirect(w, r, silent.URL, []int{301, 302, 303, 307, 308}[n-1])
	})
	p := newPinger(t, rec.URL)
	for range 5 {
		handle := p.ask(t)
		p.deny(t, handle, "")
		rec.next(t)
		if d := p.timeline(t, handle, 1)[0]; d.Status != "failed" {
			t.Errorf("timeline: %+v", d)
		}
	}
	if silent.count() != 0 || rec.count() != 5 {
		t.Errorf("%d calls of the other place, %d of the first", silent.count(), rec.count())
	}
}

// REQ-216 over the real bus: its schedules bring the repeats.
func TestPingAgainOverTheBus(t *testing.T) {
	t.Parallel()
	row(t, "REQ-216")
	rec := newReceiver(t, func(w http.ResponseWriter, _ *http.Request, n int) {
		switch n {
		case 1:
			w.WriteHeader(http.StatusInternalServerError)
		case 2:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		default:
			w.WriteHeader(http.StatusOK)
		}
	})
	p := newPinger(t, rec.URL)
	handle := p.ask(t)
	p.approve(t, handle)
	for range 3 {
		rec.next(t)
	}
	if got := p.timeline(t, handle, 3); got[0].Code != "500" || got[1].Code != "429" || got[2].Status != "accepted" {
		t.Errorf("timeline: %+v", got)
	}
	if !p.erased(t, handle) {
		t.Error("something is left")
	}
}

// REQ-222: an endpoint that hangs, with more pings than its lane is wide, holds nobody else up; and it is never called
// more often at once than the lane is wide.
func TestPingLanes(t *testing.T) {
	t.Parallel()
	row(t, "REQ-222")
	var mu sync.Mutex
	inside, most := 0, 0
	release := make(chan struct{})
	hanging := newReceiver(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
		mu.Lock()
		inside++
		most = max(most, inside)
		mu.Unlock()
		<-release
		mu.Lock()
		inside--
		mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	})
	quick := newReceiver(t, nil)
	p := newPinger(t, hanging.URL)
	p.register(t, "other", quick.URL)
	const many = 50
	var stuck []string
	for range many {
		stuck = append(stuck, p.ask(t))
	}
	for _, handle := range stuck {
		p.deny(t, handle, "")
	}
	least := time.Hour // of ten: the machine may be busy
	for range 10 {
		handle := p.ask(t, "client_id", "other")
		began := time.Now()
		p.deny(t, handle, "")
		quick.next(t)
		least = min(least, time.Since(began))
	}
	if least > time.Second {
		t.Errorf("the other client's pings took %v and more", least)
	}
	// Each client has a bound of its own. What came of the quick one's last calls may still be on its way to the store.
	if s := p.notifier.Stats(); s.Running < laneWidth || s.Running > 2*laneWidth {
		t.Errorf("%+v", s)
	}
	close(release)
	for range many {
		hanging.next(t)
	}
	for _, handle := range stuck {
		p.timeline(t, handle, 1)
	}
	if hanging.count() != many || most > laneWidth {
		t.Errorf("%d calls, %d at once", hanging.count(), most)
	}
}

// REQ-140, 278, 279, 221: while a ping waits for its repeat neither token nor handle lie open anywhere, and after it
// nothing lies there at all.
func TestPingSecrets(t *testing.T) {
	t.Parallel()
	row(t, "REQ-140", "REQ-278", "REQ-279", "REQ-221")
	rec := newReceiver(t, func(w http.ResponseWriter, _ *http.Request, n int) {
		w.WriteHeader(map[bool]int{true: 503, false: 204}[n == 1])
	})
	folder := t.TempDir()
	bus, err := stream.Open(t.Context(), stream.Config{Dir: filepath.Join(folder, "jetstream"), Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() { must(t, bus.Close()) })
	p := newIdlePinger(t, rec.URL, bus)
	p.run(t, bus)
	handle := p.ask(t)
	_, secret, _ := strings.Cut(handle, ".")
	e, err := readErrand(t.Context(), p.store, idOf(handle))
	must(t, err)
	kept := string(e.read.Value)
	p.approve(t, handle)
	rec.next(t)
	p.timeline(t, handle, 1)
	var dump bytes.Buffer
	must(t, p.store.Backup(t.Context(), &dump))
	rec.next(t)
	p.timeline(t, handle, 2)
	var after bytes.Buffer
	must(t, p.store.Backup(t.Context(), &after))
	places := map[string]string{"errand": kept, "store": dump.String(), "store after it": after.String(), "logs": p.logs.String(), "bus": files(t, folder)}
	for place, text := range places {
		for name, value := range map[string]string{"token": pingToken, "handle's secret": secret} {
			if strings.Contains(text, value) || len(text) < 40 {
				t.Errorf("%s is in the %s (%d bytes)", name, place, len(text))
			}
		}
	}
	if _, err := readErrand(t.Context(), p.store, idOf(handle)); err == nil {
		t.Error("the errand is left")
	}
}

func files(t testing.TB, folder string) string {
	t.Helper()
	var all strings.Builder
	must(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		all.Write(raw)
		return err
	}))
	return all.String()
}

// What was sealed for one request opens for no other.
func TestErrandsCannotBeSwapped(t *testing.T) {
	p, _, _ := timed(t, "204")
	one, two := p.ask(t), p.ask(t)
	x, err := readErrand(t.Context(), p.store, idOf(one))
	must(t, err)
	y, err := readErrand(t.Context(), p.store, idOf(two))
	must(t, err)
	x.Sealed = y.Sealed
	must(t, p.store.Apply(t.Context(), x.write()))
	p.deny(t, one, "")
	look, err := p.notifier.look(t.Context(), p.steps(t)[0])
	must(t, err)
	if _, err := p.notifier.open(look); err == nil {
		t.Error("a notice opened for another request")
	}
}
