package webapp

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/approvals"
)

// Record kinds of waiting codes: one for each bound browser, one for each invitation, and the times of the last codes
// of each person.
const (
	kindSignin     = "signin"
	kindInvitation = "invitation"
	kindCodes      = "codes"
)

// Limits of one-time codes: a guesser gets 15 tries, that is, three codes, in ten minutes and also in a day, and only
// on a browser that is bound. Tries are counted and not codes, so that giving up a code before its last try gains none.
const (
	codeLife   = 5 * time.Minute
	codeTries  = 5
	codesLimit = 3
	codesSpan  = 10 * time.Minute

	missedLimit = 3 * codeTries
	missedSpan  = 24 * time.Hour
)

// What can happen to a code that was typed in.
var (
	errNoCode    = errors.New("no code is waiting")
	errCodeShape = errors.New("not six digits")
	errWrongCode = errors.New("wrong code")
	errCodeOver  = errors.New("code has expired")
	errSpent     = errors.New("no tries left")
)

// challenge is a code that somebody is asked to type: one that the person's channel carries (Sent), or one that the
// operator tells along with an invitation (Told). The digits are derived from these ids and are stored nowhere.
type challenge struct {
	V         int                `json:"v"`
	Person    approvals.PersonID `json:"person"`
	Told      string             `json:"told,omitempty"`
	Sent      string             `json:"sent,omitempty"`
	SentUntil time.Time          `json:"sent_until,omitzero"`
	Tries     int                `json:"tries"`
	Ends      time.Time          `json:"ends"` // of the record

	rec approvals.Record
}

func (c *challenge) encode() []byte {
	value, _ := json.Marshal(c) // strings, numbers and times: cannot fail
	return value
}

// left is how many tries remain.
func (c *challenge) left() int { return codeTries - c.Tries }

// digits is what must be typed in now. A code that was sent replaces the one that was told.
func (h *Handler) digits(c *challenge) (string, error) {
	switch {
	case c.left() <= 0:
		return "", errSpent
	case c.Sent != "" && h.Now().Before(c.SentUntil):
		return h.Root.Code(c.Sent), nil
	case c.Sent != "":
		return "", errCodeOver
	case c.Told != "":
		return h.toldCode(c.Told), nil
	}
	return "", errNoCode
}

// toldCode derives an invitation's own code; the label keeps it apart from every code that a channel carries.
func (h *Handler) toldCode(id string) string { return h.Root.Code("invitation", id) }

// waiting reads a challenge; [errNoCode] when there is none.
func (h *Handler) waiting(ctx context.Context, kind, key string) (*challenge, error) {
	rec, err := h.Records.Get(ctx, kind, key)
	if errors.Is(err, approvals.ErrNotFound) {
		return nil, errNoCode
	}
	if err != nil {
		return nil, fmt.Errorf("read code: %w", err)
	}
	c := &challenge{rec: rec}
	if err := json.Unmarshal(rec.Value, c); err != nil {
		return nil, fmt.Errorf("read code: %w", err)
	}
	return c, nil
}

// send makes a code for a person and the writes that bring it on its way, [errTooMany] or [errGuessed]. The caller
// applies the writes together with its own and then signals [approvals.TopicDue].
func (h *Handler) send(ctx context.Context, p *approvals.Person, lang string) (
	approvals.Code, []approvals.Write, error) {
	now := h.Now()
	t, err := h.tally(ctx, p.ID)
	if err != nil {
		return approvals.Code{}, nil, err
	}
	if t.guessed(p) {
		return approvals.Code{}, nil, errGuessed
	}
	if len(since(t.Sent, now.Add(-codesSpan))) >= codesLimit {
		return approvals.Code{}, nil, errTooMany
	}
	t.Sent = append(t.Sent, now)
	c := approvals.Code{ID: newSecret(), Person: p.ID, Locale: lang, Expires: now.Add(codeLife)}
	return c, []approvals.Write{t.put(now), c.Step(now).Put()}, nil
}

// tally is what is counted of one person's codes. It is written by compare-and-set, so that requests side by side
// cannot get past a limit.
type tally struct {
	V      int         `json:"v"`
	Sent   []time.Time `json:"sent"`
	Missed []time.Time `json:"missed,omitempty"` // wrong digits since the last right ones

	rec approvals.Record
}

func (h *Handler) tally(ctx context.Context, p approvals.PersonID) (*tally, error) {
	rec, err := h.Records.Get(ctx, kindCodes, string(p))
	if errors.Is(err, approvals.ErrNotFound) {
		return &tally{V: 1, rec: approvals.Record{Kind: kindCodes, Key: string(p)}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("count codes: %w", err)
	}
	t := &tally{rec: rec}
	if err := json.Unmarshal(rec.Value, t); err != nil {
		return nil, fmt.Errorf("count codes: %w", err)
	}
	now := h.Now()
	t.Sent, t.Missed = since(t.Sent, now.Add(-codesSpan)), since(t.Missed, now.Add(-missedSpan))
	return t, nil
}

// guessed reports whether somebody seems to guess a person's codes. Being signed out everywhere clears it: whoever
// guessed has lost the browser that it took.
func (t *tally) guessed(p *approvals.Person) bool {
	return len(since(t.Missed, p.SignedOutAt)) >= missedLimit
}

func (t *tally) put(now time.Time) approvals.Write {
	value, _ := json.Marshal(t) // cannot fail
	return approvals.Replace(t.rec, value, now.Add(missedSpan))
}

// since returns the times after a given one.
func since(times []time.Time, after time.Time) []time.Time {
	return slices.DeleteFunc(slices.Clone(times), func(t time.Time) bool { return !t.After(after) })
}

// judged makes the write that counts how a sent code was answered; right digits end the count of wrong ones. An
// invitation's own code counts for nobody: it dies with the invitation, and only an operator makes another.
func (h *Handler) judged(ctx context.Context, c *challenge, right bool) ([]approvals.Write, error) {
	if c.Sent == "" {
		return nil, nil
	}
	p, err := h.Directory.Person(ctx, c.Person)
	if err != nil {
		return nil, fmt.Errorf("read person of code: %w", err)
	}
	t, err := h.tally(ctx, c.Person)
	if err != nil {
		return nil, err
	}
	if t.guessed(p) {
		return nil, errGuessed
	}
	now := h.Now()
	switch {
	case !right:
		t.Missed = append(since(t.Missed, p.SignedOutAt), now)
	case len(t.Missed) == 0:
		return nil, nil
	default:
		t.Missed = nil
	}
	return []approvals.Write{t.put(now)}, nil
}

// guess compares what was typed in with a waiting code. The right digits spend the challenge in the same transaction
// as the writes of win; wrong ones are counted before anybody learns that they were wrong. Both are compare-and-set on
// the challenge, so guesses side by side are judged one after the other.
func (h *Handler) guess(ctx context.Context, kind, key, typed string,
	win func(c *challenge) []approvals.Write) (*challenge, error) {
	typed, err := sixDigits(typed)
	if err != nil {
		return nil, err
	}
	for range 2 * codeTries {
		c, err := h.waiting(ctx, kind, key)
		if err != nil {
			return nil, err
		}
		want, err := h.digits(c)
		if err != nil {
			return c, err
		}
		right := subtle.ConstantTimeCompare([]byte(want), []byte(typed)) == 1
		counted, err := h.judged(ctx, c, right)
		if err != nil {
			return c, err
		}
		writes := append([]approvals.Write{approvals.Delete(kind, key, c.rec.Revision)}, counted...)
		if right {
			writes = append(writes, win(c)...)
		} else {
			c.Tries++
			writes[0] = approvals.Replace(c.rec, c.encode(), c.Ends)
		}
		switch err := h.Records.Apply(ctx, writes...); {
		case errors.Is(err, approvals.ErrConflict):
			continue
		case err != nil:
			return c, fmt.Errorf("check code: %w", err)
		case right:
			return c, nil
		case c.left() <= 0:
			return c, errSpent
		}
		return c, errWrongCode
	}
	return nil, errTooMany
}

// sixDigits accepts a code the way people type and paste it, with spaces or a dash inside. What cannot be a code costs
// no try.
func sixDigits(typed string) (string, error) {
	typed = strings.NewReplacer(" ", "", "-", "", "\u00a0", "").Replace(typed)
	if len(typed) != 6 || strings.Trim(typed, "0123456789") != "" {
		return "", errCodeShape
	}
	return typed, nil
}
