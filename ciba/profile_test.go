package ciba

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"assent/approvals"
)

func fapi(p *Parts) { p.Profile = ProfileFAPI }

// newFAPI is a service under the profile, with clients that keep to it and some that were registered before.
func newFAPI(t testing.TB, options ...option) *service {
	t.Helper()
	s := newService(t, append(options, fapi)...)
	all := jwksOf("ES256", "EdDSA", "PS256")
	const signs = `,"backchannel_authentication_request_signing_alg":`
	for _, raw := range []string{
		keyed("bank", all, signs+`"ES256",`+allTypes),
		keyed("rsa", all, signs+`"PS256","token_endpoint_auth_signing_alg":"RS256"`),
		keyed("unsigned", all, ``),
		keyed("slow", all, signs+`"ES256","assertion_lifetime_seconds":3600`),
	} {
		must(t, s.saveAgent(raw))
	}
	return s
}

// request is a form with a signed request of a client, which authenticates by its key.
func (s *service) request(t testing.TB, id string, change ...any) form {
	t.Helper()
	return asserted(form{"request": {jws(t, "ES256", "ES256", nil, objectClaims(id, change...))}},
		jws(t, "ES256", "ES256", nil, assertionClaims(id)))
}

// TestProfile is section 10: who asks as the profile says is served, and nobody else.
func TestProfile(t *testing.T) {
	row(t, "REQ-120", "REQ-253", "REQ-254", "REQ-256", "REQ-257")
	t.Parallel()
	s := newFAPI(t)
	var details any
	must(t, json.Unmarshal([]byte(payment), &details))
	by := func(key, alg, id string, change ...any) form {
		return s.request(t, id).with("client_assertion", jws(t, key, alg, object{"kid": key}, assertionClaims(id, change...)))
	}
	tests := []struct {
		name   string
		form   form
		status int
		code   string
	}{
		{"as it should be", s.request(t, "bank"), 200, ""},
		{"REQ-253 unsigned", asserted(bc(), jws(t, "ES256", "ES256", nil, assertionClaims("bank"))), 400, "invalid_request"},
		{"REQ-253 unsigned, of a client that never signed", asserted(bc(), jws(t, "ES256", "ES256", nil, assertionClaims("unsigned"))), 400, "invalid_request"},
		{"REQ-254 neither message nor details", s.request(t, "bank", "binding_message", nil), 400, "invalid_request"},
		{"REQ-254 details", s.request(t, "bank", "binding_message", nil, "authorization_details", details), 200, ""},
		{"REQ-254 no details in the list", s.request(t, "bank", "binding_message", nil, "authorization_details", []any{}), 400, "invalid_request"},
		{"REQ-256 client_secret_post", bc(), 401, "invalid_client"},
		{"REQ-257 PS256", by("PS256", "PS256", "bank"), 200, ""},
		{"REQ-257 EdDSA", by("EdDSA", "EdDSA", "bank"), 200, ""},
		{"REQ-257 RS256", by("PS256", "RS256", "bank"), 401, "invalid_client"},
		{"REQ-257 RS256, of a client that was registered with it", by("PS256", "RS256", "rsa"), 401, "invalid_client"},
		{"strict audience", by("ES256", "ES256", "bank", "aud", testIssuer+"/bc-authorize"), 401, "invalid_client"},
		{"assertion of five minutes", by("ES256", "ES256", "slow", "exp", seconds(290)), 200, ""},
		{"assertion of an hour", by("ES256", "ES256", "slow", "exp", seconds(3000)), 401, "invalid_client"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if a := s.post("/bc-authorize", tt.form); a.status != tt.status || a.code() != tt.code {
				t.Errorf("%d %s", a.status, a.raw)
			}
		})
	}
	if a := s.post("/bc-authorize", bc("client_id", "", "client_secret", ""), "Authorization", basicOf("basic", basicSecret)); a.status != 401 {
		t.Errorf("REQ-256 client_secret_basic: %d %s", a.status, a.raw)
	}
}

// REQ-261: the times of request objects hold, and handles have 256 bits.
func TestProfileTimes(t *testing.T) {
	row(t, "REQ-261")
	t.Parallel()
	s := newFAPI(t)
	claims := objectClaims("bank")
	now := claims["iat"].(int64)
	for name, change := range map[string][]any{
		"70 minutes ahead": {"exp", now + 4200}, "old nbf": {"nbf", now - 4200}, "nbf ahead": {"nbf", now + 600},
		"no exp": {"exp", nil}, "no nbf": {"nbf", nil},
	} {
		if a := s.post("/bc-authorize", s.request(t, "bank", change...)); a.status != 400 || a.code() != "invalid_request" {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	_, secret, _ := strings.Cut(s.post("/bc-authorize", s.request(t, "bank")).text("auth_req_id"), ".")
	if len(secret) != 43 {
		t.Errorf("a secret of %d characters", len(secret))
	}
}

// What the profile takes away is not advertised.
func TestProfileMetadata(t *testing.T) {
	row(t, "REQ-255", "REQ-256", "REQ-257")
	t.Parallel()
	s := newFAPI(t)
	a := s.get("/.well-known/openid-configuration")
	for _, endpoint := range []string{"token", "introspection", "revocation"} {
		methods, _ := a.json[endpoint+"_endpoint_auth_methods_supported"].([]any)
		if !slices.Contains(methods, any(PrivateKeyJWT)) || slices.Contains(methods, any(SecretBasic)) || slices.Contains(methods, any(SecretPost)) {
			t.Errorf("%s: methods %v", endpoint, methods)
		}
	}
	modes, _ := a.json["backchannel_token_delivery_modes_supported"].([]any)
	if !slices.Contains(modes, any("poll")) || slices.Contains(modes, any("push")) {
		t.Errorf("modes %v", modes)
	}
	if a.json["require_signed_request_object"] != true || strings.Contains(a.raw, "RS256") {
		t.Errorf("document: %s", a.raw)
	}
}

// Whoever registers a client hears which member contradicts the profile.
func TestProfileRegistration(t *testing.T) {
	row(t, "REQ-253", "REQ-255", "REQ-256", "REQ-257")
	t.Parallel()
	s := newFAPI(t, selfService)
	const signs = `"backchannel_authentication_request_signing_alg":"ES256"`
	keys := `"token_endpoint_auth_method":"private_key_jwt","jwks":` + jwksOf("ES256", "PS256")
	tests := map[string]string{
		`{"client_id":"x"}`: "token_endpoint_auth_method",
		`{"client_id":"x","token_endpoint_auth_method":"client_secret_basic"}`:                       "token_endpoint_auth_method",
		`{"client_id":"x",` + keys + `}`:                                                             "backchannel_authentication_request_signing_alg",
		`{"client_id":"x",` + keys + `,` + signs + `,"assertion_audience":"compat"}`:                 "assertion_audience",
		`{"client_id":"x",` + keys + `,` + signs + `,"token_endpoint_auth_signing_alg":"RS256"}`:     "token_endpoint_auth_signing_alg",
		`{"client_id":"x",` + keys + `,` + signs + `}`:                                               "",
		`{"client_id":"x",` + keys + `,` + signs + `,"assertion_audience":"strict"}`:                 "",
		`{"client_id":"x",` + keys + `,"backchannel_authentication_request_signing_alg":"RS256"}`:    "backchannel_authentication_request_signing_alg",
		`{"client_id":"x",` + keys + `,` + signs + `,"id_token_signed_response_alg":"RS256"}`:        "id_token_signed_response_alg",
		`{"client_id":"x",` + keys + `,` + signs + `,"backchannel_token_delivery_mode":"push"}`:      "backchannel_token_delivery_mode",
		`{"client_id":"x",` + keys + `,` + signs + `,"token_endpoint_auth_method":"tls_no_such"}`:    "token_endpoint_auth_method",
		`{"client_id":"x",` + keys + `,` + signs + `,"token_endpoint_auth_method":"client_secret_"}`: "token_endpoint_auth_method",
	}
	for raw, field := range tests {
		m, err := ParseMetadata([]byte(raw), s.Desk.Renderer.Types)
		if err == nil {
			err = s.Admits(m)
		}
		if (err == nil) != (field == "") || err != nil && !strings.HasPrefix(err.Error(), field) {
			t.Errorf("%s: %v", raw, err)
		}
	}
	token := s.initialToken(t, 9, Bounds{Compat: true})
	for raw, status := range map[string]int{"": 400, keys: 400, keys + "," + signs: 201,
		keys + "," + signs + `,"assertion_audience":"compat"`: 400} {
		members := []string{raw}
		if raw == "" {
			members = nil
		}
		if a := s.register(t, token, members...); a.status != status {
			t.Errorf("%s: %d %s", raw, a.status, a.raw)
		}
	}
}

// A client that the profile shuts out gets the same answer as one that does not exist, and may still be deleted.
func TestProfileShutsOut(t *testing.T) {
	row(t, "REQ-256")
	t.Parallel()
	before := newService(t, selfService)
	client := before.register(t, before.initialToken(t, 1, Bounds{}))
	p := before.Parts
	p.Profile = ProfileFAPI
	h, err := New(p)
	must(t, err)
	t.Cleanup(h.Close)
	s := &service{t: t, Handler: h, store: before.store}
	auth := basicOf(client.text("client_id"), client.text("client_secret"))
	if a := before.post("/bc-authorize", bc("client_id", "", "client_secret", ""), "Authorization", auth); a.status != 200 {
		t.Fatalf("before: %d %s", a.status, a.raw)
	}
	barred := s.post("/bc-authorize", bc("client_id", "", "client_secret", ""), "Authorization", auth)
	nobody := s.post("/bc-authorize", bc("client_id", "", "client_secret", ""), "Authorization", basicOf("nobody", NewSecret()))
	if barred.status != 401 || barred.raw != nobody.raw {
		t.Errorf("%d %s, nobody %s", barred.status, barred.raw, nobody.raw)
	}
	if a := s.json("PUT", place(client), client.text("registration_access_token"), `{"client_id":"`+client.text("client_id")+`",`+poller+`}`); a.status != 400 {
		t.Errorf("change without keys: %d %s", a.status, a.raw)
	}
	if a := s.json("DELETE", place(client), client.text("registration_access_token"), ""); a.status != http.StatusNoContent {
		t.Errorf("delete: %d", a.status)
	}
	if _, err := s.Directory.Agent(t.Context(), approvals.AgentID(client.text("client_id"))); err == nil {
		t.Error("it is still there")
	}
}

// REQ-260: the acr that was asked for, and is supported, comes back.
func TestProfileACR(t *testing.T) {
	row(t, "REQ-260")
	t.Parallel()
	s := newFAPI(t)
	const wanted = "urn:assent:acr:session"
	handle := s.post("/bc-authorize", s.request(t, "bank", "acr_values", "urn:example:unknown "+wanted)).text("auth_req_id")
	s.approve(t, handle)
	a := s.post("/token", asserted(tk(handle), jws(t, "ES256", "ES256", nil, assertionClaims("bank"))),
		"DPoP", proofOf(t, "ES256", "ES256", nil))
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	if _, claims := s.verify(t, a.text("id_token")); claims["acr"] != wanted {
		t.Errorf("acr %v", claims["acr"])
	}
}

// REQ-258: every access token is bound to a key, whatever the client is registered with; asking for one without
// spends nothing.
func TestProfileBindsTokens(t *testing.T) {
	row(t, "REQ-201", "REQ-258")
	t.Parallel()
	s := newFAPI(t)
	collect := func(handle string) form {
		return asserted(tk(handle), jws(t, "ES256", "ES256", nil, assertionClaims("bank")))
	}
	handle := s.post("/bc-authorize", s.request(t, "bank")).text("auth_req_id")
	if a := s.post("/token", collect(handle)); a.status != 400 || a.code() != "invalid_dpop_proof" {
		t.Errorf("a poll without a key: %d %s", a.status, a.raw)
	}
	s.approve(t, handle)
	if a := s.post("/token", collect(handle)); a.status != 400 || a.code() != "invalid_dpop_proof" {
		t.Errorf("without a key: %d %s", a.status, a.raw)
	}
	a := s.post("/token", collect(handle), "DPoP", proofOf(t, "ES256", "ES256", nil))
	if a.status != 200 || a.text("token_type") != "DPoP" {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	_, claims := s.verify(t, a.text("access_token"))
	if bound, _ := claims["cnf"].(map[string]any); bound["jkt"] != thumbprint(t, "ES256") {
		t.Errorf("cnf %v", claims["cnf"])
	}
}

// REQ-247: under the profile refresh tokens stay as they are, and only the key that they began with can use them.
func TestProfileKeepsRefreshTokens(t *testing.T) {
	row(t, "REQ-247")
	s := newFAPI(t)
	must(t, s.saveAgent(keyed("stay", jwksOf("ES256"), `,"backchannel_authentication_request_signing_alg":"ES256",`+
		`"grant_types":["`+GrantCIBA+`","`+GrantRefresh+`"]`)))
	signed := func(f form) form {
		return asserted(f, jws(t, "ES256", "ES256", nil, assertionClaims("stay")))
	}
	handle := s.post("/bc-authorize", s.request(t, "stay", "scope", "openid offline_access")).text("auth_req_id")
	s.approve(t, handle)
	first := s.post("/token", signed(tk(handle)), "DPoP", proofOf(t, "ES256", "ES256", nil))
	token := first.text("refresh_token")
	if first.status != 200 || !isRefresh(token) {
		t.Fatalf("%d %s", first.status, first.raw)
	}
	before := s.records(t, kindRefresh)
	var last answer
	for range 3 {
		last = s.post("/token", signed(rt(token)), "DPoP", proofOf(t, "ES256", "ES256", nil))
		if last.status != 200 || last.text("refresh_token") != token {
			t.Fatalf("%d %s", last.status, last.raw)
		}
	}
	if after := s.records(t, kindRefresh); after != before {
		t.Errorf("the family has changed: %s", after)
	}
	var together sync.WaitGroup
	for range 8 {
		body, proof := signed(rt(token)), proofOf(t, "ES256", "ES256", nil)
		together.Go(func() {
			if a := s.post("/token", body, "DPoP", proof); a.status != 200 || a.text("refresh_token") != token {
				t.Errorf("at the same moment: %d %s", a.status, a.raw)
			}
		})
	}
	together.Wait()
	if a := s.post("/token", signed(rt(token)), "DPoP", proofOf(t, "EdDSA", "EdDSA", nil)); a.code() != "invalid_grant" {
		t.Errorf("another key: %d %s", a.status, a.raw)
	}
	if a := s.post("/revoke", signed(form{"token": {token}})); a.status != 200 {
		t.Errorf("revoke: %d %s", a.status, a.raw)
	}
	if a := s.post("/token", signed(rt(token)), "DPoP", proofOf(t, "ES256", "ES256", nil)); a.code() != "invalid_grant" {
		t.Errorf("after it was revoked: %d %s", a.status, a.raw)
	}
}

// REQ-247: what was exchanged before the profile came, and comes again, still ends everything.
func TestProfileKnowsSpentTokens(t *testing.T) {
	row(t, "REQ-247")
	synctest.Test(t, func(t *testing.T) {
		before := newService(t)
		must(t, before.saveAgent(keyed("stay", jwksOf("ES256"), `,"backchannel_authentication_request_signing_alg":"ES256",`+
			`"dpop_bound_access_tokens":true,"grant_types":["`+GrantCIBA+`","`+GrantRefresh+`"]`)))
		signed := func(f form) form {
			return asserted(f, jws(t, "ES256", "ES256", nil, assertionClaims("stay")))
		}
		proof := func() string { return proofOf(t, "ES256", "ES256", nil) }
		handle := before.post("/bc-authorize", before.request(t, "stay", "scope", "openid offline_access")).text("auth_req_id")
		before.approve(t, handle)
		spent := before.post("/token", signed(tk(handle)), "DPoP", proof()).text("refresh_token")
		good := before.post("/token", signed(rt(spent)), "DPoP", proof()).text("refresh_token")
		if good == spent || !isRefresh(good) {
			t.Fatal("it does not rotate without the profile")
		}
		p := before.Parts
		p.Profile = ProfileFAPI
		h, err := New(p)
		must(t, err)
		t.Cleanup(h.Close)
		s := &service{t: t, Handler: h, store: before.store}
		if a := s.post("/token", signed(rt(good)), "DPoP", proof()); a.status != 200 || a.text("refresh_token") != good {
			t.Errorf("the good one: %d %s", a.status, a.raw)
		}
		time.Sleep(redeemedLifetime)
		if a := s.post("/token", signed(rt(spent)), "DPoP", proof()); a.code() != "invalid_grant" {
			t.Errorf("the spent one: %d %s", a.status, a.raw)
		}
		if a := s.post("/token", signed(rt(good)), "DPoP", proof()); a.code() != "invalid_grant" {
			t.Errorf("the good one, after that: %d %s", a.status, a.raw)
		}
	})
}

// REQ-258: who authenticates by a certificate gets tokens bound to it.
func TestProfileBindsToCertificates(t *testing.T) {
	row(t, "REQ-256", "REQ-258")
	m := newMutual(t, fapi)
	cert := m.ca.certify(agentCertificate(), nil)
	must(t, m.saveAgent(`{"client_id":"branch","token_endpoint_auth_method":"tls_client_auth","tls_client_auth_subject_dn":`+
		jsonOf(t, cert.Leaf.Subject.String())+`,"jwks":`+jwksOf("ES256")+`,"backchannel_authentication_request_signing_alg":"ES256"}`))
	ask := form{"client_id": {"branch"}, "request": {jws(t, "ES256", "ES256", nil, objectClaims("branch"))}}
	a := m.send("/bc-authorize", ask, &cert)
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	handle := a.text("auth_req_id")
	m.approve(t, handle)
	a = m.send("/token", withoutSecret(tk(handle), "branch"), &cert)
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	_, claims := m.verify(t, a.text("access_token"))
	if bound, _ := claims["cnf"].(map[string]any); bound["x5t#S256"] == nil || bound["jkt"] != nil {
		t.Errorf("cnf %v", claims["cnf"])
	}
}
