package webapp

import (
	"fmt"
	"net/http"

	"assent/approvals"
	"assent/webapp/passkey"
)

// cookieCeremony ties a challenge to a browser on which nobody is signed in.
const cookieCeremony = "assent-ceremony"

// beginPasskeyIn hands the script what the browser needs to sign in. It stores nothing: the challenge is derived from a
// cookie that only this browser has.
func (h *Handler) beginPasskeyIn(v *visit) (answer, error) {
	values, err := form(v, "elsewhere")
	if err != nil {
		return answer{}, err
	}
	if !h.mayLookUp(v) {
		return answer{}, errTooMany
	}
	bound, cookies := h.ceremony(v)
	options, err := h.passkeys.BeginSignIn(bound, passkeyHints(values)...)
	if err != nil {
		return answer{}, err
	}
	return answer{json: options, cookies: cookies}, nil
}

// passkeyIn signs in whoever the passkey belongs to. The browser need not be bound: nobody can be talked into handing a
// passkey over.
func (h *Handler) passkeyIn(v *visit) (answer, error) {
	values, err := form(v, "next", "ticket", "credential")
	if err != nil {
		return answer{}, err
	}
	if !h.mayLookUp(v) {
		return answer{}, errTooMany
	}
	next := ownPath(values.Get("next"))
	cookie, err := h.recognise(v, passkeyAnswer(values))
	switch {
	case err == nil:
		return answer{to: v.path(next), cookies: []*http.Cookie{cookie}}, nil
	case passkeyProblem(err) == "":
		return answer{}, err
	case v.who != nil && v.who.Level >= approvals.LevelSession:
		return answer{to: v.path(next)}, nil // sent twice: the first one did it
	}
	return h.askSignin(v, next, passkeyProblem(err))
}

// recognise begins the session of whoever answered.
func (h *Handler) recognise(v *visit, a passkey.Answer) (*http.Cookie, error) {
	proof, err := h.passkeys.SignIn(v.Context(), h.named(v.Request, cookieCeremony), a)
	if err != nil {
		return nil, err
	}
	p, err := h.active(v.Context(), proof.Person, proof.At)
	if err != nil {
		return nil, fmt.Errorf("read person of passkey: %w", err)
	}
	if p == nil {
		return nil, passkey.ErrRefused
	}
	cookie, writes := h.begin(v, p, approvals.LevelPasskey, proof.AMR...)
	if err := h.passkeys.Commit(v.Context(), proof, writes...); err != nil {
		return nil, err
	}
	return cookie, nil
}
