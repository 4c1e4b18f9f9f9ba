package bolt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.etcd.io/bbolt"
)

// Backup writes a consistent copy of the file, which [Open] can open. The copy is made on the same disk first: a
// reader that is slow to take it would otherwise keep old pages alive and could hold up every writer. That needs as much
// free space as the file is large.
func (s *Store) Backup(ctx context.Context, w io.Writer) error {
	f, err := s.snapshot(ctx)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer discard(f)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if _, err := io.Copy(stopping{ctx, w}, f); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return nil
}

// snapshot copies the file, as one transaction sees it, to an open temporary file beside it.
func (s *Store) snapshot(ctx context.Context) (*os.File, error) {
	f, err := os.CreateTemp(filepath.Dir(s.path), filepath.Base(s.path)+".*"+copySuffix) // mode 0600
	if err != nil {
		return nil, err
	}
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(stopping{ctx, f})
		return err
	})
	if err != nil {
		discard(f)
		return nil, err
	}
	return f, nil
}

// copySuffix ends the names of temporary copies.
const copySuffix = ".copy"

// sweepCopies removes copies that a killed process has left. Whoever has the file locked makes the only new ones.
func sweepCopies(path string) error {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("look for old copies: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		if !strings.HasPrefix(name, filepath.Base(path)+".") || !strings.HasSuffix(name, copySuffix) {
			continue
		}
		if err := os.Remove(filepath.Join(filepath.Dir(path), name)); err != nil {
			return fmt.Errorf("remove old copy: %w", err)
		}
	}
	return nil
}

func discard(f *os.File) error { return errors.Join(f.Close(), os.Remove(f.Name())) }

// stopping is a writer that ends with its context.
type stopping struct {
	ctx context.Context
	w   io.Writer
}

func (s stopping) Write(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.w.Write(p)
}
