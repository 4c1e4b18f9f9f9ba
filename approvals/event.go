package approvals

import (
	"context"
	"strconv"
	"time"
)

// Event kinds beside the names of the states.
const (
	KindDelivery = "delivery" // a channel reported something
	KindOpened   = "opened"   // the person's page was opened by a human step
)

// Actor is who caused an event.
type Actor struct {
	Kind string `json:"kind"`         // "agent", "person", "operator", "channel" or "service"
	ID   string `json:"id,omitempty"` // client_id, sub, channel name; empty for the service itself
}

// Event is one audit record. It is written by the transition it describes, in the same transaction, and it is also
// the event that the relay publishes: the outbox row only points at it.
//
// Events carry ids, digests and codes, never what was shown, a hint, an address or a secret.
type Event struct {
	V       int               `json:"v"`
	Seq     uint64            `json:"-"` // place in the outbox; set by the store
	Request ID                `json:"request"`
	N       uint64            `json:"n"`    // 1 for the first record of a request, without gaps
	Kind    string            `json:"kind"` // a state, or one of the Kind constants
	At      time.Time         `json:"at"`
	By      Actor             `json:"by"`
	Agent   AgentID           `json:"agent"`
	Subject PersonID          `json:"subject"`
	Facts   map[string]string `json:"facts,omitempty"`
}

// ID names the event for ever: request id, a dot, and its number. The relay uses it as message id.
func (e Event) ID() string { return string(e.Request) + "." + strconv.FormatUint(e.N, 10) }

// Outbox is the list of events that have been committed and not yet published, in commit order.
type Outbox interface {
	// Unsent returns at most limit events whose Seq is greater than after.
	Unsent(ctx context.Context, after uint64, limit int) ([]Event, error)
	// Sent forgets rows, by Seq. Their audit records stay.
	Sent(ctx context.Context, seqs ...uint64) error
}

// Trail reads the audit records of one request, oldest first.
type Trail interface {
	Events(ctx context.Context, id ID) ([]Event, error)
}

func (r *Request) record(kind string, at time.Time, by Actor, facts map[string]string) {
	r.Events++
	r.events = append(r.events, Event{V: 1, Request: r.ID, N: r.Events, Kind: kind, At: at.UTC(), By: by,
		Agent: r.Agent, Subject: r.Subject, Facts: facts})
}
