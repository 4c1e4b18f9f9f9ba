package store

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"assent/approvals"
	"assent/store/bolt"
)

// Store is everything that a backend gives.
type Store interface {
	approvals.Store
	approvals.Records
	approvals.Outbox
	approvals.Trail

	// Prune removes at most limit expired records and returns how many. Readers do not see expired records anyway.
	Prune(ctx context.Context, limit int) (removed int, err error)
	// Backup writes a consistent copy while the service goes on.
	Backup(ctx context.Context, w io.Writer) error
	// Check reads everything and returns what is wrong, or nil.
	Check(ctx context.Context) error
	// Close waits for the writes that were handed in, then lets the database go. Later calls fail with an error that
	// wraps approvals.ErrUnavailable.
	Close() error
}

// Open opens the store that a dsn names: "bolt:" and the path of a file, which is made when there is none. now is the
// clock that records expire by.
func Open(ctx context.Context, dsn string, now func() time.Time) (Store, error) {
	scheme, rest, found := strings.Cut(dsn, ":")
	switch {
	case !found:
		return nil, fmt.Errorf("store: must be a scheme, a colon and a place, such as bolt:/var/lib/assent/assent.db")
	case scheme != "bolt":
		return nil, fmt.Errorf("store: scheme %q is unknown to this build, which knows bolt", scheme)
	case rest == "":
		return nil, fmt.Errorf("store: bolt: needs the path of a file")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := bolt.Open(rest, bolt.Options{Now: now})
	if err != nil {
		return nil, err
	}
	return s, nil
}
