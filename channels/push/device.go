package push

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

// kindDevice is the key space of devices. A key is a keyed hash of the registration token, so a device that comes again
// is found again.
const kindDevice = "push.device"

// device is a device as it lies in the store. Until a test has come through it is nobody's address, and goes by itself.
type device struct {
	V        int                `json:"v"`
	Sealed   []byte             `json:"sealed"`            // the token
	Person   approvals.PersonID `json:"person,omitempty"`  // whose it is; empty: nobody's yet
	Address  string             `json:"address,omitempty"` // Value of the person's address; another person gets another one
	Label    label              `json:"label,omitzero"`
	Verified time.Time          `json:"verified_at,omitzero"`
	Test     *test              `json:"test,omitempty"`

	read  approvals.Record
	token string
}

// label is what a person knows a device by.
type label struct {
	Name     string `json:"name,omitempty"`
	Platform string `json:"platform"`
}

// test is a message on its way to a device, whose code comes back.
type test struct {
	Person approvals.PersonID `json:"person"` // who says that it is theirs
	Label  label              `json:"label"`
	Code   []byte             `json:"code"` // keyed hash
	Ends   time.Time          `json:"ends"`
}

func (t *test) began() time.Time { return t.Ends.Add(-testLife) }

func (c *Channel) keyOf(token string) string {
	return c.cfg.Root.Name(keys.LabelLookup, kindDevice, token)
}

func sealOf(key string) string { return kindDevice + "/" + key }

// find returns the device under a key, or [approvals.ErrNotFound].
func (c *Channel) find(ctx context.Context, key string) (*device, error) {
	if key == "" || len(key) > 64 {
		return nil, approvals.ErrNotFound
	}
	rec, err := c.cfg.Records.Get(ctx, kindDevice, key)
	if err != nil {
		return nil, err
	}
	d := &device{read: rec}
	if err := json.Unmarshal(rec.Value, d); err != nil {
		return nil, fmt.Errorf("read device: %w", err)
	}
	token, err := c.cfg.Root.Open(sealOf(key), d.Sealed)
	if err != nil {
		return nil, fmt.Errorf("read device: %w", err)
	}
	d.token = string(token)
	return d, nil
}

// at returns the device behind an address. One that belongs to somebody else by now, or whose person was signed out
// everywhere since, is gone: a lost phone must not go on showing what waits.
func (c *Channel) at(ctx context.Context, to approvals.Address) (*device, error) {
	key, _, _ := strings.Cut(to.Value, ".")
	d, err := c.find(ctx, key)
	if err != nil {
		return nil, err
	}
	if d.Person == "" || d.Address != to.Value {
		return nil, approvals.ErrNotFound
	}
	p, err := c.cfg.Directory.Person(ctx, d.Person)
	if err != nil {
		return nil, err
	}
	if !d.Verified.After(p.SignedOutAt) {
		return nil, approvals.ErrNotFound
	}
	return d, nil
}

// write keeps d over what was read. What is nobody's goes when its test is over.
func (d *device) write() approvals.Write {
	value, _ := json.Marshal(d) // strings, bytes and times: cannot fail
	expires := time.Time{}
	if d.Person == "" {
		expires = d.Test.Ends
	}
	return approvals.Replace(d.read, value, expires)
}

// maxRounds bounds how often a change starts again because somebody was faster.
const maxRounds = 4

// change makes a change, and tries again when somebody was faster.
func change(f func() error) (err error) {
	for range maxRounds {
		if err = f(); !errors.Is(err, approvals.ErrConflict) {
			return err
		}
	}
	return err
}

// retire forgets a device of that person together with the address. One that is somebody else's by now stays; nothing
// there is [approvals.ErrNotFound].
func (c *Channel) retire(ctx context.Context, person approvals.PersonID, key string,
	removed func(*approvals.Person, *device) approvals.Write) error {
	return change(func() error {
		d, err := c.find(ctx, key)
		if err != nil {
			return err
		}
		if d.Person != person {
			return approvals.ErrNotFound
		}
		gone := approvals.Delete(kindDevice, key, d.read.Revision)
		p, err := c.cfg.Directory.Person(ctx, person)
		if errors.Is(err, approvals.ErrNotFound) {
			return c.cfg.Records.Apply(ctx, gone)
		}
		if err != nil {
			return err
		}
		changed := *p
		changed.Addresses = without(p.Addresses, d.Address)
		if len(changed.Addresses) == len(p.Addresses) {
			return c.cfg.Records.Apply(ctx, gone)
		}
		writes := []approvals.Write{gone}
		if removed != nil {
			writes = append(writes, removed(&changed, d))
		}
		return c.cfg.Directory.SavePerson(ctx, &changed, writes...)
	})
}

func without(addresses []approvals.Address, value string) []approvals.Address {
	return slices.DeleteFunc(slices.Clone(addresses), func(a approvals.Address) bool {
		return a.Channel == Name && a.Value == value
	})
}
