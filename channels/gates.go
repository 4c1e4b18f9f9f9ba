package channels

import (
	"time"

	"assent/approvals"
)

// Why a message whose turn has come is kept back. These are the planner's words for the timeline; see [Next].
const (
	WhyJoined = "an equal request has been announced"
	WhyCool   = "cooling down after denials"
	WhyRoom   = "too many messages"
	WhyQuiet  = "quiet hours"
	WhyCap    = "a cap of ours was reached"
)

// Gates are what may keep a message back although its turn has come. Whatever is kept back lies in the inbox all the same.
type Gates struct {
	Joined bool      // an equal request waits, and its message speaks for this one as well
	Cool   time.Time // the person has denied this agent repeatedly: not before
	Room   time.Time // the person has had enough messages lately: not before
	Quiet  approvals.QuietHours
	Zone   string // of the quiet hours
	Break  bool   // quiet hours that would outlive the request count for nothing; else it fails at once
	Loud   bool   // quiet hours count for nothing
}

// hold returns until when a message is kept back at that moment, and why; "" when it may go. From last on it would be of
// no use.
func (g Gates) hold(at, last time.Time) (until time.Time, why string) {
	until = at
	if g.Cool.After(until) {
		until, why = g.Cool, WhyCool
	}
	if g.Room.After(until) {
		until, why = g.Room, WhyRoom
	}
	morning := g.Quiet.Until(until, g.Zone)
	if morning.IsZero() || g.Loud || g.Break && !morning.Before(last) {
		return until, why
	}
	return morning, WhyQuiet
}

// gated lets a message go whose turn has come, or keeps it back. One that would be kept back past the close is not sent at
// all; if nobody was told because of quiet hours, the agent learns it at once instead of waiting in vain.
func (t Task) gated(next Next, now time.Time) Next {
	if next.At.After(now) {
		next.Do = Wait
		return next
	}
	next.Held = true
	if t.Gates.Joined {
		next.Do, next.At, next.Reason = Wait, earliest(now.Add(DefaultWait), t.Close), WhyJoined
		return next
	}
	until, why := t.Gates.hold(now, t.Close)
	switch {
	case why == "":
		next.Held = false
		return next
	case until.Before(t.Close):
		next.Do, next.At, next.Reason = Wait, until, why
		return next
	case why == WhyQuiet && !t.perhapsTold():
		return Next{Do: Fail, Cause: approvals.QuietTime, Reason: why}
	}
	rest := t.rest(why)
	rest.Held, rest.Channel, rest.Attempt = true, next.Channel, next.Attempt
	return rest
}

// perhapsTold reports whether the person may know of the request.
func (t Task) perhapsTold() bool {
	for _, try := range t.Tries {
		if try.Outcome == Accepted || try.Outcome == Unknown {
			return true
		}
	}
	return false
}
