package ciba

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// authority issues certificates.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t}
	made := a.certify(&x509.Certificate{Subject: pkix.Name{CommonName: "Example CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign}, nil)
	a.cert, a.key = made.Leaf, made.PrivateKey.(crypto.Signer)
	return a
}

// certify makes a certificate of a template, for a new P-256 key if none is given. Without an authority it signs itself.
func (a *authority) certify(template *x509.Certificate, key crypto.Signer) tls.Certificate {
	a.t.Helper()
	if key == nil {
		made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(a.t, err)
		key = made
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotBefore.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	must(a.t, err)
	leaf, err := x509.ParseCertificate(raw)
	must(a.t, err)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key, Leaf: leaf}
}

// agentCertificate is a template with one of every name.
func agentCertificate() *x509.Certificate {
	return &x509.Certificate{
		Subject:        pkix.Name{CommonName: "Trading, Inc.", Organization: []string{"Example"}, Country: []string{"DE"}},
		DNSNames:       []string{"Agent.Example"},
		URIs:           []*url.URL{{Scheme: "spiffe", Host: "example", Path: "/agent"}},
		IPAddresses:    []net.IP{net.ParseIP("192.0.2.7"), net.ParseIP("2001:db8::7")},
		EmailAddresses: []string{"agent@example.com"},
		ExtKeyUsage:    []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

func selfSigned(t testing.TB, key crypto.Signer) tls.Certificate {
	return (&authority{t: t}).certify(agentCertificate(), key)
}

// mutual is the service behind a real listener that asks for certificates.
type mutual struct {
	*service
	server *httptest.Server
	ca     *authority
}

const aliasURL = "https://mtls.assent.example:8443"

func newMutual(t *testing.T, options ...option) *mutual {
	t.Helper()
	ca := newAuthority(t)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	s := newService(t, append([]option{func(p *Parts) { p.MTLS = &MTLS{URL: aliasURL, Roots: roots} }}, options...)...)
	server := httptest.NewUnstartedServer(s.Handler)
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes
	server.StartTLS()
	t.Cleanup(server.Close)
	return &mutual{s, server, ca}
}

// send posts a form over a new connection that shows a certificate, unless it is nil.
func (m *mutual) send(path string, f form, certificate *tls.Certificate, headers ...string) answer {
	m.t.Helper()
	trust := x509.NewCertPool()
	trust.AddCert(m.server.Certificate())
	config := &tls.Config{RootCAs: trust, ServerName: "example.com"}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	r, err := http.NewRequest(http.MethodPost, m.server.URL+path, strings.NewReader(f.String()))
	must(m.t, err)
	r.Header.Set("Content-Type", typeForm)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	got, err := client.Do(r)
	must(m.t, err)
	defer got.Body.Close()
	raw, err := io.ReadAll(got.Body)
	must(m.t, err)
	a := answer{status: got.StatusCode, header: got.Header, raw: string(raw)}
	_ = json.Unmarshal(raw, &a.json)
	m.check(a, path)
	return a
}

// byAuthority is a tls_client_auth client with one subject member.
func byAuthority(id, member, value string) string {
	raw, _ := json.Marshal(object{"client_id": id, "token_endpoint_auth_method": TLSClientAuth, member: value})
	return string(raw)
}

// bySelf is a self_signed_tls_client_auth client.
func bySelf(id string, keys ...jose.JSONWebKey) string {
	raw, _ := json.Marshal(object{"client_id": id, "token_endpoint_auth_method": SelfSignedTLSAuth,
		"jwks": jose.JSONWebKeySet{Keys: keys}, "tls_client_certificate_bound_access_tokens": true})
	return string(raw)
}

func withoutSecret(f form, id string) form { return f.with("client_id", id, "client_secret", "") }

// TestTLSClientAuth is REQ-050, 067 and 068 with RFC 8705 section 2.1: one subject, from the authority, in time.
func TestTLSClientAuth(t *testing.T) {
	row(t, "REQ-050", "REQ-068")
	m := newMutual(t)
	good := m.ca.certify(agentCertificate(), nil)
	for i, tt := range []struct {
		member, value string
		ok            bool
	}{
		{"subject_dn", `CN=Trading\, Inc.,O=Example,C=DE`, true},
		{"subject_dn", `2.5.4.3=Trading\2C Inc. , o = Example , c = DE`, true},
		{"subject_dn", `CN=trading\, inc.,O=Example,C=DE`, false},
		{"subject_dn", `CN=Trading\, Inc.`, false},
		{"subject_dn", `C=DE,O=Example,CN=Trading\, Inc.`, false},
		{"san_dns", "agent.example", true},
		{"san_dns", "gent.example", false},
		{"san_dns", "*.example", false},
		{"san_uri", "spiffe://example/agent", true},
		{"san_uri", "spiffe://example/agent/2", false},
		{"san_ip", "192.0.2.7", true},
		{"san_ip", "2001:DB8:0::7", true},
		{"san_ip", "192.0.2.8", false},
		{"san_email", "agent@example.com", true},
		{"san_email", "other@example.com", false},
	} {
		id := fmt.Sprintf("client-%d", i)
		must(t, m.saveAgent(byAuthority(id, "tls_client_auth_"+tt.member, tt.value)))
		if a := m.send("/bc-authorize", withoutSecret(bc(), id), &good); (a.status == 200) != tt.ok {
			t.Errorf("%s %s: %d %s", tt.member, tt.value, a.status, a.raw)
		}
	}
	must(t, m.saveAgent(byAuthority("dns", "tls_client_auth_san_dns", "agent.example")))
	late := agentCertificate()
	late.NotBefore, late.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	early := agentCertificate()
	early.NotBefore, early.NotAfter = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	server := agentCertificate()
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	between := m.ca.certify(&x509.Certificate{Subject: pkix.Name{CommonName: "Between"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
	long := (&authority{t, between.Leaf, between.PrivateKey.(crypto.Signer)}).certify(agentCertificate(), nil)
	short := long
	long.Certificate = append(long.Certificate, between.Certificate[0])
	pretender := newAuthority(t)
	for name, tt := range map[string]struct {
		certificate tls.Certificate
		ok          bool
	}{
		"good":                      {good, true},
		"over another":              {long, true},
		"over another, not shown":   {short, false},
		"expired":                   {m.ca.certify(late, nil), false},
		"not yet":                   {m.ca.certify(early, nil), false},
		"for servers":               {m.ca.certify(server, nil), false},
		"self-signed":               {selfSigned(t, nil), false},
		"of an authority like ours": {pretender.certify(agentCertificate(), nil), false},
	} {
		if a := m.send("/bc-authorize", withoutSecret(bc(), "dns"), &tt.certificate); (a.status == 200) != tt.ok {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
}

// TestSelfSigned is REQ-068 with RFC 8705 section 2.2: a registered certificate, or one around a registered key.
func TestSelfSigned(t *testing.T) {
	row(t, "REQ-068")
	m := newMutual(t)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	mine, his := selfSigned(t, nil), selfSigned(t, nil)
	again := selfSigned(t, mine.PrivateKey.(crypto.Signer))
	ed := selfSigned(t, edwards)
	old := agentCertificate()
	old.NotBefore, old.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	expired := (&authority{t: t}).certify(old, mine.PrivateKey.(crypto.Signer))
	must(t, m.saveAgent(bySelf("exact", jose.JSONWebKey{Key: mine.Leaf.PublicKey, Certificates: []*x509.Certificate{mine.Leaf}})))
	must(t, m.saveAgent(bySelf("key", jose.JSONWebKey{Key: edwards.Public()}, jose.JSONWebKey{Key: mine.Leaf.PublicKey})))
	must(t, m.saveAgent(bySelf("his", jose.JSONWebKey{Key: his.Leaf.PublicKey})))
	for _, tt := range []struct {
		name, id    string
		certificate tls.Certificate
		ok          bool
	}{
		{"registered", "exact", mine, true},
		{"another around the same key", "exact", again, false},
		{"around a registered key", "key", again, true},
		{"around another registered key", "key", ed, true},
		{"expired", "key", expired, false},
		{"of another client", "key", his, false},
		{"of another client", "his", mine, false},
		{"of another client", "exact", his, false},
		{"client_secret client", "travel", mine, false},
		{"nobody", "nobody", mine, false},
	} {
		if a := m.send("/bc-authorize", withoutSecret(bc(), tt.id), &tt.certificate); (a.status == 200) != tt.ok {
			t.Errorf("%s, %s: %d %s", tt.id, tt.name, a.status, a.raw)
		}
	}
}

// TestCertificateRefusals is REQ-052 and 067: unknown, disabled, another's, none, no client_id and the wrong method get
// the same bytes, everywhere.
func TestCertificateRefusals(t *testing.T) {
	row(t, "REQ-047", "REQ-052", "REQ-067", "REQ-068")
	m := newMutual(t)
	mine, his := selfSigned(t, nil), selfSigned(t, nil)
	must(t, m.saveAgent(bySelf("mine", jose.JSONWebKey{Key: mine.Leaf.PublicKey})))
	must(t, m.saveAgent(bySelf("ended", jose.JSONWebKey{Key: mine.Leaf.PublicKey})))
	ended, err := m.Directory.Agent(t.Context(), "ended")
	must(t, err)
	off := *ended
	off.Disabled = true
	must(t, m.Directory.SaveAgent(t.Context(), &off))
	good := m.send("/token", withoutSecret(tk("x"), "mine"), &mine)
	if good.code() != "invalid_grant" {
		t.Fatalf("%d %s", good.status, good.raw)
	}
	for _, path := range []string{"/bc-authorize", "/token", "/requests/status", "/requests/cancel"} { // REQ-047
		var first string
		for name, a := range map[string]answer{
			"unknown":          m.send(path, withoutSecret(tk("x"), "nobody"), &mine),
			"disabled":         m.send(path, withoutSecret(tk("x"), "ended"), &mine),
			"another's":        m.send(path, withoutSecret(tk("x"), "mine"), &his),
			"none":             m.send(path, withoutSecret(tk("x"), "mine"), nil),
			"no client_id":     m.send(path, tk("x", "client_id", "", "client_secret", ""), &mine),
			"a secret instead": m.send(path, tk("x", "client_id", "mine"), nil),
			"and a secret":     m.send(path, tk("x", "client_id", "mine"), &mine),
			"another method":   m.send(path, withoutSecret(tk("x"), "travel"), &mine),
		} {
			if first == "" {
				first = a.raw
			}
			if a.status != 401 || a.code() != "invalid_client" || a.raw != first || a.header.Get("WWW-Authenticate") != "" {
				t.Errorf("%s, %s: %d %s", path, name, a.status, a.raw)
			}
		}
	}
}

// TestCertificateIgnored: without a listener that asks for certificates they mean nothing, wherever they come from.
func TestCertificateIgnored(t *testing.T) {
	s := newService(t)
	mine := selfSigned(t, nil)
	must(t, s.saveAgent(bySelf("mine", jose.JSONWebKey{Key: mine.Leaf.PublicKey})))
	r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(withoutSecret(tk("x"), "mine").String()))
	r.Header.Set("Content-Type", typeForm)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{mine.Leaf}}
	if a := s.do(r); a.code() != "invalid_client" {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// TestCertificateBound is REQ-039, 201, 239 and worked example 13.2: the token is bound to the certificate, also of a
// client that authenticates otherwise, and nothing is spent without one.
func TestCertificateBound(t *testing.T) {
	row(t, "REQ-039", "REQ-201", "REQ-239")
	m := newMutual(t)
	mine, his := selfSigned(t, nil), selfSigned(t, nil)
	must(t, m.saveAgent(bySelf("mine", jose.JSONWebKey{Key: mine.Leaf.PublicKey})))
	must(t, m.saveAgent(`{"client_id":"secret","client_secret":"`+testSecret+`","tls_client_certificate_bound_access_tokens":true}`))
	must(t, m.saveAgent(`{"client_id":"both","client_secret":"`+testSecret+
		`","tls_client_certificate_bound_access_tokens":true,"dpop_bound_access_tokens":true}`))
	sum := sha256.Sum256(mine.Leaf.Raw)
	want := base64.RawURLEncoding.EncodeToString(sum[:])
	bodies := map[string]func(form) form{
		"mine":   func(f form) form { return withoutSecret(f, "mine") },
		"secret": func(f form) form { return f.with("client_id", "secret") },
		"both":   func(f form) form { return f.with("client_id", "both") },
	}
	for id, body := range bodies {
		t.Run(id, func(t *testing.T) {
			handle := m.send("/bc-authorize", body(bc()), &mine).text("auth_req_id")
			m.approve(t, handle)
			var headers []string
			if id == "both" {
				headers = []string{"DPoP", proofOf(t, "ES256", "ES256", nil, "htu", aliasURL+"/token")}
			}
			if id != "mine" {
				if a := m.send("/token", body(tk(handle)), nil, headers...); a.status != 400 || a.code() != "invalid_request" {
					t.Errorf("without certificate: %d %s", a.status, a.raw)
				}
			}
			if id == "both" {
				headers[1] = proofOf(t, "ES256", "ES256", nil)
			}
			got := m.send("/token", body(tk(handle)), &mine, headers...)
			kind := map[bool]string{true: "DPoP", false: "Bearer"}[id == "both"]
			if got.status != 200 || got.text("token_type") != kind {
				t.Fatalf("%d %s", got.status, got.raw)
			}
			_, claims := m.verify(t, got.text("access_token"))
			cnf, _ := claims["cnf"].(map[string]any)
			if cnf["x5t#S256"] != want || (cnf["jkt"] != nil) != (id == "both") {
				t.Errorf("cnf %v", cnf)
			}
			if id != "both" {
				m.presents(t, got.text("access_token"), mine.Leaf, his.Leaf)
			}
		})
	}
}

// presents is REQ-258: at a resource the token is good with its certificate, and with no other and none not.
func (m *mutual) presents(t *testing.T, token string, mine, his *x509.Certificate) {
	t.Helper()
	for name, tt := range map[string]struct {
		shown []*x509.Certificate
		ok    bool
	}{"the certificate": {[]*x509.Certificate{mine}, true}, "another": {[]*x509.Certificate{his, mine}, false}, "none": {nil, false}} {
		r := httptest.NewRequest(http.MethodGet, "/resource", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		r.TLS = &tls.ConnectionState{PeerCertificates: tt.shown}
		_, err := m.presented(&call{w: httptest.NewRecorder(), r: r, at: time.Now()})
		if (err == nil) != tt.ok || err != nil && faultOf(err).status != 401 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOnceWithCertificate: the certificate is part of what makes a repeat the same call.
func TestOnceWithCertificate(t *testing.T) {
	m := newMutual(t)
	mine, next := selfSigned(t, nil), selfSigned(t, nil)
	must(t, m.saveAgent(bySelf("mine", jose.JSONWebKey{Key: mine.Leaf.PublicKey}, jose.JSONWebKey{Key: next.Leaf.PublicKey})))
	handle := m.send("/bc-authorize", withoutSecret(bc(), "mine"), &mine).text("auth_req_id")
	m.approve(t, handle)
	first := m.send("/token", withoutSecret(tk(handle), "mine"), &mine, keyHeader, "k")
	if a := m.send("/token", withoutSecret(tk(handle), "mine"), &mine, keyHeader, "k"); first.status != 200 || a.raw != first.raw {
		t.Errorf("again: %d %s", a.status, a.raw)
	}
	if a := m.send("/token", withoutSecret(tk(handle), "mine"), &next, keyHeader, "k"); a.code() != "invalid_grant" {
		t.Errorf("with the next certificate: %d %s", a.status, a.raw)
	}
}

// TestAliases is REQ-009: what is advertised, and that it follows the switches.
func TestAliases(t *testing.T) {
	row(t, "REQ-009")
	methods := func(s *service) string {
		return strings.Trim(strings.Join(strings.Fields(jsonOf(t, s.get("/.well-known/openid-configuration").json["token_endpoint_auth_methods_supported"])), ""), "[]")
	}
	m := newMutual(t)
	document := m.get("/.well-known/openid-configuration").json
	aliases, _ := document["mtls_endpoint_aliases"].(map[string]any)
	for name, alias := range aliases {
		plain, _ := document[name].(string)
		if alias != strings.Replace(plain, testIssuer, aliasURL, 1) || plain == "" {
			t.Errorf("%s: %v beside %q", name, alias, plain)
		}
	}
	if aliases["token_endpoint"] == nil || aliases["backchannel_authentication_endpoint"] == nil ||
		document["tls_client_certificate_bound_access_tokens"] != true {
		t.Errorf("%v", document)
	}
	const base = `"client_secret_basic","client_secret_post","private_key_jwt"`
	if got := methods(m.service); got != base+`,"tls_client_auth","self_signed_tls_client_auth"` {
		t.Errorf("with an authority: %s", got)
	}
	headerOnly := newService(t, func(p *Parts) { p.MTLS = &MTLS{} })
	if got := methods(headerOnly); got != base+`,"self_signed_tls_client_auth"` {
		t.Errorf("without: %s", got)
	}
	if a := headerOnly.get("/.well-known/openid-configuration"); a.json["mtls_endpoint_aliases"] != nil {
		t.Errorf("aliases of nothing: %s", a.raw)
	}
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	must(t, err)
	return string(raw)
}

// TestAliasAudience is REQ-058: assertions are for our names, and for the alias only under the compat policy.
func TestAliasAudience(t *testing.T) {
	row(t, "REQ-058")
	m := newMutual(t)
	m.addKeyed(t)
	for _, tt := range []struct {
		id, aud string
		ok      bool
	}{
		{"keyed", testIssuer, true},
		{"keyed", aliasURL + "/token", false},
		{"easy", testIssuer + "/token", true},
		{"easy", aliasURL + "/token", true},
		{"easy", aliasURL + "/bc-authorize", true},
		{"easy", aliasURL, false},
		{"easy", "https://mtls.assent.example/token", false},
	} {
		a := m.send("/token", asserted(tk("x"), jws(t, "ES256", "ES256", nil, assertionClaims(tt.id, "aud", tt.aud))), nil)
		if (a.code() == "invalid_grant") != tt.ok {
			t.Errorf("%s, %s: %d %s", tt.id, tt.aud, a.status, a.raw)
		}
	}
}

// TestCertificateMetadata is RFC 8705 section 2.1.2 and REQ-028.
func TestCertificateMetadata(t *testing.T) {
	row(t, "REQ-028")
	s := newService(t)
	withRoots := newMutual(t)
	tests := map[string]string{
		`"token_endpoint_auth_method":"tls_client_auth"`:                                                                                 "tls_client_auth_subject_dn",
		`"token_endpoint_auth_method":"tls_client_auth","tls_client_auth_san_dns":"a","tls_client_auth_san_uri":"b:c"`:                   "tls_client_auth_subject_dn",
		`"token_endpoint_auth_method":"tls_client_auth","tls_client_auth_san_ip":"localhost"`:                                            "tls_client_auth_san_ip",
		`"token_endpoint_auth_method":"tls_client_auth","tls_client_auth_subject_dn":"Agent"`:                                            "tls_client_auth_subject_dn",
		`"token_endpoint_auth_method":"tls_client_auth","tls_client_auth_san_dns":"` + strings.Repeat("a", 1025) + `"`:                   "tls_client_auth_san_dns",
		`"token_endpoint_auth_method":"tls_client_auth","tls_client_auth_san_dns":"a","client_secret":"` + testSecret + `"`:              "client_secret",
		`"token_endpoint_auth_method":"self_signed_tls_client_auth"`:                                                                     "jwks",
		`"token_endpoint_auth_method":"self_signed_tls_client_auth","jwks_uri":"https://a.example","client_secret":"` + testSecret + `"`: "client_secret",
		`"tls_client_auth_san_dns":"a"`: "tls_client_auth_san_dns",
	}
	for raw, field := range tests {
		_, err := ParseMetadata([]byte(`{"client_id":"ab",`+raw+`}`), s.Desk.Renderer.Types)
		if err == nil || !strings.HasPrefix(err.Error(), field+" ") {
			t.Errorf("%s: %v", raw, err)
		}
	}
	for _, raw := range []string{byAuthority("a", "tls_client_auth_san_dns", "a"), bySelf("a", jose.JSONWebKey{Key: testKeys()["ES256"].Public()}),
		`{"client_id":"a","tls_client_certificate_bound_access_tokens":true}`} {
		metadata, err := ParseMetadata([]byte(raw), s.Desk.Renderer.Types)
		must(t, err)
		if err := s.Admits(metadata); err == nil {
			t.Errorf("admitted where nobody asks for certificates: %s", raw)
		}
		must(t, withRoots.Admits(metadata))
		agent, err := metadata.Agent(s.Root, time.Now())
		must(t, err)
		if metadata.AuthMethod != SecretPost && SetSecret(agent, s.Root, NewSecret(), time.Time{}) == nil {
			t.Errorf("a secret for %s", raw)
		}
	}
}

// TestDN is RFC 4514 section 4 and what clients make of it.
func TestDN(t *testing.T) {
	same := [][2]string{
		{`UID=jsmith,DC=example,DC=net`, `uid=jsmith, dc=example, dc=net`},
		{`OU=Sales+CN=J.  Smith,DC=example`, `CN=J.  Smith+OU=Sales,DC=example`},
		{`CN=James \"Jim\" Smith\, III,DC=net`, `CN=James \22Jim\22 Smith\2C III,DC=net`},
		{`CN=Lu\C4\8Di\C4\87`, `CN=Lučić`},
		{`CN=a\ `, `CN=a\20`},
		{`2.5.4.97=PSDDE-1`, `organizationIdentifier=PSDDE-1`},
	}
	for _, pair := range same {
		a, err1 := parseDN(pair[0])
		b, err2 := parseDN(pair[1])
		if err1 != nil || err2 != nil || !sameDN(a, b) {
			t.Errorf("%q %q: %q %v, %q %v", pair[0], pair[1], a, err1, b, err2)
		}
	}
	a, _ := parseDN("CN=a")
	for _, other := range []string{"CN=A", `CN=a\ `, "CN=a,C=DE", "O=a", "CN=b"} {
		if b, err := parseDN(other); err != nil || sameDN(a, b) {
			t.Errorf("CN=a and %s: %v", other, err)
		}
	}
	for _, bad := range []string{"", "CN", "CN=", "=a", "CN=a,", "CN=a+", ",", `CN=\`, `CN=\zz`, `CN=a\`, "nickname=a", `CN=\ff`, "2=a", "CN= "} {
		if got, err := parseDN(bad); err == nil {
			t.Errorf("%q: %q", bad, got)
		}
	}
}

// FuzzDN: no text makes the parser fail, and what it takes equals itself.
func FuzzDN(f *testing.F) {
	for _, seed := range []string{`CN=a\, b+O=c,C=DE`, `\`, `2.5.4.3=#0401`, "CN=", "=,=+=", `CN=\c4\8d`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if name, err := parseDN(text); err == nil && (len(name) == 0 || !sameDN(name, name)) {
			t.Errorf("%q: %q", text, name)
		}
	})
}

// TestSelfSignedURI is REQ-065 for certificates: a new one is looked for at the client's jwks_uri, once a minute.
func TestSelfSignedURI(t *testing.T) {
	row(t, "REQ-065", "REQ-068")
	first, next := selfSigned(t, nil), selfSigned(t, nil)
	set := func(c tls.Certificate) string {
		return jsonOf(t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: c.Leaf.PublicKey, Certificates: []*x509.Certificate{c.Leaf}}}})
	}
	k := newKeyServer(t, set(first))
	var ahead atomic.Int64
	s := newService(t, func(p *Parts) {
		p.MTLS, p.Fetch = &MTLS{}, k.Client()
		p.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	must(t, s.saveAgent(`{"client_id":"remote","token_endpoint_auth_method":"self_signed_tls_client_auth","jwks_uri":"`+k.URL+`"}`))
	expect := func(what string, c tls.Certificate, code string, hits int32) {
		t.Helper()
		r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(withoutSecret(tk("x"), "remote").String()))
		r.Header.Set("Content-Type", typeForm)
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c.Leaf}}
		if a := s.do(r); a.code() != code || k.hits.Load() != hits {
			t.Errorf("%s: %s after %d fetches, want %s after %d", what, a.raw, k.hits.Load(), code, hits)
		}
	}
	expect("first", first, "invalid_grant", 1)
	k.body.Store(set(next))
	expect("another within the floor", next, "invalid_client", 1)
	ahead.Store(int64(keysFloor))
	expect("rotated", next, "invalid_grant", 2)
	expect("the one before", first, "invalid_client", 2)
}
