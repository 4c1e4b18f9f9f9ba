package client

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"
)

// The server's key set is fetched when a key is not known, but not more often than this.
const keysFloor = time.Minute

// maxKeys is how many keys of a set are looked at.
const maxKeys = 64

// publicKey is a key of the server's set (RFC 7517).
type publicKey struct {
	id, alg string // "": not said
	key     crypto.PublicKey
}

// keyCache keeps the server's key set.
type keyCache struct {
	mu      sync.Mutex
	keys    []publicKey
	fetched time.Time
}

func (k *keyCache) find(kid, alg string) (found []crypto.PublicKey, fetched time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, one := range k.keys {
		if (kid == "" || one.id == kid) && (one.alg == "" || one.alg == alg) && fits(alg, one.key) {
			found = append(found, one.key)
		}
	}
	return found, k.fetched
}

func (k *keyCache) keep(keys []publicKey, at time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys, k.fetched = keys, at
}

// keysFor returns the keys that may have made a signature, after a look at the server's set if there is none here.
func (c *Client) keysFor(ctx context.Context, kid, alg string) ([]crypto.PublicKey, error) {
	found, fetched := c.keys.find(kid, alg)
	if len(found) > 0 || c.server.JWKS == "" || time.Since(fetched) < keysFloor {
		return found, nil
	}
	if err := c.fetchKeys(ctx); err != nil {
		return nil, fmt.Errorf("fetch keys: %w", err)
	}
	found, _ = c.keys.find(kid, alg)
	return found, nil
}

// fetchKeys tries a few times: the token that waits to be verified may be had only once.
func (c *Client) fetchKeys(ctx context.Context) error {
	r := newRetry(time.Now().Add(askPatience))
	for {
		at := time.Now()
		var set struct {
			Keys []json.RawMessage `json:"keys"`
		}
		err := c.get(ctx, c.server.JWKS, &set)
		if err == nil {
			c.keys.keep(readKeys(set.Keys), at)
			return nil
		}
		pause, again := r.after(err)
		if !again || ctx.Err() != nil {
			return err
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// readKeys takes the keys that we can use; others are skipped (RFC 7517 section 5).
func readKeys(list []json.RawMessage) (keys []publicKey) {
	for _, raw := range list[:min(len(list), maxKeys)] {
		if k, err := readKey(raw); err == nil {
			keys = append(keys, k)
		}
	}
	return keys
}

var errJWK = errors.New("is not a public key that we can use")

func readKey(raw []byte) (publicKey, error) {
	var j struct {
		Kty, Use, Kid, Alg, Crv string
		X, Y, N, E              part
	}
	if err := json.Unmarshal(raw, &j); err != nil || j.Use != "" && j.Use != "sig" {
		return publicKey{}, errJWK
	}
	k := publicKey{id: j.Kid, alg: j.Alg}
	switch {
	case j.Kty == "EC" && j.Crv == "P-256" && len(j.X) == 32 && len(j.Y) == 32:
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, j.X...), j.Y...))
		k.key = key
		return k, err
	case j.Kty == "OKP" && j.Crv == "Ed25519" && len(j.X) == ed25519.PublicKeySize:
		k.key = ed25519.PublicKey(j.X)
		return k, nil
	case j.Kty == "RSA" && len(j.E) > 0 && len(j.E) <= 4 && len(j.N) >= 256 && len(j.N) <= 1024:
		k.key = &rsa.PublicKey{N: new(big.Int).SetBytes(j.N), E: int(new(big.Int).SetBytes(j.E).Int64())}
		return k, nil
	}
	return publicKey{}, errJWK
}

// part is a base64url member of a JWK or part of a JWS.
type part []byte

// UnmarshalText decodes without padding (RFC 7515 section 2).
func (p *part) UnmarshalText(text []byte) (err error) {
	*p, err = base64.RawURLEncoding.Strict().DecodeString(string(text))
	return err
}

func fits(alg string, key crypto.PublicKey) bool {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		return alg == algES256
	case ed25519.PublicKey:
		return alg == algEdDSA
	case *rsa.PublicKey:
		return (alg == algPS256 || alg == algRS256) && key.N.BitLen() >= 2048
	}
	return false
}

// signedBy reports whether key made the signature with alg.
func signedBy(key crypto.PublicKey, alg string, input, signature []byte) bool {
	sum := sha256.Sum256(input)
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if len(signature) != 64 {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
		return ecdsa.Verify(key, sum[:], r, s)
	case ed25519.PublicKey:
		return ed25519.Verify(key, input, signature)
	case *rsa.PublicKey:
		if alg == algRS256 {
			return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) == nil
		}
		salt := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
		return rsa.VerifyPSS(key, crypto.SHA256, sum[:], signature, salt) == nil
	}
	return false
}

// jws is a compact JWS whose parts have been read and whose signature has not been checked.
type jws struct {
	header struct {
		Alg, Kid, Typ string
		Crit          json.RawMessage
	}
	payload          []byte
	input, signature []byte
}

var errJWS = errors.New("is not a JWS that we can read")

func readJWS(text string) (*jws, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 || strings.ContainsAny(text, "\r\n") { // which the decoder would skip
		return nil, errJWS
	}
	var raw [3]part
	for i, p := range parts {
		if err := raw[i].UnmarshalText([]byte(p)); err != nil {
			return nil, errJWS
		}
	}
	j := &jws{payload: raw[1], input: []byte(parts[0] + "." + parts[1]), signature: raw[2]}
	if err := json.Unmarshal(raw[0], &j.header); err != nil || j.header.Crit != nil {
		return nil, errJWS
	}
	return j, nil
}

// verify finds the server's key that made the signature.
func (c *Client) verify(ctx context.Context, j *jws) (bool, error) {
	keys, err := c.keysFor(ctx, j.header.Kid, j.header.Alg)
	if err != nil {
		return false, err
	}
	for _, key := range keys {
		if signedBy(key, j.header.Alg, j.input, j.signature) {
			return true, nil
		}
	}
	return false, nil
}
