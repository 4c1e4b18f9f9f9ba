package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"assent/approvals"
	"assent/store"
)

func records(t *testing.T, open Open) {
	tests := []struct {
		name string
		run  func(t *testing.T, s store.Store, c *clock)
	}{
		{"revisions count up", revisions},
		{"a stale revision changes nothing", stale},
		{"all writes or none", allOrNone},
		{"each write sees the ones before it", inOrder},
		{"expired is absent for every reader", expiredIsAbsent},
		{"prune removes what is expired and nothing else", prune},
		{"scan keeps to order, prefix and limit", scanOrder},
		{"pages meet without gap or overlap", scanPages},
		{"values belong to their callers", values},
		{"what no row can hold is refused", refused},
		{"one of twenty makes a record", oneMakes},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock()
			tt.run(t, open(t, c.now), c)
		})
	}
}

func apply(t *testing.T, s store.Store, writes ...approvals.Write) {
	t.Helper()
	if err := s.Apply(t.Context(), writes...); err != nil {
		t.Fatalf("Apply: %v", err)
	}
}

func wantConflict(t *testing.T, s store.Store, what string, writes ...approvals.Write) {
	t.Helper()
	wantError(t, what, s.Apply(t.Context(), writes...), approvals.ErrConflict)
}

var never time.Time

func revisions(t *testing.T, s store.Store, c *clock) {
	apply(t, s, approvals.PutNew("k", "1", []byte("a"), never))
	rec := wantRecord(t, s, "k", "1", "a")
	if rec.Revision != 1 || rec.Kind != "k" || rec.Key != "1" || !rec.Expires.IsZero() {
		t.Errorf("got %+v, want k 1, revision 1, no expiry", rec)
	}
	apply(t, s, approvals.Replace(rec, []byte("b"), c.now().Add(time.Hour)))
	rec = wantRecord(t, s, "k", "1", "b")
	if rec.Revision != 2 || !rec.Expires.Equal(c.now().Add(time.Hour)) {
		t.Errorf("got revision %d, expiry %v, want 2 and in an hour", rec.Revision, rec.Expires)
	}
	apply(t, s, approvals.PutAny("k", "1", []byte("c"), never))
	if rec = wantRecord(t, s, "k", "1", "c"); rec.Revision != 3 {
		t.Errorf("got revision %d, want 3", rec.Revision)
	}
	apply(t, s, approvals.Delete("k", "1", 3))
	wantNoRecord(t, s, "k", "1")
	apply(t, s, approvals.PutAny("k", "1", nil, never))
	if rec = wantRecord(t, s, "k", "1", ""); rec.Revision != 1 {
		t.Errorf("got revision %d after a delete, want 1", rec.Revision)
	}
}

func stale(t *testing.T, s store.Store, c *clock) {
	apply(t, s, approvals.PutNew("k", "1", []byte("a"), never))
	old := wantRecord(t, s, "k", "1", "a")
	apply(t, s, approvals.Replace(old, []byte("b"), never))
	wantConflict(t, s, "replace an old revision", approvals.Replace(old, []byte("x"), never))
	wantConflict(t, s, "make one that is there", approvals.PutNew("k", "1", []byte("x"), never))
	wantConflict(t, s, "delete an old revision", approvals.Delete("k", "1", old.Revision))
	wantConflict(t, s, "delete one that must be absent", approvals.Delete("k", "1", 0))
	gone := approvals.Record{Kind: "k", Key: "2", Revision: 1}
	wantConflict(t, s, "replace one that is absent", approvals.Replace(gone, nil, never))
	wantConflict(t, s, "delete one that is absent", approvals.Delete("k", "2", 1))
	apply(t, s, approvals.Delete("k", "2", approvals.AnyRevision), approvals.Delete("k", "2", 0))
	wantRecord(t, s, "k", "1", "b")
}

func allOrNone(t *testing.T, s store.Store, c *clock) {
	apply(t, s, approvals.PutNew("k", "old", []byte("a"), never))
	wantConflict(t, s, "Apply", approvals.PutNew("k", "new", nil, never), approvals.PutAny("k", "old", []byte("b"), never),
		approvals.Delete("k", "old", approvals.AnyRevision), approvals.Delete("k", "absent", 7))
	wantNoRecord(t, s, "k", "new")
	wantRecord(t, s, "k", "old", "a")
	if err := s.Apply(t.Context()); err != nil {
		t.Errorf("Apply of nothing: %v", err)
	}
}

func inOrder(t *testing.T, s store.Store, c *clock) {
	soon := c.now().Add(time.Minute)
	apply(t, s, approvals.PutNew("k", "1", []byte("a"), soon), approvals.Delete("k", "1", 1),
		approvals.PutNew("k", "1", []byte("b"), soon), approvals.PutAny("k", "1", []byte("c"), never))
	if rec := wantRecord(t, s, "k", "1", "c"); rec.Revision != 2 {
		t.Errorf("revision %d, want 2", rec.Revision)
	}
	wantConflict(t, s, "make it twice", approvals.PutNew("k", "2", nil, never), approvals.PutNew("k", "2", nil, never))
	c.advance(time.Hour)
	wantRecord(t, s, "k", "1", "c") // the expiry that was overwritten is gone
	if n, err := s.Prune(t.Context(), 10); n != 0 || err != nil {
		t.Errorf("Prune: %d, %v, want 0", n, err)
	}
}

func expiredIsAbsent(t *testing.T, s store.Store, c *clock) {
	end := c.now().Add(time.Minute)
	apply(t, s, approvals.PutNew("k", "1", []byte("a"), end), approvals.PutNew("k", "2", []byte("b"), never))
	old := wantRecord(t, s, "k", "1", "a")
	c.advance(time.Minute - time.Millisecond)
	wantRecord(t, s, "k", "1", "a")
	c.advance(time.Millisecond) // at its expiry it is gone
	wantNoRecord(t, s, "k", "1")
	wantKeys(t, "Scan", scan(t, s, "k", "", 10), "2")
	wantKeys(t, "ScanAfter", scanAfter(t, s, "k", "", 10), "2")
	wantKeys(t, "Scan with a limit", scan(t, s, "k", "", 1), "2")
	wantConflict(t, s, "replace an expired one", approvals.Replace(old, []byte("x"), never))
	wantConflict(t, s, "delete an expired one", approvals.Delete("k", "1", 1))
	apply(t, s, approvals.Delete("k", "1", 0))
	apply(t, s, approvals.PutNew("k", "1", []byte("c"), never))
	if rec := wantRecord(t, s, "k", "1", "c"); rec.Revision != 1 {
		t.Errorf("revision %d, want 1", rec.Revision)
	}
}

func prune(t *testing.T, s store.Store, c *clock) {
	for i := range 5 {
		apply(t, s, approvals.PutNew("k", fmt.Sprint("short", i), nil, c.now().Add(time.Duration(5-i)*time.Second)))
	}
	apply(t, s, approvals.PutNew("k", "long", nil, c.now().Add(time.Hour)), approvals.PutNew("k", "ever", nil, never))
	wantPruned(t, s, 10, 0)
	c.advance(3 * time.Second)
	wantPruned(t, s, 2, 2) // the two that expired first
	wantPruned(t, s, 10, 1)
	wantKeys(t, "Scan", scan(t, s, "k", "", 10), "ever", "long", "short0", "short1")
	c.advance(time.Minute)
	wantPruned(t, s, 0, 0)
	wantPruned(t, s, 10, 2)
	wantPruned(t, s, 10, 0)
	wantKeys(t, "Scan", scan(t, s, "k", "", 10), "ever", "long")
}

func wantPruned(t *testing.T, s store.Store, limit, want int) {
	t.Helper()
	if n, err := s.Prune(t.Context(), limit); n != want || err != nil {
		t.Errorf("Prune %d: %d, %v, want %d", limit, n, err, want)
	}
}

func keysOf(recs []approvals.Record) (keys []string) {
	for _, rec := range recs {
		keys = append(keys, rec.Key)
	}
	return keys
}

func scan(t *testing.T, s store.Store, kind, prefix string, limit int) []string {
	t.Helper()
	recs, err := s.Scan(t.Context(), kind, prefix, limit)
	if err != nil {
		t.Fatalf("Scan: %v", err)
	}
	return keysOf(recs)
}

func scanAfter(t *testing.T, s store.Store, kind, after string, limit int) []string {
	t.Helper()
	recs, err := s.ScanAfter(t.Context(), kind, after, limit)
	if err != nil {
		t.Fatalf("ScanAfter: %v", err)
	}
	return keysOf(recs)
}

func wantKeys(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func scanOrder(t *testing.T, s store.Store, c *clock) {
	for _, key := range []string{"b", "a/2", "a", "a/10", "ä", "B", "a/", "~"} {
		apply(t, s, approvals.PutNew("k", key, nil, never), approvals.PutNew("k.other", key, nil, never))
	}
	wantKeys(t, "all, by bytes", scan(t, s, "k", "", 10), "B", "a", "a/", "a/10", "a/2", "b", "~", "ä")
	wantKeys(t, "a prefix", scan(t, s, "k", "a/", 10), "a/", "a/10", "a/2")
	wantKeys(t, "a limit", scan(t, s, "k", "a", 2), "a", "a/")
	wantKeys(t, "nothing", scan(t, s, "k", "c", 10))
	wantKeys(t, "a limit of nothing", scan(t, s, "k", "", 0))
	wantKeys(t, "a kind that begins another", scan(t, s, "k.", "", 10))
	wantKeys(t, "after a key", scanAfter(t, s, "k", "a/10", 10), "a/2", "b", "~", "ä")
	wantKeys(t, "after a key that is gone", scanAfter(t, s, "k", "a/100", 2), "a/2", "b")
	wantKeys(t, "after the last", scanAfter(t, s, "k", "ä", 10))
}

func scanPages(t *testing.T, s store.Store, c *clock) {
	var want []string
	for i := range 25 {
		key := fmt.Sprintf("%03d", i)
		expires := never
		if i%5 == 4 {
			expires = c.now().Add(time.Second)
		} else {
			want = append(want, key)
		}
		apply(t, s, approvals.PutNew("k", key, nil, expires))
	}
	c.advance(time.Minute)
	var got []string
	for after := ""; ; after = got[len(got)-1] {
		page := scanAfter(t, s, "k", after, 3)
		if len(page) == 0 {
			break
		}
		got = append(got, page...)
	}
	wantKeys(t, "pages of three", got, want...)
}

func values(t *testing.T, s store.Store, c *clock) {
	mine := []byte("a")
	apply(t, s, approvals.PutNew("k", "1", mine, never))
	mine[0] = 'x'
	theirs := wantRecord(t, s, "k", "1", "a").Value
	theirs[0] = 'y'
	wantRecord(t, s, "k", "1", "a")
}

func refused(t *testing.T, s store.Store, c *clock) {
	tests := []struct {
		name string
		w    approvals.Write
	}{
		{"no kind", approvals.PutNew("", "1", nil, never)},
		{"no key", approvals.PutNew("k", "", nil, never)},
		{"a key of 513 bytes", approvals.PutNew("k", strings.Repeat("k", 513), nil, never)},
		{"NUL in the kind", approvals.PutNew("k\x00k", "1", nil, never)},
		{"NUL in the key", approvals.PutNew("k", "1\x00", nil, never)},
		{"a key that is no UTF-8", approvals.PutNew("k", "\xff", nil, never)},
		{"a value over 1 MiB", approvals.PutNew("k", "1", make([]byte, 1<<20+1), never)},
		{"an expiry that no index can hold", approvals.PutNew("k", "1", nil, time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC))},
		{"an expiry before all time", approvals.PutNew("k", "1", nil, time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantError(t, "Apply", s.Apply(t.Context(), approvals.PutNew("k", "beside", nil, never), tt.w), approvals.ErrInvalid)
			wantNoRecord(t, s, "k", "beside")
		})
	}
	apply(t, s, approvals.PutNew("k", strings.Repeat("k", 512), make([]byte, 1<<20), never))
}

func oneMakes(t *testing.T, s store.Store, c *clock) {
	won := 0
	for i, err := range together(20, func(i int) error {
		return s.Apply(t.Context(), approvals.PutNew("k", "1", fmt.Append(nil, i), never))
	}) {
		if err == nil {
			won++
			wantRecord(t, s, "k", "1", fmt.Sprint(i))
			continue
		}
		wantError(t, "a loser", err, approvals.ErrConflict)
	}
	if won != 1 {
		t.Errorf("%d of 20 made it", won)
	}
}
