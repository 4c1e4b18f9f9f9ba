package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"assent/approvals"
	"assent/ciba"
)

func (a *admin) addAgent(r *http.Request) (any, error) {
	var body newAgent
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	return a.s.addAgent(r.Context(), body)
}

// errExists means that an agent or person of this id is there already.
var errExists = errors.New("exists already")

// addAgent registers a client from RFC 7591 metadata and makes its secret unless the metadata brings one.
func (s *service) addAgent(ctx context.Context, body newAgent) (madeAgent, error) {
	m, err := s.parseMetadata(ctx, body.Metadata)
	if err != nil {
		return madeAgent{}, err
	}
	if err := s.agents.Admits(m); err != nil {
		return madeAgent{}, err
	}
	if m.ClientSecret != "" {
		if err := s.acceptable(m.ClientSecret, body.AcceptSecret); err != nil {
			return madeAgent{}, err
		}
	}
	if m.ClientID == "" {
		m.ClientID = ciba.NewClientID()
	}
	made := madeAgent{ClientID: m.ClientID}
	if m.ClientSecret == "" && m.UsesSecret() {
		made.ClientSecret = ciba.NewSecret()
		m.ClientSecret = made.ClientSecret
	}
	agent, err := m.Agent(s.root, s.clock.Now())
	if err != nil {
		return madeAgent{}, err
	}
	if _, err := s.dir.Agent(ctx, agent.ID); !errors.Is(err, approvals.ErrNotFound) {
		return madeAgent{}, errors.Join(err, fmt.Errorf("client_id %s: %w", agent.ID, errExists))
	}
	if !body.SameName {
		if err := s.namedAlone(ctx, agent); err != nil {
			return madeAgent{}, err
		}
	}
	if err := s.dir.SaveAgent(ctx, agent); err != nil {
		return madeAgent{}, err
	}
	return made, nil
}

// namedAlone refuses a name that another agent goes by, or will again once it is cleared: the name is all that most people
// know of an agent.
func (s *service) namedAlone(ctx context.Context, agent *approvals.Agent) error {
	spoken := func(name string) string { return strings.Join(strings.Fields(name), " ") }
	return s.everyAgent(ctx, func(other *approvals.Agent) error {
		gone := other.Disabled && other.DisabledWhy != approvals.DisabledReported
		if gone || other.ID == agent.ID || !strings.EqualFold(spoken(other.Name), spoken(agent.Name)) {
			return nil
		}
		return fmt.Errorf("an agent is named so, %s: people could not tell the two apart; say --same-name if that is meant: %w",
			other.ID, errExists)
	})
}

// enabling is how an agent is enabled.
type enabling struct {
	SameName bool `json:"same_name"` // as another agent has by now
}

func (a *admin) enableAgent(r *http.Request) (any, error) {
	var body enabling
	if r.ContentLength != 0 {
		if err := decode(r, &body); err != nil {
			return nil, err
		}
	}
	return nil, a.changeAgent(r.Context(), approvals.AgentID(r.PathValue("id")), func(g *approvals.Agent) error {
		shut := g.Disabled
		g.Disabled, g.DisabledWhy = false, ""
		if !shut || body.SameName {
			return nil
		}
		return a.s.namedAlone(r.Context(), g)
	})
}

// everyAgent goes through all agents until look has an error.
func (s *service) everyAgent(ctx context.Context, look func(*approvals.Agent) error) error {
	for after := approvals.AgentID(""); ; {
		agents, err := s.dir.Agents(ctx, after, listLimit)
		if err != nil {
			return err
		}
		for _, a := range agents {
			if err := look(a); err != nil {
				return err
			}
			after = a.ID
		}
		if len(agents) < listLimit {
			return nil
		}
	}
}

// parseMetadata also asks the guard whether the client could be pinged and its keys fetched (REQ-024, 284).
func (s *service) parseMetadata(ctx context.Context, metadata []byte) (ciba.Metadata, error) {
	parse := ciba.ParseMetadata
	if s.cfg.Dev {
		parse = ciba.ParseDevMetadata
	}
	m, err := parse(metadata, s.desk.Renderer.Types)
	if err != nil {
		return m, err
	}
	for _, place := range s.outbound(m) {
		if place.url != "" && s.guard().check(ctx, place.url) != nil {
			return m, &approvals.FieldError{Field: place.member,
				Rule: "must be at a public address, on port 443 or one of --outbound-ports"}
		}
	}
	return m, nil
}

// outbound lists where a client wants us to call. Keys may be anywhere in dev mode: it is where tests of the guard begin.
func (s *service) outbound(m ciba.Metadata) (places []struct{ member, url string }) {
	add := func(member, url string) { places = append(places, struct{ member, url string }{member, url}) }
	add("backchannel_client_notification_endpoint", m.NotifyURL)
	if s.cfg.Dev {
		return places
	}
	add("jwks_uri", m.JWKSURI)
	for i, issuer := range m.HintIssuers {
		add(fmt.Sprintf("login_hint_token_issuers[%d].jwks_uri", i), issuer.JWKSURI)
	}
	return places
}

// acceptable refuses secrets that somebody thought up, unless this is dev mode or the operator insists.
func (s *service) acceptable(secret string, accept bool) error {
	switch {
	case s.cfg.Dev:
		return nil
	case !accept:
		return &approvals.FieldError{Field: "client_secret", Rule: "is not taken from a file without --accept-secret"}
	case len(secret) < ciba.MinSecret:
		return &approvals.FieldError{Field: "client_secret", Rule: fmt.Sprintf("must have at least %d characters", ciba.MinSecret)}
	}
	return nil
}

// listLimit is how many rows a list command prints.
const listLimit = 1000
