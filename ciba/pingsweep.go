package ciba

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"assent/approvals"
)

const (
	pingSweepEvery = 30 * time.Second
	pingSweepPage  = 500
)

// Run resumes when it starts and sweeps each 30 s, until ctx ends; then it waits for the calls under way.
func (n *Notifier) Run(ctx context.Context) error {
	defer n.lanes.close()
	tick := time.NewTicker(pingSweepEvery)
	defer tick.Stop()
	for sweep := n.Resume; ; sweep = n.Sweep {
		if _, err := sweep(ctx); err != nil && ctx.Err() == nil {
			n.Log.ErrorContext(ctx, "sweep of pings", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Sweep takes up every overdue ping and returns how many. It needs nothing but the store: this is what makes pings leave
// after the bus has lost everything.
func (n *Notifier) Sweep(ctx context.Context) (int, error) {
	return n.sweep(ctx, func(s approvals.Step) (bool, error) {
		if s.At.After(n.Now()) {
			return false, nil
		}
		return true, n.take(ctx, s)
	})
}

// Resume is a Sweep that also puts the pings of later back on the bus, which may have lost them.
func (n *Notifier) Resume(ctx context.Context) (int, error) {
	return n.sweep(ctx, func(s approvals.Step) (bool, error) {
		if s.At.After(n.Now()) {
			return true, n.Bus.Send(ctx, PingChannel, s.Of, s.Of+"/ping/resume", s.At, nil)
		}
		return true, n.take(ctx, s)
	})
}

// sweep goes through the due steps, earliest first, until take says that it is enough. A step that cannot be read, or
// taken up, does not keep the others.
func (n *Notifier) sweep(ctx context.Context, take func(approvals.Step) (bool, error)) (taken int, err error) {
	kind, after := approvals.Step{Name: StepPing}.Done().Kind, ""
	var errs []error
	for ctx.Err() == nil {
		page, err := n.Records.ScanAfter(ctx, kind, after, pingSweepPage)
		if err != nil {
			return taken, fmt.Errorf("sweep pings: %w", err)
		}
		for _, rec := range page {
			var s approvals.Step
			if err := json.Unmarshal(rec.Value, &s); err != nil {
				errs = append(errs, fmt.Errorf("read ping step: %w", err))
				continue
			}
			more, err := take(s)
			if !more {
				return taken, errors.Join(errs...)
			}
			taken++
			errs = append(errs, err)
		}
		if len(page) < pingSweepPage {
			return taken, errors.Join(errs...)
		}
		after = page[len(page)-1].Key
	}
	return taken, errors.Join(append(errs, ctx.Err())...)
}

// GivenUp is a ping that was tried for as long as there was patience. Its request is untouched.
type GivenUp struct {
	Request approvals.ID      `json:"request"`
	Agent   approvals.AgentID `json:"agent"`
	Calls   int               `json:"calls"`
	At      time.Time         `json:"at"`
	Expires time.Time         `json:"expires"` // until then it can be sent again
}

// giveUp returns the writes that end an errand without a receipt. What was sealed stays for a replay, as long as the
// handle lives.
func (t *pinging) giveUp() []approvals.Write {
	t.GivenUp, t.Until = true, time.Time{}
	value, _ := json.Marshal(GivenUp{t.r.ID, t.r.Agent, t.Calls, t.now.UTC(), t.expires.UTC()}) // strings, a number, times
	return append(t.leave(time.Time{}), approvals.PutAny(kindDead, string(t.r.ID), value, t.expires))
}

// abandoned tells operators.
func (n *Notifier) abandoned(ctx context.Context, t *pinging) {
	n.counters.add(pingGivenUp)
	n.Log.ErrorContext(ctx, "ping given up", "request", t.r.ID, "agent", t.r.Agent, "attempts", t.Calls)
}

// Abandoned lists the pings that were given up and can be sent again, by request, after the given one.
func (n *Notifier) Abandoned(ctx context.Context, after approvals.ID, limit int) ([]GivenUp, error) {
	page, err := n.Records.ScanAfter(ctx, kindDead, string(after), limit)
	if err != nil {
		return nil, fmt.Errorf("list pings given up: %w", err)
	}
	list := make([]GivenUp, len(page))
	for i, rec := range page {
		if err := json.Unmarshal(rec.Value, &list[i]); err != nil {
			return nil, fmt.Errorf("read ping given up: %w", err)
		}
	}
	return list, nil
}

// Replay sends a ping that was given up again, with new patience. Of two replays at once the second finds nothing.
func (n *Notifier) Replay(ctx context.Context, id approvals.ID) error {
	t, err := n.look(ctx, approvals.Step{Name: StepPing, Of: string(id)})
	if err != nil {
		return fmt.Errorf("replay ping of %s: %w", id, err)
	}
	if !t.GivenUp {
		return fmt.Errorf("replay ping of %s: it was not given up: %w", id, approvals.ErrNotFound)
	}
	t.GivenUp, t.From, t.Before = false, time.Time{}, t.Calls
	writes := append(t.leave(t.now), approvals.Delete(kindDead, string(id), approvals.AnyRevision))
	if err := n.Records.Apply(ctx, writes...); err != nil {
		return fmt.Errorf("replay ping of %s: %w", id, err)
	}
	n.enter(ctx, t.r, approvals.Step{Name: StepPing, Of: string(id)})
	return nil
}

// counters counts outcomes.
type counters [outcomes]atomic.Uint64

func (c *counters) add(o outcome) { c[o].Add(1) }

// PingStats are numbers for metrics: outcomes by name, calls under way and pings that wait behind others of their client.
type PingStats struct {
	Outcomes         map[string]uint64
	Running, Waiting int
}

// Stats returns the numbers since the start of the process.
func (n *Notifier) Stats() PingStats {
	s := PingStats{Outcomes: map[string]uint64{}}
	for o, name := range outcomeNames {
		s.Outcomes[name] = n.counters[o].Load()
	}
	s.Running, s.Waiting = n.lanes.depth()
	return s
}
