package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"assent/approvals"
)

// DeadJob is a job that no worker could bring to an end.
type DeadJob struct {
	Channel, Key string
	Payload      []byte
	Tries        int
}

// Dead hands every job to handle that was tried as often as jobs are, until ctx ends; then the job is gone from its
// queue. What it was about has a due step all the same: this is for people who want to know. Errors mean what they mean
// for [Bus.Consume].
//
// The server says in an advisory that it has given a job up, and keeps the job: in a work queue it would lie there, unseen,
// until it is a day old.
func (b *Bus) Dead(ctx context.Context, handle func(ctx context.Context, j DeadJob) error) error {
	return b.consume(ctx, consumer{stream: streamDead, workers: 1,
		config: jetstream.ConsumerConfig{Durable: "dead", MaxDeliver: eventTries},
		handle: func(ctx context.Context, m jetstream.Msg) error { return b.bury(ctx, m.Data(), handle) }})
}

// bury does what one advisory asks for.
func (b *Bus) bury(ctx context.Context, advisory []byte, handle func(context.Context, DeadJob) error) error {
	var says struct {
		Seq   uint64 `json:"stream_seq"`
		Tries int    `json:"deliveries"`
	}
	if err := json.Unmarshal(advisory, &says); err != nil || says.Seq == 0 {
		return fmt.Errorf("read advisory: %w", approvals.ErrDrop)
	}
	s, err := b.js.Stream(ctx, streamSend)
	if err != nil {
		return fmt.Errorf("find queue of dead job: %w", err)
	}
	m, err := s.GetMsg(ctx, says.Seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read dead job: %w", err)
	}
	channel, key, _ := strings.Cut(strings.TrimPrefix(m.Subject, subjectSend), ".")
	if err := handle(ctx, DeadJob{channel, key, m.Data, says.Tries}); err != nil {
		return err
	}
	if err := s.DeleteMsg(ctx, says.Seq); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return fmt.Errorf("remove dead job: %w", err)
	}
	return nil
}
