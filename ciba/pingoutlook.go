package ciba

import (
	"context"
	"errors"
	"fmt"
	"time"

	"assent/approvals"
)

// PingOutlook is what comes next for the pings of a request. The zero value: nothing is to be told, or nothing any
// more.
type PingOutlook struct {
	Next    time.Time // of the next call, or the end of the lease of the one under way; it may have passed
	GivenUp bool      // only [Notifier.Replay] sends another
}

// Outlook looks at the errand of a request, and changes nothing.
func (n *Notifier) Outlook(ctx context.Context, id approvals.ID) (PingOutlook, error) {
	e, err := readErrand(ctx, n.Records, id)
	if errors.Is(err, approvals.ErrNotFound) {
		return PingOutlook{}, nil
	}
	if err != nil {
		return PingOutlook{}, fmt.Errorf("look at ping of %s: %w", id, err)
	}
	return PingOutlook{Next: e.Next, GivenUp: e.GivenUp}, nil
}
