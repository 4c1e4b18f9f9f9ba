package ciba

import (
	"errors"
	"time"

	"assent/approvals"
)

// statusAnswer tells an agent where its request stands. It is our own, so it may say what CIBA has no place for: the
// person's note, and why a request was withdrawn.
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
	return literal(h.statusOf(r))
}

func (h *Handler) statusOf(r *approvals.Request) statusAnswer {
	at := h.Now()
	s := statusAnswer{State: r.StateAt(at), Request: r.ID, CreatedAt: stamp(r.CreatedAt), ExpiresAt: stamp(r.ExpiresAt),
		ExpiresIn: max(0, int(r.ExpiresAt.Sub(at)/time.Second)), EndedAt: stamp(r.EndedAt), Reason: r.Reason}
	if n := len(r.Decisions); n > 0 {
		s.DecidedAt = stamp(r.Decisions[n-1].At)
		if s.State == approvals.Denied {
			s.Note = r.Decisions[n-1].Note
		}
	}
	if s.State == approvals.Approved || s.State == approvals.Redeemed {
		s.Granted = rawDetails(r.Granted)
	}
	return s
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
		return h.ended(r)
	}
	r, err = h.withdraw(c, r.ID)
	if errors.Is(err, approvals.ErrDecided) { // somebody was faster, perhaps with the same wish
		if r, err = h.look(c); err == nil {
			return h.ended(r)
		}
	}
	if err != nil {
		return nil, err
	}
	h.pace.forget(r.ID)
	return literal(h.statusOf(r))
}

// ended answers the wish to withdraw what has ended.
func (h *Handler) ended(r *approvals.Request) ([]byte, error) {
	if r.StateAt(h.Now()) == approvals.Cancelled {
		return literal(h.statusOf(r))
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
