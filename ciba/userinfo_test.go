package ciba

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func (s *service) info(method, body string, headers ...string) answer {
	r := httptest.NewRequest(method, userinfoPath, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", typeForm)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return s.do(r)
}

// TestUserInfo is REQ-246 and OpenID Connect Core section 5.4: the same sub everywhere, and what the scopes say.
func TestUserInfo(t *testing.T) {
	row(t, "REQ-246")
	s := newService(t)
	tests := []struct {
		scope string
		want  map[string]any
	}{
		{"openid", map[string]any{"sub": "p-ann"}},
		{"openid profile", map[string]any{"sub": "p-ann", "name": "Ann"}},
		{"openid email", map[string]any{"sub": "p-ann", "email": "Ann@Example.com"}},
		{"email profile openid", map[string]any{"sub": "p-ann", "name": "Ann", "email": "Ann@Example.com"}},
	}
	for _, tt := range tests {
		tokens, _ := s.redeemed(t, "scope", tt.scope)
		access := tokens.text("access_token")
		for _, method := range []string{"GET", "POST"} {
			a := s.info(method, "", "Authorization", "Bearer "+access)
			if diff := cmp.Diff(tt.want, a.json); diff != "" || a.status != 200 || a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: %d (-want +got):\n%s", method, tt.scope, a.status, diff)
			}
		}
		_, id := s.verify(t, tokens.text("id_token"))
		_, claims := s.verify(t, access)
		asked := s.post("/introspect", inquiry(access))
		if id["sub"] != "p-ann" || claims["sub"] != "p-ann" || asked.json["sub"] != "p-ann" {
			t.Errorf("sub: %v %v %v", id["sub"], claims["sub"], asked.json["sub"])
		}
	}
}

// TestUserInfoRefuses is RFC 6750 section 3: what is wrong stands in WWW-Authenticate, and without a token nothing does.
func TestUserInfoRefuses(t *testing.T) {
	const none, bad = `Bearer, DPoP algs="PS256 ES256 EdDSA"`, `Bearer error="invalid_token"`
	tests := []struct {
		name   string
		ask    []string
		act    func(t *testing.T, s *service, tokens answer)
		header func(tokens answer) []string
		body   func(tokens answer) string
		status int
		want   string // WWW-Authenticate
	}{
		{name: "no token", header: func(answer) []string { return nil }, status: 401, want: none},
		{name: "REQ-070 in the body", header: func(answer) []string { return nil }, status: 401, want: none,
			body: func(tokens answer) string { return "access_token=" + tokens.text("access_token") }},
		{name: "two headers", header: func(tokens answer) []string {
			return []string{"Authorization", "Bearer " + tokens.text("access_token"), "Authorization", "Bearer x"}
		}, status: 401, want: none},
		{name: "no scheme", header: func(tokens answer) []string {
			return []string{"Authorization", tokens.text("access_token")}
		}, status: 401, want: none},
		{name: "another scheme", header: func(tokens answer) []string {
			return []string{"Authorization", "Basic " + tokens.text("access_token")}
		}, status: 401, want: none},
		{name: "unknown", header: func(answer) []string {
			return []string{"Authorization", "Bearer x"}
		}, status: 401, want: bad},
		{name: "REQ-285 an ID token", header: func(tokens answer) []string {
			return []string{"Authorization", "Bearer " + tokens.text("id_token")}
		}, status: 401, want: bad},
		{name: "another resource server's", ask: []string{"resource", "https://bank.example"}, status: 401,
			want: bad},
		{name: "expired", act: func(*testing.T, *service, answer) { time.Sleep(tokenLife) }, status: 401,
			want: bad},
		{name: "person disabled", act: func(t *testing.T, s *service, _ answer) { s.disable(t, "p-ann") }, status: 401,
			want: bad},
		{name: "revoked", act: func(t *testing.T, s *service, tokens answer) {
			s.post("/revoke", inquiry(tokens.text("access_token")))
		}, status: 401, want: bad},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t)
				tokens, _ := s.redeemed(t, tt.ask...)
				if tt.act != nil {
					tt.act(t, s, tokens)
				}
				headers := []string{"Authorization", "Bearer " + tokens.text("access_token")}
				if tt.header != nil {
					headers = tt.header(tokens)
				}
				body := ""
				if tt.body != nil {
					body = tt.body(tokens)
				}
				for _, method := range []string{"GET", "POST"} {
					a := s.info(method, body, headers...)
					got := a.header.Get("WWW-Authenticate")
					if a.status != tt.status || got != tt.want || a.code() != "invalid_token" {
						t.Errorf("%s: %d %s %s", method, a.status, got, a.raw)
					}
				}
			})
		})
	}
}

// TestUserInfoNeedsOpenID: a token for an API alone says nothing about the person.
func TestUserInfoNeedsOpenID(t *testing.T) {
	s := newService(t)
	handle := s.ask(t, "scope", "openid profile")
	s.approve(t, handle)
	tokens := s.post("/token", tk(handle, "scope", "profile"))
	a := s.info("GET", "", "Authorization", "bearer "+tokens.text("access_token"))
	got := a.header.Get("WWW-Authenticate")
	if a.status != http.StatusForbidden || !strings.Contains(got, `error="insufficient_scope"`) || !strings.HasSuffix(got, `, scope="openid"`) {
		t.Errorf("%d %s %s", a.status, got, a.raw)
	}
	if a := s.info("DELETE", ""); a.status != 405 || a.header.Get("Allow") != "GET, POST" {
		t.Errorf("DELETE: %d", a.status)
	}
}

// TestUserInfoBound is REQ-258 here: a token that is bound to a key is good with a proof of that key, by either method.
func TestUserInfoBound(t *testing.T) {
	s := newService(t)
	token := s.tokenFor(t, "DPoP", proofOf(t, "ES256", "ES256", nil))
	for _, method := range []string{"GET", "POST"} {
		proof := func(key string) string {
			return proofOf(t, key, key, nil, "htm", method, "htu", testIssuer+userinfoPath, "ath", ath(token))
		}
		for _, tt := range []struct {
			name, scheme, proof string
			status              int
		}{
			{"as a bearer token", "Bearer", "", 401},
			{"without a proof", "DPoP", "", 401},
			{"another key", "DPoP", proof("EdDSA"), 401},
			{"its key", "DPoP", proof("ES256"), 200},
		} {
			headers := []string{"Authorization", tt.scheme + " " + token}
			if tt.proof != "" {
				headers = append(headers, "DPoP", tt.proof)
			}
			if a := s.info(method, "", headers...); a.status != tt.status {
				t.Errorf("%s %s: %d %s", method, tt.name, a.status, a.raw)
			}
		}
	}
	a := s.post("/introspect", inquiry(token))
	if a.text("token_type") != "DPoP" || a.json["cnf"].(map[string]any)["jkt"] != thumbprint(t, "ES256") { // REQ-249
		t.Errorf("%s", a.raw)
	}
}
