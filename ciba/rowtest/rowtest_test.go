package rowtest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Rows of a test that failed or was skipped are not reached, those of its passing subtests are.
func TestRow(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(Folder, dir)
	t.Run("passes", func(t *testing.T) {
		Row(t, "REQ-001", "CIBA 7.1", "REQ-002 in a table")
		Row(t, "REQ-003")
	})
	t.Run("skips", func(t *testing.T) {
		Row(t, "REQ-004")
		t.Skip("as a test does that lacks its tool")
	})
	failed := &fake{TB: t}
	Row(failed, "REQ-005")
	Row(failed, "REQ-6")
	failed.end()
	got, err := Reached(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"REQ-001": {"TestRow/passes"}, "REQ-002": {"TestRow/passes"}, "REQ-003": {"TestRow/passes"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// fake is a test that can fail without failing this one.
type fake struct {
	testing.TB
	failed   bool
	cleanups []func()
}

func (f *fake) Errorf(string, ...any) { f.failed = true }
func (f *fake) Failed() bool          { return f.failed }
func (f *fake) Cleanup(c func())      { f.cleanups = append(f.cleanups, c) }

func (f *fake) end() {
	for _, c := range f.cleanups {
		c()
	}
}
