package ciba

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
)

// GrantRefresh is the grant type of RFC 6749 section 6.
const GrantRefresh = "refresh_token"

// Record kinds of refresh tokens.
const (
	kindRefresh   = "ciba.refresh"   // a family, by request
	kindRefreshed = "ciba.refreshed" // an answer that may be asked for again
)

// refreshPrefix tells refresh tokens from everything else that we hand out.
const refreshPrefix = "art_"

// family is what is kept about the refresh tokens of one approval. They replace each other, unless the profile does not
// want that, and the last one is good; a token that has been replaced and comes again means that two parties hold it, and
// ends them all (RFC 9700 section 4.14.2). A token is derived from the root key, the salt and its number, so it lies
// nowhere, and every token that we ever gave is known again.
type family struct {
	V       int          `json:"v"`
	Request approvals.ID `json:"request"`
	Salt    []byte       `json:"salt"`
	N       uint64       `json:"n"`              // of the good one
	Spent   time.Time    `json:"spent,omitzero"` // when the one before it was exchanged
	JKT     string       `json:"jkt,omitempty"`  // the DPoP key that every exchange must show
}

func (f *family) token(root *keys.Root, n uint64) string {
	number := strconv.FormatUint(n, 10)
	return refreshPrefix + string(f.Request) + "." + number + "." +
		root.Name(keys.LabelRefresh, string(f.Request), string(f.Salt), number)
}

func (f *family) value() []byte {
	value, _ := json.Marshal(f) // numbers, text and times: cannot fail
	return value
}

// beginRefresh adds the first refresh token to what is collected, if the person was told that the agent may come back
// and the agent collects offline_access. Otherwise the answer shows that there is none.
func (h *Handler) beginRefresh(c *call, r *approvals.Request, g *grant) {
	_, on := h.grants[GrantRefresh]
	if !on || !c.client.mayUse(GrantRefresh) || !h.Now().Before(r.Until) || !slices.Contains(g.scope, offlineAccess) {
		g.scope = withoutOffline(slices.Clone(g.scope))
		return
	}
	f := &family{V: 1, Request: r.ID, Salt: make([]byte, 32), N: 1}
	if c.cnf != nil {
		f.JKT = c.cnf.JKT
	}
	rand.Read(f.Salt)
	g.refresh = f.token(h.Root, f.N)
	g.also = []approvals.Write{approvals.PutNew(kindRefresh, string(r.ID), f.value(), r.Until)}
}

// refreshToken is a token that we gave, and what is kept about it.
type refreshToken struct {
	family
	request approvals.ID
	n       uint64
	record  approvals.Record
}

// spent reports a token that has been exchanged. One that is newer than the record is good: then the store was put back
// from a backup.
func (t *refreshToken) spent() bool { return t.n < t.N }

func isRefresh(text string) bool { return strings.HasPrefix(text, refreshPrefix) }

// readRefresh returns nil for what we never gave, and for what is over.
func (h *Handler) readRefresh(c *call, text string) (*refreshToken, error) {
	parts := strings.Split(strings.TrimPrefix(text, refreshPrefix), ".")
	if !isRefresh(text) || len(parts) != 3 || len(parts[0]) != 26 {
		return nil, nil
	}
	n, err := strconv.ParseUint(parts[1], 10, 63)
	if err != nil {
		return nil, nil
	}
	rec, err := h.Records.Get(c.r.Context(), kindRefresh, parts[0])
	if errors.Is(err, approvals.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t := &refreshToken{request: approvals.ID(parts[0]), n: n, record: rec}
	if err := json.Unmarshal(rec.Value, &t.family); err != nil {
		return nil, fmt.Errorf("read refresh family of %s: %w", t.request, err)
	}
	if subtle.ConstantTimeCompare([]byte(t.token(h.Root, n)), []byte(text)) != 1 {
		return nil, nil
	}
	return t, nil
}

var (
	errNoRefreshToken = badRequest("The refresh_token parameter is required.")
	errMayNotRefresh  = refuse("unauthorized_client", "The client is not registered for the refresh token grant.")
	errRefresh        = refuse("invalid_grant", "The refresh token is unknown, used, revoked, or not this client's.")
)

// refresh is the grant of RFC 6749 section 6: new tokens for an approval that stands, never for more than was approved,
// and a refresh token in place of the old one (REQ-247, 248).
func (h *Handler) refresh(c *call) ([]byte, error) {
	text := c.form.get("refresh_token")
	switch {
	case !c.client.mayUse(GrantRefresh):
		return nil, errMayNotRefresh
	case text == "":
		return nil, errNoRefreshToken
	}
	t, err := h.readRefresh(c, text)
	if err != nil {
		return nil, err
	}
	if t == nil || !t.heldBy(c.cnf) {
		return nil, errRefresh
	}
	r, err := h.Desk.Request(c.r.Context(), t.request)
	if errors.Is(err, approvals.ErrNotFound) || err == nil && (r.Agent != c.agent.ID || !r.RevokedAt.IsZero()) {
		return nil, errRefresh
	}
	if err != nil {
		return nil, err
	}
	c.id = r.ID
	o, err := h.onceOf(c, kindRefreshed)
	if err != nil {
		return nil, err
	}
	unchanged, err := h.mayComeBack(c, r)
	if err != nil {
		return nil, err
	}
	if body, err := o.kept(c.r.Context()); body != nil || err != nil {
		return body, err
	}
	if t.spent() {
		return nil, h.refreshAgain(c, t)
	}
	return h.exchange(c, r, t, o, unchanged)
}

// heldBy reports whether the caller holds the key that the family began with, if there was one (REQ-247). A certificate
// is no such key: it is renewed more often than people are asked, and the client has just proven who it is.
func (f *family) heldBy(shown *confirmation) bool {
	return f.JKT == "" || shown != nil && shown.JKT == f.JKT
}

// mayComeBack ends the approval of a person who, or an agent that, may no longer, at the first try. Disabling ends it at
// once, so it does not come back with them.
func (h *Handler) mayComeBack(c *call, r *approvals.Request) (unchanged []approvals.Write, err error) {
	unchanged, err = h.stillGood(c, r)
	if !errors.Is(err, approvals.ErrNotEligible) {
		return unchanged, err
	}
	return nil, errors.Join(err, h.endAll(c, r.ID, approvals.RevokedIneligible))
}

// exchange gives new tokens, and a new refresh token where the profile has them replaced. The answer is made first and
// leaves when the approval still stood at the commit, which makes the replacement durable.
func (h *Handler) exchange(c *call, r *approvals.Request, t *refreshToken, o *once,
	unchanged []approvals.Write) ([]byte, error) {
	g, err := h.narrow(c.form, r)
	if err != nil {
		return nil, err
	}
	at := h.Now()
	next, writes := h.successor(r, t, at)
	g.cnf, g.refresh = c.cnf, next.token(h.Root, next.N)
	body, err := h.issuer.respond(r, g, at)
	if err != nil {
		return nil, err
	}
	if o != nil {
		writes = append(writes, o.put(body, at.Add(redeemedLifetime)))
	}
	_, err = h.Desk.Renew(c.r.Context(), r.ID, append(writes, unchanged...)...)
	switch {
	case errors.Is(err, approvals.ErrConflict):
		return h.refreshOvertaken(c, o, err)
	case errors.Is(err, approvals.ErrNotEligible):
		return nil, errors.Join(err, h.endAll(c, r.ID, approvals.RevokedIneligible))
	case errors.Is(err, approvals.ErrWithdrawn), errors.Is(err, approvals.ErrExpired):
		return nil, errRefresh
	case err != nil:
		return nil, err
	}
	return body, nil
}

// successor is the family after an exchange, and what has to be written for that. A profile without rotation gives the
// same token again, so that a lost answer costs nothing; then only tokens from before can come twice.
func (h *Handler) successor(r *approvals.Request, t *refreshToken, at time.Time) (family, []approvals.Write) {
	next := t.family
	if !h.Profile.rotates() {
		next.N = t.n
		return next, nil
	}
	next.N, next.Spent = t.n+1, at
	return next, []approvals.Write{approvals.Replace(t.record, next.value(), r.Until)}
}

// refreshOvertaken answers when something else was written a moment ago: the same exchange, or person or agent.
func (h *Handler) refreshOvertaken(c *call, o *once, conflict error) ([]byte, error) {
	if body, err := o.kept(c.r.Context()); body != nil || err != nil {
		return body, err
	}
	t, err := h.readRefresh(c, c.form.get("refresh_token"))
	switch {
	case err != nil:
		return nil, err
	case t == nil:
		return nil, errRefresh
	case !t.spent():
		return nil, conflict
	}
	return nil, h.refreshAgain(c, t)
}

// refreshAgain refuses a token that has been exchanged. Unless the answer to that may just have been lost, two parties
// hold the token, and everything ends. A token whose successor has been used was not lost.
func (h *Handler) refreshAgain(c *call, t *refreshToken) error {
	if t.n+1 == t.N && c.at.Before(t.Spent.Add(redeemedLifetime)) {
		return errRefresh
	}
	if err := h.endAll(c, t.request, approvals.RevokedReuse); err != nil {
		return err
	}
	return errRefresh
}
