package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// redeemRate is how many requests for each second of the phase are approved beforehand.
const redeemRate = 4000

// redeem measures decisions and then the redemption of what they allowed.
func (b *bench) redeem(ctx context.Context) error {
	t, err := b.devService(ctx)
	if err != nil {
		return err
	}
	n := int(redeemRate * b.Seconds)
	if err := b.fill(ctx, t, n); err != nil {
		return err
	}
	ready := t.take(n)
	requests := t.polling(ready, "")
	empty, err := b.emptyHandler(ctx, "redeem", requests)
	if err != nil {
		return err
	}
	decided, err := b.approveAll(ctx, t, ready)
	if err != nil {
		return err
	}
	tokens := make([]benchAnswer, len(ready)) // only the sampled ones are kept
	row, err := b.measure(ctx, t, "redeem", "redeem, two signatures, durable",
		load{most: len(ready), request: func(i int) []byte { return requests[i] },
			check: func(i, status int, body []byte) (string, error) {
				a, err := readAnswer(status, 200, body)
				if err == nil && (a.AccessToken == "" || a.IDToken == "") {
					err = errors.New("answer without access token or ID token")
				}
				if i%100 == 0 {
					tokens[i] = a
				}
				return "ok", err
			}})
	if err != nil {
		return err
	}
	row.OfEmpty = row.PerSecond / empty
	if row.Checked, err = t.genuine(ctx, tokens); err != nil {
		return err
	}
	if err := t.spent(ctx, sample(ready)); err != nil {
		return err
	}
	b.report.Rows = append(b.report.Rows, decided, row)
	return nil
}

// take removes n requests from those that are pending.
func (t *target) take(n int) []handle {
	taken := t.asked[:n]
	t.asked = slices.Clone(t.asked[n:])
	return taken
}

// approval builds the decision about one request, as dev mode takes it.
func (t *target) approval(h handle) []byte {
	return t.post("/dev/approve", "Content-Type: application/json\r\n", `{"auth_req_id":"`+h.id+`"}`)
}

// approveAll decides and measures it.
func (b *bench) approveAll(ctx context.Context, t *target, ready []handle) (benchRow, error) {
	requests := make([][]byte, len(ready))
	for i, h := range ready {
		requests[i] = t.approval(h)
	}
	before, err := t.counters(ctx)
	if err != nil {
		return benchRow{}, err
	}
	row, err := b.measure(ctx, t, "approve", "approve, durable",
		load{most: len(ready), request: func(i int) []byte { return requests[i] }, check: isDecided})
	if err != nil {
		return row, err
	}
	_, err = t.drained(ctx, before, len(ready))
	return row, err
}

func isDecided(_, status int, body []byte) (string, error) {
	if status != 204 {
		return "", fmt.Errorf("decision: status %d: %s", status, bytes.TrimSpace(body))
	}
	return "ok", nil
}

// genuine verifies tokens as an API would.
func (t *target) genuine(ctx context.Context, tokens []benchAnswer) (n int, err error) {
	v, err := newVerifier(ctx, t.issuer+"/.well-known/openid-configuration")
	if err != nil {
		return 0, err
	}
	for _, a := range tokens {
		if a.AccessToken == "" {
			continue
		}
		got, err := v.check(a.AccessToken, t.issuer+"/resource", time.Now())
		if err != nil {
			return n, err
		}
		if !bytes.Equal(got.Details, []byte(demoDetails)) {
			return n, fmt.Errorf("token of %s: authorization_details are not what was asked", got.Txn)
		}
		n++
	}
	return n, nil
}

// spent checks that requests cannot be redeemed once more.
func (t *target) spent(ctx context.Context, some []handle) error {
	_, err := t.each(ctx, some, func(_ handle, status int, body []byte) error {
		a, err := readAnswer(status, 400, body)
		if err == nil && a.Error != "invalid_grant" {
			err = fmt.Errorf("second redemption: %s", a.Error)
		}
		return err
	})
	return err
}

// decideRate is how many decisions a second the last phase makes.
const decideRate = 50

// decide measures the time from a decision on its way to the service until the agent has its token: two commits, a wake-up
// and two signatures. First agents that ask for a held poll, then agents that only follow interval.
func (b *bench) decide(ctx context.Context) error {
	t, err := b.devService(ctx)
	if err != nil {
		return err
	}
	for _, kind := range []struct {
		work, header string
	}{
		{"decision to token, Prefer: wait", "Prefer: wait=25\r\n"},
		{"decision to token, interval only", ""},
	} {
		n := max(1, int(decideRate*2*b.Seconds))
		if err := b.fill(ctx, t, n); err != nil {
			return err
		}
		row, err := b.deciding(ctx, t, kind.work, kind.header, t.take(n))
		if err != nil {
			return fmt.Errorf("%s: %w", kind.work, err)
		}
		b.report.Rows = append(b.report.Rows, row)
	}
	return nil
}

// waiter is an agent that polls for one request.
type waiter struct {
	request []byte
	first   time.Duration // until its first poll
	pause   time.Duration // between the end of a poll and the next one
	arrived time.Time
	token   benchAnswer
}

// deciding lets every agent wait for its request, decides one after the other, and takes the time.
func (b *bench) deciding(ctx context.Context, t *target, work, header string, asked []handle) (benchRow, error) {
	b.say(work)
	before, err := t.counters(ctx)
	if err != nil {
		return benchRow{}, err
	}
	waiters, pressed := make([]waiter, len(asked)), make([]time.Time, len(asked))
	g, together := errgroup.WithContext(ctx)
	for i, request := range t.polling(asked, header) {
		waiters[i] = waiter{request: request}
		if header == "" {
			waiters[i].pause, waiters[i].first = 2*time.Second, rand.N(2*time.Second)
		}
		g.Go(func() error { return waiters[i].wait(together, t.listen) })
	}
	if header != "" {
		if err := t.holds(together, len(asked)); err != nil {
			return benchRow{}, errors.Join(err, g.Wait())
		}
	}
	began := time.Now()
	for part := range pressers {
		g.Go(func() error { return t.press(together, asked, pressed, part, began) })
	}
	if err := g.Wait(); err != nil {
		return benchRow{}, err
	}
	after, err := t.counters(ctx)
	if err != nil {
		return benchRow{}, err
	}
	row, tokens := arrivals(work, waiters, pressed, time.Since(began))
	row.cost(before, after)
	row.Checked, err = t.genuine(ctx, tokens)
	return row, err
}

// arrivals makes the row of what the waiters got.
func arrivals(work string, waiters []waiter, pressed []time.Time, took time.Duration) (benchRow, []benchAnswer) {
	got, tokens := loaded{took: took}, make([]benchAnswer, len(waiters))
	for i, w := range waiters {
		got.each = append(got.each, w.arrived.Sub(pressed[i]))
		tokens[i] = w.token
	}
	slices.Sort(got.each)
	return got.row("decide", work), tokens
}

// wait polls until there is a token.
func (w *waiter) wait(ctx context.Context, addr string) error {
	line, err := dialWire(ctx, addr)
	if err != nil {
		return err
	}
	defer line.conn.Close()
	stop := context.AfterFunc(ctx, func() { line.conn.SetDeadline(time.Now()) })
	defer stop()
	for next := w.first; ; next = w.pause {
		if err := sleep(ctx, next); err != nil {
			return err
		}
		status, body, err := line.do(w.request)
		w.arrived = time.Now()
		if err != nil {
			return err
		}
		if status == 200 {
			w.token, err = readAnswer(status, 200, body)
			return err
		}
		if code, err := isPending(0, status, body); err != nil || code != "authorization_pending" {
			return errors.Join(err, fmt.Errorf("poll: %s", code))
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// holds waits until the service holds that many polls.
func (t *target) holds(ctx context.Context, n int) error {
	for {
		now, err := t.counters(ctx)
		if err != nil {
			return err
		}
		if now[countOpen] >= float64(n) {
			return nil
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil { // counters cannot be watched
			return err
		}
	}
}

// pressers is how many connections share the decisions, so that a slow one does not hold the next one up.
const pressers = 8

// press decides every request whose turn it is, each at its own time.
func (t *target) press(ctx context.Context, asked []handle, pressed []time.Time, part int, began time.Time) error {
	line, err := dialWire(ctx, t.listen)
	if err != nil {
		return err
	}
	defer line.conn.Close()
	for i := part; i < len(asked); i += pressers {
		if err := sleep(ctx, time.Until(began.Add(time.Duration(i)*time.Second/decideRate))); err != nil {
			return err
		}
		pressed[i] = time.Now()
		status, body, err := line.do(t.approval(asked[i]))
		if err == nil {
			_, err = isDecided(i, status, body)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
