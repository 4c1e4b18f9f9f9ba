package ciba

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
)

// privacyBlind is the hint_privacy of clients that must not learn who exists (REQ-282).
const privacyBlind = "blind"

// kindDecoy is the record kind of requests that ask nobody.
const kindDecoy = "ciba.decoy"

// decoyLife is how long after its end a decoy is still told as expired, as real requests are.
const decoyLife = 24 * time.Hour

// decoy is what a blind client gets when its hint names nobody. To the client it is a request that nobody answers: it
// can be polled, looked at and withdrawn, and it expires. No desk, page or channel knows of it.
type decoy struct {
	V         int               `json:"v"`
	Agent     approvals.AgentID `json:"agent"`
	Secret    []byte            `json:"secret"` // keyed hash
	State     approvals.State   `json:"state"`
	CreatedAt time.Time         `json:"created_at"`
	ExpiresAt time.Time         `json:"expires_at"`
	EndedAt   time.Time         `json:"ended_at,omitzero"`
}

func (c *Client) blind() bool { return c.HintPrivacy == privacyBlind }

// decoys bounds the live decoys of each client, as the desk bounds its pending requests.
type decoys struct {
	mu sync.Mutex
	of map[approvals.AgentID][]time.Time // when they expire
}

func (ds *decoys) take(id approvals.AgentID, until, now time.Time, limit int) error {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	live := slices.DeleteFunc(ds.of[id], func(t time.Time) bool { return !t.After(now) })
	if len(live) >= limit {
		ds.of[id] = live
		return fmt.Errorf("%s has %d decoys: %w", id, limit, approvals.ErrTooMany)
	}
	ds.of[id] = append(live, until)
	return nil
}

// give takes back one place until then, if it is still counted.
func (ds *decoys) give(id approvals.AgentID, until time.Time) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if i := slices.IndexFunc(ds.of[id], until.Equal); i >= 0 {
		ds.of[id] = slices.Delete(ds.of[id], i, i+1)
	}
}

// openDecoy takes the place of [asking.open] for nobody: the same answer, after the same wait for the disk.
func (a *asking) openDecoy() ([]byte, error) {
	random := make([]byte, 32)
	rand.Read(random)
	secret := base64.RawURLEncoding.EncodeToString(random)
	at := a.h.Now()
	d := decoy{V: 1, Agent: a.agent.ID, Secret: a.h.Root.MAC(keys.LabelHandle, secret), State: approvals.Pending,
		CreatedAt: at, ExpiresAt: at.Add(a.h.Desk.Terms.Life(a.ask.Life))}
	if err := a.h.Desk.Room(a.agent.ID); err != nil {
		return nil, err
	}
	if err := a.h.decoys.take(a.agent.ID, d.ExpiresAt, at, a.h.Desk.Terms.MaxOpen); err != nil {
		return nil, err
	}
	body, err := a.keepDecoy(d, secret)
	if err != nil {
		a.h.decoys.give(a.agent.ID, d.ExpiresAt) // nothing was made
	}
	if errors.Is(err, approvals.ErrConflict) {
		return a.overtaken(err)
	}
	return body, err
}

// keepDecoy stores a decoy with what a request would have brought along.
func (a *asking) keepDecoy(d decoy, secret string) ([]byte, error) {
	a.id = approvals.NewID(d.CreatedAt)
	body, writes, err := a.acknowledge(a.id, secret, d.ExpiresAt.Sub(d.CreatedAt))
	if err != nil {
		return nil, err
	}
	value, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("keep decoy: %w", err)
	}
	writes = append(writes, approvals.PutNew(kindDecoy, string(a.id), value, d.ExpiresAt.Add(decoyLife)))
	return body, a.h.Records.Apply(context.WithoutCancel(a.r.Context()), writes...)
}

// lookDecoy is [approvals.Desk.Look] for decoys.
func (h *Handler) lookDecoy(c *call, id approvals.ID, secret string) (*approvals.Request, error) {
	rec, err := h.Records.Get(c.r.Context(), kindDecoy, string(id))
	if err != nil {
		return nil, err
	}
	var d decoy
	if err := json.Unmarshal(rec.Value, &d); err != nil {
		return nil, fmt.Errorf("read decoy: %w", err)
	}
	if subtle.ConstantTimeCompare(h.Root.MAC(keys.LabelHandle, secret), d.Secret) != 1 || d.Agent != c.agent.ID {
		return nil, approvals.ErrNotFound
	}
	c.decoy = &rec
	return d.request(id, h.Now()), nil
}

// request is how a decoy looks to its client.
func (d decoy) request(id approvals.ID, now time.Time) *approvals.Request {
	r := &approvals.Request{ID: id, State: d.State, Agent: d.Agent, CreatedAt: d.CreatedAt, ExpiresAt: d.ExpiresAt,
		EndedAt: d.EndedAt}
	switch {
	case r.State == approvals.Cancelled:
		r.Reason = approvals.WithdrawnByAgent
	case !now.Before(d.ExpiresAt):
		r.State, r.EndedAt = approvals.Expired, d.ExpiresAt
	}
	return r
}

// cancelDecoy is [approvals.Desk.Cancel] for decoys.
func (h *Handler) cancelDecoy(c *call) (*approvals.Request, error) {
	var d decoy
	if err := json.Unmarshal(c.decoy.Value, &d); err != nil {
		return nil, fmt.Errorf("read decoy: %w", err)
	}
	d.State, d.EndedAt = approvals.Cancelled, h.Now()
	value, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("keep decoy: %w", err)
	}
	write := approvals.Replace(*c.decoy, value, c.decoy.Expires)
	err = h.Records.Apply(context.WithoutCancel(c.r.Context()), write)
	if errors.Is(err, approvals.ErrConflict) {
		return nil, approvals.ErrDecided // as the desk says it
	}
	if err != nil {
		return nil, err
	}
	h.decoys.give(d.Agent, d.ExpiresAt)
	return d.request(c.id, h.Now()), nil
}
