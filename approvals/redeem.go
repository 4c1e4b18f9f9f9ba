package approvals

import (
	"context"
	"errors"
	"time"
)

// Redeem spends the approval, once, together with the given record writes. An approval whose person or agent has been
// disabled since is withdrawn instead: [ErrNotEligible] (REQ-200). Both are expected unchanged by the same transaction, so
// that no token leaves after somebody was told "disabled".
func (d *Desk) Redeem(ctx context.Context, agent AgentID, id ID, secret string, also ...Write) (*Request, error) {
	r, err := d.Look(ctx, agent, id, secret)
	if err != nil {
		return nil, err
	}
	at := d.now()
	if s := r.StateAt(at); s != Approved {
		return nil, s.refusal()
	}
	unchanged, err := d.eligible(ctx, r)
	if errors.Is(err, ErrNotEligible) {
		_, cancelErr := d.Cancel(ctx, id, Actor{Kind: "service"}, NotEligible)
		return nil, errors.Join(err, cancelErr)
	}
	if err != nil {
		return nil, err
	}
	return d.update(ctx, "redeem", id, func(r *Request) error {
		r.Also(unchanged...)
		r.Also(also...)
		return r.Redeem(at)
	})
}

// eligible asks whether person and agent are good now, and returns what must not change until that is acted on.
func (d *Desk) eligible(ctx context.Context, r *Request) (unchanged []Write, err error) {
	p, err := d.directory.Person(ctx, r.Subject)
	if errors.Is(err, ErrNotFound) || err == nil && p.Disabled {
		return nil, ErrNotEligible
	}
	if err != nil {
		return nil, err
	}
	a, err := d.directory.Agent(ctx, r.Agent)
	if errors.Is(err, ErrNotFound) || err == nil && a.Disabled {
		return nil, ErrNotEligible
	}
	if err != nil {
		return nil, err
	}
	for _, detail := range r.Granted {
		if !a.MayAsk(detail.Type) {
			return nil, ErrNotEligible
		}
	}
	return []Write{Expect(KindPerson, string(p.ID), p.Revision), Expect(KindAgent, string(a.ID), a.Revision)}, nil
}

// Refusal says why a request cannot be redeemed now, as one of the desk's errors; nil when it can.
func (r *Request) Refusal(at time.Time) error {
	s := r.StateAt(at)
	switch {
	case s == Approved:
		return nil
	case s == Cancelled && r.Reason == NotEligible:
		return ErrNotEligible
	}
	return s.refusal()
}
