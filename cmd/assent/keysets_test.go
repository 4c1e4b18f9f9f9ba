package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// A client's jwks_uri is fetched by the guarded client: in dev mode this machine is reached under its own name, and
// under no other (REQ-284). The same trap stands behind all of them.
func TestKeySetsAreGuarded(t *testing.T) {
	row(t, "REQ-284")
	tr := newTrap(t)
	hosts := map[string]string{"inside": "0.0.0.0", "any": "[::]", "metadata": "169.254.169.254", "own": "127.0.0.1"}
	for i, host := range ownAddresses(t) {
		hosts[fmt.Sprint("neighbour", i)] = host
	}
	agents := ""
	for id, host := range hosts {
		agents += fmt.Sprintf(`{"client_id": %q, "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": %q},`, id, tr.url(host))
	}
	data := newData(t)
	all := strings.Replace(fixtures, `"clients": [`, `"clients": [`+agents, 1)
	if err := os.WriteFile(filepath.Join(data, "..", "fixtures.json"), []byte(all), 0o600); err != nil {
		t.Fatal(err)
	}
	p := restartDev(t, data)
	for id, host := range hosts {
		if id == "own" {
			continue
		}
		if a := askSigned(t, p.issuer, id); a.status == 200 || tr.count.Load() != 0 {
			t.Errorf("%s: status %d, %d connections", host, a.status, tr.count.Load())
		}
	}
	if strings.Contains(p.log(), "169.254.") {
		t.Error("the log names an address")
	}
	if a := askSigned(t, p.issuer, "own"); a.status == 200 || tr.count.Load() == 0 {
		t.Errorf("own: status %d, %d connections: the trap does not work", a.status, tr.count.Load())
	}
}

// askSigned asks with an assertion whose key is nowhere.
func askSigned(t *testing.T, issuer, id string) wireAnswer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k1"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	assertion, err := jwt.Signed(signer).Claims(jwt.Claims{Issuer: id, Subject: id, Audience: jwt.Audience{issuer}, ID: rand.Text(),
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Minute))}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	agent := &agentHTTP{issuer: issuer, http: bot(issuer).http, key: true}
	a, err := agent.ask(t.Context(), url.Values{"client_id": {id}, "client_assertion": {assertion},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
