package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// How a request can end without a token, and what a single poll can say before the end.
var (
	ErrDenied      = errors.New("the person said no")
	ErrExpired     = errors.New("nobody answered in time")
	ErrUnreachable = errors.New("the person could not be reached")
	ErrWithdrawn   = errors.New("the request was withdrawn")
	ErrGone        = errors.New("the request is unknown, used, or not ours")
	ErrPending     = errors.New("the person has not answered yet")
	ErrSlowDown    = errors.New("polled too soon")
	ErrBadToken    = errors.New("the token response does not hold")
)

// maxText bounds what is kept of a server's words.
const maxText = 300

// codes are the OAuth errors of CIBA section 11 and 12.
var codes = map[string]error{
	"access_denied":         ErrDenied,
	"expired_token":         ErrExpired,
	"transaction_failed":    ErrUnreachable,
	"invalid_grant":         ErrGone,
	"authorization_pending": ErrPending,
	"slow_down":             ErrSlowDown,
}

// Error is a server's refusal (RFC 6749 section 5.2). errors.Is finds the sentinel of its code.
type Error struct {
	Status      int           // HTTP status
	Code        string        // such as "invalid_request"; empty when the answer was no OAuth error
	Description string        // for a developer
	RetryAfter  time.Duration // 0: the server did not say
}

func (e *Error) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("the server answered with status %d", e.Status)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Description)
}

// Is makes errors.Is(err, [ErrDenied]) and the like work.
func (e *Error) Is(target error) bool { return target != nil && codes[e.Code] == target }

// Denied is a person's no, with the note that the person left for the agent, if any.
type Denied struct {
	Note string
}

func (d *Denied) Error() string {
	if d.Note == "" {
		return ErrDenied.Error()
	}
	return ErrDenied.Error() + " and left a note"
}

// Is makes errors.Is(err, [ErrDenied]) true.
func (d *Denied) Is(target error) bool { return target == ErrDenied }

// passing reports whether the same request may be answered differently in a while.
func (e *Error) passing() bool {
	return e.Status >= 500 || e.Status == http.StatusTooManyRequests || e.Status == http.StatusRequestTimeout ||
		e.Code == "use_dpop_nonce" // which changed again while we answered
}

func errorOf(resp *http.Response, body []byte) error {
	var wire struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	e := &Error{Status: resp.StatusCode}
	if json.Unmarshal(body, &wire) == nil {
		e.Code, e.Description = plain(wire.Error), plain(wire.Description)
	}
	if n, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31); err == nil {
		e.RetryAfter = time.Duration(n) * time.Second
	}
	return e
}

// plain keeps the characters that RFC 6749 section 5.2 allows: errors are printed, and the words are another's.
func plain(text string) string {
	kept := strings.Map(func(c rune) rune {
		if c < 0x20 || c > 0x7e {
			return '?'
		}
		return c
	}, text)
	return kept[:min(len(kept), maxText)]
}
