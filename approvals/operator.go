package approvals

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// KindResend is the event of an operator who wants the person to be told once more.
const KindResend = "resend"

// maxRemark is the longest remark of an operator, in code points.
const maxRemark = 280

// Resend notes that an operator wants the person to be told once more, and leaves a step for the channels. Whether and
// when a message goes is for them to say. Operators decide nothing: the request stays as it is.
func (r *Request) Resend(by Actor, at time.Time) error {
	switch s := r.StateAt(at); {
	case s != Pending:
		return fmt.Errorf("%w: %w", ErrDecided, s.refusal())
	case !at.Before(r.DecideBy):
		return ErrTooLate
	}
	r.ResendAt = at
	r.record(KindResend, at, by, nil)
	r.Also(Step{Name: StepDeliver, At: at, Of: string(r.ID)}.Put())
	return nil
}

// Resend asks the channels to tell the person once more.
func (d *Desk) Resend(ctx context.Context, id ID, by Actor) (*Request, error) {
	at := d.now()
	return d.update(ctx, "resend", id, func(r *Request) error { return r.Resend(by, at) })
}

// Withdraw is [Desk.Cancel] for an operator, with a remark for other operators. The remark stays with the request and
// goes with it: audit records hold no free text.
func (d *Desk) Withdraw(ctx context.Context, id ID, by Actor, remark string) (*Request, error) {
	if len([]rune(remark)) > maxRemark || strings.ContainsFunc(remark, odd) {
		return nil, invalid("reason", "must have at most %d characters, none of them invisible", maxRemark)
	}
	at := d.now()
	return d.update(ctx, "withdraw", id, func(r *Request) error {
		r.Remark = remark
		return r.Cancel(by, WithdrawnByOperator, at)
	})
}
