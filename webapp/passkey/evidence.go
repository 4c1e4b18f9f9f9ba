package passkey

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"

	"assent/approvals"
)

// kindEvidence says what evidence of this form is.
const kindEvidence = "webauthn"

// Evidence is what proves by itself that a key confirmed a decision: all that was signed, and the public half of the key.
// Nothing of ours is needed to check it, now or years later; see [VerifyEvidence]. Whose key it is, is for the record of
// the person to say: Credential names it, and is the one member that no signature covers.
type Evidence struct {
	V          int                       `json:"v"`
	Kind       string                    `json:"kind"`               // "webauthn"
	RP         string                    `json:"rp_id"`              // host of the pages
	Credential protocol.URLEncodedBase64 `json:"credential"`         // SHA-256 of the credential id
	PublicKey  protocol.URLEncodedBase64 `json:"public_key"`         // COSE_Key (RFC 9052)
	Data       protocol.URLEncodedBase64 `json:"authenticator_data"` // WebAuthn, section 6.1
	Client     protocol.URLEncodedBase64 `json:"client_data_json"`   // section 5.8.1
	Signature  protocol.URLEncodedBase64 `json:"signature"`          // over Data and the SHA-256 of Client
	Challenge  string                    `json:"challenge_from"`     // canonical JSON; its SHA-256 is the challenge in Client
}

// evidence keeps what an authenticator has signed.
func (k *Keeper) evidence(c Credential, signed []byte, a *protocol.ParsedCredentialAssertionData) json.RawMessage {
	id := sha256.Sum256(c.ID)
	given := a.Raw.AssertionResponse
	raw, _ := json.Marshal(Evidence{V: 1, Kind: kindEvidence, RP: k.party.Config.RPID, Credential: id[:],
		PublicKey: c.PublicKey, Data: given.AuthenticatorData, Client: given.ClientDataJSON, Signature: given.Signature,
		Challenge: string(signed)}) // bytes and strings: cannot fail
	return raw
}

// maxEvidence bounds what is read as evidence.
const maxEvidence = 4 * maxAnswer

// VerifyEvidence checks that a key, with its user present and verified, signed exactly this matter on pages of that origin.
// It needs nothing but the stored bytes. That the key is the one which was there when it was decided is for the audit record
// of the decision to say, which names the SHA-256 of raw. [ErrRefused] when anything is different, with the step at which
// it was.
func VerifyEvidence(raw []byte, m Matter, origin string) (Evidence, error) {
	var e Evidence
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil || len(raw) > maxEvidence || e.V != 1 || e.Kind != kindEvidence {
		return e, fmt.Errorf("read evidence: %w", ErrRefused)
	}
	if err := e.about(m, origin); err != nil {
		return e, err
	}
	if err := e.given(origin); err != nil {
		return e, err
	}
	key, err := webauthncose.ParsePublicKey(e.PublicKey)
	if err != nil {
		return e, fmt.Errorf("public key: %w", ErrRefused)
	}
	client := sha256.Sum256(e.Client)
	if good, err := webauthncose.VerifySignature(key, append(bytes.Clone(e.Data), client[:]...), e.Signature); err != nil || !good {
		return e, fmt.Errorf("signature: %w", ErrRefused)
	}
	return e, nil
}

// EvidenceOrigin returns the origin of the pages that raw says it was signed on, or "". That proves nothing: [VerifyEvidence]
// does, for whoever knows that the pages were there at the time.
func EvidenceOrigin(raw []byte) string {
	var e Evidence
	var client protocol.CollectedClientData
	if len(raw) > maxEvidence || json.Unmarshal(raw, &e) != nil || json.Unmarshal(e.Client, &client) != nil {
		return ""
	}
	return client.Origin
}

// about checks that the challenge was made of this matter, and that it is the one in the client data, which come from our
// own page and not from one inside another site's.
func (e Evidence) about(m Matter, origin string) error {
	var c challenged
	if err := json.Unmarshal([]byte(e.Challenge), &c); err != nil || string(m.canonical(c.Nonce)) != e.Challenge {
		return fmt.Errorf("what was decided: %w", ErrRefused)
	}
	var client protocol.CollectedClientData
	sum := sha256.Sum256([]byte(e.Challenge))
	err := json.Unmarshal(e.Client, &client)
	if err != nil || client.Type != protocol.AssertCeremony || client.Origin != origin || client.CrossOrigin || client.Challenge != base64.RawURLEncoding.EncodeToString(sum[:]) {
		return fmt.Errorf("client data: %w", ErrRefused)
	}
	return nil
}

// given checks what the authenticator says about itself.
func (e Evidence) given(origin string) error {
	var data protocol.AuthenticatorData
	rp := sha256.Sum256([]byte(e.RP))
	at, err := url.Parse(origin)
	if err != nil || e.RP == "" || at.Hostname() != e.RP {
		return fmt.Errorf("rp id: %w", ErrRefused)
	}
	if err := data.Unmarshal(e.Data); err != nil || !bytes.Equal(data.RPIDHash, rp[:]) || !data.Flags.HasUserPresent() ||
		!data.Flags.HasUserVerified() {
		return fmt.Errorf("authenticator data: %w", ErrRefused)
	}
	return nil
}

// challenged is the part of a challenge's canonical JSON that a matter does not say.
type challenged struct {
	Nonce string `json:"nonce"`
}

// canonical is what the challenge of a matter is the SHA-256 of (RFC 8785).
func (m Matter) canonical(nonce string) []byte {
	return approvals.Canonical(map[string]any{"nonce": nonce, "verb": m.Verb, "disclosure": m.Disclosure,
		"granted": m.Granted})
}
