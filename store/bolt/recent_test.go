package bolt_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"assent/approvals"
	"assent/store/bolt"
)

// What the store keeps decoded is what the file has: a change that was refused half-way does not show in the next one.
func TestUpdateStartsFromWhatIsStored(t *testing.T) {
	s := openWith(t, filepath.Join(t.TempDir(), "assent.db"), bolt.Options{})
	r := pending(time.Now(), "ann")
	if err := s.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	for n := range uint64(5) {
		_, err := s.Update(t.Context(), r.ID, func(r *approvals.Request) error {
			if r.Binding != "" || len(r.Scope) != int(n) || r.Rev != n+1 {
				t.Errorf("change %d sees %q, %d scopes, revision %d", n, r.Binding, len(r.Scope), r.Rev)
			}
			r.Scope = append(r.Scope, "openid")
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Update(t.Context(), r.ID, func(r *approvals.Request) error {
			r.Binding = "half-way"
			return refused
		}); !errors.Is(err, refused) {
			t.Fatalf("Update: %v, want %v", err, refused)
		}
	}
	stored, err := s.Request(t.Context(), r.ID)
	if err != nil || stored.Rev != 6 || stored.Binding != "" || stored.Scope[0] != "openid" {
		t.Errorf("Request: %+v, %v", stored, err)
	}
}
