package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// A client's keys are fetched from the place that it chose, through the guarded client: in dev mode from this machine,
// in an installation never. The trap counts what reaches it.
func TestKeysFromJWKSURI(t *testing.T) {
	row(t, "REQ-284")
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: private.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM, err := selfSigned("localhost")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	var served atomic.Int32
	host := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		w.Header().Set("Content-Type", "application/json")
		w.Write(set)
	}))
	host.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	host.StartTLS()
	defer host.Close()
	place := "https://localhost" + host.URL[strings.LastIndex(host.URL, ":"):]

	data := newData(t)
	folder := filepath.Dir(data)
	trust := filepath.Join(folder, "ca.pem")
	client := fmt.Sprintf(`{"client_id":"keyed","client_name":"Keyed Bot","token_endpoint_auth_method":"private_key_jwt",
	  "jwks_uri":%q,"authorization_details_types":["payment_initiation"]}`, place)
	all := `{"clients":[` + client + `],"people":[{"sub":"u_ann","login_hints":["ann"],"name":"Ann"}]}`
	for path, text := range map[string]string{trust: string(certPEM), filepath.Join(folder, "fixtures.json"): all} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := append(os.Environ(), "SSL_CERT_FILE="+trust)
	start := func(args ...string) *process {
		t.Helper()
		p, err := startProcess(args, env)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.kill)
		return p
	}

	dev := start(devArgs(data)...)
	must(t, 200)(askWith(t, dev.issuer, assertionOf(t, private, dev.issuer)))
	if served.Swap(0) == 0 {
		t.Error("accepted without having fetched the key")
	}

	const issuer = "https://approve.example.com"
	dev.kill()
	real := start("serve", "--data", data, "--listen", "127.0.0.1:0", "--issuer", issuer, "--trusted-proxy", "127.0.0.1/32")
	api, err := newAdminClient(data)
	if err != nil {
		t.Fatal(err)
	}
	inside := fmt.Sprintf(`"jwks_uri":%q`, place)
	for metadata, field := range map[string]string{
		`{"client_id":"later","token_endpoint_auth_method":"private_key_jwt",` + inside + `}`: "jwks_uri",
		`{"client_id":"later","login_hint_token_issuers":[{"issuer":"x",` + inside + `}]}`:    "login_hint_token_issuers[0].jwks_uri",
	} {
		err := api.call(t.Context(), "POST", "/agents", newAgent{Metadata: []byte(metadata)}, nil)
		if err == nil || !strings.Contains(err.Error(), field+" must be at a public address") {
			t.Errorf("registered in an installation: %v", err)
		}
	}
	listen := regexp.MustCompile(`"listen":"([^"]+)"`).FindStringSubmatch(real.log())
	form := askForm(url.Values{"client_assertion": {assertionOf(t, private, issuer)},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}})
	req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+listen[1]+"/bc-authorize", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("X-Forwarded-Proto", "https")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized || served.Load() != 0 {
		t.Errorf("an installation: status %d, and %d calls reached an inside address", resp.StatusCode, served.Load())
	}
}
