package ciba

import (
	"sync"

	"assent/approvals"
)

// Limits of the lanes. What finds no room waits in the store and is found by the sweep.
const (
	laneWidth  = 4      // calls of one client that run side by side (REQ-222)
	laneLength = 10_000 // pings of one client that wait for that
)

// lanes keep clients apart: each has its own, so that one whose endpoint hangs holds nobody up but itself.
type lanes struct {
	mu      sync.Mutex
	of      map[approvals.AgentID]*lane
	closed  bool
	running sync.WaitGroup
}

// lane is the queue of one client.
type lane struct {
	busy    int
	waiting []approvals.Step
	known   map[string]bool // request ids that wait or are worked on
}

// enter queues a step unless its request is in the lane already, and sees that somebody works. It reports whether there
// was room.
func (l *lanes) enter(id approvals.AgentID, s approvals.Step, work func(approvals.Step)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := l.of[id]
	if own == nil {
		own = &lane{known: map[string]bool{}}
	}
	switch {
	case own.known[s.Of]:
		return true
	case l.closed || len(own.waiting) >= laneLength:
		return false
	}
	l.of[id] = own
	own.known[s.Of] = true
	own.waiting = append(own.waiting, s)
	if own.busy < laneWidth {
		own.busy++
		l.running.Go(func() { l.drain(id, own, work) })
	}
	return true
}

// drain works until nobody waits.
func (l *lanes) drain(id approvals.AgentID, own *lane, work func(approvals.Step)) {
	for {
		s, found := l.next(id, own)
		if !found {
			return
		}
		work(s)
		l.mu.Lock()
		delete(own.known, s.Of)
		l.mu.Unlock()
	}
}

func (l *lanes) next(id approvals.AgentID, own *lane) (s approvals.Step, found bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(own.waiting) == 0 {
		own.busy--
		if own.busy == 0 {
			delete(l.of, id)
		}
		return s, false
	}
	s = own.waiting[0]
	own.waiting = own.waiting[1:]
	return s, true
}

// close lets nobody in and waits for the calls under way.
func (l *lanes) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.running.Wait()
}

// depth is how many calls run and how many wait.
func (l *lanes) depth() (running, waiting int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, own := range l.of {
		running += own.busy
		waiting += len(own.waiting)
	}
	return running, waiting
}
