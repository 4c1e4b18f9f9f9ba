package webapp

import (
	"context"

	"assent/approvals"
)

// wayIn is a way to sign in that a person can give up.
type wayIn int

// The ways in.
const (
	byCode wayIn = iota
	byPasskey
	byAccount
	byInvitation // which nobody gives up
)

// otherWayIn reports whether a person gets in by another way than that one. stays is on what this rests: it commits with
// what gives the way up, so that two who each give up another way at the same moment cannot leave the person with none.
func (h *Handler) otherWayIn(ctx context.Context, p *approvals.Person, than wayIn) (in bool, stays []approvals.Write, err error) {
	if than != byCode {
		if in, err = h.codeArrives(ctx, p); in || err != nil {
			return in, []approvals.Write{approvals.Expect(approvals.KindPerson, string(p.ID), p.Revision)}, err
		}
	}
	if than != byPasskey && h.passkeys != nil {
		if in, stays, err = condition(h.passkeys.Any(ctx, p.ID)); in || err != nil {
			return in, stays, err
		}
	}
	if than != byAccount && h.Upstream != nil {
		return condition(h.Upstream.Any(ctx, p.ID))
	}
	return false, nil, nil
}

// codeArrives reports whether the person can sign in with a code.
func (h *Handler) codeArrives(ctx context.Context, p *approvals.Person) (bool, error) {
	if !h.CanSend(p) || h.CodeArrives == nil {
		return h.CanSend(p), nil
	}
	return h.CodeArrives(ctx, p)
}

func condition(in bool, same approvals.Write, err error) (bool, []approvals.Write, error) {
	return in, []approvals.Write{same}, err
}
