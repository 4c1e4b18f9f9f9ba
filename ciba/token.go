package ciba

import (
	"errors"
	"slices"
	"strings"

	"assent/approvals"
)

// token answers RFC 6749 section 3.2: it decodes, authenticates, asks for the key that a token will be
// bound to, and lets the grant speak.
func (h *Handler) token(c *call) (body []byte, err error) {
	if err = h.readCall(c, true); err != nil {
		return nil, err
	}
	name := c.form.get("grant_type")
	if name == "" {
		return nil, badRequest("The grant_type parameter is required.")
	}
	grant, known := h.grants[name]
	if !known {
		return nil, refuse("unsupported_grant_type", "The grant_type is not supported.")
	}
	if c.cnf, err = h.confirm(c); err != nil {
		return nil, err
	}
	return grant(c)
}

// collect is the grant of CIBA section 10.1.
func (h *Handler) collect(c *call) ([]byte, error) {
	r, err := h.look(c)
	if err != nil {
		return nil, err
	}
	return h.judge(c, r)
}

// readCall is the common beginning of every endpoint that is about one request.
func (h *Handler) readCall(c *call, json bool) (err error) {
	if c.form, err = readParams(c.w, c.r, json); err != nil {
		return err
	}
	if err = h.authenticate(c); err != nil {
		return err
	}
	return c.form.noneTwice()
}

// look finds the request that auth_req_id means. Unknown, malformed, purged and foreign are one answer (REQ-180), and a
// foreign attempt leaves no trace on the request or its pace (REQ-181).
func (h *Handler) look(c *call) (*approvals.Request, error) {
	if !c.client.mayUse(GrantCIBA) {
		return nil, errUnauthorized
	}
	handle := c.form.get("auth_req_id")
	if handle == "" {
		return nil, badRequest("The auth_req_id parameter is required.")
	}
	id, secret, _ := strings.Cut(handle, ".")
	if len(id) != 26 || len(secret) != 43 {
		return nil, errGrant
	}
	r, err := h.Desk.Look(c.r.Context(), c.agent.ID, approvals.ID(id), secret)
	if errors.Is(err, approvals.ErrNotFound) && c.client.blind() {
		r, err = h.lookDecoy(c, approvals.ID(id), secret)
	}
	if err != nil {
		return nil, err
	}
	c.id, c.secret = r.ID, secret
	return r, nil
}

// judge is REQ-182: the order in which the states of a request are told. Results come before expiry and before pacing,
// so that slow_down is never said once there is something to say (REQ-190).
func (h *Handler) judge(c *call, r *approvals.Request) ([]byte, error) {
	at := h.Now()
	switch r.StateAt(at) {
	case approvals.Redeemed:
		return h.again(c, r) // invalid_grant, or the lost answer once more
	case approvals.Denied, // access_denied
		approvals.Cancelled, // access_denied, or invalid_grant when person or agent may no longer
		approvals.Failed,    // transaction_failed
		approvals.Expired:   // expired_token
		h.pace.forget(r.ID)
		return nil, r.Refusal(at)
	case approvals.Approved:
		h.pace.forget(r.ID)
		return h.redeem(c, r) // tokens, once
	}
	return h.pending(c, r) // slow_down, or authorization_pending, perhaps after a while
}

// redeem spends the approval. Without an Idempotency-Key the commit comes first and then the signature (REQ-198). With
// one, the signed answer is sealed and committed together with the redemption, so that a lost answer can be had again.
func (h *Handler) redeem(c *call, r *approvals.Request) ([]byte, error) {
	if err := h.keepsPromise(c.r.Context(), r.ID, c.cnf); err != nil {
		return nil, err
	}
	granted, err := h.narrow(c.form, r)
	if err != nil {
		return nil, err
	}
	granted.cnf = c.cnf
	h.beginRefresh(c, r, &granted)
	o, err := h.onceOf(c, kindRedeemed)
	if err != nil {
		return nil, err
	}
	unchanged, err := h.stillGood(c, r)
	if err != nil {
		return nil, h.takeBack(c, r, err)
	}
	granted.also = append(granted.also, unchanged...)
	if o != nil {
		return h.redeemOnce(c, r, granted, o)
	}
	spent, err := h.Desk.Redeem(c.r.Context(), c.agent.ID, r.ID, c.secret, append(told(r), granted.also...)...)
	if err != nil {
		return nil, err
	}
	return h.issuer.respond(spent, granted, h.Now())
}

func (h *Handler) redeemOnce(c *call, r *approvals.Request, granted grant, o *once) ([]byte, error) {
	if _, err := o.kept(c.r.Context()); err != nil {
		return nil, err
	}
	at := h.Now()
	body, err := h.issuer.respond(r, granted, at)
	if err != nil {
		return nil, err
	}
	also := append(told(r), o.put(body, at.Add(redeemedLifetime)))
	also = append(also, granted.also...)
	_, err = h.Desk.Redeem(c.r.Context(), c.agent.ID, r.ID, c.secret, also...)
	if errors.Is(err, approvals.ErrRedeemed) || errors.Is(err, approvals.ErrConflict) {
		return h.redeemOvertaken(c, err)
	}
	if err != nil {
		return nil, err
	}
	return body, nil
}

// redeemOvertaken answers when something else was written a moment ago: a redemption, or person or agent. What this call
// has read is from before that, so it looks again; an approval that still stands can be collected by the next try.
func (h *Handler) redeemOvertaken(c *call, conflict error) ([]byte, error) {
	r, err := h.look(c)
	if err != nil {
		return nil, err
	}
	if r.State != approvals.Redeemed {
		return nil, conflict
	}
	return h.again(c, r)
}

// again answers a redemption of what has been redeemed: with the same bytes if it is the same call, and the person and
// the grant are still good, and nobody has revoked it; otherwise with invalid_grant (REQ-199).
func (h *Handler) again(c *call, r *approvals.Request) ([]byte, error) {
	o, err := h.onceOf(c, kindRedeemed)
	if err != nil {
		return nil, err
	}
	if o == nil || !r.RevokedAt.IsZero() {
		return nil, h.usedAgain(c, r)
	}
	body, err := o.find(c.r.Context())
	if errors.Is(err, approvals.ErrNotFound) {
		return nil, h.usedAgain(c, r)
	}
	if err != nil {
		return nil, err
	}
	_, err = h.stillGood(c, r)
	return body, err
}

// usedAgain refuses an auth_req_id that has been spent. For as long as a lost answer may be asked for again, that is
// all; afterwards two parties seem to have it, and what was issued for it is revoked (REQ-199).
func (h *Handler) usedAgain(c *call, r *approvals.Request) error {
	if !r.RevokedAt.IsZero() || r.EndedAt.IsZero() || c.at.Before(r.EndedAt.Add(redeemedLifetime)) {
		return errUsed
	}
	if err := h.endAll(c, r.ID, approvals.RevokedReuse); err != nil {
		return err
	}
	return errUsed
}

// stillGood asks whether the person is still active and the agent may still have what was granted (REQ-200): what the
// desk asks at a redemption, and scope and audience, which only this door knows the rules of. The agent is read again:
// a held poll has authenticated a while ago. It returns what must not change until that is acted on.
func (h *Handler) stillGood(c *call, r *approvals.Request) (unchanged []approvals.Write, err error) {
	p, err := h.Directory.Person(c.r.Context(), r.Subject)
	if errors.Is(err, approvals.ErrNotFound) || err == nil && p.Disabled {
		return nil, approvals.ErrNotEligible
	}
	if err != nil {
		return nil, err
	}
	a, err := h.Directory.Agent(c.r.Context(), r.Agent)
	if errors.Is(err, approvals.ErrNotFound) || err == nil && (a.Disabled || !h.permitted(a, r)) {
		return nil, approvals.ErrNotEligible
	}
	if err != nil {
		return nil, err
	}
	return []approvals.Write{approvals.Expect(approvals.KindPerson, string(p.ID), p.Revision),
		approvals.Expect(approvals.KindAgent, string(a.ID), a.Revision)}, nil
}

func (h *Handler) permitted(a *approvals.Agent, r *approvals.Request) bool {
	other := func(d approvals.Detail) bool { return !a.MayHave(d) }
	return allowedScopes(r.Scope, a) && h.allowed(r.Audience, a) && !slices.ContainsFunc(r.Granted, other)
}

// takeBack withdraws an approval that may not be collected any more, so that it stays so (REQ-200).
func (h *Handler) takeBack(c *call, r *approvals.Request, refusal error) error {
	if !errors.Is(refusal, approvals.ErrNotEligible) {
		return refusal
	}
	_, err := h.Desk.Cancel(c.r.Context(), r.ID, approvals.Actor{Kind: "service"}, approvals.NotEligible)
	return errors.Join(refusal, err)
}

// pending paces a poll whose request is undecided, and perhaps holds it until there is something to say.
func (h *Handler) pending(c *call, r *approvals.Request) ([]byte, error) {
	turn := h.pace.arrive(r.ID, c.at, r.ExpiresAt)
	if turn.hammers {
		return nil, errHammer.after(turn.seconds)
	}
	if turn.early {
		return nil, errSlowDown.after(turn.seconds) // always the wait that will really be enforced (REQ-187)
	}
	wait := h.holdFor(c, turn)
	if wait <= 0 {
		return nil, errPending.after(turn.seconds)
	}
	decided, err := h.hold(c, r, wait)
	if err != nil {
		return nil, err
	}
	if decided == nil {
		return nil, errPending.after(turn.seconds)
	}
	return h.judge(c, decided)
}
