package ciba

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"assent/approvals"
)

// politeHold is how long a poll without Prefer is held, when the client is polling steadily.
const politeHold = 3 * time.Second

// writeSpare is the time to write an answer in after a hold.
const writeSpare = 10 * time.Second

// holdFor says how long a poll waits for the decision: as long as Prefer: wait=n says, at most 25 s (RFC 7240 section
// 4.3, REQ-191); without Prefer, as the client is registered, or 3 s if it has polled a moment ago. The first poll of
// an ordinary client is answered at once.
func (h *Handler) holdFor(c *call, t turn) time.Duration {
	if n, ok := preferWait(c.r.Header["Prefer"]); ok {
		return time.Duration(min(n, maxPollHold)) * time.Second
	}
	switch {
	case c.client.PollHold != nil:
		return time.Duration(*c.client.PollHold) * time.Second
	case t.recent:
		return politeHold
	}
	return 0
}

// preferWait finds wait=n among the preferences; the first one counts (RFC 7240 section 2).
func preferWait(lines []string) (seconds int, ok bool) {
	for _, line := range lines {
		for preference := range strings.SplitSeq(line, ",") {
			token, _, _ := strings.Cut(preference, ";")
			name, value, _ := strings.Cut(token, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			n, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 31)
			return int(n), err == nil
		}
	}
	return 0, false
}

// hold waits until the request is decided or over and returns it, or nil when the time is up, a newer poll took its
// place, or the service stops. It returns an error when the client has gone.
func (h *Handler) hold(c *call, r *approvals.Request, wait time.Duration) (*approvals.Request, error) {
	watch := h.Hub.Watch(string(r.ID)) // first subscribe, then read: no decision is missed
	defer watch.Close()
	replaced := h.pace.begin(r.ID)
	defer h.pace.end(r.ID, replaced)
	h.extend(c.w, wait)
	wait = min(wait, r.ExpiresAt.Sub(h.Now()))
	timer := time.NewTimer(wait)
	defer timer.Stop()
	again, stop := h.backstop()
	defer stop()
	for {
		now, err := h.look(c)
		if err != nil || now.StateAt(h.Now()) != approvals.Pending {
			return now, err
		}
		select {
		case <-watch.C:
		case <-again:
		case <-timer.C:
			return h.last(c)
		case <-replaced:
			return nil, nil
		case <-h.closing:
			return nil, nil
		case <-c.r.Context().Done():
			return nil, c.r.Context().Err()
		}
	}
}

// last looks once more when the time is up: it may have been the request's own end.
func (h *Handler) last(c *call) (*approvals.Request, error) {
	r, err := h.look(c)
	if err == nil && r.StateAt(h.Now()) == approvals.Pending {
		return nil, nil
	}
	return r, err
}

// extend moves the connection's write deadline behind the hold. Deadlines are in the kernel's time, not in ours. The
// read deadline stays alone: setting it once the body has been read would end the call.
func (h *Handler) extend(w http.ResponseWriter, wait time.Duration) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(wait + writeSpare)) // not every writer can
}

// backstop ticks when other processes write too, in case one of their signals got lost.
func (h *Handler) backstop() (<-chan time.Time, func()) {
	if h.Fresh <= 0 {
		return nil, func() {}
	}
	t := time.NewTicker(h.Fresh)
	return t.C, t.Stop
}
