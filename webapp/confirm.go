package webapp

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"assent/approvals"
	"assent/webapp/passkey"
)

// confirms reports whether approving r takes a passkey over its very words, and whether the person has one. A request
// that needs a passkey takes it every time, however the person is signed in; one that only needs a better sign-in than
// this takes it in the place of a code. Where the person types what the agent shows, a passkey may take the place of that.
func (h *Handler) confirms(v *visit, r *approvals.Request) (takes, has bool, err error) {
	takes = r.Level >= approvals.LevelPasskey
	better := v.who.Level < r.Level
	if h.passkeys == nil || !takes && !better && !r.Enters() {
		return takes, false, nil
	}
	list, err := h.passkeys.List(v.Context(), v.who.Person)
	if err != nil {
		return takes, false, err
	}
	return takes || better && len(list) > 0, len(list) > 0, nil
}

// heldUntil is until when a person cannot approve what takes a passkey, whichever they use: a number or a device of theirs
// is too new, or all passkeys are. Zero or past: they can.
func (h *Handler) heldUntil(v *visit) (time.Time, error) {
	var until, first time.Time
	if changed := v.who.person.ReachChangedAt; !changed.IsZero() {
		until = changed.Add(h.Hold)
	}
	if h.passkeys == nil {
		return until, nil
	}
	list, err := h.passkeys.List(v.Context(), v.who.Person)
	for i, c := range list {
		if i == 0 || c.HeldUntil.Before(first) {
			first = c.HeldUntil
		}
	}
	if first.After(until) {
		until = first
	}
	return until, err
}

// matter is what an approval of r says yes to: the words on the screen, and what is granted by it, which is less than what
// was asked after a choice.
func (h *Handler) matter(r *approvals.Request, c approvals.Choice, digest string) (passkey.Matter, error) {
	granted := r.Requested
	if !c.Empty() {
		n, err := h.Desk.Renderer.Narrow(r, c)
		if err != nil {
			return passkey.Matter{}, err
		}
		granted = n.Details
	}
	return passkey.Matter{Verb: "approve", Disclosure: digest, Granted: granted.Digest()}, nil
}

// beginConfirm hands the script what the browser needs to confirm the approval of a request.
func (h *Handler) beginConfirm(v *visit) (answer, error) {
	r, values, err := h.posted(v, "digest", "locale", "choice", "elsewhere")
	if err != nil {
		return answer{}, err
	}
	m, err := h.matter(r, v.answerOf(values).Choice, values.Get("digest"))
	if errors.Is(err, approvals.ErrInvalid) {
		return answer{}, errForm // the page offers no choice that is not allowed
	}
	if err != nil {
		return answer{}, err
	}
	options, err := h.passkeys.BeginConfirm(v.Context(), v.who.Person, v.who.ID, m, passkeyHints(values)...)
	if errors.Is(err, passkey.ErrUnknown) {
		return answer{}, errForm // the page offers this to nobody without a passkey
	}
	if err != nil {
		return answer{}, err
	}
	return answer{json: options}, nil
}

// confirmed puts the proof of a passkey into an answer. Challenge, use and the sign-in's note of it are written with the
// decision, or not at all. The session that it returns, with a new secret, is what then follows.
func (h *Handler) confirmed(v *visit, r *approvals.Request, a *approvals.Answer, given passkey.Answer) (session, error) {
	m, err := h.matter(r, a.Choice, a.Digest)
	if err != nil {
		return session{}, err
	}
	proof, err := h.passkeys.Confirm(v.Context(), v.who.Person, v.who.ID, m, given)
	if err != nil {
		return session{}, err
	}
	if proof.Held && (r.Level >= approvals.LevelPasskey || r.Enters()) {
		return session{}, passkey.ErrHeld
	}
	s := *v.who
	s.Confirmed, s.Seen = proof.At, proof.At
	next, writes := h.turn(s, v.who.record())
	a.Level, a.AMR, a.AuthTime, a.Proof = approvals.LevelPasskey, proof.AMR, proof.At, proof.Evidence
	a.Confirmed = true
	a.Also = append(proof.Writes, writes...)
	return next, nil
}

// approveByPasskey decides yes, once a passkey confirmed it. What was decided before is shown as it is, whatever came
// with the form: a confirmation that is sent twice decides once.
func (h *Handler) approveByPasskey(v *visit, r *approvals.Request, values url.Values, a approvals.Answer) (answer, error) {
	if r.StateAt(h.Now()) != approvals.Pending {
		return h.decided(v, r, values, approvals.ErrDecided)
	}
	if h.passkeys == nil || values.Get("credential") == "" {
		return h.onceMore(v, r, a.Choice, http.StatusUnprocessableEntity, "alert.confirm", "")
	}
	held, err := h.heldUntil(v)
	if err != nil {
		return answer{}, err
	}
	if r.Level >= approvals.LevelPasskey && h.Now().Before(held) {
		return h.onceMore(v, r, a.Choice, http.StatusUnprocessableEntity, "passkey.held", "")
	}
	next, err := h.confirmed(v, r, &a, passkeyAnswer(values))
	if err == nil {
		_, err = h.Desk.Approve(v.Context(), r.ID, a)
	}
	if err == nil {
		h.carry(v, next)
	}
	if errors.Is(err, approvals.ErrConflict) {
		err = passkey.ErrRefused // the challenge was spent or the passkey used meanwhile
	}
	if problem := passkeyProblem(err); problem != "" {
		h.refused(v, r.ID, approvals.RefusedPasskey)
		return h.onceMore(v, r, a.Choice, http.StatusUnprocessableEntity, problem, "")
	}
	return h.decided(v, r, values, err)
}
