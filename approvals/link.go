package approvals

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

const kindLink = "link"

// Link is what a message's short link stands for. The handle in the URL has 72 bits, is kept only as a keyed hash,
// grants nothing by itself and dies with the request.
type Link struct {
	V       int      `json:"v"`
	Request ID       `json:"request"`
	Person  PersonID `json:"person"`
	Channel string   `json:"channel"`
	Attempt int      `json:"attempt"`
}

// Put is the write that makes a link findable. hash is the keyed hash of the handle.
func (l Link) Put(hash string, expires time.Time) Write {
	l.V = 1
	value, _ := json.Marshal(l) // plain strings: cannot fail
	return PutAny(kindLink, hash, value, expires)
}

// FindLink looks a link up by the keyed hash of its handle.
func FindLink(ctx context.Context, records Records, hash string) (Link, error) {
	rec, err := records.Get(ctx, kindLink, hash)
	if err != nil {
		return Link{}, err
	}
	var l Link
	if err := json.Unmarshal(rec.Value, &l); err != nil {
		return Link{}, fmt.Errorf("read link: %w", err)
	}
	return l, nil
}
