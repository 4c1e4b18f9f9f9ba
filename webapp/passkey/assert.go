package passkey

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"assent/approvals"
)

// Proof is a person who was verified just now. It counts only once its writes are made, which must commit together with
// what it is for: they spend the challenge and note the use.
type Proof struct {
	Person approvals.PersonID
	AMR    []string // RFC 8176
	At     time.Time
	Held   bool // the passkey is too new for what takes one
	Writes []approvals.Write

	Evidence json.RawMessage // of a confirmation: an [Evidence]
}

// Hint says where the person expects to find their passkey (PublicKeyCredentialHint, section 5.8.7). Browsers begin there,
// and go by themselves where they know no hints.
type Hint string

// Elsewhere is a phone or tablet that is at hand, which the browser reaches by a QR code and over the air.
const Elsewhere = Hint(protocol.PublicKeyCredentialHintHybrid)

func expecting(hints []Hint) webauthn.LoginOption {
	var listed []protocol.PublicKeyCredentialHints
	for _, h := range hints {
		listed = append(listed, protocol.PublicKeyCredentialHints(h))
	}
	return webauthn.WithAssertionPublicKeyCredentialHints(listed)
}

// BeginSignIn makes the options for signing in with any passkey of anybody (discoverable credentials, section 6.3.3).
// It writes nothing.
func (k *Keeper) BeginSignIn(bound string, hints ...Hint) (Options, error) {
	options, _, err := k.party.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired), expecting(hints))
	if err != nil {
		return Options{}, fmt.Errorf("begin sign-in: %w", err)
	}
	ticket := k.ticket()
	options.Response.Challenge = k.nonce(forSigningIn, bound, "", ticket)
	return Options{PublicKey: options.Response, Ticket: ticket}, nil
}

// SignIn finds out who answered.
func (k *Keeper) SignIn(ctx context.Context, bound string, a Answer) (Proof, error) {
	parsed, err := k.parse(ctx, forSigningIn, "", a)
	if err != nil {
		return Proof{}, err
	}
	proof, _, err := k.assert(ctx, forSigningIn, a.Ticket, parsed, "", k.nonce(forSigningIn, bound, "", a.Ticket))
	return proof, err
}

// BeginConfirm makes the options for one decision of a person. It writes nothing. [ErrUnknown] when they have no
// passkey.
func (k *Keeper) BeginConfirm(ctx context.Context, p approvals.PersonID, bound string, m Matter, hints ...Hint) (Options, error) {
	u, _, err := k.user(ctx, Owner{Person: p})
	if err != nil {
		return Options{}, err
	}
	if len(u.creds) == 0 {
		return Options{}, ErrUnknown
	}
	options, _, err := k.party.BeginLogin(u, webauthn.WithUserVerification(protocol.VerificationRequired), expecting(hints))
	if err != nil {
		return Options{}, fmt.Errorf("begin confirmation: %w", err)
	}
	ticket := k.ticket()
	options.Response.Challenge = challengeOf(m.signed(k.nonce(forConfirming, bound, p, ticket)))
	return Options{PublicKey: options.Response, Ticket: ticket}, nil
}

// Confirm checks that this person, on this sign-in, confirmed exactly this matter.
func (k *Keeper) Confirm(ctx context.Context, p approvals.PersonID, bound string, m Matter, a Answer) (Proof, error) {
	signed := m.signed(k.nonce(forConfirming, bound, p, a.Ticket))
	parsed, err := k.parse(ctx, forConfirming, p, a)
	if err != nil {
		return Proof{}, err
	}
	proof, c, err := k.assert(ctx, forConfirming, a.Ticket, parsed, p, challengeOf(signed))
	if err == nil {
		proof.Evidence = k.evidence(c, signed, parsed)
	}
	return proof, err
}

// parse reads an answer whose challenge is young enough.
func (k *Keeper) parse(ctx context.Context, purpose string, p approvals.PersonID, a Answer) (
	*protocol.ParsedCredentialAssertionData, error) {
	if _, err := k.spend(a.Ticket); err != nil {
		return nil, err
	}
	if err := a.check(); err != nil {
		return nil, k.refused(ctx, purpose, p, err)
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes([]byte(a.Credential))
	if err != nil {
		return nil, k.refused(ctx, purpose, p, err)
	}
	return parsed, nil
}

// assert checks an assertion over a challenge (section 7.2). want is whose it must be; empty: whoever signed.
func (k *Keeper) assert(ctx context.Context, purpose, ticket string, parsed *protocol.ParsedCredentialAssertionData,
	want approvals.PersonID, challenge []byte) (Proof, Credential, error) {
	spent, err := k.spend(ticket)
	if err != nil {
		return Proof{}, Credential{}, err
	}
	person, err := k.ownerOf(ctx, parsed.RawID)
	if err == nil && want != "" && person != want {
		err = ErrUnknown
	}
	if err != nil {
		return Proof{}, Credential{}, err
	}
	if !parsed.Response.AuthenticatorData.Flags.HasUserVerified() {
		return Proof{}, Credential{}, ErrUnverified
	}
	u, s, err := k.user(ctx, Owner{Person: person})
	if err != nil {
		return Proof{}, Credential{}, err
	}
	used, err := k.party.ValidateLogin(u, webauthn.SessionData{UserID: u.handle,
		Challenge:        base64.RawURLEncoding.EncodeToString(challenge),
		UserVerification: protocol.VerificationRequired}, parsed)
	if err != nil {
		return Proof{}, Credential{}, k.refused(ctx, purpose, person, err)
	}
	return k.prove(ctx, s, used, spent)
}

// prove notes the use of a passkey whose signature was right. A counter that did not move on means that two devices sign
// with one key (section 6.1.1): it is refused, because nobody can tell which of them is the person's.
func (k *Keeper) prove(ctx context.Context, s *shelf, used *webauthn.Credential, spent approvals.Write) (
	Proof, Credential, error) {
	at := s.find(used.ID)
	if at < 0 {
		return Proof{}, Credential{}, ErrUnknown
	}
	if used.Authenticator.CloneWarning {
		k.Log.WarnContext(ctx, "passkey counter went back", "person", s.Person)
		return Proof{}, Credential{}, ErrCloned
	}
	now := k.Now()
	c := &s.Credentials[at]
	c.SignCount, c.BackedUp, c.UsedAt = used.Authenticator.SignCount, used.Flags.BackupState, now
	return Proof{Person: s.Person, AMR: c.amr(), At: now, Held: now.Before(c.HeldUntil),
		Writes: []approvals.Write{spent, s.put()}}, *c, nil
}

// Commit makes the writes of a proof and of what it is for. A challenge that was spent meanwhile is [ErrRefused].
func (k *Keeper) Commit(ctx context.Context, proof Proof, also ...approvals.Write) error {
	err := k.Records.Apply(ctx, append(proof.Writes, also...)...)
	if errors.Is(err, approvals.ErrConflict) {
		return k.refused(ctx, "commit", proof.Person, err)
	}
	if err != nil {
		return fmt.Errorf("use passkey: %w", err)
	}
	return nil
}
