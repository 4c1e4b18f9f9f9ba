package bolt

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"assent/approvals"
)

// steps are upgrades of a future that renames a kind and then counts the records.
func steps() []upgrade {
	return []upgrade{
		func(tx *bbolt.Tx) error {
			b := tx.Bucket(bucketRecords)
			row := b.Get(recordKey("k", "1"))
			return errors.Join(b.Put(recordKey("kind", "1"), row), b.Delete(recordKey("k", "1")))
		},
		func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucketIfNotExists([]byte("counts"))
			return err
		},
	}
}

// old makes a file of schema 1 with one record and closes it.
func old(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "assent.db")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Apply(t.Context(), approvals.Write{Record: approvals.Record{Kind: "k", Key: "1", Value: []byte("a")}})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

func look(t *testing.T, db *bbolt.DB, wantSchema int, kind string) {
	t.Helper()
	if schema, err := readSchema(db); err != nil || schema != wantSchema {
		t.Errorf("schema %d, %v, want %d", schema, err, wantSchema)
	}
	db.View(func(tx *bbolt.Tx) error {
		if tx.Bucket(bucketRecords).Get(recordKey(kind, "1")) == nil {
			t.Errorf("no record of kind %s", kind)
		}
		return nil
	})
}

// TestUpgrade raises a file by two steps, leaves a copy of the old one, and does it once only.
func TestUpgrade(t *testing.T) {
	path := old(t)
	for range 2 {
		db, err := open(path, steps())
		if err != nil {
			t.Fatal(err)
		}
		look(t, db, 3, "kind")
		db.Close()
	}
	if _, err := Open(path, Options{}); !errors.Is(err, ErrNewer) {
		t.Errorf("Open with an old build: %v, want %v", err, ErrNewer)
	}
	before, err := open(path+".schema-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	look(t, before, 1, "k")
}

// TestUpgradeFails lets the second step fail: the file is as it was, and a build with a better step can have it.
func TestUpgradeFails(t *testing.T) {
	path := old(t)
	bad := errors.New("step failed")
	_, err := open(path, []upgrade{steps()[0], func(*bbolt.Tx) error { return bad }})
	if !errors.Is(err, bad) {
		t.Fatalf("open: %v, want %v", err, bad)
	}
	db, err := open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	look(t, db, 1, "k")
	db.Close()
	if db, err = open(path, steps()); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	look(t, db, 3, "kind")
}

// TestNoUpgradeWithoutCopy: when the copy cannot be written, the file is not touched.
func TestNoUpgradeWithoutCopy(t *testing.T) {
	path := old(t)
	if err := os.Mkdir(path+".schema-1", 0o700); err != nil { // in the way of the copy
		t.Fatal(err)
	}
	if db, err := open(path, steps()); err == nil {
		db.Close()
		t.Fatal("upgraded without a copy")
	}
	db, err := open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	look(t, db, 1, "k")
}
