package ciba

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"assent/approvals"
)

// kindRevoked is the record kind of single access tokens that were revoked, by jti. Whole grants are revoked on their
// request, where everybody finds it in memory.
const kindRevoked = "ciba.revoked"

// accessToken is one of our own access tokens, read back.
type accessToken struct {
	accessClaims
	payload []byte // as it was signed
}

// read returns what we have signed as an access token and what has not expired, or nil (REQ-285). It looks at nothing
// but the token itself.
func (i *issuer) read(text string, now time.Time) *accessToken {
	t := &accessToken{payload: i.keys.accessPayload(text)}
	if t.payload == nil {
		return nil
	}
	if err := json.Unmarshal(t.payload, &t.accessClaims); err != nil {
		return nil
	}
	if t.Issuer != i.name || !now.Before(t.expires()) {
		return nil
	}
	return t
}

func (t *accessToken) request() approvals.ID      { return approvals.ID(t.Txn) }
func (t *accessToken) expires() time.Time         { return time.Unix(t.Expires, 0) }
func (t *accessToken) person() approvals.PersonID { return approvals.PersonID(t.Subject) }

// isFor reports whether the token names one of these audiences.
func (t *accessToken) isFor(audiences []string) bool {
	return slices.ContainsFunc(t.Audience, func(a string) bool { return slices.Contains(audiences, a) })
}

// live reports whether a token is still good, which no signature says: its person, its agent, what the agent may have,
// and whether it was revoked. All of that lies in memory, unless single tokens of the same request were revoked
// lately.
func (h *Handler) live(c *call, t *accessToken) (bool, error) {
	if t.isAlone() {
		return h.liveAlone(c.r.Context(), t)
	}
	r, err := h.grantOf(c, t.request())
	if r == nil || err != nil {
		return false, err
	}
	gone, err := h.revokedAlone(c.r.Context(), r, t.ID)
	return !gone && err == nil, err
}

// grantOf returns the redeemed request whose tokens are in question, or nil if none of them is good any more.
func (h *Handler) grantOf(c *call, id approvals.ID) (*approvals.Request, error) {
	r, err := h.Desk.Request(c.r.Context(), id)
	switch {
	case errors.Is(err, approvals.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case r.State != approvals.Redeemed || !r.RevokedAt.IsZero():
		return nil, nil
	}
	_, err = h.stillGood(c, r)
	if errors.Is(err, approvals.ErrNotEligible) {
		return nil, nil
	}
	return r, err
}

func (h *Handler) revokedAlone(ctx context.Context, r *approvals.Request, token string) (bool, error) {
	if !h.Now().Before(r.SomeRevoked) {
		return false, nil
	}
	return h.isRevoked(ctx, token)
}

func (h *Handler) isRevoked(ctx context.Context, token string) (bool, error) {
	_, err := h.Records.Get(ctx, kindRevoked, token)
	if errors.Is(err, approvals.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
