package channels

import (
	"context"
	"errors"
	"fmt"
	"time"

	"assent/approvals"
)

// errand is one thing that a person must be told, as read just now: a request that waits, or a one-time code.
type errand interface {
	matter
	ledger
}

// matter is what is to be told, and to whom. It only looks at what was read.
type matter interface {
	// person is whom it is for.
	person() approvals.PersonID
	// first is when its first step was due.
	first() time.Time
	// expires is when its sheet may go.
	expires() time.Time
	// task is what is known of it beside ladder and tries. p is nil when the person is gone.
	task(ctx context.Context, p *approvals.Person, now time.Time) (Task, error)
	// message renders what n sends, as of now.
	message(n Next, now time.Time) Message
}

// ledger is where it is kept what has become of it.
type ledger interface {
	// link makes the message of n findable; there may be no such write.
	link(n Next) []approvals.Write
	// hold makes the writes of a claim, if the errand may still be sent at this instant.
	hold(ctx context.Context, writes ...approvals.Write) error
	// record makes the writes of an outcome and keeps the report. alone says that nothing else has happened to the errand since
	// it was read.
	record(ctx context.Context, report approvals.Delivery, writes ...approvals.Write) (alone bool, err error)
	// fail says that nobody can be reached, and why, on condition of the writes.
	fail(ctx context.Context, n Next, writes ...approvals.Write) error
	// refresh brings memory up to date after somebody was faster.
	refresh(ctx context.Context)
}

// keepSheets is how long claims outlive their errand: longer than any job that may still ask for them.
const keepSheets = 48 * time.Hour

// key is the key of an errand's sheet. On the bus it goes by its token.
func key(s approvals.Step) string { return s.Name + "-" + s.Of }

// label names an errand in logs and errors. The id of a code stays out of them.
func label(s approvals.Step) string {
	if s.Name == approvals.StepCode {
		return "code"
	}
	if s.Name == approvals.StepNotice {
		return "notice"
	}
	return s.Of
}

// load reads what a step is about. [approvals.ErrNotFound] means that there is nothing left to do for it.
func (d *Dispatcher) load(ctx context.Context, s approvals.Step) (errand, approvals.Step, error) {
	if s.Name == approvals.StepCode {
		return d.loadCode(ctx, s)
	}
	if s.Name == approvals.StepNotice {
		return d.loadNotice(ctx, s)
	}
	r, err := d.Desk.Request(ctx, approvals.ID(s.Of))
	if err != nil {
		return nil, s, err
	}
	return &request{d: d, r: r}, s, nil
}

// loadCode reads the whole step again: jobs on the bus carry no more than its name.
func (d *Dispatcher) loadCode(ctx context.Context, s approvals.Step) (errand, approvals.Step, error) {
	at := s.Done()
	rec, err := d.Records.Get(ctx, at.Kind, at.Key)
	if err != nil {
		return nil, s, err
	}
	if s, err = readStep(rec); err != nil {
		return nil, s, err
	}
	c, err := approvals.CodeOf(s)
	return &code{d, c, s.At}, s, err
}

// request is the errand of a request that waits for a decision.
type request struct {
	d      *Dispatcher
	r      *approvals.Request
	detail bool // the person wants to read what is asked, where nobody else can
}

func (e *request) person() approvals.PersonID { return e.r.Subject }
func (e *request) first() time.Time           { return e.r.CreatedAt }
func (e *request) expires() time.Time         { return e.r.ExpiresAt.Add(keepSheets) }

func (e *request) task(ctx context.Context, p *approvals.Person, now time.Time) (Task, error) {
	t := Task{From: e.r.CreatedAt, Close: e.r.DecideBy, End: e.r.ExpiresAt,
		Ended: e.r.StateAt(now) != approvals.Pending, Opened: !e.r.OpenedAt.IsZero(), Resend: e.r.ResendAt,
		Reports: e.r.Deliveries}
	if p == nil || t.Ended {
		return t, nil
	}
	e.detail = p.Detail == approvals.DetailSummary
	joined, err := e.joined(ctx, now)
	t.Gates = Gates{Joined: joined, Cool: e.d.Desk.CoolUntil(p.ID, e.r.Agent),
		Room:  e.d.room.until(p.ID, e.d.Policy.Messages, now),
		Quiet: p.Quiet, Zone: p.Zone, Break: e.d.Policy.Break, Loud: e.d.Policy.loud(e.r)}
	return t, err
}

// joined reports whether an equal request still waits, and its messages speak for this one.
func (e *request) joined(ctx context.Context, now time.Time) (bool, error) {
	if e.r.Joins == "" {
		return false, nil
	}
	other, err := e.d.Desk.Request(ctx, e.r.Joins)
	if errors.Is(err, approvals.ErrNotFound) {
		return false, nil
	}
	return err == nil && other.StateAt(now) == approvals.Pending && now.Before(other.DecideBy), err
}

func (e *request) message(n Next, now time.Time) Message {
	m := requestMessage(e.d.Root, e.d.PagesURL, e.r, n, now)
	if e.detail && n.Kind != KindClosed {
		m.Summary = e.summary()
	}
	channel, able := e.d.Channels[n.Channel].(Answerable)
	if !able || !channel.Answers() || n.Kind == KindClosed {
		return m
	}
	m.Answer = true
	if e.r.Level == approvals.LevelLink && len(e.r.Disclosures) > 0 {
		m.Shown = &e.r.Disclosures[0]
	}
	return m
}

// summary is the sentence of the page. What cannot be shown is left out: the message says less then.
func (e *request) summary() string {
	shown, err := e.d.Desk.Show(e.r, e.r.Locale)
	if err != nil {
		return ""
	}
	return shown.Action()
}

// link dies with the request.
func (e *request) link(n Next) []approvals.Write {
	l := approvals.Link{Request: e.r.ID, Person: e.r.Subject, Channel: n.Channel, Attempt: n.Attempt}
	return []approvals.Write{l.Put(linkName(e.d.Root, handle(e.d.Root, e.r.ID, n.Channel, n.Attempt)), e.r.ExpiresAt)}
}

func (e *request) hold(ctx context.Context, writes ...approvals.Write) error {
	r, err := e.d.Desk.Hold(ctx, e.r.ID, writes...)
	if err == nil {
		e.r = r
	}
	return err
}

func (e *request) record(ctx context.Context, report approvals.Delivery, writes ...approvals.Write) (alone bool, err error) {
	r, err := e.d.Desk.Record(ctx, e.r.ID, report, writes...)
	if errors.Is(err, approvals.ErrDrop) || errors.Is(err, approvals.ErrNotFound) { // full, or gone: keep the outcome
		return false, e.d.Records.Apply(ctx, writes...)
	}
	return err == nil && r.Rev == e.r.Rev+1, err
}

// fail looks at the store first: the page may have been opened at another node, and memory hears of that a little later.
func (e *request) fail(ctx context.Context, n Next, writes ...approvals.Write) error {
	r, err := e.d.Desk.AsOf(ctx, e.r.ID, e.r.Events+1)
	if err != nil {
		return err
	}
	if e.r.OpenedAt.IsZero() && !r.OpenedAt.IsZero() {
		return fmt.Errorf("fail: opened meanwhile: %w", approvals.ErrConflict)
	}
	_, err = e.d.Desk.Fail(ctx, e.r.ID, n.Cause, writes...)
	return err
}

// refresh may fail: then the next look finds out.
func (e *request) refresh(ctx context.Context) { _, _ = e.d.Desk.AsOf(ctx, e.r.ID, e.r.Events+1) }

// code is the errand of a one-time code. It has no timeline: nothing about it is kept but its claims.
type code struct {
	d  *Dispatcher
	c  approvals.Code
	at time.Time
}

func (e *code) person() approvals.PersonID          { return e.c.Person }
func (e *code) first() time.Time                    { return e.at }
func (e *code) expires() time.Time                  { return e.c.Expires.Add(keepSheets) }
func (e *code) link(Next) []approvals.Write         { return nil }
func (e *code) message(n Next, _ time.Time) Message { return codeMessage(e.d.Root, e.c, n) }

func (e *code) task(context.Context, *approvals.Person, time.Time) (Task, error) {
	return Task{Close: e.c.Expires, End: e.c.Expires, Once: true}, nil
}

func (e *code) hold(ctx context.Context, writes ...approvals.Write) error {
	if !e.d.Now().Before(e.c.Expires) {
		return fmt.Errorf("send code: %w", approvals.ErrTooLate)
	}
	return e.d.Records.Apply(ctx, writes...)
}

func (e *code) record(ctx context.Context, _ approvals.Delivery, writes ...approvals.Write) (alone bool, err error) {
	return false, e.d.Records.Apply(ctx, writes...)
}

func (e *code) refresh(context.Context) {} // it is read from the store each time

func (e *code) fail(context.Context, Next, ...approvals.Write) error { return nil } // the page offers another code
