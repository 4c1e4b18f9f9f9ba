package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"go.etcd.io/bbolt"

	"assent/approvals"
)

// Get returns a record, or [approvals.ErrNotFound] when it is absent or expired.
func (s *Store) Get(ctx context.Context, kind, key string) (rec approvals.Record, err error) {
	now := s.now().UnixNano()
	rowKey := recordKey(kind, key)
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		row := tx.Bucket(bucketRecords).Get(rowKey)
		if row == nil || expired(row, now) {
			return approvals.ErrNotFound
		}
		rec, err = decodeRecord(rowKey, row)
		return err
	})
	return rec, err
}

// Scan returns at most limit records of a kind whose key starts with prefix, in the byte order of their keys.
func (s *Store) Scan(ctx context.Context, kind, prefix string, limit int) ([]approvals.Record, error) {
	begin := recordKey(kind, prefix)
	return s.scan(ctx, begin, begin, limit)
}

// ScanAfter returns at most limit records of a kind whose key is greater than after.
func (s *Store) ScanAfter(ctx context.Context, kind, after string, limit int) ([]approvals.Record, error) {
	from := recordKey(kind, after)
	if after != "" {
		from = append(from, 0) // the smallest key that is greater
	}
	return s.scan(ctx, recordKey(kind, ""), from, limit)
}

func (s *Store) scan(ctx context.Context, prefix, from []byte, limit int) (found []approvals.Record, err error) {
	now := s.now().UnixNano()
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketRecords).Cursor()
		for key, row := c.Seek(from); bytes.HasPrefix(key, prefix) && len(found) < limit; key, row = c.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			if expired(row, now) {
				continue
			}
			rec, err := decodeRecord(key, row)
			if err != nil {
				return err
			}
			found = append(found, rec)
		}
		return nil
	})
	return found, err
}

// Apply makes all writes in one durable transaction, or none. Each write sees the ones before it.
func (s *Store) Apply(ctx context.Context, writes ...approvals.Write) error {
	if len(writes) == 0 {
		return nil
	}
	if err := checkWrites(writes); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	return s.commit.do(ctx, func(tx *bbolt.Tx) ([]op, error) { return planWrites(tx, s.now().UnixNano(), writes) })
}

func checkWrites(writes []approvals.Write) error {
	if len(writes) > maxWrites {
		return refuse("writes", "must not be more than %d", maxWrites)
	}
	for _, w := range writes {
		if err := checkWrite(w); err != nil {
			return err
		}
	}
	return nil
}

func checkWrite(w approvals.Write) error {
	switch {
	case w.Kind == "" || len(w.Kind) > maxKind || !isText(w.Kind):
		return refuse("kind", "must have 1 to %d bytes of UTF-8 and no NUL", maxKind)
	case w.Key == "" || len(w.Key) > maxKey || !isText(w.Key):
		return refuse(w.Kind+" key", "must have 1 to %d bytes of UTF-8 and no NUL", maxKey)
	case len(w.Value) > maxValue:
		return refuse(w.Kind+" value", "must not be longer than %d bytes", maxValue)
	case !w.Expires.IsZero() && (w.Expires.Before(minExpiry) || w.Expires.After(maxExpiry)):
		return refuse(w.Kind+" expiry", "must lie between the years 1970 and 2262")
	}
	return nil
}

// isText reports whether every backend can keep s as text and order it by bytes.
func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// planWrites says what the writes come to, each against what the ones before it leave, or [approvals.ErrConflict].
func planWrites(tx *bbolt.Tx, now int64, writes []approvals.Write) ([]op, error) {
	records := tx.Bucket(bucketRecords)
	ops := make([]op, 0, 2*len(writes)+8)     // room for the rows of a request
	before := make([]planned, 0, len(writes)) // few: looking through them is faster than an index
	for _, w := range writes {
		key := recordKey(w.Kind, w.Key)
		at := slices.IndexFunc(before, func(p planned) bool { return bytes.Equal(p.key, key) })
		if at < 0 {
			at, before = len(before), append(before, planned{key, records.Get(key)})
		}
		row := before[at].row
		revision := revisionAt(row, now)
		if w.Revision != approvals.AnyRevision && w.Revision != revision {
			return nil, approvals.ErrConflict
		}
		if w.Same {
			continue
		}
		var fresh []byte
		if !w.Gone {
			w.Record.Revision = revision + 1
			fresh = encodeRecord(w.Record)
		}
		ops = append(ops, replaceRecord(key, row, fresh)...)
		before[at].row = fresh
	}
	return ops, nil
}

// planned is a row as an earlier write of the same transaction leaves it; nil is none.
type planned struct{ key, row []byte }

// revisionAt is the revision that readers see at that moment; 0 when they see nothing.
func revisionAt(row []byte, now int64) uint64 {
	if row == nil || expired(row, now) {
		return 0
	}
	return revOf(row)
}

// replaceRecord turns one row into another and keeps the expiry index in step; nil is no row.
func replaceRecord(key, old, fresh []byte) (ops []op) {
	before, after := stampOf(old), stampOf(fresh)
	if before != 0 && before != after {
		ops = append(ops, op{bucket: bucketExpiry, key: expiryKey(before, key), gone: true})
	}
	switch {
	case fresh != nil:
		ops = append(ops, op{bucket: bucketRecords, key: key, value: fresh})
	case old != nil:
		ops = append(ops, op{bucket: bucketRecords, key: key, gone: true})
	}
	if after != 0 && after != before {
		ops = append(ops, op{bucket: bucketExpiry, key: expiryKey(after, key)})
	}
	return ops
}

// pruneLimit is how many records one call of Prune removes at most, so that it does not hold other writers up.
const pruneLimit = 1000

// Prune removes expired records, the longest expired first, at most limit and never more than 1000 in one call. It
// returns how many; fewer than limit and 1000 means that none are left.
func (s *Store) Prune(ctx context.Context, limit int) (int, error) {
	limit = min(limit, pruneLimit)
	var removed int
	err := s.commit.do(ctx, func(tx *bbolt.Tx) (ops []op, err error) {
		ops, removed = planPrune(tx, s.now().UnixNano(), limit)
		return ops, nil
	})
	if err != nil {
		return 0, fmt.Errorf("prune: %w", err)
	}
	return removed, nil
}

func planPrune(tx *bbolt.Tx, now int64, limit int) (ops []op, n int) {
	records := tx.Bucket(bucketRecords)
	c := tx.Bucket(bucketExpiry).Cursor()
	end := number(uint64(now) + 1)
	for key, _ := c.First(); len(key) > 8 && bytes.Compare(key, end) < 0 && n < limit; key, _ = c.Next() {
		n++
		ops = append(ops, op{bucket: bucketExpiry, key: bytes.Clone(key), gone: true})
		if row := bytes.Clone(key[8:]); stampOf(records.Get(row)) == int64(binary.BigEndian.Uint64(key)) {
			ops = append(ops, op{bucket: bucketRecords, key: row, gone: true})
		}
	}
	return ops, n
}
