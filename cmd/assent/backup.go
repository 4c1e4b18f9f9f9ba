package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

type backupCmd struct {
	Data string `default:"${data}" env:"ASSENT_DATA" help:"Data folder of the running service."`
	JSON bool   `help:"Print JSON."`
	To   string `arg:"" help:"File to write. It must not exist."`
}

// Run writes a copy of the store that is either whole and synced, or not there at all.
func (c *backupCmd) Run(ctx context.Context, s streams) error {
	api, err := newAdminClient(c.Data)
	if err != nil {
		return err
	}
	if _, err := os.Stat(c.To); err == nil {
		return &exitError{exitUsage, fmt.Errorf("%s exists", c.To)}
	}
	resp, err := api.open(ctx, "GET", "/backup", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	size, err := writeWhole(c.To, resp.Body)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(map[string]any{"file": c.To, "bytes": size, "root_key_included": false})
	}
	_, err = fmt.Fprintf(s.out, "%s: %d bytes\n\nThe root key is not in it. Keep a copy of %s in another place:\nwithout it nothing in the backup opens.\n",
		c.To, size, filepath.Join(c.Data, "root.key"))
	return err
}

// writeWhole copies src to a new file beside path, syncs it and moves it there.
func writeWhole(path string, src io.Reader) (size int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".backup-*")
	if err != nil {
		return 0, err
	}
	size, err = io.Copy(f, src)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return 0, errors.Join(err, os.Remove(f.Name()))
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return size, err
	}
	return size, errors.Join(folder.Sync(), folder.Close())
}
