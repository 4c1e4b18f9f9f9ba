package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// stranger is one way to show who one is, good or bad, at the listener that the method is for.
type stranger struct {
	name   string
	method string
	pair   *tls.Certificate
	id     string // client_id
	secret string
	key    *ecdsa.PrivateKey // of the assertion
}

// refusalStory is a service over TLS with an agent of every method that works and one that is disabled.
type refusalStory struct {
	*certified
	issued, own, other tls.Certificate
	key                *ecdsa.PrivateKey
}

const refusalSecret = "a-secret-of-the-story-0123456789"

func newRefusalStory(t *testing.T) *refusalStory {
	t.Helper()
	authority := credentials(t, &x509.Certificate{Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true},
		curveKey(t), nil)
	client := func(name string) tls.Certificate {
		return credentials(t, &x509.Certificate{DNSNames: []string{name},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, curveKey(t), &authority)
	}
	s := &refusalStory{key: curveKey(t), issued: client("agent.example"), other: client("other.example")}
	s.own = credentials(t, &x509.Certificate{Subject: pkix.Name{CommonName: "agent"}}, curveKey(t), nil)
	s.certified = startCertified(t, authority, s.own)
	admin, err := newAdminClient(s.data)
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range matrixMethods {
		for _, state := range []string{"good", "disabled"} {
			raw, err := json.Marshal(s.metadata(method, state))
			if err != nil {
				t.Fatal(err)
			}
			if err := admin.call(t.Context(), "POST", "/agents", newAgent{Metadata: raw, AcceptSecret: true, SameName: true}, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := admin.call(t.Context(), "POST", "/agents/"+method+"-disabled/disable", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *refusalStory) metadata(method, state string) map[string]any {
	m := map[string]any{"client_id": method + "-" + state, "client_name": "Travel Bot", "token_endpoint_auth_method": method}
	switch method {
	case "private_key_jwt":
		m["jwks"] = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: s.key.Public(), KeyID: "k"}}}
	case "tls_client_auth":
		m["tls_client_auth_san_dns"] = "agent.example"
	case "self_signed_tls_client_auth":
		m["jwks"] = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: s.own.Leaf.PublicKey,
			Certificates: []*x509.Certificate{s.own.Leaf}}}}
	default:
		m["client_secret"] = refusalSecret
	}
	return m
}

// good is the caller that gets in by a method.
func (s *refusalStory) good(method string) stranger {
	c := stranger{name: "good", method: method, id: method + "-good"}
	switch method {
	case "private_key_jwt":
		c.key = s.key
	case "tls_client_auth":
		c.pair = &s.issued
	case "self_signed_tls_client_auth":
		c.pair = &s.own
	default:
		c.secret = refusalSecret
	}
	return c
}

// bad are the callers that must not: somebody unknown, with what would be right for another; a wrong key; a client that
// is disabled, with the right one; and a client that is registered for another method.
func (s *refusalStory) bad(t *testing.T, method string) []stranger {
	unknown, wrong, disabled, another := s.good(method), s.good(method), s.good(method), s.good(method)
	unknown.name, unknown.id = "unknown", "nobody"
	disabled.name, disabled.id = "disabled", method+"-disabled"
	next := matrixMethods[(slices.Index(matrixMethods, method)+2)%len(matrixMethods)]
	another.name, another.id = "registered for "+next, next+"-good"
	wrong.name = "wrong key"
	switch {
	case wrong.key != nil:
		wrong.key = curveKey(t)
	case wrong.pair != nil:
		wrong.pair = &s.other
	default:
		wrong.secret += "x"
	}
	return []stranger{unknown, wrong, disabled, another}
}

// call sends a form as the caller.
func (s *refusalStory) call(t *testing.T, c stranger, path string, form url.Values) wireAnswer {
	t.Helper()
	agent := &agentHTTP{issuer: s.issuer, id: c.id, secret: c.secret, basic: c.method == "client_secret_basic", http: s.client(c.pair)}
	if c.pair != nil {
		agent.issuer = s.alias
	}
	if c.secret == "" {
		agent.key = true
		form.Set("client_id", c.id)
	}
	if c.key != nil {
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", assertionBy(t, c.key, c.id, s.issuer))
	}
	a, err := agent.send(t.Context(), path, form, nil)
	if err != nil {
		t.Fatalf("%s, %s: %v", c.method, c.name, err)
	}
	return a
}

// TestRefusalsOnTheWire: whoever may not in gets the same bytes and the same headers, by every method, at every endpoint.
// Basic alone is answered with a challenge.
func TestRefusalsOnTheWire(t *testing.T) {
	row(t, "REQ-047", "REQ-052", "REQ-053", "REQ-074")
	t.Parallel()
	s := newRefusalStory(t)
	forms := map[string]func() url.Values{
		"/bc-authorize":    func() url.Values { return askForm(url.Values{"authorization_details": nil}) },
		"/token":           func() url.Values { return pollForm("nothing.nothing") },
		"/introspect":      func() url.Values { return url.Values{"token": {"x"}} },
		"/revoke":          func() url.Values { return url.Values{"token": {"x"}} },
		"/requests/status": func() url.Values { return url.Values{"auth_req_id": {"nothing.nothing"}} },
		"/requests/cancel": func() url.Values { return url.Values{"auth_req_id": {"nothing.nothing"}} },
	}
	var first wireAnswer
	count := 0
	for _, method := range matrixMethods {
		for path, form := range forms {
			if a := s.call(t, s.good(method), path, form()); a.status == http.StatusUnauthorized {
				t.Fatalf("%s at %s: %s", method, path, a.body)
			}
			for _, c := range s.bad(t, method) {
				a := s.call(t, c, path, form())
				challenge := a.header.Get("WWW-Authenticate") != ""
				a.header.Del("WWW-Authenticate")
				if first.body == nil {
					first = a
				}
				same := bytes.Equal(a.body, first.body) && maps.EqualFunc(a.header, first.header, func(a, b []string) bool { return len(a) == len(b) })
				if a.status != http.StatusUnauthorized || !same || challenge != (method == "client_secret_basic") {
					t.Errorf("%s, %s, %s: %d %s %v", method, c.name, path, a.status, a.body, a.header)
				}
				count++
			}
		}
	}
	t.Logf("%d refusals, all %s", count, first.body)
}
