package channels

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"assent/approvals"
)

// kindClaim is the key space of the sheets.
const kindClaim = "claim"

// sheet holds every claim of one errand, and when its next step is due. It is changed by compare-and-set only, and in
// one transaction with the due step, so that of two workers who plan the same message one sends it.
type sheet struct {
	V     int       `json:"v"`
	Next  time.Time `json:"next"` // time of the due step
	Tries []Try     `json:"tries"`

	read approvals.Record
}

// readSheet returns the errand's sheet; a new one if there is none, with its first step at the given time. Its tries are
// shared: whoever changes one clones them before. What memory holds counts only if the store has the same revision.
func (d *Dispatcher) readSheet(ctx context.Context, key string, first time.Time) (sheet, error) {
	rec, err := d.Records.Get(ctx, kindClaim, key)
	if errors.Is(err, approvals.ErrNotFound) {
		return sheet{V: 1, Next: first, read: approvals.Record{Kind: kindClaim, Key: key}}, nil
	}
	if err != nil {
		return sheet{}, fmt.Errorf("read claims: %w", err)
	}
	if s, found := d.sheets.of(key); found && s.read.Revision == rec.Revision {
		return s, nil
	}
	s := sheet{read: rec}
	if err := json.Unmarshal(rec.Value, &s); err != nil {
		return sheet{}, fmt.Errorf("read claims: %w", err)
	}
	d.remember(s)
	return s, nil
}

// remember keeps a sheet as it is in the store; one without a revision is not there.
func (d *Dispatcher) remember(s sheet) {
	if s.read.Revision == 0 {
		d.sheets.forget(s.read.Key)
		return
	}
	s.read.Value = nil // the tries say it all
	d.sheets.keep(s.read.Key, s)
}

// write is the compare-and-set; it fails with [approvals.ErrConflict] when somebody was faster.
func (s sheet) write(expires time.Time) approvals.Write {
	value, _ := json.Marshal(s) // strings, numbers and times: cannot fail
	return approvals.Replace(s.read, value, expires)
}

// unchanged is the condition that nobody was faster.
func (s sheet) unchanged() approvals.Write {
	return approvals.Expect(kindClaim, s.read.Key, s.read.Revision)
}

func (s sheet) forget() approvals.Write {
	return approvals.Delete(kindClaim, s.read.Key, s.read.Revision)
}

// try returns the claim of that channel and attempt.
func (s sheet) try(channel string, attempt int) (*Try, bool) {
	for i := range s.Tries {
		if t := &s.Tries[i]; t.Channel == channel && t.Attempt == attempt {
			return t, true
		}
	}
	return nil, false
}
