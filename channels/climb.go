package channels

import (
	"slices"
	"time"

	"assent/approvals"
)

// climb tries to tell somebody at last.
func (t Task) climb(now time.Time) Next {
	if len(t.Ladder) == 0 && len(t.Tries) == 0 {
		return Next{Do: Nothing, Reason: "inbox only"}
	}
	if t.Opened { // found in the inbox, or by a message that nobody heard of
		return t.rest("opened")
	}
	best, quiet := t.further(now), t.quiet("")
	switch {
	case best.Do == Send:
		return t.gated(best, now)
	case now.Before(quiet): // the person may be reading
		return Next{Do: Wait, At: earliest(quiet, t.Close), Reason: "outcome unknown"}
	case t.Once:
		return Next{Do: Nothing, Reason: "ladder exhausted"}
	case t.capped(): // nothing is wrong with the address
		return t.rest(WhyCap)
	}
	return Next{Do: Fail, Cause: approvals.Unreachable, Reason: "ladder exhausted"}
}

// capped reports whether a cap of ours was all that kept the last message from some address.
func (t Task) capped() bool {
	for _, rung := range t.Ladder {
		if tries := t.of(rung, KindRequest); len(tries) > 0 && tries[len(tries)-1].Outcome == Capped {
			return true
		}
	}
	return false
}

// further looks for the address that can be tried first; the order decides between equals.
func (t Task) further(now time.Time) (best Next) {
	hold := now // no later rung before this
	for _, rung := range t.Ladder {
		next, left := t.attempt(rung)
		next.At = latest(latest(next.At, hold), t.quiet(rung.To))
		if left && next.At.Before(t.Close) && (best.Do == "" || next.At.Before(best.At)) {
			best = next
		}
		hold = latest(hold, t.patience(rung))
	}
	return best
}

// attempt says when a rung may be tried (again), or that it is used up.
func (t Task) attempt(rung Rung) (next Next, left bool) {
	tries := t.of(rung, KindRequest)
	next = t.message(rung, KindRequest)
	next.At, next.Reason = t.free(rung), "next address"
	if len(tries) == 0 {
		return next, true
	}
	last := tries[len(tries)-1]
	if last.Outcome != Accepted {
		return t.again(next, rung, tries)
	}
	next.Reason = "no answer to the message before"
	return next, count(tries, Accepted) < rung.Repeat
}

// again says when a message that was refused, or that nobody knows about, may be tried once more at the same rung.
func (t Task) again(next Next, rung Rung, tries []Try) (Next, bool) {
	last := tries[len(tries)-1]
	tries = sinceAccepted(tries)
	next.Duplicate = count(tries, Unknown) > 0
	next.At = t.free(rung)
	switch last.Outcome {
	case Busy:
		next.At = latest(next.At, last.Ended.Add(t.backoff(busyFirst, count(tries, Busy))))
		next.Reason = "provider was busy"
		return next, true
	case Fault:
		next.At = latest(next.At, last.Ended.Add(t.backoff(faultFirst, count(tries, Fault))))
		next.Reason = "provider has refused us"
		return next, true
	case Capped:
		next.At = latest(next.At, last.Ended.Add(t.backoff(busyFirst, count(tries, Capped)))) // others may be faster
		next.Reason = WhyCap
		return next, true
	case Unknown:
		next.At, next.Reason = latest(next.At, last.Ended), "outcome unknown"
		if rung.Reports {
			next.At = latest(next.At, last.Ended.Add(unknownWait))
		}
		lost := lostOf(tries)
		if lost > 1 {
			next.At = latest(next.At, last.Ended.Add(t.backoff(lostFirst, lost-1)))
		}
		return next, count(tries, Unknown)-lost <= 1 // a provider that keeps silent gets it once more
	}
	return next, false
}

// lostOf counts the tries that died with their process. That is no fault of the provider, and perhaps nothing was sent: each
// one is made good, later each time.
func lostOf(tries []Try) (n int) {
	for _, try := range tries {
		if try.Outcome == Unknown && try.Lost {
			n++
		}
	}
	return n
}

// free is until when the rung's provider is left alone, or a cap of ours keeps messages from the address.
func (t Task) free(rung Rung) time.Time {
	until := rung.Down
	for _, try := range t.Tries {
		if try.Channel == rung.Channel && (try.Outcome != Capped || try.To == rung.To) {
			until = latest(until, try.Again)
		}
	}
	return until
}

// quiet is until when nothing goes to that address, because the person may be reading what came. What perhaps came there is
// no reason to wait: that message is to be made certain.
func (t Task) quiet(to string) (until time.Time) {
	for _, try := range t.Tries {
		if try.Outcome == Accepted || try.Outcome == Unknown && try.To != to {
			until = latest(until, try.Ended.Add(t.waitAfter(try)))
		}
	}
	return until
}

// patience is how long the rungs after this one wait for a busy provider, from its first answer.
func (t Task) patience(rung Rung) time.Time {
	for _, try := range t.of(rung, KindRequest) {
		if try.Outcome == Busy {
			return try.Ended.Add(rung.Wait)
		}
	}
	return time.Time{}
}

// follow goes on after somebody was told: the next address unless the page is open, and one reminder.
func (t Task) follow(told Try, now time.Time) Next {
	if t.Once {
		return Next{Do: Nothing, Reason: "sent"}
	}
	next := t.reminder(told)
	if !t.Opened {
		if further := t.further(now); further.Do == Send && (next.Do == "" || further.At.Before(next.At)) {
			next = further
		}
	}
	if next.Do == "" || !next.At.Before(t.Close) {
		return t.rest("told")
	}
	return t.gated(next, now)
}

// reminder goes once, the way the last message went.
func (t Task) reminder(told Try) (next Next) {
	life := t.End.Sub(t.From)
	rung, found := t.rung(told)
	if !found || life <= remindAbove {
		return Next{}
	}
	next = t.message(rung, KindReminder)
	next.Reason = "half of the time is over"
	if tries := t.reminders(); len(tries) > 0 {
		var left bool
		if next, left = t.again(next, rung, tries); !left {
			return Next{}
		}
	}
	next.At = latest(latest(next.At, t.free(rung)), latest(t.From.Add(life/2), t.quiet("")))
	return next
}

func (t Task) reminders() []Try {
	return only(t.Tries, func(try *Try) bool { return try.Kind == KindReminder })
}

func (t Task) message(rung Rung, kind Kind) Next {
	attempt := 1
	for _, try := range t.Tries {
		if try.Channel == rung.Channel {
			attempt = max(attempt, try.Attempt+1)
		}
	}
	return Next{Do: Send, Channel: rung.Channel, To: rung.To, Attempt: attempt, Kind: kind}
}

// of returns the tries of one kind at one address, to be read only. A reminder neither uses an address up nor saves it.
func (t Task) of(rung Rung, kind Kind) []Try {
	return only(t.Tries, func(try *Try) bool {
		return try.Channel == rung.Channel && try.To == rung.To && (try.Kind == KindReminder) == (kind == KindReminder)
	})
}

// only returns the tries that are meant: the very list if they all are, as they mostly are.
func only(tries []Try, meant func(*Try) bool) (some []Try) {
	for i := range tries {
		if !meant(&tries[i]) {
			some = slices.Clone(tries[:i])
			for i++; i < len(tries); i++ {
				if meant(&tries[i]) {
					some = append(some, tries[i])
				}
			}
			return some
		}
	}
	return tries
}

// sinceAccepted leaves out what came before the last message that was accepted: a repeat is a message of its own.
func sinceAccepted(tries []Try) []Try {
	for i := len(tries) - 1; i >= 0; i-- {
		if tries[i].Outcome == Accepted {
			return tries[i+1:]
		}
	}
	return tries
}

func (t Task) rung(try Try) (Rung, bool) {
	for _, rung := range t.Ladder {
		if rung.Channel == try.Channel && rung.To == try.To {
			return rung, true
		}
	}
	return Rung{}, false
}

func (t Task) waitAfter(try Try) time.Duration {
	if rung, found := t.rung(try); found {
		return rung.Wait
	}
	return DefaultWait
}

func count(tries []Try, o Outcome) (n int) {
	for _, try := range tries {
		if try.Outcome == o {
			n++
		}
	}
	return n
}

// backoff is the wait after the n-th failure. Requests of days ask less often than each hour, so that their tries can be
// counted.
func (t Task) backoff(first time.Duration, n int) time.Duration {
	return min(backoff(first, n), max(busyMost, t.End.Sub(t.From)/busyParts))
}

func backoff(first time.Duration, n int) time.Duration {
	return first << min(2*(max(n, 1)-1), 20)
}
