// Package storetest is the contract of a store as tests. Every backend runs [Run] in its own tests, so what holds for
// one holds for all.
package storetest

import (
	"sync"
	"testing"
	"time"

	"assent/approvals"
	"assent/store"
)

// Open makes an empty store that goes by the given clock and is closed when the test ends.
type Open func(t *testing.T, now func() time.Time) store.Store

// Run checks a backend against the contract.
func Run(t *testing.T, open func(t *testing.T, now func() time.Time) store.Store) {
	t.Run("requests", func(t *testing.T) { requests(t, open) })
	t.Run("races", func(t *testing.T) { races(t, open) })
	t.Run("list", func(t *testing.T) { list(t, open) })
	t.Run("records", func(t *testing.T) { records(t, open) })
	t.Run("records against a model", func(t *testing.T) { recordsModel(t, open) })
	t.Run("outbox", func(t *testing.T) { outbox(t, open) })
	t.Run("service", func(t *testing.T) { service(t, open) })
}

// clock is a time that tests move by hand.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	c.at = c.at.Add(d)
	c.mu.Unlock()
}

// People and agents of the tests.
const (
	ann    approvals.PersonID = "ann"
	bob    approvals.PersonID = "bob"
	travel approvals.AgentID  = "travel-bot"
	books  approvals.AgentID  = "books-bot"
)

// ask is a pending request as a desk would open it, without an event yet: events come from transitions.
func ask(at time.Time, who approvals.PersonID, agent approvals.AgentID) *approvals.Request {
	return &approvals.Request{V: 1, ID: approvals.NewID(at), State: approvals.Pending, Agent: agent, AgentName: "Travel Bot",
		Subject: who, Approvers: []approvals.PersonID{who}, Rule: approvals.SubjectOnce, Level: approvals.LevelSession,
		Locale: "en", Zone: "UTC", Salt: []byte("salt"), SecretHash: []byte("hash"), CreatedAt: at,
		DecideBy: at.Add(4 * time.Minute), ExpiresAt: at.Add(5 * time.Minute)}
}

func approve(at time.Time, by approvals.PersonID) func(*approvals.Request) error {
	return func(r *approvals.Request) error {
		return r.Approve(approvals.Decision{By: by, Level: approvals.LevelSession, Digest: "digest", Via: "page"}, at)
	}
}
