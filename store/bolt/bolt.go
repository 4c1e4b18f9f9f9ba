package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"assent/approvals"
)

// What can be wrong with a file. Errors of [Open] wrap one of these, or say what the system said.
var (
	ErrInUse   = errors.New("another process has it open")
	ErrNewer   = errors.New("written by a newer version of Assent")
	ErrForeign = errors.New("not a file of Assent")
)

// lockWait is how long Open waits for a process that is just stopping.
const lockWait = time.Second

// Options are what a store may be given. The zero value is ready to use.
type Options struct {
	Now func() time.Time // what expiry goes by; time.Now when nil

	// BeforeCommit runs right before each commit, with everything of the batch written to the transaction. It may hold
	// the commit back for as long as it likes; when it returns an error, the transaction is rolled back and every
	// caller of the batch gets [approvals.ErrUnavailable]. Tests use it to look into the moment between a write and
	// its durability.
	BeforeCommit func() error
}

// Store is a bbolt file. Its methods may be called from many goroutines.
type Store struct {
	db     *bbolt.DB
	path   string
	now    func() time.Time
	commit *committer
	recent *recent
}

// Open opens the file, or makes it. It is locked until [Store.Close]; the folder must exist.
func Open(path string, o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	db, err := open(path, upgrades())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	s := &Store{db: db, path: path, now: o.Now, recent: newRecent()}
	if s.commit, err = newCommitter(db, o.BeforeCommit); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.Close())
	}
	return s, nil
}

func open(path string, steps []upgrade) (*bbolt.DB, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := create(path, schemaOf(steps)); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	db, err := lock(path)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(bring(db, steps), sweepCopies(path)); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func lock(path string) (*bbolt.DB, error) {
	o := *bbolt.DefaultOptions
	o.Timeout, o.FreelistType, o.NoStatistics = lockWait, bbolt.FreelistMapType, true
	db, err := bbolt.Open(path, 0o600, &o)
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, ErrInUse
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch),
		errors.Is(err, berrors.ErrChecksum):
		return nil, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	return db, err
}

// create makes a complete file under another name first: a power failure may leave that one half-written, but never
// the one that will be opened. A file that another process has made meanwhile is left alone.
func create(path string, schema int) error {
	dir := filepath.Dir(path)
	temp, err := os.CreateTemp(dir, filepath.Base(path)+".*.new") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	if err := temp.Close(); err != nil {
		return err
	}
	db, err := lock(temp.Name())
	if err != nil {
		return err
	}
	if err := errors.Join(db.Update(func(tx *bbolt.Tx) error { return initialise(tx, schema) }), db.Close()); err != nil {
		return err
	}
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		if err := os.Rename(temp.Name(), path); err != nil { // a file system without hard links
			return err
		}
	}
	return syncDir(dir)
}

// syncDir makes the names in a folder survive a power failure, where the system knows how to.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrInvalid) {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}

// Close waits for every write that has been handed in, then releases the file.
func (s *Store) Close() error {
	s.commit.close()
	return s.db.Close()
}

// Stats returns how many commits were made and how many changes they carried.
func (s *Store) Stats() (commits, writes uint64) {
	return s.commit.commits.Load(), s.commit.writes.Load()
}

// view runs a read and lets its result out only when everything it saw is durable.
func (s *Store) view(ctx context.Context, read func(tx *bbolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var seen uint64
	err := s.db.View(func(tx *bbolt.Tx) error {
		seen = uint64(tx.ID())
		return read(tx)
	})
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return errClosed
	}
	if waitErr := s.commit.await(ctx, seen); waitErr != nil {
		return waitErr
	}
	return err
}

var errClosed = fmt.Errorf("%w: closed", approvals.ErrUnavailable)
