package client

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// How Wait behaves when the server cannot be reached or is overloaded.
const (
	firstPause = time.Second
	longPause  = 10 * time.Second
	afterEnd   = time.Minute // how long after the request's end an unreachable server is still tried
)

// slower is what CIBA section 11 adds to the interval at each slow_down.
const slower = 5 * time.Second

// Wait polls until the request ends, and returns the token or why there is none: [ErrDenied], [ErrExpired],
// [ErrUnreachable], [ErrWithdrawn], [ErrGone], the context's error, or another refusal of the server. It lets the
// server hold its polls, keeps the interval, and rides out lost connections and restarts. w learns a raised interval.
func (c *Client) Wait(ctx context.Context, w *Waiting) (*Token, error) {
	pause := firstPause
	for {
		sent := time.Now()
		token, err := c.Poll(ctx, w, holdTime)
		if err == nil {
			return token, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("wait: %w", ctx.Err())
		}
		next, again := w.next(sent, err, &pause)
		if !again {
			return nil, fmt.Errorf("wait: %w", c.explain(ctx, w, err))
		}
		if err := sleep(ctx, time.Until(next)); err != nil {
			return nil, fmt.Errorf("wait: %w", err)
		}
	}
}

// next says when to poll again after err, and whether that makes sense. The interval runs from poll to poll, so after a
// held one it is usually over.
func (w *Waiting) next(sent time.Time, err error, pause *time.Duration) (at time.Time, again bool) {
	var refusal *Error
	known := errors.As(err, &refusal)
	switch {
	case known && errors.Is(err, ErrPending):
		*pause = firstPause
		w.Interval = max(w.Interval, refusal.RetryAfter)
		return sent.Add(w.Interval), true
	case known && errors.Is(err, ErrSlowDown):
		w.Interval = max(w.Interval+slower, refusal.RetryAfter)
		return sent.Add(w.Interval), true
	case known && refusal.Status < 500 && refusal.Status != 429:
		return at, false
	case time.Now().After(w.ExpiresAt.Add(afterEnd)):
		return at, false
	}
	wait := *pause
	if known {
		wait = max(wait, refusal.RetryAfter)
	}
	*pause = min(2**pause, longPause)
	return time.Now().Add(wait), true
}

// explain finds out what access_denied means: a no, with a note perhaps, or a withdrawal.
func (c *Client) explain(ctx context.Context, w *Waiting, err error) error {
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

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
