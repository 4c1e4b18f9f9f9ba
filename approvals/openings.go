package approvals

import (
	"context"
	"fmt"
	"sync"
)

// openings counts the pending requests of each agent, as far as this process knows. It is a guard against an agent that
// has run wild, not an account: several processes each count what passes through them.
type openings struct {
	mu sync.Mutex
	of map[AgentID]int
}

// take counts one more, unless the agent has its fill.
func (o *openings) take(agent AgentID, limit int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.of[agent] >= limit {
		return fmt.Errorf("%s has %d pending requests: %w", agent, limit, ErrTooMany)
	}
	o.of[agent]++
	return nil
}

// give counts one less.
func (o *openings) give(agent AgentID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.of[agent]--; o.of[agent] <= 0 {
		delete(o.of, agent)
	}
}

// Recount adds the pending requests of an earlier run to those that this process has opened. Call it once, after the
// start; it may take seconds and nobody need wait for it.
func (d *Desk) Recount(ctx context.Context) error {
	began := d.now()
	q := Query{States: []State{Pending}, Limit: 1000, Before: NewID(began)}
	for {
		page, err := d.store.List(ctx, q)
		if err != nil || len(page) == 0 {
			return err
		}
		d.openings.mu.Lock()
		for _, r := range page {
			d.openings.of[r.Agent]++
			q.Before = r.ID
		}
		d.openings.mu.Unlock()
	}
}
