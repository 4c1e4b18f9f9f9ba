package ciba

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/approvals"
)

// GrantClient is the grant type of RFC 6749 section 4.4. It is off unless [Parts.ClientGrant] says otherwise, and then
// for clients that an operator has registered for it, with the scopes that they may have.
const GrantClient = "client_credentials"

var (
	errMayNotAlone  = refuse("unauthorized_client", "The client is not registered for the client credentials grant.")
	errDetailsAlone = refuse("invalid_authorization_details",
		"The authorization_details need a person. Ask at the backchannel authentication endpoint.")
	errScopeAlone = refuse("invalid_scope", "The scope is not one that the client may have without a person.")
)

// alone answers RFC 6749 section 4.4: a token for what the client does on its own account. Nobody has said yes to
// anything, so the token holds nothing that people are asked for: no details, no scope that the client asks people for, no
// person, and no way to come back. What it lacks (txn, act, disclosure) tells it from an approval.
func (h *Handler) alone(c *call) ([]byte, error) {
	if !c.client.mayUse(GrantClient) {
		return nil, errMayNotAlone
	}
	if c.form.get("authorization_details") != "" {
		return nil, errDetailsAlone
	}
	scope, err := c.scopeAlone(c.form.get("scope"))
	if err != nil {
		return nil, err
	}
	audience, err := h.askedAudience(c.form, c.agent)
	if err != nil {
		return nil, err
	}
	claims := h.issuer.claimsAlone(c.agent.ID, grant{scope: scope, audience: audience, cnf: c.cnf}, h.Now())
	good, err := h.liveAlone(c.r.Context(), &accessToken{accessClaims: claims})
	if err != nil {
		return nil, err
	}
	if !good {
		return nil, errMayNotAlone
	}
	return h.issuer.respondAlone(claims)
}

// scopeAlone is what the client gets of the scopes that it may have without a person; all of them, if it names none.
func (c *caller) scopeAlone(text string) ([]string, error) {
	if text == "" {
		return c.scopesAlone(), nil
	}
	wanted := scopeTokens(text)
	if !validScope(text) || len(wanted) == 0 {
		return nil, errScope
	}
	if !within(wanted, c.scopesAlone()) {
		return nil, errScopeAlone
	}
	return wanted, nil
}

// scopesAlone leaves out what the client asks people for, whatever it is registered with.
func (c *caller) scopesAlone() []string {
	return slices.DeleteFunc(slices.Clone(c.client.OwnScopes), func(s string) bool { return forPeople(s, c.agent.Scopes) })
}

// forPeople reports whether a scope is one that people are asked for.
func forPeople(scope string, asked []string) bool {
	return scope == offlineAccess || slices.Contains(commonScopes, scope) || slices.Contains(asked, scope)
}

// claimsAlone are those of RFC 9068 section 2.2 where no resource owner is involved: the subject is the client.
func (i *issuer) claimsAlone(id approvals.AgentID, g grant, at time.Time) accessClaims {
	aud := audience(g.audience)
	if len(aud) == 0 {
		aud = audience{i.audience}
	}
	common := about{Issuer: i.name, Subject: string(id), Issued: at.Unix(), Expires: at.Add(tokenLife).Unix()}
	return accessClaims{about: common, Audience: aud, ClientID: string(id), ID: newJTI(),
		Scope: strings.Join(g.scope, " "), Confirm: g.cnf}
}

func (i *issuer) respondAlone(claims accessClaims) ([]byte, error) {
	token, err := sign(i.keys.current().accessToken, claims)
	if err != nil {
		return nil, fmt.Errorf("access token of %s: %w", claims.ClientID, err)
	}
	return literal(tokenResponse{AccessToken: token, TokenType: claims.Confirm.tokenType(),
		ExpiresIn: int(claims.Expires - claims.Issued), Scope: claims.Scope})
}

// isAlone tells a token of this grant from one that stands for an approval.
func (t *accessToken) isAlone() bool { return t.Txn == "" && t.Subject == t.ClientID }

// liveAlone reports whether the client could get this token now, and it was not revoked. A client that has a person's id
// gets none, since resource servers would take it for that person (RFC 9068 section 5).
func (h *Handler) liveAlone(ctx context.Context, t *accessToken) (bool, error) {
	if _, on := h.grants[GrantClient]; !on {
		return false, nil
	}
	a, client, err := h.clients.find(ctx, t.ClientID)
	if a == nil || err != nil {
		return false, err
	}
	who := &caller{agent: a, client: client}
	if a.Disabled || client.barred || !client.mayUse(GrantClient) ||
		!within(scopeTokens(t.Scope), who.scopesAlone()) || !h.allowed(t.Audience, a) {
		return false, nil
	}
	_, err = h.Directory.Person(ctx, t.person())
	if err == nil {
		return false, nil
	}
	if !errors.Is(err, approvals.ErrNotFound) {
		return false, err
	}
	gone, err := h.isRevoked(ctx, t.ID)
	return !gone && err == nil, err
}

// checkOwnScopes is what client_credentials_scopes must fulfil.
func (m Metadata) checkOwnScopes() error {
	const field = "client_credentials_scopes"
	asked := scopeTokens(m.Scope)
	bad := func(s string) bool { return s == "" || len(s) > 255 || strings.Contains(s, " ") || !validScope(s) }
	mine := func(s string) bool { return forPeople(s, asked) }
	switch {
	case slices.Contains(m.GrantTypes, GrantClient) != (len(m.OwnScopes) > 0):
		return &approvals.FieldError{Field: field, Rule: "must be there with the client_credentials grant, and only then"}
	case len(m.OwnScopes) > maxScopes:
		return &approvals.FieldError{Field: field, Rule: fmt.Sprintf("must not hold more than %d values", maxScopes)}
	case slices.ContainsFunc(m.OwnScopes, bad):
		return &approvals.FieldError{Field: field, Rule: "must hold scope tokens of 1 to 255 characters"}
	case slices.ContainsFunc(m.OwnScopes, mine):
		return &approvals.FieldError{Field: field, Rule: "must not hold what people are asked for: " +
			strings.Join(commonScopes, ", ") + ", " + offlineAccess + ", or a value of scope"}
	}
	return nil
}
