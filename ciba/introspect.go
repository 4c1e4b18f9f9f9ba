package ciba

import (
	"bytes"
	"strings"
)

// inactive is all that is said about a token that is not good, or none of the caller's business: unknown, foreign,
// expired and revoked are the same bytes (RFC 7662 section 2.2, REQ-249).
var inactive = []byte(`{"active":false}`)

// introspect answers RFC 7662. It writes nothing. Who may ask about an access token: the client that it was issued to,
// and clients that are registered as a resource server with serves_audiences, about tokens for one of these.
func (h *Handler) introspect(c *call) ([]byte, error) {
	if err := h.readCall(c, false); err != nil {
		return nil, err
	}
	text := c.form.get("token")
	if text == "" {
		return nil, errTokenMissing
	}
	if isRefresh(text) {
		return h.introspectRefresh(c, text)
	}
	t := h.issuer.read(text, c.at)
	if t == nil || !c.mayIntrospect(t) {
		return inactive, nil
	}
	c.id = t.request()
	good, err := h.live(c, t)
	if err != nil || !good {
		return inactive, err
	}
	return t.active(), nil
}

var errTokenMissing = badRequest("The token parameter is required.")

func (c *caller) mayIntrospect(t *accessToken) bool {
	return t.ClientID == string(c.agent.ID) || t.isFor(c.client.Serves)
}

// active is what the token says, byte for byte (REQ-232), and that it is good.
func (t *accessToken) active() []byte {
	head := []byte(`{"active":true,"token_type":"` + t.Confirm.tokenType() + `",`)
	return append(head, bytes.TrimPrefix(t.payload, []byte("{"))...)
}

// refreshAnswer is what a client hears about its own refresh token.
type refreshAnswer struct {
	Active   bool          `json:"active"`
	Issuer   string        `json:"iss"`
	Subject  string        `json:"sub"`
	ClientID string        `json:"client_id"`
	Scope    string        `json:"scope,omitempty"`
	Expires  int64         `json:"exp"`
	Txn      string        `json:"txn"`
	Details  details       `json:"authorization_details,omitempty"`
	Confirm  *confirmation `json:"cnf,omitempty"`
}

// introspectRefresh speaks of refresh tokens to their own client only.
func (h *Handler) introspectRefresh(c *call, text string) ([]byte, error) {
	t, err := h.readRefresh(c, text)
	if t == nil || err != nil || t.spent() {
		return inactive, err
	}
	r, err := h.grantOf(c, t.request)
	if r == nil || err != nil || r.Agent != c.agent.ID {
		return inactive, err
	}
	c.id = r.ID
	answer := refreshAnswer{Active: true, Issuer: h.Issuer, Subject: string(r.Subject), ClientID: string(r.Agent),
		Scope: strings.Join(r.Scope, " "), Expires: r.Until.Unix(), Txn: string(r.ID), Details: rawDetails(r.Granted)}
	if t.JKT != "" {
		answer.Confirm = &confirmation{JKT: t.JKT}
	}
	return literal(answer)
}
