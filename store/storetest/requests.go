package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"assent/approvals"
	"assent/store"
)

func requests(t *testing.T, open Open) {
	tests := []struct {
		name string
		run  func(t *testing.T, s store.Store, c *clock)
	}{
		{"what was created is read back", createAndRead},
		{"an unknown id is not found", unknownID},
		{"an id is taken once", idTaken},
		{"a transition writes request, event and records", transition},
		{"an error of change leaves nothing", changeRefused},
		{"a conflict of a record leaves nothing", writeConflict},
		{"a forgotten request leaves its trail only", forgotten},
		{"every update counts", updateCounts},
		{"what was read stays what it was", readStays},
		{"a kept request is a condition of its writes", kept},
		{"a kept request that somebody changes is read again", keptRace},
		{"a step that moves to the same key stays", sameStep},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock()
			tt.run(t, open(t, c.now), c)
		})
	}
}

// same compares requests by what is stored of them.
func same(t *testing.T, what string, got, want *approvals.Request) {
	t.Helper()
	if g, w := stored(t, got), stored(t, want); g != w {
		t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}

func stored(t *testing.T, r *approvals.Request) string {
	t.Helper()
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// opened creates a request whose page has been opened, so that it has one event.
func opened(t *testing.T, s store.Store, c *clock) *approvals.Request {
	t.Helper()
	r := ask(c.now(), ann, travel)
	r.Open(ann, time.Time{}, c.now())
	create(t, s, r)
	return r
}

func create(t *testing.T, s store.Store, r *approvals.Request) {
	t.Helper()
	if err := s.Create(t.Context(), r); err != nil {
		t.Fatalf("Create: %v", err)
	}
}

func read(t *testing.T, s store.Store, id approvals.ID) *approvals.Request {
	t.Helper()
	r, err := s.Request(t.Context(), id)
	if err != nil {
		t.Fatalf("Request: %v", err)
	}
	return r
}

func update(t *testing.T, s store.Store, id approvals.ID, change func(*approvals.Request) error) *approvals.Request {
	t.Helper()
	r, err := s.Update(t.Context(), id, change)
	if err != nil {
		t.Fatalf("Update: %v", err)
	}
	return r
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// trail returns the kinds of a request's audit records, and checks their numbers.
func trail(t *testing.T, s store.Store, id approvals.ID) []string {
	t.Helper()
	events, err := s.Events(t.Context(), id)
	if err != nil {
		t.Fatalf("Events: %v", err)
	}
	kinds := []string{}
	for i, e := range events {
		if e.N != uint64(i+1) || e.Request != id {
			t.Errorf("event %d is %s", i+1, e.ID())
		}
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

func wantTrail(t *testing.T, s store.Store, id approvals.ID, want ...string) {
	t.Helper()
	if got := trail(t, s, id); !slices.Equal(got, want) {
		t.Errorf("trail %v, want %v", got, want)
	}
}

func wantRecord(t *testing.T, s store.Store, kind, key, value string) approvals.Record {
	t.Helper()
	rec, err := s.Get(t.Context(), kind, key)
	if err != nil || string(rec.Value) != value {
		t.Errorf("Get %s %s: %q, %v, want %q", kind, key, rec.Value, err, value)
	}
	return rec
}

func wantNoRecord(t *testing.T, s store.Store, kind, key string) {
	t.Helper()
	_, err := s.Get(t.Context(), kind, key)
	wantError(t, "Get "+kind+" "+key, err, approvals.ErrNotFound)
}

// hostile must come back byte for byte: numbers in their own spelling, and characters that encoders like to rewrite.
const hostile = `{"type":"document_access","n":1e2,"z":0.10,"a":"<a href=x>&amp;\u2028\u0000\ud800</a>"}`

func createAndRead(t *testing.T, s store.Store, c *clock) {
	r := ask(c.now(), ann, travel)
	r.Scope, r.Audience, r.Binding = []string{"openid"}, []string{"https://pay.example"}, "K7-42"
	r.Requested = approvals.Details{{Type: "document_access", Raw: []byte(hostile)}}
	r.Door = []byte(`{"mode":"poll"}`)
	r.Also(approvals.PutNew("jti", "1", []byte("x"), time.Time{}))
	r.Open(ann, time.Time{}, c.now())
	create(t, s, r)
	if r.Rev != 1 || r.Events != 1 {
		t.Errorf("after Create: rev %d, %d events, want 1 and 1", r.Rev, r.Events)
	}
	got := read(t, s, r.ID)
	same(t, "read back", got, r)
	if raw := string(got.Requested[0].Raw); raw != hostile {
		t.Errorf("details came back as %s", raw)
	}
	wantRecord(t, s, "jti", "1", "x")
	wantTrail(t, s, r.ID, approvals.KindOpened)
}

func unknownID(t *testing.T, s store.Store, c *clock) {
	for _, id := range []approvals.ID{approvals.NewID(c.now()), "", "no such id"} {
		_, err := s.Request(t.Context(), id)
		wantError(t, "Request", err, approvals.ErrNotFound)
		_, err = s.Update(t.Context(), id, func(*approvals.Request) error { return errors.New("ran on nothing") })
		wantError(t, "Update", err, approvals.ErrNotFound)
		wantTrail(t, s, id)
	}
}

func idTaken(t *testing.T, s store.Store, c *clock) {
	r := opened(t, s, c)
	twin := ask(c.now(), bob, books)
	twin.ID = r.ID
	twin.Also(approvals.PutNew("jti", "1", nil, time.Time{}))
	wantError(t, "Create", s.Create(t.Context(), twin), approvals.ErrConflict)
	same(t, "the first one", read(t, s, r.ID), r)
	wantNoRecord(t, s, "jti", "1")
	wantList(t, s, approvals.Query{Person: bob})
}

func transition(t *testing.T, s store.Store, c *clock) {
	r := opened(t, s, c)
	c.advance(time.Second)
	got := update(t, s, r.ID, func(r *approvals.Request) error {
		r.Also(approvals.PutNew("claim", "1", []byte("x"), time.Time{}), approvals.Delete("claim", "2", approvals.AnyRevision))
		return approve(c.now(), ann)(r)
	})
	if got.State != approvals.Approved || got.Rev != 2 || len(got.TakeEvents()) != 0 || len(got.TakeWrites()) != 0 {
		t.Errorf("after Update: %s, rev %d, want approved, 2 and nothing left to take", got.State, got.Rev)
	}
	same(t, "read back", read(t, s, r.ID), got)
	wantRecord(t, s, "claim", "1", "x")
	wantTrail(t, s, r.ID, approvals.KindOpened, "approved")
	wantList(t, s, approvals.Query{States: []approvals.State{approvals.Pending}})
	wantList(t, s, approvals.Query{States: []approvals.State{approvals.Approved}}, r.ID)
}

func changeRefused(t *testing.T, s store.Store, c *clock) {
	r := opened(t, s, c)
	no := errors.New("no")
	_, err := s.Update(t.Context(), r.ID, func(r *approvals.Request) error {
		r.Also(approvals.PutNew("claim", "1", nil, time.Time{}))
		if err := approve(c.now(), ann)(r); err != nil {
			return err
		}
		return no
	})
	if err != no {
		t.Errorf("Update: %v, want the very error of change", err)
	}
	same(t, "the request", read(t, s, r.ID), r)
	wantTrail(t, s, r.ID, approvals.KindOpened)
	wantNoRecord(t, s, "claim", "1")
}

func writeConflict(t *testing.T, s store.Store, c *clock) {
	r := opened(t, s, c)
	taken := approvals.PutNew("claim", "taken", []byte("x"), time.Time{})
	if err := s.Apply(t.Context(), taken); err != nil {
		t.Fatal(err)
	}
	free := approvals.PutNew("claim", "free", nil, time.Time{})
	_, err := s.Update(t.Context(), r.ID, func(r *approvals.Request) error {
		r.Also(free, taken)
		return approve(c.now(), ann)(r)
	})
	wantError(t, "Update", err, approvals.ErrConflict)
	same(t, "the request", read(t, s, r.ID), r)
	wantTrail(t, s, r.ID, approvals.KindOpened)

	other := ask(c.now(), bob, books)
	other.Also(free, taken)
	wantError(t, "Create", s.Create(t.Context(), other), approvals.ErrConflict)
	_, err = s.Request(t.Context(), other.ID)
	wantError(t, "Request", err, approvals.ErrNotFound)
	wantNoRecord(t, s, "claim", "free")
	wantList(t, s, approvals.Query{}, r.ID)
}

func forgotten(t *testing.T, s store.Store, c *clock) {
	r := opened(t, s, c)
	update(t, s, r.ID, func(r *approvals.Request) error {
		r.Also(approvals.PutNew("claim", "1", []byte("x"), time.Time{}))
		r.Forget()
		return r.Cancel(approvals.Actor{Kind: "operator"}, approvals.WithdrawnByOperator, c.now())
	})
	_, err := s.Request(t.Context(), r.ID)
	wantError(t, "Request", err, approvals.ErrNotFound)
	wantList(t, s, approvals.Query{})
	wantList(t, s, approvals.Query{Person: ann})
	wantList(t, s, approvals.Query{Agent: travel})
	wantTrail(t, s, r.ID, approvals.KindOpened, "cancelled")
	wantRecord(t, s, "claim", "1", "x")

	again := ask(c.now(), ann, travel)
	again.ID = r.ID
	again.Open(ann, time.Time{}, c.now())
	wantError(t, "Create with the id of a forgotten request", s.Create(t.Context(), again), approvals.ErrConflict)
}

func updateCounts(t *testing.T, s store.Store, c *clock) {
	r := opened(t, s, c)
	for want := uint64(2); want < 5; want++ {
		if got := update(t, s, r.ID, func(*approvals.Request) error { return nil }); got.Rev != want {
			t.Errorf("rev %d, want %d", got.Rev, want)
		}
	}
	wantTrail(t, s, r.ID, approvals.KindOpened)
}

// readStays: requests are shared, so a change must not reach those who read before, whether it is made or refused.
func readStays(t *testing.T, s store.Store, c *clock) {
	r := opened(t, s, c)
	deliver := func(r *approvals.Request) error {
		return r.Record(approvals.Delivery{Channel: "sms", Attempt: int(r.Rev), Status: "accepted", At: c.now()})
	}
	for range 3 { // a list that has grown may have room left at its end
		update(t, s, r.ID, deliver)
	}
	got := read(t, s, r.ID)
	listed, err := s.List(t.Context(), approvals.Query{})
	if err != nil || len(listed) != 1 {
		t.Fatalf("List: %v, %v", listed, err)
	}
	before := stored(t, got)
	no := errors.New("no")
	_, err = s.Update(t.Context(), r.ID, func(r *approvals.Request) error {
		r.Binding = "refused"
		return errors.Join(deliver(r), no)
	})
	wantError(t, "Update", err, no)
	first := update(t, s, r.ID, deliver)
	after := stored(t, first)
	update(t, s, r.ID, func(r *approvals.Request) error {
		r.Binding = "new"
		return deliver(r)
	})
	if stored(t, got) != before || stored(t, listed[0]) != before || stored(t, first) != after {
		t.Error("a change reached a request that was read before it")
	}
}

// kept: a claim hangs on a request without changing it.
func kept(t *testing.T, s store.Store, c *clock) {
	r := opened(t, s, c)
	got := update(t, s, r.ID, func(r *approvals.Request) error {
		r.Also(approvals.PutNew("claim", "1", []byte("x"), time.Time{}))
		r.Keep()
		return nil
	})
	if got.Rev != 1 || len(got.TakeWrites()) != 0 {
		t.Errorf("after Update: rev %d, want 1 and nothing left to take", got.Rev)
	}
	same(t, "the request", read(t, s, r.ID), r)
	wantRecord(t, s, "claim", "1", "x")
	wantTrail(t, s, r.ID, approvals.KindOpened)
	_, err := s.Update(t.Context(), r.ID, func(r *approvals.Request) error {
		r.Also(approvals.PutNew("claim", "2", nil, time.Time{}), approvals.PutNew("claim", "1", nil, time.Time{}))
		r.Keep()
		return nil
	})
	wantError(t, "Update", err, approvals.ErrConflict)
	wantNoRecord(t, s, "claim", "2")
	if got := update(t, s, r.ID, func(*approvals.Request) error { return nil }); got.Rev != 2 || got.Kept() {
		t.Errorf("the next change: rev %d, kept %v, want 2 and false", got.Rev, got.Kept())
	}
}

// keptRace: of a decision and twenty claims, every claim that was made came before.
func keptRace(t *testing.T, s store.Store, c *clock) {
	r := opened(t, s, c)
	decided := errors.New("decided")
	errs := together(21, func(i int) error {
		if i == 10 {
			_, err := s.Update(t.Context(), r.ID, approve(c.now(), ann))
			return err
		}
		_, err := s.Update(t.Context(), r.ID, func(r *approvals.Request) error {
			if r.State != approvals.Pending {
				return decided
			}
			r.Also(approvals.PutNew("claim", fmt.Sprint(i), nil, time.Time{}))
			r.Keep()
			return nil
		})
		return err
	})
	for i, err := range errs {
		switch {
		case i == 10 && err != nil:
			t.Errorf("approve: %v", err)
		case i != 10 && err == nil:
			wantRecord(t, s, "claim", fmt.Sprint(i), "")
		case i != 10:
			wantError(t, "claim", err, decided)
			wantNoRecord(t, s, "claim", fmt.Sprint(i))
		}
	}
	if got := read(t, s, r.ID); got.State != approvals.Approved || got.Rev != 2 {
		t.Errorf("%s, rev %d, want approved and 2", got.State, got.Rev)
	}
	_, err := s.Update(t.Context(), r.ID, func(r *approvals.Request) error {
		if r.State != approvals.Pending {
			return decided
		}
		r.Also(approvals.PutNew("claim", "late", nil, time.Time{}))
		r.Keep()
		return nil
	})
	wantError(t, "a claim after the decision", err, decided)
	wantNoRecord(t, s, "claim", "late")
}

// sameStep is what a desk does when it replaces a due step by one at the same time: delete, then put.
func sameStep(t *testing.T, s store.Store, c *clock) {
	step := approvals.Step{Name: "test", At: c.now(), Of: "x"}
	if err := s.Apply(t.Context(), step.Put()); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(t.Context(), step.Done(), step.Put()); err != nil {
		t.Fatal(err)
	}
	if steps, err := approvals.Due(t.Context(), s, "test", c.now(), 10); err != nil || len(steps) != 1 {
		t.Errorf("Due: %v, %v, want the one step", steps, err)
	}
}

// races are about many goroutines at once.
func races(t *testing.T, open Open) {
	t.Run("one of twenty redeems", func(t *testing.T) {
		c := newClock()
		oneRedeems(t, open(t, c.now), c)
	})
	t.Run("concurrent requests are all kept", func(t *testing.T) {
		c := newClock()
		allKept(t, open(t, c.now), c)
	})
	t.Run("concurrent updates of one request all count", func(t *testing.T) {
		c := newClock()
		allCount(t, open(t, c.now), c)
	})
}

// together runs n calls at once and returns their errors.
func together(n int, call func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = call(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

func oneRedeems(t *testing.T, s store.Store, c *clock) {
	r := opened(t, s, c)
	update(t, s, r.ID, approve(c.now(), ann))
	won := 0
	for i, err := range together(20, func(i int) error {
		_, err := s.Update(t.Context(), r.ID, func(r *approvals.Request) error {
			r.Also(approvals.PutNew("token", fmt.Sprint(i), nil, time.Time{}))
			return r.Redeem(c.now())
		})
		return err
	}) {
		if err == nil {
			won++
			wantRecord(t, s, "token", fmt.Sprint(i), "")
			continue
		}
		if !errors.Is(err, approvals.ErrRedeemed) && !errors.Is(err, approvals.ErrConflict) {
			t.Errorf("a loser got %v", err)
		}
		wantNoRecord(t, s, "token", fmt.Sprint(i))
	}
	if won != 1 {
		t.Errorf("%d of 20 redeemed", won)
	}
	wantTrail(t, s, r.ID, approvals.KindOpened, "approved", "redeemed")
}

func allKept(t *testing.T, s store.Store, c *clock) {
	ids := make([]approvals.ID, 200)
	for i, err := range together(len(ids), func(i int) error {
		r := ask(c.now(), ann, travel)
		ids[i] = r.ID
		r.Open(ann, time.Time{}, c.now())
		return s.Create(t.Context(), r)
	}) {
		if err != nil {
			t.Fatalf("Create %d: %v", i, err)
		}
		if r := read(t, s, ids[i]); r.Rev != 1 {
			t.Errorf("rev %d", r.Rev)
		}
	}
	if found, err := s.List(t.Context(), approvals.Query{Person: ann, Limit: 1000}); err != nil || len(found) != len(ids) {
		t.Errorf("List: %d, %v, want %d", len(found), err, len(ids))
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func allCount(t *testing.T, s store.Store, c *clock) {
	r := opened(t, s, c)
	const n = 50
	for _, err := range together(n, func(i int) error {
		_, err := s.Update(t.Context(), r.ID, func(r *approvals.Request) error {
			return r.Record(approvals.Delivery{Channel: "sms", Attempt: i, Status: "accepted", At: c.now()})
		})
		return err
	}) {
		if err != nil {
			t.Errorf("Update: %v", err)
		}
	}
	if got := read(t, s, r.ID); got.Rev != n+1 || len(got.Deliveries) != n || len(trail(t, s, r.ID)) != n+1 {
		t.Errorf("rev %d, %d deliveries, want %d and %d", got.Rev, len(got.Deliveries), n+1, n)
	}
}
