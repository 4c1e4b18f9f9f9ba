package bolt_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"assent/approvals"
	"assent/store"
	"assent/store/bolt"
)

func TestOpenRefuses(t *testing.T) {
	tests := []struct {
		name string
		make func(t *testing.T, path string)
		want error
	}{
		{"a file that is open", func(t *testing.T, path string) { openWith(t, path, bolt.Options{}) }, bolt.ErrInUse},
		{"a newer schema", setSchema("2"), bolt.ErrNewer},
		{"a schema from far ahead", setSchema("4000"), bolt.ErrNewer},
		{"a schema that is no number", setSchema("one"), bolt.ErrForeign},
		{"no schema", setSchema(""), bolt.ErrForeign},
		{"schema zero", setSchema("0"), bolt.ErrForeign},
		{"somebody else's bbolt file", otherFile, bolt.ErrForeign},
		{"a text", text("what is this doing here? it is long enough to hold a page, or is it\n"), bolt.ErrForeign},
		{"a missing bucket", withoutBucket, bolt.ErrForeign},
		{"a file that begins well and stops", truncated, bolt.ErrForeign},
		{"a missing folder", func(t *testing.T, path string) { os.Remove(filepath.Dir(path)) }, fs.ErrNotExist},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "data", "assent.db")
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			tt.make(t, path)
			s, err := bolt.Open(path, bolt.Options{})
			if !errors.Is(err, tt.want) {
				t.Errorf("Open: %v, want %v", err, tt.want)
			}
			if err == nil {
				s.Close()
			}
		})
	}
}

// edit changes a fresh file behind the store's back.
func edit(t *testing.T, path string, change func(tx *bbolt.Tx) error) {
	t.Helper()
	openWith(t, path, bolt.Options{}).Close()
	raw(t, path, change)
}

func raw(t *testing.T, path string, change func(tx *bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(change), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func setSchema(value string) func(t *testing.T, path string) {
	return func(t *testing.T, path string) {
		edit(t, path, func(tx *bbolt.Tx) error {
			if value == "" {
				return tx.Bucket([]byte("meta")).Delete([]byte("schema"))
			}
			return tx.Bucket([]byte("meta")).Put([]byte("schema"), []byte(value))
		})
	}
}

func otherFile(t *testing.T, path string) {
	raw(t, path, func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte("pictures"))
		return err
	})
}

func withoutBucket(t *testing.T, path string) {
	edit(t, path, func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("audit")) })
}

func text(line string) func(t *testing.T, path string) {
	return func(t *testing.T, path string) {
		if err := os.WriteFile(path, bytes.Repeat([]byte(line), 1000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func truncated(t *testing.T, path string) {
	openWith(t, path, bolt.Options{}).Close()
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
}

// TestCreate leaves one private file in the folder and nothing beside it, however many start at once.
func TestCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "assent.db")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s, err := bolt.Open(path, bolt.Options{})
			switch {
			case errors.Is(err, bolt.ErrInUse): // whoever is not first waits for a second, then gives up
			case err != nil:
				t.Errorf("Open: %v", err)
			default:
				s.Close()
			}
		})
	}
	wg.Wait()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 || entries[0].Name() != "assent.db" {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
}

// TestReopen finds everything again, and clears away what a killed process left beside the file.
func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "assent.db")
	left := path + ".123.copy"
	s := openWith(t, path, bolt.Options{})
	r := pending(time.Now(), "ann")
	r.Also(approvals.PutNew("k", "1", []byte("a"), time.Time{}))
	if err := s.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := os.WriteFile(left, []byte("half a copy"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = openWith(t, path, bolt.Options{})
	if got, err := s.Request(t.Context(), r.ID); err != nil || got.Subject != "ann" {
		t.Errorf("Request: %v, %v", got, err)
	}
	if rec, err := s.Get(t.Context(), "k", "1"); err != nil || string(rec.Value) != "a" {
		t.Errorf("Get: %v, %v", rec, err)
	}
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old copy: %v, want it gone", err)
	}
}

// TestBackup takes a copy while others write; the copy opens, is whole, and has at least what was there before.
func TestBackup(t *testing.T) {
	dir := t.TempDir()
	s := openWith(t, filepath.Join(dir, "assent.db"), bolt.Options{})
	r := pending(time.Now(), "ann")
	if err := s.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			s.Create(ctx, pending(time.Now(), "bob"))
		}
	})
	var copied bytes.Buffer
	err := s.Backup(t.Context(), &copied)
	stop()
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "copy.db")
	if err := os.WriteFile(path, copied.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	restored := openWith(t, path, bolt.Options{})
	if err := restored.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := restored.Request(t.Context(), r.ID); err != nil {
		t.Errorf("Request from the copy: %v", err)
	}
	if full := errors.New("full"); !errors.Is(s.Backup(t.Context(), failing{full}), full) {
		t.Error("the writer's error is lost")
	}
	if found, _ := filepath.Glob(filepath.Join(dir, "*.copy")); len(found) > 0 {
		t.Errorf("left behind: %v", found)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

var updateFixture = flag.Bool("update", false, "write the fixture of the current schema anew; only before its release")

const fixture = "testdata/schema-1.db.gz"

// TestFixture opens a file of every schema that was released: here are the bytes that older builds wrote.
func TestFixture(t *testing.T) {
	path := filepath.Join(t.TempDir(), "assent.db")
	if *updateFixture {
		writeFixture(t, path)
	}
	packed, err := os.Open(fixture)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	unpacked, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s := openWith(t, path, bolt.Options{})
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	found, err := s.List(t.Context(), approvals.Query{Person: "ann"})
	if err != nil || len(found) != 2 || found[0].State != approvals.Redeemed || found[1].State != approvals.Pending {
		t.Errorf("List: %v, %v, want a redeemed and a pending request", found, err)
	}
	if rec, err := s.Get(t.Context(), "token", "1"); err != nil || string(rec.Value) != "value" || rec.Revision != 2 {
		t.Errorf("Get: %+v, %v, want the value at revision 2", rec, err)
	}
	if events, err := s.Unsent(t.Context(), 0, 10); err != nil || len(events) != 2 || events[1].Kind != "redeemed" {
		t.Errorf("Unsent: %v, %v, want two events, the last one redeemed", events, err)
	}
}

func writeFixture(t *testing.T, path string) {
	t.Helper()
	s := openWith(t, path, bolt.Options{})
	ctx := t.Context()
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	r := pending(at.Add(time.Second), "ann")
	update := func(change func(*approvals.Request) error) error {
		_, err := s.Update(ctx, r.ID, change)
		return err
	}
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	err := errors.Join(s.Create(ctx, pending(at, "ann")), s.Create(ctx, r),
		update(func(r *approvals.Request) error {
			r.Also(approvals.PutNew("token", "1", nil, at.AddDate(100, 0, 0)))
			return r.Approve(approvals.Decision{By: "ann", Level: approvals.LevelSession}, at)
		}),
		update(func(r *approvals.Request) error {
			r.Also(approvals.PutAny("token", "1", []byte("value"), at.AddDate(100, 0, 0)))
			return r.Redeem(at)
		}),
		s.Backup(ctx, zip), zip.Close(), os.MkdirAll(filepath.Dir(fixture), 0o755),
		os.WriteFile(fixture, packed.Bytes(), 0o644), os.Remove(path))
	if err != nil {
		t.Fatal(err)
	}
}

func TestDSN(t *testing.T) {
	dir := t.TempDir()
	tests := []struct {
		dsn  string
		want string // in the error; empty when it opens
	}{
		{"bolt:" + filepath.Join(dir, "assent.db"), ""},
		{"bolt:", "needs the path"},
		{"postgres://localhost/assent", `scheme "postgres" is unknown to this build`},
		{"assent.db", "must be a scheme"},
		{"bolt:" + filepath.Join(dir, "missing", "assent.db"), "no such file"},
	}
	for _, tt := range tests {
		t.Run(tt.dsn[:4]+tt.want, func(t *testing.T) {
			s, err := store.Open(t.Context(), tt.dsn, time.Now)
			if s != nil {
				s.Close()
			}
			if (err == nil) != (tt.want == "") || !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Errorf("Open: %v, want %q", err, tt.want)
			}
			if err != nil && s != nil {
				t.Error("Open returned a store beside an error")
			}
		})
	}
}
