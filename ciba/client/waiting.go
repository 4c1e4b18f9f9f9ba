package client

import (
	"encoding/json"
	"fmt"
	"time"
)

// usualInterval is the number of seconds between polls when nobody says another (CIBA section 7.3).
const usualInterval = 5

// waiting is how a [Waiting] is written down.
type waiting struct {
	Handle    string    `json:"auth_req_id"`
	ExpiresAt time.Time `json:"expires_at"`
	Interval  uint32    `json:"interval"` // seconds, as in CIBA section 7.3
}

// MarshalJSON writes the names and units of CIBA section 7.3.
func (w Waiting) MarshalJSON() ([]byte, error) {
	seconds := (w.Interval + time.Second - 1) / time.Second // never sooner than told
	return json.Marshal(waiting{w.Handle, w.ExpiresAt, uint32(max(seconds, 0))})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (w *Waiting) UnmarshalJSON(raw []byte) error {
	var in waiting
	if err := json.Unmarshal(raw, &in); err != nil {
		return fmt.Errorf("read waiting: %w", err)
	}
	if in.Interval == 0 {
		in.Interval = usualInterval
	}
	*w = Waiting{in.Handle, in.ExpiresAt, time.Duration(in.Interval) * time.Second}
	return nil
}
