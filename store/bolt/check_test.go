package bolt

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"assent/approvals"
)

// filled is a store with one open request that has a due step, two events and an expiring record.
func filled(t *testing.T) (*Store, *approvals.Request) {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "assent.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	at := time.Now()
	step := approvals.Step{Name: approvals.StepExpire, At: at, Of: "x"}
	r := &approvals.Request{V: 1, ID: approvals.NewID(at), State: approvals.Pending, Subject: "ann", Agent: "travel-bot",
		Approvers: []approvals.PersonID{"ann"}, Rule: approvals.SubjectOnce, Step: &step, ExpiresAt: at.Add(time.Hour),
		DecideBy: at.Add(time.Hour)}
	r.Also(step.Put(), approvals.PutNew("k", "1", []byte("a"), at.Add(time.Hour)))
	r.Open("ann", time.Time{}, at)
	if err := s.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	r, err = s.Update(t.Context(), r.ID, func(r *approvals.Request) error {
		return r.Record(approvals.Delivery{Channel: "sms", Status: approvals.StatusAccepted, At: at})
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

// TestCheck damages a good file in every way that Check promises to find.
func TestCheck(t *testing.T) {
	type damage func(tx *bbolt.Tx, r *approvals.Request) error
	remove := func(bucket []byte, key func(r *approvals.Request) []byte) damage {
		return func(tx *bbolt.Tx, r *approvals.Request) error { return tx.Bucket(bucket).Delete(key(r)) }
	}
	write := func(bucket []byte, key func(r *approvals.Request) []byte, value string) damage {
		return func(tx *bbolt.Tx, r *approvals.Request) error { return tx.Bucket(bucket).Put(key(r), []byte(value)) }
	}
	id := func(r *approvals.Request) []byte { return []byte(r.ID) }
	audit := func(n uint64) func(r *approvals.Request) []byte {
		return func(r *approvals.Request) []byte { return auditKey(r.ID, n) }
	}
	index := func(owner string, state approvals.State, id approvals.ID) func(r *approvals.Request) []byte {
		return func(r *approvals.Request) []byte {
			if id == "" {
				return append(indexPrefix(owner, state), r.ID...)
			}
			return append(indexPrefix(owner, state), id...)
		}
	}
	row := func(seq uint64) func(*approvals.Request) []byte {
		return func(*approvals.Request) []byte { return number(seq) }
	}
	record := func(kind, key string) func(*approvals.Request) []byte {
		return func(*approvals.Request) []byte { return recordKey(kind, key) }
	}
	tests := []struct {
		name string
		do   damage
		want string
	}{
		{"nothing", func(*bbolt.Tx, *approvals.Request) error { return nil }, ""},
		{"no request", remove(bucketRequests, id), "stale row of request"},
		{"a request that is no JSON", write(bucketRequests, id, "12345678{"), "decode request"},
		{"a request of four bytes", write(bucketRequests, id, "1234"), "row of 4 bytes"},
		{"a request under another id", write(bucketRequests, id, string(number(2))+`{"id":"other","rev":2}`),
			"its JSON is of other"},
		{"not among the person's", remove(bucketPerson, index("ann", approvals.Pending, "")), "not in index by_person"},
		{"not among the agent's", remove(bucketAgent, index("travel-bot", approvals.Pending, "")), "not in index by_agent"},
		{"not among the pending", remove(bucketState, index("", approvals.Pending, "")), "not in index by_state"},
		{"in two states", write(bucketState, index("", approvals.Denied, ""), ""), "index by_state: stale row"},
		{"an index row of nobody", write(bucketPerson, index("ann", approvals.Pending, "gone"), ""), "stale row of request gone"},
		{"no first audit record", remove(bucketAudit, audit(1)), "record 1 is missing"},
		{"no last audit record", remove(bucketAudit, audit(2)), "audit record 2 is missing"},
		{"an audit record too many", write(bucketAudit, audit(3), "{}"), "the audit trail more"},
		{"an audit record under another key", write(bucketAudit, audit(2), `{"request":"x","n":2}`), "does not match its key"},
		{"an outbox row of nothing", write(bucketOutbox, row(1), "x"), "points at no audit record"},
		{"an outbox row from the future", write(bucketOutbox, row(99), "x"), "not a sequence number"},
		{"no due step", func(tx *bbolt.Tx, r *approvals.Request) error {
			w := r.Step.Put()
			return tx.Bucket(bucketRecords).Delete(recordKey(w.Kind, w.Key))
		}, "due step expire is missing"},
		{"a record of three bytes", write(bucketRecords, record("k", "2"), "abc"), "row of 3 bytes"},
		{"a record without revision", write(bucketRecords, record("k", "2"), strings.Repeat("\x00", 16)), "has no revision"},
		{"a record not in the expiry index", write(bucketRecords, record("k", "2"), strings.Repeat("\x01", 16)),
			"not in the expiry index"},
		{"an expiry of nothing", remove(bucketRecords, record("k", "1")), "stale row"},
		{"an expiry of three bytes", write(bucketExpiry, func(*approvals.Request) []byte { return []byte("abc") }, ""),
			"row of 3 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, r := filled(t)
			if err := s.db.Update(func(tx *bbolt.Tx) error { return tt.do(tx, r) }); err != nil {
				t.Fatal(err)
			}
			s.commit.durable.Store(1 << 40) // written behind the committer's back
			err := s.Check(t.Context())
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Check: %v, want %q", err, tt.want)
			}
		})
	}
}

// TestCheckPages overwrites pages of a closed file.
func TestCheckPages(t *testing.T) {
	s, _ := filled(t)
	path := s.path
	s.Close()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	found := 0
	for at := 2 * page; at < len(raw); at += page {
		bad := append([]byte(nil), raw...)
		copy(bad[at:at+16], strings.Repeat("\xee", 16))
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if checkClosed(path) != nil {
			found++
		}
	}
	if found == 0 {
		t.Error("no damaged page was found")
	}
}

// checkClosed opens and checks a file that may make bbolt panic.
func checkClosed(path string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("panic")
		}
	}()
	s, err := Open(path, Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Check(context.Background())
}

// TestManyFaults names twenty and counts the rest.
func TestManyFaults(t *testing.T) {
	s, _ := filled(t)
	err := s.db.Update(func(tx *bbolt.Tx) error {
		for i := range uint64(50) {
			if err := tx.Bucket(bucketOutbox).Put(number(i+10), nil); err != nil {
				return err
			}
		}
		return nil
	})
	s.commit.durable.Store(1 << 40)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "and 80 more") ||
		strings.Count(err.Error(), "\n") != maxFaults {
		t.Errorf("Check: %v, want 20 faults and 80 more", err)
	}
}
