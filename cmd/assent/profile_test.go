package main

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// The profile starts only where it can be kept, and takes only clients that keep it.
func TestProfileAtStart(t *testing.T) {
	row(t, "REQ-256", "REQ-262")
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"dev mode on plain HTTP":   {[]string{"--dev", "--profile", "fapi"}, "--profile fapi needs --tls-cert"},
		"dev mode's own issuer":    {[]string{"--dev", "--profile", "fapi", "--tls-cert", "x", "--tls-key", "y"}, "https --issuer"},
		"no terminator":            {[]string{"--profile", "fapi", "--issuer", "https://a.example"}, "--profile fapi needs --tls-cert"},
		"a profile that we do not": {[]string{"--profile", "fapi2"}, "--profile"},
	} {
		if code, said := parseConfig(t, nil, tt.args...); code != exitUsage || !strings.Contains(said, tt.want) {
			t.Errorf("%s: code %d, said %q", name, code, said)
		}
	}
	data := newData(t)
	cert, key := filepath.Join(filepath.Dir(data), "tls.crt"), filepath.Join(filepath.Dir(data), "tls.key")
	if err := writeSelfSigned(cert, key); err != nil {
		t.Fatal(err)
	}
	flags := []string{"--tls-cert", cert, "--tls-key", key}
	args := append(append(devArgs(data), "--profile", "fapi", "--issuer", "https://localhost:8460"), flags...)
	if p, err := startProcess(args, os.Environ()); err == nil {
		p.kill()
		t.Error("started with clients that have secrets")
	} else if !strings.Contains(err.Error(), "clients[0]: token_endpoint_auth_method must not be a secret under the fapi profile") {
		t.Error(err)
	}
	args = append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0", "--profile", "fapi", "--issuer", "https://localhost:8460"}, flags...)
	p, err := startProcess(args, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	if said, code := runs(t, "agent", "add", "--data", data, "New Bot"); code != exitFailed || !strings.Contains(said, "must not be a secret") {
		t.Errorf("agent with a secret: code %d, %s", code, said)
	}
}

// Who was registered before the profile came and cannot keep to it is named by doctor, until an operator disables it.
func TestDoctorNamesTheBarred(t *testing.T) {
	t.Parallel()
	data := newData(t)
	folder := filepath.Dir(data)
	restartDev(t, data).kill()
	cert, key := filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key")
	if err := writeSelfSigned(cert, key); err != nil {
		t.Fatal(err)
	}
	p, err := startProcess([]string{"serve", "--data", data, "--listen", "127.0.0.1:0", "--profile", "fapi",
		"--issuer", "https://localhost:8460", "--tls-cert", cert, "--tls-key", key}, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	if said, code := runs(t, "doctor", "--data", data); code != exitFailed || !strings.Contains(said, "bot, other: profile or listeners bar") {
		t.Errorf("code %d: %s", code, said)
	}
	for _, id := range []string{"bot", "other"} {
		if said, code := runs(t, "agent", "disable", "--data", data, id); code != exitOK {
			t.Fatalf("code %d: %s", code, said)
		}
	}
	if said, code := runs(t, "doctor", "--data", data); code != exitOK {
		t.Errorf("code %d: %s", code, said)
	}
}

// A whole approval under the profile, through the real binary and TLS: a signed request, a token bound to a DPoP key,
// and a resource that takes it.
func TestProfileStory(t *testing.T) {
	row(t, "REQ-253", "REQ-256", "REQ-258")
	t.Parallel()
	data := newData(t)
	folder := filepath.Dir(data)
	cert, secret := filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key")
	if err := writeSelfSigned(cert, secret); err != nil {
		t.Fatal(err)
	}
	key := curveKey(t)
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	all := `{"clients":[{"client_id":"keyed","client_name":"Bank Bot","token_endpoint_auth_method":"private_key_jwt","jwks":` + string(set) +
		`,"backchannel_authentication_request_signing_alg":"ES256","authorization_details_types":["payment_initiation"]}],
		"people":[{"sub":"u_ann","login_hints":["ann"],"name":"Ann"}]}`
	if err := os.WriteFile(filepath.Join(folder, "fixtures.json"), []byte(all), 0o600); err != nil {
		t.Fatal(err)
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	p, err := startProcess([]string{"serve", "--dev", "--profile", "fapi", "--data", data, "--fixtures", filepath.Join(folder, "fixtures.json"),
		"--listen", "127.0.0.1:" + port, "--issuer", "https://localhost:" + port, "--tls-cert", cert, "--tls-key", secret}, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	c := &certified{trust: x509.NewCertPool()}
	served, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	c.trust.AppendCertsFromPEM(served)
	agent := &agentHTTP{issuer: p.issuer, key: true, http: c.client(nil)}
	signedIn := func(form url.Values) url.Values {
		form.Set("client_assertion", assertionOf(t, key, p.issuer))
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		return form
	}
	must(t, 400)(agent.send(t.Context(), "/bc-authorize", signedIn(askForm(nil)), nil)) // unsigned
	form := signedIn(url.Values{"request": {asksFor(t, key, p.issuer)}})
	handle := must(t, 200)(agent.send(t.Context(), "/bc-authorize", form, nil)).member("auth_req_id")
	must(t, 204)(devDecide(t.Context(), agent.http, p.pages, handle, true))
	if a := must(t, 400)(agent.send(t.Context(), "/token", signedIn(pollForm(handle)), nil)); a.member("error") != "invalid_dpop_proof" {
		t.Errorf("without a key: %s", a.body)
	}
	proof := http.Header{"Dpop": {proofBy(t, key, "POST", p.issuer+"/token", "")}}
	token := must(t, 200)(agent.send(t.Context(), "/token", signedIn(pollForm(handle)), proof)).member("access_token")
	a := resource(t, agent.http, p.issuer, "Authorization", "DPoP "+token, "X-FAPI-Interaction-ID", interactionID,
		"DPoP", proofBy(t, key, "GET", p.issuer+"/dev/resource", token))
	if a.status != 200 || a.member("sub") != "u_ann" || a.header.Get("X-Fapi-Interaction-Id") != interactionID {
		t.Errorf("resource: %d %s", a.status, a.body)
	}
}

// asksFor signs what the keyed client asks for.
func asksFor(t *testing.T, key *ecdsa.PrivateKey, issuer string) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	text, err := jwt.Signed(signer).Claims(map[string]any{"iss": "keyed", "aud": issuer, "jti": rand.Text(), "iat": now, "nbf": now,
		"exp": now + 60, "scope": "openid", "login_hint": "ann", "authorization_details": json.RawMessage(pay)}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}
