package channels

import (
	"context"
	"errors"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
)

// turn is one look at an errand: what is known of it now, and what comes next.
type turn struct {
	errand errand
	step   approvals.Step // as it was found; its time is sheet.Next unless it was stale
	sheet  sheet
	task   Task
	to     map[string]approvals.Address // by keyed name
	now    time.Time
	next   Next
}

// look reads everything that a plan depends on, and plans.
func (d *Dispatcher) look(ctx context.Context, s approvals.Step) (*turn, error) {
	e, s, err := d.load(ctx, s)
	if err != nil {
		return nil, err
	}
	t := &turn{errand: e, step: s, now: d.Now()}
	if t.sheet, err = readSheet(ctx, d.Records, key(s), e.first()); err != nil {
		return nil, err
	}
	if t.step.At.IsZero() { // an event knows no time
		t.step.At = t.sheet.Next
	}
	t.task = e.task(t.now)
	if t.task.Ladder, t.to, err = d.ladder(ctx, e.person(), t.task.Ended); err != nil {
		return nil, err
	}
	t.plan()
	return t, nil
}

func (t *turn) plan() {
	t.task.Tries = t.sheet.Tries
	t.next = Plan(t.task, t.now)
}

// ladder lists the person's outside addresses that our channels serve. Somebody who is gone or disabled has none, but what
// was sent is taken back all the same.
func (d *Dispatcher) ladder(ctx context.Context, id approvals.PersonID, ended bool) (rungs []Rung,
	to map[string]approvals.Address, err error) {
	p, err := d.Directory.Person(ctx, id)
	if errors.Is(err, approvals.ErrNotFound) || err == nil && p.Disabled && !ended {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	to = map[string]approvals.Address{}
	for _, a := range d.Addresses(p) {
		c := d.Channels[a.Channel]
		if c == nil {
			continue
		}
		name := d.Root.Name(keys.LabelLookup, "address", a.Channel, a.Value)
		to[name] = a
		_, retracts := c.(Retracter)
		reporter, reports := c.(Reporter)
		rungs = append(rungs, Rung{Channel: a.Channel, To: name, Wait: DefaultWait, Retracts: retracts,
			Reports: reports && reporter.ReportsLater()})
	}
	return rungs, to, nil
}

// conclude returns the writes that leave the errand with the due step of t.next, or without one, and keep the sheet.
func (t *turn) conclude() []approvals.Write {
	switch t.next.Do {
	case Wait:
		return t.leave(t.next.At)
	case Nothing:
		return t.leave(time.Time{})
	}
	return t.leave(t.now)
}

// leave returns the writes that keep the sheet and move the due step to that time; zero: away.
func (t *turn) leave(at time.Time) []approvals.Write {
	found, current := t.step, t.step
	current.At = t.sheet.Next
	writes := []approvals.Write{found.Done()}
	if !found.At.Equal(current.At) && !current.At.IsZero() {
		writes = append(writes, current.Done())
	}
	t.sheet.Next = at
	if !at.IsZero() {
		t.step.At = at
		writes = append(writes, t.step.Put())
	}
	switch {
	case at.IsZero() && t.task.Ended && t.sheet.read.Revision > 0:
		writes = append(writes, t.sheet.forget())
	case len(t.sheet.Tries) > 0:
		writes = append(writes, t.sheet.write(t.errand.expires()))
	}
	return writes
}
