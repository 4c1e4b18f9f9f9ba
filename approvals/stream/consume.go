package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"assent/approvals"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	ackWait     = 30 * time.Second
	handleTime  = 2 * time.Minute // for one message, all told
	eventTries  = 30              // of one event; then its due step is left
	jobTries    = 30              // likewise of one job
	eventsAtOne = 128             // handlers of one consumer that run side by side, so that their commits group
)

// Consume hands every event of the given kinds (none: of all) to handle until ctx ends. name is for ever: nodes with the
// same name share the work. nil acknowledges; an error wrapping [approvals.ErrDrop] ends that message; any other error
// brings it back. Handlers run side by side, bear repeats and a changed order, and are waited for.
func (b *Bus) Consume(ctx context.Context, name string, handle func(context.Context, approvals.Event) error,
	kinds ...string) error {
	filters := make([]string, len(kinds))
	for i, kind := range kinds {
		filters[i] = subjectEvent + kind
	}
	return b.consume(ctx, consumer{stream: streamEvents, workers: eventsAtOne,
		config: jetstream.ConsumerConfig{Durable: name, FilterSubjects: filters, MaxDeliver: eventTries},
		handle: func(ctx context.Context, m jetstream.Msg) error {
			var e approvals.Event
			if err := json.Unmarshal(m.Data(), &e); err != nil {
				return fmt.Errorf("read event: %w", approvals.ErrDrop)
			}
			return handle(ctx, e)
		}})
}

// consumer is one durable reader of one stream.
type consumer struct {
	stream  string
	config  jetstream.ConsumerConfig
	workers int
	handle  func(context.Context, jetstream.Msg) error
}

// consume reads until ctx ends. A stream or consumer that is gone is made again.
func (b *Bus) consume(ctx context.Context, c consumer) error {
	c.config.AckPolicy, c.config.AckWait = jetstream.AckExplicitPolicy, ackWait
	c.config.MaxAckPending = 8 * c.workers // messages that wait for another try keep their place
	for ctx.Err() == nil {
		if err := b.read(ctx, c); err != nil && ctx.Err() == nil {
			b.log.WarnContext(ctx, "consumer starts again", "consumer", c.config.Durable, "err", err)
			pause(ctx, time.Second)
		}
	}
	return nil
}

// read is one life of a consumer's subscription.
func (b *Bus) read(ctx context.Context, c consumer) error {
	messages, err := b.subscribe(ctx, c)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { b.end(messages) })
	defer stop()
	work := make(chan jetstream.Msg)
	var working sync.WaitGroup
	defer working.Wait()
	defer close(work)
	for hired := 0; ; {
		m, err := messages.Next()
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return nil
		}
		if err != nil {
			messages.Stop()
			return fmt.Errorf("next message: %w", err)
		}
		if hired == c.workers {
			work <- m
			continue
		}
		select {
		case work <- m: // somebody is free
			continue
		default:
		}
		hired++
		working.Go(func() {
			for more := true; more; m, more = <-work {
				b.deliver(context.WithoutCancel(ctx), m, c)
			}
		})
	}
}

func (b *Bus) subscribe(ctx context.Context, c consumer) (jetstream.MessagesContext, error) {
	con, err := b.js.CreateOrUpdateConsumer(ctx, c.stream, c.config)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if err = b.ensure(ctx); err == nil {
			con, err = b.js.CreateOrUpdateConsumer(ctx, c.stream, c.config)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make consumer: %w", err)
	}
	// More than the workers can take would wait in our memory while AckWait runs, and be delivered twice.
	return con.Messages(jetstream.PullMaxMessages(c.workers), jetstream.PullExpiry(4*time.Second),
		jetstream.PullHeartbeat(time.Second))
}

// end lets what was prefetched be worked off: Stop would throw it away unacknowledged, and the next process would wait
// for AckWait. Without a connection there is nobody to acknowledge to, and Drain would wait for an answer.
func (b *Bus) end(messages jetstream.MessagesContext) {
	if b.conn.IsConnected() {
		messages.Drain()
	} else {
		messages.Stop()
	}
}

// deliver runs the handler and answers for it. ctx outlives the consumer, so that what has begun can end.
func (b *Bus) deliver(ctx context.Context, m jetstream.Msg, c consumer) {
	ctx, cancel := context.WithTimeout(ctx, handleTime)
	defer cancel()
	done := keepAlive(m)
	err := c.handle(ctx, m)
	done()
	switch {
	case err == nil:
		err = m.Ack()
	case errors.Is(err, approvals.ErrDrop):
		b.log.WarnContext(ctx, "message dropped", "consumer", c.config.Durable, "err", err)
		err = m.TermWithReason("dropped by handler")
	default:
		b.log.WarnContext(ctx, "message will be tried again", "consumer", c.config.Durable, "err", err)
		err = m.NakWithDelay(retryAfter(m))
	}
	if err != nil {
		b.log.WarnContext(ctx, "message not acknowledged", "consumer", c.config.Durable, "err", err)
	}
}

// keepAlive tells the bus now and then that the handler is still at work.
func keepAlive(m jetstream.Msg) (done func() bool) {
	var beat *time.Timer
	beat = time.AfterFunc(ackWait/2, func() {
		if m.InProgress() == nil {
			beat.Reset(ackWait / 2)
		}
	})
	return beat.Stop
}

// retryAfter grows from 250 ms to 4 s: longer waits are due steps, not messages.
func retryAfter(m jetstream.Msg) time.Duration {
	meta, err := m.Metadata()
	if err != nil {
		return time.Second
	}
	return min(250*time.Millisecond<<min(meta.NumDelivered-1, 8), 4*time.Second)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// lastToken is what follows the last dot of a subject.
func lastToken(subject string) string { return subject[strings.LastIndexByte(subject, '.')+1:] }
