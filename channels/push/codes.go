package push

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"firebase.google.com/go/v4/errorutils"
	"firebase.google.com/go/v4/messaging"

	"assent/channels"
)

// meanings are the provider's codes (FcmError), with the predicate of the SDK that knows each. The predicates see the
// SDK's own error only, and not one that wraps it.
var meanings = []struct {
	code  string
	is    func(error) bool
	cause error
	words string
}{
	{"UNREGISTERED", messaging.IsUnregistered, channels.ErrGone, "the app was removed from the device, or has another token now"},
	{"SENDER_ID_MISMATCH", messaging.IsSenderIDMismatch, channels.ErrGone, "the token belongs to another project's app"},
	{"THIRD_PARTY_AUTH_ERROR", messaging.IsThirdPartyAuthError, channels.ErrFault,
		"the project's key for APNs is missing or no longer good (console, Cloud Messaging)"},
	{"QUOTA_EXCEEDED", messaging.IsQuotaExceeded, channels.ErrBusy, "too many messages at once"},
	{"UNAVAILABLE", messaging.IsUnavailable, channels.ErrBusy, "the provider is overloaded"},
	{"INTERNAL", messaging.IsInternal, channels.ErrBusy, "the provider had an error of its own"},
	{"INVALID_ARGUMENT", messaging.IsInvalidArgument, channels.ErrRejected, "the provider does not take a message like this"},
}

// Codes of what the provider does not say by itself.
const (
	codeToken     = "INVALID_TOKEN" // INVALID_ARGUMENT, about the token
	codeForgotten = "forgotten"
	codeRecords   = "not_read"
	codeCode      = "code"
	codeLate      = "too_late"
	codeUnfit     = "unfit"
	codeNoToken   = "no_access_token"
	codeAccount   = "account_refused"
	codeNoConn    = "not_connected"
	codeNoAnswer  = "no_answer"
	codeBadAnswer = "bad_answer"
)

var ownWords = map[string]string{
	codeToken:     "the address is not a registration token of the provider's",
	codeForgotten: "the device is not registered here, or no longer",
	codeRecords:   "the store did not say where the device is",
	codeCode:      "one-time codes do not go to apps",
	codeLate:      "the time to decide is over",
	codeUnfit:     "the message cannot be written in the provider's form",
	codeNoToken:   "the provider's token endpoint gave no access token; it may be out of reach from here",
	codeAccount:   "the service account's key was refused: it may be deleted, disabled, or the clock may be wrong",
	codeNoConn:    "the provider cannot be reached from here",
	codeNoAnswer:  "the provider did not answer in time; the message may have left",
	codeBadAnswer: "the provider's answer cannot be read; the message may have left",
	"http_401":    "the provider did not take the service account's access token",
	"http_403":    "the service account may not send for this project, or the Firebase Cloud Messaging API is off there",
	"http_404":    "there is no such project, or the provider's address is wrong",
}

// Explain says in plain words what a code means; "" for one that is not known here.
func Explain(code string) string {
	for _, m := range meanings {
		if m.code == code {
			return m.words
		}
	}
	if words, found := ownWords[code]; found {
		return words
	}
	if status, found := strings.CutPrefix(code, "http_"); found {
		return "the provider, or something in front of it, answered with HTTP status " + status
	}
	return ""
}

// refusal is why a message was not accepted. Its text names codes, and never the token, the words or what the provider
// wrote.
type refusal struct {
	code  string // the provider's code, one of ours, or "http_502"
	cause error  // wraps one of the errors of package channels, or is errUnsure
}

// Error implements error.
func (r *refusal) Error() string { return "push: " + r.code + ": " + r.cause.Error() }

// Unwrap makes errors.Is see the cause.
func (r *refusal) Unwrap() error { return r.cause }

func refuse(code string, cause error) *refusal { return &refusal{code, cause} }

// errUnsure is none of the errors of package channels: nobody knows.
var errUnsure = errors.New("no answer: perhaps sent")

// judge says what became of a call; nil means that the provider has the message.
func (c *call) judge(err error) *refusal {
	switch {
	case c.no != nil:
		return c.no
	case !c.tried:
		return refuse(codeUnfit, channels.Uncalled(channels.ErrRejected))
	case c.status == 0 && c.mayHave():
		return refuse(codeNoAnswer, errUnsure)
	case c.status == 0:
		return refuse(codeNoConn, channels.ErrBusy)
	case c.status == http.StatusOK && err == nil:
		return nil
	case c.status < http.StatusMultipleChoices:
		return refuse(codeBadAnswer, errUnsure)
	}
	return c.refused(err)
}

// refused judges by the provider's code, then by HTTP status: 429 and 5xx are for later, any other one is about this
// message or about us.
func (c *call) refused(err error) *refusal {
	for _, m := range meanings {
		switch {
		case !m.is(err):
			continue
		case errors.Is(m.cause, channels.ErrBusy):
			return refuse(m.code, busy(c.header))
		case errors.Is(m.cause, channels.ErrRejected) && aboutToken(err):
			return refuse(codeToken, channels.ErrGone)
		}
		return refuse(m.code, m.cause)
	}
	code := "http_" + strconv.Itoa(c.status)
	switch {
	case channels.Doubtful(c.status):
		return refuse(code, channels.Doubt(errUnsure))
	case c.status == http.StatusTooManyRequests || c.status >= http.StatusInternalServerError:
		return refuse(code, busy(c.header))
	case c.status == http.StatusBadRequest || c.status == http.StatusRequestEntityTooLarge:
		return refuse(code, channels.ErrRejected)
	}
	return refuse(code, channels.ErrFault)
}

// busy is [channels.ErrBusy], with the time that the provider wants to be left alone if it says one (RFC 9110, 10.2.3). It
// sends seconds.
func busy(h http.Header) error {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || seconds <= 0 {
		return channels.ErrBusy
	}
	return &channels.BusyError{After: time.Duration(min(seconds, 3600)) * time.Second}
}

// aboutToken reports whether an invalid argument is the token, and not something else of the message.
func aboutToken(err error) bool {
	resp := errorutils.HTTPResponse(err)
	if resp == nil {
		return false
	}
	raw, err := io.ReadAll(resp.Body) // a copy in memory, bounded by the transport
	if err != nil {
		return false
	}
	var answer struct {
		Error struct {
			Details []struct {
				FieldViolations []struct {
					Field string `json:"field"`
				} `json:"fieldViolations"`
			} `json:"details"`
		} `json:"error"`
	}
	if json.Unmarshal(raw, &answer) != nil {
		return false
	}
	for _, d := range answer.Error.Details {
		for _, v := range d.FieldViolations {
			if v.Field == "message.token" {
				return true
			}
		}
	}
	return false
}
