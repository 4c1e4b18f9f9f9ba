package ciba

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"path"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
)

// Registration says how clients may register themselves (RFC 7591).
type Registration struct {
	Clients int // at most that many
	PerHour int // and so many new ones in an hour

	Loopback bool // dev mode: the notification endpoint may be on this machine

	// CheckURL refuses URLs whose host we would not connect to (REQ-024). Each connection is checked again.
	CheckURL func(ctx context.Context, url string) error
}

// registrationEndpoint is what is advertised; "" where clients cannot register themselves.
func (h *Handler) registrationEndpoint(root string) string {
	if h.Register == nil {
		return ""
	}
	return root + "/register"
}

// Limits of one client that registered itself.
const (
	maxChanges = 60               // in an hour
	oldToken   = 60 * time.Second // how long the token that a change replaces is good, in case the answer gets lost
)

// registration is what is kept of a client that registered itself: who may change it, and within what bounds.
type registration struct {
	Tokens  []Secret `json:"tokens"` // registration access tokens
	Initial string   `json:"initial"`
	Name    string   `json:"client_name"` // as the client gave it
	Bounds  Bounds   `json:"bounds"`
	Changes hourly   `json:"changes"`
}

// renew gives the client a new registration access token.
func (r *registration) renew(root *keys.Root, id approvals.AgentID, oldUntil time.Time) (token string) {
	token = NewSecret()
	list := []Secret{{MAC: root.MAC(keys.LabelClient, kindRegistered, string(id), token)}}
	if len(r.Tokens) > 0 {
		old := r.Tokens[0]
		old.Expires = oldUntil
		list = append(list, old)
	}
	r.Tokens = list
	return token
}

// accepts compares a registration access token with all that are good. Whoever has none is refused in the same time.
func (r *registration) accepts(root *keys.Root, id, token string, now time.Time) bool {
	tokens := []Secret{{}}
	if r != nil && len(r.Tokens) > 0 {
		tokens = r.Tokens
	}
	ok := false
	for _, s := range tokens {
		good := root.Verify(s.MAC, keys.LabelClient, kindRegistered, id, token)
		ok = ok || good && (s.Expires.IsZero() || now.Before(s.Expires))
	}
	return ok
}

// maxTries is how often a registration is tried again when others register at the same moment.
const maxTries = 8

// register answers RFC 7591 section 3: the token first, then what the client says about itself. A refused registration
// uses nothing up.
func (h *Handler) register(c *call) ([]byte, error) {
	if _, err := h.initial(c); err != nil {
		return nil, err
	}
	members, err := h.readMembers(c)
	if err != nil {
		return nil, err
	}
	for range maxTries {
		token, err := h.initial(c) // again: somebody may have used it
		if err == nil {
			err = h.unheld(c, token)
		}
		if err != nil {
			return nil, err
		}
		m, err := h.registrable(c.r.Context(), members, token.Bounds)
		if err != nil {
			return nil, err
		}
		body, err := h.enroll(c, token, m)
		if !errors.Is(err, approvals.ErrConflict) {
			return body, err
		}
	}
	return nil, approvals.ErrConflict
}

// enroll makes the client, uses up the token and counts, all in one transaction.
func (h *Handler) enroll(c *call, token *keptInitial, m Metadata) ([]byte, error) {
	ctx := c.r.Context()
	count, err := h.census(ctx)
	if err != nil {
		return nil, err
	}
	if count.Clients >= h.Register.Clients {
		return nil, errFull
	}
	if wait := count.Recent.take(h.Register.PerHour, c.at); wait > 0 {
		return nil, errTooOften.after(int(math.Ceil(wait.Seconds())))
	}
	count.Clients++
	m.ClientID = NewClientID()
	if m.UsesSecret() {
		m.ClientSecret = NewSecret()
	}
	made := &registration{Initial: token.rec.Key, Name: m.ClientName, Bounds: token.Bounds}
	access := made.renew(h.Root, approvals.AgentID(m.ClientID), time.Time{})
	agent, client, err := h.registered(m, made, c.at)
	if err != nil {
		return nil, err
	}
	token.Uses--
	if err := h.Directory.SaveAgent(ctx, agent, token.write(), count.write()); err != nil {
		return nil, err
	}
	c.caller, c.status = &caller{agent: agent, client: client}, http.StatusCreated
	h.logRegistration(c, "client registered")
	return h.information(agent, client, m.ClientSecret, access)
}

// registered makes the records of a client that has registered itself.
func (h *Handler) registered(m Metadata, r *registration, now time.Time) (*approvals.Agent, *Client, error) {
	m.ClientName = r.shownName(m.ClientID)
	agent, err := m.Agent(h.Root, now)
	if err != nil {
		return nil, nil, metadataFault(err)
	}
	client, err := ClientOf(agent)
	if err != nil {
		return nil, nil, err
	}
	client.Registration = r
	return agent, client, client.Keep(agent)
}

// selfRegistered follows the name of every client that gave itself its name, so that nobody takes it for the one of
// that name that an operator has registered.
const selfRegistered = " (self-registered)"

func (r *registration) shownName(id string) string {
	if r.Name == "" {
		return id + selfRegistered
	}
	return r.Name + selfRegistered
}

// logRegistration writes the line of a change, beside the line of the call.
func (h *Handler) logRegistration(c *call, what string, more ...slog.Attr) {
	attrs := append([]slog.Attr{slog.String("agent", string(c.agent.ID)),
		slog.String("initial_token", c.client.Registration.Initial),
		slog.String("method", c.client.AuthMethod)}, more...)
	h.Log.LogAttrs(c.r.Context(), slog.LevelInfo, what, attrs...)
}

// manage finds the client whose registration access token a call shows (RFC 7592 section 2). The token of another
// client, an unknown client, and one that was not registered here are one answer (REQ-035).
func (h *Handler) manage(c *call) error {
	id := path.Base(c.r.URL.Path)
	agent, client, err := h.clients.find(c.r.Context(), id)
	if err != nil {
		return err
	}
	if !client.Registration.accepts(h.Root, id, c.bearer(), c.at) || agent == nil {
		return c.noToken()
	}
	if agent.Disabled && c.r.Method != http.MethodDelete {
		return c.noToken()
	}
	c.caller = &caller{agent: agent, client: client}
	return nil
}

// isCurrent reports whether token is the one that the client is to use from now on.
func (r *registration) isCurrent(root *keys.Root, id, token string) bool {
	return root.Verify(r.Tokens[0].MAC, keys.LabelClient, kindRegistered, id, token)
}

// readClient answers RFC 7592 section 2.1. The answer holds the token to use from now on, so it is not for the one that
// a change has replaced: that one is good for the change again, whose answer may have been lost.
func (h *Handler) readClient(c *call) ([]byte, error) {
	if err := h.manage(c); err != nil {
		return nil, err
	}
	if !c.client.Registration.isCurrent(h.Root, string(c.agent.ID), c.bearer()) {
		return nil, c.noToken()
	}
	return h.information(c.agent, c.client, "", c.bearer())
}

// changeClient answers RFC 7592 section 2.2: what is not given gets its default again, and the registration access
// token is replaced.
func (h *Handler) changeClient(c *call) ([]byte, error) {
	if err := h.manage(c); err != nil {
		return nil, err
	}
	members, err := h.readMembers(c)
	if err != nil {
		return nil, err
	}
	if err := h.checkChange(c, members); err != nil {
		return nil, err
	}
	changed := *c.client.Registration
	if wait := changed.Changes.take(maxChanges, c.at); wait > 0 {
		return nil, errTooOften.after(int(math.Ceil(wait.Seconds())))
	}
	m, err := h.registrable(c.r.Context(), members, changed.Bounds)
	if err != nil {
		return nil, err
	}
	return h.change(c, m, &changed)
}

func (h *Handler) change(c *call, m Metadata, r *registration) ([]byte, error) {
	m.ClientID, r.Name = string(c.agent.ID), m.ClientName
	kept := c.client.ownSecrets()
	if m.UsesSecret() && len(kept) == 0 {
		m.ClientSecret = NewSecret()
	}
	access := r.renew(h.Root, c.agent.ID, c.at.Add(oldToken))
	agent, client, err := h.registered(m, r, c.agent.CreatedAt)
	if err != nil {
		return nil, err
	}
	if m.UsesSecret() && len(kept) > 0 {
		client.Secrets = kept
		if err := client.Keep(agent); err != nil {
			return nil, err
		}
	}
	agent.Revision = c.agent.Revision
	if err := h.Directory.SaveAgent(c.r.Context(), agent); err != nil {
		return nil, err
	}
	c.caller = &caller{agent: agent, client: client}
	h.logRegistration(c, "client changed itself")
	return h.information(agent, client, m.ClientSecret, access)
}

// ownSecrets are the client's secrets without the one that stands in for none.
func (c *Client) ownSecrets() []Secret {
	if c.AuthMethod != SecretBasic && c.AuthMethod != SecretPost {
		return nil
	}
	return c.Secrets
}

var (
	errFull = &fault{status: http.StatusServiceUnavailable, code: "temporarily_unavailable",
		text: "There is no room for more clients that register themselves."}
	errTooOften = &fault{status: http.StatusTooManyRequests, code: "temporarily_unavailable",
		text: "Too many registrations in this hour. Come again as Retry-After says."}
)
