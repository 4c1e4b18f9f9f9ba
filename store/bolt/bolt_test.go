package bolt_test

import (
	"path/filepath"
	"testing"
	"time"

	"assent/store"
	"assent/store/bolt"
	"assent/store/storetest"
)

// open makes a store in a folder of its own and checks its file when the test ends.
func open(t *testing.T, now func() time.Time) store.Store {
	t.Helper()
	return openWith(t, filepath.Join(t.TempDir(), "assent.db"), bolt.Options{Now: now})
}

func openWith(t *testing.T, path string, o bolt.Options) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func TestContract(t *testing.T) { storetest.Run(t, open) }
