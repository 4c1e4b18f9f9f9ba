package ciba

import (
	"hash/maphash"
	"sync"
	"time"

	"assent/approvals"
)

// The rules of pacing (CIBA section 11, REQ-184 to 189).
const (
	paceStep      = 5 * time.Second
	paceCap       = 60 * time.Second
	paceTolerance = 500 * time.Millisecond // timers fire early, networks jitter
	paceRecent    = 10 * time.Second       // a poll this soon after another belongs to a client that is polling
	paceTidy      = time.Minute
	paceHammer    = 10 // polls in a row that came too early; after them the client is told that it is broken (REQ-189)
)

// pace remembers when each request was last polled. It lives in this process's memory only: a poll writes nothing.
type pace struct {
	seed   maphash.Seed
	shards [64]paceShard
}

type paceShard struct {
	mu    sync.Mutex
	marks map[approvals.ID]*mark
	tidy  time.Time // when forgotten marks are looked for next
}

type mark struct {
	last     time.Time     // arrival of the last poll
	interval time.Duration // sticky
	until    time.Time     // the request's end
	early    int           // polls in a row that came too early
	held     chan struct{} // closed to send the held poll home; nil when none is held
}

// turn is what pace says about one poll.
type turn struct {
	early   bool // slow_down
	hammers bool // there were too many of those in a row: invalid_request, whenever it comes
	recent  bool // the client is polling steadily
	seconds int  // the interval that holds from now on
}

func newPace() *pace {
	p := &pace{seed: maphash.MakeSeed()}
	for i := range p.shards {
		p.shards[i].marks = map[approvals.ID]*mark{}
	}
	return p
}

func (p *pace) shard(id approvals.ID) *paceShard {
	return &p.shards[maphash.Comparable(p.seed, id)%uint64(len(p.shards))]
}

// arrive marks a poll. The first one is free; one that comes too early raises the interval for good and moves the mark
// all the same, so that hammering never succeeds by accident; who hammers on hears nothing any more but the result. One
// that comes in time replaces a poll that is still held.
func (p *pace) arrive(id approvals.ID, at, until time.Time) turn {
	s := p.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(at)
	m := s.marks[id]
	if m == nil {
		s.marks[id] = &mark{last: at, interval: interval * time.Second, until: until}
		return turn{seconds: interval}
	}
	since := at.Sub(m.last)
	m.last = at
	if since < m.interval-paceTolerance {
		m.interval = min(m.interval+paceStep, paceCap)
		m.early++
		return turn{early: true, hammers: m.early > paceHammer, seconds: int(m.interval / time.Second)}
	}
	if m.early > paceHammer {
		return turn{hammers: true, seconds: int(m.interval / time.Second)}
	}
	m.early = 0
	m.release()
	return turn{recent: since <= paceRecent, seconds: int(m.interval / time.Second)}
}

// begin notes that a poll is held. The channel closes when a newer poll takes its place.
func (p *pace) begin(id approvals.ID) <-chan struct{} {
	s := p.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	held := make(chan struct{})
	if m := s.marks[id]; m != nil {
		m.release()
		m.held = held
	}
	return held
}

// end notes that the poll that begin returned held for is held no longer.
func (p *pace) end(id approvals.ID, held <-chan struct{}) {
	s := p.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.marks[id]; m != nil && m.held == held {
		m.held = nil
	}
}

func (m *mark) release() {
	if m.held != nil {
		close(m.held)
		m.held = nil
	}
}

// forget drops the mark of a request that has a result: it is never slowed down again.
func (p *pace) forget(id approvals.ID) {
	s := p.shard(id)
	s.mu.Lock()
	delete(s.marks, id)
	s.mu.Unlock()
}

// sweep drops marks that say nothing any more: of requests that are over, and those that would let the next poll pass
// just as no mark does.
func (s *paceShard) sweep(at time.Time) {
	if at.Before(s.tidy) {
		return
	}
	s.tidy = at.Add(paceTidy)
	for id, m := range s.marks {
		idle := m.interval == interval*time.Second && at.Sub(m.last) > paceRecent && m.held == nil
		if idle || !at.Before(m.until) {
			delete(s.marks, id)
		}
	}
}
