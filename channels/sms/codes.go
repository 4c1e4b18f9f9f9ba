package sms

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/twilio/twilio-go/client"
	api "github.com/twilio/twilio-go/rest/api/v2010"

	"assent/channels"
)

// meaning is what a code of the provider says about the message.
type meaning struct {
	is    error // what the channel answers
	words string
}

// number is for codes that condemn the number for good, route for those that keep this message from it, ours for what is
// wrong with our account or settings.
func number(words string) meaning { return meaning{channels.ErrGone, words} }
func route(words string) meaning  { return meaning{channels.ErrRejected, words} }
func ours(words string) meaning   { return meaning{channels.ErrFault, words} }
func later(words string) meaning  { return meaning{channels.ErrBusy, words} }

// meanings are the codes that we know, in a call's answer (2xxxx) and in a status callback (3xxxx). The provider adds
// codes and changes them, so what is not here goes by its HTTP status.
var meanings = map[int]meaning{
	20003: ours("the account SID and the auth token do not belong together"),
	20005: ours("the account is not active"),
	20404: ours("the account SID does not exist"),
	20429: later("too many messages at once"),
	21211: number("the number is not a valid phone number"),
	21212: ours("the sender is not a valid phone number"),
	21214: route("the number cannot be reached"),
	21217: number("the number does not look like a phone number"),
	21222: ours("the account SID has characters that no SID has"),
	21224: ours("the auth token has characters that no token has"),
	21265: route("the number is too short a code to send to"),
	21266: route("sender and receiver are the same number"),
	21408: route("messages to that country are switched off in the provider's console (Messaging, Geo permissions)"),
	21601: ours("the sender's number cannot send text messages"),
	21603: ours("no sender was given"),
	21606: ours("the sender's number does not belong to this account, or cannot send text messages"),
	21608: ours("a trial account may only send to numbers that are verified in the provider's console"),
	21609: ours("the URL for status callbacks is not a public URL"),
	21610: route("the person has sent STOP and gets nothing until START"),
	21611: later("the sender's queue is full"),
	21612: route("this sender cannot reach that number"),
	21614: number("the number is not a mobile number"),
	21617: ours("the text is too long"),
	21635: number("the number is a landline"),
	21656: ours("the text has content that the provider refuses"),
	21659: ours("the sender is not a number of this account"),
	21660: ours("the sender belongs to another account"),
	21703: ours("the Messaging Service has no sender"),
	21705: ours("the Messaging Service does not exist in this account"),
	30001: later("the queue was full"),
	30002: ours("the account is suspended"),
	30003: route("the phone is switched off or out of reach"),
	30004: route("the phone or its carrier blocks these messages"),
	30005: route("the number is not in use"),
	30006: route("the number is a landline, or its carrier takes no text messages"),
	30007: ours("a carrier has filtered the text as unwanted"),
	30008: later("the carrier gives no reason"),
	30034: ours("the sender is not registered with the carriers (A2P 10DLC)"),
	30036: route("the message was still waiting when its time was over"),
	30410: later("the provider's own carrier took too long"),
}

// Explain says in plain words what a code of the provider means; "" for one that is not known here.
func Explain(code string) string {
	if status, found := strings.CutPrefix(code, "http_"); found {
		return "the provider, or something in front of it, answered with HTTP status " + status
	}
	n, err := strconv.Atoi(code)
	if err != nil {
		return ownWords[code]
	}
	return meanings[n].words
}

// codeOptedOut is the provider's word for a person who has sent STOP.
const codeOptedOut = "21610"

// Codes of refusals that the provider never hears of.
const (
	codeNumber  = "no_number"
	codeCountry = "country_off"
	codeStopped = "opted_out"
	codeDead    = "dead_number"
	codeBurst   = "number_cap"
	codeDay     = "day_cap"
	codeText    = "text_too_long"
	codeLate    = "too_late"
	codeRecords = "not_counted"
)

var ownWords = map[string]string{
	"not_connected": "the provider cannot be reached from here",
	"no_answer":     "the provider did not answer in time; the message may have left",
	"bad_answer":    "the provider's answer cannot be read; the message may have left",
	codeNumber:      "the address is not a phone number with its country code",
	codeCountry:     "the number's country is not on the list of countries that may be sent to",
	codeStopped:     "the person has sent STOP and gets nothing until START",
	codeDead:        "the provider has said that the number takes no messages",
	codeBurst:       "the number has had as many messages as it may have",
	codeDay:         "today's messages are used up",
	codeText:        "no wording of the message is short enough",
	codeLate:        "the time to decide is over",
	codeRecords:     "the store did not take the count of the message",
}

// refusal is why a message was not accepted. Its text names codes, and never the number, the words or what the provider
// wrote.
type refusal struct {
	code  string // the provider's code, one of ours, or "http_502"
	cause error  // wraps one of the errors of package channels, or is errUnsure
}

// Error implements error.
func (r *refusal) Error() string { return "sms: " + r.code + ": " + r.cause.Error() }

// Unwrap makes errors.Is see the cause.
func (r *refusal) Unwrap() error { return r.cause }

func refuse(code string, cause error) *refusal { return &refusal{code, cause} }

// atHome is a refusal that the provider never hears of.
func atHome(code string, cause error) *refusal { return &refusal{code, channels.Uncalled(cause)} }

// errUnsure is none of the errors of package channels: nobody knows.
var errUnsure = errors.New("no answer: perhaps sent")

// judge says what became of a call; nil means that the provider has the message.
func judge(c *call, msg *api.ApiV2010Message, err error) *refusal {
	var rest *client.TwilioRestError
	switch {
	case errors.As(err, &rest) && rest.Code > 0:
		return c.refused(rest.Code)
	case c.status == 0 && c.wrote.Load():
		return refuse("no_answer", errUnsure)
	case c.status == 0:
		return refuse("not_connected", channels.ErrBusy)
	case c.status == http.StatusOK || c.status == http.StatusCreated || c.status == http.StatusAccepted:
		return created(c, msg, err)
	}
	return c.refused(0)
}

// created looks at an answer that says yes. One that cannot be read still says that the provider took the message.
func created(c *call, msg *api.ApiV2010Message, err error) *refusal {
	switch {
	case err != nil || msg == nil || msg.Sid == nil || !isSID(*msg.Sid):
		return refuse("bad_answer", errUnsure)
	case msg.ErrorCode != nil && *msg.ErrorCode > 0:
		return c.refused(*msg.ErrorCode)
	}
	return nil
}

// refused judges by code, then by HTTP status: 429 and 5xx are for later, any other one is about this message. A code is
// the provider's own word, so whatever the status the message was not taken.
func (c *call) refused(code int) *refusal {
	name := strconv.Itoa(code)
	if code == 0 {
		name = "http_" + strconv.Itoa(c.status)
	}
	cause := channels.ErrRejected
	known, found := meanings[code]
	switch {
	case found:
		cause = known.is
	case code == 0 && channels.Doubtful(c.status):
		cause = channels.Doubt(errUnsure)
	case c.status == http.StatusTooManyRequests || c.status >= http.StatusInternalServerError:
		cause = channels.ErrBusy
	case c.status == http.StatusUnauthorized || c.status == http.StatusForbidden || c.status < http.StatusBadRequest:
		cause = channels.ErrFault // a redirect says that we call the wrong place
	}
	if after := retryAfter(c.header); after > 0 && errors.Is(cause, channels.ErrBusy) {
		cause = &channels.BusyError{After: after}
	}
	return refuse(name, cause)
}

// retryAfter reads the number of seconds; the provider sends no dates.
func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(min(seconds, 3600)) * time.Second
}

// isSID reports whether s can name one of the provider's messages.
func isSID(s string) bool {
	if len(s) < 10 || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z') {
			return false
		}
	}
	return true
}
