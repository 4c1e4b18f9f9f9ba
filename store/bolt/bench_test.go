package bolt_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"assent/approvals"
	"assent/store/bolt"
)

// Every figure of the writing ones is a figure of the disk, and they say how many writes shared a commit. The folder is
// the one for temporary files (TMPDIR); on a tmpfs a sync costs nothing.

func bench(b *testing.B) *bolt.Store {
	b.Helper()
	s, err := bolt.Open(filepath.Join(b.TempDir(), "assent.db"), bolt.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// share lets n goroutines do b.N calls and reports how many writes a commit carried.
func share(b *testing.B, s *bolt.Store, n int, call func(i int) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	commits, writes := s.Stats()
	b.ResetTimer()
	for range n {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
				if err := call(int(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	c, w := s.Stats()
	if c > commits {
		b.ReportMetric(float64(w-writes)/float64(c-commits), "writes/commit")
	}
}

var widths = []int{1, 16, 64, 256}

// asked is a request as a desk opens it: one object of details, a disclosure, two due steps.
func asked(at time.Time, person int) *approvals.Request {
	r := pending(at, approvals.PersonID(fmt.Sprintf("person-%04d", person%1000)))
	r.Agent = approvals.AgentID(fmt.Sprintf("agent-%02d", person%20))
	r.Scope, r.Salt, r.SecretHash = []string{"openid"}, make([]byte, 16), make([]byte, 32)
	r.Requested = approvals.Details{{Type: "payment_initiation", Raw: []byte(`{"type":"payment_initiation",` +
		`"instructedAmount":{"currency":"EUR","amount":"480.00"},"creditorName":"Example Travel",` +
		`"creditorAccount":{"iban":"DE02100100109307118603"},"remittanceInformationUnstructured":"Trip 4821"}`)}}
	r.Door = []byte(`{"v":1,"mode":"poll","cnf":null}`)
	r.Disclosures = []approvals.Disclosure{{Request: r.ID, Type: "payment_initiation", Template: "payment_initiation",
		Version: 1, Locale: "en", Zone: "Europe/Berlin", ExpiresAt: r.DecideBy, Salt: "AAAAAAAAAAAAAAAAAAAAAA",
		Button: "Approve 480.00 EUR", Facts: []approvals.Fact{
			{Label: "What will happen", Text: "Pay 480.00 EUR to Example Travel", Role: approvals.RoleAction},
			{Label: "Asked by", Text: "Travel Bot", Role: approvals.RoleAgent},
			{Label: "Amount", Text: "480.00 EUR", Role: approvals.RoleAmount},
			{Label: "To", Text: "Example Travel", Role: approvals.RoleFact},
			{Label: "Account", Text: "DE02100100109307118603", Role: approvals.RoleFact}}}}
	r.Step = &approvals.Step{Name: approvals.StepExpire, At: r.ExpiresAt, Of: string(r.ID)}
	r.Also(r.Step.Put(), approvals.Step{Name: approvals.StepDeliver, At: at, Of: string(r.ID)}.Put())
	r.Open(r.Subject, time.Time{}, at)
	return r
}

func BenchmarkCreate(b *testing.B) {
	for _, n := range widths {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := bench(b)
			share(b, s, n, func(i int) error { return s.Create(b.Context(), asked(time.Now(), i)) })
		})
	}
}

// filled makes n requests and returns their ids, oldest first.
func filled(b *testing.B, s *bolt.Store, n int) []approvals.ID {
	b.Helper()
	ids := make([]approvals.ID, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 128 {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				r := asked(time.Now(), int(i))
				ids[i] = r.ID
				if err := s.Create(b.Context(), r); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return ids
}

// BenchmarkUpdate approves: a decision, an event, an index that changes.
func BenchmarkUpdate(b *testing.B) {
	for _, n := range widths {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := bench(b)
			ids := filled(b, s, b.N)
			share(b, s, n, func(i int) error {
				_, err := s.Update(b.Context(), ids[i], func(r *approvals.Request) error {
					return r.Approve(approvals.Decision{By: r.Subject, Level: approvals.LevelSession}, time.Now())
				})
				return err
			})
		})
	}
}

// BenchmarkUpdateOne lets everybody change the same request, so that each change runs again inside the commit.
func BenchmarkUpdateOne(b *testing.B) {
	for _, n := range []int{1, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := bench(b)
			id := filled(b, s, 1)[0]
			share(b, s, n, func(int) error {
				_, err := s.Update(b.Context(), id, func(*approvals.Request) error { return nil })
				return err
			})
		})
	}
}

func BenchmarkApply(b *testing.B) {
	for _, n := range widths {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := bench(b)
			value := make([]byte, 100)
			share(b, s, n, func(i int) error {
				return s.Apply(b.Context(), approvals.PutAny("session", fmt.Sprint(i), value, time.Now().Add(time.Hour)))
			})
		})
	}
}

func BenchmarkRequest(b *testing.B) {
	s := bench(b)
	ids := filled(b, s, 10_000)
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			share(b, s, n, func(i int) error {
				_, err := s.Request(b.Context(), ids[i*7919%len(ids)])
				return err
			})
		})
	}
}

func BenchmarkGet(b *testing.B) {
	s := bench(b)
	for i := range 1000 {
		if err := s.Apply(b.Context(), approvals.PutNew("k", fmt.Sprint(i), make([]byte, 100), time.Time{})); err != nil {
			b.Fatal(err)
		}
	}
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			share(b, s, n, func(i int) error {
				_, err := s.Get(b.Context(), "k", fmt.Sprint(i%1000))
				return err
			})
		})
	}
}

// BenchmarkList reads a page of 50 out of 20,000 requests.
func BenchmarkList(b *testing.B) {
	s := bench(b)
	filled(b, s, 20_000)
	pending := []approvals.State{approvals.Pending}
	for name, q := range map[string]approvals.Query{
		"inbox": {Person: "person-0007", States: pending, Limit: 50}, "history": {Person: "person-0007", Limit: 50},
		"agent": {Agent: "agent-07", Limit: 50}, "queue": {States: pending, Limit: 50}, "all": {Limit: 50},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if found, err := s.List(b.Context(), q); err != nil || len(found) == 0 {
					b.Fatal(errors.Join(err, fmt.Errorf("%d found", len(found))))
				}
			}
		})
	}
}

// BenchmarkListPair reads the ten requests that a person with 2,000 has of an agent with 2,000.
func BenchmarkListPair(b *testing.B) {
	s := bench(b)
	for i := range 4010 {
		r := asked(time.Now(), 7)
		switch {
		case i%401 == 200:
		case i%2 == 0:
			r.Agent = "another-agent"
		default:
			r.Subject, r.Approvers = "somebody", []approvals.PersonID{"somebody"}
		}
		if err := s.Create(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
	q := approvals.Query{Person: "person-0007", Agent: "agent-07"}
	for b.Loop() {
		if found, err := s.List(b.Context(), q); err != nil || len(found) != 10 {
			b.Fatal(errors.Join(err, fmt.Errorf("%d found", len(found))))
		}
	}
}
