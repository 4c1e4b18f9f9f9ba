package channels

import (
	"slices"
	"time"

	"assent/approvals"
)

// Numbers of the planner. All waits count from the outcome before.
const (
	unknownWait  = 60 * time.Second // for a report on an unknown outcome
	remindAbove  = 4 * time.Minute  // requests that live no longer get no reminder
	busyFirst    = 2 * time.Second  // then four times as long each
	busyMost     = time.Hour
	busyParts    = 40          // of a request's life: longer waits than an hour for requests of days
	faultFirst   = time.Minute // an operator has to act
	retractTries = 5
	lostFirst    = 10 * time.Second // what dies twice may die of the message
	lostMost     = 10               // processes that may die over one message before it is taken for told
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
	Capped   Outcome = "capped"  // a cap of ours: the provider was not called
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
	Until     time.Time `json:"until,omitzero"` // end of the lease, as long as it is open
	Outcome   Outcome   `json:"outcome,omitempty"`
	Ended     time.Time `json:"ended,omitzero"` // when the outcome was known
	Again     time.Time `json:"again,omitzero"` // the provider wants to be left alone, or our cap lasts, until then
	Why       string    `json:"why,omitempty"`  // until the outcome is known
	Duplicate bool      `json:"possible_duplicate,omitempty"`
	Lost      bool      `json:"lost,omitempty"` // unknown because its process has died, not because the provider kept silent

	Retracted    bool      `json:"retracted,omitempty"`
	RetractTries int       `json:"retract_tries,omitempty"`
	RetractAt    time.Time `json:"retract_at,omitzero"` // not before

	delivered bool // as reported later
}

// Rung is one address of a ladder.
type Rung struct {
	Channel  string
	To       string        // which address, as a keyed name
	Wait     time.Duration // after each message, before the next one
	Repeat   int           // messages in all; 0 is 1
	Down     time.Time     // its provider is left alone until then; the rungs after it do not wait for that
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
	Only   string    // no other address than this one, as a keyed name; empty: any
	Resend time.Time // an operator wants one more message since then

	Ladder  []Rung // in the person's order, without what is gone; empty and never tried: the inbox only
	Tries   []Try  // in the order of their claims
	Reports []approvals.Delivery
	Gates   Gates
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
	At        time.Time // of Wait; of Send, since when its turn has come
	Channel   string    // of Send, Settle and Retract; of Wait, whose turn it will be
	To        string
	Attempt   int
	Kind      Kind
	Duplicate bool             // the person may get this message for the second time
	Held      bool             // its turn has come, and a gate keeps it back
	Cause     approvals.Reason // of Fail, for the agent
	Reason    string           // for whoever reads the timeline
}

// Plan returns the next step. It reads nothing but its arguments.
//
// There is never more than one message under way; channels follow each other with the rung's wait between them, unless
// the one before certainly failed; nothing is sent from Close on or after the end, through a gate that is shut, nor to any
// further address once the page is open; and a request whose every address failed is failed, while one that never had an
// outside address waits.
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
	if t.wanted() {
		return t.gated(t.resend(), now)
	}
	if told, found := t.told(); found {
		return t.follow(told, now)
	}
	return t.climb(now)
}

// overlay brings in what providers reported later. A message over which process after process has died is taken for told in
// the end: it may be the message that kills, and a person is not to pay for that. The ladder goes on with the next one.
func overlay(tries []Try, reports []approvals.Delivery) []Try {
	out := tries
	for i, was := range tries {
		try := was
		if try.Outcome == Unknown && try.Lost && lostBefore(out[:i], try) >= lostMost {
			try.Outcome = Accepted
		}
		if was.Outcome == Accepted || was.Outcome == Unknown { // else the provider never had it: nothing is left to report
			try = try.overlaid(reports)
		}
		if try == was {
			continue
		}
		if &out[0] == &tries[0] {
			out = slices.Clone(tries)
		}
		out[i] = try
	}
	return out
}

func (t Try) overlaid(reports []approvals.Delivery) Try {
	for i := range reports {
		if d := &reports[i]; d.Channel == t.Channel && d.Attempt == t.Attempt {
			t = t.reported(*d)
		}
	}
	return t
}

// lostBefore counts the tries of the same message that were lost before this one.
func lostBefore(tries []Try, of Try) (n int) {
	for _, try := range tries {
		switch {
		case try.Channel != of.Channel || try.To != of.To || try.Kind != of.Kind:
		case try.Outcome == Accepted:
			n = 0
		case try.Outcome == Unknown && try.Lost:
			n++
		}
	}
	return n
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

// takeBack closes what was sent, one address at a time.
func (t Task) takeBack(now time.Time) Next {
	var wait Next
	for _, try := range t.Tries {
		if !t.retractable(try) {
			continue
		}
		rung, _ := t.rung(try)
		at := latest(try.RetractAt, rung.Down)
		if !at.After(now) {
			return Next{Do: Retract, Channel: try.Channel, To: try.To, Attempt: try.Attempt, Kind: KindClosed,
				Reason: "request has ended"}
		}
		if wait.Do == "" || at.Before(wait.At) {
			wait = Next{Do: Wait, At: at, Channel: try.Channel, Reason: "taking back again"}
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
