package sms

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
)

// Caps bound what may be sent. One-time codes are counted apart from all other messages, so that neither keeps the other
// from a person.
type Caps struct {
	Burst    int // messages to one number in ten minutes, and codes
	Day      int // messages to one number in 24 hours, and codes
	DayParts int // parts to all numbers in one day (UTC): what is billed
}

// DefaultCaps are 3, 10 and 2,000.
func DefaultCaps() Caps { return Caps{Burst: 3, Day: 10, DayParts: 2000} }

const (
	burstTime = 10 * time.Minute
	dayTime   = 24 * time.Hour
)

// kindNumber is the key space of what is known of numbers.
const kindNumber = "sms.number"

// known is what is known of one number.
type known struct {
	V       int         `json:"v"`
	Stopped bool        `json:"stopped,omitempty"` // the person has sent STOP
	Dead    bool        `json:"dead,omitempty"`    // the provider says that nobody has it, or that it takes no messages
	Sent    []time.Time `json:"sent,omitempty"`    // messages of the last day, oldest first
	Codes   []time.Time `json:"codes,omitempty"`   // codes of the last day, likewise
	Heard   []string    `json:"heard,omitempty"`   // the last inbound messages, so that none counts twice
	Guesses []time.Time `json:"guesses,omitempty"` // replies of the last hour whose code was wrong, or is being looked at
	Answers []time.Time `json:"answers,omitempty"` // what we have answered within the last day
	At      time.Time   `json:"at"`                // of the last change
}

// Times after which nothing of a number matters any more. STOP holds until START.
const (
	keepHeard = 30 * 24 * time.Hour
	keepDead  = 30 * 24 * time.Hour // numbers get new owners
)

// expires is on the hour, so that the store need not note another time for each message.
func (k known) expires() time.Time {
	keep := dayTime
	switch {
	case k.Stopped:
		return time.Time{}
	case k.Dead:
		keep = keepDead
	case len(k.Heard) > 0:
		keep = keepHeard
	}
	return k.At.Add(keep + time.Hour).Truncate(time.Hour)
}

// tidy forgets what counts no more.
func (k *known) tidy(at time.Time) {
	before := func(limit time.Duration) func(time.Time) bool {
		return func(sent time.Time) bool { return !sent.After(at.Add(-limit)) }
	}
	k.Sent, k.Codes = slices.DeleteFunc(k.Sent, before(dayTime)), slices.DeleteFunc(k.Codes, before(dayTime))
	k.Guesses, k.Answers = slices.DeleteFunc(k.Guesses, before(guessTime)), slices.DeleteFunc(k.Answers, before(dayTime))
}

// counted is when the messages or the codes of the last day were sent.
func (k *known) counted(code bool) *[]time.Time {
	if code {
		return &k.Codes
	}
	return &k.Sent
}

// until is when these caps let the next message through after those that were sent; zero: at once.
func (c Caps) until(sent []time.Time, at time.Time) (until time.Time) {
	burst := slices.DeleteFunc(slices.Clone(sent), func(t time.Time) bool { return !t.After(at.Add(-burstTime)) })
	if n := len(burst) - c.Burst; n >= 0 {
		until = burst[n].Add(burstTime)
	}
	if n := len(sent) - c.Day; n >= 0 && sent[n].Add(dayTime).After(until) {
		until = sent[n].Add(dayTime)
	}
	return until
}

// numbers keeps what is known of numbers, under keyed names: the records tell nobody whom they are about.
type numbers struct {
	records approvals.Records
	root    *keys.Root
	seed    maphash.Seed
	locks   [256]sync.Mutex // messages to one number queue here instead of running into each other at the store
}

func newNumbers(records approvals.Records, root *keys.Root) *numbers {
	return &numbers{records: records, root: root, seed: maphash.MakeSeed()}
}

// fullError is returned by a change that a cap does not allow before a time.
type fullError struct{ until time.Time }

func (e *fullError) Error() string { return "cap is reached" }

// taken is a message that is about to be counted. Until done is called no other one to its number is.
type taken struct {
	write approvals.Write
	done  func()
}

// take says what counts one message or code, unless the number is at its caps or has said STOP.
func (n *numbers) take(ctx context.Context, number string, code bool, caps Caps, at time.Time) (taken, error) {
	key := n.key(number)
	lock := n.lock(key)
	lock.Lock()
	write, _, err := n.plan(ctx, key, at, func(k *known) error {
		sent := k.counted(code)
		until := caps.until(*sent, at)
		switch {
		case k.Stopped:
			return errStopped
		case k.Dead:
			return errDead
		case !until.IsZero():
			return &fullError{until}
		}
		*sent, k.At = append(*sent, at), at
		return nil
	})
	if err != nil {
		lock.Unlock()
		return taken{}, err
	}
	return taken{write, lock.Unlock}, nil
}

// Reaches reports whether anything may be sent to a number: nothing once its person has sent STOP, or the provider has said
// that nobody has it.
func (c *Channel) Reaches(ctx context.Context, number string) (bool, error) {
	k, _, err := c.numbers.read(ctx, c.numbers.key(number))
	return err == nil && !k.Stopped && !k.Dead, err
}

func (n *numbers) key(number string) string { return n.root.Name(keys.LabelLookup, kindNumber, number) }

func (n *numbers) lock(key string) *sync.Mutex {
	return &n.locks[maphash.String(n.seed, key)%uint64(len(n.locks))]
}

// giveBack uncounts a message that was certainly not sent.
func (n *numbers) giveBack(ctx context.Context, number string, code bool, taken, at time.Time) error {
	return n.change(ctx, number, at, func(k *known) error {
		sent := k.counted(code)
		if i := slices.IndexFunc(*sent, taken.Equal); i >= 0 {
			*sent = slices.Delete(*sent, i, i+1)
		}
		return nil
	})
}

// What take answers for numbers that get nothing.
var (
	errStopped = errors.New("number has sent STOP")
	errDead    = errors.New("number takes no messages")
)

// maxHeard is how many inbound messages of a number are told apart from repeats.
const maxHeard = 8

// stop keeps whether the number wants messages, as an inbound message of that id says; "" for what the provider says. A
// number that speaks is alive.
func (n *numbers) stop(ctx context.Context, number string, stopped bool, sid string, at time.Time) error {
	return n.change(ctx, number, at, func(k *known) error {
		if slices.Contains(k.Heard, sid) {
			return nil
		}
		k.Stopped, k.At = stopped, at
		if sid != "" {
			k.Dead = false
			k.hear(sid)
		}
		return nil
	})
}

// hear keeps the id of an inbound message, so that a repeat counts for nothing.
func (k *known) hear(sid string) { k.Heard = append(k.Heard[max(len(k.Heard)-maxHeard+1, 0):], sid) }

// bury keeps that a number takes no messages.
func (n *numbers) bury(ctx context.Context, number string, at time.Time) error {
	return n.change(ctx, number, at, func(k *known) error {
		k.Dead, k.At = true, at
		return nil
	})
}

// maxRaces bounds how often a change is made anew after another process was faster.
const maxRaces = 8

func (n *numbers) change(ctx context.Context, number string, at time.Time, change func(*known) error) error {
	key := n.key(number)
	lock := n.lock(key)
	lock.Lock()
	defer lock.Unlock()
	for range maxRaces {
		write, news, err := n.plan(ctx, key, at, change)
		if err != nil || !news {
			return err
		}
		if err = n.records.Apply(ctx, write); !errors.Is(err, approvals.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("count message: %w", approvals.ErrConflict)
}

// plan says what a change writes; news is false if that stands there already. The caller holds the number's lock.
func (n *numbers) plan(ctx context.Context, key string, at time.Time, change func(*known) error) (w approvals.Write,
	news bool, err error) {
	k, rec, err := n.read(ctx, key)
	if err != nil {
		return w, false, err
	}
	k.tidy(at)
	if err := change(&k); err != nil {
		return w, false, err
	}
	value, _ := json.Marshal(k) // times, strings and bools: cannot fail
	return approvals.Replace(rec, value, k.expires()), !bytes.Equal(value, rec.Value), nil
}

func (n *numbers) read(ctx context.Context, key string) (known, approvals.Record, error) {
	rec, err := n.records.Get(ctx, kindNumber, key)
	if errors.Is(err, approvals.ErrNotFound) {
		return known{V: 1}, approvals.Record{Kind: kindNumber, Key: key}, nil
	}
	if err != nil {
		return known{}, rec, fmt.Errorf("read number: %w", err)
	}
	var k known
	if err := json.Unmarshal(rec.Value, &k); err != nil {
		return k, rec, fmt.Errorf("read number: %w", err)
	}
	return k, rec, nil
}
