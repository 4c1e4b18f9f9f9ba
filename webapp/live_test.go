package webapp

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"assent/approvals"
)

// event is one server-sent event.
type event struct{ name, id, data string }

// reader reads a stream; it blocks until the next event is there.
type reader struct {
	t    testing.TB
	body *bufio.Scanner
	stop context.CancelFunc
}

func (b *browserOf) stream(at, last string) *reader {
	t := b.w.t
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second) // a silent stream fails and does not hang
	req, err := http.NewRequestWithContext(ctx, "GET", b.w.server.URL+at, nil)
	check(t, err)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := b.client.Do(req)
	check(t, err)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("stream: %d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	return &reader{t, bufio.NewScanner(resp.Body), func() { stop(); resp.Body.Close() }}
}

// next returns the next event, or false at the end of the stream.
func (r *reader) next() (event, bool) {
	var e event
	for r.body.Scan() {
		field, value, _ := strings.Cut(r.body.Text(), ": ")
		switch {
		case field == "event":
			e.name = value
		case field == "id":
			e.id = value
		case field == "data":
			e.data += value + "\n"
		case r.body.Text() == "" && e.name != "":
			return e, true
		}
	}
	return e, false
}

func (r *reader) want(name string, words ...string) event {
	r.t.Helper()
	e, ok := r.next()
	if !ok || e.name != name {
		r.t.Fatalf("event %q, want %q", e.name, name)
	}
	for _, w := range words {
		if !strings.Contains(e.data, w) {
			r.t.Errorf("%s: no %q in %s", name, w, e.data)
		}
	}
	return e
}

// seen returns the address of a page's stream and what the page shows already.
func (p *page) live() (at, seen string) {
	for _, n := range p.all("div") {
		if attr(n, "id") == "live" {
			return attr(n, "data-live"), attr(n, "data-seen")
		}
	}
	p.t.Fatal("page does not live")
	return "", ""
}

func TestDecidedElsewhereWhileOpen(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b, p := w.openPage(r)
	at, seen := p.live()
	s := b.stream(at+"&seen="+seen, "")
	defer s.stop()
	s.want("clock", "290")
	other := w.signedIn("ann")
	other.header.Set("User-Agent", "Mozilla/5.0 (iPhone) Safari/604.1")
	other.press(other.get("/requests/"+string(r.ID)), "/deny")
	shown := s.want("show", "Already denied on Safari (iPhone) at 14:26 CET.")
	if strings.Contains(shown.data, "/approve") || shown.id == "" {
		t.Error("the buttons are still there")
	}
	again := b.stream(at+"&seen="+seen, shown.id) // resumes: nothing old is sent again
	defer again.stop()
	again.want("clock")
	w.pages.Close()
	if e, more := again.next(); more {
		t.Errorf("a resumed stream sends %s again", e.name)
	}
}

func TestInboxLives(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	at, seen := b.get("/").live()
	s := b.stream(at+"&seen="+seen, "")
	defer s.stop()
	s.want("clock")
	r := w.ask("ann", payment)
	first := s.want("show", "Pay 480.00 EUR to Example Travel", "(1) Approval requests")
	w.ask("min", payment) // somebody else's
	_, err := w.desk.Cancel(t.Context(), r.ID, approvals.Actor{Kind: "agent"}, approvals.WithdrawnByAgent)
	check(t, err)
	second := s.want("show", "Nothing is waiting.", "Withdrawn")
	if first.id == second.id {
		t.Error("two states have one id")
	}
	fresh := b.stream(at, first.id) // missed the second
	defer fresh.stop()
	fresh.want("clock")
	if e := fresh.want("show", "Nothing is waiting."); e.id != second.id {
		t.Errorf("resumed at %s, want %s", e.id, second.id)
	}
}

// With more waiting than the page shows, the most urgent is on it, however old, and the rest is counted.
func TestFullInbox(t *testing.T) {
	w := newWorld(t, false)
	life := func(d time.Duration) func(*approvals.Ask) { return func(a *approvals.Ask) { a.Life = d } }
	urgent := w.ask("ann", payment, life(2*time.Minute))
	w.advance(time.Second)
	for range maxWaiting + 2 {
		w.ask("ann", payment, life(5*time.Minute))
	}
	p := w.signedIn("ann").get("/").want(http.StatusOK, "and 3 more", "(103) Approval requests")
	if !strings.Contains(p.body, string(urgent.ID)) {
		t.Error("the most urgent is missing")
	}
}

func TestStreamEndsWithTheSession(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	home := b.get("/")
	at, _ := home.live()
	s := b.stream(at, "")
	defer s.stop()
	s.want("clock")
	s.want("show")
	b.press(home, "/signout")
	s.want("end")
	if _, more := s.next(); more {
		t.Error("the stream goes on")
	}
	if p := b.get(at); p.status != http.StatusUnauthorized {
		t.Errorf("status %d", p.status)
	}
}

func TestCloseEndsStreams(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	at, _ := b.get("/").live()
	var open []*reader
	for range maxStreams {
		s := b.stream(at, "")
		defer s.stop()
		s.want("clock")
		open = append(open, s)
	}
	if p := b.get(at); p.status != http.StatusTooManyRequests {
		t.Errorf("one too many: %d", p.status)
	}
	w.pages.Close()
	for _, s := range open {
		s.want("show")
		if _, more := s.next(); more {
			t.Error("the stream goes on")
		}
	}
	if p := b.get(at); p.status != http.StatusTooManyRequests {
		t.Errorf("after Close: %d", p.status)
	}
}

// No stream is let in once Close has seen the last one go.
func TestNobodyEntersAfterClose(t *testing.T) {
	for range 2000 {
		s := streams{open: map[string]int{}, done: &sync.WaitGroup{}}
		var closed atomic.Bool
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				leave := s.enter("k")
				if leave == nil {
					return
				}
				if closed.Load() {
					t.Error("a stream is open after close")
				}
				leave()
			})
		}
		all.Go(func() { s.close(); closed.Store(true) })
		all.Wait()
	}
}

func TestLiveErrorsAreLogged(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	check(t, w.store.Close())
	b.get("/live?once=1").want(http.StatusServiceUnavailable)
	if !strings.Contains(w.logged.String(), "page unavailable") {
		t.Errorf("logged: %s", w.logged)
	}
}

func TestPoll(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b, p := w.openPage(r)
	at, seen := p.live()
	at += "&once=1&seen=" + seen
	if got := b.get(at).want(http.StatusNoContent); got.header.Get("Live-Left") != "290" {
		t.Errorf("left %q", got.header.Get("Live-Left"))
	}
	b.press(p, "/approve")
	got := b.get(at).want(http.StatusOK, "Approved at 14:26 CET.")
	if id := got.header.Get("Live-Id"); id == seen || id == "" {
		t.Errorf("id %q", id)
	}
	b.get("/live?once=1&request=" + string(approvals.NewID(start))).want(http.StatusNotFound)
}

// pipe is a response that hands over what is written, as a connection would.
type pipe struct {
	header http.Header
	mu     sync.Mutex
	got    strings.Builder
}

func (p *pipe) Header() http.Header { return p.header }
func (p *pipe) WriteHeader(int)     {}
func (p *pipe) Flush()              {}
func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got.Write(b)
}

func (p *pipe) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got.String()
}

// Time passes by itself: a ping every 15 seconds, and the page turns when approval closes and when the request ends.
func TestStreamOverTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, false, true)
		r := w.ask("ann", payment)
		cookie, writes := w.pages.begin(&visit{}, &approvals.Person{ID: "ann"}, approvals.LevelSession, "otp")
		check(t, w.store.Apply(t.Context(), writes...))
		ctx, stop := context.WithCancel(t.Context())
		req := httptest.NewRequestWithContext(ctx, "GET", "/live?request="+string(r.ID), nil)
		req.AddCookie(cookie)
		out := &pipe{header: http.Header{}}
		var stream sync.WaitGroup
		stream.Go(func() { w.pages.ServeHTTP(out, req) })

		time.Sleep(46 * time.Second)
		if n := strings.Count(out.text(), ": ping\n"); n != 3 {
			t.Errorf("%d pings in 46 s", n)
		}
		if strings.Contains(out.text(), "Time ran out") {
			t.Error("over too early")
		}
		time.Sleep(245 * time.Second) // decide_by
		if !strings.Contains(out.text(), "You can still tell the agent no.") {
			t.Errorf("approval closed and the page does not know: %s", out.text())
		}
		time.Sleep(10 * time.Second) // expires_at, and no sweep has come by
		if !strings.Contains(out.text(), "You do not have to do anything.") {
			t.Error("the request ended and the page does not know")
		}
		stop()
		stream.Wait()
	})
}
