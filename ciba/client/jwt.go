package client

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Algorithms of RFC 7518 and RFC 8037. We sign with the first three, by the kind of key; RS256 is for ID tokens of
// other servers only.
const (
	algES256 = "ES256"
	algPS256 = "PS256"
	algEdDSA = "EdDSA"
	algRS256 = "RS256"
)

// assertionLife is how long a client assertion may be used: once, at once.
const assertionLife = time.Minute

// Key is a private key that the server knows the public half of. The kind of key decides the algorithm: P-256 signs
// with ES256, RSA of 2048 bits and more with PS256, Ed25519 with EdDSA. It may lie in an HSM: it is never read.
type Key struct {
	Signer crypto.Signer
	ID     string // kid, if the agent's key set has one
}

// signer makes compact JWS (RFC 7515 section 7.1) with one key.
type signer struct {
	key     crypto.Signer
	alg, id string
}

var errKey = errors.New("must be a P-256, Ed25519 or RSA key (2048 bits or more)")

// newSigner returns nil for no key.
func newSigner(k *Key) (*signer, error) {
	if k == nil {
		return nil, nil
	}
	if k.Signer == nil {
		return nil, errKey
	}
	alg := ""
	switch public := k.Signer.Public().(type) {
	case *ecdsa.PublicKey:
		if public.Curve == elliptic.P256() {
			alg = algES256
		}
	case *rsa.PublicKey:
		if public.N.BitLen() >= 2048 {
			alg = algPS256
		}
	case ed25519.PublicKey:
		alg = algEdDSA
	}
	if alg == "" {
		return nil, errKey
	}
	return &signer{k.Signer, alg, k.ID}, nil
}

// sign makes a JWS with a typ, and with a kid if the key has one.
func (s *signer) sign(typ string, claims any) (string, error) {
	header := map[string]any{"typ": typ, "alg": s.alg}
	if s.id != "" {
		header["kid"] = s.id
	}
	return s.signWith(header, claims)
}

func (s *signer) signWith(header map[string]any, claims any) (string, error) {
	head, err := literal(header)
	if err != nil {
		return "", err
	}
	body, err := literal(claims)
	if err != nil {
		return "", err
	}
	input := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body)
	signature, err := s.signature([]byte(input))
	if err != nil {
		return "", err
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func (s *signer) signature(input []byte) ([]byte, error) {
	sum := sha256.Sum256(input)
	switch s.alg {
	case algEdDSA: // signs the message itself (RFC 8037 section 3.1)
		return s.key.Sign(rand.Reader, input, crypto.Hash(0))
	case algPS256:
		return s.key.Sign(rand.Reader, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	}
	der, err := s.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return flatten(der)
}

// flatten turns the ASN.1 that a [crypto.Signer] makes into the 64 bytes of RFC 7518 section 3.4.
func flatten(der []byte) ([]byte, error) {
	var pair struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &pair); err != nil || len(rest) > 0 {
		return nil, errors.New("the key made something that is no ECDSA signature")
	}
	if pair.R.Sign() <= 0 || pair.S.Sign() <= 0 || pair.R.BitLen() > 256 || pair.S.BitLen() > 256 {
		return nil, errors.New("the key made a signature of another curve")
	}
	out := make([]byte, 64)
	pair.R.FillBytes(out[:32])
	pair.S.FillBytes(out[32:])
	return out, nil
}

// assertion shows who the client is (RFC 7523 section 3). The issuer is its only audience, so that no other server can
// use it; jti is new each time.
func (c *Client) assertion() (string, error) {
	now := time.Now()
	return c.key.sign("client-authentication+jwt", map[string]any{"iss": c.config.ID, "sub": c.config.ID,
		"aud": c.config.Issuer, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(assertionLife).Unix()})
}

// literal writes JSON without turning <, > and & into escapes, so that details stay the agent's own bytes.
func literal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("write JSON: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
