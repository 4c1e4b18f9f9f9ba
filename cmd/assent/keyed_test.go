package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// TestAssertionOutlivesProcess: an assertion that has been used stays used, however the process ends (REQ-061).
func TestAssertionOutlivesProcess(t *testing.T) {
	row(t, "REQ-061")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	data := newData(t)
	addKeyedBot(t, data, key)
	p := restartDev(t, data)
	listen := "127.0.0.1:" + portOf(t, p.issuer)
	endings := []struct {
		name string
		end  func()
	}{
		{"kill -9", func() { p.kill() }},
		{"an orderly end", func() {
			if err := p.stop(); err != nil {
				t.Error(err)
			}
		}},
	}
	for _, ending := range endings {
		used := assertionOf(t, key, p.issuer)
		must(t, 200)(askWith(t, p.issuer, used))
		must(t, 401)(askWith(t, p.issuer, used))
		ending.end()
		p = restartDev(t, data, "--listen", listen)
		if a := must(t, 401)(askWith(t, p.issuer, used)); a.member("error") != "invalid_client" {
			t.Errorf("after %s: %s", ending.name, a.body)
		}
		must(t, 200)(askWith(t, p.issuer, assertionOf(t, key, p.issuer)))
	}
}

func portOf(t *testing.T, issuer string) string {
	t.Helper()
	u, err := url.Parse(issuer)
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// addKeyedBot puts an agent with a key among the fixtures.
func addKeyedBot(t *testing.T, data string, key *ecdsa.PrivateKey) {
	t.Helper()
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k"}}})
	if err != nil {
		t.Fatal(err)
	}
	bot := `{"client_id": "keyed", "token_endpoint_auth_method": "private_key_jwt", "jwks": ` + string(set) + `,
		"authorization_details_types": ["payment_initiation"]},`
	all := strings.Replace(fixtures, `"clients": [`, `"clients": [`+bot, 1)
	if err := os.WriteFile(filepath.Join(data, "..", "fixtures.json"), []byte(all), 0o600); err != nil {
		t.Fatal(err)
	}
}

func assertionOf(t *testing.T, key *ecdsa.PrivateKey, issuer string) string {
	t.Helper()
	return assertionBy(t, key, "keyed", issuer)
}

// assertionBy is an assertion that a client has made.
func assertionBy(t *testing.T, key *ecdsa.PrivateKey, id, issuer string) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	claims, err := json.Marshal(map[string]any{"iss": id, "sub": id, "aud": issuer, "jti": rand.Text(), "iat": now, "exp": now + 200})
	if err != nil {
		t.Fatal(err)
	}
	made, err := signer.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	text, err := made.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func askWith(t *testing.T, issuer, assertion string) (wireAnswer, error) {
	t.Helper()
	form := askForm(url.Values{"client_assertion": {assertion},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}})
	req, err := http.NewRequestWithContext(t.Context(), "POST", issuer+"/bc-authorize", strings.NewReader(form.Encode()))
	if err != nil {
		return wireAnswer{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return do(&http.Client{Timeout: 40 * time.Second}, req)
}
