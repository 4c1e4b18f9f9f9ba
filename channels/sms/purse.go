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

// purse is the parts that may still be sent today. It takes a handful at a time out of the day's record, so that not every
// message writes to it; what a process has in hand when it dies counts as spent. Processes on one store share the record.
type purse struct {
	records approvals.Records
	limit   int // parts a day

	mu   sync.Mutex
	day  string
	hand int // taken out and not spent
}

// handful is a fiftieth of the limit: so much can be lost by a process that dies.
func (p *purse) handful() int { return max(p.limit/50, 1) }

// spend takes parts out; a [fullError] when the day's limit is reached.
func (p *purse) spend(ctx context.Context, parts int, at time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
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

// giveBack returns parts that were certainly not sent.
func (p *purse) giveBack(parts int, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.day == at.UTC().Format(time.DateOnly) {
		p.hand += parts
	}
}

// takeOut takes at least that many parts out of the record, and a handful if there are.
func (p *purse) takeOut(ctx context.Context, least int, at time.Time) (int, error) {
	rec, err := p.records.Get(ctx, kindDay, p.day)
	if errors.Is(err, approvals.ErrNotFound) {
		rec, err = approvals.Record{Kind: kindDay, Key: p.day, Value: []byte("0")}, nil
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
