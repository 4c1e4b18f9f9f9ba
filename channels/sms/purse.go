package sms

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"assent/approvals"
)

// kindDay is the key space of what was spent, by day.
const kindDay = "sms.day"

// keepDays is how long a day's count stays, for whoever wonders about a bill.
const keepDays = 40 * 24 * time.Hour

// codeShare is which part of a day's parts is kept for one-time codes: whoever is to decide must be able to sign in on a day
// on which messages have run out.
const codeShare = 10

// purse is the parts that may still be sent today, in two pots: one for messages, and a smaller one for one-time codes, which
// take from that of the messages once their own is empty.
//
// Where replies count there is a third pot for what we answer: anybody can send us messages, and must not use up the day.
type purse struct {
	mu                       sync.Mutex
	messages, codes, answers pot
}

// answerShare is which part of a day's parts may go into answers to what people send.
const answerShare = 20

func newPurse(records approvals.Records, caps Caps, answers bool) *purse {
	kept, free := caps.DayParts/codeShare, 0
	if answers {
		free = caps.DayParts / answerShare
	}
	return &purse{messages: pot{records: records, limit: caps.DayParts - kept - free},
		codes:   pot{records: records, limit: kept, name: "/codes"},
		answers: pot{records: records, limit: free, name: "/answers"}}
}

// answer takes out the parts of an answer.
func (p *purse) answer(ctx context.Context, parts int, at time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.answers.spend(ctx, parts, at)
}

// spend takes parts out; a [fullError] when the day's limit is reached.
func (p *purse) spend(ctx context.Context, code bool, parts int, at time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var full *fullError
	if code {
		if err := p.codes.spend(ctx, parts, at); !errors.As(err, &full) {
			return err
		}
	}
	return p.messages.spend(ctx, parts, at)
}

// giveBack returns parts that were certainly not sent. What codes give back stays theirs.
func (p *purse) giveBack(code bool, parts int, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pot := &p.messages
	if code {
		pot = &p.codes
	}
	if pot.day == at.UTC().Format(time.DateOnly) {
		pot.hand += parts
	}
}

// pot is parts of one day. A process takes a handful at a time out of the day's record, so that not every message writes to
// it; what it has in hand when it dies counts as spent. Processes on one store share the record.
type pot struct {
	records approvals.Records
	limit   int    // parts a day
	name    string // in the key of its records, after the day

	day  string
	hand int // taken out and not spent
}

// handful is a fiftieth of the limit: so much can be lost by a process that dies.
func (p *pot) handful() int { return max(p.limit/50, 1) }

func (p *pot) spend(ctx context.Context, parts int, at time.Time) error {
	if day := at.UTC().Format(time.DateOnly); p.day != day {
		p.day, p.hand = day, 0
	}
	for range maxRaces {
		if p.hand >= parts {
			p.hand -= parts
			return nil
		}
		got, err := p.takeOut(ctx, parts-p.hand, at)
		if err == nil {
			p.hand += got
			continue
		}
		if !errors.Is(err, approvals.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("count parts: %w", approvals.ErrConflict)
}

// takeOut takes at least that many parts out of the record, and a handful if there are.
func (p *pot) takeOut(ctx context.Context, least int, at time.Time) (int, error) {
	key := p.day + p.name
	rec, err := p.records.Get(ctx, kindDay, key)
	if errors.Is(err, approvals.ErrNotFound) {
		rec, err = approvals.Record{Kind: kindDay, Key: key, Value: []byte("0")}, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read parts: %w", err)
	}
	out, err := strconv.Atoi(string(rec.Value))
	if err != nil {
		return 0, fmt.Errorf("read parts: %w", err)
	}
	got := min(max(least, p.handful()), p.limit-out)
	if got < least {
		return 0, &fullError{at.UTC().Truncate(dayTime).Add(dayTime)}
	}
	return got, p.records.Apply(ctx, approvals.Replace(rec, strconv.AppendInt(nil, int64(out+got), 10), at.Add(keepDays)))
}
