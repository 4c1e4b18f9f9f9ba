package sms

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
	"assent/channels"
)

// Limits of replies.
const (
	maxGuesses = 5 // replies of one number with a wrong code in guessTime; then its replies are not looked at
	guessTime  = time.Hour
	maxReply   = 40 // bytes
	keepOffers = 24 * time.Hour
	maxOffers  = 1000
)

// Answers implements [channels.Answerable].
func (c *Channel) Answers() bool { return c.cfg.Decide != nil }

// kindOffer is the key space of what replies mean: which messages of ours to a number may be answered. The code is not in
// it.
const kindOffer = "sms.offer"

// offer is one message that may be answered.
type offer struct {
	V       int          `json:"v"`
	Message string       `json:"message"` // its name, of which the code is derived
	Request approvals.ID `json:"request"`
	Sent    time.Time    `json:"sent"`
	Digest  string       `json:"digest,omitempty"` // empty: it may be denied and not approved
	Locale  string       `json:"locale"`

	key string
}

func (c *Channel) offerOf(number string, m channels.Message, d draft, at time.Time) offer {
	o := offer{V: 1, Message: m.ID, Request: m.Request, Sent: at, Locale: m.Locale, key: c.offersOf(number) + m.ID}
	if d.whole {
		o.Digest, o.Locale = m.Shown.Digest(), m.Shown.Locale
	}
	return o
}

// offersOf is what the keys of a number's offers begin with.
func (c *Channel) offersOf(number string) string {
	return c.cfg.Root.Name(keys.LabelLookup, kindOffer, number) + "/"
}

// put keeps an offer for some time after its end, so that whoever answers late can be told.
func (o offer) put(closes time.Time) approvals.Write {
	value, _ := json.Marshal(o) // strings, a number and a time: cannot fail
	return approvals.PutAny(kindOffer, o.key, value, closes.Add(keepOffers))
}

// offers lists what a number may answer, oldest first.
func (c *Channel) offers(ctx context.Context, number string) (offers []offer, err error) {
	found, err := c.cfg.Records.Scan(ctx, kindOffer, c.offersOf(number), maxOffers)
	if err != nil {
		return nil, fmt.Errorf("read offers: %w", err)
	}
	for _, rec := range found {
		var o offer
		if err := json.Unmarshal(rec.Value, &o); err != nil {
			return nil, fmt.Errorf("read offer: %w", err)
		}
		offers = append(offers, o)
	}
	return offers, nil
}

// replyShape is a letter and the four digits. None of it is a word that carriers or the provider act on.
var replyShape = regexp.MustCompile(`^([AaDd])[ .:-]{0,2}([0-9]{4})[.!]?$`)

// parseReply reads "A 4821" (approve) or "D 4821" (deny); anything else is no decision.
func parseReply(body string) (approve bool, code string, ok bool) {
	if len(body) > maxReply {
		return false, "", false
	}
	parts := replyShape.FindStringSubmatch(strings.TrimSpace(body))
	if parts == nil {
		return false, "", false
	}
	return strings.EqualFold(parts[1], "A"), parts[2], true
}

// reply does what a person's message asks for, and returns what to answer; "" for nothing. A try counts before its code is
// looked at, and no more once it was right: however many come at the same time, only so many are looked at.
func (c *Channel) reply(ctx context.Context, from, sid, body string) (string, error) {
	offers, err := c.offers(ctx, from)
	if err != nil {
		return "", err
	}
	approve, code, ok := parseReply(body)
	switch {
	case !ok && len(offers) == 0: // a stranger
		return "", nil
	case !ok || len(offers) == 0:
		return c.answer(ctx, from, sid, replyLocale(offers, from), "help")
	}
	at := c.cfg.Now()
	switch err := c.numbers.guess(ctx, from, sid, at); {
	case errors.Is(err, errHeard):
		return "", nil
	case errors.Is(err, errGuesses):
		c.cfg.Log.WarnContext(ctx, "replies of a number are ignored: too many wrong codes", "request", string(offers[len(offers)-1].Request))
		return "", nil
	case err != nil:
		return "", err
	}
	fitting := c.match(offers, code)
	meant, found := theOne(fitting, func(id approvals.ID) bool { return c.cfg.Waits(ctx, id) })
	if !found {
		c.cfg.Log.InfoContext(ctx, "reply fits no message, or several", "messages", len(fitting))
		return c.answer(ctx, from, sid, replyLocale(offers, from), "wrong")
	}
	return c.decide(ctx, from, sid, meant, approve, at)
}

// theOne is the message that is meant of those that a code fits. Four digits come again after some time: of several the
// one counts whose request still waits, or the latest if none does. If two wait, nobody knows.
func theOne(fitting []offer, waits func(approvals.ID) bool) (meant offer, found bool) {
	if len(fitting) == 1 {
		return fitting[0], true
	}
	waiting := 0
	for _, o := range fitting {
		if waits(o.Request) {
			meant, waiting = o, waiting+1
		}
	}
	if waiting == 0 && len(fitting) > 0 {
		return slices.MaxFunc(fitting, func(a, b offer) int { return a.Sent.Compare(b.Sent) }), true
	}
	return meant, waiting == 1
}

// match returns the offers of a code. It looks at all of them, in constant time.
func (c *Channel) match(offers []offer, code string) (meant []offer) {
	for _, o := range offers {
		if subtle.ConstantTimeCompare([]byte(c.cfg.Root.Reply(o.Message)), []byte(code)) == 1 {
			meant = append(meant, o)
		}
	}
	return meant
}

// decide hands a reply in that fits one message.
func (c *Channel) decide(ctx context.Context, from, sid string, o offer, approve bool, at time.Time) (string, error) {
	if approve && o.Digest == "" {
		return c.rightly(ctx, from, sid, at, o, "page")
	}
	state, err := c.cfg.Decide(ctx, channels.Reply{Channel: Name, From: from, Request: o.Request, Sent: o.Sent, Approve: approve,
		Digest: o.Digest, Locale: o.Locale})
	what, known := outcomeOf(approve, state, err)
	if !known {
		if back := c.numbers.guessed(ctx, from, "", at, c.cfg.Now()); back != nil {
			err = errors.Join(err, back)
		}
		return "", fmt.Errorf("decide by reply: %w", err)
	}
	c.cfg.Log.InfoContext(ctx, "reply to a text message", "request", string(o.Request), "approve", approve, "answer", what)
	if what == "wrong" { // it does not say that the code was right
		return c.answer(ctx, from, sid, o.Locale, what)
	}
	return c.rightly(ctx, from, sid, at, o, what)
}

// outcomeOf says which answer tells what became of a decision; not known is what the provider should try again.
func outcomeOf(approve bool, state approvals.State, err error) (what string, known bool) {
	switch {
	case err == nil && approve:
		return "approved", true
	case err == nil:
		return "denied", true
	case errors.Is(err, approvals.ErrWrongPerson), errors.Is(err, approvals.ErrNotFound):
		return "wrong", true
	case errors.Is(err, approvals.ErrDecided):
		return "was " + string(state), true
	case errors.Is(err, approvals.ErrTooLate):
		return "late", true
	case errors.Is(err, approvals.ErrChanged), errors.Is(err, approvals.ErrLevel), errors.Is(err, approvals.ErrShutOut),
		errors.Is(err, approvals.ErrNotEligible):
		return "page", true
	}
	return "", false
}

// rightly answers a reply whose code was right: the try counts no more.
func (c *Channel) rightly(ctx context.Context, from, sid string, at time.Time, o offer, what string) (string, error) {
	if err := c.numbers.guessed(ctx, from, sid, at, c.cfg.Now()); err != nil { // what was decided stays so
		c.cfg.Log.WarnContext(ctx, "reply that was right stays counted as a try", "err", err)
	}
	return c.answerAbout(ctx, from, "", o.Locale, what, o.Request.Ref())
}

func (c *Channel) answer(ctx context.Context, to, sid, locale, what string) (string, error) {
	return c.answerAbout(ctx, to, sid, locale, what, "")
}

// answerAbout counts an answer and returns its text, or "" if the number, or all numbers together, have had enough for now.
func (c *Channel) answerAbout(ctx context.Context, to, sid, locale, what, ref string) (string, error) {
	text, complete := fill(replyWords[approvals.Locale(locale)][what], map[string]string{"name": c.cfg.Names.in(locale), "ref": ref})
	at := c.cfg.Now()
	err := c.numbers.answer(ctx, to, sid, c.cfg.Caps, at)
	var full *fullError
	switch {
	case errors.As(err, &full), errors.Is(err, errStopped), errors.Is(err, errHeard):
		return "", nil
	case err != nil:
		return "", err
	case !complete || !c.cfg.Countries.Allows(to) || CountryOf(to) == korea && !carriesKorean(text):
		return "", nil
	}
	if err := c.purse.answer(ctx, partsIn(CountryOf(to), text), at); err != nil {
		c.cfg.Log.WarnContext(ctx, "reply is not answered", "err", err)
		return "", nil
	}
	return text, nil
}

// replyLocale is the language of the latest message to a number, or that of its country.
func replyLocale(offers []offer, number string) string {
	switch {
	case len(offers) > 0:
		return offers[len(offers)-1].Locale
	case CountryOf(number) == korea:
		return approvals.Korean
	}
	return approvals.English
}

// What guess and answer say about replies that are not looked at.
var (
	errHeard   = errors.New("message was heard already")
	errGuesses = errors.New("too many wrong codes")
)

// guess counts a try.
func (n *numbers) guess(ctx context.Context, number, sid string, at time.Time) error {
	return n.change(ctx, number, at, func(k *known) error {
		switch {
		case slices.Contains(k.Heard, sid):
			return errHeard
		case len(k.Guesses) >= maxGuesses:
			return errGuesses
		}
		k.Guesses, k.At = append(k.Guesses, at), at
		return nil
	})
}

// guessed takes a try back that was no guess, and keeps the id of its message unless it shall come again.
func (n *numbers) guessed(ctx context.Context, number, sid string, guess, at time.Time) error {
	return n.change(ctx, number, at, func(k *known) error {
		if i := slices.IndexFunc(k.Guesses, guess.Equal); i >= 0 {
			k.Guesses = slices.Delete(k.Guesses, i, i+1)
		}
		if sid != "" && !slices.Contains(k.Heard, sid) {
			k.hear(sid)
			k.At = at
		}
		return nil
	})
}

// answer counts an answer to a number, unless it was heard before, has said STOP, or has had enough.
func (n *numbers) answer(ctx context.Context, number, sid string, caps Caps, at time.Time) error {
	return n.change(ctx, number, at, func(k *known) error {
		until := caps.until(k.Answers, at)
		switch {
		case sid != "" && slices.Contains(k.Heard, sid):
			return errHeard
		case k.Stopped:
			return errStopped
		case !until.IsZero():
			return &fullError{until}
		}
		k.Answers, k.At = append(k.Answers, at), at
		if sid != "" {
			k.hear(sid)
		}
		return nil
	})
}
