//go:build linux

package bolt_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"assent/approvals"
	"assent/store/bolt"
)

// TestDiskFails takes the disk away from under an open file: the descriptor is replaced by one that cannot be written
// to, and given back later.
func TestDiskFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "assent.db")
	s := openWith(t, path, bolt.Options{})
	if err := s.Apply(t.Context(), put("before")); err != nil {
		t.Fatal(err)
	}
	fd := descriptor(t, path)
	good, err := syscall.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(good)
	readOnly, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	replace(t, int(readOnly.Fd()), fd)
	if err := s.Apply(t.Context(), put("during")); !errors.Is(err, approvals.ErrUnavailable) {
		t.Errorf("Apply: %v, want %v", err, approvals.ErrUnavailable)
	}
	if _, err := s.Get(t.Context(), "k", "during"); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("Get: %v, want %v", err, approvals.ErrNotFound)
	}
	replace(t, good, fd)
	if err := s.Apply(t.Context(), put("after")); err != nil {
		t.Errorf("Apply afterwards: %v", err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func replace(t *testing.T, from, to int) {
	t.Helper()
	if err := syscall.Dup3(from, to, syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
}

// descriptor finds the number under which this process has path open for the store.
func descriptor(t *testing.T, path string) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("needs /proc/self/fd to find the open file")
	}
	for _, e := range entries {
		if at, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasSuffix(at, path) {
			var fd int
			fmt.Sscan(e.Name(), &fd)
			return fd
		}
	}
	t.Fatal("the file is not open")
	return 0
}
