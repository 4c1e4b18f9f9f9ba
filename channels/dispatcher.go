package channels

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
)

// Bus carries jobs to the workers of a channel: now, if those of this process are all at work, or at a time. A job that is
// lost is only late.
type Bus interface {
	// Send makes repeats with one id one job; key names what the job is about, and a later job with the same channel and
	// key replaces one that waits for its time.
	Send(ctx context.Context, channel, key, id string, at time.Time, payload []byte) error
}

// Dispatcher takes the steps that [Plan] names. All members are required, but Bus, without which messages leave from
// wherever their step is found, and Policy and Limits.
type Dispatcher struct {
	Desk      *approvals.Desk
	Directory *approvals.Directory
	Records   approvals.Records
	Root      *keys.Root
	PagesURL  string // without trailing slash
	Channels  map[string]Channel
	// Addresses lists where a person can be reached outside the inbox, best first.
	Addresses func(*approvals.Person) []approvals.Address
	Policy    Policy
	Limits    map[string]Limits // by channel
	Bus       Bus
	Now       func() time.Time
	Log       *slog.Logger

	room      room
	crew      crew
	sheets    sheets
	sweeping  sync.Mutex // of deliveries: two sweeps at once would take the same steps
	mu        sync.Mutex
	providers map[string]*provider
}

// maxTurns bounds how often one call plans again: somebody else works on the same errand, or a ladder is short of luck.
const maxTurns = 20

// Kinds are the kinds of events that Handle can do something with. What was redeemed was approved before, what was opened
// is looked at anew whenever its next step is due, and who reports a delivery goes on with its ladder.
func Kinds() []string {
	kinds := []string{approvals.KindResend}
	for _, s := range approvals.States() {
		if s != approvals.Redeemed {
			kinds = append(kinds, string(s))
		}
	}
	return kinds
}

// Handle takes up the request of an event: a new one is planned, and what was sent for an ended one is taken back. It bears
// repeats, any order and kinds beside [Kinds], because it plans from the store.
func (d *Dispatcher) Handle(ctx context.Context, e approvals.Event) error {
	r, err := d.Desk.AsOf(ctx, e.Request, e.N)
	if err != nil && !errors.Is(err, approvals.ErrNotFound) {
		return fmt.Errorf("handle %s: %w", e.ID(), err)
	}
	if err == nil && r.State != approvals.Pending {
		d.release(ctx, r)
	}
	return d.advance(ctx, deliver(e.Request), handsOff)
}

func deliver(id approvals.ID) approvals.Step {
	return approvals.Step{Name: approvals.StepDeliver, Of: string(id)}
}

// release takes up the requests that r's messages have spoken for. Those that this process does not know of look again by
// themselves.
func (d *Dispatcher) release(ctx context.Context, r *approvals.Request) {
	for _, id := range d.Desk.Joined(r) {
		if err := d.advance(ctx, deliver(id), handsOff); err != nil {
			d.Log.WarnContext(ctx, "joined request looks again later", "request", string(id), "err", err)
		}
	}
}

// job is what lies on the bus: which step, and whose turn it is.
type job struct {
	Name    string    `json:"name"`
	Of      string    `json:"of"`
	At      time.Time `json:"at,omitzero"` // of a code or a notice: its step is found by its time
	Channel string    `json:"channel"`
}

// Work does a job of one channel's queue.
func (d *Dispatcher) Work(ctx context.Context, _ string, payload []byte) error {
	var j job
	if err := json.Unmarshal(payload, &j); err != nil {
		return fmt.Errorf("read job: %w", approvals.ErrDrop)
	}
	if d.Channels[j.Channel] == nil || j.Name != approvals.StepDeliver && !timed(approvals.Step{Name: j.Name}) {
		return fmt.Errorf("read job: channel or step is unknown: %w", approvals.ErrDrop)
	}
	return d.advance(ctx, approvals.Step{Name: j.Name, Of: j.Of, At: j.At}, j.Channel)
}

// Whose hands a step is in, beside the name of a channel: its worker.
const (
	handsOff = ""  // messages are left to the workers: to a free one of the crew, else by the bus
	anyHands = "*" // so they are, but if the bus does not take the job it is done here
)

// advance plans and acts until there is nothing to do now.
func (d *Dispatcher) advance(ctx context.Context, s approvals.Step, hands string) error {
	return d.proceed(ctx, &turn{step: s}, hands)
}

// proceed is advance from a turn on that may have been planned just now.
func (d *Dispatcher) proceed(ctx context.Context, t *turn, hands string) error {
	s := t.step
	for range maxTurns {
		if !t.planned {
			fresh, err := d.lookOn(ctx, t)
			if errors.Is(err, approvals.ErrNotFound) {
				return d.drop(ctx, s)
			}
			if err != nil {
				return fmt.Errorf("look at %s: %w", label(s), err)
			}
			t = fresh
		}
		t.planned = false
		more, err := d.take(ctx, t, hands)
		if err != nil && !overtaken(err) {
			return fmt.Errorf("%s %s: %w", t.next.Do, label(s), err)
		}
		if err == nil && !more {
			return nil
		}
		if err != nil {
			t.errand.refresh(ctx)
			t.known, t.planned = false, false
		}
		if timed(s) {
			s.At = t.step.At // it moves with each claim, and is found by its time
		}
		if !t.known {
			t = &turn{step: s}
		}
	}
	return fmt.Errorf("advance %s: no end after %d turns", label(s), maxTurns)
}

// overtaken reports whether somebody else changed what was planned on, so that planning again is all there is to do.
func overtaken(err error) bool {
	for _, e := range []error{approvals.ErrConflict, approvals.ErrDecided, approvals.ErrTooLate, approvals.ErrNotFound} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// drop forgets the step of a request that is gone. A code's step that is gone is done already.
func (d *Dispatcher) drop(ctx context.Context, s approvals.Step) error {
	if timed(s) || s.At.IsZero() {
		return nil
	}
	return d.Records.Apply(ctx, s.Done())
}

// take does what is next; more asks for another turn.
func (d *Dispatcher) take(ctx context.Context, t *turn, hands string) (more bool, err error) {
	switch t.next.Do {
	case Nothing:
		return false, d.finish(ctx, t)
	case Wait:
		return false, d.wait(ctx, t)
	case Fail:
		return true, d.fail(ctx, t)
	case Settle:
		return true, d.settle(ctx, t, t.next, result{outcome: Unknown, lost: true})
	}
	if hands != t.next.Channel && d.Bus != nil {
		t.planned = true // for whoever takes it over
		if d.hand(ctx, t, hands == anyHands) {
			return false, nil
		}
		t.planned = false
		err := d.wake(ctx, t, time.Time{})
		if err == nil || hands != anyHands {
			return false, err
		}
		d.Log.WarnContext(ctx, "bus does not take jobs, sending from here", "err", err)
	}
	return true, d.call(ctx, t)
}

// call sends or takes back, once the provider may be called. What was planned before a wait is planned again.
func (d *Dispatcher) call(ctx context.Context, t *turn) error {
	p := d.provider(t.next.Channel)
	waited, err := p.enter(ctx, d.Now)
	if errors.Is(err, errDown) {
		return nil // the next plan knows
	}
	if err != nil {
		return err
	}
	defer p.leave()
	if waited {
		fresh, err := d.look(ctx, t.step)
		if err != nil || !fresh.next.same(t.next) {
			t.known = false
			return err
		}
		*t = *fresh
	}
	ctx = context.WithoutCancel(ctx) // what has begun is brought to its end; providers have their own time
	if t.next.Do == Retract {
		return d.retract(ctx, t)
	}
	return d.send(ctx, t)
}

// same reports whether both are the same step about the same message.
func (n Next) same(o Next) bool {
	return n.Do == o.Do && n.Channel == o.Channel && n.Attempt == o.Attempt && n.To == o.To
}

// noted tells the provider's guard how a call went, and whoever watches the log what an operator must know.
func (d *Dispatcher) noted(ctx context.Context, channel string, err error) {
	if errors.Is(err, ErrFault) {
		d.Log.ErrorContext(ctx, "provider refuses our account or settings: an operator has to act", "channel", channel)
	}
	if pause := d.provider(channel).answered(err, d.Now()); pause > 0 {
		d.Log.ErrorContext(ctx, "provider fails again and again, leaving it alone", "channel", channel, "for", pause)
	}
}

// wake puts a job for the channel whose turn it is on the bus.
func (d *Dispatcher) wake(ctx context.Context, t *turn, at time.Time) error {
	j := job{Name: t.step.Name, Of: t.step.Of, Channel: t.next.Channel}
	if timed(t.step) {
		j.At = t.step.At
	}
	payload, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("encode job: %w", err)
	}
	// One id for one step of the plan: whoever plans it meanwhile adds no job. The bus forgets ids after a while, so a job
	// that got lost is made again by a later sweep.
	id := fmt.Sprintf("%s/%x/%s/%d", t.step.Of, t.sheet.Next.UnixNano(), t.next.Do, t.next.Attempt)
	return d.Bus.Send(ctx, t.next.Channel, token(t.step), id, at, payload)
}

// token names an errand on the bus, in the alphabet that a subject allows.
func token(s approvals.Step) string {
	return s.Name + "-" + base64.RawURLEncoding.EncodeToString([]byte(s.Of))
}

// finish forgets the due step, and the claims once the request has ended: from then on nothing can be claimed.
func (d *Dispatcher) finish(ctx context.Context, t *turn) error {
	if t.next.Held && !t.knownHeld() {
		return d.report(ctx, t, t.held())
	}
	kept := t.sheet.read.Revision > 0
	if !kept || !t.task.Ended { // most requests of people without outside addresses end here, many with nothing to write
		step := t.step.Done()
		if _, err := d.Records.Get(ctx, step.Kind, step.Key); errors.Is(err, approvals.ErrNotFound) {
			return nil
		}
	}
	return d.conclude(ctx, t)
}

// wait leaves the errand with its next due step, and a job for that time if something may then be sent and no sweep comes
// by before.
func (d *Dispatcher) wait(ctx context.Context, t *turn) error {
	if !t.next.At.Equal(t.sheet.Next) || !t.step.At.Equal(t.sheet.Next) {
		if err := d.postpone(ctx, t); err != nil {
			return err
		}
	}
	if d.Bus == nil || t.next.Channel == "" || t.next.At.Sub(d.Now()) > sweepAhead {
		return nil
	}
	if err := d.wake(ctx, t, t.next.At); err != nil {
		d.Log.WarnContext(ctx, "bus does not take schedules, leaving them to the sweep", "err", err)
	}
	return nil
}

// postpone moves the due step. A message that is kept back although its turn has come goes into the timeline, once for
// each reason.
func (d *Dispatcher) postpone(ctx context.Context, t *turn) error {
	if !t.next.Held || t.knownHeld() {
		return d.conclude(ctx, t)
	}
	d.Log.InfoContext(ctx, "message kept back", "of", label(t.step), "channel", t.next.Channel, "until", t.next.At,
		"why", t.next.Reason)
	return d.report(ctx, t, t.held())
}

// fail ends what cannot be put before anybody, unless the claims say something else by now.
func (d *Dispatcher) fail(ctx context.Context, t *turn) error {
	if err := t.errand.fail(ctx, t.next, t.sheet.unchanged()); err != nil {
		return err
	}
	d.Log.WarnContext(ctx, "nobody can be reached", "of", label(t.step), "cause", t.next.Cause, "why", t.next.Reason)
	return nil
}
