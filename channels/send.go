package channels

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"assent/approvals"
)

// send claims the message, hands it over, and keeps the outcome. The claim, its link and the due step at the end of its
// lease commit together, while the request still waits; then nobody else sends this message, and if this process dies
// somebody settles the claim.
func (d *Dispatcher) send(ctx context.Context, t *turn) error {
	next := t.next
	if !t.task.Once && !d.room.take(t.errand.person(), d.Policy.Messages, t.now) {
		return nil // somebody else has taken the last place: plan again
	}
	until := t.now.Add(SendTimeout + leaseMargin)
	t.sheet.Tries = append(t.sheet.Tries, Try{Channel: next.Channel, Attempt: next.Attempt, To: next.To,
		Kind: next.Kind, At: t.now, Until: until, Why: next.Reason, Duplicate: next.Duplicate})
	m := t.errand.message(next, t.now)
	count := d.count(ctx, t, m)
	m.Counted = count.At
	err := t.errand.hold(ctx, slices.Concat(t.leave(until), t.errand.link(next), count.Writes)...)
	count.done(err == nil)
	if err != nil {
		d.giveRoom(t)
		return err
	}
	d.written(t)
	report, err := approvals.Delivery{Code: count.Code}, count.Refused
	if err == nil {
		report, err = d.handOver(ctx, t, m, until.Add(-leaseMargin))
	}
	if report.Code == codeLate {
		count.back()
	}
	d.noted(ctx, next.Channel, err)
	if o := outcomeOf(err); o != Accepted && o != Unknown {
		d.giveRoom(t)
	}
	about := []slog.Attr{slog.String("of", label(t.step)), slog.String("channel", next.Channel), slog.Int("attempt", next.Attempt),
		slog.String("why", next.Reason)}
	if err == nil {
		d.Log.LogAttrs(ctx, slog.LevelInfo, "message accepted", about...)
	} else {
		d.Log.LogAttrs(ctx, slog.LevelWarn, "message not accepted",
			append(about, slog.String("outcome", string(outcomeOf(err))), slog.Any("err", err))...)
	}
	if errors.Is(err, ErrGone) {
		d.forget(ctx, t.errand.person(), t.to[next.To])
	}
	again := time.Time{}
	if after := RetryAfter(err); after > 0 {
		again = d.wall().Add(after)
	}
	return d.settle(ctx, t, next, result{outcome: outcomeOf(err), again: again, report: report})
}

// count asks the channel how the message counts, if it keeps count in the store.
func (d *Dispatcher) count(ctx context.Context, t *turn, m Message) Count {
	if counter, counts := d.Channels[t.next.Channel].(Counter); counts {
		return counter.Count(ctx, t.to[t.next.To], m)
	}
	return Count{}
}

// giveRoom takes back that the person was sent what certainly did not leave. A one-time code has taken no room.
func (d *Dispatcher) giveRoom(t *turn) {
	if !t.task.Once {
		d.room.give(t.errand.person(), t.now)
	}
}

// result is what a provider has answered.
type result struct {
	outcome Outcome
	lost    bool      // nobody has heard the answer
	again   time.Time // not before, if it says so
	report  approvals.Delivery
}

// handOver calls the provider, which has until then to answer. When the commit of the claim has taken longer than that,
// somebody else may find the lease over while we call, and two would send: then nothing is sent from here. Nor is it when
// the request has closed meanwhile.
func (d *Dispatcher) handOver(ctx context.Context, t *turn, m Message, until time.Time) (approvals.Delivery, error) {
	now := d.Now()
	left := until.Sub(now)
	if left <= 0 || !now.Before(t.task.Close) {
		return approvals.Delivery{Code: codeLate}, Uncalled(fmt.Errorf("hand over: claim was committed too late: %w", ErrBusy))
	}
	limited, cancel := context.WithTimeout(ctx, min(left, SendTimeout))
	defer cancel()
	return d.Channels[t.next.Channel].Send(limited, t.to[t.next.To], m)
}

// settle keeps the outcome of a claim, in one transaction with what comes next. A claim that somebody else has settled
// is left alone, unless all they could say was "unknown".
func (d *Dispatcher) settle(ctx context.Context, t *turn, n Next, got result) error {
	o, report := got.outcome, got.report
	return d.again(ctx, t, func(t *turn) error {
		try, found := t.sheet.try(n.Channel, n.Attempt)
		if !found || try.Outcome != Open && (try.Outcome != Unknown || o == Unknown) {
			return nil
		}
		try.Outcome, try.Ended, try.Again, try.Lost = o, t.now, got.again, got.lost
		report.Channel, report.Attempt, report.At, report.Why, report.Duplicate = n.Channel, n.Attempt, t.now, try.Why,
			try.Duplicate
		report.Claimed = try.At
		try.Until = time.Time{}
		if o != Unknown {
			try.Why = "" // the report has it
		}
		t.plan()
		report.Status, report.Code = status(o, report.Code)
		return d.report(ctx, t, report)
	})
}

// status is how an outcome stands in the timeline.
func status(o Outcome, code string) (approvals.Status, string) {
	switch o {
	case Accepted:
		return approvals.StatusAccepted, code
	case Unknown:
		return approvals.StatusUnknown, code
	}
	if code == "" {
		code = string(o)
	}
	return approvals.StatusFailed, code
}

// again reads anew and tries change until nobody was faster. t then stands where the errand stands.
func (d *Dispatcher) again(ctx context.Context, t *turn, change func(*turn) error) error {
	for range maxTurns {
		fresh, err := d.lookOn(ctx, t)
		if errors.Is(err, approvals.ErrNotFound) {
			t.known = false
			return nil
		}
		if err != nil {
			return err
		}
		fresh.planned = false // the request may have ended since, and whoever saw it end saw an open claim
		err = change(fresh)
		if err == nil {
			*t = *fresh
			return nil
		}
		if !errors.Is(err, approvals.ErrConflict) {
			return err
		}
		t.known = false
	}
	return fmt.Errorf("keep outcome: %w", approvals.ErrConflict)
}

// retract closes what lies on the person's device. It may run twice; the device sees the same tag.
func (d *Dispatcher) retract(ctx context.Context, t *turn) error {
	next := t.next
	channel, able := d.Channels[next.Channel].(Retracter)
	if !able {
		return fmt.Errorf("retract by %s: channel cannot: %w", next.Channel, approvals.ErrDrop)
	}
	limited, cancel := context.WithTimeout(ctx, SendTimeout)
	defer cancel()
	err := channel.Retract(limited, t.to[next.To], t.errand.message(next, t.now))
	d.noted(ctx, next.Channel, err)
	done := err == nil || errors.Is(err, ErrGone) || errors.Is(err, ErrRejected)
	log := d.Log.With("of", label(t.step), "channel", next.Channel, "attempt", next.Attempt)
	if err == nil {
		log.InfoContext(ctx, "message taken back")
	} else {
		log.WarnContext(ctx, "message not taken back", "again", !done, "err", err)
	}
	return d.again(ctx, t, func(t *turn) error {
		if !t.sheet.retract(next, done, t.now) {
			return nil // somebody else has
		}
		t.plan()
		if err != nil { // not closed, even if trying again is of no use
			return d.conclude(ctx, t)
		}
		return d.report(ctx, t, approvals.Delivery{Channel: next.Channel, Attempt: next.Attempt, Status: approvals.StatusRetracted,
			At: t.now})
	})
}

// retract marks everything that lies at that address, because one tag closes it all. It reports whether anything did.
func (s *sheet) retract(n Next, done bool, now time.Time) (found bool) {
	for i := range s.Tries {
		try := &s.Tries[i]
		if try.Channel != n.Channel || try.To != n.To || try.Retracted {
			continue
		}
		found = true
		try.Retracted = done
		try.RetractTries++
		try.RetractAt = now.Add(min(backoff(busyFirst, try.RetractTries), busyMost))
	}
	return found
}

// forget removes an address that its provider says is gone. If the person was changed meanwhile, the next message finds
// out again.
func (d *Dispatcher) forget(ctx context.Context, id approvals.PersonID, gone approvals.Address) {
	p, err := d.Directory.Person(ctx, id)
	if err != nil {
		return
	}
	changed := *p
	changed.Addresses = slices.DeleteFunc(slices.Clone(p.Addresses), func(a approvals.Address) bool {
		return a.Channel == gone.Channel && a.Value == gone.Value
	})
	if len(changed.Addresses) == len(p.Addresses) {
		return
	}
	if err := d.Directory.SavePerson(ctx, &changed); err != nil {
		d.Log.WarnContext(ctx, "address that is gone not forgotten", "person", p, "err", err)
	}
}
