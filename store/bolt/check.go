package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"assent/approvals"
)

// maxFaults is how many faults Check names; a broken file has either a few or too many to read.
const maxFaults = 20

// Check reads the whole file and returns what is wrong with it, joined; nil when all is well. It looks at the pages,
// and that rows which were written together are there together: every request has its index rows, its audit records
// from 1 on without gaps and its due step, every index row its request, every outbox row its audit record, every
// expiring record its place in the expiry index.
//
// It works on a copy beside the file, so the service goes on meanwhile, and needs as much free space as the file is
// large.
func (s *Store) Check(ctx context.Context) error {
	f, err := s.snapshot(ctx)
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	defer discard(f)
	db, err := bbolt.Open(f.Name(), 0o600, &bbolt.Options{ReadOnly: true, Timeout: lockWait})
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	defer db.Close()
	if err := db.View(func(tx *bbolt.Tx) error { return check(ctx, tx) }); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	return nil
}

// faults collects what is wrong.
type faults struct {
	errs []error
	more int
}

func (f *faults) add(format string, args ...any) {
	if len(f.errs) == maxFaults {
		f.more++
		return
	}
	f.errs = append(f.errs, fmt.Errorf(format, args...))
}

func (f *faults) err() error {
	if f.more > 0 {
		return errors.Join(append(f.errs, fmt.Errorf("and %d more", f.more))...)
	}
	return errors.Join(f.errs...)
}

func check(ctx context.Context, tx *bbolt.Tx) error {
	var f faults
	for err := range tx.Check() {
		f.add("page: %w", err)
	}
	if f.err() != nil {
		return f.err() // rows on broken pages say nothing, and reading them may panic
	}
	for _, part := range []func(*bbolt.Tx, *faults){checkRequests, checkIndexes, checkAudit, checkOutbox, checkRecords,
		checkExpiry} {
		if err := ctx.Err(); err != nil {
			return err
		}
		part(tx, &f)
	}
	return f.err()
}

func checkRequests(tx *bbolt.Tx, f *faults) {
	c := tx.Bucket(bucketRequests).Cursor()
	for key, row := c.First(); key != nil; key, row = c.Next() {
		r, err := decodeRequest(row)
		if err != nil {
			f.add("request %s: %w", key, err)
			continue
		}
		if string(r.ID) != string(key) || r.Rev != revOf(row) {
			f.add("request %s: its JSON is of %s revision %d, not %d", key, r.ID, r.Rev, revOf(row))
		}
		checkRequestRows(tx, r, f)
	}
}

func checkRequestRows(tx *bbolt.Tx, r *approvals.Request, f *faults) {
	for _, o := range placeOf(r).rows() {
		if tx.Bucket(o.bucket).Get(o.key) == nil {
			f.add("request %s: not in index %s", r.ID, o.bucket)
		}
	}
	audit := tx.Bucket(bucketAudit)
	if r.Events > 0 && audit.Get(auditKey(r.ID, r.Events)) == nil {
		f.add("request %s: audit record %d is missing", r.ID, r.Events)
	}
	if audit.Get(auditKey(r.ID, r.Events+1)) != nil {
		f.add("request %s: has %d events, the audit trail more", r.ID, r.Events)
	}
	if r.Step == nil {
		return
	}
	if due := r.Step.Put(); tx.Bucket(bucketRecords).Get(recordKey(due.Kind, due.Key)) == nil {
		f.add("request %s: its due step %s is missing", r.ID, r.Step.Name)
	}
}

// checkIndexes looks for rows without a request. checkRequests has found every row that belongs to one, so where the
// numbers agree there are no others.
func checkIndexes(tx *bbolt.Tx, f *faults) {
	requests := tx.Bucket(bucketRequests)
	want := count(requests)
	for _, name := range [][]byte{bucketPerson, bucketAgent, bucketState} {
		if index := tx.Bucket(name); count(index) != want {
			checkIndex(name, index, requests, f)
		}
	}
}

func count(b *bbolt.Bucket) (n int) {
	c := b.Cursor()
	for key, _ := c.First(); key != nil; key, _ = c.Next() {
		n++
	}
	return n
}

func checkIndex(name []byte, index, requests *bbolt.Bucket, f *faults) {
	c := index.Cursor()
	for key, _ := c.First(); key != nil; key, _ = c.Next() {
		r, err := decodeRequest(requests.Get(idOfIndex(key)))
		if err != nil || !placeOf(r).has(name, key) {
			f.add("index %s: stale row of request %s", name, idOfIndex(key))
		}
	}
}

func (p place) has(bucket, key []byte) bool {
	for _, o := range p.rows() {
		if bytes.Equal(o.bucket, bucket) {
			return bytes.Equal(o.key, key)
		}
	}
	return false
}

// checkAudit looks for gaps; records come in the order of request and number.
func checkAudit(tx *bbolt.Tx, f *faults) {
	var id []byte
	var n uint64
	c := tx.Bucket(bucketAudit).Cursor()
	for key, raw := c.First(); key != nil; key, raw = c.Next() {
		e, err := decodeEvent(raw)
		if err != nil || !bytes.Equal(key, auditKey(e.Request, e.N)) {
			f.add("audit record %q does not match its key", key)
			continue
		}
		if !bytes.Equal(id, []byte(e.Request)) {
			id, n = []byte(e.Request), 0
		}
		if n++; e.N != n {
			f.add("audit of %s: record %d is missing", id, n)
			n = e.N
		}
	}
}

func checkOutbox(tx *bbolt.Tx, f *faults) {
	audit := tx.Bucket(bucketAudit)
	outbox := tx.Bucket(bucketOutbox)
	c := outbox.Cursor()
	for key, row := c.First(); key != nil; key, row = c.Next() {
		if len(key) != 8 || binary.BigEndian.Uint64(key) > outbox.Sequence() {
			f.add("outbox row %x: not a sequence number that was given out", key)
		}
		if audit.Get(row) == nil {
			f.add("outbox row %x: points at no audit record", key)
		}
	}
}

func checkRecords(tx *bbolt.Tx, f *faults) {
	expiry := tx.Bucket(bucketExpiry)
	c := tx.Bucket(bucketRecords).Cursor()
	for key, row := c.First(); key != nil; key, row = c.Next() {
		rec, err := decodeRecord(key, row)
		if err != nil {
			f.add("record %q: %w", key, err)
			continue
		}
		if rec.Revision == 0 {
			f.add("record of kind %s: has no revision", rec.Kind)
		}
		if at := stampOf(row); at != 0 && expiry.Get(expiryKey(at, key)) == nil {
			f.add("record of kind %s: not in the expiry index", rec.Kind)
		}
	}
}

func checkExpiry(tx *bbolt.Tx, f *faults) {
	records := tx.Bucket(bucketRecords)
	c := tx.Bucket(bucketExpiry).Cursor()
	for key, _ := c.First(); key != nil; key, _ = c.Next() {
		if len(key) < 8 {
			f.add("expiry index: row of %d bytes", len(key))
			continue
		}
		row := records.Get(key[8:])
		if len(row) < recordHead || !bytes.Equal(row[8:recordHead], key[:8]) {
			f.add("expiry index: stale row")
		}
	}
}
