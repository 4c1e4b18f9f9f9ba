package bolt_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"assent/approvals"
	"assent/store/bolt"
)

// gate holds commits back or makes them fail.
type gate struct {
	entered chan struct{} // a commit has come to the gate
	leave   chan error    // what the gate lets it do
}

func newGate() *gate { return &gate{make(chan struct{}), make(chan error)} }

func (g *gate) hold() error {
	g.entered <- struct{}{}
	return <-g.leave
}

// gated opens a store whose commits wait at a gate once it has been shut.
func gated(t *testing.T) (s *bolt.Store, g *gate, shut *atomic.Bool) {
	t.Helper()
	g, shut = newGate(), new(atomic.Bool)
	s = openWith(t, filepath.Join(t.TempDir(), "assent.db"), bolt.Options{BeforeCommit: func() error {
		if shut.Load() {
			return g.hold()
		}
		return nil
	}})
	return s, g, shut
}

func put(key string) approvals.Write { return approvals.PutNew("k", key, []byte(key), time.Time{}) }

// TestNothingBeforeCommit holds a commit back: no caller hears of it and no reader sees it until it is made.
func TestNothingBeforeCommit(t *testing.T) {
	s, g, shut := gated(t)
	shut.Store(true)
	answered := make(chan error, 1)
	go func() { answered <- s.Apply(context.Background(), put("1")) }()
	<-g.entered
	if _, err := s.Get(t.Context(), "k", "1"); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("Get before the commit: %v, want %v", err, approvals.ErrNotFound)
	}
	select {
	case err := <-answered:
		t.Fatalf("answered before the commit: %v", err)
	default:
	}
	shut.Store(false)
	g.leave <- nil
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "k", "1"); err != nil {
		t.Errorf("Get after the commit: %v", err)
	}
}

// TestFailedCommit lets the commit of a whole batch fail: everybody in it hears of it, refused or not, and nothing is
// there afterwards. The store goes on.
func TestFailedCommit(t *testing.T) {
	s, g, shut := gated(t)
	r := pending(time.Now(), "ann")
	if err := s.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	shut.Store(true)
	first := make(chan error, 1)
	go func() { first <- s.Apply(context.Background(), put("first")) }()
	<-g.entered // the committer is busy, so what comes now gathers into one batch

	calls := map[string]func() error{
		"apply":  func() error { return s.Apply(context.Background(), put("1")) },
		"twin":   func() error { return s.Apply(context.Background(), put("1")) }, // ErrConflict if the batch were good
		"create": func() error { return s.Create(context.Background(), pending(time.Now(), "bob")) },
		"update": func() error {
			no := func(r *approvals.Request) error { return r.Deny(approvals.Decision{By: "ann"}, time.Now()) }
			_, err := s.Update(context.Background(), r.ID, no)
			return err
		},
	}
	var mu sync.Mutex
	errs := map[string]error{}
	var wg sync.WaitGroup
	for name, call := range calls {
		wg.Go(func() {
			err := call()
			mu.Lock()
			errs[name] = err
			mu.Unlock()
		})
	}
	full := errors.New("no space left on device")
	for bolt.Waiting(s) < len(calls) {
		runtime.Gosched()
	}
	g.leave <- full
	<-g.entered
	g.leave <- full
	wg.Wait()
	errs["first"] = <-first
	for name, err := range errs {
		if !errors.Is(err, approvals.ErrUnavailable) || !errors.Is(err, full) {
			t.Errorf("%s: %v, want %v because of %v", name, err, approvals.ErrUnavailable, full)
		}
	}
	shut.Store(false)
	for _, key := range []string{"first", "1"} {
		if _, err := s.Get(t.Context(), "k", key); !errors.Is(err, approvals.ErrNotFound) {
			t.Errorf("Get %s: %v, want %v", key, err, approvals.ErrNotFound)
		}
	}
	if got, err := s.Request(t.Context(), r.ID); err != nil || got.State != approvals.Pending {
		t.Errorf("request: %v, %v, want it pending", got, err)
	}
	if found, err := s.List(t.Context(), approvals.Query{}); err != nil || len(found) != 1 {
		t.Errorf("List: %v, %v, want the one request", found, err)
	}
	if err := s.Apply(t.Context(), put("1")); err != nil {
		t.Errorf("Apply afterwards: %v", err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestContextWhileWaiting gives up while the commit is held: the caller goes, the write is still made.
func TestContextWhileWaiting(t *testing.T) {
	s, g, shut := gated(t)
	shut.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	go func() { answered <- s.Apply(ctx, put("1")) }()
	<-g.entered
	cancel()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Errorf("Apply: %v, want %v", err, context.Canceled)
	}
	shut.Store(false)
	g.leave <- nil
	if err := s.Apply(t.Context(), put("1")); !errors.Is(err, approvals.ErrConflict) {
		t.Errorf("Apply again: %v, want %v", err, approvals.ErrConflict)
	}
}

// TestCloseWaits closes the store while one write is held at its commit and another one is queued: both are made.
func TestCloseWaits(t *testing.T) {
	s, g, shut := gated(t)
	shut.Store(true)
	errs := make(chan error, 3)
	go func() { errs <- s.Apply(context.Background(), put("held")) }()
	<-g.entered
	go func() { errs <- s.Apply(context.Background(), put("queued")) }()
	for bolt.Waiting(s) < 1 {
		runtime.Gosched()
	}
	go func() { errs <- s.Close() }()
	for !bolt.Closing(s) {
		runtime.Gosched()
	}
	g.leave <- nil
	<-g.entered
	g.leave <- nil
	for range 3 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// TestCloseInTheMiddle closes the store while writes are on their way: each of them is made or refused, none is forgotten.
func TestCloseInTheMiddle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "assent.db")
	s := openWith(t, path, bolt.Options{})
	const n = 200
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = s.Apply(context.Background(), put(fmt.Sprint(i))) })
	}
	runtime.Gosched()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	s = openWith(t, path, bolt.Options{})
	for i, err := range errs {
		_, found := s.Get(t.Context(), "k", fmt.Sprint(i))
		switch {
		case err == nil && found != nil:
			t.Errorf("write %d was acknowledged and is %v", i, found)
		case err != nil && !errors.Is(err, approvals.ErrUnavailable):
			t.Errorf("write %d: %v", i, err)
		case err != nil && found == nil:
			t.Errorf("write %d was refused and is there", i)
		}
	}
}
