package approvals

import (
	"context"
	"errors"
	"time"
)

// KindRefused is the event of an answer that somebody signed in has given and that did not count. Its fact "reason" is a
// [Refusal].
const KindRefused = "refused"

// Refusal says why an answer did not count; a closed set.
type Refusal string

// Refusals.
const (
	RefusedPerson  Refusal = "wrong_person" // whoever acted is no approver
	RefusedSite    Refusal = "cross_site"   // the form was not on a page of ours
	RefusedForm    Refusal = "stale_form"   // the form was made for another sign-in
	RefusedChanged Refusal = "changed"      // the digest is not that of the request
	RefusedLate    Refusal = "too_late"     // approving had closed
	RefusedLevel   Refusal = "level"        // approving takes a stronger sign-in
	RefusedPasskey Refusal = "passkey"      // the passkey, or what it signed, was not accepted
)

// refusals translates what can be wrong with an approval. A wrong code has a record of its own, and what is decided
// already says so by itself.
var refusals = []struct {
	err error
	why Refusal
}{
	{ErrWrongPerson, RefusedPerson}, {ErrChanged, RefusedChanged}, {ErrTooLate, RefusedLate}, {ErrLevel, RefusedLevel},
}

// maxRefusals is how many refusals of one request leave a record: enough to see them, too few to fill a store with.
const maxRefusals = 8

var errEnough = errors.New("nothing to note")

// Refuse notes an answer that did not count, while the request has no outcome yet.
func (r *Request) Refuse(by PersonID, why Refusal, at time.Time) error {
	if r.Refusals >= maxRefusals || r.State.Final() {
		return errEnough
	}
	r.Refusals++
	r.record(KindRefused, at, Actor{"person", string(by)}, map[string]string{factReason: string(why)})
	return nil
}

// Refused notes that somebody gave an answer that did not count, the first times that it happens to a request.
func (d *Desk) Refused(ctx context.Context, id ID, by PersonID, why Refusal) error {
	r, err := d.Request(ctx, id)
	if err != nil || r.Refusals >= maxRefusals || r.State.Final() {
		return err
	}
	at := d.now()
	_, err = d.update(ctx, "refuse", id, func(r *Request) error { return r.Refuse(by, why, at) })
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// noteRefusal notes an approval that did not count for this error. The answer is the same whether or not it can be noted.
func (d *Desk) noteRefusal(ctx context.Context, id ID, by PersonID, err error) {
	for _, row := range refusals {
		if !errors.Is(err, row.err) {
			continue
		}
		if err := d.Refused(ctx, id, by, row.why); err != nil {
			d.log.WarnContext(ctx, "refusal not noted", "request", string(id), "why", string(row.why), "err", err)
		}
		return
	}
}
