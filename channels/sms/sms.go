package sms

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	api "github.com/twilio/twilio-go/rest/api/v2010"

	"assent/approvals"
	"assent/approvals/keys"
	"assent/channels"
)

// Name is the channel's name, and that of its addresses.
const Name = "sms"

// Config is what a channel works with. All members are required but those that say otherwise.
type Config struct {
	Account string // account SID: "AC…"
	Token   string // auth token: signs our calls and the provider's callbacks
	Service string // Messaging Service SID "MG…"; or
	Sender  string // a number in E.164, a short code or an alphanumeric name

	BaseURL     string // instead of https://api.twilio.com; may be empty
	CallbackURL string // public URL of [Channel.Status], without query; empty: nobody reports
	InboundURL  string // public URL of [Channel.Inbound], as the provider has it; empty: not mounted
	PagesURL    string // origin of the pages
	Names       Names
	MostParts   int // parts of one message
	Countries   Countries
	Caps        Caps
	Records     approvals.Records
	Root        *keys.Root
	Receipt     func(context.Context, channels.Receipt) error // as [channels.Dispatcher.Receipt]
	// Decide is as [channels.Dispatcher.Decide]; nil: nobody decides by reply.
	Decide func(context.Context, channels.Reply) (approvals.State, error)
	// Waits is as [channels.Dispatcher.Waits]; it comes with Decide.
	Waits func(context.Context, approvals.ID) bool
	HTTP  *http.Client // its transport is what counts
	Now   func() time.Time
	Log   *slog.Logger
}

// Channel sends text messages. It is safe for concurrent use.
type Channel struct {
	cfg     Config
	account account
	writer  writer
	numbers *numbers
	purse   *purse

	tripped, codesTripped atomic.Bool // today's parts are used up, and that was said
}

var (
	accountSID = regexp.MustCompile(`^AC[0-9a-fA-F]{32}$`)
	serviceSID = regexp.MustCompile(`^MG[0-9a-fA-F]{32}$`)
	authToken  = regexp.MustCompile(`^[0-9A-Za-z]{16,64}$`)
	senderName = regexp.MustCompile(`^(\+[1-9][0-9]{6,14}|[0-9]{3,8}|[0-9A-Za-z ]{2,11})$`)
	e164       = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)
)

// New checks the configuration and returns a channel. It makes no call.
func New(cfg Config) (*Channel, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	var base *url.URL
	if cfg.BaseURL != "" {
		base, _ = url.Parse(cfg.BaseURL) // checked
	}
	pages, _ := url.Parse(cfg.PagesURL) // checked
	next := cfg.HTTP.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	c := &Channel{cfg: cfg, account: account{cfg.Account, cfg.Token, base, next},
		writer:  writer{names: cfg.Names, host: codeHost(pages), most: cfg.MostParts},
		numbers: newNumbers(cfg.Records, cfg.Root),
		purse:   newPurse(cfg.Records, cfg.Caps, cfg.Decide != nil)}
	return c, c.checkWords()
}

// codeHost is the host that a code is tied to. Browsers know no port there.
func codeHost(pages *url.URL) string {
	if pages.Port() != "" {
		return ""
	}
	return pages.Hostname()
}

func (cfg *Config) check() error {
	pages, err := url.Parse(cfg.PagesURL)
	switch {
	case !accountSID.MatchString(cfg.Account):
		return errors.New("account SID must be AC and 32 hexadecimal digits")
	case !authToken.MatchString(cfg.Token):
		return errors.New("auth token must be 16 to 64 letters and digits")
	case (cfg.Service == "") == (cfg.Sender == ""):
		return errors.New("give a Messaging Service or a sender, and not both")
	case cfg.Service != "" && !serviceSID.MatchString(cfg.Service):
		return errors.New("the SID of a Messaging Service must be MG and 32 hexadecimal digits")
	case cfg.Sender != "" && !senderName.MatchString(cfg.Sender):
		return errors.New("sender must be a number such as +4930123456, a short code, or a name of up to 11 letters")
	case err != nil || pages.Host == "":
		return errors.New("pages URL must be an origin")
	case len(cfg.Countries.allowed) == 0:
		return errors.New("no country is allowed")
	case cfg.Caps.Burst < 1 || cfg.Caps.Day < 1 || cfg.Caps.DayParts < 1:
		return errors.New("caps must be at least 1")
	case (cfg.Decide == nil) != (cfg.Waits == nil):
		return errors.New("replies take both Decide and Waits")
	case cfg.MostParts < 1 || cfg.MostParts > 10:
		return errors.New("parts of a message must be 1 to 10")
	}
	for what, text := range map[string]string{"status callback": cfg.CallbackURL, "inbound": cfg.InboundURL,
		"provider": cfg.BaseURL} {
		if u, err := url.Parse(text); text != "" && (err != nil || u.Host == "" || u.Fragment != "" || u.RawQuery != "") {
			return fmt.Errorf("%s URL must be absolute and have neither query nor fragment", what)
		}
	}
	return nil
}

// checkWords makes sure at start that every message has a wording that fits with the longest values that occur.
func (c *Channel) checkWords() error {
	longest := channels.Message{Ref: "WW-00", By: "24 Nov 03:00", Agent: "Bot", Code: "000000",
		URL: c.cfg.PagesURL + "/r/" + strings.Repeat("W", 12)}
	for _, longest.Locale = range []string{approvals.English, approvals.Korean} {
		for _, longest.Kind = range []channels.Kind{channels.KindRequest, channels.KindReminder, channels.KindCode,
			channels.KindTest} {
			if longest.Locale == approvals.Korean {
				longest.By = "11월 24일 03:00"
			}
			if _, _, err := c.writer.write(longest, korea); err != nil {
				return fmt.Errorf("%s text of a %s is too long with this name and pages URL: %w", longest.Locale, longest.Kind, err)
			}
		}
		notice := channels.Message{Kind: channels.KindNotice, Locale: longest.Locale, URL: c.cfg.PagesURL + "/settings"}
		for _, notice.Brief = range channels.Briefs(notice.Locale) {
			if _, _, err := c.writer.write(notice, korea); err != nil {
				return fmt.Errorf("%s text of a notice is too long with this name and pages URL: %w", notice.Locale, err)
			}
		}
	}
	return nil
}

// Name is "sms".
func (c *Channel) Name() string { return Name }

// ReportsLater says that status callbacks come, so that an unknown outcome is worth waiting for.
func (c *Channel) ReportsLater() bool { return c.cfg.CallbackURL != "" }

// Send brings one message. Before anything leaves it is counted, durably; what certainly did not leave is uncounted.
func (c *Channel) Send(ctx context.Context, to approvals.Address, m channels.Message) (approvals.Delivery, error) {
	if err := ctx.Err(); err != nil {
		return approvals.Delivery{}, fmt.Errorf("send by sms: %w", err)
	}
	sid, no := c.send(ctx, to.Value, m)
	if no == nil {
		return approvals.Delivery{Provider: sid}, nil
	}
	if errors.Is(no, channels.ErrFault) {
		c.cfg.Log.ErrorContext(ctx, "text messages do not leave until somebody mends this", "code", no.code,
			"what", Explain(no.code))
	}
	return approvals.Delivery{Code: no.code}, no
}

func (c *Channel) send(ctx context.Context, to string, m channels.Message) (sid string, no *refusal) {
	at := m.Counted
	if at.IsZero() {
		m.Answer, m.Shown = false, nil // what a reply means is kept with the count
	}
	draft, no := c.allow(to, m)
	if no != nil {
		return "", no
	}
	if at.IsZero() {
		at = c.cfg.Now()
		if no := c.countNow(ctx, to, m, draft.parts, at); no != nil {
			return "", no
		}
	}
	sid, no = c.call(ctx, to, draft.text, m)
	if no != nil && !errors.Is(no, errUnsure) {
		c.uncount(ctx, to, m, draft.parts, at)
	}
	c.learnFrom(ctx, to, no)
	return sid, no
}

// learnFrom keeps what an answer says about the number, so that the provider need not say it again.
func (c *Channel) learnFrom(ctx context.Context, to string, no *refusal) {
	var err error
	switch ctx = context.WithoutCancel(ctx); {
	case no == nil:
		return
	case no.code == codeOptedOut: // said to the provider, and not to us
		err = c.numbers.stop(ctx, to, true, "", c.cfg.Now())
	case errors.Is(no, channels.ErrGone):
		err = c.numbers.bury(ctx, to, c.cfg.Now())
	}
	if err != nil {
		c.cfg.Log.WarnContext(ctx, "what is known of a number not kept, the provider still knows", "err", err)
	}
}

// allow finds the words, if the message may be sent at all.
func (c *Channel) allow(to string, m channels.Message) (draft, *refusal) {
	switch {
	case !e164.MatchString(to):
		return draft{}, atHome(codeNumber, channels.ErrRejected)
	case !c.cfg.Countries.Allows(to):
		return draft{}, atHome(codeCountry, channels.ErrRejected)
	case !c.cfg.Now().Before(m.Expires):
		return draft{}, atHome(codeLate, channels.ErrRejected)
	}
	if c.Answers() && m.Answer {
		if d, fits := c.writer.offer(m, CountryOf(to), c.cfg.Root.Reply(m.ID)); fits {
			return d, nil
		}
	}
	text, parts, err := c.writer.write(m, CountryOf(to))
	if err != nil {
		return draft{}, atHome(codeText, channels.ErrRejected)
	}
	return draft{text: text, parts: parts}, nil
}

// Bounds of ValidityPeriod, in seconds (Messages resource).
const (
	leastValidity = 1
	mostValidity  = 36_000
)

// validity is how long the provider may keep the message waiting: not longer than it is worth something.
func validity(left time.Duration) int {
	return min(max(int(left/time.Second), leastValidity), mostValidity)
}

func (c *Channel) call(ctx context.Context, to, text string, m channels.Message) (string, *refusal) {
	left := m.Expires.Sub(c.cfg.Now())
	params := (&api.CreateMessageParams{}).SetTo(to).SetBody(text).SetValidityPeriod(validity(left))
	if c.cfg.Service != "" {
		params.SetMessagingServiceSid(c.cfg.Service)
	} else {
		params.SetFrom(c.cfg.Sender)
	}
	if callback := c.statusURL(m); callback != "" {
		params.SetStatusCallback(callback)
	}
	msg, call, err := c.account.create(ctx, params)
	if no := judge(call, msg, err); no != nil {
		return "", no
	}
	return *msg.Sid, nil
}

// Look asks the provider how far a message has come, for whoever checks that messages arrive. code is the provider's code
// of a failure, or empty.
func (c *Channel) Look(ctx context.Context, sid string) (status approvals.Status, code string, err error) {
	msg, call, err := c.account.fetch(ctx, sid)
	if no := judge(call, msg, err); no != nil && call.status != http.StatusOK {
		return "", no.code, no
	}
	if err != nil || msg.Status == nil {
		return "", "", refuse("bad_answer", errUnsure)
	}
	status = statuses[*msg.Status]
	if status == approvals.StatusFailed {
		code = errorCode(strconv.Itoa(deref(msg.ErrorCode)))
	}
	return status, code, nil
}

func deref(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}
