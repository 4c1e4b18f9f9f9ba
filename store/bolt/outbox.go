package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"go.etcd.io/bbolt"

	"assent/approvals"
)

// Unsent returns at most limit committed events that have not been marked as sent, in the order of their commits
// ([approvals.Outbox]).
func (s *Store) Unsent(ctx context.Context, after uint64, limit int) (events []approvals.Event, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		audit := tx.Bucket(bucketAudit)
		c := tx.Bucket(bucketOutbox).Cursor()
		key, row := c.Seek(number(after))
		if bytes.Equal(key, number(after)) {
			key, row = c.Next()
		}
		for ; key != nil && len(events) < limit; key, row = c.Next() {
			e, err := decodeEvent(audit.Get(row))
			if err != nil {
				return fmt.Errorf("outbox row %x: %w", key, err)
			}
			e.Seq = binary.BigEndian.Uint64(key)
			events = append(events, e)
		}
		return nil
	})
	return events, err
}

func decodeEvent(raw []byte) (e approvals.Event, err error) {
	if err := json.Unmarshal(raw, &e); err != nil {
		return e, fmt.Errorf("decode event: %w", err)
	}
	return e, nil
}

// Sent forgets outbox rows. A row that is already gone does no harm.
func (s *Store) Sent(ctx context.Context, seqs ...uint64) error {
	if len(seqs) == 0 {
		return nil
	}
	if len(seqs) > maxSent {
		return refuse("seqs", "must not be more than %d", maxSent)
	}
	ops := make([]op, len(seqs))
	for i, seq := range seqs {
		ops[i] = op{bucket: bucketOutbox, key: number(seq), gone: true}
	}
	return s.commit.do(ctx, func(*bbolt.Tx) ([]op, error) { return ops, nil })
}

// Events returns the audit records of a request, oldest first; none for an id that never was ([approvals.Trail]). They
// outlive the request.
func (s *Store) Events(ctx context.Context, id approvals.ID) (events []approvals.Event, err error) {
	prefix := append([]byte(id), 0)
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketAudit).Cursor()
		for key, raw := c.Seek(prefix); bytes.HasPrefix(key, prefix); key, raw = c.Next() {
			e, err := decodeEvent(raw)
			if err != nil {
				return fmt.Errorf("audit of %s: %w", id, err)
			}
			events = append(events, e)
		}
		return nil
	})
	return events, err
}
