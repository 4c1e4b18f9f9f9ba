package webapp

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"assent/approvals"
)

// asked returns the request of a visit's path to one of its approvers. Nobody else learns more than that it is not
// theirs.
func (h *Handler) asked(v *visit) (*approvals.Request, error) {
	if v.who == nil {
		return nil, errSignIn
	}
	return h.requestOf(v, approvals.ID(v.PathValue("id")))
}

func (h *Handler) requestOf(v *visit, id approvals.ID) (*approvals.Request, error) {
	r, err := h.Desk.Request(v.Context(), id)
	if err != nil {
		return nil, fmt.Errorf("read request: %w", err)
	}
	for _, p := range r.Approvers {
		if p == v.who.Person {
			return r, nil
		}
	}
	return nil, approvals.ErrWrongPerson
}

// request shows the request as it stands: to be decided, or decided.
func (h *Handler) request(v *visit) (answer, error) {
	r, err := h.asked(v)
	if err != nil {
		return answer{}, err
	}
	view, err := h.view(v, r)
	if err != nil {
		return answer{}, err
	}
	return answer{page: "request", data: view}, nil
}

// posted reads a form of the request page and checks that it was made for this sign-in and this request.
func (h *Handler) posted(v *visit, fields ...string) (*approvals.Request, url.Values, error) {
	values, err := form(v, append(fields, "token")...)
	if err != nil {
		return nil, nil, err
	}
	r, err := h.asked(v)
	if errors.Is(err, approvals.ErrWrongPerson) {
		h.refused(v, approvals.ID(v.PathValue("id")), approvals.RefusedPerson)
	}
	if err != nil {
		return nil, nil, err
	}
	if _, err := approvals.ParseChoice(values.Get("choice")); err != nil {
		return nil, nil, fmt.Errorf("choice: %w", errForm)
	}
	if subtle.ConstantTimeCompare([]byte(values.Get("token")), []byte(h.formToken(v.who, r.ID))) != 1 {
		h.refused(v, r.ID, approvals.RefusedForm)
		return nil, nil, errStale
	}
	return r, values, nil
}

// refused leaves an audit record of an answer that never came to the desk.
func (h *Handler) refused(v *visit, id approvals.ID, why approvals.Refusal) {
	if err := h.Desk.Refused(v.Context(), id, v.who.Person, why); err != nil {
		h.Log.WarnContext(v.Context(), "refusal not noted", "request", string(id), "why", string(why), "err", err)
	}
}

var requestPath = regexp.MustCompile(`^/requests/([0-9a-z]{26})/`)

// crossSite refuses a form of another site. If it is about a request of whoever is signed in, somebody has tried to make
// them decide, and that is noted.
func (h *Handler) crossSite(v *visit) (answer, error) {
	if path := requestPath.FindStringSubmatch(v.URL.Path); v.who != nil && path != nil {
		if r, err := h.requestOf(v, approvals.ID(path[1])); err == nil {
			h.refused(v, r.ID, approvals.RefusedSite)
		}
	}
	return answer{}, errCrossSite
}

// acted is posted for what a person does by hand, which keeps them signed in.
func (h *Handler) acted(v *visit, fields ...string) (*approvals.Request, url.Values, error) {
	r, values, err := h.posted(v, fields...)
	if err == nil {
		h.touch(v)
	}
	return r, values, err
}

// answerOf is what the signed-in person answers, with the evidence of how they are signed in.
func (v *visit) answerOf(values url.Values) approvals.Answer {
	choice, _ := approvals.ParseChoice(values.Get("choice")) // posted has read it
	return approvals.Answer{By: v.who.Person, Digest: values.Get("digest"), Locale: values.Get("locale"),
		Level: v.who.Level, AMR: v.who.AMR, AuthTime: v.who.provedAt(), Via: "page", Device: device(v.UserAgent()),
		Choice: choice, Note: strings.TrimSpace(strings.ReplaceAll(values.Get("note"), "\r", ""))}
}

// approve decides yes, on exactly what the form says was on the screen.
func (h *Handler) approve(v *visit) (answer, error) {
	r, values, err := h.posted(v, "digest", "locale", "choice", "code", "ticket", "credential")
	if err != nil {
		return answer{}, err
	}
	a := v.answerOf(values)
	takes, _, err := h.confirms(v, r)
	if err != nil {
		return answer{}, err
	}
	if takes || r.Enters() && values.Get("credential") != "" {
		return h.approveByPasskey(v, r, values, a)
	}
	h.touch(v)
	a.Code = values.Get("code")
	_, err = h.Desk.Approve(v.Context(), r.ID, a)
	if errors.Is(err, approvals.ErrLevel) {
		return answer{to: v.path("/signin?next=" + url.QueryEscape(v.here()))}, nil
	}
	return h.decided(v, r, values, err)
}

// deny decides no. It takes any sign-in that shows the page, and no proof of what was read.
func (h *Handler) deny(v *visit) (answer, error) {
	r, values, err := h.acted(v, "digest", "locale", "choice", "note")
	if err != nil {
		return answer{}, err
	}
	_, err = h.Desk.Deny(v.Context(), r.ID, v.answerOf(values))
	return h.decided(v, r, values, err)
}

// withdraw takes an approval back, as long as the agent has not collected it, or can come back on it.
func (h *Handler) withdraw(v *visit) (answer, error) {
	r, values, err := h.acted(v)
	if err != nil {
		return answer{}, err
	}
	_, err = h.Desk.TakeBack(v.Context(), r.ID, v.who.Person)
	return h.decided(v, r, values, err)
}

// decided leads to the result after a decision, and also after one that came second: the page then says what was
// decided before, and the same decision repeated looks like the first.
func (h *Handler) decided(v *visit, r *approvals.Request, values url.Values, err error) (answer, error) {
	var field *approvals.FieldError
	switch {
	case err == nil, errors.Is(err, approvals.ErrDecided), errors.Is(err, approvals.ErrTooLate):
		return answer{to: v.path("/requests/" + string(r.ID))}, nil
	case errors.Is(err, approvals.ErrChanged):
		return h.again(v, r, http.StatusConflict, "alert.changed", "")
	case errors.Is(err, approvals.ErrCode):
		return h.wrongCode(v, r, v.answerOf(values).Choice, "ask.codeWrong")
	case errors.As(err, &field) && field.Field == "code":
		return h.wrongCode(v, r, v.answerOf(values).Choice, "ask.codeShape")
	case errors.As(err, &field) && field.Field == "note":
		return h.onceMore(v, r, v.answerOf(values).Choice, http.StatusUnprocessableEntity, "alert.noteTooLong", values.Get("note"))
	case field != nil: // a choice that this request does not allow
		return h.again(v, r, http.StatusConflict, "alert.changed", "")
	}
	return answer{}, err
}

// again shows the request once more, with what was wrong.
func (h *Handler) again(v *visit, r *approvals.Request, status int, alert, note string) (answer, error) {
	return h.onceMore(v, r, approvals.Choice{}, status, alert, note)
}

// onceMore is again for what a choice leaves of the request.
func (h *Handler) onceMore(v *visit, r *approvals.Request, c approvals.Choice, status int, alert, note string) (answer, error) {
	r, err := h.Desk.Request(v.Context(), r.ID)
	if err != nil {
		return answer{}, fmt.Errorf("read request: %w", err)
	}
	view, err := h.viewOf(v, r, c)
	if err != nil {
		return answer{}, err
	}
	view.Alert, view.Note = alert, note
	return answer{status: status, page: "request", data: view}, nil
}

// wrongCode shows the page once more after a code that was not the agent's, with how many tries are left.
func (h *Handler) wrongCode(v *visit, r *approvals.Request, c approvals.Choice, alert string) (answer, error) {
	a, err := h.onceMore(v, r, c, http.StatusUnprocessableEntity, alert, "")
	view, ok := a.data.(*requestView)
	switch {
	case err != nil || !ok || view.Stage != "open":
	case alert == "ask.codeShape":
		view.Wrong, view.Blame = true, []any{r.CodeDigits}
	case view.Tries == 1:
		view.Wrong, view.Alert = true, "ask.codeWrongLast"
	default:
		view.Wrong, view.Blame = true, []any{view.Tries}
	}
	return a, err
}

// opened notes that the page came before a person's eyes. Only script sends it, once the page is visible: a robot that
// opens the link does not count.
func (h *Handler) opened(v *visit) (answer, error) {
	r, _, err := h.posted(v)
	if err != nil {
		return answer{}, err
	}
	if err := h.Desk.Opened(v.Context(), r.ID, v.who.Person, v.who.AuthTime); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, nil
}

// device names the browser in a closed set of words, enough to recognise one's own phone and useless to track anybody.
func device(agent string) string {
	browser := firstOf(agent, "Edg", "Edge", "SamsungBrowser", "Samsung Internet", "Firefox", "Firefox", "FxiOS",
		"Firefox", "CriOS", "Chrome", "Chrome", "Chrome", "Safari", "Safari")
	system := firstOf(agent, "Android", "Android", "iPhone", "iPhone", "iPad", "iPad", "Windows", "Windows", "Mac OS X",
		"Mac", "CrOS", "Chromebook", "Linux", "Linux")
	if browser == "" || system == "" {
		return browser + system
	}
	return browser + " (" + system + ")"
}

// firstOf returns the name of the first mark, of pairs of mark and name, that s holds.
func firstOf(s string, pairs ...string) string {
	for i := 0; i+1 < len(pairs); i += 2 {
		if strings.Contains(s, pairs[i]) {
			return pairs[i+1]
		}
	}
	return ""
}
