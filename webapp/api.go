package webapp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"assent/approvals"
)

// maxJSON bounds the bodies of the app's calls.
const maxJSON = 16 << 10

// reply is what a function of the app's interface returns: a status and, unless nil, a JSON value.
type reply struct {
	status int
	body   any
}

// faults is the one table from errors to answers of the app's interface: the first row that matches wins.
var faults = []struct {
	err    error
	status int
	code   string
	words  string
}{
	{errSignIn, http.StatusForbidden, "sign_in_required", "Sign in, or send an enrolment code."},
	{errNotFresh, http.StatusForbidden, "sign_in_required", "Sign in again: the sign-in is more than ten minutes old."},
	{errDeadEnrolment, http.StatusForbidden, "invalid_enrolment",
		"The enrolment code is unknown, used or over. Show a new one on the page."},
	{errTooLarge, http.StatusRequestEntityTooLarge, "invalid_request", "The body is too large."},
	{errForm, http.StatusBadRequest, "invalid_request", "The body must be a JSON object with the documented members."},
	{errTooMany, http.StatusTooManyRequests, "too_many_requests", "Wait a minute, then try again."},
	{approvals.ErrTooMany, http.StatusTooManyRequests, "too_many_devices",
		"There are too many devices, or were too many tests. Remove a device, or wait ten minutes."},
	{approvals.ErrNotFound, http.StatusNotFound, "not_found", "There is no such device, or its code is wrong or over."},
	{approvals.ErrConflict, http.StatusConflict, "conflict", "Something changed at the same moment. Try again."},
	{approvals.ErrUnavailable, http.StatusServiceUnavailable, "temporarily_unavailable", "Try again in a moment."},
}

// api turns a function of the app's interface into a handler; see [Handler.page]. Calls come from apps, which send neither
// Origin nor Sec-Fetch-Site, and from our own pages. No other site can make a browser send one: they are JSON, which takes
// a permission that we never give, and [http.CrossOriginProtection] stands in front.
func (h *Handler) api(f func(*visit) (reply, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := h.visit(r)
		var out reply
		if err == nil {
			out, err = f(v)
		}
		if err != nil {
			out = h.fault(w, v, err)
		}
		for _, c := range v.cookies {
			http.SetCookie(w, c)
		}
		if out.body == nil {
			w.WriteHeader(out.status)
			return
		}
		raw, err := json.Marshal(out.body)
		if err != nil {
			h.Log.ErrorContext(r.Context(), "answer not encoded", "err", err)
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(out.status)
		_, _ = w.Write(append(raw, '\n')) // an app that has gone is no error of ours
	}
}

// faultAnswer is the body of an error, in the members that the agents' door uses too.
type faultAnswer struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// fault chooses the answer to an error. What breaks a rule is told the field and the rule, and never the value.
func (h *Handler) fault(w http.ResponseWriter, v *visit, err error) reply {
	var field *approvals.FieldError
	if errors.As(err, &field) {
		return reply{http.StatusBadRequest, faultAnswer{"invalid_request", field.Error() + "."}}
	}
	for _, row := range faults {
		if !errors.Is(err, row.err) {
			continue
		}
		switch row.status {
		case http.StatusServiceUnavailable:
			h.Log.WarnContext(v.Context(), "call unavailable", "err", err)
			w.Header().Set("Retry-After", "2")
		case http.StatusTooManyRequests:
			w.Header().Set("Retry-After", "60")
		}
		return reply{row.status, faultAnswer{row.code, row.words}}
	}
	h.Log.ErrorContext(v.Context(), "call failed", "err", err)
	return reply{http.StatusInternalServerError, faultAnswer{"server_error", "Something went wrong on our side."}}
}

// readBody reads one JSON object with the members of into, and nothing else.
func readBody(v *visit, into any) error {
	kind, _, err := mime.ParseMediaType(v.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return fmt.Errorf("content type: %w", errForm)
	}
	raw, err := io.ReadAll(http.MaxBytesReader(nil, v.Body, maxJSON))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return errTooLarge
	}
	if err != nil {
		return fmt.Errorf("read body: %w", errForm)
	}
	return parseBody(raw, into)
}

func parseBody(raw []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("decode body: %w", errForm) // the decoder's own error shows what it read
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("body goes on: %w", errForm)
	}
	return nil
}
