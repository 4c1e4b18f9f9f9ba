package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
)

// kindSubscription is the key space of subscriptions. A key is a keyed hash of the endpoint, so a browser that comes
// again is found again.
const kindSubscription = "web.subscription"

// maxBrowsers is how many browsers of one person are told.
const maxBrowsers = 5

// kept is a subscription as it lies in the store. Until its test has come back it is nobody's address, and goes by
// itself.
type kept struct {
	V        int                `json:"v"`
	Person   approvals.PersonID `json:"person"`
	Address  string             `json:"address"` // Value of the person's address; another person gets another one
	Sealed   []byte             `json:"sealed"`  // the subscription
	Proof    []byte             `json:"proof,omitempty"`
	ProofEnd time.Time          `json:"proof_end,omitzero"`
	Verified time.Time          `json:"verified_at,omitzero"`
	Label    string             `json:"label,omitempty"`   // what its owner knows the browser by
	Used     time.Time          `json:"used_at,omitzero"`  // when it was last heard of, to the day
	Session  string             `json:"session,omitempty"` // the sign-in it was last seen on; empty: of before, or not verified

	read approvals.Record
	sub  *subscription
}

func (c *Channel) nameOf(endpoint string) string {
	return c.root.Name(keys.LabelPush, "endpoint", endpoint)
}

// find returns what is kept under a name, or [approvals.ErrNotFound].
func (c *Channel) find(ctx context.Context, name string) (*kept, error) {
	rec, err := c.records.Get(ctx, kindSubscription, name)
	if err != nil {
		return nil, err
	}
	k := &kept{read: rec, sub: &subscription{}}
	if err := json.Unmarshal(rec.Value, k); err != nil {
		return nil, fmt.Errorf("read subscription: %w", err)
	}
	plain, err := c.root.Open(sealOf(name), k.Sealed)
	if err != nil {
		return nil, fmt.Errorf("read subscription: %w", err)
	}
	if err := json.Unmarshal(plain, k.sub); err != nil {
		return nil, fmt.Errorf("read subscription: %w", err)
	}
	return k, nil
}

// at returns the subscription behind an address. That it belongs to somebody else by now, or that its person was signed out
// everywhere since, is the same as that it is gone.
func (c *Channel) at(ctx context.Context, to approvals.Address) (*kept, error) {
	name, _, _ := strings.Cut(to.Value, ".")
	if name == "" || len(name) > 64 {
		return nil, approvals.ErrNotFound
	}
	k, err := c.find(ctx, name)
	if err != nil {
		return nil, err
	}
	if k.Address != to.Value || k.Verified.IsZero() {
		return nil, approvals.ErrNotFound
	}
	p, err := c.directory.Person(ctx, k.Person)
	if err != nil {
		return nil, err
	}
	if !k.told(p) {
		return nil, approvals.ErrNotFound
	}
	return k, nil
}

func sealOf(name string) string { return kindSubscription + "/" + name }

// write keeps k over what was read. What is not verified goes when its test is over.
func (k *kept) write() approvals.Write {
	value, _ := json.Marshal(k) // strings, bytes and times: cannot fail
	expires := time.Time{}
	if k.Verified.IsZero() {
		expires = k.ProofEnd
	}
	return approvals.Replace(k.read, value, expires)
}

func (k *kept) forget() approvals.Write {
	return approvals.Delete(kindSubscription, k.read.Key, k.read.Revision)
}

// maxTries bounds how often a change starts again because somebody was faster.
const maxTries = 4

// change makes a change of one subscription, and tries again when somebody was faster.
func change(f func() error) (err error) {
	for range maxTries {
		if err = f(); !errors.Is(err, approvals.ErrConflict) {
			return err
		}
	}
	return err
}

// retire forgets a subscription together with its person's address. Of one that was renewed meanwhile nothing is
// forgotten; if it is gone, the next message finds out again. removed, unless nil, is
// how the person is told of it: the browser has not ended it by itself.
func (c *Channel) retire(ctx context.Context, k *kept, removed func(*approvals.Person) approvals.Write) error {
	p, err := c.directory.Person(ctx, k.Person)
	if errors.Is(err, approvals.ErrNotFound) {
		return c.records.Apply(ctx, k.forget())
	}
	if err != nil {
		return err
	}
	changed := *p
	changed.Addresses = without(p.Addresses, k.Address)
	if len(changed.Addresses) == len(p.Addresses) {
		return c.records.Apply(ctx, k.forget())
	}
	writes := []approvals.Write{k.forget()}
	if removed != nil {
		writes = append(writes, removed(&changed))
	}
	return c.directory.SavePerson(ctx, &changed, writes...)
}

func without(addresses []approvals.Address, value string) []approvals.Address {
	return slices.DeleteFunc(slices.Clone(addresses), func(a approvals.Address) bool {
		return a.Channel == Name && a.Value == value
	})
}
