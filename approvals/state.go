package approvals

import (
	"fmt"
	"slices"
	"time"
)

// State is where a request stands. Delivery progress is data on a pending request, not a state.
type State string

// The states. Expired, cancelled, denied, failed and redeemed are final.
const (
	Pending   State = "pending"
	Approved  State = "approved"
	Denied    State = "denied"
	Expired   State = "expired"
	Cancelled State = "cancelled"
	Failed    State = "failed"
	Redeemed  State = "redeemed"
)

// next is the whole state machine; a state without a row is final.
var next = map[State][]State{
	Pending:  {Approved, Denied, Expired, Cancelled, Failed},
	Approved: {Redeemed, Expired, Cancelled},
}

// States lists every state, in the order of a request's life.
func States() []State {
	return []State{Pending, Approved, Denied, Expired, Cancelled, Failed, Redeemed}
}

// Final reports whether nothing can follow s.
func (s State) Final() bool { return len(next[s]) == 0 }

// refusal says why a request that stands in s cannot move on, in the words of the desk.
func (s State) refusal() error {
	switch s {
	case Denied:
		return ErrDenied
	case Expired:
		return ErrExpired
	case Cancelled:
		return ErrWithdrawn
	case Failed:
		return ErrFailed
	case Redeemed:
		return ErrRedeemed
	}
	return ErrPending
}

// move is the only place where a state changes. It writes the one audit record of the transition and replaces the
// request's next due step, so that both commit with the new state; so does the step that wakes the door.
func (r *Request) move(to State, at time.Time, by Actor, facts map[string]string) error {
	if !slices.Contains(next[r.State], to) {
		return fmt.Errorf("%s to %s: %w", r.State, to, ErrDecided)
	}
	if r.Wake != "" && isNews(r.State, to) {
		r.Also(Step{Name: r.Wake, At: at, Of: string(r.ID)}.Put())
	}
	r.State = to
	if to.Final() {
		r.EndedAt = at
		r.schedule(Step{Name: StepRetire, At: at.Add(HandleLife), Of: string(r.ID)})
	}
	r.record(string(to), at, by, facts)
	return nil
}

// isNews reports whether a transition is an outcome that an agent who waits cannot know of: every end of the wait for a
// decision, and an approval that is withdrawn. Whoever redeems knows, and an approval that expires was told of before.
func isNews(from, to State) bool { return from == Pending || to == Cancelled }
