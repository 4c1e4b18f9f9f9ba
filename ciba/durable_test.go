package ciba

import (
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"assent/approvals"
	"assent/store/bolt"
)

// TestNoAnswerBeforeCommit is REQ-166: as long as the commit is held back, nothing leaves.
func TestNoAnswerBeforeCommit(t *testing.T) {
	row(t, "REQ-166")
	synctest.Test(t, func(t *testing.T) {
		var hold atomic.Bool
		release := make(chan struct{})
		st, err := bolt.Open(filepath.Join(t.TempDir(), "assent.db"), bolt.Options{BeforeCommit: func() error {
			if hold.Load() {
				<-release
			}
			return nil
		}})
		must(t, err)
		s := newServiceOn(t, st)
		plain, keyed, withdrawn := s.ask(t), s.ask(t), s.ask(t)
		s.approve(t, plain)
		s.approve(t, keyed)
		calls := []func() answer{
			func() answer { return s.post("/bc-authorize", bc()) },
			func() answer { return s.post("/token", tk(plain)) },
			func() answer { return s.post("/token", tk(keyed), keyHeader, "k") },
			func() answer { return s.post("/requests/cancel", tk(withdrawn)) },
		}
		for i, call := range calls {
			hold.Store(true)
			done := make(chan answer, 1)
			go func() { done <- call() }()
			synctest.Wait()
			select {
			case a := <-done:
				t.Errorf("call %d was answered before its commit: %d %s", i, a.status, a.raw)
			default:
			}
			hold.Store(false)
			release <- struct{}{}
			if a := <-done; a.status != 200 {
				t.Errorf("call %d: %d %s", i, a.status, a.raw)
			}
		}
	})
}

// TestCancelTwiceAtOnce: of two withdrawals at the same moment both have withdrawn.
func TestCancelTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hold atomic.Bool
		release := make(chan struct{})
		st, err := bolt.Open(filepath.Join(t.TempDir(), "assent.db"), bolt.Options{BeforeCommit: func() error {
			if hold.Load() {
				<-release
			}
			return nil
		}})
		must(t, err)
		s := newServiceOn(t, st)
		handle := s.ask(t)
		hold.Store(true)
		done := make(chan answer, 2)
		for range cap(done) {
			go func() { done <- s.post("/requests/cancel", tk(handle)) }()
		}
		synctest.Wait() // both have seen it pending
		close(release)
		for range cap(done) {
			if a := <-done; a.status != 200 || a.json["state"] != "cancelled" {
				t.Errorf("%d %s", a.status, a.raw)
			}
		}
	})
}

// TestCommitFails is REQ-167: a failed commit is a 503, and nothing has happened.
func TestCommitFails(t *testing.T) {
	row(t, "REQ-167")
	var fail atomic.Bool
	st, err := bolt.Open(filepath.Join(t.TempDir(), "assent.db"), bolt.Options{BeforeCommit: func() error {
		if fail.Load() {
			return errors.New("disk on fire")
		}
		return nil
	}})
	must(t, err)
	s := newServiceOn(t, st)
	handle := s.ask(t)
	s.approve(t, handle)
	before := s.count()
	fail.Store(true)
	for _, a := range []answer{
		s.post("/bc-authorize", bc()), s.post("/bc-authorize", bc(), keyHeader, "k"), s.post("/token", tk(handle)),
		s.post("/token", tk(handle), keyHeader, "k"), s.post("/requests/cancel", tk(handle)),
	} {
		if a.status != 503 || a.code() != "server_error" || a.header.Get("Retry-After") == "" {
			t.Errorf("%d %s", a.status, a.raw)
		}
	}
	fail.Store(false)
	r, err := s.store.Request(t.Context(), idOf(handle))
	must(t, err)
	if r.State != approvals.Approved || s.count() != before {
		t.Errorf("state %s, %d requests, before %d", r.State, s.count(), before)
	}
	if a := s.post("/token", tk(handle), keyHeader, "k"); a.status != 200 {
		t.Errorf("afterwards: %d %s", a.status, a.raw)
	}
}
