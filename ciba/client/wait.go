package client

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const grantCIBA = "urn:openid:params:grant-type:ciba"

// How Wait behaves when the server cannot be reached or is overloaded.
const (
	firstPause = time.Second
	longPause  = 10 * time.Second
	afterEnd   = time.Minute // how long after the request's end an answer is still tried for
)

// slower is what CIBA section 11 adds to the interval at each slow_down.
const slower = 5 * time.Second

// When a ping may have been lost: how often Wait looks for itself, and how long before the end it does so once more.
const (
	slowPoll = 30 * time.Second
	lastLook = 5 * time.Second
	justOver = time.Second // after the end, when the server says how it ended
)

// Wait returns the token when the person has said yes, or why there is none: [ErrDenied], [ErrExpired],
// [ErrUnreachable], [ErrWithdrawn], [ErrGone], [ErrBadToken], the context's error, or another refusal of the server.
//
// It polls, lets the server hold its polls, keeps the interval, and rides out lost connections and restarts until a
// minute after the request's end. In ping mode it polls when it is pinged, and seldom besides, in case a ping got lost.
func (c *Client) Wait(ctx context.Context, w *Waiting) (*Token, error) {
	token, err := c.wait(ctx, w)
	if err != nil {
		return nil, fmt.Errorf("wait: %w", err)
	}
	c.compare(ctx, w, token)
	return token, nil
}

// compare asks what was asked, for a token of less. The token is good without that, so a lost answer changes nothing.
func (c *Client) compare(ctx context.Context, w *Waiting, t *Token) {
	if t.Decision == "" || c.server.Status == "" {
		return
	}
	if s, err := c.Status(ctx, w); err == nil && s.Decision == t.Decision {
		t.Difference = s.Difference
	}
}

// waiter is one Wait.
type waiter struct {
	*Waiting
	interval time.Duration
	retry    retry
	bell     *bell // nil: poll mode
}

func (c *Client) wait(ctx context.Context, w *Waiting) (*Token, error) {
	if err := c.owns(w); err != nil {
		return nil, err
	}
	v := &waiter{Waiting: w, interval: w.Interval, retry: newRetry(w.ExpiresAt.Add(afterEnd))}
	hold := c.hold()
	if c.pings != nil && w.ping != [32]byte{} {
		v.bell, hold = c.pings.bell(w), 0
	}
	for {
		ring := v.bell.listen() // before the poll, so that no ping falls between poll and pause
		sent := time.Now()
		token, err := c.poll(ctx, w, hold)
		if err == nil {
			return token, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		at, again := v.next(sent, err)
		if !again {
			return nil, c.explain(ctx, w, err)
		}
		if err := pause(ctx, time.Until(at), ring); err != nil {
			return nil, err
		}
	}
}

// hold is how long a poll may be held: not so long that the caller's own [http.Client] gives up on it.
func (c *Client) hold() time.Duration {
	if c.http.Timeout == 0 {
		return holdTime
	}
	return min(holdTime, max(0, c.http.Timeout-holdMargin))
}

// Poll asks once, and lets the server hold the question for at most the given time. [ErrPending] and [ErrSlowDown] are
// the answers before the end. [Client.Wait] is what most agents want.
func (c *Client) Poll(ctx context.Context, w *Waiting, hold time.Duration) (*Token, error) {
	if err := c.owns(w); err != nil {
		return nil, fmt.Errorf("poll: %w", err)
	}
	token, err := c.poll(ctx, w, hold)
	if err != nil {
		return nil, fmt.Errorf("poll: %w", err)
	}
	return token, nil
}

func (c *Client) poll(ctx context.Context, w *Waiting, hold time.Duration) (*Token, error) {
	form := url.Values{"grant_type": {grantCIBA}, "auth_req_id": {w.Handle}}
	header := http.Header{"Idempotency-Key": {pollKey(w.Handle)}}
	header.Set("Prefer", "wait="+strconv.Itoa(int(hold/time.Second)))
	var answer tokenAnswer
	p := call{address: c.server.Token, form: form, header: header, limit: hold + callTime, proof: true}
	if err := c.post(ctx, p, &answer); err != nil {
		return nil, err
	}
	return c.accept(ctx, w, answer)
}

// pollKey makes every poll of a request repeatable, so that a token whose answer got lost can be had again.
func pollKey(handle string) string {
	sum := sha256.Sum256([]byte("poll " + handle))
	return base64.RawURLEncoding.EncodeToString(sum[:18])
}

// next says when to poll again after err, and whether that makes sense. The interval runs from poll to poll, so after a
// held one it is usually over.
func (v *waiter) next(sent time.Time, err error) (at time.Time, again bool) {
	var refusal *Error
	known := errors.As(err, &refusal)
	switch {
	case known && errors.Is(err, ErrPending):
		v.interval = max(v.interval, refusal.RetryAfter)
	case known && errors.Is(err, ErrSlowDown):
		v.interval = max(v.interval+slower, refusal.RetryAfter)
	default:
		pause, again := v.retry.after(err)
		return time.Now().Add(pause), again
	}
	v.retry.reset()
	if !time.Now().Before(v.retry.until) { // a server that has forgotten to end it
		return at, false
	}
	return v.look(sent), true
}

// look is the time of the next regular poll: never before the interval is over, but not long after the request's end
// either, because then there is an answer at any pace.
func (v *waiter) look(sent time.Time) time.Time {
	at := sent.Add(v.interval)
	end, last := v.ExpiresAt.Add(justOver), v.ExpiresAt.Add(-lastLook)
	if v.bell != nil {
		at = sent.Add(max(v.interval, slowPoll))
		if at.After(last) && sent.Add(v.interval).Before(last) {
			at = last
		}
	}
	if !time.Now().Before(end) {
		end = v.retry.until
	}
	if at.After(end) {
		return end
	}
	return at
}

// explain finds out what access_denied means: a no, with a note perhaps, or a withdrawal.
func (c *Client) explain(ctx context.Context, w *Waiting, err error) error {
	if errors.Is(err, ErrPending) || errors.Is(err, ErrSlowDown) {
		return ErrExpired
	}
	if !errors.Is(err, ErrDenied) || c.server.Status == "" {
		return err
	}
	s, statusErr := c.Status(ctx, w)
	switch {
	case statusErr != nil:
		return err
	case s.State == "cancelled":
		return ErrWithdrawn
	}
	return &Denied{Note: s.Note}
}

// retry paces what is tried again because an answer said nothing.
type retry struct {
	pause time.Duration
	until time.Time
}

func newRetry(until time.Time) retry { return retry{firstPause, until} }

func (r *retry) reset() { r.pause = firstPause }

// after says how long to pause after err, and whether to come again at all. Pauses double, and are spread so that
// agents that lost the same server do not come back as one.
func (r *retry) after(err error) (time.Duration, bool) {
	var refusal *Error
	known := errors.As(err, &refusal)
	if known && !refusal.passing() || errors.Is(err, ErrBadToken) || !time.Now().Before(r.until) {
		return 0, false
	}
	pause := r.pause
	if known {
		pause = min(max(pause, refusal.RetryAfter), max(time.Until(r.until), pause))
	}
	pause += rand.N(r.pause / 2)
	r.pause = min(2*r.pause, longPause)
	return pause, true
}

func sleep(ctx context.Context, d time.Duration) error { return pause(ctx, d, nil) }

// pause waits until the time is over or the bell rings.
func pause(ctx context.Context, d time.Duration, ring <-chan struct{}) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-ring:
	case <-timer.C:
	}
	return nil
}
