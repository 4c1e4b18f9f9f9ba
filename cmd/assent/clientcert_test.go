package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// credentials is a certificate and its key, for one end of TLS.
func credentials(t *testing.T, template *x509.Certificate, key crypto.Signer, by *tls.Certificate) tls.Certificate {
	t.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := template, key
	if by != nil {
		parent, signer = by.Leaf, by.PrivateKey.(crypto.Signer)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func curveKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// REQ-076, 262: on the wire, TLS 1.3, or 1.2 with the ECDHE AES-GCM suites, and nothing else. Both listeners are alike.
func TestTLSOnTheWire(t *testing.T) {
	row(t, "REQ-076", "REQ-262")
	modulus, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := func() *x509.Certificate { return &x509.Certificate{DNSNames: []string{"localhost"}} }
	ends := map[string]tls.Certificate{"ECDSA": credentials(t, template(), curveKey(t), nil), "RSA": credentials(t, template(), modulus, nil)}
	suites := append(tls.CipherSuites(), tls.InsecureCipherSuites()...)
	for kind, pair := range ends {
		served := &certificates{cert: &pair, now: func() time.Time { return time.Time{} }}
		for door, config := range map[string]*tls.Config{"public": tlsConfig(served), "certificates": mutualConfig(served)} {
			address := serveTLS(t, config)
			for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS13} {
				err := shake(address, &tls.Config{MinVersion: version, MaxVersion: version})
				if (err == nil) != (version == tls.VersionTLS13) {
					t.Errorf("%s, %s, %s: %v", door, kind, tls.VersionName(version), err)
				}
			}
			for _, suite := range suites {
				if suite.SupportedVersions[0] > tls.VersionTLS12 {
					continue
				}
				err := shake(address, &tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite.ID}})
				want := strings.HasPrefix(suite.Name, "TLS_ECDHE_"+kind+"_WITH_AES_") && strings.Contains(suite.Name, "_GCM_")
				if (err == nil) != want {
					t.Errorf("%s, %s, %s: %v", door, kind, suite.Name, err)
				}
			}
		}
	}
}

// serveTLS shakes hands with whoever comes.
func serveTLS(t *testing.T, config *tls.Config) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.(*tls.Conn).Handshake() // the other end tells how it went
			c.Close()
		}
	}()
	return l.Addr().String()
}

func shake(address string, config *tls.Config) error {
	config.InsecureSkipVerify = true // it is about suites
	c, err := tls.Dial("tcp", address, config)
	if err != nil {
		return err
	}
	return c.Close()
}

// REQ-069 with RFC 9440: a certificate header counts from the terminator only, and never twice.
func TestForwardedCertificate(t *testing.T) {
	row(t, "REQ-069")
	pair := credentials(t, &x509.Certificate{Subject: pkix.Name{CommonName: "agent"}}, curveKey(t), nil)
	binary := ":" + base64.StdEncoding.EncodeToString(pair.Leaf.Raw) + ":"
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Leaf.Raw}))
	escaped := strings.ReplaceAll(url.QueryEscape(text), "+", "%20")
	key := url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})))
	tests := []struct {
		name, from string
		lines      []string
		status     int
		taken      bool
	}{
		{"RFC 9440", "10.0.0.2:1", []string{binary}, 200, true},
		{"escaped PEM", "10.0.0.2:1", []string{escaped}, 200, true},
		{"none", "10.0.0.2:1", nil, 200, false},
		{"empty", "10.0.0.2:1", []string{""}, 200, false},
		{"two", "10.0.0.2:1", []string{binary, binary}, 400, false},
		{"two in one", "10.0.0.2:1", []string{binary + ", " + binary}, 400, false},
		{"two PEM blocks", "10.0.0.2:1", []string{escaped + escaped}, 400, false},
		{"a key", "10.0.0.2:1", []string{key}, 400, false},
		{"open end", "10.0.0.2:1", []string{binary[:len(binary)-1]}, 400, false},
		{"no certificate", "10.0.0.2:1", []string{":AAAA:"}, 400, false},
		{"bare base64", "10.0.0.2:1", []string{strings.Trim(binary, ":")}, 400, false},
		{"broken escape", "10.0.0.2:1", []string{"%zz"}, 400, false},
		{"stranger", "198.51.100.7:1", []string{binary}, 403, false},
	}
	config := &Config{TrustedProxy: "10.0.0.0/24", ClientCertHeader: "Client-Cert"}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var seen *http.Request
			h, err := config.behindProxy(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r }))
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("POST", "/token", nil)
			r.RemoteAddr = tt.from
			r.Header.Set("X-Forwarded-Proto", "https")
			r.Header["Client-Cert"] = tt.lines
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.status || (seen != nil) != (tt.status == 200) {
				t.Fatalf("status %d", w.Code)
			}
			if seen == nil {
				return
			}
			taken := seen.TLS != nil && bytes.Equal(seen.TLS.PeerCertificates[0].Raw, pair.Leaf.Raw)
			if taken != tt.taken || seen.Header.Get("Client-Cert") != "" {
				t.Errorf("taken %v, header %q", taken, seen.Header.Get("Client-Cert"))
			}
		})
	}
	var seen *http.Request
	r := httptest.NewRequest("POST", "/token", nil)
	r.Header.Set("Client-Cert", binary)
	config.direct(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r })).ServeHTTP(httptest.NewRecorder(), r)
	if seen.TLS != nil || seen.Header.Get("Client-Cert") != "" {
		t.Error("a header without a proxy was believed")
	}
}

// holder is an agent of the story with its own way to authenticate and its own key.
type holder struct {
	*agentHTTP
	form url.Values // what it adds to every form
}

// certified is a service with a listener for certificates, and what its clients need to reach it.
type certified struct {
	*process
	data, alias string
	args        []string
	trust       *x509.CertPool
}

// startCertified runs the real binary over TLS with agents that authenticate by certificate or are bound to keys.
func startCertified(t *testing.T, authority, own tls.Certificate) *certified {
	t.Helper()
	c := &certified{data: newData(t), trust: x509.NewCertPool()}
	folder := filepath.Dir(c.data)
	file := func(name string) string { return filepath.Join(folder, name) }
	if err := writeSelfSigned(file("tls.crt"), file("tls.key")); err != nil {
		t.Fatal(err)
	}
	served, err := os.ReadFile(file("tls.crt"))
	if err != nil {
		t.Fatal(err)
	}
	c.trust.AppendCertsFromPEM(served)
	keySet, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: own.Leaf.PublicKey, Certificates: []*x509.Certificate{own.Leaf}}}})
	if err != nil {
		t.Fatal(err)
	}
	agents := fmt.Sprintf(`"clients": [
	  {"client_id": "issued", "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_san_dns": "agent.example",
	   "tls_client_certificate_bound_access_tokens": true, "authorization_details_types": ["payment_initiation"]},
	  {"client_id": "selfmade", "token_endpoint_auth_method": "self_signed_tls_client_auth", "jwks": %s,
	   "tls_client_certificate_bound_access_tokens": true, "authorization_details_types": ["payment_initiation"]},
	  {"client_id": "proving", "client_secret": "proving-secret-0123456789", "dpop_bound_access_tokens": true, "dpop_nonce_required": true,
	   "authorization_details_types": ["payment_initiation"]},`, keySet)
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Leaf.Raw})
	for name, text := range map[string]string{"fixtures.json": strings.Replace(fixtures, `"clients": [`, agents, 1), "ca.pem": string(root)} {
		if err := os.WriteFile(file(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	port, err1 := freePort()
	mutual, err2 := freePort()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	c.args = []string{"serve", "--dev", "--data", c.data, "--fixtures", file("fixtures.json"), "--listen", "127.0.0.1:" + port,
		"--issuer", "https://localhost:" + port, "--tls-cert", file("tls.crt"), "--tls-key", file("tls.key"),
		"--mtls-listen", "127.0.0.1:" + mutual, "--mtls-ca", file("ca.pem")}
	c.restart(t)
	return c
}

func (c *certified) restart(t *testing.T) {
	t.Helper()
	p, err := startProcess(c.args, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			p.kill()
		}
	})
	c.process = p
	document := mustGet(t, c.client(nil), c.issuer+"/.well-known/openid-configuration")
	var metadata struct {
		Aliases map[string]string `json:"mtls_endpoint_aliases"`
	}
	if err := json.Unmarshal(document, &metadata); err != nil {
		t.Fatal(err)
	}
	c.alias = strings.TrimSuffix(metadata.Aliases["token_endpoint"], "/token")
}

func mustGet(t *testing.T, client *http.Client, place string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", place, nil)
	if err != nil {
		t.Fatal(err)
	}
	return must(t, 200)(do(client, req)).body
}

// client trusts the service and shows a certificate, if there is one.
func (c *certified) client(pair *tls.Certificate) *http.Client {
	config := &tls.Config{RootCAs: c.trust}
	if pair != nil {
		config.Certificates = []tls.Certificate{*pair}
	}
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}
}

// agent is an agent without a secret, at the listener for certificates.
func (c *certified) agent(id string, pair *tls.Certificate) holder {
	return holder{&agentHTTP{issuer: c.alias, key: true, http: c.client(pair)}, url.Values{"client_id": {id}}}
}

func (h holder) post(ctx context.Context, path string, form url.Values, header http.Header) (wireAnswer, error) {
	for name, values := range h.form {
		form[name] = values
	}
	return h.send(ctx, path, form, header)
}

// confirmed reads cnf out of an access token.
func confirmed(t *testing.T, token string) map[string]string {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("no JWT: %d parts", len(parts))
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Confirm map[string]string `json:"cnf"`
	}
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	return claims.Confirm
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// A whole approval with certificates, through the real binary and real TLS: REQ-009, 067, 068, 069, 239.
func TestCertificateStory(t *testing.T) {
	row(t, "REQ-009", "REQ-067", "REQ-068", "REQ-239")
	t.Parallel()
	authority := credentials(t, &x509.Certificate{Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true}, curveKey(t), nil)
	issued := credentials(t, &x509.Certificate{DNSNames: []string{"agent.example"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, curveKey(t), &authority)
	own := credentials(t, &x509.Certificate{Subject: pkix.Name{CommonName: "agent"}}, curveKey(t), nil)
	c := startCertified(t, authority, own)
	for id, pair := range map[string]*tls.Certificate{"issued": &issued, "selfmade": &own} {
		agent := c.agent(id, pair)
		handle := must(t, 200)(agent.post(t.Context(), "/bc-authorize", askForm(nil), nil)).member("auth_req_id")
		must(t, 204)(devDecide(t.Context(), c.client(nil), c.pages, handle, true))
		token := must(t, 200)(agent.post(t.Context(), "/token", pollForm(handle), nil))
		if cnf := confirmed(t, token.member("access_token")); token.member("token_type") != "Bearer" ||
			len(cnf) != 1 || cnf["x5t#S256"] != digest(pair.Leaf.Raw) {
			t.Errorf("%s: %s, cnf %v", id, token.member("token_type"), cnf)
		}
	}
	forged := http.Header{"Client-Cert": {":" + base64.StdEncoding.EncodeToString(own.Leaf.Raw) + ":"}}
	ask := func(agent holder, header http.Header) wireAnswer {
		return must(t, 401)(agent.post(t.Context(), "/bc-authorize", askForm(nil), header))
	}
	first := ask(c.agent("selfmade", &issued), nil).body
	plain := c.agent("selfmade", &own)
	plain.issuer = c.issuer // where nobody asks for certificates
	for name, a := range map[string]wireAnswer{
		"another's certificate": ask(c.agent("issued", &own), nil),
		"nobody's":              ask(c.agent("nobody", &own), nil),
		"none":                  ask(c.agent("selfmade", nil), nil),
		"forged header":         ask(c.agent("selfmade", nil), forged),
		"the other listener":    ask(plain, nil),
	} {
		if !bytes.Equal(a.body, first) {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	page, err := http.NewRequestWithContext(t.Context(), "GET", c.alias+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	must(t, 404)(do(c.client(nil), page)) // nothing for people here
}

// prove signs a DPoP proof for a token request.
func prove(t *testing.T, key *ecdsa.PrivateKey, issuer, nonce string) string {
	t.Helper()
	options := (&jose.SignerOptions{}).WithType("dpop+jwt").WithHeader("jwk", jose.JSONWebKey{Key: key.Public()})
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{"jti": rand.Text(), "htm": "POST", "htu": issuer + "/token", "iat": time.Now().Unix()}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	raw, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	made, err := signer.Sign(raw)
	if err != nil {
		t.Fatal(err)
	}
	text, err := made.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A whole approval with DPoP, through the real binary and kill -9: REQ-201, 202, 239. The nonce outlives the process,
// and so does the memory of what was used.
func TestProofStory(t *testing.T) {
	row(t, "REQ-201", "REQ-202", "REQ-239")
	t.Parallel()
	authority := credentials(t, &x509.Certificate{Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true}, curveKey(t), nil)
	c := startCertified(t, authority, authority)
	agent := &agentHTTP{issuer: c.issuer, id: "proving", secret: "proving-secret-0123456789", http: c.client(nil)}
	key := curveKey(t)
	handle := must(t, 200)(agent.ask(t.Context(), nil, nil)).member("auth_req_id")
	poll := func(status int, code string, proof ...string) wireAnswer {
		t.Helper()
		a := must(t, status)(agent.poll(t.Context(), handle, http.Header{"Dpop": proof, "Prefer": {"wait=0"}}))
		if a.member("error") != code {
			t.Fatalf("%s, want %s", a.body, code)
		}
		return a
	}
	poll(400, "invalid_dpop_proof")
	nonce := poll(400, "use_dpop_nonce", prove(t, key, c.issuer, "")).header.Get("DPoP-Nonce")
	used := prove(t, key, c.issuer, nonce)
	poll(400, "authorization_pending", used)
	poll(400, "invalid_dpop_proof", used)
	c.kill()
	c.restart(t)
	agent.http = c.client(nil)
	poll(400, "invalid_dpop_proof", used)
	must(t, 204)(devDecide(t.Context(), c.client(nil), c.pages, handle, true))
	poll(400, "invalid_dpop_proof")
	token := poll(200, "", prove(t, key, c.alias, nonce)) // the other name of the same place
	sum, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	if cnf := confirmed(t, token.member("access_token")); token.member("token_type") != "DPoP" ||
		cnf["jkt"] != base64.RawURLEncoding.EncodeToString(sum) {
		t.Errorf("%s, cnf %v", token.member("token_type"), cnf)
	}
}

// Settings about certificates that cannot work are refused before anything is opened.
func TestMutualConfigRefuses(t *testing.T) {
	behind := []string{"--issuer", "https://a.example", "--trusted-proxy", "127.0.0.1/32"}
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"without a certificate of its own", []string{"--mtls-listen", "127.0.0.1:0"}, "--mtls-listen needs --tls-cert"},
		{"header of nobody", []string{"--client-cert-header", "Client-Cert", "--trusted-proxy", ""}, "--client-cert-header needs --trusted-proxy"},
		{"no header name", []string{"--client-cert-header", "a b"}, "--client-cert-header must be the name"},
		{"header of others", []string{"--client-cert-header", "authorization"}, "--client-cert-header must be the name"},
		{"authority for nobody", []string{"--mtls-ca", "x"}, "--mtls-ca and --mtls-url need"},
		{"alias of nothing", []string{"--mtls-url", "https://m.example"}, "--mtls-ca and --mtls-url need"},
		{"no port", []string{"--mtls-listen", "localhost", "--tls-cert", "x", "--tls-key", "x"}, "--mtls-listen: must be HOST:PORT"},
		{"dev off loopback", []string{"--dev", "--mtls-listen", "0.0.0.0:0", "--tls-cert", "x", "--tls-key", "x"}, "--dev needs a loopback --mtls-listen"},
		{"alias without TLS", []string{"--client-cert-header", "Client-Cert", "--mtls-url", "http://m.example"}, "--mtls-url must be an https URL"},
		{"alias with another path", []string{"--client-cert-header", "Client-Cert", "--mtls-url", "https://m.example/x"}, "--mtls-url must be an https URL"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if code, said := parseConfig(t, nil, append(behind, tt.args...)...); code != exitUsage || !strings.Contains(said, tt.want) {
				t.Errorf("code %d, said %q, want %q", code, said, tt.want)
			}
		})
	}
	empty := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{empty, empty + ".none"} {
		if _, err := (&Config{MTLSListen: "x", MTLSCA: file}).mutual(); err == nil || !strings.Contains(err.Error(), "--mtls-ca") {
			t.Errorf("%s: %v", filepath.Base(file), err)
		}
	}
}

// The alias is the issuer at the other port, unless it is given.
func TestAliasURL(t *testing.T) {
	for _, tt := range []struct{ issuer, listen, given, want string }{
		{"https://a.example", "0.0.0.0:8461", "", "https://a.example:8461"},
		{"https://a.example:8460/t1/", "[::]:8461", "", "https://a.example:8461/t1"},
		{"https://[2001:db8::1]", ":8461", "", "https://[2001:db8::1]:8461"},
		{"https://a.example/t1", ":8461", "https://mtls.a.example/t1/", "https://mtls.a.example/t1"},
		{"https://a.example", "", "", ""},
	} {
		c := &Config{Issuer: tt.issuer, MTLSListen: tt.listen, MTLSURL: tt.given, Listen: "127.0.0.1:1"}
		if err := c.completeURLs(); err != nil || c.MTLSURL != tt.want {
			t.Errorf("%+v: %q %v", tt, c.MTLSURL, err)
		}
	}
}

// FuzzForwardedCertificate: no header makes the reading fail, and what it takes is a certificate.
func FuzzForwardedCertificate(f *testing.F) {
	for _, seed := range []string{"", ":", "::", ":AAAA:", "%2D", "-----BEGIN%20CERTIFICATE-----%0AAAAA%0A-----END%20CERTIFICATE-----"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		r := httptest.NewRequest("POST", "/token", nil)
		r.Header["Client-Cert"] = []string{line}
		if err := takeCertificate(r, "Client-Cert"); err == nil && line != "" && r.TLS.PeerCertificates[0] == nil {
			t.Errorf("%q", line)
		}
	})
}
