package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"assent/approvals"

	"github.com/nats-io/nats.go"
)

const (
	signalTopics = 1000   // in one message
	signalBuffer = 20_000 // topics that may wait; what is over is left to the one-second re-read
)

// Mirror carries the hub's signals to other nodes and theirs to this one, until ctx ends. Signals are hints over core
// NATS: while the bus is down they are lost, and readers fall back on their re-read. A server inside this process has no
// other nodes, so then Mirror only waits.
func (b *Bus) Mirror(ctx context.Context, hub *approvals.Hub) error {
	if b.server != nil {
		<-ctx.Done()
		return nil
	}
	sub, err := b.conn.Subscribe(subjectSignal, func(m *nats.Msg) { // our own do not come back: the connection is NoEcho
		var topics []string
		if json.Unmarshal(m.Data, &topics) == nil {
			hub.Deliver(topics...)
		}
	})
	if err != nil {
		return fmt.Errorf("subscribe to signals: %w", err)
	}
	out := &outgoing{seen: map[string]bool{}, wake: make(chan struct{}, 1)}
	hub.Mirror(out.add)
	defer hub.Mirror(nil)
	for {
		select {
		case <-ctx.Done():
			return sub.Unsubscribe()
		case <-out.wake:
			b.signal(out.take())
		}
	}
}

func (b *Bus) signal(topics []string) {
	for len(topics) > 0 {
		n := min(len(topics), signalTopics)
		data, _ := json.Marshal(topics[:n]) // strings: cannot fail
		if err := b.conn.Publish(subjectSignal, data); err != nil {
			b.log.Debug("signals lost", "topics", len(topics), "err", err)
			return
		}
		topics = topics[n:]
	}
}

// outgoing gathers topics while a message is on its way; a topic that is signalled twice goes once.
type outgoing struct {
	mu     sync.Mutex
	topics []string
	seen   map[string]bool
	wake   chan struct{}
}

func (o *outgoing) add(topics []string) {
	o.mu.Lock()
	for _, t := range topics {
		if !o.seen[t] && len(o.topics) < signalBuffer {
			o.seen[t] = true
			o.topics = append(o.topics, t)
		}
	}
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *outgoing) take() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	topics := o.topics
	o.topics = nil
	clear(o.seen)
	return topics
}
