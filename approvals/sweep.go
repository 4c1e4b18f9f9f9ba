package approvals

import (
	"context"
	"errors"
	"fmt"
)

// StepDeliver is the step that the channels work off: a new request begins with one that is due at once.
const StepDeliver = "deliver"

// sweepBatch is how many steps one sweep takes at a time.
const sweepBatch = 500

// Sweep does every step of the desk whose time has come: requests expire, handles retire, old requests go, what people
// have said about agents is carried out. It returns how many. Sweeps of several processes may overlap.
func (d *Desk) Sweep(ctx context.Context) (done int, err error) {
	var errs []error
	for _, own := range []struct {
		name   string
		change func(*Request) error
	}{{StepExpire, d.expire}, {StepRetire, d.retire}, {StepPurge, d.purge}} {
		n, err := d.sweepOne(ctx, own.name, own.change)
		done += n
		errs = append(errs, err) // one bad request must not keep the others
	}
	n, err := d.sweepPairs(ctx)
	done += n
	errs = append(errs, err)
	return done, errors.Join(errs...)
}

func (d *Desk) sweepOne(ctx context.Context, name string, change func(*Request) error) (done int, err error) {
	for {
		steps, unread := Due(ctx, d.records, name, d.now(), sweepBatch)
		n, err := d.work(ctx, steps, change)
		done += n
		if err = errors.Join(unread, err); err != nil || n == 0 || len(steps) < sweepBatch {
			return done, err
		}
	}
}

// work runs the steps of one batch side by side, so that one commit of the store takes many of them.
func (d *Desk) work(ctx context.Context, steps []Step, change func(*Request) error) (done int, err error) {
	results := make(chan error)
	for _, s := range steps {
		go func() { results <- d.step(ctx, s, change) }()
	}
	var errs []error
	for range steps {
		switch err := <-results; {
		case err == nil:
			done++
		case !errors.Is(err, ErrPending): // its time was moved: not now
			errs = append(errs, err)
		}
	}
	return done, errors.Join(errs...)
}

func (d *Desk) step(ctx context.Context, s Step, change func(*Request) error) error {
	_, err := d.update(ctx, s.Name, ID(s.Of), change)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDecided) { // somebody was faster, so the step is stale
		err = d.records.Apply(ctx, s.Done())
	}
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	return nil
}

func (d *Desk) expire(r *Request) error {
	if r.State.Final() {
		return ErrDecided
	}
	return r.Expire(d.now())
}

// retire forgets what only the handle needed; from here on it answers like an unknown one.
func (d *Desk) retire(r *Request) error {
	r.SecretHash, r.CodeHash, r.Door = nil, nil, nil
	r.schedule(Step{Name: StepPurge, At: r.EndedAt.Add(d.Terms.History), Of: string(r.ID)})
	return nil
}

// purge forgets the request; digests in the audit trail stay.
func (d *Desk) purge(r *Request) error {
	r.schedule(Step{})
	r.Forget()
	return nil
}
