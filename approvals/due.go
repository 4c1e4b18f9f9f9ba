package approvals

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The steps of the desk itself. Channels and doors add their own names.
const (
	StepExpire = "expire" // pending or approved becomes expired
	StepRetire = "retire" // the handle goes: secret hash, door's memory
	StepPurge  = "purge"  // request, disclosures and decisions go
)

// HandleLife is how long a finished request still answers to its handle, so that denied, expired and redeemed stay
// distinguishable for an agent that comes late (REQ-194).
const HandleLife = 24 * time.Hour

// Step is something that must happen at a time, kept in the store until its outcome is recorded. Timers and JetStream
// only make it happen sooner: whoever starts with an old store finds every unfinished step in it.
type Step struct {
	Name string    `json:"name"`           // whose and what; the key space of the step
	At   time.Time `json:"at"`             // not before
	Of   string    `json:"of"`             // request id or key of the record it is about
	Data string    `json:"data,omitempty"` // what the owner of the name must know, in its own form
}

func (s Step) kind() string { return "due." + s.Name }
func (s Step) key() string  { return fmt.Sprintf("%016x/%s", nanos(s.At), s.Of) }

// nanos keeps far times in order: beyond the year 2262 nanoseconds do not fit and would come out as the past.
func nanos(at time.Time) int64 {
	const last = 9_200_000_000 // seconds
	if at.Unix() > last {
		return last * int64(time.Second)
	}
	return at.UnixNano()
}

// Put is the write that keeps s until Done.
func (s Step) Put() Write {
	value, _ := json.Marshal(s) // strings and a time: cannot fail
	return PutAny(s.kind(), s.key(), value, time.Time{})
}

// Done is the write that forgets s.
func (s Step) Done() Write { return Delete(s.kind(), s.key(), AnyRevision) }

// Due returns at most limit steps of that name whose time has come, earliest first. A row that cannot be read is left out
// and named in the error, which then comes beside the steps that can.
func Due(ctx context.Context, records Records, name string, now time.Time, limit int) ([]Step, error) {
	found, err := records.Scan(ctx, "due."+name, "", limit)
	if err != nil {
		return nil, fmt.Errorf("scan due %s: %w", name, err)
	}
	var steps []Step
	var errs []error
	for _, rec := range found {
		stamp, _, _ := strings.Cut(rec.Key, "/")
		if isAfter(stamp, now) {
			break
		}
		var s Step
		if err := json.Unmarshal(rec.Value, &s); err != nil {
			errs = append(errs, fmt.Errorf("read due %s at %s: %w", name, stamp, err)) // the rest of a key may say too much
			continue
		}
		steps = append(steps, s)
	}
	return steps, errors.Join(errs...)
}

func isAfter(stamp string, now time.Time) bool {
	n, err := strconv.ParseInt(stamp, 16, 64)
	return err == nil && n > nanos(now)
}
