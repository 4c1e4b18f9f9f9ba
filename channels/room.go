package channels

import (
	"slices"
	"sync"
	"time"

	"assent/approvals"
)

// roomTime is the time in which the messages of one person are counted.
const roomTime = 10 * time.Minute

// room counts what each person was sent lately. It is a guard in the memory of one process and begins anew with it. Its
// zero value is ready.
type room struct {
	mu    sync.Mutex
	sent  map[approvals.PersonID][]time.Time
	calls int // since the last tidy
}

// until is when the person may be sent the next message of at most limit; zero: now. A limit of 0 is none.
func (r *room) until(id approvals.PersonID, limit int, now time.Time) time.Time {
	if limit <= 0 {
		return time.Time{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	recent := lately(slices.Clone(r.sent[id]), now)
	if len(recent) < limit {
		return time.Time{}
	}
	return recent[len(recent)-limit].Add(roomTime)
}

// tidyEvery is how many messages at least come between two looks at what can be forgotten.
const tidyEvery = 4096

// take counts one more message, unless that is one too many.
func (r *room) take(id approvals.PersonID, limit int, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tidy(now)
	if r.sent == nil {
		r.sent = map[approvals.PersonID][]time.Time{}
	}
	recent := lately(r.sent[id], now)
	r.sent[id] = recent // lately has moved them
	if limit > 0 && len(recent) >= limit {
		return false
	}
	r.sent[id] = append(recent, now)
	return true
}

// give takes a message back that was never sent.
func (r *room) give(id approvals.PersonID, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.sent[id], at); i >= 0 {
		r.sent[id] = slices.Delete(r.sent[id], i, i+1)
	}
	if len(r.sent[id]) == 0 {
		delete(r.sent, id)
	}
}

// tidy forgets whom nothing was sent lately; the caller holds mu. It looks at no more people than messages have come since
// the last time.
func (r *room) tidy(now time.Time) {
	if r.calls++; r.calls < max(tidyEvery, len(r.sent)) {
		return
	}
	r.calls = 0
	for id, sent := range r.sent {
		if now.Sub(sent[len(sent)-1]) >= roomTime {
			delete(r.sent, id)
		}
	}
}

func lately(sent []time.Time, now time.Time) []time.Time {
	return slices.DeleteFunc(sent, func(at time.Time) bool { return now.Sub(at) >= roomTime })
}
