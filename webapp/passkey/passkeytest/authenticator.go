package passkeytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// Flags of authenticator data (section 6.1).
const (
	flagPresent  = 1 << 0
	flagVerified = 1 << 2
	flagEligible = 1 << 3
	flagBackedUp = 1 << 4
	flagAttested = 1 << 6
)

// Authenticator is a device with one person in front of it. Its members may be changed between ceremonies.
type Authenticator struct {
	Origin     string // what the browser says it is on
	CrossFrame bool   // the browser says that it is in a frame of another site
	Unverified bool   // does not verify the user
	Synced     bool   // passkeys may be copied
	Counts     bool   // has a signature counter

	passkeys []*passkey
}

type passkey struct {
	id     []byte
	handle []byte
	rp     string
	key    *ecdsa.PrivateKey
	count  uint32
}

// options is what both ceremonies' options have in common, and what each has of its own.
type options struct {
	PublicKey struct {
		Challenge string `json:"challenge"`
		RPID      string `json:"rpId"`
		RP        struct {
			ID string `json:"id"`
		} `json:"rp"`
		User struct {
			ID string `json:"id"`
		} `json:"user"`
		Exclude []descriptor `json:"excludeCredentials"`
		Allow   []descriptor `json:"allowCredentials"`
	} `json:"publicKey"`
}

type descriptor struct {
	ID string `json:"id"`
}

func read(raw []byte) (options, error) {
	var o options
	err := json.Unmarshal(raw, &o)
	return o, err
}

// Create answers the options of a registration with a RegistrationResponseJSON.
func (a *Authenticator) Create(raw []byte) (string, error) {
	o, err := read(raw)
	if err != nil {
		return "", err
	}
	for _, d := range o.PublicKey.Exclude {
		if a.find(d.ID) != nil {
			return "", fmt.Errorf("InvalidStateError")
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	handle, err := base64.RawURLEncoding.DecodeString(o.PublicKey.User.ID)
	if err != nil {
		return "", err
	}
	p := &passkey{id: make([]byte, 32), handle: handle, rp: o.PublicKey.RP.ID, key: key}
	rand.Read(p.id)
	a.passkeys = append(a.passkeys, p)

	attested := append(make([]byte, 16), byte(len(p.id)>>8), byte(len(p.id)))
	attested = append(append(attested, p.id...), p.cose()...)
	data := append(a.data(p, flagAttested), attested...)
	object := append([]byte{0xa3}, text("fmt")...)
	object = append(append(object, text("none")...), text("attStmt")...)
	object = append(append(object, 0xa0), text("authData")...)
	object = append(object, blob(data)...)
	return a.answer(p, map[string]any{"clientDataJSON": b64(a.client("webauthn.create", o.PublicKey.Challenge)),
		"attestationObject": b64(object), "transports": []string{"internal"}}), nil
}

// Get answers the options of an assertion with an AuthenticationResponseJSON, by the first passkey that fits.
func (a *Authenticator) Get(raw []byte) (string, error) {
	o, err := read(raw)
	if err != nil {
		return "", err
	}
	for _, p := range a.passkeys {
		if p.rp == o.PublicKey.RPID && p.allowed(o.PublicKey.Allow) {
			return a.sign(p, o.PublicKey.Challenge)
		}
	}
	return "", fmt.Errorf("NotAllowedError")
}

func (a *Authenticator) sign(p *passkey, challenge string) (string, error) {
	client, data := a.client("webauthn.get", challenge), a.data(p, 0)
	hashed := sha256.Sum256(client)
	signed := sha256.Sum256(append(append([]byte{}, data...), hashed[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, p.key, signed[:])
	if err != nil {
		return "", err
	}
	return a.answer(p, map[string]any{"clientDataJSON": b64(client), "authenticatorData": b64(data),
		"signature": b64(signature), "userHandle": b64(p.handle)}), nil
}

// Rewind sets every counter back, as on a copy that was made earlier.
func (a *Authenticator) Rewind() {
	for _, p := range a.passkeys {
		p.count = 0
	}
}

func (a *Authenticator) find(id string) *passkey {
	for _, p := range a.passkeys {
		if b64(p.id) == id {
			return p
		}
	}
	return nil
}

func (p *passkey) allowed(list []descriptor) bool {
	for _, d := range list {
		if d.ID == b64(p.id) {
			return true
		}
	}
	return len(list) == 0
}

// data is authenticator data without an attested credential.
func (a *Authenticator) data(p *passkey, flags byte) []byte {
	flags |= flagPresent
	if !a.Unverified {
		flags |= flagVerified
	}
	if a.Synced {
		flags |= flagEligible | flagBackedUp
	}
	if a.Counts {
		p.count++
	}
	rp := sha256.Sum256([]byte(p.rp))
	return binary.BigEndian.AppendUint32(append(rp[:], flags), p.count)
}

func (a *Authenticator) client(kind, challenge string) []byte {
	raw, _ := json.Marshal(map[string]any{"type": kind, "challenge": challenge, "origin": a.Origin,
		"crossOrigin": a.CrossFrame}) // cannot fail
	return raw
}

func (a *Authenticator) answer(p *passkey, response map[string]any) string {
	raw, _ := json.Marshal(map[string]any{"id": b64(p.id), "rawId": b64(p.id), "type": "public-key",
		"authenticatorAttachment": "platform", "clientExtensionResults": map[string]any{}, "response": response})
	return string(raw) // cannot fail
}

// cose is the public key as a COSE_Key (RFC 9052 section 7): EC2, ES256, P-256, x, y.
func (p *passkey) cose() []byte {
	point, _ := p.key.PublicKey.Bytes() // 4, x, y; cannot fail for P-256
	out := []byte{0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21}
	out = append(append(out, blob(point[1:33])...), 0x22)
	return append(out, blob(point[33:])...)
}

// text and blob are CBOR strings (RFC 8949) of lengths below 65,536.
func text(s string) []byte { return append(head(0x60, len(s)), s...) }

func blob(b []byte) []byte { return append(head(0x40, len(b)), b...) }

func head(major byte, n int) []byte {
	switch {
	case n < 24:
		return []byte{major | byte(n)}
	case n < 256:
		return []byte{major | 24, byte(n)}
	}
	return []byte{major | 25, byte(n >> 8), byte(n)}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
