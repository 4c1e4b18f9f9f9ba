package channels

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	"assent/approvals"
)

const (
	sweepEvery = 30 * time.Second
	sweepAhead = 45 * time.Second // so that one sweep at least comes by before any step is due
	sweepPage  = 500
	sweepAtOne = 64 // steps side by side, so that commits group
)

// Run resumes when it starts, sweeps each 30 s, and looks for one-time codes whenever somebody signals
// [approvals.TopicDue], until ctx ends. Codes wait for no sweep: somebody stands at a sign-in page.
func (d *Dispatcher) Run(ctx context.Context, hub *approvals.Hub) error {
	due := hub.Watch(approvals.TopicDue)
	defer due.Close()
	d.crew.open()
	defer d.crew.close()
	var running sync.WaitGroup
	running.Go(func() { d.loop(ctx, due.C, d.prompt, d.prompt) })
	running.Go(func() { d.loop(ctx, nil, d.resume, d.deliveries) })
	running.Wait()
	return nil
}

// loop sweeps once in the first way, then in the other: each 30 s and at every signal.
func (d *Dispatcher) loop(ctx context.Context, signal <-chan struct{}, first, then func(context.Context) (int, error)) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for sweep := first; ; sweep = then {
		if _, err := sweep(ctx); err != nil && ctx.Err() == nil {
			d.Log.ErrorContext(ctx, "sweep of deliveries", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-signal:
		}
	}
}

// Sweep takes up every overdue step again and returns how many. It needs nothing but the store: this is what makes
// messages leave after the bus has lost everything.
func (d *Dispatcher) Sweep(ctx context.Context) (int, error) {
	codes, err := d.prompt(ctx)
	deliveries, err2 := d.deliveries(ctx)
	return codes + deliveries, errors.Join(err, err2)
}

// Resume is a Sweep that looks at every request with a step, overdue or not: what was sent for one that has ended
// meanwhile is taken back now, even if the bus has lost the event that said so.
func (d *Dispatcher) Resume(ctx context.Context) (int, error) {
	codes, err := d.prompt(ctx)
	deliveries, err2 := d.resume(ctx)
	return codes + deliveries, errors.Join(err, err2)
}

// longestStep is further ahead than the step of any request.
const longestStep = 100 * 365 * 24 * time.Hour

func (d *Dispatcher) codes(ctx context.Context) (int, error) {
	return d.sweep(ctx, approvals.StepCode, d.Now())
}

func (d *Dispatcher) deliveries(ctx context.Context) (int, error) {
	return d.sweepOne(ctx, d.Now())
}

func (d *Dispatcher) resume(ctx context.Context) (int, error) {
	return d.sweepOne(ctx, d.Now().Add(longestStep))
}

// sweepOne sweeps deliveries when nobody else does.
func (d *Dispatcher) sweepOne(ctx context.Context, until time.Time) (int, error) {
	d.sweeping.Lock()
	defer d.sweeping.Unlock()
	return d.sweep(ctx, approvals.StepDeliver, until)
}

// sweep takes the steps of one name up to a time, page by page, and returns how many. Those that become due a little later
// are put on the bus for their time: most steps never get so far, because people decide before. Steps that move while it
// runs get later times, and each moves a few times only, so it ends.
func (d *Dispatcher) sweep(ctx context.Context, name string, until time.Time) (taken int, err error) {
	after := ""
	kind := approvals.Step{Name: name}.Done().Kind
	for ctx.Err() == nil {
		page, err := d.Records.ScanAfter(ctx, kind, after, sweepPage)
		if err != nil {
			return taken, fmt.Errorf("sweep %s: %w", name, err)
		}
		steps, more := d.before(ctx, page, until.Add(sweepAhead))
		if err := d.each(ctx, steps); err != nil {
			return taken, err
		}
		taken += sort.Search(len(steps), func(i int) bool { return steps[i].At.After(until) })
		if !more {
			return taken, nil
		}
		after = page[len(page)-1].Key
	}
	return taken, ctx.Err()
}

// before returns the steps of a page up to a time; more says that the next page may have some as well. One that cannot be
// read does not keep the others: it is logged and stays where it is.
func (d *Dispatcher) before(ctx context.Context, page []approvals.Record, until time.Time) (steps []approvals.Step,
	more bool) {
	for _, rec := range page {
		s, err := readStep(rec)
		if err != nil {
			d.Log.ErrorContext(ctx, "step is unreadable, going on without it", "kind", rec.Kind, "err", err)
			continue
		}
		if s.At.After(until) {
			return steps, false
		}
		steps = append(steps, s)
	}
	return steps, len(page) == sweepPage
}

// readStep names a step that cannot be read by its time: the rest of its key may be the id of a code.
func readStep(rec approvals.Record) (s approvals.Step, err error) {
	if err := json.Unmarshal(rec.Value, &s); err != nil {
		stamp, _, _ := strings.Cut(rec.Key, "/")
		return s, fmt.Errorf("read step %s: %w", stamp, err)
	}
	return s, nil
}

// each takes steps side by side. One that fails does not keep the others: it is logged and stays overdue.
func (d *Dispatcher) each(ctx context.Context, steps []approvals.Step) error {
	next := make(chan approvals.Step)
	var running sync.WaitGroup
	defer running.Wait()
	defer close(next)
	for range min(sweepAtOne, len(steps)) {
		running.Go(func() {
			for s := range next {
				if err := d.advance(ctx, s, anyHands); err != nil {
					d.Log.WarnContext(ctx, "step stays overdue", "step", s.Name, "err", err)
				}
			}
		})
	}
	for _, s := range steps {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case next <- s:
		}
	}
	return nil
}
