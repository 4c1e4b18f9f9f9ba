package webapp

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
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

// Limits of one-time codes: a guesser gets 15 tries in ten minutes, and only on a browser that is bound.
const (
	codeLife   = 5 * time.Minute
	codeTries  = 5
	codesLimit = 3
	codesSpan  = 10 * time.Minute
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

// send makes a code for a person and the writes that bring it on its way, or [errTooMany]. The caller applies the
// writes together with its own and then signals [approvals.TopicDue].
func (h *Handler) send(ctx context.Context, p approvals.PersonID, lang string) (
	approvals.Code, []approvals.Write, error) {
	now := h.Now()
	counted, err := h.count(ctx, p, now)
	if err != nil {
		return approvals.Code{}, nil, err
	}
	c := approvals.Code{ID: newSecret(), Person: p, Locale: lang, Expires: now.Add(codeLife)}
	return c, []approvals.Write{counted, c.Step(now).Put()}, nil
}

// count makes the write that counts one more code for a person. It is a compare-and-set, so that requests side by side
// cannot get past the limit.
func (h *Handler) count(ctx context.Context, p approvals.PersonID, now time.Time) (approvals.Write, error) {
	rec, err := h.Records.Get(ctx, kindCodes, string(p))
	var times struct {
		V    int         `json:"v"`
		Sent []time.Time `json:"sent"`
	}
	switch {
	case errors.Is(err, approvals.ErrNotFound):
		rec = approvals.Record{Kind: kindCodes, Key: string(p)}
	case err != nil:
		return approvals.Write{}, fmt.Errorf("count codes: %w", err)
	default:
		if err := json.Unmarshal(rec.Value, &times); err != nil {
			return approvals.Write{}, fmt.Errorf("count codes: %w", err)
		}
	}
	recent := []time.Time{now}
	for _, t := range times.Sent {
		if now.Sub(t) < codesSpan {
			recent = append(recent, t)
		}
	}
	if len(recent) > codesLimit {
		return approvals.Write{}, errTooMany
	}
	times.V, times.Sent = 1, recent
	value, _ := json.Marshal(times) // cannot fail
	return approvals.Replace(rec, value, now.Add(codesSpan)), nil
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
		writes := []approvals.Write{approvals.Delete(kind, key, c.rec.Revision)}
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
