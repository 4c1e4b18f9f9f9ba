package bolt

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"go.etcd.io/bbolt"
)

var keySchema = []byte("schema")

// upgrade turns a file of one schema into one of the next.
type upgrade func(tx *bbolt.Tx) error

// upgrades lists the steps in order: the first one turns schema 1 into schema 2. Steps are never edited after a
// release. Schema 1 is the only one so far.
func upgrades() []upgrade { return nil }

func schemaOf(steps []upgrade) int { return len(steps) + 1 }

func initialise(tx *bbolt.Tx, schema int) error {
	for _, name := range dataBuckets() {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return fmt.Errorf("make bucket %s: %w", name, err)
		}
	}
	meta, err := tx.CreateBucketIfNotExists(bucketMeta)
	if err != nil {
		return fmt.Errorf("make bucket meta: %w", err)
	}
	return meta.Put(keySchema, []byte(strconv.Itoa(schema)))
}

// bring checks that the file is one of ours and brings an older schema up to date.
func bring(db *bbolt.DB, steps []upgrade) error {
	found, err := readSchema(db)
	if err != nil {
		return err
	}
	switch known := schemaOf(steps); {
	case found > known:
		return fmt.Errorf("schema %d, this build knows up to %d: %w", found, known, ErrNewer)
	case found < known:
		return raise(db, found, steps)
	}
	return nil
}

func readSchema(db *bbolt.DB) (schema int, err error) {
	err = db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta == nil {
			return ErrForeign
		}
		schema, err = strconv.Atoi(string(meta.Get(keySchema)))
		if err != nil || schema < 1 {
			return fmt.Errorf("schema is not a number: %w", ErrForeign)
		}
		for _, name := range dataBuckets() {
			if schema == schemaOf(upgrades()) && tx.Bucket(name) == nil {
				return fmt.Errorf("bucket %s is missing: %w", name, ErrForeign)
			}
		}
		return nil
	})
	return schema, err
}

// raise copies the file, then makes every missing step in one transaction: afterwards the file has the old schema or
// the new one, and nothing between.
func raise(db *bbolt.DB, found int, steps []upgrade) error {
	if err := copyFile(db, fmt.Sprintf("%s.schema-%d", db.Path(), found)); err != nil {
		return fmt.Errorf("copy before upgrade: %w", err)
	}
	return db.Update(func(tx *bbolt.Tx) error {
		for i := found - 1; i < len(steps); i++ {
			if err := steps[i](tx); err != nil {
				return fmt.Errorf("upgrade to schema %d: %w", i+2, err)
			}
		}
		return initialise(tx, schemaOf(steps))
	})
}

// copyFile writes a durable copy of the file as it is. A copy that an earlier attempt left is as good as a new one
// and is replaced.
func copyFile(db *bbolt.DB, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = db.View(func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(f)
		return err
	})
	return errors.Join(err, f.Sync(), f.Close())
}
