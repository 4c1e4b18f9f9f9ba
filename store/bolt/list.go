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

// List returns requests, newest first. It reads the index of the person, the agent or the states, of person and agent
// both where both are given, and no more requests than it returns. States are those that are stored: a request whose
// time is over is pending or approved here until the sweep has come by.
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
			row := requests.Get(id)
			r := s.recent.at(approvals.ID(id), revOf(row))
			if r == nil {
				var err error
				if r, err = decodeRequest(row); err != nil {
					return err
				}
			}
			found = append(found, r)
		}
		return nil
	})
	return found, err
}

// merged walks the index rows of several states as one list.
type merged []*backwards

func newestFirst(tx *bbolt.Tx, q approvals.Query) merged {
	if len(q.Person) > maxOwner || len(q.Agent) > maxOwner {
		return nil
	}
	var m merged
	seen := map[approvals.State]bool{}
	for _, state := range q.States {
		if !seen[state] && len(state) <= maxID {
			m = append(m, walkState(tx, q, state))
		}
		seen[state] = true
	}
	return m
}

// walkState walks what the query asks for in one state.
func walkState(tx *bbolt.Tx, q approvals.Query, state approvals.State) *backwards {
	walk := func(bucket []byte, owner string) *backwards {
		return walkBack(tx.Bucket(bucket), indexPrefix(owner, state), q.Before)
	}
	switch {
	case q.Person == "" && q.Agent == "":
		return walk(bucketState, "")
	case q.Agent == "":
		return walk(bucketPerson, string(q.Person))
	case q.Person == "":
		return walk(bucketAgent, string(q.Agent))
	}
	both := walk(bucketPerson, string(q.Person))
	both.with = walk(bucketAgent, string(q.Agent))
	both.agree()
	return both
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
	newest.agree()
	return id
}

// backwards walks the keys of one prefix from the end; of two prefixes, what they have in common.
type backwards struct {
	cursor *bbolt.Cursor
	prefix []byte
	id     []byte     // what follows the prefix; nil at the end
	with   *backwards // nil: there is one prefix
}

func walkBack(index *bbolt.Bucket, prefix []byte, before approvals.ID) *backwards {
	b := &backwards{cursor: index.Cursor(), prefix: prefix}
	end := append(bytes.Clone(prefix), before...)
	if before == "" {
		end[len(end)-1]++ // the prefix ends with NUL
	}
	b.goBack(end)
	return b
}

// goBack takes the last key before end.
func (b *backwards) goBack(end []byte) {
	if key, _ := b.cursor.Seek(end); key == nil {
		b.take(b.cursor.Last())
	} else {
		b.take(b.cursor.Prev())
	}
}

// agree goes on to the next id that both have. Whoever is ahead jumps to where the other one is, so it takes no more
// jumps than the shorter of the two has keys, and one.
func (b *backwards) agree() {
	for b.with != nil && b.id != nil {
		switch order := bytes.Compare(b.id, b.with.id); {
		case order == 0:
			return
		case b.with.id == nil:
			b.id = nil
		case order > 0:
			b.reach(b.with.id)
		default:
			b.with.reach(b.id)
		}
	}
}

// reach takes the greatest id that is not greater than this one.
func (b *backwards) reach(id []byte) {
	b.goBack(append(append(bytes.Clone(b.prefix), id...), 0))
}

func (b *backwards) take(key, _ []byte) {
	b.id = nil
	if bytes.HasPrefix(key, b.prefix) {
		b.id = key[len(b.prefix):]
	}
}
