package approvals

import (
	"fmt"
	"sync"
	"time"
)

// openings counts the pending requests of each agent that this process has opened. It is a guard against an agent that
// has run wild, not an account: what was pending before the start is not in it, and several processes count apart.
type openings struct {
	since time.Time // older requests were never counted
	mu    sync.Mutex
	of    map[AgentID]int
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

// room is take without counting.
func (o *openings) room(agent AgentID, limit int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.of[agent] >= limit {
		return fmt.Errorf("%s has %d pending requests: %w", agent, limit, ErrTooMany)
	}
	return nil
}

// give counts one less, when r has been counted.
func (o *openings) give(r *Request) {
	if r.CreatedAt.Before(o.since) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.of[r.Agent]--; o.of[r.Agent] <= 0 {
		delete(o.of, r.Agent)
	}
}
