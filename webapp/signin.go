package webapp

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"assent/approvals"
)

// signinView is the page that offers a code.
type signinView struct {
	Action string
	Next   string
	Known  bool // an invitation has bound this browser
	Sends  bool // the person's channel can carry a code
	More   bool // already signed in, but not well enough

	Passkey  bool           // the browser may ask for one
	Upstream []upstreamLink // ways in over providers
	Again    bool           // signed in, but too long ago for what is next

	Problem string // key
	Args    []any
}

// signin offers the ways in: a passkey, and a one-time code on a browser that an invitation has bound. Whoever is signed in
// needs none of them, unless a page wants a sign-in of just now.
func (h *Handler) signin(v *visit) (answer, error) {
	next := ownPath(v.URL.Query().Get("next"))
	if v.who != nil && v.who.Level >= approvals.LevelSession && !v.URL.Query().Has("fresh") {
		return answer{to: v.path(next)}, nil
	}
	return h.askSignin(v, next, "")
}

// again reports whether somebody who is signed in is asked to sign in once more.
func (v *visit) again() bool { return v.who != nil && v.URL.Query().Has("fresh") }

// askSignin shows the page, with what was wrong about the last try.
func (h *Handler) askSignin(v *visit, next, problem string, args ...any) (answer, error) {
	b, err := h.bound(v)
	if err != nil {
		return answer{}, err
	}
	again := v.again()
	a := answer{page: "signin", data: signinView{Action: v.path("/signin"), Next: next, Known: b != nil,
		Sends: b != nil && h.CanSend(b.person), More: v.who != nil && !again, Again: again, Passkey: h.passkeys != nil,
		Upstream: h.upstreamLinks(v, next, again), Problem: problem, Args: args}}
	if problem != "" {
		a.status = http.StatusUnprocessableEntity
	}
	return a, nil
}

// sendCode brings a code on its way to the person whom this browser is bound to.
func (h *Handler) sendCode(v *visit) (answer, error) {
	values, err := form(v, "next")
	if err != nil {
		return answer{}, err
	}
	next := ownPath(values.Get("next"))
	b, err := h.bound(v)
	if err != nil {
		return answer{}, err
	}
	if b == nil || !h.CanSend(b.person) {
		return answer{to: v.path("/signin?next=" + url.QueryEscape(next))}, nil
	}
	code, writes, err := h.send(v.Context(), b.person, v.lang)
	if err != nil {
		return answer{}, err
	}
	c := &challenge{V: 1, Person: b.Person, Sent: code.ID, SentUntil: code.Expires, Ends: code.Expires}
	writes = append(writes, approvals.PutAny(kindSignin, b.key, c.encode(), c.Ends))
	if err := h.Records.Apply(v.Context(), writes...); errors.Is(err, approvals.ErrConflict) {
		return answer{}, errTooMany // somebody asks for codes faster than they can be counted
	} else if err != nil {
		return answer{}, fmt.Errorf("send code: %w", err)
	}
	h.Hub.Signal(approvals.TopicDue)
	return answer{to: v.path("/signin/code?next=" + url.QueryEscape(next))}, nil
}

// strands reports whether signing out leaves a person without a way back in. Doubt keeps nobody from signing out.
func (h *Handler) strands(v *visit) bool {
	if v.who == nil || v.who.Level < approvals.LevelSession {
		return false
	}
	in, _, err := h.otherWayIn(v.Context(), v.who.person, byInvitation)
	if err != nil {
		h.Log.WarnContext(v.Context(), "ways in not read before a sign-out", "err", err)
		return false
	}
	return !in
}

// codeView is the page with the one input.
type codeView struct {
	Action  string
	Resend  string // "" when no other code can be had
	Next    string // "" for an invitation
	Told    bool   // the operator tells the code
	Problem string // key of the text
	Left    int
	Passkey bool // the browser may offer one where the code goes
}

// answer shows the page, with what was wrong about the last try.
func (view codeView) answer(problem error) answer {
	a := answer{page: "code"}
	if problem != nil {
		a.status, view.Problem = http.StatusUnprocessableEntity, codeProblem(problem)
		if view.Problem == "code.wrong" && view.Left == 1 {
			view.Problem = "code.wrongLast"
		}
	}
	a.data = view
	return a
}

// codeProblem names the text for a code that was not accepted; "" for every other error.
func codeProblem(err error) string {
	switch {
	case errors.Is(err, errWrongCode):
		return "code.wrong"
	case errors.Is(err, errCodeShape):
		return "code.shape"
	case errors.Is(err, errCodeOver):
		return "code.over"
	case errors.Is(err, errSpent):
		return "code.spent"
	}
	return ""
}

// signinCode asks for the six digits.
func (h *Handler) signinCode(v *visit) (answer, error) {
	return h.askCode(v, ownPath(v.URL.Query().Get("next")), nil)
}

// askCode shows the page of the code that waits on this browser; without one it leads back to where codes are sent.
func (h *Handler) askCode(v *visit, next string, problem error) (answer, error) {
	back := answer{to: v.path("/signin?next=" + url.QueryEscape(next))}
	b, err := h.bound(v)
	if err != nil || b == nil {
		return back, err
	}
	c, err := h.waiting(v.Context(), kindSignin, b.key)
	if errors.Is(err, errNoCode) {
		return back, nil
	}
	if err != nil {
		return answer{}, err
	}
	view := codeView{Action: v.path("/signin/code"), Resend: v.path("/signin"), Next: next, Left: c.left(),
		Passkey: h.passkeys != nil}
	if problem == nil && c.left() <= 0 {
		problem = errSpent
	}
	return view.answer(problem), nil
}

// checkCode signs in, once the digits are right.
func (h *Handler) checkCode(v *visit) (answer, error) {
	values, err := form(v, "code", "next")
	if err != nil {
		return answer{}, err
	}
	next := ownPath(values.Get("next"))
	b, err := h.bound(v)
	if err != nil {
		return answer{}, err
	}
	if b == nil {
		return answer{to: v.path("/signin?next=" + url.QueryEscape(next))}, nil
	}
	var signedIn *http.Cookie
	_, err = h.guess(v.Context(), kindSignin, b.key, values.Get("code"), func(*challenge) []approvals.Write {
		cookie, writes := h.begin(v, b.person, approvals.LevelSession, "otp")
		signedIn = cookie
		return writes
	})
	switch {
	case err == nil:
		return answer{to: v.path(next), cookies: []*http.Cookie{signedIn}}, nil
	case errors.Is(err, errNoCode):
		return answer{to: v.path("/signin?next=" + url.QueryEscape(next))}, nil // spent: perhaps by this very form
	case codeProblem(err) == "":
		return answer{}, err
	}
	return h.askCode(v, next, err)
}

// signout ends the session of this browser. The browser stays bound. Whoever could not come back is asked once more.
func (h *Handler) signout(v *visit) (answer, error) {
	values, err := form(v, "next", "sure")
	if err != nil {
		return answer{}, err
	}
	if values.Get("sure") == "" && h.strands(v) {
		return answer{page: "signout", data: ownPath(values.Get("next"))}, nil
	}
	gone, err := h.end(v)
	if err != nil {
		return answer{}, err
	}
	next := url.QueryEscape(ownPath(values.Get("next")))
	return answer{to: v.path("/signin?next=" + next), cookies: []*http.Cookie{gone}}, nil
}
