package storetest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"assent/approvals"
	"assent/store"
)

func outbox(t *testing.T, open Open) {
	tests := []struct {
		name string
		run  func(t *testing.T, s store.Store, c *clock)
	}{
		{"events leave in the order of their commits", unsentOrder},
		{"sent rows go and audit records stay", sent},
		{"sequence numbers are never used again", sequence},
		{"events are whole", eventIsWhole},
		{"concurrent transitions leave one event each", eventsOnce},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock()
			tt.run(t, open(t, c.now), c)
		})
	}
}

func unsent(t *testing.T, s store.Store, after uint64, limit int) []approvals.Event {
	t.Helper()
	events, err := s.Unsent(t.Context(), after, limit)
	if err != nil {
		t.Fatalf("Unsent: %v", err)
	}
	return events
}

func wantUnsent(t *testing.T, s store.Store, after uint64, limit int, want ...string) {
	t.Helper()
	var got []string
	for _, e := range unsent(t, s, after, limit) {
		got = append(got, e.ID())
	}
	if !slices.Equal(got, want) {
		t.Errorf("Unsent after %d: %v, want %v", after, got, want)
	}
}

func event(r *approvals.Request, n uint64) string { return approvals.Event{Request: r.ID, N: n}.ID() }

func unsentOrder(t *testing.T, s store.Store, c *clock) {
	wantUnsent(t, s, 0, 10)
	a, b := opened(t, s, c), opened(t, s, c)
	update(t, s, b.ID, approve(c.now(), ann))
	update(t, s, a.ID, func(r *approvals.Request) error { // two events of one change keep their order
		if err := r.Record(approvals.Delivery{Channel: "sms", At: c.now()}); err != nil {
			return err
		}
		return approve(c.now(), ann)(r)
	})
	wantUnsent(t, s, 0, 10, event(a, 1), event(b, 1), event(b, 2), event(a, 2), event(a, 3))
	wantUnsent(t, s, 0, 2, event(a, 1), event(b, 1))
	second := unsent(t, s, 0, 2)[1].Seq
	wantUnsent(t, s, second, 2, event(b, 2), event(a, 2))
	wantUnsent(t, s, second+1000, 2)
	wantUnsent(t, s, 0, 0)
}

func sent(t *testing.T, s store.Store, c *clock) {
	a, b := opened(t, s, c), opened(t, s, c)
	update(t, s, a.ID, approve(c.now(), ann))
	events := unsent(t, s, 0, 10)
	for range 2 { // the second time does no harm
		if err := s.Sent(t.Context(), events[0].Seq, events[2].Seq); err != nil {
			t.Fatalf("Sent: %v", err)
		}
		wantUnsent(t, s, 0, 10, event(b, 1))
	}
	if err := s.Sent(t.Context()); err != nil {
		t.Errorf("Sent of nothing: %v", err)
	}
	wantTrail(t, s, a.ID, approvals.KindOpened, "approved")
	wantTrail(t, s, b.ID, approvals.KindOpened)
}

func sequence(t *testing.T, s store.Store, c *clock) {
	last := uint64(0)
	for range 3 {
		opened(t, s, c)
		events := unsent(t, s, 0, 10)
		if len(events) != 1 || events[0].Seq <= last {
			t.Fatalf("got %v after %d", events, last)
		}
		last = events[0].Seq
		if err := s.Sent(t.Context(), last); err != nil {
			t.Fatalf("Sent: %v", err)
		}
	}
}

func eventIsWhole(t *testing.T, s store.Store, c *clock) {
	r := opened(t, s, c)
	update(t, s, r.ID, approve(c.now(), ann))
	e := unsent(t, s, 0, 10)[1]
	if e.V != 1 || e.Request != r.ID || e.N != 2 || e.Kind != "approved" || !e.At.Equal(c.now()) ||
		e.By != (approvals.Actor{Kind: "person", ID: "ann"}) || e.Agent != travel || e.Subject != ann ||
		e.Facts["digest"] != "digest" {
		t.Errorf("unsent: %+v", e)
	}
	events, err := s.Events(t.Context(), r.ID)
	if err != nil || len(events) != 2 || events[1].ID() != e.ID() || events[1].Facts["digest"] != "digest" {
		t.Errorf("trail: %+v, %v", events, err)
	}
}

func eventsOnce(t *testing.T, s store.Store, c *clock) {
	const n = 60
	for _, err := range together(n, func(i int) error {
		r := ask(c.now(), ann, travel)
		r.Open(ann, time.Time{}, c.now())
		if err := s.Create(t.Context(), r); err != nil {
			return err
		}
		_, err := s.Update(t.Context(), r.ID, approve(c.now(), ann))
		return err
	}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	numbers := map[approvals.ID]uint64{}
	events := unsent(t, s, 0, 1000)
	for i, e := range events {
		if i > 0 && e.Seq <= events[i-1].Seq {
			t.Errorf("Seq %d after %d", e.Seq, events[i-1].Seq)
		}
		if numbers[e.Request]++; numbers[e.Request] != e.N {
			t.Errorf("%s came as number %d", e.ID(), numbers[e.Request])
		}
	}
	if len(events) != 2*n || len(numbers) != n {
		t.Errorf("%d events of %d requests, want %d of %d", len(events), len(numbers), 2*n, n)
	}
}

// service is about the store as a whole: contexts, Close, Check, Backup.
func service(t *testing.T, open Open) {
	t.Run("a context that has ended", func(t *testing.T) {
		c := newClock()
		s := open(t, c.now)
		r := opened(t, s, c)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for what, err := range everyCall(ctx, s, c, r.ID) {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v, want %v", what, err, context.Canceled)
			}
		}
		same(t, "the request", read(t, s, r.ID), r)
	})
	t.Run("closed", func(t *testing.T) {
		c := newClock()
		s := open(t, c.now)
		r := opened(t, s, c)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for what, err := range everyCall(t.Context(), s, c, r.ID) {
			if !errors.Is(err, approvals.ErrUnavailable) {
				t.Errorf("%s: %v, want %v", what, err, approvals.ErrUnavailable)
			}
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close again: %v", err)
		}
	})
}

// everyCall makes each call once and returns the errors.
func everyCall(ctx context.Context, s store.Store, c *clock, id approvals.ID) map[string]error {
	errs := map[string]error{
		"Create": s.Create(ctx, ask(c.now(), ann, travel)),
		"Apply":  s.Apply(ctx, approvals.PutNew("k", "1", nil, time.Time{})),
		"Sent":   s.Sent(ctx, 1),
		"Check":  s.Check(ctx),
		"Backup": s.Backup(ctx, nowhere{}),
	}
	_, errs["Request"] = s.Request(ctx, id)
	_, errs["Update"] = s.Update(ctx, id, func(*approvals.Request) error { return nil })
	_, errs["List"] = s.List(ctx, approvals.Query{})
	_, errs["Get"] = s.Get(ctx, "k", "1")
	_, errs["Scan"] = s.Scan(ctx, "k", "", 1)
	_, errs["ScanAfter"] = s.ScanAfter(ctx, "k", "", 1)
	_, errs["Unsent"] = s.Unsent(ctx, 0, 1)
	_, errs["Events"] = s.Events(ctx, id)
	_, errs["Prune"] = s.Prune(ctx, 1)
	return errs
}

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
