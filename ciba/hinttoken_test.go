package ciba

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"assent/approvals"
)

// idToken is what the person's approval gave the agent travel.
func (s *service) idToken(t testing.TB) string {
	t.Helper()
	handle := s.ask(t)
	s.approve(t, handle)
	a := s.post("/token", tk(handle))
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	return a.text("id_token")
}

// ours signs claims with our own current key.
func (s *service) ours(t testing.TB, typ string, claims object) string {
	t.Helper()
	signer, err := newCompact(s.Keyring.current(), typ)
	must(t, err)
	text, err := sign(signer, claims)
	must(t, err)
	return text
}

func hinted(token string, pairs ...string) form {
	return bc(append([]string{"login_hint", "", "id_token_hint", token}, pairs...)...)
}

// TestIDTokenHint is REQ-110, 113 and 114.
func TestIDTokenHint(t *testing.T) {
	row(t, "REQ-114")
	s := newService(t)
	now := time.Now().Unix()
	claims := object{"iss": testIssuer, "sub": "p-ann", "aud": "travel", "iat": now, "exp": now + 300}
	real := s.idToken(t)
	tests := []struct {
		row, name, token, want string
		pairs                  []string
	}{
		{"REQ-110", "ours", real, "", nil},
		{"REQ-110", "one audience of several", s.ours(t, "JWT", from(claims, "aud", []string{"x", "travel"})), "", nil},
		{"REQ-110", "of another client", real, "invalid_request", []string{"client_id", "other", "client_secret", otherSecret}},
		{"REQ-110", "tampered", real[:len(real)-10] + "AAAAAAAAAA", "invalid_request", nil},
		{"REQ-110", "another issuer", s.ours(t, "JWT", from(claims, "iss", "https://else.example")), "invalid_request", nil},
		{"REQ-110", "somebody else's key", jws(t, "ES256", "ES256", object{"typ": "JWT"}, claims), "invalid_request", nil},
		{"REQ-110", "access token", s.ours(t, "at+jwt", claims), "invalid_request", nil},
		{"REQ-110", "no sub", s.ours(t, "JWT", from(claims, "sub", nil)), "invalid_request", nil},
		{"REQ-110", "no aud", s.ours(t, "JWT", from(claims, "aud", nil)), "invalid_request", nil},
		{"REQ-113", "encrypted", "a.b.c.d.e", "invalid_request", nil},
		{"REQ-110", "not a token", "x", "invalid_request", nil},
		{"REQ-111", "expired yesterday", s.ours(t, "JWT", from(claims, "exp", now-86400)), "", nil},
		{"REQ-111", "89 days old", s.ours(t, "JWT", from(claims, "iat", now-89*86400)), "", nil},
		{"REQ-111", "91 days old", s.ours(t, "JWT", from(claims, "iat", now-91*86400, "exp", now+60)), "invalid_request", nil},
		{"REQ-111", "no iat", s.ours(t, "JWT", from(claims, "iat", nil)), "invalid_request", nil},
		{"REQ-104", "somebody who is gone", s.ours(t, "JWT", from(claims, "sub", "p-nobody")), "unknown_user_id", nil},
		{"REQ-104", "somebody who is disabled", s.ours(t, "JWT", from(claims, "sub", "p-eve")), "unknown_user_id", nil},
	}
	for _, tt := range tests {
		t.Run(tt.row+" "+tt.name, func(t *testing.T) {
			row(t, tt.row)
			a := s.post("/bc-authorize", hinted(tt.token, tt.pairs...))
			if a.code() != tt.want || a.status != 200 && tt.want == "" {
				t.Fatalf("%d %s, want %s", a.status, a.raw, tt.want)
			}
			if tt.want != "" {
				return
			}
			r, err := s.Desk.Request(t.Context(), idOf(a.text("auth_req_id")))
			must(t, err)
			if r.Subject != "p-ann" {
				t.Errorf("subject %s", r.Subject)
			}
		})
	}
}

// TestIDTokenHintAfterRotation is REQ-112: a key that signs no more and is published no more still says who it was.
func TestIDTokenHintAfterRotation(t *testing.T) {
	row(t, "REQ-112")
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		old := s.idToken(t)
		first := s.Keyring.current().KeyID()
		for range 3 {
			time.Sleep(time.Hour)
			_, err := s.Keyring.Rotate(t.Context())
			must(t, err)
		}
		rec, err := s.store.Get(t.Context(), kindKeys, keySet)
		must(t, err)
		var kept storedKeys
		must(t, json.Unmarshal(rec.Value, &kept))
		for _, k := range kept.Keys {
			if k.KeyID == first {
				t.Error("the retired key can still sign")
			}
		}
		if strings.Contains(s.get("/.well-known/jwks.json").raw, first) {
			t.Error("the retired key is still published")
		}
		again, err := NewKeyring(t.Context(), s.store, s.Root, s.Hub, 0, time.Now, s.Log)
		must(t, err)
		for _, ring := range []*Keyring{s.Keyring, again} {
			token, err := readJWS(old, []string{"ES256"})
			must(t, err)
			if !ring.signed(token) {
				t.Error("the old token is not known")
			}
		}
		if a := s.post("/bc-authorize", hinted(old)); a.status != 200 {
			t.Errorf("%d %s", a.status, a.raw)
		}
		time.Sleep(maxIDTokenAge + tokenLife + 2*time.Hour)
		_, err = s.Keyring.Rotate(t.Context())
		must(t, err)
		if list := s.Keyring.state().retired; len(list) != 1 { // the one that this rotation retired
			t.Errorf("%d retired keys", len(list))
		}
	})
}

const hintClient = "guided"

func (s *service) addHinted(t testing.TB) {
	t.Helper()
	must(t, s.saveAgent(`{"client_id":"`+hintClient+`","client_secret":"`+testSecret+`","login_hint_token_issuers":[
		{"issuer":"https://phone.example","jwks":`+jwksOf("ES256")+`},{"issuer":"https://desk.example","jwks":`+jwksOf("EdDSA")+`}]}`))
}

func hintTokenClaims(pairs ...any) object {
	now := time.Now().Unix()
	return from(object{"iss": "https://phone.example", "aud": testIssuer, "exp": now + 60, "iat": now,
		"sub_id": object{"format": "email", "email": "ann@example.com"}}, pairs...)
}

// TestLoginHintToken is REQ-107 to 109.
func TestLoginHintToken(t *testing.T) {
	row(t, "REQ-109")
	s := newService(t)
	s.addHinted(t)
	now := time.Now().Unix()
	token := func(key string, header object, pairs ...any) string {
		return jws(t, key, key, header, hintTokenClaims(pairs...))
	}
	tests := []struct {
		row, name, token, want string
	}{
		{"REQ-107", "as it should be", token("ES256", nil), ""},
		{"REQ-107", "of the other issuer", token("EdDSA", nil, "iss", "https://desk.example"), ""},
		{"REQ-107", "our sub", token("ES256", nil, "sub_id", object{"format": "iss_sub", "iss": testIssuer, "sub": "p-ann"}), ""},
		{"REQ-107", "signed by the other issuer", token("EdDSA", nil), "invalid_request"},
		{"REQ-107", "unknown issuer", token("ES256", nil, "iss", "https://x.example"), "invalid_request"},
		{"REQ-107", "no issuer", token("ES256", nil, "iss", nil), "invalid_request"},
		{"REQ-107", "not for us", token("ES256", nil, "aud", "https://x.example"), "invalid_request"},
		{"REQ-107", "no sub_id", token("ES256", nil, "sub_id", nil), "invalid_request"},
		{"REQ-107", "sub_id is text", token("ES256", nil, "sub_id", "ann"), "invalid_request"},
		{"REQ-107", "sub_id of an unknown format", token("ES256", nil, "sub_id", object{"format": "did"}), "invalid_request"},
		{"REQ-107", "no exp", token("ES256", nil, "exp", nil), "invalid_request"},
		{"REQ-107", "exp in a year", token("ES256", nil, "exp", now+365*86400), "invalid_request"},
		{"REQ-107", "iat ahead", token("ES256", nil, "iat", now+600), "invalid_request"},
		{"REQ-107", "unsigned", "eyJhbGciOiJub25lIn0.e30.", "invalid_request"},
		{"REQ-285", "typ of an access token", token("ES256", object{"typ": "at+jwt"}), "invalid_request"},
		{"REQ-108", "expired", token("ES256", nil, "exp", now-12), "expired_login_hint_token"},
		{"REQ-108", "expired, and not for us", token("ES256", nil, "exp", now-12, "aud", "x"), "invalid_request"},
		{"REQ-104", "nobody", token("ES256", nil, "sub_id", object{"format": "opaque", "id": "nobody"}), "unknown_user_id"},
	}
	for _, tt := range tests {
		t.Run(tt.row+" "+tt.name, func(t *testing.T) {
			row(t, tt.row)
			a := s.post("/bc-authorize", bc("client_id", hintClient, "login_hint", "", "login_hint_token", tt.token))
			if a.code() != tt.want || a.status != 200 && tt.want == "" {
				t.Errorf("%d %s, want %s", a.status, a.raw, tt.want)
			}
		})
	}
	other := bc("login_hint", "", "login_hint_token", token("ES256", nil))
	if a := s.post("/bc-authorize", other); a.code() != "invalid_request" { // its issuer is not registered there
		t.Errorf("of a client without issuers: %d %s", a.status, a.raw)
	}
	once := bc("client_id", hintClient, "login_hint", "", "login_hint_token", token("ES256", nil, "jti", "n-1"))
	if a := s.post("/bc-authorize", once); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	if a := s.post("/bc-authorize", once); a.code() != "invalid_request" { // REQ-109
		t.Errorf("used twice: %d %s", a.status, a.raw)
	}
}

// TestPureOAuth is REQ-088: without openid there is no ID token, for those who asked for it that way.
func TestPureOAuth(t *testing.T) {
	row(t, "REQ-088")
	s := newService(t)
	must(t, s.saveAgent(`{"client_id":"pure","client_secret":"`+testSecret+`","scope":"trips.book","pure_oauth":true}`))
	for _, tt := range []struct {
		scope string
		id    bool
	}{{"trips.book", false}, {"openid trips.book", true}} {
		a := s.post("/bc-authorize", bc("client_id", "pure", "scope", tt.scope))
		if a.status != 200 {
			t.Fatalf("%s: %d %s", tt.scope, a.status, a.raw)
		}
		s.approve(t, a.text("auth_req_id"))
		a = s.post("/token", tk(a.text("auth_req_id"), "client_id", "pure"))
		if a.status != 200 || (a.text("id_token") != "") != tt.id {
			t.Errorf("%s: %d %s", tt.scope, a.status, a.raw)
		}
	}
	if a := s.post("/bc-authorize", bc("client_id", "pure", "scope", "nope")); a.code() != "invalid_scope" {
		t.Errorf("%d %s", a.status, a.raw)
	}
	if a := s.post("/bc-authorize", bc("client_id", "pure", "scope", "")); a.code() != "invalid_request" { // REQ-087
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// TestACRValues is REQ-129 and 131: the first level that can be reached is what the decision takes.
func TestACRValues(t *testing.T) {
	row(t, "REQ-129", "REQ-131", "REQ-173")
	s := newService(t)
	must(t, s.saveAgent(`{"client_id":"insists","client_secret":"`+testSecret+`","acr_enforce":true}`))
	high := newService(t, func(p *Parts) { p.ACRs = []string{approvals.LevelSession.ACR(), approvals.LevelPasskey.ACR()} })
	tests := []struct {
		name   string
		on     *service
		client string
		values string
		level  approvals.Level // LevelNone: refused
	}{
		{"none", s, "travel", "", approvals.LevelSession},
		{"known", s, "travel", "urn:assent:acr:session", approvals.LevelSession},
		{"lower than needed anyway", s, "travel", "urn:assent:acr:link", approvals.LevelSession},
		{"out of reach", s, "travel", "phr", approvals.LevelSession},
		{"unknown first", high, "travel", "x phr urn:assent:acr:session", approvals.LevelPasskey},
		{"preference counts", high, "travel", "urn:assent:acr:session phr", approvals.LevelSession},
		{"insisted on, none", s, "insists", "", approvals.LevelSession},
		{"insisted on, in reach", s, "insists", "phr urn:assent:acr:session", approvals.LevelSession},
		{"insisted on, out of reach", s, "insists", "phr x", approvals.LevelNone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := tt.on.post("/bc-authorize", bc("client_id", tt.client, "acr_values", tt.values))
			if tt.level == approvals.LevelNone {
				if a.status != 403 || a.code() != "access_denied" { // REQ-131, 174
					t.Errorf("%d %s", a.status, a.raw)
				}
				return
			}
			r, err := tt.on.Desk.Request(t.Context(), idOf(a.text("auth_req_id")))
			must(t, err)
			if r.Level != tt.level {
				t.Errorf("level %v, want %v", r.Level, tt.level)
			}
		})
	}
}

// TestKindsOfJWT is REQ-285: nothing signed for one purpose serves another.
func TestKindsOfJWT(t *testing.T) {
	row(t, "REQ-285")
	s := newService(t)
	s.addKeyed(t)
	s.addSigning(t)
	s.addHinted(t)
	handle := s.ask(t)
	s.approve(t, handle)
	given := s.post("/token", tk(handle))
	kinds := map[string]func() string{
		"assertion":        func() string { return jws(t, "ES256", "ES256", nil, assertionClaims("keyed")) },
		"request":          func() string { return jws(t, "ES256", "ES256", nil, objectClaims(signer)) },
		"login_hint_token": func() string { return jws(t, "ES256", "ES256", nil, hintTokenClaims()) },
		"id_token":         func() string { return given.text("id_token") },
		"access_token":     func() string { return given.text("access_token") },
	}
	slots := map[string]func(string) form{
		"assertion":        func(x string) form { return asserted(bc(), x) },
		"request":          func(x string) form { return ro(signer, x) },
		"login_hint_token": func(x string) form { return bc("client_id", hintClient, "login_hint", "", "login_hint_token", x) },
		"id_token":         func(x string) form { return hinted(x) },
	}
	for slot, use := range slots {
		for kind, made := range kinds {
			if a := s.post("/bc-authorize", use(made())); (a.status == 200) != (kind == slot) {
				t.Errorf("%s as %s: %d %s", kind, slot, a.status, a.raw)
			}
		}
	}
}

func FuzzHintToken(f *testing.F) {
	s := newService(f)
	s.addHinted(f)
	good := jws(f, "ES256", "ES256", nil, hintTokenClaims())
	for _, seed := range []string{good, s.idToken(f), "..", "eyJhbGciOiJFUzI1NiJ9.e30.AAAA", strings.Repeat("A", 20000)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s.t = t
		for _, name := range []string{"login_hint_token", "id_token_hint"} {
			if a := s.post("/bc-authorize", bc("client_id", hintClient, "login_hint", "", name, text)); a.status >= 500 {
				t.Errorf("%s %q: %d %s", name, text, a.status, a.raw)
			}
		}
	})
}
