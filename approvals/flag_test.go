package approvals_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/approvals"
	"assent/ciba/rowtest"
)

// report has a person report a new request of the bot.
func (o *office) report(d *approvals.Desk, who approvals.PersonID) (approvals.ID, error) {
	o.t.Helper()
	r, _, err := o.open(o.another(who, "bot"))
	must(o.t, err)
	a := o.answer(r)
	a.By = who
	_, err = d.Report(o.t.Context(), r.ID, a)
	return r.ID, err
}

func (o *office) agent(id approvals.AgentID) *approvals.Agent {
	o.t.Helper()
	a, err := o.dir.Agent(o.t.Context(), id)
	must(o.t, err)
	return a
}

// TestReport is REQ-266: the decision, the block and the flag are one transaction; the rest of what the agent has of the
// person goes, and other people are asked on.
func TestReport(t *testing.T) {
	rowtest.Row(t, "REQ-266")
	o := newOffice(t)
	h := o.have()
	id, err := o.report(o.Desk, "ann")
	must(t, err)
	h.over(o)
	r, err := o.Request(t.Context(), id)
	must(t, err)
	if r.State != approvals.Denied || !r.Decisions[0].Reported || r.Decisions[0].Digest == "" {
		t.Errorf("%s by %+v", r.State, r.Decisions)
	}
	events, err := o.store.Events(t.Context(), id)
	must(t, err)
	if e := events[len(events)-1]; e.Kind != "denied" || e.Facts["reported"] != "true" {
		t.Errorf("audit record %+v", e)
	}
	flags, err := o.Flagged(t.Context())
	if err != nil || len(flags) != 1 || flags["bot"] != (approvals.Flags{Reports: 1}) {
		t.Errorf("flags %v, %v", flags, err)
	}
	if o.agent("bot").Disabled {
		t.Error("one person is enough to shut an agent out for everybody")
	}
	must(t, o.Reconnect(t.Context(), "ann", "bot"))
	if _, _, err := o.open(); !errors.Is(err, approvals.ErrShutOut) {
		t.Errorf("the person has lifted the report: %v", err)
	}
	if n, _ := o.Reports(); n != 1 {
		t.Errorf("%d reports counted", n)
	}
}

// TestReportRefused: what cannot be denied cannot be reported, and leaves no mark.
func TestReportRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		act  func(o *office, r *approvals.Request) approvals.PersonID
		want error
	}{
		"somebody else": {func(*office, *approvals.Request) approvals.PersonID { return "bob" }, approvals.ErrWrongPerson},
		"decided": {func(o *office, r *approvals.Request) approvals.PersonID {
			_, err := o.Approve(o.t.Context(), r.ID, o.answer(r))
			must(o.t, err)
			return "ann"
		}, approvals.ErrDecided},
		"over": {func(o *office, r *approvals.Request) approvals.PersonID {
			o.wait(r.ExpiresAt.Sub(o.now()))
			return "ann"
		}, approvals.ErrDecided},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			r, _, err := o.open()
			must(t, err)
			a := o.answer(r)
			a.By = tt.act(o, r)
			if _, err := o.Report(t.Context(), r.ID, a); !errors.Is(err, tt.want) {
				t.Errorf("Report: %v, want %v", err, tt.want)
			}
			flags, err := o.Flagged(t.Context())
			must(t, err)
			pairs, err := o.Pairs(t.Context(), a.By, 10)
			if len(flags)+len(pairs) > 0 || err != nil {
				t.Errorf("marks are left: %v %v, %v", flags, pairs, err)
			}
		})
	}
}

// TestSuspension: the second person who reports an agent ends it for everybody, once; the same person twice does not.
// An operator who clears it lifts everything that the reports have brought, and nothing else.
func TestSuspension(t *testing.T) {
	rowtest.Row(t, "REQ-266")
	o := newOffice(t)
	o.save(&approvals.Person{ID: "eve", Name: "Eve"})
	theirs, _, err := o.open(o.another("eve", "bot"))
	must(t, err)
	standing := o.redeemed(t, true)
	uncollected, secret, err := o.open(o.another("eve", "bot"))
	must(t, err)
	o.approves(o.Desk, uncollected)
	_, err = o.report(o.Desk, "ann")
	must(t, err)
	must(t, o.Disconnect(t.Context(), "ann", "bot"))
	if _, err := o.Clear(t.Context(), "nobody"); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("clear an unknown agent: %v", err)
	}
	_, err = o.report(o.Desk, "bob")
	must(t, err)
	if bot := o.agent("bot"); !bot.Disabled || bot.DisabledWhy != approvals.DisabledReported {
		t.Errorf("not suspended: %+v", bot)
	}
	r, err := o.store.Request(t.Context(), theirs.ID)
	if err != nil || r.State != approvals.Cancelled || r.Reason != approvals.NotEligible {
		t.Errorf("somebody else's request is %s (%s), %v", r.State, r.Reason, err)
	}
	if r, err := o.store.Request(t.Context(), standing); err != nil || r.RevokedAt.IsZero() {
		t.Errorf("an approval still stands, %v", err)
	}
	if reports, suspended := o.Reports(); reports != 2 || suspended != 1 {
		t.Errorf("%d reports and %d suspensions counted", reports, suspended)
	}
	for _, want := range []int{2, 0} {
		if n, err := o.Clear(t.Context(), "bot"); n != want || err != nil {
			t.Errorf("clear: %d, %v, want %d", n, err, want)
		}
	}
	if _, err := o.Redeem(t.Context(), "bot", uncollected.ID, secret); !errors.Is(err, approvals.ErrWithdrawn) {
		t.Errorf("collect what was approved before the suspension: %v", err)
	}
	if _, _, err := o.open(o.another("bob", "bot")); err != nil {
		t.Errorf("ask who had reported: %v", err)
	}
	if _, _, err := o.open(); !errors.Is(err, approvals.ErrShutOut) {
		t.Errorf("ask who had also disconnected: %v", err)
	}
	if flags, err := o.Flagged(t.Context()); len(flags) > 0 || err != nil {
		t.Errorf("flags are left: %v, %v", flags, err)
	}
}

// TestClearLeavesDisabled: what an operator has disabled by hand stays so.
func TestClearLeavesDisabled(t *testing.T) {
	o := newOffice(t)
	for _, who := range []approvals.PersonID{"ann", "bob"} {
		if who == "bob" {
			r, _, err := o.open(o.another("bob", "bot"))
			must(t, err)
			off := *o.agent("bot")
			off.Disabled = true
			o.saveAgent(&off)
			a := o.answer(r)
			a.By = "bob"
			_, err = o.Report(t.Context(), r.ID, a)
			must(t, err)
			continue
		}
		_, err := o.report(o.Desk, who)
		must(t, err)
	}
	_, err := o.Clear(t.Context(), "bot")
	if bot := o.agent("bot"); err != nil || !bot.Disabled {
		t.Errorf("%+v, %v", bot, err)
	}
}

// TestClearGone: the flags of an agent that is gone can be lifted, and the people who reported it are freed of the block.
func TestClearGone(t *testing.T) {
	o := newOffice(t)
	_, err := o.report(o.Desk, "ann")
	must(t, err)
	must(t, o.dir.RemoveAgent(t.Context(), o.agent("bot")))
	for _, want := range []struct {
		reports int
		err     error
	}{{1, nil}, {0, approvals.ErrNotFound}} {
		if n, err := o.Clear(t.Context(), "bot"); n != want.reports || !errors.Is(err, want.err) {
			t.Errorf("clear: %d, %v, want %d, %v", n, err, want.reports, want.err)
		}
	}
	flags, err := o.Flagged(t.Context())
	must(t, err)
	if pair, err := o.Pair(t.Context(), "ann", "bot"); err != nil || pair.Blocked() || len(flags) > 0 {
		t.Errorf("left: %v, blocked %v, %v", flags, pair.Blocked(), err)
	}
}

// interrupted does something after the flags were read for the first time, and before anything rests on them.
type interrupted struct {
	approvals.Records
	once sync.Once
	do   func()
}

func (i *interrupted) then(kind string) {
	if kind == "flag.reported" {
		i.once.Do(i.do)
	}
}

func (i *interrupted) Scan(ctx context.Context, kind, prefix string, limit int) ([]approvals.Record, error) {
	found, err := i.Records.Scan(ctx, kind, prefix, limit)
	i.then(kind)
	return found, err
}

func (i *interrupted) ScanAfter(ctx context.Context, kind, after string, limit int) ([]approvals.Record, error) {
	found, err := i.Records.ScanAfter(ctx, kind, after, limit)
	i.then(kind)
	return found, err
}

// meanwhile is a desk to which this happens.
func (o *office) meanwhile(do func()) *approvals.Desk {
	parts := o.parts(o.store, o.hub)
	parts.Records = &interrupted{Records: o.store, do: do}
	return approvals.NewDesk(parts)
}

// TestClearedWhileWeighed: nobody is suspended for reports that an operator has lifted in between.
func TestClearedWhileWeighed(t *testing.T) {
	o := newOffice(t)
	_, err := o.report(o.Desk, "ann")
	must(t, err)
	_, err = o.report(o.meanwhile(func() {
		if n, err := o.Clear(t.Context(), "bot"); n != 2 || err != nil {
			t.Errorf("clear: %d, %v", n, err)
		}
	}), "bob")
	must(t, err)
	flags, err := o.Flagged(t.Context())
	must(t, err)
	if bot := o.agent("bot"); bot.Disabled || len(flags) > 0 {
		t.Errorf("%+v with flags %v", bot, flags)
	}
}

// TestReportedWhileCleared: what people report while an operator clears older reports stands, and is weighed.
func TestReportedWhileCleared(t *testing.T) {
	o := newOffice(t)
	o.save(&approvals.Person{ID: "eve", Name: "Eve"})
	ask := func(who approvals.PersonID) (approvals.ID, approvals.Answer) {
		r, _, err := o.open(o.another(who, "bot"))
		must(t, err)
		a := o.answer(r)
		a.By = who
		return r.ID, a
	}
	first, answer := ask("ann")
	again, second := ask("ann")
	other, third := ask("eve")
	dir := o.dir
	_, err := o.beside(brittle{writes: 1}).Report(t.Context(), first, answer) // its rest is left to the sweep
	must(t, err)
	o.dir = dir
	o.wait(time.Second)
	_, err = o.meanwhile(func() {
		_, err := o.Report(t.Context(), again, second)
		must(t, err)
		_, err = o.Report(t.Context(), other, third)
		must(t, err)
	}).Clear(t.Context(), "bot")
	must(t, err)
	flags, err := o.Flagged(t.Context())
	must(t, err)
	pair, err := approvals.NewDesk(o.parts(o.store, approvals.NewHub())).Pair(t.Context(), "ann", "bot")
	must(t, err)
	if bot := o.agent("bot"); !bot.Disabled || flags["bot"].Reports != 2 || !pair.Blocked() {
		t.Errorf("%+v with flags %v, blocked %v", bot, flags, pair.Blocked())
	}
}

// TestReportCrash: whatever write is the last one before a crash, either nothing was decided, or the next start brings
// the report to its end: the agent is suspended and everything of it withdrawn.
func TestReportCrash(t *testing.T) {
	for last := range 5 {
		t.Run(fmt.Sprint(last), func(t *testing.T) {
			o := newOffice(t)
			o.save(&approvals.Person{ID: "eve", Name: "Eve"})
			theirs, _, err := o.open(o.another("eve", "bot"))
			must(t, err)
			_, err = o.report(o.Desk, "ann")
			must(t, err)
			r, _, err := o.open(o.another("bob", "bot"))
			must(t, err)
			a := o.answer(r)
			a.By = "bob"
			_, err = o.beside(brittle{writes: int64(last)}).Report(t.Context(), r.ID, a)
			if last == 0 != errors.Is(err, approvals.ErrUnavailable) {
				t.Fatalf("Report: %v", err)
			}
			o.Desk = o.beside(brittle{writes: 1000}) // a new start
			_, err = o.Sweep(t.Context())
			must(t, err)
			denied, err := o.store.Request(t.Context(), r.ID)
			must(t, err)
			if last == 0 {
				if denied.State != approvals.Pending || o.agent("bot").Disabled {
					t.Errorf("half a report: %s", denied.State)
				}
				return
			}
			left, err := o.store.Request(t.Context(), theirs.ID)
			must(t, err)
			if denied.State != approvals.Denied || !o.agent("bot").Disabled || left.State != approvals.Cancelled {
				t.Errorf("%s, %+v, %s", denied.State, o.agent("bot"), left.State)
			}
		})
	}
}

// TestReportsAtOnce: of people who report at the same moment, somebody sees that they are enough.
func TestReportsAtOnce(t *testing.T) {
	o := newOffice(t)
	requests := map[approvals.PersonID]approvals.Answer{}
	ids := map[approvals.PersonID]approvals.ID{}
	for _, who := range []approvals.PersonID{"ann", "bob"} {
		r, _, err := o.open(o.another(who, "bot"))
		must(t, err)
		a := o.answer(r)
		a.By = who
		requests[who], ids[who] = a, r.ID
	}
	var reporting sync.WaitGroup
	for who, a := range requests {
		for range 2 { // a double tap
			reporting.Go(func() {
				if _, err := o.Report(t.Context(), ids[who], a); err != nil && !errors.Is(err, approvals.ErrDecided) {
					t.Error(err)
				}
			})
		}
	}
	reporting.Wait()
	if !o.agent("bot").Disabled {
		t.Error("not suspended")
	}
	if reports, suspended := o.Reports(); reports != 2 || suspended != 1 {
		t.Errorf("%d reports and %d suspensions counted", reports, suspended)
	}
}

// TestLongIDs: the longest ids that are allowed fit into every key.
func TestLongIDs(t *testing.T) {
	o := newOffice(t)
	who, bot := strings.Repeat("p", 255), strings.Repeat("a", 255)
	o.save(&approvals.Person{ID: approvals.PersonID(who), Name: "Long"})
	o.saveAgent(&approvals.Agent{ID: approvals.AgentID(bot), Name: "Long"})
	r, _, err := o.open(o.another(approvals.PersonID(who), approvals.AgentID(bot)))
	must(t, err)
	a := o.answer(r)
	a.By = approvals.PersonID(who)
	_, err = o.Report(t.Context(), r.ID, a)
	must(t, err)
}

// TestFlag: a mark commits with whatever it is about, counts one person once, and blocks nobody.
func TestFlag(t *testing.T) {
	o := newOffice(t)
	for range 2 {
		r, _, err := o.open()
		must(t, err)
		flag := approvals.Flag{Agent: r.Agent, Person: r.Subject, Why: approvals.FlagCode, Request: r.ID, At: o.now()}
		_, err = o.Hold(t.Context(), r.ID, flag.Put())
		must(t, err)
	}
	if flags, err := o.Flagged(t.Context()); err != nil || flags["bot"] != (approvals.Flags{WrongCodes: 1}) {
		t.Errorf("flags %v, %v", flags, err)
	}
	if _, err := o.Clear(t.Context(), "bot"); err != nil {
		t.Error(err)
	}
	if flags, err := o.Flagged(t.Context()); err != nil || len(flags) > 0 {
		t.Errorf("flags %v, %v", flags, err)
	}
}
