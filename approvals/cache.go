package approvals

import (
	"hash/maphash"
	"sync"
	"time"
)

// cache keeps values that this process may serve without reading the store again. A load that was overtaken by a set
// or a drop is never kept, so a cache cannot bring back what was replaced while it read.
type cache[V any] struct {
	limit  int           // values a shard keeps
	fresh  time.Duration // how old a value may get; 0: this process is the only writer, so for ever
	now    func() time.Time
	seed   maphash.Seed
	shards [32]cacheShard[V]
}

type cacheShard[V any] struct {
	mu     sync.RWMutex
	gen    uint64
	values map[string]cached[V]
}

type cached[V any] struct {
	value V
	at    time.Time
}

func newCache[V any](size int, fresh time.Duration, now func() time.Time) *cache[V] {
	c := &cache[V]{limit: max(1, size/32), fresh: fresh, now: now, seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].values = map[string]cached[V]{}
	}
	return c
}

func (c *cache[V]) shard(key string) *cacheShard[V] {
	return &c.shards[maphash.String(c.seed, key)%uint64(len(c.shards))]
}

// get returns the value of key, loading it when it is absent or too old.
func (c *cache[V]) get(key string, load func() (V, error)) (V, error) {
	s := c.shard(key)
	s.mu.RLock()
	got, ok := s.values[key]
	gen := s.gen
	s.mu.RUnlock()
	if ok && (c.fresh == 0 || c.now().Sub(got.at) < c.fresh) {
		return got.value, nil
	}
	at := c.now()
	v, err := load()
	if err != nil {
		return v, err
	}
	s.mu.Lock()
	if s.gen == gen {
		c.put(s, key, cached[V]{v, at})
	}
	s.mu.Unlock()
	return v, nil
}

// set replaces the value of key after a commit, unless newer says that what is there came later.
func (c *cache[V]) set(key string, v V, newer func(old V) bool) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.values[key]; ok && newer(old.value) {
		return
	}
	s.gen++
	c.put(s, key, cached[V]{v, c.now()})
}

func (c *cache[V]) drop(key string) {
	s := c.shard(key)
	s.mu.Lock()
	s.gen++
	delete(s.values, key)
	s.mu.Unlock()
}

// put makes room by forgetting any one value: what is still needed is read again.
func (c *cache[V]) put(s *cacheShard[V], key string, e cached[V]) {
	if _, there := s.values[key]; !there && len(s.values) >= c.limit {
		for victim := range s.values {
			delete(s.values, victim)
			break
		}
	}
	s.values[key] = e
}
