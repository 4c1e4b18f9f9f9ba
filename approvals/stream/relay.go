package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"assent/approvals"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// relayBatch is how many events are on their way at once.
const relayBatch = 512

// Relay moves committed events from the outbox to EVENTS until ctx ends, woken by [approvals.TopicOutbox] and each
// second. A row is marked sent only once the bus has acknowledged it. Any other answer (full, no stream, duplicate in
// process, nothing at all) means "unknown": the row stays and goes again under the same message id, which the bus drops if
// the first copy did arrive. Events leave in commit order; a repeat may come late.
func (b *Bus) Relay(ctx context.Context, outbox approvals.Outbox, hub *approvals.Hub) error {
	woken := hub.Watch(approvals.TopicOutbox)
	defer woken.Close()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for down := false; ; {
		n, err := b.relay(ctx, outbox)
		if err != nil && !down && ctx.Err() == nil {
			b.log.WarnContext(ctx, "relay is waiting for the bus", "err", err)
		}
		if down = err != nil; !down && n == relayBatch {
			continue
		}
		wake := woken.C
		if down { // signals come with every request: only the tick tries again
			wake = nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-wake:
		}
	}
}

// relay sends one batch and returns how many events the bus has taken.
func (b *Bus) relay(ctx context.Context, outbox approvals.Outbox) (int, error) {
	events, err := outbox.Unsent(ctx, 0, relayBatch)
	if err != nil || len(events) == 0 {
		return 0, err
	}
	futures, err := b.publish(events)
	sent := make([]uint64, 0, len(futures))
	for i, f := range futures {
		select {
		case <-f.Ok():
			sent = append(sent, events[i].Seq)
		case failed := <-f.Err():
			err = failed
		}
	}
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		err = errors.Join(err, b.ensure(ctx))
	}
	if len(sent) == 0 {
		return 0, err
	}
	return len(sent), errors.Join(err, outbox.Sent(context.WithoutCancel(ctx), sent...)) // acknowledged is acknowledged
}

// publish sends until the bus refuses; the futures belong to the first of the events.
func (b *Bus) publish(events []approvals.Event) ([]jetstream.PubAckFuture, error) {
	futures := make([]jetstream.PubAckFuture, 0, len(events))
	for _, e := range events {
		data, err := json.Marshal(e)
		if err != nil {
			return futures, fmt.Errorf("encode event %s: %w", e.ID(), err)
		}
		f, err := b.js.PublishMsgAsync(&nats.Msg{Subject: subjectEvent + e.Kind, Data: data},
			jetstream.WithMsgID(e.ID()), jetstream.WithStallWait(30*time.Second))
		if err != nil {
			return futures, fmt.Errorf("publish event %s: %w", e.ID(), err)
		}
		futures = append(futures, f)
	}
	return futures, nil
}
