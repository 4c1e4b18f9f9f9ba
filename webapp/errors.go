package webapp

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"assent/approvals"
)

// What can be wrong with a visit, beside the desk's own errors.
var (
	errSignIn    = errors.New("nobody is signed in")
	errNotFresh  = errors.New("sign-in is too old for this")
	errCrossSite = errors.New("form came from another site")
	errForm      = errors.New("form is not one of ours")
	errTooLarge  = errors.New("form is too large")
	errStale     = errors.New("form belongs to another sign-in")
	errDeadLink  = errors.New("link is unknown")
	errEndedLink = errors.New("link has ended")
	errTooMany   = errors.New("too many tries")
	errGuessed   = errors.New("too many wrong codes in a day")

	errNotSent = errors.New("test was not sent")

	errDeadInvitation = errors.New("invitation is unknown, spent or dead")
	errNoPage         = errors.New("no such page")
	errMethod         = errors.New("method not allowed")
)

// problems is the one table from errors to pages: the first row that matches wins. A row names a status and the texts
// of the page; what is not in the table is a 500 that says nothing.
var problems = []struct {
	err    error
	status int
	text   string
}{
	{errCrossSite, http.StatusForbidden, "crossSite"},
	{errStale, http.StatusForbidden, "stale"},
	{approvals.ErrWrongPerson, http.StatusForbidden, "wrongPerson"},
	{errDeadLink, http.StatusNotFound, "deadLink"},
	{errEndedLink, http.StatusGone, "deadLink"},
	{errDeadInvitation, http.StatusNotFound, "deadInvitation"},
	{errNoPage, http.StatusNotFound, "noPage"},
	{errMethod, http.StatusMethodNotAllowed, "noPage"},
	{errTooLarge, http.StatusRequestEntityTooLarge, "badForm"},
	{errForm, http.StatusBadRequest, "badForm"},
	{errTooMany, http.StatusTooManyRequests, "tooMany"},
	{errGuessed, http.StatusTooManyRequests, "guessed"},
	{errNotSent, http.StatusBadGateway, "notSent"},
	{approvals.ErrNotFound, http.StatusNotFound, "deadLink"},
	{approvals.ErrConflict, http.StatusConflict, "meanwhile"},
	{approvals.ErrUnavailable, http.StatusServiceUnavailable, "unknown"},
}

// problemView is the page of an error.
type problemView struct {
	Text   string // prefix of the texts: Text.title, Text.body
	Again  string // where to look for the truth, after an answer that may have been lost
	Switch string // where a change of account leads back to
}

// explain chooses the answer to an error.
func (h *Handler) explain(w http.ResponseWriter, v *visit, err error) answer {
	if errors.Is(err, errSignIn) {
		return answer{to: v.path("/signin?next=" + url.QueryEscape(v.here()))}
	}
	if errors.Is(err, errNotFresh) {
		return answer{to: v.path("/signin?fresh=1&next=" + url.QueryEscape(v.here()))}
	}
	status, text := h.judge(v.Context(), err)
	view := problemView{Text: text}
	switch status {
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "2")
		view.Again = v.here()
	case http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "60")
	}
	if errors.Is(err, approvals.ErrWrongPerson) {
		view.Switch = v.here()
	}
	return answer{status: status, page: "problem", data: view}
}

// judge finds an error's row, and logs what the operator must know about.
func (h *Handler) judge(ctx context.Context, err error) (status int, text string) {
	for _, row := range problems {
		if !errors.Is(err, row.err) {
			continue
		}
		if row.status == http.StatusServiceUnavailable {
			h.Log.WarnContext(ctx, "page unavailable", "err", err)
		}
		return row.status, row.text
	}
	h.Log.ErrorContext(ctx, "page failed", "err", err)
	return http.StatusInternalServerError, "internal"
}
