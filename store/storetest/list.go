package storetest

import (
	"slices"
	"testing"
	"time"

	"assent/approvals"
	"assent/store"
)

func wantList(t *testing.T, s store.Store, q approvals.Query, want ...approvals.ID) {
	t.Helper()
	found, err := s.List(t.Context(), q)
	if err != nil {
		t.Fatalf("List %+v: %v", q, err)
	}
	var got []approvals.ID
	for _, r := range found {
		got = append(got, r.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("List %+v: %v, want %v", q, got, want)
	}
}

// list creates requests of two people and two agents in several states, oldest first, and asks for them.
func list(t *testing.T, open Open) {
	c := newClock()
	s := open(t, c.now)
	opened := func(who approvals.PersonID, agent approvals.AgentID, change func(*approvals.Request) error) approvals.ID {
		c.advance(time.Second)
		r := ask(c.now(), who, agent)
		create(t, s, r)
		if change != nil {
			update(t, s, r.ID, change)
		}
		return r.ID
	}
	yes := func(r *approvals.Request) error { return approve(c.now(), r.Subject)(r) }
	no := func(r *approvals.Request) error { return r.Deny(approvals.Decision{By: r.Subject}, c.now()) }
	a1 := opened(ann, travel, nil)
	a2 := opened(ann, books, yes)
	b1 := opened(bob, travel, no)
	a3 := opened(ann, travel, no)
	b2 := opened(bob, books, nil)
	a4 := opened(ann, travel, nil)
	opened("an", "travel", nil) // a name that begins another one's must not show up among its requests
	opened("annie", "travel-bot-2", nil)
	opened("", "", nil)

	pending := []approvals.State{approvals.Pending}
	tests := []struct {
		name string
		q    approvals.Query
		want []approvals.ID
	}{
		{"a person", approvals.Query{Person: ann}, []approvals.ID{a4, a3, a2, a1}},
		{"a person's open requests", approvals.Query{Person: ann, States: pending}, []approvals.ID{a4, a1}},
		{"two states, one named twice", approvals.Query{Person: ann, States: []approvals.State{approvals.Denied,
			approvals.Approved, approvals.Denied}}, []approvals.ID{a3, a2}},
		{"an agent", approvals.Query{Agent: travel}, []approvals.ID{a4, a3, b1, a1}},
		{"an agent's open requests", approvals.Query{Agent: travel, States: pending}, []approvals.ID{a4, a1}},
		{"person and agent", approvals.Query{Person: ann, Agent: travel}, []approvals.ID{a4, a3, a1}},
		{"person, agent and state", approvals.Query{Person: bob, Agent: travel, States: []approvals.State{approvals.Denied}},
			[]approvals.ID{b1}},
		{"a state", approvals.Query{States: []approvals.State{approvals.Denied}}, []approvals.ID{a3, b1}},
		{"the newest two", approvals.Query{Person: ann, Limit: 2}, []approvals.ID{a4, a3}},
		{"the next page", approvals.Query{Person: ann, Limit: 2, Before: a3}, []approvals.ID{a2, a1}},
		{"after the last page", approvals.Query{Person: ann, Before: a1}, nil},
		{"everything before", approvals.Query{Before: b2}, []approvals.ID{a3, b1, a2, a1}},
		{"before an id that is gone", approvals.Query{Person: bob, Before: a4}, []approvals.ID{b2, b1}},
		{"nobody", approvals.Query{Person: "nobody"}, nil},
		{"a state nobody is in", approvals.Query{Person: ann, States: []approvals.State{approvals.Redeemed}}, nil},
		{"a state that does not exist", approvals.Query{States: []approvals.State{"pend"}}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantList(t, s, tt.q, tt.want...) })
	}
	t.Run("person and agent among many", func(t *testing.T) { pairs(t, open) })
	t.Run("limits", func(t *testing.T) {
		for _, limit := range []int{-1, 1001} {
			_, err := s.List(t.Context(), approvals.Query{Limit: limit})
			wantError(t, "List", err, approvals.ErrInvalid)
		}
	})
}

// pairs finds what a person and an agent have in common: little of what either of them has.
func pairs(t *testing.T, open Open) {
	c := newClock()
	s := open(t, c.now)
	opened := func(who approvals.PersonID, agent approvals.AgentID, denied bool) approvals.ID {
		c.advance(time.Second)
		r := ask(c.now(), who, agent)
		create(t, s, r)
		if denied {
			update(t, s, r.ID, func(r *approvals.Request) error { return r.Deny(approvals.Decision{By: who}, c.now()) })
		}
		return r.ID
	}
	var both []approvals.ID // of Ann and the travel agent, newest first
	for i := range 120 {
		switch { // runs of foreign rows of either side, and of both
		case i%40 == 17, i%40 == 18:
			both = slices.Insert(both, 0, opened(ann, travel, i%40 == 18))
		case i < 60:
			opened(ann, books, i%3 == 0)
		case i%2 == 0:
			opened(bob, travel, i%3 == 0)
		default:
			opened(ann, books, i%5 == 0)
		}
	}
	pending, denied := []approvals.State{approvals.Pending}, []approvals.State{approvals.Denied}
	q := approvals.Query{Person: ann, Agent: travel}
	wantList(t, s, q, both...)
	wantList(t, s, approvals.Query{Person: ann, Agent: travel, States: pending}, both[1], both[3], both[5])
	wantList(t, s, approvals.Query{Person: ann, Agent: travel, States: denied}, both[0], both[2], both[4])
	wantList(t, s, approvals.Query{Person: bob, Agent: books})
	for _, q.Limit = range []int{1, 2, 4} { // page by page
		var got []approvals.ID
		for q.Before = ""; ; q.Before = got[len(got)-1] {
			page, err := s.List(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			for _, r := range page {
				got = append(got, r.ID)
			}
		}
		if !slices.Equal(got, both) {
			t.Errorf("in pages of %d: %v, want %v", q.Limit, got, both)
		}
	}
}
