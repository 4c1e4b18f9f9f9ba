package bolt

import (
	"bytes"
	"context"

	"go.etcd.io/bbolt"

	"assent/approvals"
)

// Bounds of [approvals.Query.Limit].
const (
	defaultLimit = 100
	maxLimit     = 1000
)

// List returns requests, newest first. It reads the index of the person, the agent or the states and no more requests
// than it returns, unless both person and agent are given: then it reads the person's. States are those that are
// stored: a request whose time is over is pending or approved here until the sweep has come by.
func (s *Store) List(ctx context.Context, q approvals.Query) ([]*approvals.Request, error) {
	if q.Limit == 0 {
		q.Limit = defaultLimit
	}
	if q.Limit < 0 || q.Limit > maxLimit {
		return nil, refuse("limit", "must be 1 to %d", maxLimit)
	}
	if len(q.States) == 0 {
		q.States = approvals.States()
	}
	var found []*approvals.Request
	err := s.view(ctx, func(tx *bbolt.Tx) error {
		requests := tx.Bucket(bucketRequests)
		walk := newestFirst(tx, q)
		for id := walk.next(); id != nil && len(found) < q.Limit; id = walk.next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			r, err := decodeRequest(requests.Get(id))
			if err != nil {
				return err
			}
			if q.Agent == "" || r.Agent == q.Agent {
				found = append(found, r)
			}
		}
		return nil
	})
	return found, err
}

// merged walks the index rows of several states as one list.
type merged []*backwards

func newestFirst(tx *bbolt.Tx, q approvals.Query) merged {
	index, owner := tx.Bucket(bucketState), ""
	switch {
	case q.Person != "":
		index, owner = tx.Bucket(bucketPerson), string(q.Person)
	case q.Agent != "":
		index, owner = tx.Bucket(bucketAgent), string(q.Agent)
	}
	var m merged
	seen := map[approvals.State]bool{}
	for _, state := range q.States {
		if !seen[state] && len(owner) <= maxOwner && len(state) <= maxID {
			m = append(m, walkBack(index, indexPrefix(owner, state), q.Before))
		}
		seen[state] = true
	}
	return m
}

// next returns the greatest id that has not been returned yet, or nil. It is valid inside the transaction only.
func (m merged) next() []byte {
	var newest *backwards
	for _, b := range m {
		if b.id != nil && (newest == nil || bytes.Compare(b.id, newest.id) > 0) {
			newest = b
		}
	}
	if newest == nil {
		return nil
	}
	id := newest.id
	newest.take(newest.cursor.Prev())
	return id
}

// backwards walks the keys of one prefix from the end.
type backwards struct {
	cursor *bbolt.Cursor
	prefix []byte
	id     []byte // what follows the prefix; nil at the end
}

func walkBack(index *bbolt.Bucket, prefix []byte, before approvals.ID) *backwards {
	b := &backwards{cursor: index.Cursor(), prefix: prefix}
	end := append(bytes.Clone(prefix), before...)
	if before == "" {
		end[len(end)-1]++ // the prefix ends with NUL
	}
	if key, _ := b.cursor.Seek(end); key == nil {
		b.take(b.cursor.Last())
	} else {
		b.take(b.cursor.Prev())
	}
	return b
}

func (b *backwards) take(key, _ []byte) {
	b.id = nil
	if bytes.HasPrefix(key, b.prefix) {
		b.id = key[len(b.prefix):]
	}
}
