package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Status is what the server knows about a request.
type Status struct {
	State     string          `json:"state"` // pending, approved, denied, expired, cancelled, failed, redeemed
	Request   string          `json:"request"`
	ExpiresAt time.Time       `json:"expires_at"`
	DecidedAt time.Time       `json:"decided_at,omitzero"`
	Reason    string          `json:"reason,omitempty"` // withdrawn_by_agent, when that is how it ended
	Note      string          `json:"note,omitempty"`   // what the person wrote with a no
	Details   json.RawMessage `json:"authorization_details,omitempty"`
	Progress  []Progress      `json:"progress,omitempty"`

	Difference
}

// Difference is set when the person has approved less than was asked.
type Difference struct {
	Decision       string          `json:"decision,omitempty"`                        // narrowed, or empty
	Requested      json.RawMessage `json:"requested_authorization_details,omitempty"` // what was asked
	Until          time.Time       `json:"approved_until,omitzero"`                   // until when the agent may come back; zero: not at all
	RequestedUntil time.Time       `json:"requested_until,omitzero"`                  // zero: it was not asked
}

// Progress is one stage that a request has reached, and when first.
type Progress struct {
	Stage string    `json:"stage"` // queued, told, opened, decided
	At    time.Time `json:"at"`
}

// Status asks where a request stands. Servers other than Assent do not know this call.
func (c *Client) Status(ctx context.Context, w *Waiting) (*Status, error) {
	s := &Status{}
	if err := c.about(ctx, c.server.Status, w, s); err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	return s, nil
}

// Cancel withdraws a request. Servers other than Assent do not know this call.
func (c *Client) Cancel(ctx context.Context, w *Waiting) error {
	if err := c.about(ctx, c.server.Cancel, w, &Status{}); err != nil {
		return fmt.Errorf("cancel: %w", err)
	}
	return nil
}

func (c *Client) about(ctx context.Context, endpoint string, w *Waiting, out any) error {
	if endpoint == "" {
		return errors.New("the server does not offer it")
	}
	if err := c.owns(w); err != nil {
		return err
	}
	return c.post(ctx, call{address: endpoint, form: url.Values{"auth_req_id": {w.Handle}}, limit: callTime}, out)
}
