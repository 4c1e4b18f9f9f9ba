package approvals

import (
	"context"
	"errors"
	"time"
)

// KindRefused is the event of somebody who acted on a request that is for someone else.
const KindRefused = "refused"

// maxRefusals is how many refusals of one request leave a record: enough to see them, too few to fill a store with.
const maxRefusals = 8

var errEnough = errors.New("nothing to note")

// Refuse notes that somebody acted who is no approver.
func (r *Request) Refuse(by PersonID, at time.Time) error {
	if r.Refusals >= maxRefusals || r.StateAt(at).Final() {
		return errEnough
	}
	r.Refusals++
	r.record(KindRefused, at, Actor{"person", string(by)}, map[string]string{factReason: "wrong_person"})
	return nil
}

// Refused notes that somebody acted on a request that is for someone else, the first times that it happens while the
// request is open.
func (d *Desk) Refused(ctx context.Context, id ID, by PersonID) error {
	r, err := d.Request(ctx, id)
	if err != nil || r.Refusals >= maxRefusals {
		return err
	}
	at := d.now()
	_, err = d.update(ctx, "refuse", id, func(r *Request) error { return r.Refuse(by, at) })
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}
