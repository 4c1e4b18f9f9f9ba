package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"assent/approvals"
)

// queued is a service whose store holds n requests of people and agents in turn, every tenth of them pending. Its
// people have no addresses.
func queued(tb testing.TB, n int) *service {
	tb.Helper()
	var cfg Config
	s := newService(cfg, slog.New(slog.DiscardHandler))
	s.cfg.Data = filepath.Join(tb.TempDir(), "data")
	for _, open := range []func(*service) error{
		func(s *service) error { return s.openData(tb.Context()) },
		func(s *service) error { return s.openStore(tb.Context()) },
		func(s *service) error { return s.openDesk(tb.Context()) },
	} {
		if err := open(s); err != nil {
			tb.Fatal(err)
		}
	}
	tb.Cleanup(func() { s.close() })
	var people [20]*approvals.Person
	var agents [5]*approvals.Agent
	for i := range people {
		people[i] = &approvals.Person{ID: approvals.PersonID(fmt.Sprintf("u_%d", i)), Name: "Ann", Locale: "en"}
		if err := s.dir.SavePerson(tb.Context(), people[i]); err != nil {
			tb.Fatal(err)
		}
	}
	for i := range agents {
		agents[i] = &approvals.Agent{ID: approvals.AgentID(fmt.Sprintf("bot-%d", i)), Name: "Travel Bot"}
		if err := s.dir.SaveAgent(tb.Context(), agents[i]); err != nil {
			tb.Fatal(err)
		}
	}
	s.desk.Terms = approvals.DefaultTerms()
	s.desk.Terms.MaxOpen = n + 1
	var next atomic.Int64
	var all sync.WaitGroup
	for range 128 {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := openOne(tb, s, agents[i%len(agents)], people[i%len(people)], i%10 != 0); err != nil {
					tb.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return s
}

// openOne opens a request and, unless it is to stay pending, denies it.
func openOne(tb testing.TB, s *service, a *approvals.Agent, p *approvals.Person, deny bool) error {
	r, _, err := s.desk.Open(tb.Context(), approvals.Ask{Agent: a, Subject: p, Scope: []string{"openid"}, Life: time.Hour})
	if err != nil || !deny {
		return err
	}
	_, err = s.desk.Deny(tb.Context(), r.ID, approvals.Answer{By: p.ID, Level: approvals.LevelSession})
	return err
}

// call asks the administration API as a command does.
func (s *service) call(tb testing.TB, target string) (int, string) {
	tb.Helper()
	w := httptest.NewRecorder()
	a := &admin{s: s, log: s.log}
	a.serve(a.listQueue)(w, httptest.NewRequestWithContext(tb.Context(), "GET", target, nil))
	body, err := io.ReadAll(w.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return w.Code, string(body)
}

// TestQueuePages: pages join without gaps or repeats, newest first, and filters select.
func TestQueuePages(t *testing.T) {
	s := queued(t, 300)
	everything := approvals.States()
	tests := []struct {
		name  string
		q     approvals.Query
		stuck bool
		want  int
	}{
		{"all", approvals.Query{States: everything, Limit: 70}, false, 300},
		{"open", approvals.Query{States: openStates, Limit: 7}, false, 30},
		{"an agent's", approvals.Query{States: everything, Agent: "bot-0", Limit: 50}, false, 60},
		{"a person's", approvals.Query{States: everything, Person: "u_10", Limit: 4}, false, 15},
		{"stuck: nobody has an address", approvals.Query{States: openStates, Limit: 8}, true, 30},
		{"nobody's", approvals.Query{States: everything, Person: "nobody", Limit: 4}, false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []approvals.ID
			for q := tt.q; ; {
				page, err := s.queue(t.Context(), q, tt.stuck)
				if err != nil {
					t.Fatal(err)
				}
				for _, row := range page.Requests {
					got = append(got, row.Request)
				}
				if q.Before = page.Next; page.Next == "" {
					break
				}
			}
			sorted := slices.IsSortedFunc(got, func(a, b approvals.ID) int { return cmp.Compare(b, a) })
			if len(got) != tt.want || !sorted || len(slices.Compact(got)) != tt.want {
				t.Errorf("%d requests, newest first %t; want %d, each once", len(got), sorted, tt.want)
			}
		})
	}
	for _, target := range []string{"/queue?state=lost", "/queue?state=all&limit=0", "/queue?state=all&limit=1001",
		"/queue?state=all&limit=x", "/queue?state=denied&stuck=true"} {
		if code, body := s.call(t, target); code != 400 {
			t.Errorf("%s: %d %s, want 400", target, code, body)
		}
	}
}

// TestQueueFind: an operator hears a short name on the phone, and types it in any case, with or without its dash. One that
// is not unique is refused with the ids that it stands for.
func TestQueueFind(t *testing.T) {
	s := queued(t, 60)
	page, err := s.queue(t.Context(), approvals.Query{States: approvals.States(), Limit: 60}, false)
	if err != nil {
		t.Fatal(err)
	}
	open, all := map[string]int{}, map[string]int{}
	for _, row := range page.Requests {
		all[row.Ref]++
		if row.State == approvals.Pending {
			open[row.Ref]++
		}
	}
	for _, row := range page.Requests {
		for _, name := range []string{string(row.Request), row.Ref, strings.ToLower(row.Ref[:2] + row.Ref[3:])} {
			r, err := s.find(t.Context(), name)
			among := all
			if open[row.Ref] > 0 {
				among = open
			}
			switch unique := among[row.Ref] == 1 || name == string(row.Request); {
			case !unique && !errors.Is(err, approvals.ErrInvalid):
				t.Errorf("%s: %v, %v; want it refused", name, r, err)
			case unique && (err != nil || name == string(row.Request) && r.ID != row.Request || r.ID.Ref() != row.Ref):
				t.Errorf("%s: %v, %v; want %s", name, r, err, row.Request)
			}
		}
	}
	for _, name := range []string{"BB-00", "nothing", "  ", "K7-42"} { // B is no letter of short names
		if _, err := s.find(t.Context(), name); !errors.Is(err, approvals.ErrNotFound) {
			t.Errorf("%q: %v, want %v", name, err, approvals.ErrNotFound)
		}
	}
}

// BenchmarkQueue reads the first page of 50 out of 100,000 stored requests, a tenth of them pending, with what each
// waits for.
func BenchmarkQueue(b *testing.B) {
	s := queued(b, 100_000)
	for name, target := range map[string]string{"open": "/queue?state=open", "all": "/queue?state=all", "stuck": "/queue?state=open&stuck=true",
		"agent": "/queue?state=all&agent=bot-3", "person": "/queue?state=open&person=u_10"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if code, body := s.call(b, target); code != 200 || len(body) < 1000 {
					b.Fatalf("%d %s", code, body)
				}
			}
		})
	}
}
