package channels

import (
	"fmt"
	"slices"
	"time"

	"assent/approvals"
)

// DefaultWait is how long one address has to itself before the next is tried.
const DefaultWait = 60 * time.Second

// WhoSubject is the person whom a request is for: so far the only one who can be told.
const WhoSubject = "subject"

// AnyChannel in a [Stage] stands for every channel that no other stage names, in the person's own order.
const AnyChannel = "any"

// Stage is one step of a [Ladder].
type Stage struct {
	Who     string        // [WhoSubject]
	Channel string        // name of a channel, or [AnyChannel]
	Wait    time.Duration // after each message, before the next one
	Repeat  int           // messages to each address in all
}

// Ladder says who is told by which channel, in which order, how long each waits and how often it repeats. It is data; what
// it becomes for one person and one request is for [Plan] to say.
type Ladder []Stage

// DefaultLadder tries every address of the person once, in the person's order, a minute apart.
func DefaultLadder() Ladder {
	return Ladder{{Who: WhoSubject, Channel: AnyChannel, Wait: DefaultWait, Repeat: 1}}
}

// Bounds of a ladder.
const (
	maxStages = 16
	minWait   = time.Second
	maxWait   = 24 * time.Hour
	maxRepeat = 10
)

// Validate reports what a ladder must fulfil before it may be used; known are the channels of this installation.
func (l Ladder) Validate(known ...string) error {
	if len(l) == 0 || len(l) > maxStages {
		return &approvals.FieldError{Field: "ladder", Rule: fmt.Sprintf("must have 1 to %d steps", maxStages)}
	}
	for i, s := range l {
		field, rule := "", ""
		switch {
		case s.Who != WhoSubject:
			field, rule = "who", "must be "+WhoSubject
		case s.Channel != AnyChannel && !slices.Contains(known, s.Channel):
			field, rule = "channel", "must be any, or a channel that is configured"
		case slices.ContainsFunc(l[:i], func(before Stage) bool { return before.Channel == s.Channel }):
			field, rule = "channel", "must be named once"
		case s.Wait < minWait || s.Wait > maxWait:
			field, rule = "wait", fmt.Sprintf("must be %s to %s", minWait, maxWait)
		case s.Repeat < 1 || s.Repeat > maxRepeat:
			field, rule = "repeat", fmt.Sprintf("must be 1 to %d", maxRepeat)
		default:
			continue
		}
		return &approvals.FieldError{Field: fmt.Sprintf("ladder[%d].%s", i, field), Rule: rule}
	}
	return nil
}

// place is one address with the stage that it is tried in.
type place struct {
	to    approvals.Address
	stage Stage
}

// over lays the ladder over a person's addresses, which stay in their order within a stage.
func (l Ladder) over(addresses []approvals.Address) (out []place) {
	for _, s := range l {
		for _, a := range addresses {
			if a.Channel == s.Channel || s.Channel == AnyChannel && !l.names(a.Channel) {
				out = append(out, place{a, s})
			}
		}
	}
	return out
}

func (l Ladder) names(channel string) bool {
	return slices.ContainsFunc(l, func(s Stage) bool { return s.Channel == channel })
}
