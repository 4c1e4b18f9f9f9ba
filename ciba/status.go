package ciba

import (
	"errors"
	"time"

	"assent/approvals"
)

// statusAnswer tells an agent where its request stands. It is our own, so it may say what CIBA has no place for: the
// person's note, and that the agent itself has withdrawn.
type statusAnswer struct {
	State     approvals.State  `json:"state"`
	Request   approvals.ID     `json:"request"` // txn of the token; no secret
	CreatedAt string           `json:"created_at"`
	ExpiresAt string           `json:"expires_at"`
	ExpiresIn int              `json:"expires_in"`
	DecidedAt string           `json:"decided_at,omitempty"`
	EndedAt   string           `json:"ended_at,omitempty"`
	Reason    approvals.Reason `json:"reason,omitempty"`
	Note      string           `json:"note,omitempty"`
	Granted   details          `json:"authorization_details,omitempty"`
	Progress  []progress       `json:"progress"`

	Decision       string  `json:"decision,omitempty"` // narrowed: less was approved than was asked, and these say what that was
	Requested      details `json:"requested_authorization_details,omitempty"`
	Until          string  `json:"approved_until,omitempty"` // until when the agent may come back
	RequestedUntil string  `json:"requested_until,omitempty"`
}

// progress is one line of a request's timeline as its agent may see it: that a stage was reached, and when first. Who
// acted, by which channel, how often and why is for operators.
type progress struct {
	Stage string `json:"stage"` // queued, told, opened or decided
	At    string `json:"at"`
}

// progressOf reduces a timeline to what an agent can act on. That the person was told, and has the page open, says no
// more than whether waiting makes sense: both are about the one person whom the agent has named. A client that must
// not learn who exists gets neither, because nobody is told of a decoy (REQ-282).
func progressOf(c *Client, r *approvals.Request) []progress {
	line := []progress{{"queued", stamp(r.CreatedAt)}}
	if told := toldAt(r); !c.blind() && !told.IsZero() {
		line = append(line, progress{"told", stamp(told)})
	}
	if !c.blind() && !r.OpenedAt.IsZero() {
		line = append(line, progress{"opened", stamp(r.OpenedAt)})
	}
	if n := len(r.Decisions); n > 0 {
		line = append(line, progress{"decided", stamp(r.Decisions[n-1].At)})
	}
	return line
}

// toldAt is when a provider first had a message to the person; zero if none is known to have had one.
func toldAt(r *approvals.Request) time.Time {
	for _, d := range r.Deliveries {
		has := d.Status == approvals.StatusAccepted || d.Status == approvals.StatusSent ||
			d.Status == approvals.StatusDelivered || d.Status == approvals.StatusOpened
		if has && d.Channel != PingChannel {
			return d.At
		}
	}
	return time.Time{}
}

// status answers POST /requests/status. It is not a poll: it neither counts nor waits.
func (h *Handler) status(c *call) ([]byte, error) {
	if err := h.readCall(c, false); err != nil {
		return nil, err
	}
	r, err := h.look(c)
	if err != nil {
		return nil, err
	}
	return literal(h.statusOf(c.client, r))
}

func (h *Handler) statusOf(c *Client, r *approvals.Request) statusAnswer {
	at := h.Now()
	s := statusAnswer{State: r.StateAt(at), Request: r.ID, CreatedAt: stamp(r.CreatedAt), ExpiresAt: stamp(r.ExpiresAt),
		ExpiresIn: max(0, int(r.ExpiresAt.Sub(at)/time.Second)), EndedAt: stamp(r.EndedAt), Progress: progressOf(c, r)}
	if s.State == approvals.Expired { // whenever that was noticed: nobody notices the end of a decoy (REQ-282)
		s.EndedAt = s.ExpiresAt
	}
	if r.Reason == approvals.WithdrawnByAgent { // other reasons are ours, and the person's (AO-009)
		s.Reason = r.Reason
	}
	if n := len(r.Decisions); n > 0 {
		s.DecidedAt = stamp(r.Decisions[n-1].At)
		if s.State == approvals.Denied {
			s.Note = approvals.VisibleLines(r.Decisions[n-1].Note) // what agents show must not play with their screens
		}
	}
	if s.State == approvals.Approved || s.State == approvals.Redeemed {
		s.Granted = rawDetails(r.Granted)
		s.tellDifference(r)
	}
	return s
}

// tellDifference says what was asked beside what was approved, where that is less.
func (s *statusAnswer) tellDifference(r *approvals.Request) {
	if s.Decision = decisionOf(r); s.Decision == "" {
		return
	}
	s.Requested = rawDetails(r.Requested)
	s.Until, s.RequestedUntil = stamp(r.Until), stamp(r.AskedUntil())
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

var errEnded = refuse("invalid_grant", "The request has ended and cannot be withdrawn.")

// cancel answers POST /requests/cancel: the agent withdraws what it asked, as long as nothing has been redeemed. Doing
// so twice is no fault.
func (h *Handler) cancel(c *call) ([]byte, error) {
	if err := h.readCall(c, false); err != nil {
		return nil, err
	}
	r, err := h.look(c)
	if err != nil {
		return nil, err
	}
	if r.StateAt(h.Now()).Final() {
		return h.ended(c, r)
	}
	r, err = h.withdraw(c, r.ID)
	if errors.Is(err, approvals.ErrDecided) { // somebody was faster, perhaps with the same wish
		if r, err = h.look(c); err == nil {
			return h.ended(c, r)
		}
	}
	if err != nil {
		return nil, err
	}
	h.pace.forget(r.ID)
	return literal(h.statusOf(c.client, r))
}

// ended answers the wish to withdraw what has ended.
func (h *Handler) ended(c *call, r *approvals.Request) ([]byte, error) {
	if r.StateAt(h.Now()) == approvals.Cancelled {
		return literal(h.statusOf(c.client, r))
	}
	return nil, errEnded
}

func (h *Handler) withdraw(c *call, id approvals.ID) (*approvals.Request, error) {
	if c.decoy != nil {
		return h.cancelDecoy(c)
	}
	by := approvals.Actor{Kind: "agent", ID: string(c.agent.ID)}
	return h.Desk.Cancel(c.r.Context(), id, by, approvals.WithdrawnByAgent)
}
