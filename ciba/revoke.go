package ciba

import (
	"errors"

	"github.com/go-jose/go-jose/v4"

	"assent/approvals"
)

// revoke answers RFC 7009: a client takes back what was issued to it. What is no token, not good any more or revoked
// before is no fault; what belongs to another client is (REQ-251). An auth_req_id is no token (REQ-252).
func (h *Handler) revoke(c *call) ([]byte, error) {
	if err := h.readCall(c, false); err != nil {
		return nil, err
	}
	text := c.form.get("token")
	if text == "" {
		return nil, errTokenMissing
	}
	return []byte("{}"), h.revokeToken(c, text)
}

var (
	errForeign   = badRequest("The token was issued to another client.")
	errTokenType = refuse("unsupported_token_type", "ID tokens cannot be revoked.")
)

func (h *Handler) revokeToken(c *call, text string) error {
	if isRefresh(text) {
		return h.revokeRefresh(c, text)
	}
	t := h.issuer.read(text, c.at)
	switch {
	case t == nil && h.isIDToken(text):
		return errTokenType
	case t == nil:
		return nil
	case t.ClientID != string(c.agent.ID):
		return errForeign
	}
	c.id = t.request()
	return revoked(h.endToken(c, t, approvals.RevokedByAgent))
}

// revokeRefresh ends everything that was issued with a refresh token, also when it has been exchanged (RFC 7009 section
// 2.1).
func (h *Handler) revokeRefresh(c *call, text string) error {
	t, err := h.readRefresh(c, text)
	if t == nil || err != nil {
		return err
	}
	r, err := h.Desk.Request(c.r.Context(), t.request)
	switch {
	case errors.Is(err, approvals.ErrNotFound):
		return nil
	case err != nil:
		return err
	case r.Agent != c.agent.ID:
		return errForeign
	}
	c.id = r.ID
	return h.endAll(c, r.ID, approvals.RevokedByAgent)
}

// isIDToken tells what we have signed and do not revoke.
func (h *Handler) isIDToken(text string) bool {
	s, err := readJWS(text, []string{string(jose.ES256)})
	return err == nil && s.typ == "jwt" && h.Keyring.signed(s)
}

// endToken revokes one access token, once; see [revoked].
func (h *Handler) endToken(c *call, t *accessToken, why string) error {
	gone := approvals.PutNew(kindRevoked, t.ID, []byte(`{"v":1}`), t.expires())
	if t.isAlone() {
		return h.Records.Apply(c.r.Context(), gone)
	}
	_, err := h.Desk.Revoke(c.r.Context(), t.request(),
		approvals.Revocation{By: c.actor(), Why: why, Token: t.ID, Until: t.expires()}, gone)
	return err
}

// endAll revokes everything that was issued for a request, and everything that could be.
func (h *Handler) endAll(c *call, id approvals.ID, why string) error {
	_, err := h.Desk.Revoke(c.r.Context(), id, approvals.Revocation{By: c.actor(), Why: why},
		approvals.Delete(kindRefresh, string(id), approvals.AnyRevision))
	return revoked(err)
}

func (c *caller) actor() approvals.Actor {
	return approvals.Actor{Kind: "agent", ID: string(c.agent.ID)}
}

// revoked is nil when nothing is left to revoke.
func revoked(err error) error {
	for _, done := range []error{approvals.ErrConflict, approvals.ErrDecided, approvals.ErrNotFound} {
		if errors.Is(err, done) {
			return nil
		}
	}
	return err
}
