package ciba

import "bytes"

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
