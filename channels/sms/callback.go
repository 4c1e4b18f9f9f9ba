package sms

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/twilio/twilio-go/client"

	"assent/approvals"
	"assent/channels"
)

// Bounds of what the provider sends us.
const (
	maxBody   = 16 << 10
	maxFields = 100
	maxQuery  = 300
)

// overrides asks the provider to call again when we could not keep what it said. It takes them from the URL's fragment.
const overrides = "rc=3&rp=5xx,ct,rt"

// statusURL is where the provider reports on a message: who it is about stands in the URL, which the signature covers, so
// a report may come before the answer to the call that it is about.
func (c *Channel) statusURL(m channels.Message) string {
	if c.cfg.CallbackURL == "" || m.Request == "" {
		return ""
	}
	return c.cfg.CallbackURL + "?" + url.Values{"message": {m.ID}}.Encode() + "#" + overrides
}

// Status serves the provider's status callbacks, at the path of [Config.CallbackURL].
//
// A report is answered with 204 once it is durable or known to be of no use, and with 503 if it could not be kept: then
// the provider calls again. What follows from it happens after the answer.
func (c *Channel) Status() http.Handler { return c.serve(c.cfg.CallbackURL, c.status) }

// Inbound serves messages from people, at the path of [Config.InboundURL]. Words of the STOP and START families switch a
// number off and on. Where replies count (reply.go) they decide; everything else is left alone, HELP included, which the
// provider answers.
func (c *Channel) Inbound() http.Handler { return c.serve(c.cfg.InboundURL, c.inbound) }

// What a call from outside is refused with.
var (
	errForm      = errors.New("not a form of the provider")
	errSignature = errors.New("signature does not match")
)

// say is the answer to a message from a person, in the provider's form (TwiML); "" says nothing.
func say(text string) string {
	if text == "" {
		return xml.Header + "<Response/>"
	}
	var escaped strings.Builder
	_ = xml.EscapeText(&escaped, []byte(text)) // a Builder takes everything
	return xml.Header + "<Response><Message>" + escaped.String() + "</Message></Response>"
}

// handler does what a call is about and returns what to answer, if there is anything.
type handler func(ctx context.Context, query url.Values, form map[string]string) (answer string, err error)

// serve reads and checks a call, and answers it.
func (c *Channel) serve(public string, handle handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		query, form, err := c.verify(w, r, public)
		answer := ""
		if err == nil {
			answer, err = handle(r.Context(), query, form)
		}
		switch {
		case err == nil && answer != "":
			w.Header().Set("Content-Type", "text/xml")
			io.WriteString(w, answer)
		case err == nil:
			w.WriteHeader(http.StatusNoContent)
		case errors.Is(err, errSignature):
			c.cfg.Log.WarnContext(r.Context(), "callback refused: is the public URL right, and the auth token?", "err", err)
			http.Error(w, err.Error(), http.StatusForbidden)
		case errors.Is(err, errForm):
			http.Error(w, err.Error(), http.StatusBadRequest)
		default:
			c.cfg.Log.ErrorContext(r.Context(), "callback not kept, the provider will call again", "err", err)
			w.Header().Set("Retry-After", "2")
			http.Error(w, "not kept, call again", http.StatusServiceUnavailable)
		}
	})
}

// verify returns the form of a call that the provider has signed for our URL as it is known outside. What the request
// says about its host counts for nothing.
func (c *Channel) verify(w http.ResponseWriter, r *http.Request, public string) (url.Values, map[string]string, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.Method != http.MethodPost || err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, nil, errForm
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, nil, fmt.Errorf("body cannot be read: %w", errForm)
	}
	form, err := parseForm(string(body))
	if err != nil {
		return nil, nil, err
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(r.URL.RawQuery) > maxQuery {
		return nil, nil, fmt.Errorf("query: %w", errForm)
	}
	if r.URL.RawQuery != "" {
		public += "?" + r.URL.RawQuery
	}
	if signatures := r.Header.Values("X-Twilio-Signature"); len(signatures) != 1 || !c.signed(public, form, signatures[0]) {
		return nil, nil, errSignature
	}
	if form["AccountSid"] != c.cfg.Account {
		return nil, nil, fmt.Errorf("other account: %w", errSignature)
	}
	return query, form, nil
}

// signed checks the signature. It is not written down anywhere whether the fragment with the overrides is part of what is
// signed, so both will do: without the token nobody can make either.
func (c *Channel) signed(public string, form map[string]string, signature string) bool {
	validator := client.NewRequestValidator(c.cfg.Token)
	return validator.Validate(public, form, signature) || validator.Validate(public+"#"+overrides, form, signature)
}

// parseForm reads a form in which every field stands once: the signature covers the first value of a field only, and what
// comes after it could have been put there by anybody.
func parseForm(body string) (map[string]string, error) {
	if strings.Count(body, "&") >= maxFields {
		return nil, fmt.Errorf("too many fields: %w", errForm)
	}
	values, err := url.ParseQuery(body)
	if err != nil {
		return nil, errForm
	}
	form := make(map[string]string, len(values))
	for name, all := range values {
		if len(all) != 1 {
			return nil, fmt.Errorf("a field stands twice: %w", errForm)
		}
		form[name] = all[0]
	}
	return form, nil
}

// statuses are the provider's words for how far a message came. The desk keeps a report only if it says more than what is
// known, so repeats and what comes out of order need nothing here.
var statuses = map[string]approvals.Status{
	"accepted":    approvals.StatusAccepted,
	"scheduled":   approvals.StatusAccepted,
	"queued":      approvals.StatusAccepted,
	"sending":     approvals.StatusAccepted,
	"sent":        approvals.StatusSent,
	"delivered":   approvals.StatusDelivered,
	"undelivered": approvals.StatusFailed,
	"failed":      approvals.StatusFailed,
	"canceled":    approvals.StatusFailed,
	"read":        approvals.StatusOpened, // RCS
}

func (c *Channel) status(ctx context.Context, query url.Values, form map[string]string) (string, error) {
	of, sid := query["message"], form["MessageSid"]
	if len(of) != 1 || !isSID(sid) {
		return "", fmt.Errorf("message or MessageSid: %w", errForm)
	}
	status, known := statuses[form["MessageStatus"]]
	if !known { // a new word of the provider's
		return "", nil
	}
	r := channels.Receipt{Message: of[0], Provider: sid, Status: status}
	if status == approvals.StatusFailed {
		r.Code = errorCode(form["ErrorCode"])
		if err := c.learn(ctx, number164(form["To"]), r.Code); err != nil {
			return "", err
		}
	}
	err := c.cfg.Receipt(ctx, r)
	if errors.Is(err, approvals.ErrNotFound) || errors.Is(err, approvals.ErrInvalid) { // no use in calling again
		return "", nil
	}
	return "", err
}

// errorCode is the code of a failure, which is a number; "failed" if the provider gives none.
func errorCode(text string) string {
	if n, err := strconv.Atoi(text); err != nil || n <= 0 || n > 999_999 || len(text) > 6 {
		return "failed"
	}
	return text
}

// number164 reads a number as callbacks write it: those of RCS have the channel's name before it.
func number164(text string) string {
	text = strings.TrimPrefix(text, "rcs:")
	if !e164.MatchString(text) {
		return ""
	}
	return text
}

// learn draws from a failure what holds beyond its message.
func (c *Channel) learn(ctx context.Context, number, code string) error {
	n, _ := strconv.Atoi(code)
	if errors.Is(meanings[n].is, channels.ErrFault) {
		c.cfg.Log.ErrorContext(ctx, "text messages do not arrive until somebody mends this", "code", code, "what", Explain(code))
	}
	switch {
	case number == "":
		return nil
	case code == codeOptedOut:
		return c.numbers.stop(ctx, number, true, "", c.cfg.Now())
	case code == "30005" || code == "30006":
		return c.numbers.bury(ctx, number, c.cfg.Now())
	}
	return nil
}

// switches are the words by which people are left alone (true) and told again (false), as the provider understands them.
var switches = map[string]bool{"STOP": true, "STOPALL": true, "UNSUBSCRIBE": true, "CANCEL": true, "END": true,
	"QUIT": true, "OPTOUT": true, "REVOKE": true, "START": false, "YES": false, "UNSTOP": false}

func (c *Channel) inbound(ctx context.Context, _ url.Values, form map[string]string) (string, error) {
	from, sid := number164(form["From"]), form["MessageSid"]
	if !isSID(sid) {
		return "", fmt.Errorf("MessageSid: %w", errForm)
	}
	if from == "" {
		return say(""), nil
	}
	word := form["OptOutType"] // set by services that have words of their own
	if word == "" {
		word = strings.ToUpper(strings.TrimSpace(form["Body"]))
	}
	if off, known := switches[word]; known {
		c.cfg.Log.InfoContext(ctx, "a person has switched text messages", "off", off)
		return say(""), c.numbers.stop(ctx, from, off, sid, c.cfg.Now())
	}
	if !c.Answers() || form["OptOutType"] != "" || helps[word] {
		return say(""), nil
	}
	answer, err := c.reply(ctx, from, sid, form["Body"])
	return say(answer), err
}

// helps are the words that the provider answers by itself.
var helps = map[string]bool{"HELP": true, "INFO": true}
