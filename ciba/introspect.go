package ciba

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"assent/approvals"
)

// inactive is all that is said about a token that is not good, or none of the caller's business: unknown, foreign,
// expired and revoked are the same bytes (RFC 7662 section 2.2, REQ-249).
var inactive = []byte(`{"active":false}`)

// introspect answers RFC 7662. It writes nothing, unless it is asked to. Who may ask about an access token: the client
// that it was issued to, and clients that are registered as a resource server with serves_audiences, about tokens for
// one of these.
//
// A resource server that is about to do what may be done once adds consume=true: of all that ask so, one hears that the
// token is active, and from then on nobody does (REQ-241).
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
	switch c.form.get("consume") {
	case "":
		return h.active(t), nil
	case "true":
		return h.consume(c, t)
	}
	return nil, errConsume
}

var (
	errTokenMissing = badRequest("The token parameter is required.")
	errConsume      = badRequest("The consume parameter must be true, and is for resource servers.")
)

// consume ends the token with the answer that it is active.
func (h *Handler) consume(c *call, t *accessToken) ([]byte, error) {
	if !t.isFor(c.client.Serves) {
		return nil, errConsume
	}
	switch err := h.endToken(c, t, approvals.RevokedUse); {
	case err == nil:
		return h.active(t), nil
	case revoked(err) == nil:
		return inactive, nil // somebody was faster
	default:
		return nil, err
	}
}

func (c *caller) mayIntrospect(t *accessToken) bool {
	return t.ClientID == string(c.agent.ID) || t.isFor(c.client.Serves)
}

// active is what the token says, byte for byte (REQ-232), that it is good, and whether it is for doing something once.
func (h *Handler) active(t *accessToken) []byte {
	head := []byte(`{"active":true,"token_type":"` + t.Confirm.tokenType() + `",`)
	if slices.ContainsFunc(t.Details, h.isOnce) {
		head = append(head, `"single_use":true,`...)
	}
	return append(head, bytes.TrimPrefix(t.payload, []byte("{"))...)
}

func (h *Handler) isOnce(detail json.RawMessage) bool {
	var head struct {
		Type string `json:"type"`
	}
	err := json.Unmarshal(detail, &head)
	return err == nil && h.Desk.Renderer.Types.Once(head.Type)
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
