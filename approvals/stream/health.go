package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
)

// ErrDown means that the bus cannot be used now. Requests are still taken and decided; messages wait.
var ErrDown = errors.New("bus is down")

// Healthy returns nil when the bus can be used, or [ErrDown] with the reason.
func (b *Bus) Healthy() error {
	if b.server != nil {
		if h := b.server.Healthz(&server.HealthzOptions{}); h.StatusCode != 200 {
			return fmt.Errorf("%w: %s", ErrDown, h.Status)
		}
	}
	if !b.conn.IsConnected() {
		return fmt.Errorf("%w: not connected", ErrDown)
	}
	return nil
}

// Depth is how full a stream is.
type Depth struct {
	Stream    string            `json:"stream"`
	Messages  uint64            `json:"messages"`
	Bytes     uint64            `json:"bytes"`
	Consumers map[string]uint64 `json:"consumers"` // name → messages not acknowledged yet
}

// Depths returns how full the streams are, for metrics and the doctor.
func (b *Bus) Depths(ctx context.Context) ([]Depth, error) {
	var depths []Depth
	for _, name := range []string{streamEvents, streamSend} {
		s, err := b.js.Stream(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("look at stream %s: %w", name, err)
		}
		state := s.CachedInfo().State
		d := Depth{Stream: name, Messages: state.Msgs, Bytes: state.Bytes, Consumers: map[string]uint64{}}
		list := s.ListConsumers(ctx)
		for c := range list.Info() {
			d.Consumers[c.Name] = c.NumPending + uint64(c.NumAckPending)
		}
		if err := list.Err(); err != nil {
			return nil, fmt.Errorf("look at consumers of %s: %w", name, err)
		}
		depths = append(depths, d)
	}
	return depths, nil
}
