package approvals

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// KindRevoked is the event that ends tokens of a redeemed request before their time.
const KindRevoked = "revoked"

// Why tokens were revoked; a closed set.
const (
	RevokedByAgent    = "agent"        // the agent has no more use for them
	RevokedByPerson   = "person"       // the person does not want the agent to come back
	RevokedReuse      = "reuse"        // a handle or a refresh token that was spent came again
	RevokedUse        = "used"         // its resource server has done the one thing that it was good for
	RevokedIneligible = "not_eligible" // person or agent may no longer
)

// Revocation says which tokens of a redeemed request are good no more.
type Revocation struct {
	By    Actor
	Why   string    // one of the Revoked constants
	Token string    // the id of one token; empty: all that was issued, and nothing is issued any more
	Until time.Time // when that one token would have ended by itself
}

// Revoke ends one token, or all. It is data on a redeemed request, not a state, and it leaves an audit record. All can
// be ended once: [ErrDecided] says that there is nothing left to end.
func (r *Request) Revoke(v Revocation, at time.Time) error {
	if r.State != Redeemed || !r.RevokedAt.IsZero() {
		return fmt.Errorf("revoke: %w", ErrDecided)
	}
	facts := map[string]string{"why": v.Why}
	if v.Token == "" {
		r.RevokedAt = at
	} else {
		facts["token"] = v.Token
		if v.Until.After(r.SomeRevoked) {
			r.SomeRevoked = v.Until
		}
	}
	r.record(KindRevoked, at, v.By, facts)
	return nil
}

// Renew makes record writes on condition that the agent may still come back on its approval, in one transaction: what
// is issued through it never comes after a revocation. Otherwise it is [ErrWithdrawn], [ErrExpired] or
// [ErrNotEligible], and nothing is written.
func (d *Desk) Renew(ctx context.Context, id ID, also ...Write) (*Request, error) {
	r, err := d.Request(ctx, id)
	if err != nil {
		return nil, err
	}
	unchanged, err := d.eligible(ctx, r)
	if err != nil {
		return nil, refusalOf(err)
	}
	at := d.now()
	return d.update(ctx, "renew", id, func(r *Request) error {
		if err := r.stands(at); err != nil {
			return err
		}
		r.Also(unchanged...)
		r.Also(also...)
		return nil
	})
}

// stands says why the agent may not come back now.
func (r *Request) stands(at time.Time) error {
	switch {
	case r.State != Redeemed:
		return r.State.refusal()
	case !r.RevokedAt.IsZero():
		return ErrWithdrawn
	case !at.Before(r.Until):
		return ErrExpired
	}
	return nil
}

// Revoke ends tokens of a redeemed request, with record writes that commit with it.
func (d *Desk) Revoke(ctx context.Context, id ID, v Revocation, also ...Write) (*Request, error) {
	at := d.now()
	return d.update(ctx, "revoke tokens of", id, func(r *Request) error {
		r.Also(also...)
		return r.Revoke(v, at)
	})
}

// TakeBack is for a person who thinks better of an approval: one that the agent has not collected is cancelled, and one
// that it could come back on is revoked. Only the transaction knows which it is, as the agent may be collecting. It is
// [ErrDecided] where nothing is left to take back, and [ErrWrongPerson] for everybody but the approvers.
func (d *Desk) TakeBack(ctx context.Context, id ID, by PersonID) (*Request, error) {
	at := d.now()
	return d.update(ctx, "take back", id, func(r *Request) error { return r.takeBack(by, at) })
}

func (r *Request) takeBack(by PersonID, at time.Time) error {
	if !slices.Contains(r.Approvers, by) {
		return ErrWrongPerson
	}
	person := Actor{"person", string(by)}
	if r.State == Redeemed && !r.Until.IsZero() {
		return r.Revoke(Revocation{By: person, Why: RevokedByPerson}, at)
	}
	return r.Cancel(person, WithdrawnByPerson, at)
}

// RevokeAll ends every approval that q selects and that its agent could still come back on, and returns how many there
// were: what happens, beside [Desk.CancelAll], when a person or an agent is disabled.
func (d *Desk) RevokeAll(ctx context.Context, q Query, v Revocation) (done int, err error) {
	q.States = []State{Redeemed}
	for {
		page, err := d.store.List(ctx, q)
		if err != nil || len(page) == 0 {
			return done, err
		}
		for _, r := range page {
			q.Before = r.ID
			if r.stands(d.now()) != nil {
				continue
			}
			_, err := d.Revoke(ctx, r.ID, v)
			switch {
			case err == nil:
				done++
			case !errors.Is(err, ErrDecided): // ended in between: nothing to revoke
				return done, err
			}
		}
	}
}
