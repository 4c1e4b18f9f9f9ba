package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"assent/approvals"
	"assent/store"
)

// model is what a store must look like from outside: a map.
type model map[string]approvals.Record // by kind, "/", key

func (m model) at(kind, key string, now time.Time) (approvals.Record, bool) {
	rec, found := m[kind+"/"+key]
	if found && !rec.Expires.IsZero() && !now.Before(rec.Expires) {
		return approvals.Record{}, false
	}
	return rec, found
}

// apply is the contract of [approvals.Records] in a few lines.
func (m model) apply(now time.Time, writes []approvals.Write) (model, error) {
	next := model{}
	for at, rec := range m {
		next[at] = rec
	}
	for _, w := range writes {
		rec, found := next.at(w.Kind, w.Key, now)
		if w.Revision != approvals.AnyRevision && w.Revision != rec.Revision {
			return m, approvals.ErrConflict
		}
		if w.Same {
			continue
		}
		delete(next, w.Kind+"/"+w.Key)
		if !w.Gone {
			w.Record.Revision = 1
			if found {
				w.Record.Revision = rec.Revision + 1
			}
			next[w.Kind+"/"+w.Key] = w.Record
		}
	}
	return next, nil
}

func (m model) scan(kind, prefix string, now time.Time) (found []string) {
	for at := range m {
		k, key, _ := strings.Cut(at, "/")
		if rec, ok := m.at(kind, key, now); ok && k == kind && strings.HasPrefix(key, prefix) {
			found = append(found, line(rec))
		}
	}
	slices.Sort(found)
	return found
}

func line(rec approvals.Record) string {
	return fmt.Sprintf("%s %q %d", rec.Key, rec.Value, rec.Revision)
}

// recordsModel makes random writes with random expiries and compares everything that can be read with the model.
func recordsModel(t *testing.T, open Open) {
	rapid.Check(t, func(rt *rapid.T) {
		c := newClock()
		s := open(t, c.now)
		defer s.Close()
		m := model{}
		rt.Repeat(map[string]func(*rapid.T){
			"apply": func(rt *rapid.T) {
				one := rapid.Custom(func(rt *rapid.T) approvals.Write { return someWrite(rt, c) })
				writes := rapid.SliceOfN(one, 1, 4).Draw(rt, "writes")
				next, want := m.apply(c.now(), writes)
				if err := s.Apply(t.Context(), writes...); !errors.Is(err, want) {
					rt.Fatalf("Apply: %v, want %v", err, want)
				}
				m = next
			},
			"wait": func(rt *rapid.T) { c.advance(time.Duration(rapid.IntRange(1, 3).Draw(rt, "seconds")) * time.Second) },
			"prune": func(rt *rapid.T) {
				if _, err := s.Prune(t.Context(), rapid.IntRange(0, 5).Draw(rt, "limit")); err != nil {
					rt.Fatal(err)
				}
			},
			"": func(rt *rapid.T) { compare(rt, t, s, m, c.now()) },
		})
		if err := s.Check(t.Context()); err != nil {
			rt.Fatal(err)
		}
	})
}

var (
	someKind = rapid.SampledFrom([]string{"a", "ab"})
	someKey  = rapid.SampledFrom([]string{"1", "11", "2", "é"})
)

func someWrite(rt *rapid.T, c *clock) approvals.Write {
	w := approvals.Write{Gone: rapid.Bool().Draw(rt, "gone"), Same: rapid.IntRange(0, 3).Draw(rt, "same") == 0}
	w.Kind, w.Key = someKind.Draw(rt, "kind"), someKey.Draw(rt, "key")
	w.Value = []byte(rapid.StringN(0, 3, -1).Draw(rt, "value"))
	w.Revision = rapid.SampledFrom([]uint64{0, 1, 2, approvals.AnyRevision, approvals.AnyRevision}).Draw(rt, "revision")
	if after := rapid.IntRange(0, 4).Draw(rt, "expires after"); after > 0 {
		w.Expires = c.now().Add(time.Duration(after) * time.Second)
	}
	return w
}

func compare(rt *rapid.T, t *testing.T, s store.Store, m model, now time.Time) {
	for _, kind := range []string{"a", "ab"} {
		for _, prefix := range []string{"", "1"} {
			recs, err := s.Scan(t.Context(), kind, prefix, 100)
			if err != nil {
				rt.Fatal(err)
			}
			var got []string
			for _, rec := range recs {
				got = append(got, line(rec))
			}
			if want := m.scan(kind, prefix, now); !slices.Equal(got, want) {
				rt.Fatalf("Scan %s %q: %q, want %q", kind, prefix, got, want)
			}
		}
		for _, key := range []string{"1", "11", "2", "é"} {
			rec, err := s.Get(t.Context(), kind, key)
			if want, found := m.at(kind, key, now); found != (err == nil) || found && line(rec) != line(want) {
				rt.Fatalf("Get %s %s: %s, %v, want %s", kind, key, line(rec), err, line(want))
			}
		}
	}
}
