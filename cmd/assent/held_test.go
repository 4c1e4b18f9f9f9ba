package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"

	"assent/approvals"
	"assent/store"
	"assent/store/bolt"
)

// gate stands between what the service writes and its durability.
type gate struct {
	mu      sync.Mutex
	held    chan struct{} // commits wait until it is closed; nil: they pass
	fault   error         // what commits fail with
	reached chan struct{} // gets a value when a commit is held
}

// before is [bolt.Options.BeforeCommit].
func (g *gate) before() error {
	g.mu.Lock()
	held, fault := g.held, g.fault
	g.mu.Unlock()
	if held != nil {
		select {
		case g.reached <- struct{}{}:
		default:
		}
		<-held
	}
	return fault
}

// hold keeps every commit from now on, until release.
func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = make(chan struct{})
}

func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held != nil {
		close(g.held)
		g.held = nil
	}
}

// fail makes every commit from now on fail; nil ends that.
func (g *gate) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fault = err
}

// gated is a whole service in this process whose commits a gate rules.
type gated struct {
	*gate
	*service
	agent *agentHTTP
	ann   *browser // signed in
}

func newGated(t *testing.T) *gated {
	t.Helper()
	data := newData(t)
	g := &gate{reached: make(chan struct{}, 1)}
	cfg := Config{Data: data, Listen: "127.0.0.1:0", Dev: true, Fixtures: filepath.Join(data, "..", "fixtures.json"),
		DefaultLife: 300, MaxLife: 604800, HistoryDays: 1}
	s := newService(cfg, newLogger(io.Discard, "info"))
	s.openDB = func(_ context.Context, dsn string, now func() time.Time) (store.Store, error) {
		return bolt.Open(strings.TrimPrefix(dsn, "bolt:"), bolt.Options{Now: now, BeforeCommit: g.before})
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan *service, 1), make(chan error, 1)
	go func() { ended <- s.serve(ctx, func(s *service) { ready <- s }) }()
	t.Cleanup(func() {
		g.fail(nil)
		g.release()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the service ended: %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	out := &gated{g, s, bot(s.cfg.Issuer), newBrowser()}
	out.asked(t)
	if err := out.ann.openOnPhone(t.Context(), s.cfg.PagesURL, "u_ann", startTime); err != nil {
		t.Fatal(err)
	}
	return out
}

// asked opens a request, waits until the phone has its message, and returns its auth_req_id.
func (g *gated) asked(t *testing.T) string {
	t.Helper()
	handle := must(t, http.StatusOK)(g.agent.ask(t.Context(), nil, nil)).member("auth_req_id")
	id, _, _ := strings.Cut(handle, ".")
	within(t, "message about "+id, func() bool {
		return slices.ContainsFunc(g.dev.phone.of("u_ann"), func(m phoneMessage) bool { return string(m.Request) == id })
	})
	return handle
}

// within waits until something has happened beside the calls of a test.
func within(t *testing.T, what string, happened func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(startTime); !happened(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("no %s after %v", what, startTime)
		}
	}
}

// approved opens a request that the person has approved.
func (g *gated) approved(t *testing.T) string {
	t.Helper()
	id := g.asked(t)
	must(t, http.StatusNoContent)(devDecide(t.Context(), g.agent.http, g.cfg.PagesURL, id, true))
	return id
}

// button is the request that pressing a button of a request's page sends.
func (g *gated) button(t *testing.T, id, part string) *http.Request {
	t.Helper()
	b := g.ann
	id, _, _ = strings.Cut(id, ".")
	if err := b.open(t.Context(), g.cfg.PagesURL+"/requests/"+id); err != nil {
		t.Fatal(err)
	}
	req, err := b.fill(t.Context(), part, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range b.http.Jar.Cookies(req.URL) {
		req.AddCookie(c)
	}
	return req
}

// calls are the requests that change something, each on what it needs.
func (g *gated) calls(t *testing.T) []*rawCall {
	t.Helper()
	ctx := t.Context()
	made := func(name string, want int) func(*http.Request, error) *rawCall {
		return func(req *http.Request, err error) *rawCall {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			return &rawCall{name: name, want: want, req: req}
		}
	}
	pages, token := g.cfg.PagesURL, "/token"
	key := http.Header{"Idempotency-Key": {"one"}}
	return []*rawCall{
		made("ask", 200)(g.agent.request(ctx, "/bc-authorize", askForm(nil), nil)),
		made("ask with a key", 200)(g.agent.request(ctx, "/bc-authorize", askForm(nil), key)),
		made("redeem", 200)(g.agent.request(ctx, token, pollForm(g.approved(t)), nil)),
		made("redeem with a key", 200)(g.agent.request(ctx, token, pollForm(g.approved(t)), key)),
		made("cancel", 200)(g.agent.request(ctx, "/requests/cancel", url.Values{"auth_req_id": {g.asked(t)}}, nil)),
		made("approve in dev mode", 204)(devRequest(ctx, pages, g.asked(t), true)),
		made("deny in dev mode", 204)(devRequest(ctx, pages, g.asked(t), false)),
		made("approve on the page", 303)(g.button(t, g.asked(t), "/approve"), nil),
		made("deny on the page", 303)(g.button(t, g.asked(t), "/deny"), nil),
		made("withdraw on the page", 303)(g.button(t, g.approved(t), "/withdraw"), nil),
	}
}

// rawCall is one HTTP request on a connection of its own, so that a test sees the first byte that comes back.
type rawCall struct {
	name string
	want int // status once the commit is made
	req  *http.Request
	conn net.Conn
}

func (c *rawCall) send(t *testing.T) {
	t.Helper()
	conn, err := net.Dial("tcp", c.req.URL.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if c.req.GetBody != nil { // it may be sent for the second time
		c.req.Body, _ = c.req.GetBody()
	}
	if err := c.req.Write(conn); err != nil {
		t.Fatal(err)
	}
	c.conn = conn
}

// silent fails if anything arrives before that time.
func (c *rawCall) silent(t *testing.T, until time.Time) {
	t.Helper()
	c.conn.SetReadDeadline(until)
	var b [64]byte
	if n, err := c.conn.Read(b[:]); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s: answered before its commit: %q %v", c.name, b[:n], err)
	}
}

func (c *rawCall) answer(t *testing.T) wireAnswer {
	t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(startTime))
	resp, err := http.ReadResponse(bufio.NewReader(c.conn), c.req)
	if err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	return wireAnswer{resp.StatusCode, resp.Header, body}
}

// heldTime is how long an answer is waited for that must not come.
const heldTime = 500 * time.Millisecond

// No answer about a change leaves before the change is durable, whoever asks; what was durable before can be read
// meanwhile. When the commit is made every answer comes.
func TestHeldCommit(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	calls := g.calls(t)
	untouched := g.asked(t)

	g.hold()
	for _, c := range calls {
		c.send(t)
	}
	<-g.reached
	status := must(t, http.StatusOK)(g.agent.send(t.Context(), "/requests/status", url.Values{"auth_req_id": {untouched}}, nil))
	if status.member("state") != "pending" {
		t.Errorf("a request that nobody touched: %s", status.body)
	}
	var listening sync.WaitGroup
	until := time.Now().Add(heldTime)
	for _, c := range calls { // side by side: a read whose deadline is over looks at nothing
		listening.Go(func() { c.silent(t, until) })
	}
	listening.Wait()

	g.release()
	for _, c := range calls {
		if a := c.answer(t); a.status != c.want {
			t.Errorf("%s: %d %s, want %d", c.name, a.status, a.body, c.want)
		}
	}
}

// A held poll is not told of a decision before the decision is durable.
func TestHeldCommitHeldPoll(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	id := g.asked(t)
	req, err := g.agent.request(t.Context(), "/token", pollForm(id), http.Header{"Prefer": {"wait=20"}})
	if err != nil {
		t.Fatal(err)
	}
	poll := &rawCall{name: "held poll", req: req}
	poll.send(t)
	approve, err := devRequest(t.Context(), g.cfg.PagesURL, id, true)
	if err != nil {
		t.Fatal(err)
	}
	decide := &rawCall{name: "approve", req: approve}

	g.hold()
	decide.send(t)
	<-g.reached
	poll.silent(t, time.Now().Add(heldTime))
	g.release()
	if a := poll.answer(t); a.status != http.StatusOK {
		t.Errorf("held poll: %d %s", a.status, a.body)
	}
}

// A store that cannot make anything durable is a 503 to everybody, and nothing is shown to the person. When the store
// works again, so does everything else.
func TestFailedCommit(t *testing.T) {
	g := newGated(t)
	calls := g.calls(t)
	before := g.seen(t)

	g.fail(errors.New("the disk does not answer"))
	for _, c := range calls {
		c.send(t)
		c.refused(t)
	}
	if before.messages != before.all || before.inbox != before.pending {
		t.Fatalf("before the fault the person sees %+v", before)
	}
	if after := g.seen(t); after != before {
		t.Errorf("the person sees %+v, and saw %+v before the fault", after, before)
	}

	g.fail(nil)
	for _, c := range calls {
		c.send(t)
		if a := c.answer(t); a.status != c.want {
			t.Errorf("%s after the fault: %d %s, want %d", c.name, a.status, a.body, c.want)
		}
	}
	within(t, "message about the new requests", func() bool { return len(g.dev.phone.of("u_ann")) == before.all+2 })
	if after := g.seen(t); after.all != before.all+2 || after.messages != after.all || after.inbox != after.pending {
		t.Errorf("after the fault the person sees %+v", after)
	}
}

// refused expects what the caller is told when nothing could be stored.
func (c *rawCall) refused(t *testing.T) {
	t.Helper()
	a := c.answer(t)
	if a.status != http.StatusServiceUnavailable {
		t.Errorf("%s: %d %s, want 503", c.name, a.status, a.body)
		return
	}
	page := strings.Contains(c.name, "page")
	if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || seconds < 1 {
		t.Errorf("%s: Retry-After %q", c.name, a.header.Get("Retry-After"))
	}
	if page && !bytes.Contains(a.body, []byte("We could not confirm")) {
		t.Errorf("%s: %s", c.name, a.body)
	}
	if !page && !strings.Contains(c.name, "dev") && a.member("error") != "server_error" {
		t.Errorf("%s: %s", c.name, a.body)
	}
}

// seen is everything that Ann can see, in figures, and what the store says.
type seen struct{ messages, inbox, pending, all int }

// seen looks at phone, inbox and store.
func (g *gated) seen(t *testing.T) (s seen) {
	t.Helper()
	s.pending, s.all = g.count(t, approvals.Pending), g.count(t, approvals.States()...)
	s.messages = len(g.dev.phone.of("u_ann")) // one for each request, since a later one replaces an earlier one
	if err := g.ann.open(t.Context(), g.cfg.PagesURL+"/"); err != nil {
		t.Fatal(err)
	}
	list := findNode(g.ann.page.root, func(n *html.Node) bool { return attr(n, "data-count") != "" })
	s.inbox, _ = strconv.Atoi(attr(list, "data-count"))
	return s
}

func (g *gated) count(t *testing.T, states ...approvals.State) int {
	t.Helper()
	list, err := g.desk.List(t.Context(), approvals.Query{Person: "u_ann", States: states})
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
