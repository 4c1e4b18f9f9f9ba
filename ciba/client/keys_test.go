package client

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// TestVerify: what another library signs, with every algorithm that servers use for ID tokens, holds; with one bit
// flipped or with another algorithm's name it does not.
func TestVerify(t *testing.T) {
	curve, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, edwards, err2 := ed25519.GenerateKey(rand.Reader)
	modulus, err3 := rsa.GenerateKey(rand.Reader, 2048)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	for alg, key := range map[string]crypto.Signer{algES256: curve, algEdDSA: edwards, algPS256: modulus, algRS256: modulus} {
		t.Run(alg, func(t *testing.T) {
			one, err := json.Marshal(jose.JSONWebKey{Key: key.Public(), KeyID: "k", Use: "sig"})
			if err != nil {
				t.Fatal(err)
			}
			c := &Client{}
			c.keys.keep(readKeys([]json.RawMessage{[]byte(`{"kty":"oct","k":"AA"}`), []byte(`7`), one}), time.Now())
			options := (&jose.SignerOptions{}).WithHeader("kid", "k")
			signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: key}, options)
			if err != nil {
				t.Fatal(err)
			}
			made, err := signer.Sign([]byte(`{}`))
			if err != nil {
				t.Fatal(err)
			}
			text, err := made.CompactSerialize()
			if err != nil {
				t.Fatal(err)
			}
			j, err := readJWS(text)
			if err != nil {
				t.Fatal(err)
			}
			if good, err := c.verify(t.Context(), j); !good || err != nil {
				t.Errorf("verify: %v, %v", good, err)
			}
			j.signature[7] ^= 1
			if good, _ := c.verify(t.Context(), j); good {
				t.Error("a flipped bit was not seen")
			}
			j.signature[7] ^= 1
			for _, other := range []string{"none", "HS256", algES256, algEdDSA} {
				if j.header.Alg = other; other != alg {
					if good, _ := c.verify(t.Context(), j); good {
						t.Errorf("verified as %s", other)
					}
				}
			}
		})
	}
}

// TestKeysFloor: an unknown kid sends the client to the server's key set, but not each time, and a lost answer is asked
// for again: the token that waits for it may be had only once.
func TestKeysFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		fake := roundTrip(func(*http.Request) (*http.Response, error) {
			if calls++; calls == 1 {
				return nil, errors.New("reset")
			}
			return respond(200, `{"keys":[]}`, ""), nil
		})
		c := &Client{http: &http.Client{Transport: fake}}
		c.server.JWKS = "https://s.example/k"
		for range 3 {
			if found, err := c.keysFor(t.Context(), "k", algES256); err != nil || found != nil {
				t.Errorf("%v, %v", found, err)
			}
		}
		if calls != 2 {
			t.Errorf("%d calls", calls)
		}
		time.Sleep(keysFloor)
		if _, err := c.keysFor(t.Context(), "k", algES256); err != nil || calls != 3 {
			t.Errorf("%d calls, %v", calls, err)
		}
	})
}
