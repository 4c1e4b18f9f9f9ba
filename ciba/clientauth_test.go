package ciba

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"assent/approvals"
)

const basicSecret = "b%2B:c+d-with-odd-characters"

func header(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

func TestClientAuthentication(t *testing.T) {
	encoded := url.QueryEscape(basicSecret)
	bare := func(pairs ...string) form {
		return bc(append([]string{"client_id", "", "client_secret", ""}, pairs...)...)
	}
	tests := []struct {
		row, name string
		body      form
		auth      []string
		status    int
		challenge bool
	}{
		{"REQ-047", "nothing", bare(), nil, 401, false},
		{"REQ-047", "client_id alone", bare("client_id", "travel"), nil, 401, false},
		{"REQ-047", "post", bc(), nil, 200, false},
		{"REQ-047", "post, wrong secret", bc("client_secret", "wrong"), nil, 401, false},
		{"REQ-047", "basic, encoded", bare(), []string{header("basic", encoded)}, 200, false},
		{"published clients: raw halves", "basic, raw", bare(), []string{header("basic", basicSecret)}, 200, false},
		{"RFC 7617", "basic in capitals", bare(), []string{"BASIC" + header("basic", encoded)[5:]}, 200, false},
		{"REQ-051", "basic, wrong secret", bare(), []string{header("basic", "wrong")}, 401, true},
		{"REQ-051", "basic, not base64", bare(), []string{"Basic %%%"}, 401, true},
		{"REQ-051", "basic, no colon", bare(), []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("basic"))}, 401, true},
		{"REQ-051", "basic, empty", bare(), []string{"Basic "}, 401, true},
		{"REQ-051", "bearer", bare(), []string{"Bearer x"}, 401, false},
		{"published clients: client_id beside it", "basic and client_id", bare("client_id", "basic"), []string{header("basic", encoded)}, 200, false},
		{"REQ-055", "basic and another client_id", bare("client_id", "travel"), []string{header("basic", encoded)}, 401, true},
		{"REQ-048", "basic and post", bc(), []string{header("basic", encoded)}, 400, false},
		{"REQ-048", "basic and assertion", bare("client_assertion", "x"), []string{header("basic", encoded)}, 400, false},
		{"REQ-048", "two headers", bare(), []string{header("basic", encoded), header("basic", encoded)}, 400, false},
		{"REQ-048", "post and assertion", bc("client_assertion", "x"), nil, 400, false},
		{"REQ-008", "assertion", bare("client_assertion", "x", "client_assertion_type", "y"), nil, 401, false},
		{"REQ-049", "basic client posts", bare("client_id", "basic", "client_secret", basicSecret), nil, 401, false},
		{"REQ-049", "post client with basic", bare(), []string{header("travel", testSecret)}, 401, true},
	}
	s := newService(t)
	for _, tt := range tests {
		t.Run(tt.row+" "+tt.name, func(t *testing.T) {
			row(t, tt.row)
			for _, path := range []string{"/bc-authorize", "/token", "/requests/status", "/requests/cancel"} {
				var headers []string
				for _, line := range tt.auth {
					headers = append(headers, "Authorization", line)
				}
				a := s.post(path, tt.body.with("scope", "openid"), headers...)
				if path != "/bc-authorize" && tt.status == 200 {
					if a.code() == "invalid_client" {
						t.Errorf("%s: %d %s", path, a.status, a.raw)
					}
					continue
				}
				if a.status != tt.status || (a.header.Get("WWW-Authenticate") != "") != tt.challenge {
					t.Errorf("%s: %d %s, challenge %q", path, a.status, a.raw, a.header.Get("WWW-Authenticate"))
				}
			}
		})
	}
}

// TestClientIDTwice: it is no second way to authenticate, and the answer does not say so.
func TestClientIDTwice(t *testing.T) {
	row(t, "REQ-079")
	a := newService(t).send("/bc-authorize", typeForm, bc().String()+"&client_id=travel")
	if a.status != 400 || a.text("error_description") != "A parameter was sent more than once." { // REQ-079
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// TestSameRefusal is REQ-052 and 053: nobody learns why, or anything about users and handles.
func TestSameRefusal(t *testing.T) {
	row(t, "REQ-052", "REQ-053")
	s := newService(t)
	tests := map[string]form{
		"unknown":      bc("client_id", "nobody"),
		"wrong secret": bc("client_secret", "wrong"),
		"disabled":     bc("client_id", "gone"),
		"wrong method": bc("client_id", "basic", "client_secret", basicSecret),
		"odd client":   bc("client_id", "no such / client \" \\"),
		"long client":  bc("client_id", strings.Repeat("x", 300)),
		"many faults":  bc("client_secret", "wrong", "scope", "nope", "login_hint", "nobody", "id_token_hint", "x"),
	}
	want := s.post("/bc-authorize", bc("client_secret", "x"))
	for name, body := range tests {
		got := s.post("/bc-authorize", body)
		if got.status != 401 || got.raw != want.raw || len(got.header) != len(want.header) {
			t.Errorf("%s: %d %s %v", name, got.status, got.raw, got.header)
		}
		if got := s.post("/token", body.with("grant_type", "nope", "auth_req_id", "nope")); got.status != 401 || got.raw != want.raw {
			t.Errorf("%s at the token endpoint: %d %s", name, got.status, got.raw)
		}
	}
}

// TestQueryIsNotRead is REQ-070.
func TestQueryIsNotRead(t *testing.T) {
	row(t, "REQ-070")
	s := newService(t)
	r := httptest.NewRequest(http.MethodPost, "/bc-authorize?"+bc().String(), strings.NewReader(""))
	r.Header.Set("Content-Type", typeForm)
	if a := s.do(r); a.status != 401 {
		t.Errorf("credentials in the query: %d %s", a.status, a.raw)
	}
	r = httptest.NewRequest(http.MethodPost, "/bc-authorize?scope=openid", strings.NewReader(bc("scope", "").String()))
	r.Header.Set("Content-Type", typeForm)
	if a := s.do(r); a.code() != "invalid_request" {
		t.Errorf("scope in the query: %d %s", a.status, a.raw)
	}
}

func TestRotateSecret(t *testing.T) {
	row(t, "REQ-071")
	s := newService(t)
	ctx := context.Background()
	change := func(secret string, until time.Time) {
		t.Helper()
		a, err := s.Directory.Agent(ctx, "travel")
		must(t, err)
		next := *a
		must(t, SetSecret(&next, s.Root, secret, until))
		must(t, s.Directory.SaveAgent(ctx, &next))
	}
	works := func(secret string) bool {
		return s.post("/bc-authorize", bc("client_secret", secret)).status == 200
	}
	fresh := NewSecret()
	change(fresh, time.Now().Add(time.Hour))
	if !works(fresh) || !works(testSecret) {
		t.Error("both secrets must work during the overlap")
	}
	last := NewSecret()
	change(last, time.Time{})
	if !works(last) || works(fresh) || works(testSecret) {
		t.Error("only the last secret must work")
	}
	a, err := s.Directory.Agent(ctx, "travel")
	must(t, err)
	if strings.Contains(string(a.Client), last) { // kept as keyed hashes only
		t.Error("the secret is kept")
	}
}

// TestDisabledBetween is REQ-074: disabled clients do not redeem, and the approval stays as it is.
func TestDisabledBetween(t *testing.T) {
	row(t, "REQ-074")
	s := newService(t)
	handle := s.ask(t)
	s.approve(t, handle)
	a, err := s.Directory.Agent(t.Context(), "travel")
	must(t, err)
	off := *a
	off.Disabled = true
	must(t, s.Directory.SaveAgent(t.Context(), &off))
	if got := s.post("/token", tk(handle)); got.status != 401 {
		t.Errorf("%d %s", got.status, got.raw)
	}
	r, err := s.store.Request(t.Context(), idOf(handle))
	must(t, err)
	if r.State != approvals.Approved {
		t.Errorf("state %s", r.State)
	}
}

func TestMetadataRules(t *testing.T) {
	row(t, "REQ-022", "REQ-026", "REQ-027", "REQ-028", "REQ-030", "REQ-040", "REQ-013", "REQ-224")
	types := approvals.BuiltinTypes()
	tests := map[string]string{
		`{"token_endpoint_auth_method":"none"}`:                                                       "token_endpoint_auth_method",
		`{"token_endpoint_auth_method":"private_key_jwt"}`:                                            "jwks",
		`{"token_endpoint_auth_method":"private_key_jwt","jwks":{"keys":[]}}`:                         "jwks",
		`{"jwks":` + jwksOf("ES256") + `,"jwks_uri":"https://keys.example"}`:                          "jwks_uri",
		`{"jwks_uri":"http://keys.example"}`:                                                          "jwks_uri",
		`{"jwks_uri":"https://u@keys.example"}`:                                                       "jwks_uri",
		`{"assertion_audience":"any"}`:                                                                "assertion_audience",
		`{"assertion_lifetime_seconds":60,"token_endpoint_auth_signing_alg":"ES256"}`:                 "token_endpoint_auth_signing_alg",
		`{"assertion_lifetime_seconds":3601}`:                                                         "assertion_lifetime_seconds",
		`{"assertion_lifetime_seconds":301,"assertion_audience":"strict"}`:                            "assertion_lifetime_seconds",
		`{"backchannel_token_delivery_mode":"push"}`:                                                  "backchannel_token_delivery_mode",
		`{"backchannel_user_code_parameter":true,"hint_privacy":"blind"}`:                             "backchannel_user_code_parameter",
		`{"hint_privacy":"deaf"}`:                                                                     "hint_privacy",
		`{"backchannel_user_code_parameter":"true"}`:                                                  "read client metadata", // REQ-027
		`{"login_hint_token_issuers":[{"issuer":"https://x.example"}]}`:                               "login_hint_token_issuers[0].jwks",
		`{"login_hint_token_issuers":[{"issuer":"a b"}]}`:                                             "login_hint_token_issuers[0].issuer",
		`{"login_hint_token_issuers":[{"issuer":"https://x.example","jwks_uri":"http://x.example"}]}`: "login_hint_token_issuers[0].jwks_uri",
		`{"backchannel_authentication_request_signing_alg":"ES256"}`:                                  "backchannel_authentication_request_signing_alg", // REQ-028
		`{"backchannel_authentication_request_signing_alg":"none"}`:                                   "backchannel_authentication_request_signing_alg", // REQ-026
		`{"backchannel_authentication_request_signing_alg":"HS256"}`:                                  "backchannel_authentication_request_signing_alg",
		`{"backchannel_authentication_request_signing_alg":"RS256"}`:                                  "backchannel_authentication_request_signing_alg",
		`{"id_token_signed_response_alg":"RS256"}`:                                                    "id_token_signed_response_alg",
		`{"subject_type":"pairwise"}`:                                                                 "subject_type", // REQ-040
		`{"poll_hold_seconds":26}`:                                                                    "poll_hold_seconds",
		`{"poll_hold_seconds":-1}`:                                                                    "poll_hold_seconds",
		`{"authorization_details_types":["tool_call","nope"]}`:                                        "authorization_details_types[1]",
		`{"scope":"a \u00e9"}`:                                                                        "scope",
		`{"allowed_audiences":["with space "]}`:                                                       "allowed_audiences",
		`{"binding_code":"pick"}`:                                                                     "binding_code",
		`{"client_id":"a b","client_name":"x"}`:                                                       "client_id",
		`{"client_id":"ab","client_name":"x","client_secret":"with space"}`:                           "client_secret",
		`{"client_id":"ab","client_name":"x","client_secret":"emoji-🙂-secret"}`:                       "client_secret",
	}
	s := newService(t)
	for raw, field := range tests {
		m, err := ParseMetadata([]byte(raw), types)
		if err == nil {
			_, err = m.Agent(s.Root, time.Now())
		}
		if err == nil || !strings.HasPrefix(err.Error(), field) {
			t.Errorf("%s: %v", raw, err)
		}
	}
	if _, err := ParseMetadata([]byte(`[]`), types); err == nil {
		t.Error("an array was accepted")
	}
}

func FuzzBasic(f *testing.F) {
	for _, seed := range []string{header("basic", basicSecret), "Basic ", "Basic Og==", "Bearer x", "basic " + strings.Repeat("A", 1000), "Basic JTo6Og=="} {
		f.Add(seed)
	}
	s := newService(f)
	f.Fuzz(func(t *testing.T, line string) {
		s.t = t
		r := httptest.NewRequest(http.MethodPost, "/bc-authorize", strings.NewReader(bc("client_id", "", "client_secret", "").String()))
		r.Header["Authorization"] = []string{line}
		r.Header.Set("Content-Type", typeForm)
		if a := s.do(r); a.status >= 500 || a.status == 200 && !strings.Contains(line, "YmFzaWM6") {
			t.Errorf("%q: %d %s", line, a.status, a.raw)
		}
	})
}
