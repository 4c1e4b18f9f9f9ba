package passkey

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"assent/approvals"
	"assent/approvals/keys"
)

// Record kinds: all passkeys of one person, and whose a credential id is.
const (
	kindShelf = "passkeys"
	kindOwner = "passkey"
)

// Max is how many passkeys one person may have.
const Max = 10

// Credential is one passkey of a person: the public half and what is known about it.
type Credential struct {
	ID             []byte    `json:"id"`
	PublicKey      []byte    `json:"public_key"` // COSE_Key (RFC 9052)
	SignCount      uint32    `json:"sign_count,omitempty"`
	Transports     []string  `json:"transports,omitempty"`
	BackupEligible bool      `json:"backup_eligible,omitempty"` // may be copied to other devices of the person
	BackedUp       bool      `json:"backed_up,omitempty"`
	Name           string    `json:"name,omitempty"`
	CreatedAt      time.Time `json:"created_at"`
	UsedAt         time.Time `json:"used_at,omitzero"`
	HeldUntil      time.Time `json:"held_until,omitzero"` // until then it is too new for what takes a passkey
}

// Key names a passkey in a form of its owner.
func (c Credential) Key() string { return base64.RawURLEncoding.EncodeToString(c.ID) }

// amr says how the person was recognised (RFC 8176): by proof of possession of a key, in the presence of a user, who was
// verified by a second factor. A key that cannot be copied is taken for one in hardware; no maker has attested to it.
func (c Credential) amr() []string {
	if c.BackupEligible {
		return []string{"pop", "swk", "user", "mfa"}
	}
	return []string{"pop", "hwk", "user", "mfa"}
}

// known is the credential as the library wants it.
func (c Credential) known() webauthn.Credential {
	out := webauthn.Credential{ID: c.ID, PublicKey: c.PublicKey,
		Flags: webauthn.CredentialFlags{UserPresent: true, UserVerified: true, BackupEligible: c.BackupEligible,
			BackupState: c.BackedUp},
		Authenticator: webauthn.Authenticator{SignCount: c.SignCount}}
	for _, t := range c.Transports {
		out.Transport = append(out.Transport, protocol.AuthenticatorTransport(t))
	}
	return out
}

// shelf is every passkey of one person, in one record: the limit and the last one are then a matter of compare-and-set.
type shelf struct {
	V           int                `json:"v"`
	Person      approvals.PersonID `json:"person"`
	Credentials []Credential       `json:"credentials"`

	rec approvals.Record
}

func (s *shelf) find(id []byte) int {
	return slices.IndexFunc(s.Credentials, func(c Credential) bool { return bytes.Equal(c.ID, id) })
}

func (s *shelf) put() approvals.Write {
	value, _ := json.Marshal(s) // strings, numbers and times: cannot fail
	return approvals.Replace(s.rec, value, time.Time{})
}

func (k *Keeper) shelf(ctx context.Context, p approvals.PersonID) (*shelf, error) {
	rec, err := k.Records.Get(ctx, kindShelf, string(p))
	if errors.Is(err, approvals.ErrNotFound) {
		return &shelf{V: 1, Person: p, rec: approvals.Record{Kind: kindShelf, Key: string(p)}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read passkeys: %w", err)
	}
	s := &shelf{rec: rec}
	if err := json.Unmarshal(rec.Value, s); err != nil {
		return nil, fmt.Errorf("read passkeys: %w", err)
	}
	since, err := k.Since(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("read person of passkeys: %w", err)
	}
	s.Credentials = slices.DeleteFunc(s.Credentials, func(c Credential) bool {
		return !since.IsZero() && !c.CreatedAt.After(since)
	})
	return s, nil
}

// List returns a person's passkeys, oldest first.
func (k *Keeper) List(ctx context.Context, p approvals.PersonID) ([]Credential, error) {
	s, err := k.shelf(ctx, p)
	if err != nil {
		return nil, err
	}
	return s.Credentials, nil
}

// Any reports whether a person has a passkey. same is the condition that nothing about that has changed.
func (k *Keeper) Any(ctx context.Context, p approvals.PersonID) (some bool, same approvals.Write, err error) {
	s, err := k.shelf(ctx, p)
	if err != nil {
		return false, same, err
	}
	return len(s.Credentials) > 0, approvals.Expect(kindShelf, string(p), s.rec.Revision), nil
}

// Never reports whether a person has never had a passkey: one that is removed or lost counts.
func (k *Keeper) Never(ctx context.Context, p approvals.PersonID) (bool, error) {
	_, err := k.Records.Get(ctx, kindShelf, string(p))
	if errors.Is(err, approvals.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("read passkeys: %w", err)
	}
	return false, nil
}

// owner is whose a credential is.
type owner struct {
	V      int                `json:"v"`
	Person approvals.PersonID `json:"person"`
}

func (k *Keeper) ownerKey(id []byte) string {
	return k.Root.Name(keys.LabelPasskey, "credential", string(id))
}

// ownerOf finds the person of a credential id, or [ErrUnknown].
func (k *Keeper) ownerOf(ctx context.Context, id []byte) (approvals.PersonID, error) {
	rec, err := k.Records.Get(ctx, kindOwner, k.ownerKey(id))
	if errors.Is(err, approvals.ErrNotFound) {
		return "", ErrUnknown
	}
	if err != nil {
		return "", fmt.Errorf("read owner of passkey: %w", err)
	}
	var o owner
	if err := json.Unmarshal(rec.Value, &o); err != nil {
		return "", fmt.Errorf("read owner of passkey: %w", err)
	}
	return o.Person, nil
}

// Remove forgets one passkey, together with the given record writes. The last one stays, with [ErrLast], unless the person
// has another way in.
func (k *Keeper) Remove(ctx context.Context, p approvals.PersonID, key string, otherWay bool, also ...approvals.Write) error {
	id, err := base64.RawURLEncoding.Strict().DecodeString(key)
	if err != nil {
		return ErrUnknown
	}
	s, err := k.shelf(ctx, p)
	if err != nil {
		return err
	}
	at := s.find(id)
	switch {
	case at < 0:
		return ErrUnknown
	case len(s.Credentials) == 1 && !otherWay:
		return ErrLast
	}
	s.Credentials = slices.Delete(s.Credentials, at, at+1)
	err = k.Records.Apply(ctx, append(also, s.put(), approvals.Delete(kindOwner, k.ownerKey(id), approvals.AnyRevision))...)
	if err != nil {
		return fmt.Errorf("remove passkey: %w", err)
	}
	return nil
}
