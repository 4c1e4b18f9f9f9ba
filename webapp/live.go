package webapp

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"assent/approvals"
)

// Times of a live stream. The write deadline is pushed on before every write: a reader that has gone is noticed, and
// one that listens for hours is not cut off.
const (
	pingEvery     = 15 * time.Second
	writeDeadline = 30 * time.Second
)

// maxStreams is how many live pages one session may hold open; the page falls back to asking every ten seconds.
const maxStreams = 6

// streams counts open streams, so that one sign-in cannot hold them all and Close can wait for the last.
type streams struct {
	mu   sync.Mutex
	open map[string]int // by session
	shut bool           // no more are let in
	done *sync.WaitGroup
}

// close lets no more streams in and waits until the last one has gone.
func (s *streams) close() {
	s.mu.Lock()
	s.shut = true
	s.mu.Unlock()
	s.done.Wait()
}

// enter counts one more stream of a session and returns its end, or nil when there are too many or we are stopping.
func (s *streams) enter(key string) func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[key] >= maxStreams || s.shut {
		return nil
	}
	s.open[key]++
	s.done.Add(1)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.open[key]--; s.open[key] == 0 {
			delete(s.open, key)
		}
		s.done.Done()
	}
}

// fragment is what the page should show now.
type fragment struct {
	version string
	html    []byte
	left    int       // seconds until the shown time runs out; sent on every connect, for the page's own clock
	next    time.Time // when the fragment changes by itself
}

// live answers with a stream of ready-made fragments, or with the one fragment of now (once=1) for pages whose stream
// does not get through. Without news the latter is a 204.
func (h *Handler) live(w http.ResponseWriter, r *http.Request) {
	v, err := h.visit(r)
	if err != nil {
		h.unavailable(w, v, err)
		return
	}
	if v.who == nil {
		http.Error(w, "not signed in", http.StatusUnauthorized)
		return
	}
	if r.URL.Query().Get("once") != "" {
		h.liveOnce(w, v)
		return
	}
	leave := h.streams.enter(v.who.ID)
	if leave == nil {
		w.Header().Set("Retry-After", "10")
		http.Error(w, "too many live pages", http.StatusTooManyRequests)
		return
	}
	defer leave()
	if err := h.stream(w, v); err != nil && r.Context().Err() == nil {
		h.Log.InfoContext(r.Context(), "live page ended", "err", err)
	}
}

// unavailable answers an error to script, which needs no page.
func (h *Handler) unavailable(w http.ResponseWriter, v *visit, err error) {
	status, _ := h.judge(v.Context(), err)
	http.Error(w, "not available", status)
}

func (h *Handler) liveOnce(w http.ResponseWriter, v *visit) {
	f, err := h.fragment(v)
	if err != nil {
		h.unavailable(w, v, err)
		return
	}
	w.Header().Set("Live-Id", f.version)
	w.Header().Set("Live-Left", fmt.Sprint(f.left))
	if f.version == v.URL.Query().Get("seen") {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(f.html)
}

// stream sends a fragment whenever the page would show something else. Subscribe first, then read: nothing is missed.
func (h *Handler) stream(w http.ResponseWriter, v *visit) error {
	watch := h.Hub.Watch(approvals.TopicPerson(v.who.Person))
	defer watch.Close()
	f, err := h.fragment(v)
	if err != nil {
		h.unavailable(w, v, err)
		return nil
	}
	head := w.Header()
	head.Set("Content-Type", "text/event-stream")
	head.Set("X-Accel-Buffering", "no")
	out := &eventWriter{w: w, control: http.NewResponseController(w)}
	out.field("retry: 3000\n\n")
	out.event("clock", "", []byte(fmt.Sprint(f.left)))
	seen := v.URL.Query().Get("seen")
	if last := v.Header.Get("Last-Event-ID"); last != "" {
		seen = last
	}
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		if f.version != seen {
			out.event("show", f.version, f.html)
			seen = f.version
		}
		if err := out.flush(); err != nil {
			return err
		}
		if stop, err := h.wait(v, watch, ping, f.next, out); stop || err != nil {
			return errors.Join(err, out.flush())
		}
		if f, err = h.fragment(v); err != nil {
			return err
		}
	}
}

// wait returns when it is time to look again; stop is set when the stream is over.
func (h *Handler) wait(v *visit, watch *approvals.Watch, ping *time.Ticker, next time.Time, out *eventWriter) (
	stop bool, err error) {
	var turn <-chan time.Time
	if !next.IsZero() {
		timer := time.NewTimer(max(next.Sub(h.Now()), 0) + time.Millisecond)
		defer timer.Stop()
		turn = timer.C
	}
	select {
	case <-h.stopping.Done():
		return true, nil
	case <-v.Context().Done():
		return true, nil
	case <-watch.C:
	case <-turn:
	case <-ping.C:
		out.field(": ping\n\n")
	}
	who, err := h.sessionAt(v.Context(), v.who.key)
	if err != nil {
		return true, err
	}
	if who == nil {
		out.event("end", "", nil)
		return true, nil
	}
	return who.Left != "", nil // the page comes back by itself, with the cookie that the browser has now
}

// fragment renders what the visitor's page should show now.
func (h *Handler) fragment(v *visit) (fragment, error) {
	id := v.URL.Query().Get("request")
	if id == "" {
		return h.inboxFragment(v)
	}
	r, err := h.requestOf(v, approvals.ID(id))
	if err != nil {
		return fragment{}, err
	}
	choice, err := approvals.ParseChoice(v.URL.Query().Get("choice"))
	if err != nil {
		return fragment{}, fmt.Errorf("choice: %w", errForm)
	}
	view, err := h.viewOf(v, r, choice)
	if err != nil {
		return fragment{}, err
	}
	f := fragment{version: view.Live.Seen, left: view.Left}
	switch {
	case view.Stage == "open":
		f.next = r.DecideBy
	case !r.State.Final():
		f.next = r.ExpiresAt
	}
	if f.next.Before(h.Now()) {
		f.next = time.Time{}
	}
	f.html, err = h.pages.fragment("request-main", v, view)
	return f, err
}

func (h *Handler) inboxFragment(v *visit) (fragment, error) {
	view, err := h.inboxOf(v)
	if err != nil {
		return fragment{}, err
	}
	f := fragment{version: view.Live.Seen}
	if len(view.Waiting) > 0 {
		f.left = view.Waiting[0].Left
		f.next = h.Now().Add(time.Duration(f.left+1) * time.Second)
	}
	f.html, err = h.pages.fragment("inbox-main", v, view)
	return f, err
}

// eventWriter writes server-sent events (HTML standard, section 9.2). The first error sticks.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	err     error
}

func (e *eventWriter) event(name, id string, data []byte) {
	var b bytes.Buffer
	if id != "" {
		fmt.Fprintf(&b, "id: %s\n", id)
	}
	fmt.Fprintf(&b, "event: %s\n", name)
	for line := range strings.SplitSeq(strings.ReplaceAll(string(data), "\r", ""), "\n") {
		fmt.Fprintf(&b, "data: %s\n", line)
	}
	b.WriteByte('\n')
	e.field(b.String())
}

func (e *eventWriter) field(text string) {
	if e.err != nil {
		return
	}
	// Deadlines are the network's, so they go by the real clock.
	err := e.control.SetWriteDeadline(time.Now().Add(writeDeadline))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		e.err = err
		return
	}
	_, e.err = e.w.Write([]byte(text))
}

func (e *eventWriter) flush() error {
	if e.err == nil {
		e.err = e.control.Flush()
	}
	return e.err
}
