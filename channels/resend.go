package channels

import (
	"context"
	"fmt"

	"assent/approvals"
)

// wanted reports whether an operator's wish is still open: any message that was claimed since answers it, and what
// comes of that one is for the ladder to say. Nobody can be told who has no address.
func (t Task) wanted() bool {
	if t.Resend.IsZero() || len(t.Ladder) == 0 {
		return false
	}
	for _, try := range t.Tries {
		if !try.At.Before(t.Resend) {
			return false
		}
	}
	return true
}

// resend is one more message to the address whose provider can be called first; the order decides between equals. One
// that has just refused comes last. It passes the gates like any other.
func (t Task) resend() (best Next) {
	hopeless := true
	for _, rung := range t.Ladder {
		next, refused := t.message(rung, KindRequest), t.refused(rung)
		next.At, next.Reason = latest(t.Resend, t.free(rung)), "an operator has asked for it"
		if best.Do == "" || hopeless && !refused || hopeless == refused && next.At.Before(best.At) {
			best, hopeless = next, refused
		}
	}
	return best
}

// refused reports whether the last message to an address certainly did not reach it and would not the next time.
func (t Task) refused(rung Rung) bool {
	tries := t.of(rung, KindRequest)
	if len(tries) == 0 {
		return false
	}
	switch tries[len(tries)-1].Outcome {
	case Rejected, Gone, Failed:
		return true
	}
	return false
}

// Resend tells the person once more, as an operator wishes, within the rules that every message goes by, and returns
// what will happen. One wish is open at a time: a second is [approvals.ErrConflict].
func (d *Dispatcher) Resend(ctx context.Context, id approvals.ID, by approvals.Actor) (Outlook, error) {
	step := approvals.Step{Name: approvals.StepDeliver, Of: string(id)}
	t, err := d.look(ctx, step)
	switch {
	case err != nil:
		return Outlook{}, fmt.Errorf("look at %s: %w", id, err)
	case !t.task.Ended && len(t.task.Ladder) == 0:
		return Outlook{}, &approvals.FieldError{Field: "person", Rule: "must have an address that can be written to"}
	case !t.task.Ended && t.task.wanted():
		return Outlook{}, fmt.Errorf("resend %s: has been asked for already: %w", id, approvals.ErrConflict)
	}
	if _, err := d.Desk.Resend(ctx, id, by); err != nil {
		return Outlook{}, err
	}
	if err := d.advance(ctx, step, handsOff); err != nil { // the event and the sweep find the step as well
		d.Log.WarnContext(ctx, "resend is left to the sweep", "request", string(id), "err", err)
	}
	return d.Outlook(ctx, id)
}
