package channels

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
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

// sheets remembers the sheets of requests as they were written last, so that whoever looks next need not decode them. What it
// holds may be behind the store: it counts only if the revision is the same. Its zero value is ready.
type sheets struct {
	mu    sync.Mutex
	known map[string]sheet // by key
}

// mostSheets is how many are remembered, about a KiB each.
const mostSheets = 16_384

func (m *sheets) at(key string, revision uint64) (sheet, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, found := m.known[key]
	return s, found && s.read.Revision == revision
}

// keep remembers a sheet that is in the store; one without a revision is not. There is room for a new one once any other is
// forgotten.
func (m *sheets) keep(s sheet) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := s.read.Key
	if s.read.Revision == 0 {
		delete(m.known, key)
		return
	}
	if m.known == nil {
		m.known = map[string]sheet{}
	}
	if _, there := m.known[key]; !there && len(m.known) >= mostSheets {
		for victim := range m.known {
			delete(m.known, victim)
			break
		}
	}
	s.read.Value = nil // the tries say it all
	m.known[key] = s
}

// readSheet returns the errand's sheet; a new one if there is none, with its first step at the given time. Its tries are
// shared: whoever changes one clones them before.
func (d *Dispatcher) readSheet(ctx context.Context, key string, first time.Time) (sheet, error) {
	rec, err := d.Records.Get(ctx, kindClaim, key)
	if errors.Is(err, approvals.ErrNotFound) {
		return sheet{V: 1, Next: first, read: approvals.Record{Kind: kindClaim, Key: key}}, nil
	}
	if err != nil {
		return sheet{}, fmt.Errorf("read claims: %w", err)
	}
	if s, found := d.sheets.at(key, rec.Revision); found {
		return s, nil
	}
	s := sheet{read: rec}
	if err := json.Unmarshal(rec.Value, &s); err != nil {
		return sheet{}, fmt.Errorf("read claims: %w", err)
	}
	return s, nil
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
