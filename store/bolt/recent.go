package bolt

import (
	"hash/maphash"
	"sync"

	"assent/approvals"
)

// maxRecent is how many requests are kept decoded, a few KiB each; the desk's own memory holds the very same.
const maxRecent = 16_384

// recent keeps requests as they were written last, so that whoever reads or changes one next need not decode it again.
// What it holds may be behind the file, never ahead of it: the committer compares revisions before it writes, and a
// refusal counts only when it was said about the row itself.
type recent struct {
	seed   maphash.Seed
	shards [16]recentShard
}

type recentShard struct {
	mu       sync.Mutex
	requests map[approvals.ID]*approvals.Request
}

func newRecent() *recent {
	rc := &recent{seed: maphash.MakeSeed()}
	for i := range rc.shards {
		rc.shards[i].requests = map[approvals.ID]*approvals.Request{}
	}
	return rc
}

func (rc *recent) shard(id approvals.ID) *recentShard {
	return &rc.shards[maphash.String(rc.seed, string(id))%uint64(len(rc.shards))]
}

// get returns a request that nobody may change, or nil.
func (rc *recent) get(id approvals.ID) *approvals.Request {
	s := rc.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[id]
}

// at is get for those who know which revision the file has.
func (rc *recent) at(id approvals.ID, rev uint64) *approvals.Request {
	if r := rc.get(id); r != nil && r.Rev == rev {
		return r
	}
	return nil
}

// keep remembers what was committed. A request that has ended is not changed again soon.
func (rc *recent) keep(r *approvals.Request) {
	s := rc.shard(r.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Forgotten() || r.State.Final() {
		delete(s.requests, r.ID)
		return
	}
	if old := s.requests[r.ID]; old != nil && old.Rev >= r.Rev {
		return // a later change was faster
	}
	for victim := range s.requests {
		if len(s.requests) < maxRecent/len(rc.shards) {
			break
		}
		delete(s.requests, victim)
	}
	s.requests[r.ID] = r
}
