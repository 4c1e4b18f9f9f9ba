package approvals

import (
	"context"
	"errors"
	"time"
)

// Redeem spends the approval, once, together with the given record writes. An approval whose person or agent has been
// disabled since is withdrawn instead: [ErrNotEligible] (REQ-200); so is one whose agent the person has blocked:
// [ErrWithdrawn]. All three are expected unchanged by the same transaction, so that no token leaves after somebody was
// told "disabled" or "disconnected".
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
	if why, gone := endOf(err); gone {
		_, cancelErr := d.Cancel(ctx, id, Actor{Kind: "service"}, why)
		return nil, errors.Join(refusalOf(err), cancelErr)
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

// endOf is the reason that ends a request for which eligible has returned err, if that is one for good.
func endOf(err error) (why Reason, gone bool) {
	switch {
	case errors.Is(err, ErrNotEligible):
		return NotEligible, true
	case errors.Is(err, ErrShutOut):
		return ShutOut, true
	}
	return "", false
}

// refusalOf is what an agent hears of an approval that the person has taken back by blocking it.
func refusalOf(err error) error {
	if errors.Is(err, ErrShutOut) {
		return ErrWithdrawn
	}
	return err
}

// eligible asks whether person and agent are good now and the person has not blocked the agent, and returns what must
// not change until that is acted on.
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
		if !a.MayHave(detail) {
			return nil, ErrNotEligible
		}
	}
	pair, err := d.Pair(ctx, p.ID, a.ID)
	if err != nil {
		return nil, err
	}
	if pair.Blocked() {
		return nil, ErrShutOut
	}
	return []Write{Expect(KindPerson, string(p.ID), p.Revision), Expect(KindAgent, string(a.ID), a.Revision),
		pair.unchanged()}, nil
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
