package ciba

import (
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"assent/approvals"
)

const robotClient = `{"client_id":"robot","client_name":"Robot","client_secret":"` + testSecret + `",` + allTypes +
	`,"scope":"trips.book","allowed_audiences":["https://bank.example"],"grant_types":["` + GrantCIBA + `","` + GrantClient +
	`"],"client_credentials_scopes":["rates.read","health"]}`

// alone is a service with a client that may have tokens of its own.
func alone(t testing.TB, options ...option) *service {
	t.Helper()
	s := newService(t, append(options, func(p *Parts) { p.ClientGrant = true })...)
	must(t, s.saveAgent(robotClient))
	must(t, s.saveAgent(bankClient))
	return s
}

// cc asks for a token of the robot's own.
func cc(pairs ...string) form {
	return form{"grant_type": {GrantClient}, "client_id": {"robot"}, "client_secret": {testSecret}}.with(pairs...)
}

// TestClientGrant is RFC 6749 section 4.4 with the claims of RFC 9068 section 2.2: who asks for itself gets what nobody
// has to approve, and no more.
func TestClientGrant(t *testing.T) {
	t.Parallel()
	s := alone(t)
	tests := []struct {
		name        string
		pairs       []string
		code, scope string
	}{
		{"all", nil, "", "rates.read health"},
		{"less", []string{"scope", "health"}, "", "health"},
		{"twice", []string{"scope", "health health"}, "", "health"},
		{"for a resource of its own", []string{"resource", "https://bank.example"}, "", "rates.read health"},
		{"for another", []string{"resource", "https://other.example"}, "invalid_target", ""},
		{"for no URL", []string{"resource", "bank"}, "invalid_target", ""},
		{"what it asks people for", []string{"scope", "trips.book"}, "invalid_scope", ""},
		{"who a person is", []string{"scope", "openid"}, "invalid_scope", ""},
		{"who a person is, beside its own", []string{"scope", "health openid"}, "invalid_scope", ""},
		{"the name of a person", []string{"scope", "health profile"}, "invalid_scope", ""},
		{"coming back", []string{"scope", "health offline_access"}, "invalid_scope", ""},
		{"a scope of nobody", []string{"scope", "admin"}, "invalid_scope", ""},
		{"only spaces", []string{"scope", "  "}, "invalid_scope", ""},
		{"odd characters", []string{"scope", "health\x01"}, "invalid_scope", ""},
		{"details", []string{"authorization_details", payment}, "invalid_authorization_details", ""},
		{"no details that are there", []string{"authorization_details", "[]"}, "invalid_authorization_details", ""},
		{"client without the grant", []string{"client_id", "travel"}, "unauthorized_client", ""},
		{"wrong secret", []string{"client_secret", "wrong"}, "invalid_client", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := s.post("/token", cc(tt.pairs...))
			if a.code() != tt.code || a.text("scope") != tt.scope {
				t.Fatalf("%d %s", a.status, a.raw)
			}
			if tt.code != "" {
				return
			}
			for _, never := range []string{"id_token", "refresh_token", "authorization_details"} {
				if a.json[never] != nil {
					t.Errorf("%s: %s", never, a.raw)
				}
			}
			head, claims := s.verify(t, a.text("access_token"))
			if head.ExtraHeaders["typ"] != "at+jwt" || claims["sub"] != "robot" || claims["client_id"] != "robot" ||
				claims["iss"] != testIssuer || claims["scope"] != tt.scope || claims["jti"] == nil {
				t.Errorf("%v %v", head.ExtraHeaders, claims)
			}
			if len(claims) != 8 { // and iat, exp, aud: nothing that speaks of a person or an approval
				t.Errorf("claims %v", claims)
			}
		})
	}
}

// Off is off: not advertised, not given, and what was given before is good no more. On is advertised.
func TestClientGrantIsOffByDefault(t *testing.T) {
	t.Parallel()
	on := alone(t)
	grants := func(s *service) []any {
		list, _ := s.get("/.well-known/openid-configuration").json["grant_types_supported"].([]any)
		return list
	}
	token := on.post("/token", cc()).text("access_token")
	if !on.active(t, token, "client_id", "robot") || !slices.Contains(grants(on), any(GrantClient)) {
		t.Errorf("on: %v", grants(on))
	}
	p := on.Parts
	p.ClientGrant = false
	h, err := New(p)
	must(t, err)
	t.Cleanup(h.Close)
	off := &service{t: t, Handler: h, store: on.store}
	if a := off.post("/token", cc()); a.code() != "unsupported_grant_type" || slices.Contains(grants(off), any(GrantClient)) {
		t.Errorf("off: %s, %v", a.raw, grants(off))
	}
	if off.active(t, token, "client_id", "robot") {
		t.Error("a token from before is good")
	}
}

// A client's own token is introspected and revoked as all others, is bound to a key as all others, and says nothing about
// a person to whoever holds it.
func TestClientGrantAround(t *testing.T) {
	t.Parallel()
	s := alone(t)
	proof := func() string { return proofOf(t, "ES256", "ES256", nil) }
	a := s.post("/token", cc("resource", "https://bank.example"), "DPoP", proof())
	token := a.text("access_token")
	if a.text("token_type") != "DPoP" {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	seen := s.post("/introspect", inquiry(token, "client_id", "bank", "client_secret", otherSecret))
	bound, _ := seen.json["cnf"].(map[string]any)
	if seen.json["active"] != true || seen.text("sub") != "robot" || seen.json["txn"] != nil || bound["jkt"] != thumbprint(t, "ES256") {
		t.Errorf("the resource server hears %s", seen.raw)
	}
	if s.active(t, token, "client_id", "other", "client_secret", otherSecret) {
		t.Error("somebody else hears that it is good")
	}
	if a := s.post("/revoke", form{"client_id": {"other"}, "client_secret": {otherSecret}, "token": {token}}); a.status != 400 {
		t.Errorf("revoked by another client: %d %s", a.status, a.raw)
	}
	robot := form{"client_id": {"robot"}, "client_secret": {testSecret}, "token": {token}}
	for range 2 {
		if a := s.post("/revoke", robot); a.status != 200 {
			t.Errorf("revoke: %d %s", a.status, a.raw)
		}
	}
	if s.active(t, token, "client_id", "robot") {
		t.Error("good after it was revoked")
	}

	once := s.post("/token", cc("resource", "https://bank.example")).text("access_token")
	used := inquiry(once, "client_id", "bank", "client_secret", otherSecret).with("consume", "true")
	if a := s.post("/introspect", used); a.json["active"] != true {
		t.Errorf("consumed: %s", a.raw)
	}
	if a := s.post("/introspect", used); a.raw != notActive {
		t.Errorf("consumed again: %s", a.raw)
	}

	plain := s.post("/token", cc()).text("access_token")
	if a := s.info("GET", "", "Authorization", "Bearer "+plain); a.status != 403 || a.code() != "insufficient_scope" {
		t.Errorf("userinfo: %d %s", a.status, a.raw)
	}
	r := httptest.NewRequest("GET", "https://api.example/", nil)
	r.Header.Set("Authorization", "Bearer "+plain)
	shown := Resource{s.Handler, "https://api.example"}.Show(httptest.NewRecorder(), r)
	if shown == nil || shown.Subject != "" || shown.ClientID != "robot" || shown.Request != "" {
		t.Errorf("at a resource: %+v", shown)
	}
}

// What a client may not have any more ends its tokens, and it gets no others.
func TestClientGrantEnds(t *testing.T) {
	t.Parallel()
	again := func(from, to string) func(*testing.T, *service) {
		return func(t *testing.T, s *service) {
			must(t, s.reregister(t, strings.Replace(robotClient, from, to, 1)))
		}
	}
	tests := []struct {
		name string
		act  func(*testing.T, *service)
		code string
	}{
		{"disabled", func(t *testing.T, s *service) {
			s.change(t, "robot", func(a *approvals.Agent) { a.Disabled = true })
		}, "invalid_client"},
		{"grant taken away", again(`,"`+GrantClient+`"],"client_credentials_scopes":["rates.read","health"]`, `]`), "unauthorized_client"},
		{"a scope taken away", again(`"rates.read",`, ``), "invalid_scope"},
		{"a scope that people are asked for now", func(t *testing.T, s *service) {
			s.change(t, "robot", func(a *approvals.Agent) { a.Scopes = append(a.Scopes, "rates.read") })
		}, "invalid_scope"},
		{"audience taken away", again(`"allowed_audiences":["https://bank.example"],`, ``), "invalid_target"},
		{"a person of that name", func(t *testing.T, s *service) {
			must(t, s.Directory.SavePerson(t.Context(), &approvals.Person{ID: "robot", Name: "Robert", Hints: []string{"robert"}}))
		}, "unauthorized_client"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := alone(t)
			ask := cc("resource", "https://bank.example", "scope", "rates.read")
			token := s.post("/token", ask).text("access_token")
			bank := []string{"client_id", "bank", "client_secret", otherSecret}
			if !s.active(t, token, bank...) {
				t.Fatal("it was never good")
			}
			tt.act(t, s)
			if s.active(t, token, bank...) {
				t.Error("it is good still")
			}
			if a := s.post("/token", ask); a.code() != tt.code {
				t.Errorf("another one: %d %s", a.status, a.raw)
			}
		})
	}
}

// Who registers a client hears which scopes cannot go without a person; nobody registers itself for this grant.
func TestClientGrantMetadata(t *testing.T) {
	t.Parallel()
	const grants = `"grant_types":["client_credentials"],`
	for raw, ok := range map[string]bool{
		grants + `"client_credentials_scopes":["a"]`:                                             true,
		grants + `"scope":"b","client_credentials_scopes":["a"]`:                                 true,
		grants + `"client_credentials_scopes":[]`:                                                false,
		grants + `"client_name":"x"`:                                                             false,
		`"client_credentials_scopes":["a"]`:                                                      false,
		grants + `"client_credentials_scopes":["openid"]`:                                        false,
		grants + `"client_credentials_scopes":["a","email"]`:                                     false,
		grants + `"client_credentials_scopes":["offline_access"]`:                                false,
		grants + `"scope":"a","client_credentials_scopes":["a"]`:                                 false,
		grants + `"client_credentials_scopes":["a b"]`:                                           false,
		grants + `"client_credentials_scopes":[""]`:                                              false,
		grants + `"client_credentials_scopes":["\u00e9"]`:                                        false,
		grants + `"client_credentials_scopes":["` + strings.Repeat("x", 256) + `"]`:              false,
		grants + `"client_credentials_scopes":["a"` + strings.Repeat(`,"a"`, maxScopes) + `]`:    false,
		grants + `"client_credentials_scopes":"a"`:                                               false,
		`"grant_types":["` + GrantCIBA + `","client_credentials"],"client_credentials_scopes":1`: false,
	} {
		_, err := ParseMetadata([]byte(`{"client_id":"x",`+raw+`}`), approvals.BuiltinTypes())
		if (err == nil) != ok {
			t.Errorf("%s: %v", raw, err)
		}
		var wrong *approvals.FieldError
		if errors.As(err, &wrong) && wrong.Field != "client_credentials_scopes" {
			t.Errorf("%s: %v", raw, err)
		}
	}
	s := alone(t, selfService)
	token := s.initialToken(t, 9, Bounds{Scopes: []string{"a"}})
	a := s.register(t, token, `"grant_types":["`+GrantCIBA+`","client_credentials"]`, `"client_credentials_scopes":["b"]`)
	if a.status != 400 || a.code() != "invalid_client_metadata" {
		t.Errorf("registered itself: %d %s", a.status, a.raw)
	}
}

// REQ-258: under the profile these tokens are bound as well.
func TestClientGrantUnderProfile(t *testing.T) {
	row(t, "REQ-258")
	t.Parallel()
	s := newFAPI(t, func(p *Parts) { p.ClientGrant = true })
	must(t, s.saveAgent(keyed("robot", jwksOf("ES256"), `,"backchannel_authentication_request_signing_alg":"ES256",`+
		`"grant_types":["client_credentials"],"client_credentials_scopes":["health"]`)))
	ask := func() form {
		return asserted(form{"grant_type": {GrantClient}}, jws(t, "ES256", "ES256", nil, assertionClaims("robot")))
	}
	if a := s.post("/token", ask()); a.status != 400 || a.code() != "invalid_dpop_proof" {
		t.Errorf("without a key: %d %s", a.status, a.raw)
	}
	a := s.post("/token", ask(), "DPoP", proofOf(t, "ES256", "ES256", nil))
	_, claims := s.verify(t, a.text("access_token"))
	if bound, _ := claims["cnf"].(map[string]any); a.text("token_type") != "DPoP" || bound["jkt"] != thumbprint(t, "ES256") {
		t.Errorf("%d %s", a.status, a.raw)
	}
	if a := s.post("/token", cc()); a.status != 401 {
		t.Errorf("with a secret: %d %s", a.status, a.raw)
	}
}
