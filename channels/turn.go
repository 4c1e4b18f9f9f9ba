package channels

import (
	"context"
	"errors"
	"slices"
	"time"

	"assent/approvals"
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

	revision uint64 // of the sheet, once the writes of leave have committed
	known    bool   // the sheet is what the store has, as far as this process knows
	planned  bool   // next is what comes next, and nothing was done about it yet
}

// look reads everything that a plan depends on, and plans.
func (d *Dispatcher) look(ctx context.Context, s approvals.Step) (*turn, error) {
	e, s, err := d.load(ctx, s)
	if err != nil {
		return nil, err
	}
	t := &turn{errand: e, step: s, now: d.wall()}
	if t.sheet, err = d.readSheet(ctx, key(s), e.first()); err != nil {
		return nil, err
	}
	t.sheet.Tries = slices.Clone(t.sheet.Tries)
	if t.step.At.IsZero() { // an event knows no time
		t.step.At = t.sheet.Next
	}
	return t, d.see(ctx, t)
}

// wall is the time of the wall clock alone, as the store keeps it: machines sleep, and what is remembered of a step must not
// sleep with them.
func (d *Dispatcher) wall() time.Time { return d.Now().Round(0) }

// lookOn is look for whoever has just written: the sheet is not read back. If somebody else has written since, the next
// write is a conflict and says so.
func (d *Dispatcher) lookOn(ctx context.Context, t *turn) (*turn, error) {
	if !t.known {
		return d.look(ctx, t.step)
	}
	e, s, err := d.load(ctx, t.step)
	if err != nil {
		return nil, err
	}
	fresh := &turn{errand: e, step: s, sheet: t.sheet, now: d.wall(), known: true}
	fresh.sheet.Tries = slices.Clone(t.sheet.Tries)
	return fresh, d.see(ctx, fresh)
}

// see brings in what lies in memory: the request, the person, the providers.
func (d *Dispatcher) see(ctx context.Context, t *turn) error {
	p, err := d.Directory.Person(ctx, t.errand.person())
	if err != nil && !errors.Is(err, approvals.ErrNotFound) {
		return err
	}
	if t.task, err = t.errand.task(ctx, p, t.now); err != nil {
		return err
	}
	t.task.Ladder, t.to = d.rungs(p, t.task)
	t.plan()
	t.planned = true
	return nil
}

func (t *turn) plan() {
	t.task.Tries = t.sheet.Tries
	t.next = Plan(t.task, t.now)
}

// rungs lays the ladder over the person's outside addresses that our channels serve. Somebody who is gone or disabled has
// none, but what was sent is taken back all the same. A muted channel still brings codes: they were asked for.
func (d *Dispatcher) rungs(p *approvals.Person, t Task) (rungs []Rung, to map[string]approvals.Address) {
	if p == nil || p.Disabled && !t.Ended {
		return nil, nil
	}
	to = map[string]approvals.Address{}
	for _, place := range d.Policy.ladder().over(d.Addresses(p)) {
		a := place.to
		c := d.Channels[a.Channel]
		if c == nil || slices.Contains(p.Muted, a.Channel) && !t.Once && !t.Ended {
			continue
		}
		name := d.addressName(a)
		if t.Only != "" && name != t.Only {
			continue
		}
		to[name] = a
		_, retracts := c.(Retracter)
		reporter, reports := c.(Reporter)
		rungs = append(rungs, Rung{Channel: a.Channel, To: name, Wait: place.stage.Wait, Repeat: place.stage.Repeat,
			Down: d.provider(a.Channel).until(d.Now()), Retracts: retracts, Reports: reports && reporter.ReportsLater()})
	}
	return rungs, to
}

// conclude leaves the errand with what t.next says.
func (d *Dispatcher) conclude(ctx context.Context, t *turn) error {
	err := d.Records.Apply(ctx, t.conclusion()...)
	if err == nil {
		d.written(t)
	}
	return err
}

// report is conclude, with a line in the timeline. If nobody has done anything else meanwhile, a wait that was planned with it
// is still what comes next.
func (d *Dispatcher) report(ctx context.Context, t *turn, r approvals.Delivery) error {
	alone, err := t.errand.record(ctx, r, t.conclusion()...)
	if err == nil {
		d.written(t)
		t.planned = alone && t.next.Do == Wait
	}
	return err
}

// conclusion returns the writes that leave the errand with the due step of t.next, or without one, and keep the sheet.
func (t *turn) conclusion() []approvals.Write {
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
	t.revision = t.sheet.read.Revision
	switch {
	case at.IsZero() && t.task.Ended && t.sheet.read.Revision > 0:
		writes, t.revision = append(writes, t.sheet.forget()), 0
	case len(t.sheet.Tries) > 0:
		writes, t.revision = append(writes, t.sheet.write(t.errand.expires())), t.revision+1
	}
	return writes
}

// written notes that what leave has returned is committed. A sheet that nobody has written is read again: others may start
// one.
func (d *Dispatcher) written(t *turn) {
	t.sheet.read.Revision, t.known = t.revision, t.revision > 0
	if !timed(t.step) { // one-time codes and notices are hardly looked at again
		d.sheets.keep(t.sheet)
	}
}

// held is the report about a message that is kept back.
func (t *turn) held() approvals.Delivery {
	return approvals.Delivery{Channel: t.next.Channel, Attempt: t.next.Attempt, Status: approvals.StatusHeld,
		Why: t.next.Reason, At: t.now}
}

// knownHeld reports whether the timeline says so already.
func (t *turn) knownHeld() bool {
	return slices.ContainsFunc(t.task.Reports, func(d approvals.Delivery) bool {
		return d.Status == approvals.StatusHeld && d.Channel == t.next.Channel && d.Attempt == t.next.Attempt &&
			d.Why == t.next.Reason
	})
}
