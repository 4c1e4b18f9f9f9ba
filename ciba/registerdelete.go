package ciba

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"assent/approvals"
)

// deleteClient answers RFC 7592 section 2.3. The client is disabled first, then its pending requests are withdrawn
// (REQ-036), and then it is gone; who is cut off in between can delete again. One that people have reported does not shed
// the reports by that: its record stays for the operator who looks into them.
func (h *Handler) deleteClient(c *call) ([]byte, error) {
	if err := h.manage(c); err != nil {
		return nil, err
	}
	ctx := context.WithoutCancel(c.r.Context()) // half a deletion is none
	if err := h.bar(ctx, c); err != nil {
		return nil, err
	}
	by := approvals.Actor{Kind: "agent", ID: string(c.agent.ID)}
	n, err := h.Desk.CancelAll(ctx, approvals.Query{Agent: c.agent.ID}, by, approvals.NotEligible)
	if err != nil {
		return nil, err
	}
	reported, err := h.Desk.Reported(ctx, c.agent.ID) // nothing is pending any more that could be
	if err != nil {
		return nil, err
	}
	if reported {
		err = h.bury(ctx, c.agent.ID)
	} else {
		err = h.remove(ctx, c.agent.ID)
	}
	if err != nil {
		return nil, err
	}
	c.status = http.StatusNoContent
	h.logRegistration(c, "client deleted itself", slog.Int("withdrawn", n), slog.Bool("reported", reported))
	return nil, nil
}

func (h *Handler) bar(ctx context.Context, c *call) error {
	if c.agent.Disabled {
		return nil
	}
	off := *c.agent
	off.Disabled = true
	return h.Directory.SaveAgent(ctx, &off)
}

// bury leaves of a client what [Handler.Clear] needs: nobody can change it any more, and it holds its initial access token.
func (h *Handler) bury(ctx context.Context, id approvals.AgentID) error {
	for range maxTries {
		agent, err := h.Directory.Agent(ctx, id)
		if err != nil {
			return err
		}
		client, err := ClientOf(agent)
		if err != nil {
			return err
		}
		left := *agent
		left.Disabled, left.DisabledWhy = true, approvals.DisabledDeleted
		client.Registration.Tokens = nil
		if err := client.Keep(&left); err != nil {
			return err
		}
		if err := h.Directory.SaveAgent(ctx, &left); !errors.Is(err, approvals.ErrConflict) {
			return err
		}
	}
	return approvals.ErrConflict
}

func (h *Handler) remove(ctx context.Context, id approvals.AgentID) error {
	for range maxTries {
		agent, err := h.Directory.Agent(ctx, id)
		if errors.Is(err, approvals.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		count, err := h.census(ctx)
		if err != nil {
			return err
		}
		count.Clients = max(0, count.Clients-1)
		err = h.Directory.RemoveAgent(ctx, agent, count.write())
		if err == nil {
			h.clients.forget(id)
		}
		if !errors.Is(err, approvals.ErrConflict) {
			return err
		}
	}
	return approvals.ErrConflict
}

// forget drops what is in memory about a client that is gone.
func (cs *clients) forget(id approvals.AgentID) {
	cs.parsed.Delete(id)
	cs.remote.sources.Delete(string(id))
}

// Clear is [approvals.Desk.Clear]; a client that deleted itself while it was reported is gone then as well. It can be done
// again from any point.
func (h *Handler) Clear(ctx context.Context, id approvals.AgentID) (reports int, err error) {
	ctx = context.WithoutCancel(ctx)
	if reports, err = h.Desk.Clear(ctx, id); err != nil {
		return reports, err
	}
	agent, err := h.Directory.Agent(ctx, id)
	if err == nil && agent.DisabledWhy == approvals.DisabledDeleted {
		err = h.remove(ctx, id)
	}
	if errors.Is(err, approvals.ErrNotFound) {
		err = nil
	}
	return reports, err
}

// unheld refuses an initial access token while a client that came by it is suspended for reports, or has deleted itself with
// some: whoever was reported must not come again under another name before an operator has looked. It answers as to a token
// that is used up.
func (h *Handler) unheld(c *call, token *keptInitial) error {
	ctx := c.r.Context()
	flagged, err := h.Desk.Flagged(ctx)
	if err != nil {
		return err
	}
	for id := range flagged {
		agent, client, err := h.clients.find(ctx, string(id))
		if err != nil {
			return err
		}
		if agent == nil || agent.DisabledWhy == "" || client.Registration == nil || client.Registration.Initial != token.rec.Key {
			continue
		}
		h.Log.LogAttrs(ctx, slog.LevelWarn, "initial access token held until an operator clears an agent",
			slog.String("initial_token", token.rec.Key), slog.String("agent", string(id)))
		return c.noToken()
	}
	return nil
}
