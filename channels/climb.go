package channels

import "time"

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
		return best.dueAt(now)
	case now.Before(quiet): // the person may be reading
		return Next{Do: Wait, At: earliest(quiet, t.Close), Reason: "outcome unknown"}
	case t.Once:
		return Next{Do: Nothing, Reason: "ladder exhausted"}
	}
	return Next{Do: Fail, Reason: "ladder exhausted"}
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

// dueAt turns a message for later into a wait.
func (n Next) dueAt(now time.Time) Next {
	if n.At.After(now) {
		n.Do = Wait
	}
	return n
}

// attempt says when a rung may be tried (again), or that it is used up.
func (t Task) attempt(rung Rung) (next Next, left bool) {
	tries := t.of(rung)
	next = t.message(rung, KindRequest)
	if len(tries) == 0 {
		next.Reason = "next address"
		return next, true
	}
	last := tries[len(tries)-1]
	next.Duplicate = count(tries, Unknown) > 0
	switch last.Outcome {
	case Busy:
		n := count(tries, Busy)
		next.At, next.Reason = last.Ended.Add(backoff(busyFirst, n)), "provider was busy"
		return next, n < busyTries
	case Unknown:
		next.At, next.Reason = last.Ended, "outcome unknown"
		if rung.Reports {
			next.At = last.Ended.Add(rung.Wait)
		}
		return next, count(tries, Unknown) == 1
	}
	return next, false
}

// quiet is until when no other address than that one is tried, because the person may be reading what came.
func (t Task) quiet(to string) (until time.Time) {
	for _, try := range t.Tries {
		if try.To != to && (try.Outcome == Accepted || try.Outcome == Unknown) {
			until = latest(until, try.Ended.Add(t.waitAfter(try)))
		}
	}
	return until
}

// patience is how long the rungs after this one wait for a busy provider, from its first answer.
func (t Task) patience(rung Rung) time.Time {
	for _, try := range t.of(rung) {
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
	return next.dueAt(now)
}

// reminder goes once, the way the last message went.
func (t Task) reminder(told Try) (next Next) {
	life := t.End.Sub(t.From)
	rung, found := t.rung(told)
	if !found || life <= remindAbove {
		return Next{}
	}
	for _, try := range t.Tries {
		if try.Kind == KindReminder {
			return Next{}
		}
	}
	next = t.message(rung, KindReminder)
	next.At, next.Reason = latest(t.From.Add(life/2), t.quiet("")), "half of the time is over"
	return next
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

// of returns the tries at one address that were not reminders: a reminder neither uses an address up nor saves it.
func (t Task) of(rung Rung) (tries []Try) {
	for _, try := range t.Tries {
		if try.Channel == rung.Channel && try.To == rung.To && try.Kind != KindReminder {
			tries = append(tries, try)
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

// backoff is the wait after the n-th failure.
func backoff(first time.Duration, n int) time.Duration {
	return min(first<<min(2*(n-1), 20), busyMost)
}
