package bolt

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"go.etcd.io/bbolt"

	"assent/approvals"
)

// saved is a request ready to be written: everything that can be encoded before the commit.
type saved struct {
	row    []byte // nil when forgotten
	writes []approvals.Write
	events []op // rows of audit and outbox
	audit  [][]byte
}

// prepare drains r and encodes it, in the order that [approvals.Store] asks for.
func prepare(r *approvals.Request) (saved, error) {
	p := saved{writes: r.TakeWrites()}
	if err := checkWrites(p.writes); err != nil {
		return p, err
	}
	for _, e := range r.TakeEvents() {
		raw, err := json.Marshal(e)
		if err != nil {
			return p, fmt.Errorf("encode event %s: %w", e.ID(), err)
		}
		key := auditKey(e.Request, e.N)
		p.audit = append(p.audit, key)
		p.events = append(p.events, op{bucket: bucketAudit, key: key, value: raw}, op{bucket: bucketOutbox, value: key})
	}
	if r.Forgotten() {
		return p, nil
	}
	var err error
	p.row, err = encodeRequest(r)
	return p, err
}

// ops adds what depends on the transaction: the record writes against their revisions, and that no audit record is
// ever written twice.
func (p saved) ops(tx *bbolt.Tx, now int64) ([]op, error) {
	audit := tx.Bucket(bucketAudit)
	for _, key := range p.audit {
		if audit.Get(key) != nil {
			return nil, approvals.ErrConflict
		}
	}
	ops, err := planWrites(tx, now, p.writes)
	if err != nil {
		return nil, err
	}
	return append(ops, p.events...), nil
}

// checkRequest refuses what an index could not keep apart.
func checkRequest(r *approvals.Request) error {
	switch {
	case r.ID == "" || len(r.ID) > maxID || !isText(string(r.ID)):
		return refuse("id", "must have 1 to %d bytes of UTF-8 and no NUL", maxID)
	case len(r.Subject) > maxOwner || !isText(string(r.Subject)):
		return refuse("subject", "must not be longer than %d bytes of UTF-8 and hold no NUL", maxOwner)
	case len(r.Agent) > maxOwner || !isText(string(r.Agent)):
		return refuse("agent", "must not be longer than %d bytes of UTF-8 and hold no NUL", maxOwner)
	case r.State == "" || len(r.State) > maxID || !isText(string(r.State)):
		return refuse("state", "must have 1 to %d bytes of UTF-8 and no NUL", maxID)
	}
	return nil
}

// Create writes a new request ([approvals.Store]). r is drained whether or not that succeeds, and shared from then on. An
// id is taken for ever: the audit trail of a forgotten request keeps it.
func (s *Store) Create(ctx context.Context, r *approvals.Request) error {
	if err := checkRequest(r); err != nil {
		return fmt.Errorf("create request: %w", err)
	}
	r.Rev = 1
	p, err := prepare(r)
	if err != nil {
		return fmt.Errorf("create request: %w", err)
	}
	at := placeOf(r)
	err = s.commit.do(ctx, func(tx *bbolt.Tx) ([]op, error) {
		if tx.Bucket(bucketRequests).Get([]byte(at.id)) != nil {
			return nil, approvals.ErrConflict
		}
		ops, err := p.ops(tx, s.now().UnixNano())
		if err != nil || p.row == nil {
			return ops, err
		}
		return append(append(ops, op{bucket: bucketRequests, key: []byte(at.id), value: p.row}), at.rows()...), nil
	})
	if err == nil {
		s.recent.keep(r) // its first message comes soon, and is a change
	}
	return err
}

// Request returns a stored request, or [approvals.ErrNotFound]. One that memory holds as the file has it is not decoded.
func (s *Store) Request(ctx context.Context, id approvals.ID) (*approvals.Request, error) {
	var known *approvals.Request
	var row []byte
	err := s.view(ctx, func(tx *bbolt.Tx) error {
		stored := tx.Bucket(bucketRequests).Get([]byte(id))
		if stored == nil {
			return approvals.ErrNotFound
		}
		if known = s.recent.at(id, revOf(stored)); known == nil {
			row = bytes.Clone(stored) // decoding needs no transaction
		}
		return nil
	})
	if err != nil || known != nil {
		return known, err
	}
	r, err := decodeRequest(row)
	if err == nil {
		s.recent.keep(r)
	}
	return r, err
}

// changed is the outcome of one change of one revision of a request.
type changed struct {
	request  *approvals.Request
	read     uint64 // the revision that was changed
	from, to place
	saved    saved
}

// try runs change on a copy of a request. Nothing of it is visible to anybody until it is committed.
func try(read *approvals.Request, change func(*approvals.Request) error) (changed, error) {
	r := read.Clone()
	if err := change(r); err != nil {
		return changed{}, err
	}
	c := changed{request: r, read: read.Rev, from: placeOf(read), to: placeOf(r)}
	if r.ID != read.ID {
		return changed{}, refuse("id", "must not change")
	}
	if r.Kept() {
		c.saved = saved{writes: r.TakeWrites()}
		return c, checkWrites(c.saved.writes)
	}
	if err := checkRequest(r); err != nil {
		return changed{}, err
	}
	r.Rev = read.Rev + 1
	var err error
	c.saved, err = prepare(r)
	return c, err
}

// ahead runs change before its turn in a commit, on the request as it was written last. Where memory may be behind,
// only a success counts: a refusal must be about what the file holds.
func (s *Store) ahead(ctx context.Context, id approvals.ID, change func(*approvals.Request) error) (changed, error) {
	if r := s.recent.get(id); r != nil {
		if c, err := try(r, change); err == nil {
			return c, nil
		}
	}
	r, err := s.Request(ctx, id)
	if err != nil {
		return changed{}, err
	}
	return try(r, change)
}

// Update changes a stored request ([approvals.Store]). change usually runs here, on the revision that was written last;
// when somebody else commits first, it runs again inside the commit. It must not call the store.
func (s *Store) Update(ctx context.Context, id approvals.ID,
	change func(r *approvals.Request) error) (*approvals.Request, error) {
	ahead, err := s.ahead(ctx, id, change)
	if err != nil {
		return nil, err
	}
	var result *approvals.Request
	err = s.commit.do(ctx, func(tx *bbolt.Tx) ([]op, error) {
		stored := tx.Bucket(bucketRequests).Get([]byte(id))
		if stored == nil {
			return nil, approvals.ErrNotFound
		}
		latest := ahead
		if revOf(stored) != ahead.read {
			r, err := decodeRequest(stored)
			if err != nil {
				return nil, err
			}
			if latest, err = try(r, change); err != nil {
				return nil, err
			}
		}
		result = latest.request
		return latest.ops(tx, s.now().UnixNano())
	})
	if err != nil {
		return nil, err // and leave result alone: when ctx has ended, the committer may still set it
	}
	if !result.Kept() {
		s.recent.keep(result)
	}
	return result, nil
}

func (c changed) ops(tx *bbolt.Tx, now int64) ([]op, error) {
	ops, err := c.saved.ops(tx, now)
	if err != nil || c.request.Kept() {
		return ops, err
	}
	row := op{bucket: bucketRequests, key: []byte(c.from.id), value: c.saved.row}
	if row.value == nil {
		row.gone = true
		return append(append(ops, row), c.from.leave()...), nil
	}
	return append(append(ops, row), c.from.move(c.to)...), nil
}
