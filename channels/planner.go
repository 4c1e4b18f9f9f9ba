package channels

import (
	"time"

	"assent/approvals"
)

// Numbers of the ladder. All waits count from the outcome before.
const (
	DefaultWait = 60 * time.Second // from one channel to the next, and for a report on an unknown outcome

	remindAbove  = 4 * time.Minute // requests that live no longer get no reminder
	busyTries    = 8               // at one address; their waits add up to 1.7 hours
	busyFirst    = 2 * time.Second // then four times as long each
	busyMost     = time.Hour
	retractTries = 5
)

// Outcome is what became of one try.
type Outcome string

// Outcomes. The empty one means that the call is still under way, or that its process has died.
const (
	Open     Outcome = ""
	Accepted Outcome = "accepted" // the provider has it
	Busy     Outcome = "busy"     // certainly not sent
	Gone     Outcome = "gone"
	Rejected Outcome = "rejected"
	Fault    Outcome = "fault"   // our account or settings were refused
	Failed   Outcome = "failed"  // reported later
	Unknown  Outcome = "unknown" // perhaps sent
)

// Try is one claimed message: request, channel and attempt name it.
type Try struct {
	Channel   string    `json:"channel"`
	Attempt   int       `json:"attempt"` // 1 for the first message of the channel
	To        string    `json:"to"`      // which address, as a keyed name
	Kind      Kind      `json:"kind"`
	At        time.Time `json:"at"`
	Until     time.Time `json:"until"` // end of the lease
	Outcome   Outcome   `json:"outcome,omitempty"`
	Ended     time.Time `json:"ended,omitzero"` // when the outcome was known
	Duplicate bool      `json:"possible_duplicate,omitempty"`

	Retracted    bool      `json:"retracted,omitempty"`
	RetractTries int       `json:"retract_tries,omitempty"`
	RetractAt    time.Time `json:"retract_at,omitzero"` // not before

	delivered bool // as reported later
}

// Rung is one address of a ladder.
type Rung struct {
	Channel  string
	To       string        // which address, as a keyed name
	Wait     time.Duration // before the next rung
	Retracts bool          // the channel is a [Retracter]
	Reports  bool          // the channel's [Reporter] reports later
}

// Task is everything that a plan depends on.
type Task struct {
	From   time.Time // since when the person should know
	Close  time.Time // nothing is sent from here on: decide_by
	End    time.Time // expires_at
	Ended  bool      // decided, withdrawn, failed or expired
	Opened bool      // the person has opened the page: no further channel is needed
	Once   bool      // one message and nothing after it: a one-time code

	Ladder  []Rung // in the person's order, without what is gone; empty and never tried: the inbox only
	Tries   []Try  // in the order of their claims
	Reports []approvals.Delivery
}

// Do is what to do next.
type Do string

// What to do next.
const (
	Send    Do = "send"
	Settle  Do = "settle"  // the lease of a try is over: its outcome is unknown
	Retract Do = "retract" // take back what was sent to Channel and To
	Wait    Do = "wait"    // plan again at At, or when something happens
	Fail    Do = "fail"    // nobody can be reached
	Nothing Do = "nothing" // for good
)

// Next is the one next step, and why.
type Next struct {
	Do        Do
	At        time.Time // of Wait
	Channel   string    // of Send, Settle and Retract; of Wait, whose turn it will be
	To        string
	Attempt   int
	Kind      Kind
	Duplicate bool // the person may get this message for the second time
	Reason    string
}

// Plan returns the next step. It reads nothing but its arguments.
//
// There is never more than one message under way; channels follow each other with the rung's wait between them, unless
// the one before certainly failed; nothing is sent from Close on or after the end, nor to any further address once the
// page is open; and a request whose every address
// failed is failed, while one that never had an outside address waits.
func Plan(t Task, now time.Time) Next {
	t.Tries = overlay(t.Tries, t.Reports)
	if open, found := t.open(); found {
		if now.Before(open.Until) {
			return Next{Do: Wait, At: open.Until, Reason: "in flight"}
		}
		return Next{Do: Settle, Channel: open.Channel, To: open.To, Attempt: open.Attempt, Kind: open.Kind,
			Reason: "lease is over"}
	}
	if t.Ended || !now.Before(t.End) {
		return t.takeBack(now)
	}
	if !now.Before(t.Close) {
		return t.rest("too late to send")
	}
	if told, found := t.told(); found {
		return t.follow(told, now)
	}
	return t.climb(now)
}

// overlay brings in what providers reported later.
func overlay(tries []Try, reports []approvals.Delivery) []Try {
	out := make([]Try, len(tries))
	for i, try := range tries {
		out[i] = try
		if try.Outcome != Accepted && try.Outcome != Unknown { // the provider never had it: nothing is left to report
			continue
		}
		for _, d := range reports {
			if d.Channel == try.Channel && d.Attempt == try.Attempt {
				out[i] = out[i].reported(d)
			}
		}
	}
	return out
}

// reported applies one later report. Reports come repeatedly and in any order; what was delivered once stays so.
func (t Try) reported(d approvals.Delivery) Try {
	switch {
	case d.Status == approvals.StatusDelivered || d.Status == approvals.StatusOpened:
		t.Outcome, t.delivered = Accepted, true
	case (d.Status == approvals.StatusAccepted || d.Status == approvals.StatusSent) && t.Outcome == Unknown:
		t.Outcome = Accepted
	case d.Status == approvals.StatusFailed && !t.delivered:
		t.Outcome, t.Ended = Failed, d.At
	}
	return t
}

func (t Task) open() (Try, bool) {
	for _, try := range t.Tries {
		if try.Outcome == Open {
			return try, true
		}
	}
	return Try{}, false
}

// told is the latest message that a provider has.
func (t Task) told() (Try, bool) {
	for i := len(t.Tries) - 1; i >= 0; i-- {
		if t.Tries[i].Outcome == Accepted {
			return t.Tries[i], true
		}
	}
	return Try{}, false
}

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

// takeBack closes what was sent, one address at a time.
func (t Task) takeBack(now time.Time) Next {
	var wait Next
	for _, try := range t.Tries {
		if !t.retractable(try) {
			continue
		}
		if !try.RetractAt.After(now) {
			return Next{Do: Retract, Channel: try.Channel, To: try.To, Attempt: try.Attempt, Kind: KindClosed,
				Reason: "request has ended"}
		}
		if wait.Do == "" || try.RetractAt.Before(wait.At) {
			wait = Next{Do: Wait, At: try.RetractAt, Channel: try.Channel, Reason: "taking back again"}
		}
	}
	if wait.Do != "" {
		return wait
	}
	return Next{Do: Nothing, Reason: "request has ended"}
}

// rest waits for the end, when what was sent must be taken back.
func (t Task) rest(reason string) Next {
	if t.Once || len(t.Tries) == 0 {
		return Next{Do: Nothing, Reason: reason}
	}
	return Next{Do: Wait, At: t.End, Reason: reason}
}

func (t Task) retractable(try Try) bool {
	rung, found := t.rung(try)
	sent := try.Outcome == Accepted || try.Outcome == Unknown
	return found && rung.Retracts && sent && !t.Once && !try.Retracted && try.RetractTries < retractTries
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

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
