package passkey

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
	"github.com/go-webauthn/webauthn/webauthn"

	"assent/approvals"
)

// algorithms are what a new passkey may sign with: what platforms make, and what keys in hardware do.
func algorithms() []protocol.CredentialParameter {
	var out []protocol.CredentialParameter
	for _, alg := range []webauthncose.COSEAlgorithmIdentifier{webauthncose.AlgES256, webauthncose.AlgEdDSA,
		webauthncose.AlgRS256} {
		out = append(out, protocol.CredentialParameter{Type: protocol.PublicKeyCredentialType, Algorithm: alg})
	}
	return out
}

// BeginAdd makes the options for a new passkey. It writes nothing. [ErrLimit] when the person has as many as they may.
func (k *Keeper) BeginAdd(ctx context.Context, o Owner, bound string) (Options, error) {
	u, s, err := k.user(ctx, o)
	if err != nil {
		return Options{}, err
	}
	if len(s.Credentials) >= Max {
		return Options{}, ErrLimit
	}
	var have []protocol.CredentialDescriptor
	for _, c := range u.creds {
		have = append(have, c.Descriptor())
	}
	options, _, err := k.party.BeginRegistration(u, webauthn.WithExclusions(have),
		webauthn.WithCredentialParameters(algorithms()))
	if err != nil {
		return Options{}, fmt.Errorf("begin passkey: %w", err)
	}
	ticket := k.ticket()
	options.Response.Challenge = k.nonce(forAdding, bound, o.Person, ticket)
	return Options{PublicKey: options.Response, Ticket: ticket}, nil
}

// Addition is a new passkey: what it is called, and how long it is held back from what takes a passkey.
type Addition struct {
	Answer
	Name string
	Hold time.Duration
}

// Add checks the answer and writes the new passkey, together with the writes of the caller.
func (k *Keeper) Add(ctx context.Context, o Owner, bound string, a Addition, also ...approvals.Write) (
	Credential, error) {
	name, err := cleanName(a.Name)
	if err != nil {
		return Credential{}, err
	}
	spent, err := k.spend(a.Ticket)
	if err != nil {
		return Credential{}, err
	}
	u, s, err := k.user(ctx, o)
	if err != nil {
		return Credential{}, err
	}
	if len(s.Credentials) >= Max {
		return Credential{}, ErrLimit
	}
	made, err := k.created(ctx, u, bound, a.Answer)
	if err != nil {
		return Credential{}, err
	}
	now := k.Now()
	c := Credential{ID: made.ID, PublicKey: made.PublicKey, SignCount: made.Authenticator.SignCount,
		Transports: transports(made.Transport), BackupEligible: made.Flags.BackupEligible,
		BackedUp: made.Flags.BackupState, Name: name, CreatedAt: now}
	if a.Hold > 0 {
		c.HeldUntil = now.Add(a.Hold)
	}
	s.Credentials = append(s.Credentials, c)
	value, _ := json.Marshal(owner{V: 1, Person: o.Person}) // cannot fail
	writes := append(slices.Clone(also), spent, s.put(),
		approvals.PutNew(kindOwner, k.ownerKey(c.ID), value, time.Time{}))
	if err := k.Records.Apply(ctx, writes...); errors.Is(err, approvals.ErrConflict) {
		return Credential{}, k.refused(ctx, "add", o.Person, err) // sent twice, or somebody has this very passkey
	} else if err != nil {
		return Credential{}, fmt.Errorf("add passkey: %w", err)
	}
	return c, nil
}

// created checks the answer of an authenticator (section 7.1).
func (k *Keeper) created(ctx context.Context, u *user, bound string, a Answer) (*webauthn.Credential, error) {
	if err := a.check(); err != nil {
		return nil, k.refused(ctx, "add", u.Person, err)
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes([]byte(a.Credential))
	if err != nil {
		return nil, k.refused(ctx, "add", u.Person, err)
	}
	if !parsed.Response.AttestationObject.AuthData.Flags.HasUserVerified() {
		return nil, ErrUnverified
	}
	made, err := k.party.CreateCredential(u, webauthn.SessionData{UserID: u.handle,
		Challenge:        base64.RawURLEncoding.EncodeToString(k.nonce(forAdding, bound, u.Person, a.Ticket)),
		UserVerification: protocol.VerificationRequired, CredParams: algorithms()}, parsed)
	if err != nil {
		return nil, k.refused(ctx, "add", u.Person, err)
	}
	return made, nil
}

// maxTransports is how many ways to reach an authenticator are kept; the specification names six.
const maxTransports = 8

func transports(given []protocol.AuthenticatorTransport) []string {
	var out []string
	for _, t := range given {
		if len(out) < maxTransports && len(t) <= 32 {
			out = append(out, string(t))
		}
	}
	return out
}

// maxName is the longest name of a passkey, in code points.
const maxName = 60

func cleanName(name string) (string, error) {
	name = strings.TrimSpace(name)
	if len([]rune(name)) > maxName || approvals.Visible(name) != name {
		return "", &approvals.FieldError{Field: "name", Rule: "must have at most 60 visible characters"}
	}
	return name, nil
}
