package ciba

import (
	"errors"
	"net/http"
	"strings"

	"assent/approvals"
)

// fault is an error in OAuth's words: a status, a code from the closed list of CIBA sections 11 and 13, and a fixed
// English sentence. It never holds anything that came from outside (REQ-170, 171).
type fault struct {
	status    int
	code      string
	text      string // only characters of RFC 6749 section 5.2
	retry     int    // Retry-After in seconds; 0: none
	challenge string // WWW-Authenticate: because Basic was tried (REQ-051), or a resource wants a token
}

func (f *fault) Error() string { return f.code + ": " + f.text }

// body is the JSON of RFC 6749 section 5.2: error, error_description and nothing else. The characters of both need no
// escaping.
func (f *fault) body() []byte {
	if f.text == "" {
		return []byte(`{"error":"` + f.code + `"}`)
	}
	return []byte(`{"error":"` + f.code + `","error_description":"` + f.text + `"}`)
}

func refuse(code, text string) *fault {
	return &fault{status: http.StatusBadRequest, code: code, text: text}
}

// after is the same fault with a Retry-After.
func (f *fault) after(seconds int) *fault {
	later := *f
	later.retry = seconds
	return &later
}

func badRequest(text string) *fault { return refuse("invalid_request", text) }

const (
	noClient       = "Client authentication failed."
	basicChallenge = `Basic realm="assent", charset="UTF-8"`
)

// Faults that more than one file gives.
var (
	errClient       = &fault{status: http.StatusUnauthorized, code: "invalid_client", text: noClient}
	errClientBasic  = &fault{status: http.StatusUnauthorized, code: "invalid_client", text: noClient, challenge: basicChallenge}
	errUnknownUser  = refuse("unknown_user_id", "The hint does not name one active person.")
	errUnauthorized = refuse("unauthorized_client", "The client is not registered for the CIBA grant.")
	errNoACR        = &fault{status: http.StatusForbidden, code: "access_denied",
		text: "None of the acr_values can be reached."}
	// errLeftAlone does not say whether the person has been asked too often or wants nothing of this client (REQ-266).
	errLeftAlone = &fault{status: http.StatusForbidden, code: "access_denied",
		text: "The person takes no more requests of this client at the moment."}
	errUnapprovable = refuse("invalid_authorization_details",
		"The authorization_details take a passkey to approve, and nobody can have one here.")
	errGrant     = refuse("invalid_grant", "The auth_req_id is unknown, or not this client's, or too old.")
	errUsed      = refuse("invalid_grant", "The auth_req_id has been used.")
	errPending   = refuse("authorization_pending", "The person has not answered yet.")
	errSlowDown  = refuse("slow_down", "The last poll was too recent. Wait as Retry-After says.")
	errHammer    = badRequest("The polls kept coming too early. There is nothing to tell but a result.")
	errTwice     = badRequest("A parameter was sent more than once.")
	errKeyReused = badRequest("The Idempotency-Key was used with another request.")
	errUnknown   = &fault{status: http.StatusInternalServerError, code: "server_error"}
	errTooMany   = &fault{status: http.StatusTooManyRequests, code: "temporarily_unavailable",
		text: "The client has too many pending requests.", retry: 10}
	errUnavailable = &fault{status: http.StatusServiceUnavailable, code: "server_error",
		text: "The service cannot store anything at the moment. Try again.", retry: 2}
	errConflict = &fault{status: http.StatusServiceUnavailable, code: "server_error",
		text: "Somebody else changed it at the same moment. Try again.", retry: 1}
)

// table says in OAuth's words what the desk says in its own; the first match counts (CIBA sections 11 and 13).
var table = []struct {
	is error
	as *fault
}{
	{approvals.ErrUnavailable, errUnavailable},
	{approvals.ErrConflict, errConflict},
	{approvals.ErrTooMany, errTooMany},
	{approvals.ErrTooOften, errLeftAlone},
	{approvals.ErrShutOut, errLeftAlone},
	{approvals.ErrNotFound, errGrant},
	{approvals.ErrNotEligible, refuse("invalid_grant", "The person or the client may no longer use this request.")},
	{approvals.ErrRedeemed, errUsed},
	{approvals.ErrDenied, refuse("access_denied", "The person said no.")},
	{approvals.ErrWithdrawn, refuse("access_denied", "The request was withdrawn.")},
	{approvals.ErrFailed, refuse("transaction_failed", "The person could not be reached.")},
	{approvals.ErrExpired, refuse("expired_token", "Nobody answered and collected in time.")},
	{approvals.ErrPending, errPending},
}

// faultOf never says more than the table; an error that is not in it is a 500 without words (REQ-177).
func faultOf(err error) *fault {
	var f *fault
	if errors.As(err, &f) {
		return f
	}
	for _, row := range table {
		if errors.Is(err, row.is) {
			return row.as
		}
	}
	return errUnknown
}

// maxText bounds descriptions that are put together, such as the path of a faulty member.
const maxText = 200

// plain keeps the characters that error_description may hold (RFC 6749 section 5.2): %x20-21, %x23-5B, %x5D-7E.
func plain(text string) string {
	kept := strings.Map(func(c rune) rune {
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return '?'
		}
		return c
	}, text)
	return kept[:min(len(kept), maxText)]
}
