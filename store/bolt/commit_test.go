package bolt

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"go.etcd.io/bbolt"

	"assent/approvals"
)

func fresh(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "assent.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func record(key string) approvals.Write {
	return approvals.Write{Record: approvals.Record{Kind: "k", Key: key, Revision: approvals.AnyRevision}}
}

// TestOneBadRow puts a row that bbolt does not take among good ones: it fails alone.
func TestOneBadRow(t *testing.T) {
	s := fresh(t)
	var batch []*job
	for i := range 5 {
		j := &job{ctx: t.Context(), done: make(chan struct{})}
		j.plan = func(tx *bbolt.Tx) ([]op, error) { return planWrites(tx, 0, []approvals.Write{record(fmt.Sprint(i))}) }
		if i == 2 {
			j.plan = func(tx *bbolt.Tx) ([]op, error) {
				ops, err := planWrites(tx, 0, []approvals.Write{record("bad")})
				return append(ops, op{bucket: bucketRecords, key: []byte{}, value: []byte("a key of no bytes")}), err
			}
		}
		batch = append(batch, j)
	}
	s.commit.close() // this test is the committer now
	s.commit.commitAll(batch)
	for i, j := range batch {
		<-j.done
		if bad := errors.Is(j.err, approvals.ErrUnavailable); bad != (i == 2) {
			t.Errorf("job %d: %v", i, j.err)
		}
	}
	recs, err := s.Scan(t.Context(), "k", "", 10)
	if err != nil || len(recs) != 4 {
		t.Errorf("Scan: %v, %v, want the four good ones", recs, err)
	}
}

// TestRefusalsNeedNoCommit: what writes nothing costs no sync.
func TestRefusalsNeedNoCommit(t *testing.T) {
	s := fresh(t)
	for range 3 {
		if err := s.Apply(t.Context(), approvals.Delete("k", "absent", 1)); !errors.Is(err, approvals.ErrConflict) {
			t.Errorf("Apply: %v, want %v", err, approvals.ErrConflict)
		}
		if err := s.Apply(t.Context(), approvals.Delete("k", "absent", 0)); err != nil {
			t.Errorf("Apply: %v", err)
		}
	}
	if commits, writes := s.Stats(); commits != 0 || writes != 0 {
		t.Errorf("%d commits with %d writes, want none", commits, writes)
	}
}

// TestCommitsAreShared: writers that come together share commits, and none waits for a timer.
func TestCommitsAreShared(t *testing.T) {
	s := fresh(t)
	const n = 500
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := s.Apply(context.Background(), record(fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if commits, writes := s.Stats(); commits >= n/2 || commits < n/maxBatch || writes != n {
		t.Errorf("%d commits with %d writes, want %d in far fewer", commits, writes, n)
	}
}

// TestReadersWaitForTheSync: a reader that sees a commit before it is synced waits, and gets the error when it fails.
func TestReadersWaitForTheSync(t *testing.T) {
	s := fresh(t)
	if err := s.Apply(t.Context(), record("1")); err != nil {
		t.Fatal(err)
	}
	synced := s.commit.durable.Load()
	s.commit.durable.Store(synced - 1) // as in the moment between the meta page and its sync
	answered := make(chan error, 1)
	go func() {
		_, err := s.Get(context.Background(), "k", "1")
		answered <- err
	}()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.commit.await(ended, synced); !errors.Is(err, context.Canceled) {
		t.Errorf("await with an ended context: %v", err)
	}
	select {
	case err := <-answered:
		t.Fatalf("answered before the sync: %v", err)
	default:
	}
	s.commit.durable.Store(synced)
	s.commit.next()
	if err := <-answered; err != nil {
		t.Errorf("Get: %v", err)
	}
}

// TestVisibleButNotSynced: after a failed sync of a commit that can be seen, nobody reads it and nobody builds on it.
func TestVisibleButNotSynced(t *testing.T) {
	s := fresh(t)
	if err := s.Apply(t.Context(), record("1")); err != nil {
		t.Fatal(err)
	}
	s.commit.durable.Add(^uint64(0))
	s.commit.inspect()
	if _, err := s.Get(t.Context(), "k", "1"); !errors.Is(err, approvals.ErrUnavailable) {
		t.Errorf("Get: %v, want %v", err, approvals.ErrUnavailable)
	}
	if err := s.Apply(t.Context(), record("2")); !errors.Is(err, approvals.ErrUnavailable) {
		t.Errorf("Apply: %v, want %v", err, approvals.ErrUnavailable)
	}
}
