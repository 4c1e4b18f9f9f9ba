package ciba

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
)

// Record kinds of answers that may be asked for again.
const (
	kindAsked    = "ciba.asked"
	kindRedeemed = "ciba.redeemed"
)

// How long an answer may be asked for again.
const (
	askedLifetime    = 10 * time.Minute
	redeemedLifetime = 60 * time.Second
)

// maxKey is the longest Idempotency-Key.
const maxKey = 255

// keptAnswer is a sealed answer and the keyed digests of the request that it belongs to.
type keptAnswer struct {
	V      int    `json:"v"`
	Body   []byte `json:"body"`   // keyed digest of the request's parameters
	Holder []byte `json:"holder"` // keyed digest of the key that the agent showed
	Sealed []byte `json:"sealed"` // the answer
}

// once is one use of an Idempotency-Key: the record that it means and the content that it goes with.
type once struct {
	records approvals.Records
	root    *keys.Root
	kind    string
	name    string
	body    []byte
	holder  []byte
}

// onceOf returns nil for a request without the header.
func (h *Handler) onceOf(c *call, kind string) (*once, error) {
	lines := c.r.Header["Idempotency-Key"]
	if len(lines) == 0 || len(lines) == 1 && lines[0] == "" {
		return nil, nil
	}
	key := lines[0]
	if len(key) > maxKey || len(lines) > 1 {
		return nil, badRequest("The Idempotency-Key header must be one value of at most 255 bytes.")
	}
	return &once{records: h.Records, root: h.Root, kind: kind,
		name:   h.Root.Name(keys.LabelLookup, kind, string(c.agent.ID), key),
		body:   h.Root.MAC(keys.LabelLookup, append([]string{kind, "body"}, c.form.wants()...)...),
		holder: h.Root.MAC(keys.LabelLookup, append([]string{kind, "holder"}, c.cnf.parts()...)...)}, nil
}

// put is the write that keeps an answer for a while, together with what it answers. It fails if the key is taken.
func (o *once) put(answer []byte, until time.Time) approvals.Write {
	sealed := o.root.Seal(o.purpose(), answer)
	value, _ := json.Marshal(keptAnswer{V: 1, Body: o.body, Holder: o.holder, Sealed: sealed}) // a number and bytes: cannot fail
	return approvals.PutNew(o.kind, o.name, value, until)
}

func (o *once) purpose() string { return o.kind + "/" + o.name }

// find returns the kept answer, [approvals.ErrNotFound] if there is none, or a fault when the key was used with another
// request.
func (o *once) find(ctx context.Context) ([]byte, error) {
	rec, err := o.records.Get(ctx, o.kind, o.name)
	if err != nil {
		return nil, err
	}
	var kept keptAnswer
	if err := json.Unmarshal(rec.Value, &kept); err != nil {
		return nil, fmt.Errorf("read kept answer: %w", err)
	}
	if subtle.ConstantTimeCompare(kept.Body, o.body) != 1 {
		return nil, errKeyReused
	}
	if subtle.ConstantTimeCompare(kept.Holder, o.holder) != 1 {
		return nil, o.stranger()
	}
	answer, err := o.root.Open(o.purpose(), kept.Sealed)
	if err != nil {
		return nil, fmt.Errorf("open kept answer: %w", err)
	}
	return answer, nil
}

// stranger is the answer to the same call with another key, or without the one that the answer is bound to. An agent
// that asks may have made a new key; tokens are for the key that they were made for.
func (o *once) stranger() error {
	switch o.kind {
	case kindRedeemed:
		return errUsed
	case kindRefreshed:
		return errRefresh
	}
	return errKeyReused
}

// kept is find for a call that may be the first one with its key, or have none: then there is no answer.
func (o *once) kept(ctx context.Context) ([]byte, error) {
	if o == nil {
		return nil, nil
	}
	answer, err := o.find(ctx)
	if errors.Is(err, approvals.ErrNotFound) {
		return nil, nil
	}
	return answer, err
}

// readOnce looks for the acknowledgement of an earlier request with the same key (REQ-169).
func (a *asking) readOnce() error {
	var err error
	if a.once, err = a.h.onceOf(a.call, kindAsked); err != nil || a.once == nil {
		return err
	}
	a.kept, err = a.once.find(a.r.Context())
	if errors.Is(err, approvals.ErrNotFound) {
		return nil
	}
	return err
}
