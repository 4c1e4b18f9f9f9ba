package ciba

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDiscovery is section 1a: one document at both paths, saying what works.
func TestDiscovery(t *testing.T) {
	row(t, "REQ-001", "REQ-002", "REQ-003", "REQ-004", "REQ-005", "REQ-006", "REQ-007", "REQ-008", "REQ-010", "REQ-013", "REQ-014", "REQ-019", "REQ-016", "REQ-015")
	s := newService(t)
	a := s.get("/.well-known/openid-configuration")
	if b := s.get("/.well-known/oauth-authorization-server"); a.raw != b.raw { // REQ-001
		t.Errorf("%s\n%s", a.raw, b.raw)
	}
	if a.status != 200 || a.header.Get("Content-Type") != "application/json" || !strings.HasPrefix(a.header.Get("Cache-Control"), "public, max-age=") {
		t.Errorf("%d %v", a.status, a.header)
	}
	list := func(values ...string) (out []any) {
		out = []any{}
		for _, v := range values {
			out = append(out, v)
		}
		return out
	}
	want := map[string]any{
		"issuer":                              testIssuer,                   // REQ-002
		"backchannel_authentication_endpoint": testIssuer + "/bc-authorize", // REQ-003
		"backchannel_token_delivery_modes_supported":                      list("poll", "ping"),                                                 // REQ-004
		"grant_types_supported":                                           list("refresh_token", GrantCIBA),                                     // REQ-005
		"backchannel_user_code_parameter_supported":                       true,                                                                 // REQ-007
		"token_endpoint_auth_methods_supported":                           list("client_secret_basic", "client_secret_post", "private_key_jwt"), // REQ-008
		"backchannel_authentication_request_signing_alg_values_supported": list("PS256", "ES256", "EdDSA"),                                      // REQ-006
		"token_endpoint_auth_signing_alg_values_supported":                list("PS256", "ES256", "EdDSA"),                                      // REQ-062
		"dpop_signing_alg_values_supported":                               list("PS256", "ES256", "EdDSA"),                                      // REQ-010
		"authorization_details_types_supported":                           list("document_access", "payment_initiation", "tool_call"),           // REQ-011
		"introspection_endpoint":                                          testIssuer + "/introspect",                                           // REQ-015
		"introspection_endpoint_auth_methods_supported":                   list("client_secret_basic", "client_secret_post", "private_key_jwt"),
		"introspection_endpoint_auth_signing_alg_values_supported":        list("PS256", "ES256", "EdDSA"),
		"revocation_endpoint":                                             testIssuer + "/revoke", // REQ-015
		"revocation_endpoint_auth_methods_supported":                      list("client_secret_basic", "client_secret_post", "private_key_jwt"),
		"revocation_endpoint_auth_signing_alg_values_supported":           list("PS256", "ES256", "EdDSA"),
		"userinfo_endpoint":                                               testIssuer + "/userinfo",
		"jwks_uri":                                                        testIssuer + "/.well-known/jwks.json", // REQ-012
		"id_token_signing_alg_values_supported":                           list("ES256"),                         // REQ-013
		"response_types_supported":                                        list(),                                // REQ-014
		"acr_values_supported":                                            list("urn:assent:acr:session"),        // REQ-016
		"token_endpoint":                                                  testIssuer + "/token",
		"assent_status_endpoint":                                          testIssuer + "/requests/status",
		"assent_cancel_endpoint":                                          testIssuer + "/requests/cancel",
		"subject_types_supported":                                         list("public"),
		"scopes_supported":                                                list("openid", "profile", "email", "offline_access"),
		"claims_supported":                                                list("iss", "sub", "aud", "exp", "iat", "auth_time", "acr", "amr", "at_hash", "name", "email"),
		"claims_parameter_supported":                                      false,
		"request_parameter_supported":                                     false,
		"request_uri_parameter_supported":                                 false,
	}
	if diff := cmp.Diff(want, a.json); diff != "" { // what is not listed here must not be advertised
		t.Errorf("document (-want +got):\n%s", diff)
	}
}

// TestIssuerForms: the issuer is used byte for byte, and its path comes before or after the well-known segment.
func TestIssuerForms(t *testing.T) {
	t.Parallel()
	row(t, "REQ-001", "REQ-002", "REQ-003")
	tests := []struct {
		issuer string
		paths  []string
		root   string
	}{
		{"https://h.example/", []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"}, "https://h.example"},
		{"https://h.example/t1", []string{"/t1/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/t1"}, "https://h.example/t1"},
		{"https://h.example/t1/", []string{"/t1/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/t1"}, "https://h.example/t1"},
	}
	for _, tt := range tests {
		s := newService(t, func(p *Parts) { p.Issuer = tt.issuer })
		for _, path := range tt.paths {
			a := s.get(path)
			if a.json["issuer"] != tt.issuer || a.json["token_endpoint"] != tt.root+"/token" {
				t.Errorf("%s at %s: %d %s", tt.issuer, path, a.status, a.raw)
			}
			if !slices.Contains(s.Paths(), path) {
				t.Errorf("%s is not among the paths", path)
			}
		}
		path := func(name string) string {
			u, err := url.Parse(s.get(tt.paths[0]).text(name))
			must(t, err)
			return u.Path
		}
		a := s.post(path("backchannel_authentication_endpoint"), bc())
		if a.status != 200 {
			t.Fatalf("%s: %d %s", tt.issuer, a.status, a.raw)
		}
		s.approve(t, a.text("auth_req_id"))
		token := s.post(path("token_endpoint"), tk(a.text("auth_req_id"))).text("id_token")
		if !strings.Contains(part(t, token), `"iss":"`+tt.issuer+`"`) { // REQ-002
			t.Errorf("iss: %s", part(t, token))
		}
		if a := s.get(path("jwks_uri")); a.status != 200 {
			t.Errorf("jwks: %d", a.status)
		}
	}
}

func TestDocumentsAreReadOnly(t *testing.T) {
	s := newService(t)
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/jwks.json"} {
		a := s.do(httptest.NewRequest(http.MethodDelete, path, nil))
		if a.status != 405 || a.header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d %v", path, a.status, a.header)
		}
	}
	if a := s.get("/nowhere"); a.status != 404 {
		t.Errorf("%d", a.status)
	}
}

func TestNewRefuses(t *testing.T) {
	s := newService(t)
	for _, change := range []func(*Parts){
		func(p *Parts) { p.Issuer = "https://h?x" },
		func(p *Parts) { p.DefaultAudience = "" },
	} {
		p := s.Parts
		change(&p)
		if _, err := New(p); err == nil {
			t.Error("it was accepted")
		}
	}
}

// TestAdvertisedMethods is REQ-008 and 050: what is advertised works at every endpoint, and what is not does nowhere.
func TestAdvertisedMethods(t *testing.T) {
	row(t, "REQ-008", "REQ-050")
	s := newService(t)
	s.addKeyed(t)
	document := s.get("/.well-known/openid-configuration")
	signed := func(alg string) func(form) (form, []string) {
		return func(f form) (form, []string) {
			return asserted(f, jws(t, alg, alg, nil, assertionClaims("keyed"))), nil
		}
	}
	bare := func(f form) form { return f.with("client_id", "", "client_secret", "") }
	uses := map[string]func(form) (form, []string){
		"client_secret_post": func(f form) (form, []string) { return f, nil },
		"client_secret_basic": func(f form) (form, []string) {
			return bare(f), []string{"Authorization", header("basic", url.QueryEscape(basicSecret))}
		},
		"private_key_jwt": signed("ES256"),
	}
	try := func(what string, use func(form) (form, []string), works bool) {
		t.Helper()
		for _, path := range []string{"/bc-authorize", "/token", "/requests/status", "/requests/cancel", "/introspect", "/revoke"} {
			f, headers := use(bc("grant_type", GrantCIBA, "auth_req_id", "x"))
			if a := s.post(path, f, headers...); (a.code() != "invalid_client") != works {
				t.Errorf("%s at %s: %d %s", what, path, a.status, a.raw)
			}
		}
	}
	for _, method := range document.json["token_endpoint_auth_methods_supported"].([]any) {
		use, known := uses[method.(string)]
		if !known {
			t.Fatalf("%s is advertised, and no test uses it", method)
		}
		try(method.(string), use, true)
	}
	for _, alg := range document.json["token_endpoint_auth_signing_alg_values_supported"].([]any) {
		try(alg.(string), signed(alg.(string)), true)
	}
	try("RS256", func(f form) (form, []string) {
		return asserted(f, jws(t, "PS256", "RS256", nil, assertionClaims("keyed"))), nil
	}, false)
	try("none", func(f form) (form, []string) { return f.with("client_secret", ""), nil }, false)
}
