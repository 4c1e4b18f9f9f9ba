package approvals

import (
	"hash/maphash"
	"slices"
	"sync"
)

// Topics of the hub beside request ids, which are topics themselves.
const (
	TopicOutbox = "outbox" // an event was committed
	TopicDue    = "due"    // a due step may have become due now
)

// TopicPerson wakes the person's open pages.
func TopicPerson(id PersonID) string { return "person." + string(id) }

// TopicRecord wakes caches of one record.
func TopicRecord(kind, key string) string { return "record." + kind + "." + key }

// Hub wakes whoever waits for a change: held polls, live pages, caches, the relay. A wake-up carries no data; the
// waiter reads again. It may come too often, and never too rarely while this process lives; other processes' changes
// arrive through [Hub.Deliver].
type Hub struct {
	seed   maphash.Seed
	shards [64]shard

	mu     sync.RWMutex
	mirror func(topics []string)
	all    []func(topic string)
}

type shard struct {
	mu      sync.Mutex
	waiting map[string][]*Watch
}

// NewHub returns a hub of one process.
func NewHub() *Hub {
	h := &Hub{seed: maphash.MakeSeed()}
	for i := range h.shards {
		h.shards[i].waiting = map[string][]*Watch{}
	}
	return h
}

// Watch is one waiter. C gets a value after each signal; signals that nobody has taken yet are one.
type Watch struct {
	C      <-chan struct{}
	wake   chan struct{}
	hub    *Hub
	topics []string
}

// Watch subscribes to topics. Subscribe first, then read: then no change is missed.
func (h *Hub) Watch(topics ...string) *Watch {
	wake := make(chan struct{}, 1)
	w := &Watch{C: wake, wake: wake, hub: h, topics: topics}
	for _, t := range topics {
		s := h.shard(t)
		s.mu.Lock()
		s.waiting[t] = append(s.waiting[t], w)
		s.mu.Unlock()
	}
	return w
}

// Close ends the subscription.
func (w *Watch) Close() {
	for _, t := range w.topics {
		s := w.hub.shard(t)
		s.mu.Lock()
		left := slices.DeleteFunc(s.waiting[t], func(o *Watch) bool { return o == w })
		if len(left) == 0 {
			delete(s.waiting, t)
		} else {
			s.waiting[t] = left
		}
		s.mu.Unlock()
	}
}

// Signal wakes the waiters of topics here and, through the mirror, in other processes. Whoever signals has already
// brought the caches of this process up to date.
func (h *Hub) Signal(topics ...string) {
	h.wake(topics)
	h.mu.RLock()
	mirror := h.mirror
	h.mu.RUnlock()
	if mirror != nil {
		mirror(topics)
	}
}

// Deliver hands in a signal of another process: caches forget, then waiters here wake.
func (h *Hub) Deliver(topics ...string) {
	h.mu.RLock()
	all := h.all
	h.mu.RUnlock()
	for _, t := range topics {
		for _, drop := range all {
			drop(t)
		}
	}
	h.wake(topics)
}

func (h *Hub) wake(topics []string) {
	for _, t := range topics {
		s := h.shard(t)
		s.mu.Lock()
		for _, w := range s.waiting[t] {
			select {
			case w.wake <- struct{}{}:
			default:
			}
		}
		s.mu.Unlock()
	}
}

// Mirror makes Signal pass topics on to other processes. send must not block.
func (h *Hub) Mirror(send func(topics []string)) {
	h.mu.Lock()
	h.mirror = send
	h.mu.Unlock()
}

// OnDeliver calls drop for every topic that other processes signal, before waiters wake. drop must not block.
func (h *Hub) OnDeliver(drop func(topic string)) {
	h.mu.Lock()
	h.all = append(slices.Clone(h.all), drop)
	h.mu.Unlock()
}

func (h *Hub) shard(topic string) *shard {
	return &h.shards[maphash.String(h.seed, topic)%uint64(len(h.shards))]
}
