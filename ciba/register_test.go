package ciba

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"assent/approvals"
)

// registration is on, for a few clients.
func selfService(p *Parts) { p.Register = &Registration{Clients: 100, PerHour: 100} }

// initialToken makes a token as an operator does.
func (s *service) initialToken(t testing.TB, uses int, b Bounds) string {
	t.Helper()
	_, token, err := s.NewInitialToken(context.Background(), InitialToken{Name: "Ann's team", Uses: uses, Bounds: b,
		Expires: time.Now().Add(time.Hour)})
	must(t, err)
	return token
}

var travelBounds = Bounds{Types: []string{"payment_initiation", "document_access"}, Scopes: []string{"trips.book", "trips.read"},
	Audiences: []string{"https://trips.example/api"}}

// json sends JSON to a path; token "" is none.
func (s *service) json(method, path, token, body string) answer {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", typeJSON)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return s.do(r)
}

const poller = `"backchannel_token_delivery_mode":"poll"`

// register registers a client that polls, with more members.
func (s *service) register(t testing.TB, token string, more ...string) answer {
	t.Helper()
	return s.json("POST", "/register", token, "{"+strings.Join(append(more, poller), ",")+"}")
}

func place(a answer) string { return strings.TrimPrefix(a.text("registration_client_uri"), testIssuer) }

// REQ-020, 029, 031: a client registers itself, asks, and is told everything that is registered for it.
func TestRegister(t *testing.T) {
	row(t, "REQ-020", "REQ-029", "REQ-031", "REQ-033", "REQ-034")
	t.Parallel()
	s := newService(t, selfService)
	token := s.initialToken(t, 1, travelBounds)
	a := s.register(t, token, `"client_name":"Travel Bot","response_types":[],"x_foo":1,"logo_uri":"https://127.0.0.1/",
	  "scope":"trips.book","client_id":"mine","client_secret":"mine","operator":"A Bank","generic_types":true,"login_hint_token_issuers":[{"issuer":"me"}],"pure_oauth":true,
	  "binding_code":"enter"`)
	if a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	want := map[string]any{"client_name": "Travel Bot", "token_endpoint_auth_method": "client_secret_basic",
		"grant_types": []any{GrantCIBA}, "response_types": []any{}, "scope": "trips.book", "client_secret_expires_at": 0.0,
		"authorization_details_types": []any{"payment_initiation", "document_access"},
		"allowed_audiences":           []any{"https://trips.example/api"}, "id_token_signed_response_alg": "ES256",
		"backchannel_token_delivery_mode": "poll", "backchannel_user_code_parameter": false, "binding_code": "enter",
		"dpop_bound_access_tokens": false, "tls_client_certificate_bound_access_tokens": false}
	for name, v := range want {
		if fmt.Sprint(a.json[name]) != fmt.Sprint(v) {
			t.Errorf("%s: %v, want %v", name, a.json[name], v)
		}
	}
	own := []string{"client_id", "client_id_issued_at", "client_secret", "registration_access_token", "registration_client_uri"}
	for name := range a.json {
		if _, known := want[name]; !known && !slices.Contains(own, name) { // REQ-033
			t.Errorf("unexpected member %s", name)
		}
	}
	id, secret := a.text("client_id"), a.text("client_secret")
	if id == "mine" || secret == "mine" || len(secret) != 43 {
		t.Errorf("client %q chose its id or secret", id)
	}
	got := s.post("/bc-authorize", bc("client_id", "", "client_secret", "", "authorization_details", payment, "binding_message", "42"),
		"Authorization", basicOf(id, secret))
	if got.status != 200 {
		t.Errorf("its request: %d %s", got.status, got.raw)
	}
	agent, err := s.Directory.Agent(t.Context(), approvals.AgentID(id))
	must(t, err)
	if agent.Name != "Travel Bot (self-registered)" {
		t.Errorf("people would read %q", agent.Name)
	}
	asked, err := s.Desk.Request(t.Context(), idOf(got.text("auth_req_id")))
	must(t, err)
	if !asked.Enters() {
		t.Error("people would not type the code")
	}
	if asked.Operator != "" || len(asked.Risks) == 0 || asked.Risks[0].Kind != approvals.SelfRegistered {
		t.Errorf("people would read that %q operates it, and look closer at %v", asked.Operator, asked.Risks)
	}
	for _, secret := range []string{token, secret, a.text("registration_access_token")} {
		if _, part, ok := strings.Cut(secret, "."); ok {
			secret = part
		}
		if strings.Contains(string(agent.Client), secret) {
			t.Error("a secret is kept in clear")
		}
	}
}

func basicOf(id, secret string) string {
	r := httptest.NewRequest("POST", "/", nil)
	r.SetBasicAuth(id, secret)
	return r.Header.Get("Authorization")
}

// Off is off: neither served nor advertised, and no tokens are made for it.
func TestRegistrationIsOffByDefault(t *testing.T) {
	row(t, "REQ-034")
	t.Parallel()
	s := newService(t)
	r := httptest.NewRequest("POST", "/register", strings.NewReader("{}"))
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusNotFound || slices.ContainsFunc(s.Paths(), func(p string) bool { return strings.HasPrefix(p, "/register") }) {
		t.Errorf("status %d, paths %q", w.Code, s.Paths())
	}
	if a := s.get("/.well-known/openid-configuration"); a.json["registration_endpoint"] != nil {
		t.Error("advertised")
	}
	if _, _, err := s.NewInitialToken(t.Context(), InitialToken{Uses: 1}); !errors.Is(err, ErrNoRegistration) {
		t.Errorf("initial access token: %v", err)
	}
	on := newService(t, selfService).get("/.well-known/openid-configuration")
	if on.text("registration_endpoint") != testIssuer+"/register" {
		t.Errorf("registration_endpoint %q", on.text("registration_endpoint"))
	}
}

// REQ-020 to 034, 038 and 040: what is refused, and in which words.
func TestRegistrationRefuses(t *testing.T) {
	row(t, "REQ-020", "REQ-021", "REQ-022", "REQ-025", "REQ-026", "REQ-027", "REQ-028", "REQ-029", "REQ-030", "REQ-032",
		"REQ-033", "REQ-038", "REQ-040")
	t.Parallel()
	s := newService(t, selfService)
	token := s.initialToken(t, 1000, travelBounds)
	set, other := `"jwks":`+jwksOf("ES256"), `"jwks_uri":"https://keys.example/set"`
	const wrong, keyed = "invalid_client_metadata", `"token_endpoint_auth_method":"private_key_jwt"`
	tests := []struct {
		name, members, code string
	}{
		{"REQ-020 no delivery mode", `"backchannel_token_delivery_mode":null`, wrong},
		{"REQ-020 case", `"backchannel_token_delivery_mode":"Poll"`, wrong},
		{"REQ-020 array", `"backchannel_token_delivery_mode":["poll"]`, wrong},
		{"REQ-021 mode without the grant", `"grant_types":["authorization_code"]`, wrong},
		{"grant that is not offered", `"grant_types":["` + GrantCIBA + `","implicit"]`, wrong},
		{"refresh tokens that the token does not allow", `"grant_types":["` + GrantCIBA + `","refresh_token"]`, wrong},
		{"no grant", `"grant_types":[]`, wrong},
		{"REQ-022 push", `"backchannel_token_delivery_mode":"push"`, wrong},
		{"REQ-023 ping without an endpoint", `"backchannel_token_delivery_mode":"ping"`, wrong},
		{"REQ-023 endpoint without TLS", ping("http://keys.example/cb") + "," + other + "," + keyed, wrong},
		{"REQ-023 endpoint with a password", ping("https://u:p@keys.example/cb") + "," + other + "," + keyed, wrong},
		{"REQ-023 endpoint with a fragment", ping("https://keys.example/cb#x") + "," + other + "," + keyed, wrong},
		{"REQ-024 endpoint at an address", ping("https://169.254.169.254/cb") + "," + other + "," + keyed, wrong},
		{"REQ-024 endpoint on this machine", ping("https://localhost/cb") + "," + other + "," + keyed, wrong},
		{"REQ-025 endpoint elsewhere", ping("https://victim.example/cb") + "," + other + "," + keyed, wrong},
		{"REQ-025 endpoint where keys lie that it needs not use", ping("https://keys.example/cb") + "," + other, wrong},
		{"REQ-025 endpoint of a client with its own keys", ping("https://keys.example/cb") + "," + set, wrong},
		{"REQ-026 none", `"backchannel_authentication_request_signing_alg":"none",` + set, wrong},
		{"REQ-026 HS256", `"backchannel_authentication_request_signing_alg":"HS256",` + set, wrong},
		{"REQ-026 RS256", `"backchannel_authentication_request_signing_alg":"RS256",` + set, wrong},
		{"REQ-027 user code is a string", `"backchannel_user_code_parameter":"true"`, wrong},
		{"REQ-028 both key sets", set + "," + other, wrong},
		{"REQ-028 no keys", keyed, wrong},
		{"REQ-028 no keys to sign requests", `"backchannel_authentication_request_signing_alg":"ES256"`, wrong},
		{"jwks_uri without TLS", `"jwks_uri":"http://keys.example/"`, wrong},
		{"jwks_uri with a password", `"jwks_uri":"https://u:p@keys.example/"`, wrong},
		{"private keys", `"jwks":{"keys":[{"kty":"oct","k":"AAAA"}]}`, wrong},
		{"REQ-029 response type", `"response_types":["code"]`, wrong},
		{"REQ-030 public client", `"token_endpoint_auth_method":"none"`, wrong},
		{"REQ-050 secret as a key", `"token_endpoint_auth_method":"client_secret_jwt"`, wrong},
		{"certificates where nobody asks for them", `"token_endpoint_auth_method":"self_signed_tls_client_auth",` + set, wrong},
		{"tokens bound to certificates there", `"tls_client_certificate_bound_access_tokens":true`, wrong},
		{"a subject without its method", `"tls_client_auth_san_dns":"agent.example"`, wrong},
		{"code of another kind", `"binding_code":"skip"`, wrong},
		{"code without a kind", `"binding_code":""`, wrong},
		{"code that is a flag", `"binding_code":true`, wrong},
		{"binding that is a string", `"dpop_bound_access_tokens":"true"`, wrong},
		{"REQ-040 pairwise", `"subject_type":"pairwise"`, wrong},
		{"RS256 for ID tokens", `"id_token_signed_response_alg":"RS256"`, wrong},
		{"RS256 for assertions", `"token_endpoint_auth_method":"private_key_jwt","token_endpoint_auth_signing_alg":"RS256",` + set, wrong},
		{"compat", `"assertion_audience":"compat"`, wrong},
		{"wider scope", `"scope":"trips.book trips.cancel"`, wrong},
		{"scope of refresh tokens that the token does not allow", `"scope":"openid offline_access"`, wrong},
		{"wider type", `"authorization_details_types":["tool_call"]`, wrong},
		{"unknown type", `"authorization_details_types":["nonsense"]`, wrong},
		{"wider audience", `"allowed_audiences":["https://bank.example"]`, wrong},
		{"name of the wrong type", `"client_name":1`, wrong},
		{"long name", `"client_name":"` + strings.Repeat("n", 83) + `"`, wrong},
		{"blank name", `"client_name":"  "`, wrong},
		{"name that turns around", `"client_name":"Travel \u202eBot"`, wrong},
		{"twice", `"scope":"trips.book","scope":"trips.read"`, wrong},
		{"redirect with fragment", `"redirect_uris":["https://a.example/#x"]`, "invalid_redirect_uri"},
		{"redirect to a script", `"redirect_uris":["javascript:alert(1)"]`, "invalid_redirect_uri"},
		{"redirects of the wrong type", `"redirect_uris":"https://a.example/"`, "invalid_redirect_uri"},
		{"statement", `"software_statement":"e30.e30.x"`, "unapproved_software_statement"},
		{"no statement", `"software_statement":{"a":1}`, "invalid_software_statement"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := "{" + tt.members + "," + poller + "}"
			if strings.Contains(tt.members, "delivery_mode") {
				body = "{" + tt.members + "}"
			}
			a := s.json("POST", "/register", token, body)
			if a.status != 400 || a.code() != tt.code {
				t.Errorf("%d %s", a.status, a.raw)
			}
		})
	}
	for name, body := range map[string]string{"no JSON": "{", "array": "[]", "null": "null", "text": `"x"`, "empty": ""} {
		if a := s.json("POST", "/register", token, body); a.status != 400 || a.code() != wrong {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	if a := s.json("POST", "/register", token, strings.Repeat(" ", maxBody+1)); a.status != 413 {
		t.Errorf("too large: %d", a.status)
	}
	if a := s.send("/register", typeForm, "a=b", "Authorization", "Bearer "+token); a.status != 400 || a.code() != wrong {
		t.Errorf("a form: %d %s", a.status, a.raw)
	}
	agents, err := s.Directory.Agents(t.Context(), "", 100)
	must(t, err)
	if len(agents) != len(testClients) {
		t.Errorf("%d agents: something was registered", len(agents))
	}
}

func ping(endpoint string) string {
	return `"backchannel_token_delivery_mode":"ping","backchannel_client_notification_endpoint":"` + endpoint + `"`
}

// REQ-231: a client that may have refresh tokens may name the scope that asks for them.
func TestRegistersOfflineAccess(t *testing.T) {
	row(t, "REQ-033", "REQ-231")
	t.Parallel()
	s := newService(t, selfService)
	bounds := travelBounds
	bounds.Refresh = true
	a := s.json("POST", "/register", s.initialToken(t, 1, bounds),
		`{`+poller+`,"grant_types":["`+GrantCIBA+`","refresh_token"],"scope":"openid offline_access"}`)
	if a.status != 201 || a.text("scope") != "openid offline_access" {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	asked := s.post("/bc-authorize", bc("client_id", "", "client_secret", "", "scope", "openid offline_access"), "Authorization",
		basicOf(a.text("client_id"), a.text("client_secret")))
	if asked.status != 200 {
		t.Errorf("%d %s", asked.status, asked.raw)
	}
}

// REQ-025: pings go where the keys that the client must use are, or where the operator lets them.
func TestPingsOfSelfRegistered(t *testing.T) {
	row(t, "REQ-020", "REQ-023", "REQ-025")
	t.Parallel()
	s := newService(t, selfService)
	token := s.initialToken(t, 9, Bounds{Hosts: []string{"agents.example"}})
	for _, members := range []string{
		ping("https://agents.example:8443/cb") + `,"jwks":` + jwksOf("ES256"),
		ping("https://AGENTS.example/cb"),
		ping("https://keys.example/cb") + `,"jwks_uri":"https://keys.example/set","token_endpoint_auth_method":"private_key_jwt"`,
		ping("https://keys.example/cb") + `,"jwks_uri":"https://keys.example/set","backchannel_authentication_request_signing_alg":"ES256"`,
	} {
		a := s.json("POST", "/register", token, "{"+members+"}")
		if a.status != 201 || a.text("backchannel_token_delivery_mode") != "ping" || a.text("backchannel_client_notification_endpoint") == "" {
			t.Errorf("%s: %d %s", members, a.status, a.raw)
		}
	}
	for _, host := range []string{"", "10.0.0.5", "Agents.example", "localhost", "a.example/x", "a.example:8443", "u@a.example", "*.example"} {
		_, _, err := s.NewInitialToken(t.Context(), InitialToken{Uses: 1, Expires: time.Now().Add(time.Hour), Bounds: Bounds{Hosts: []string{host}}})
		if !errors.Is(err, approvals.ErrInvalid) {
			t.Errorf("host %q: %v", host, err)
		}
	}
}

// REQ-024: the host of a jwks_uri is looked at when the client registers it, and when it changes it.
func TestRegistrationChecksHosts(t *testing.T) {
	row(t, "REQ-024")
	t.Parallel()
	var seen []string
	s := newService(t, func(p *Parts) {
		p.Register = &Registration{Clients: 9, PerHour: 9, CheckURL: func(_ context.Context, u string) error {
			seen = append(seen, u)
			if strings.Contains(u, "inside") {
				return errors.New("no")
			}
			return nil
		}}
	})
	token := s.initialToken(t, 5, Bounds{})
	pinged := s.json("POST", "/register", token, `{`+ping("https://outside.example/inside")+`,"jwks_uri":"https://outside.example/"}`)
	if pinged.status != 400 || pinged.code() != "invalid_client_metadata" {
		t.Errorf("ping inside: %d %s", pinged.status, pinged.raw)
	}
	seen = nil
	inside, outside := `"jwks_uri":"https://inside.example/"`, `"jwks_uri":"https://outside.example/"`
	if a := s.register(t, token, inside); a.status != 400 || a.code() != "invalid_client_metadata" {
		t.Errorf("inside: %d %s", a.status, a.raw)
	}
	a := s.register(t, token, outside)
	if a.status != 201 {
		t.Errorf("outside: %d %s", a.status, a.raw)
	}
	body := `{"client_id":"` + a.text("client_id") + `",` + poller + `,` + inside + `}`
	if a := s.json("PUT", place(a), a.text("registration_access_token"), body); a.status != 400 {
		t.Errorf("change to inside: %d %s", a.status, a.raw)
	}
	if len(seen) != 3 {
		t.Errorf("looked at %q", seen)
	}
}

// FuzzRegistration: no bytes make the endpoints fail, and whatever is registered stays within the token's bounds and
// comes back the same.
func FuzzRegistration(f *testing.F) {
	for _, seed := range []string{`{}`, `{` + poller + `}`, `[]`, `null`, `{"a":"\ud800"}`, `{` + poller + `,"scope":""}`,
		`{` + poller + `,"client_name":"Söhne \u2028","redirect_uris":["https://a.example/"],"jwks":{"keys":[]}}`,
		`{` + poller + `,"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"https://keys.example/"}`,
		`{` + poller + `,"SCOPE":"root","Allowed_Audiences":["https://bank.example"],"authorization_details_types":["tool_call"]}`,
		`{` + poller + `,"token_endpoint_auth_method":"client_secret_post","jwks":` + jwksOf("ES256") + `,"backchannel_authentication_request_signing_alg":"ES256"}`,
	} {
		f.Add(seed)
	}
	s := newService(f, func(p *Parts) { p.Register = &Registration{Clients: 1 << 40, PerHour: 1 << 40} })
	token := s.initialToken(f, maxInitialUses, travelBounds)
	f.Fuzz(func(t *testing.T, body string) {
		s.t = t
		a := s.json("POST", "/register", token, body)
		if a.status == 401 {
			token = s.initialToken(t, maxInitialUses, travelBounds)
			a = s.json("POST", "/register", token, body)
		}
		if a.status >= 500 || a.status == 401 {
			t.Fatalf("%q: %d %s", body, a.status, a.raw)
		}
		if a.status != 201 {
			return
		}
		agent, err := s.Directory.Agent(t.Context(), approvals.AgentID(a.text("client_id")))
		must(t, err)
		if exceeds(agent.Scopes, travelBounds.Scopes, commonScopes) || exceeds(agent.Types, travelBounds.Types) ||
			exceeds(agent.Audiences, travelBounds.Audiences) || !strings.HasSuffix(agent.Name, selfRegistered) {
			t.Errorf("%q: %+v", body, agent)
		}
		read := s.json("GET", place(a), a.text("registration_access_token"), "")
		delete(a.json, "client_secret")
		if want, _ := json.Marshal(a.json); read.status != 200 || !sameJSON(read.raw, string(want)) {
			t.Errorf("%q: %s, want %s", body, read.raw, want)
		}
	})
}

func sameJSON(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && fmt.Sprint(x) == fmt.Sprint(y)
}
