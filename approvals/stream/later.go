package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"assent/approvals"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ScheduleAhead is how far ahead the bus keeps a job; what is later is left to the due step in the store.
const ScheduleAhead = time.Hour

// Send puts a job into the queue of a channel, now or at a time. key names what the job is about: one token of letters,
// digits, - and _. For a job that is due, id makes repeats within two minutes one. A job for later replaces the one that
// the same channel and key have waiting; more than [ScheduleAhead] ahead it is not kept at all, and that is no error.
// payload carries ids only.
func (b *Bus) Send(ctx context.Context, channel, key, id string, at time.Time, payload []byte) error {
	if !token(channel) || !token(key) {
		return fmt.Errorf("send job: channel and key must be tokens: %w", approvals.ErrInvalid)
	}
	target := subjectSend + channel + "." + key
	switch wait := at.Sub(b.now()); {
	case wait <= 0:
		return b.queue(ctx, &nats.Msg{Subject: target, Data: payload}, jetstream.WithMsgID(id))
	case wait <= ScheduleAhead:
		m := nats.NewMsg(subjectLater + channel + "." + key)
		m.Data = payload
		// The library's own option cuts to whole seconds and fires early. The TTL keeps MaxAge from eating the schedule.
		m.Header.Set(jetstream.ScheduleHeader, "@at "+time.Now().Add(wait).UTC().Format(time.RFC3339Nano))
		m.Header.Set(jetstream.ScheduleTargetHeader, target)
		m.Header.Set(jetstream.MsgTTLHeader, "never")
		return b.queue(ctx, m)
	}
	return nil
}

func (b *Bus) queue(ctx context.Context, m *nats.Msg, options ...jetstream.PublishOpt) error {
	_, err := b.js.PublishMsg(ctx, m, options...)
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		if err = b.ensure(ctx); err == nil {
			_, err = b.js.PublishMsg(ctx, m, options...)
		}
	}
	if err != nil {
		return fmt.Errorf("send job: %w", err)
	}
	return nil
}

// Work hands the jobs of a channel to handle until ctx ends, at most workers side by side. Errors mean what they mean for
// [Bus.Consume]; a job is tried until it succeeds, is dropped, or is dead ([Bus.Dead]).
func (b *Bus) Work(ctx context.Context, channel string, workers int,
	handle func(ctx context.Context, key string, payload []byte) error) error {
	if !token(channel) {
		return fmt.Errorf("work: channel must be a token: %w", approvals.ErrInvalid)
	}
	return b.consume(ctx, consumer{stream: streamSend, workers: max(1, workers),
		config: jetstream.ConsumerConfig{Durable: "send-" + channel, FilterSubject: subjectSend + channel + ".*",
			MaxDeliver: b.jobTries},
		handle: func(ctx context.Context, m jetstream.Msg) error { return handle(ctx, lastToken(m.Subject()), m.Data()) }})
}

// token reports whether s can be one part of a subject.
func token(s string) bool {
	return s != "" && len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}
