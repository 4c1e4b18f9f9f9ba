package ciba

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
)

// PingChannel is how pings are called on the bus and in the timelines of requests.
const PingChannel = approvals.ChannelPing

// Bus carries jobs to whoever works on pings: now, or at a time. A job that is lost is only late.
type Bus interface {
	// Send keeps one job for a time; a later one with the same channel and key replaces it.
	Send(ctx context.Context, channel, key, id string, at time.Time, payload []byte) error
}

// NotifierParts is what a [Notifier] works with. All members are required but QuietExpiry.
type NotifierParts struct {
	Desk      *approvals.Desk
	Directory *approvals.Directory
	Records   approvals.Records
	Root      *keys.Root
	Bus       Bus
	HTTP      *http.Client // guarded: the agents choose where it goes (REQ-220)
	Now       func() time.Time
	Log       *slog.Logger

	QuietExpiry bool // no ping when nobody answered in time (REQ-210)
}

// Notifier tells the clients in ping mode that there is a result to collect (CIBA section 10.2). What makes every ping
// leave is the due step that the outcome's own transaction has written; events and jobs only make it sooner. What stops
// the second one is the claim in the errand. Nothing that happens here touches a decision (REQ-217).
type Notifier struct {
	NotifierParts
	lanes    lanes
	counters counters
	streaks  streaks
}

// NewNotifier returns a notifier. [Notifier.Run] must run for it to stop in order.
func NewNotifier(p NotifierParts) *Notifier {
	client := *p.HTTP
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // REQ-214
	client.Jar = nil
	p.HTTP = &client
	return &Notifier{NotifierParts: p, lanes: lanes{of: map[approvals.AgentID]*lane{}},
		streaks: streaks{of: map[approvals.AgentID]int{}}}
}

// PingKinds are the kinds of events that Handle can do something with: every outcome. A redemption ends the errand by
// itself.
func PingKinds() []string {
	var kinds []string
	for _, s := range approvals.States() {
		if s != approvals.Pending && s != approvals.Redeemed {
			kinds = append(kinds, string(s))
		}
	}
	return kinds
}

// Handle takes up the request of an event. It does not wait for the call: the event may be acknowledged, because the
// due step stays until the outcome of the call is written. It bears repeats and any order.
func (n *Notifier) Handle(ctx context.Context, e approvals.Event) error {
	if !slices.Contains(PingKinds(), e.Kind) {
		return nil
	}
	r, err := n.Desk.AsOf(ctx, e.Request, e.N)
	if errors.Is(err, approvals.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("handle %s: %w", e.ID(), err)
	}
	n.enter(ctx, r, approvals.Step{Name: StepPing, At: e.At, Of: string(r.ID)})
	return nil
}

// Work takes up the request that a job of the bus is about.
func (n *Notifier) Work(ctx context.Context, key string, _ []byte) error {
	return n.take(ctx, approvals.Step{Name: StepPing, Of: key})
}

// take puts a step into its client's lane. A step whose request is gone is forgotten.
func (n *Notifier) take(ctx context.Context, s approvals.Step) error {
	r, err := n.Desk.Request(ctx, approvals.ID(s.Of))
	if errors.Is(err, approvals.ErrNotFound) {
		return n.drop(ctx, s)
	}
	if err != nil {
		return fmt.Errorf("look at %s: %w", s.Of, err)
	}
	n.enter(ctx, r, s)
	return nil
}

func (n *Notifier) enter(ctx context.Context, r *approvals.Request, s approvals.Step) {
	if r.Wake != StepPing {
		return
	}
	ctx = context.WithoutCancel(ctx) // what has begun is brought to its end; a call has its own time
	room := n.lanes.enter(r.Agent, s, func(s approvals.Step) {
		if err := n.advance(ctx, s); err != nil {
			n.Log.WarnContext(ctx, "ping stays overdue", "request", s.Of, "err", err)
		}
	})
	if !room {
		n.Log.DebugContext(ctx, "ping is left to the sweep", "request", r)
	}
}

// maxTurns bounds how often one call of advance plans again.
const maxTurns = 20

// advance plans and acts until there is nothing to do now.
func (n *Notifier) advance(ctx context.Context, s approvals.Step) error {
	for range maxTurns {
		t, err := n.look(ctx, s)
		if errors.Is(err, approvals.ErrNotFound) {
			return n.drop(ctx, s)
		}
		if err != nil {
			return fmt.Errorf("look at ping: %w", err)
		}
		more, err := n.act(ctx, t)
		if err == nil && !more {
			return nil
		}
		if err != nil && !errors.Is(err, approvals.ErrConflict) { // somebody was faster: plan again
			return fmt.Errorf("ping: %w", err)
		}
		if err == nil {
			s.At = time.Time{} // that step is gone; from now on the errand knows
		}
	}
	return fmt.Errorf("ping: no end after %d turns", maxTurns)
}

// drop forgets a step that there is nothing to do for.
func (n *Notifier) drop(ctx context.Context, s approvals.Step) error {
	if s.At.IsZero() {
		return nil
	}
	return n.Records.Apply(ctx, s.Done())
}

// pinging is one look at an errand.
type pinging struct {
	errand
	r    *approvals.Request
	step approvals.Step // as it was found; without a time it is the errand's
	now  time.Time
}

// look reads everything from the store: memory may be behind the step.
func (n *Notifier) look(ctx context.Context, s approvals.Step) (*pinging, error) {
	r, err := n.Desk.AsOf(ctx, approvals.ID(s.Of), math.MaxUint64)
	if err != nil {
		return nil, err
	}
	e, err := readErrand(ctx, n.Records, r.ID)
	if err != nil {
		return nil, err
	}
	t := &pinging{errand: e, r: r, step: s, now: n.Now()}
	if r.StateAt(t.now) == approvals.Pending {
		return nil, approvals.ErrPending
	}
	return t, nil
}

// leave returns the writes that keep the errand and move its due step to a time; zero: away.
func (t *pinging) leave(at time.Time) []approvals.Write {
	return append(t.moved(at), t.write())
}

// forget returns the writes that erase what was sealed, and the due step.
func (t *pinging) forget() []approvals.Write {
	writes := append(t.moved(time.Time{}), approvals.Delete(kindPing, string(t.r.ID), t.read.Revision))
	if t.GivenUp {
		writes = append(writes, approvals.Delete(kindDead, string(t.r.ID), approvals.AnyRevision))
	}
	return writes
}

// moved replaces every step of the errand: the one that was found, its own, and those that outcomes have left, whether
// or not anybody has come across them.
func (t *pinging) moved(at time.Time) (writes []approvals.Write) {
	old := []time.Time{t.step.At, t.Next, t.r.EndedAt}
	if n := len(t.r.Decisions); n > 0 {
		old = append(old, t.r.Decisions[n-1].At)
	}
	slices.SortFunc(old, time.Time.Compare)
	for _, found := range slices.CompactFunc(old, time.Time.Equal) {
		if !found.IsZero() && !found.Equal(at) {
			writes = append(writes, t.due(found).Done())
		}
	}
	if t.Next = at; !at.IsZero() {
		writes = append(writes, t.due(at).Put())
	}
	return writes
}

func (t *pinging) due(at time.Time) approvals.Step {
	return approvals.Step{Name: StepPing, At: at, Of: string(t.r.ID)}
}

// act does what comes next; more asks for another turn.
func (n *Notifier) act(ctx context.Context, t *pinging) (more bool, err error) {
	switch t.plan(t.r, t.now) {
	case pingForget:
		return false, n.Records.Apply(ctx, t.forget()...)
	case pingRest:
		return false, n.drop(ctx, t.step)
	case pingGiveUp:
		return false, n.stop(ctx, t)
	case pingSettle:
		return n.settle(ctx, t.r.ID, t.Calls, result{pingUnknown, codeLost, 0})
	case pingWait:
		return false, n.wait(ctx, t)
	}
	return n.call(ctx, t)
}

// stop gives an errand up whose patience ended while nobody worked on it.
func (n *Notifier) stop(ctx context.Context, t *pinging) error {
	if err := n.Records.Apply(ctx, t.giveUp()...); err != nil {
		return err
	}
	n.abandoned(ctx, t)
	return nil
}

// wait leaves a job for the time of the next step.
func (n *Notifier) wait(ctx context.Context, t *pinging) error {
	if !t.step.At.IsZero() && !t.step.At.Equal(t.Next) { // a further outcome has come meanwhile: one ping tells of both
		if err := n.Records.Apply(ctx, t.leave(t.Next)...); err != nil {
			return err
		}
	}
	id := string(t.r.ID) + "/ping/" + strconv.Itoa(t.Calls)
	if err := n.Bus.Send(ctx, PingChannel, string(t.r.ID), id, t.Next, nil); err != nil {
		n.Log.WarnContext(ctx, "bus does not take schedules, leaving them to the sweep", "err", err)
	}
	return nil
}

// call claims the errand, calls the agent and keeps what came of it.
func (n *Notifier) call(ctx context.Context, t *pinging) (more bool, err error) {
	to, err := n.endpoint(ctx, t.r.Agent)
	if err != nil {
		return false, err
	}
	if to == "" || n.QuietExpiry && t.r.StateAt(t.now) == approvals.Expired {
		return false, n.Records.Apply(ctx, t.forget()...)
	}
	note, err := n.open(t)
	if err != nil {
		return false, err
	}
	t.claim(t.now)
	if err := n.Records.Apply(ctx, t.leave(t.Until)...); err != nil {
		return false, err
	}
	got := result{pingLate, codeLate, 0}
	if left := t.Until.Add(pingTime - pingLease).Sub(n.Now()); left > 0 { // otherwise somebody may settle while we call
		got = n.post(ctx, to, note, min(left, pingTime))
	}
	n.tell(ctx, t, got)
	return n.settle(ctx, t.r.ID, t.Calls, got)
}

// endpoint is where the agent wants to be told, as it is registered now (REQ-037); "" when it may not be told any more.
func (n *Notifier) endpoint(ctx context.Context, id approvals.AgentID) (string, error) {
	a, err := n.Directory.Agent(ctx, id)
	if errors.Is(err, approvals.ErrNotFound) || err == nil && a.Disabled { // REQ-036
		return "", nil
	}
	if err != nil {
		return "", err
	}
	c, err := ClientOf(a)
	if err != nil {
		return "", err
	}
	return c.NotifyURL, nil
}

func (n *Notifier) open(t *pinging) (note notice, err error) {
	plain, err := n.Root.Open(noticePurpose(t.r.ID), t.Sealed)
	if err == nil {
		err = json.Unmarshal(plain, &note)
	}
	if err != nil {
		return note, fmt.Errorf("open notice: %w", err)
	}
	return note, nil
}
