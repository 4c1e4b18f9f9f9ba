package web

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"assent/approvals"
)

// onSession enrols a browser of Ann on a sign-in, which has a record as the pages keep one.
func (w *world) onSession(session string) (endpoint string, still approvals.Write) {
	w.t.Helper()
	b := w.browser()
	check(w.t, w.web.Subscribe(w.t.Context(), "ann", "Firefox (Linux)", b.JSON()))
	_, test := w.last()
	check(w.t, w.store.Apply(w.t.Context(), approvals.PutAny("session", session, []byte("{}"), time.Time{})))
	rec, err := w.store.Get(w.t.Context(), "session", session)
	check(w.t, err)
	still = approvals.Expect("session", session, rec.Revision)
	check(w.t, w.web.Arrived(w.t.Context(), "ann", test.Proof, session, still))
	return b.Endpoint, still
}

func (w *world) isTold(endpoint string) bool {
	w.t.Helper()
	told, err := w.web.Verified(w.t.Context(), "ann", endpoint)
	check(w.t, err)
	return told
}

func is(session string) func(string) bool { return func(s string) bool { return s == session } }

// TestSilence: the browsers on a sign-in that ends are told no more, in the transaction that ends it; the others are, and so
// is one of which no sign-in is known.
func TestSilence(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	one, _ := w.onSession("one")
	two, still := w.onSession("two")
	before := w.browser()
	check(t, w.web.Subscribe(ctx, "ann", "Firefox (Linux)", before.JSON()))
	_, test := w.last()
	check(t, w.web.Arrived(ctx, "ann", test.Proof, ""))

	end := approvals.Delete("session", "one", 99) // somebody was faster
	if err := w.web.Silence(ctx, "ann", is("one"), end); !errors.Is(err, approvals.ErrConflict) || !w.isTold(one) {
		t.Errorf("the session goes on: %v, told %t", err, w.isTold(one))
	}
	check(t, w.web.Silence(ctx, "ann", is("one"), approvals.Delete("session", "one", approvals.AnyRevision)))
	if _, err := w.store.Get(ctx, "session", "one"); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("session that ended: %v", err)
	}
	if w.isTold(one) || !w.isTold(two) || !w.isTold(before.Endpoint) || len(w.person("ann").Addresses) != 2 {
		t.Errorf("told %t, %t, %t", w.isTold(one), w.isTold(two), w.isTold(before.Endpoint))
	}
	check(t, w.web.Tie(ctx, "ann", before.Endpoint, "two", still))
	check(t, w.web.Tie(ctx, "min", two, "three")) // not hers
	check(t, w.web.Silence(ctx, "ann", is("two")))
	if w.isTold(two) || w.isTold(before.Endpoint) {
		t.Error("told on a sign-in that ended")
	}
	check(t, w.web.Silence(ctx, "nobody", is("two"), approvals.Delete("session", "two", approvals.AnyRevision)))
}

// TestSilenceSeesWhatCame: a test that comes back while its sign-in ends is too late, or the browser is silenced with it;
// never is it told on a sign-in that is over.
func TestSilenceSeesWhatCame(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	for range 20 {
		b := w.browser()
		check(t, w.web.Subscribe(ctx, "ann", "Firefox (Linux)", b.JSON()))
		_, test := w.last()
		check(t, w.store.Apply(ctx, approvals.PutAny("session", "s", []byte("{}"), time.Time{})))
		rec, err := w.store.Get(ctx, "session", "s")
		check(t, err)
		done := make(chan error)
		go func() {
			done <- w.web.Arrived(ctx, "ann", test.Proof, "s", approvals.Expect("session", "s", rec.Revision))
		}()
		check(t, w.web.Silence(ctx, "ann", is("s"), approvals.Delete("session", "s", approvals.AnyRevision)))
		if err := <-done; err != nil && !errors.Is(err, approvals.ErrConflict) {
			t.Errorf("Arrived: %v", err)
		}
		if w.isTold(b.Endpoint) || len(w.person("ann").Addresses) != 0 {
			t.Fatal("told on a sign-in that is over")
		}
	}
}

// TestKeptBefore: what was kept before there were sign-ins with it is read as it was.
func TestKeptBefore(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	w.enrol("ann", b)
	rec, err := w.store.Get(t.Context(), kindSubscription, w.web.nameOf(b.Endpoint))
	check(t, err)
	var kept map[string]any
	check(t, json.Unmarshal(rec.Value, &kept))
	if _, has := kept["session"]; has {
		t.Fatal("an empty sign-in is kept")
	}
	check(t, w.web.Silence(t.Context(), "ann", func(string) bool { return true }))
	if !w.isTold(b.Endpoint) {
		t.Error("a browser of before is told no more")
	}
}
