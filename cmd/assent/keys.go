package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"assent/ciba"
)

type keysCmd struct {
	Rotate keysRotateCmd `cmd:"" help:"Start signing with the next key. Old keys stay published until the last token they signed is over."`
}

type keysRotateCmd struct{ adminFlags }

// Run rotates the signing keys of a running service.
func (c *keysRotateCmd) Run(ctx context.Context, s streams) error {
	api, err := newAdminClient(c.Data)
	if err != nil {
		return err
	}
	var done ciba.Rotation
	if err := api.call(ctx, "POST", "/keys/rotate", nil, &done); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(done)
	}
	_, err = fmt.Fprintf(s.out, "%s signs from %s; the key before it stays published until %s\n",
		done.KeyID, done.SignsFrom.Format(time.RFC3339), done.OldUntil.Format(time.RFC3339))
	return err
}
