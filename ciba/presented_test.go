package ciba

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// resource is a request to a resource, with a token and perhaps a proof of its key.
func resource(s *service, scheme, token string, proofs ...string) (*accessToken, *fault, http.Header) {
	r := httptest.NewRequest(http.MethodGet, "/resource", nil)
	if scheme != "" {
		r.Header.Add("Authorization", scheme+" "+token)
	}
	for _, p := range proofs {
		r.Header.Add("DPoP", p)
	}
	w := httptest.NewRecorder()
	claims, err := s.presented(&call{w: w, r: r, at: time.Now()})
	if err != nil {
		return claims, faultOf(err), w.Header()
	}
	return claims, nil, w.Header()
}

// tokenFor has a request approved and collects its token; headers go with the token request.
func (s *service) tokenFor(t testing.TB, headers ...string) string {
	t.Helper()
	handle := s.ask(t)
	s.approve(t, handle)
	a := s.post("/token", tk(handle), headers...)
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	return a.text("access_token")
}

func ath(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// TestPresented is REQ-258 at a resource with RFC 9449 sections 4.3 and 7: a bound token needs a proof of its key about
// itself, and no other scheme than its own.
func TestPresented(t *testing.T) {
	row(t, "REQ-258")
	s := newBound(t)
	bearer := s.tokenFor(t)
	token := s.tokenFor(t, "DPoP", proofOf(t, "ES256", "ES256", nil))
	htu := testIssuer + "/resource"
	proof := func(key string, claims ...any) string {
		return proofOf(t, key, key, nil, append([]any{"htm", "GET", "htu", htu, "ath", ath(token)}, claims...)...)
	}
	used := proof("ES256")
	if claims, f, _ := resource(s, "DPoP", token, used); f != nil || claims.Subject != "p-ann" || claims.ClientID != "travel" ||
		claims.Audience[0] != "https://api.example" {
		t.Fatalf("%+v %v", claims, f)
	}
	if claims, f, _ := resource(s, "bearer", bearer); f != nil || claims.Confirm != nil {
		t.Fatalf("%+v %v", claims, f)
	}
	id := s.post("/token", tk(func() string { h := s.ask(t); s.approve(t, h); return h }())).text("id_token")
	tests := []struct {
		name, scheme, token string
		proofs              []string
		code                string
	}{
		{"nothing", "", "", nil, "invalid_token"},
		{"another scheme", "Basic", token, nil, "invalid_token"},
		{"no token", "DPoP", "", []string{proof("ES256")}, "invalid_token"},
		{"no proof", "DPoP", token, nil, "invalid_token"},
		{"as a bearer token", "Bearer", token, nil, "invalid_token"},
		{"as a bearer token with proof", "Bearer", token, []string{proof("ES256")}, "invalid_token"},
		{"a bearer token as another", "DPoP", bearer, []string{proof("ES256", "ath", ath(bearer))}, "invalid_token"},
		{"another key", "DPoP", token, []string{proof("EdDSA")}, "invalid_token"},
		{"used proof", "DPoP", token, []string{used}, "invalid_dpop_proof"},
		{"two proofs", "DPoP", token, []string{proof("ES256"), proof("ES256")}, "invalid_dpop_proof"},
		{"no ath", "DPoP", token, []string{proof("ES256", "ath", nil)}, "invalid_dpop_proof"},
		{"ath of another token", "DPoP", token, []string{proof("ES256", "ath", ath(bearer))}, "invalid_dpop_proof"},
		{"ath is a number", "DPoP", token, []string{proof("ES256", "ath", 7)}, "invalid_dpop_proof"},
		{"another method", "DPoP", token, []string{proof("ES256", "htm", "POST")}, "invalid_dpop_proof"},
		{"another resource", "DPoP", token, []string{proof("ES256", "htu", testIssuer+"/token")}, "invalid_dpop_proof"},
		{"nonce of nobody", "DPoP", token, []string{proof("ES256", "nonce", "x")}, "use_dpop_nonce"},
		{"flipped bit", "Bearer", bearer[:len(bearer)-3] + "AAA", nil, "invalid_token"},
		{"an ID token", "Bearer", id, nil, "invalid_token"},
		{"endless", "Bearer", strings.Repeat("x", maxToken), nil, "invalid_token"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, f, header := resource(s, tt.scheme, tt.token, tt.proofs...)
			if f == nil || f.status != 401 || f.code != tt.code {
				t.Fatalf("%+v", f)
			}
			scheme := map[bool]string{true: "DPoP ", false: "Bearer"}[tt.scheme == "DPoP" && tt.token != ""]
			if !strings.HasPrefix(f.challenge, scheme) {
				t.Errorf("challenge %q", f.challenge)
			}
			if (header.Get("DPoP-Nonce") != "") != (tt.code == "use_dpop_nonce") {
				t.Errorf("nonce %q", header.Get("DPoP-Nonce"))
			}
		})
	}
}

// TestPresentedLate: a token is over when it expires, and when its key is published no more.
func TestPresentedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		token := s.tokenFor(t)
		time.Sleep(tokenLife - time.Second)
		if _, f, _ := resource(s, "Bearer", token); f != nil {
			t.Errorf("in time: %v", f)
		}
		time.Sleep(time.Second)
		if _, f, _ := resource(s, "Bearer", token); f == nil {
			t.Error("expired, and accepted")
		}
		fresh := s.tokenFor(t)
		_, err := s.Keyring.Rotate(context.Background())
		must(t, err)
		if _, f, _ := resource(s, "Bearer", fresh); f != nil {
			t.Errorf("of the key before: %v", f)
		}
	})
}

// TestPresentedRetired: who gets hold of a key that has been rotated away makes no tokens with it.
func TestPresentedRetired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		stolen := s.Keyring.current()
		rotate := func() {
			t.Helper()
			_, err := s.Keyring.Rotate(context.Background())
			must(t, err)
			time.Sleep(cacheAge)
		}
		claims := func() *accessClaims {
			at := time.Now()
			return &accessClaims{about: about{Issuer: testIssuer, Subject: "p-ann", Issued: at.Unix(), Expires: at.Add(tokenLife).Unix()}}
		}
		use := func() *fault {
			t.Helper()
			token, err := sign(stolen.accessToken, claims())
			must(t, err)
			_, f, _ := resource(s, "Bearer", token)
			return f
		}
		if f := use(); f != nil {
			t.Fatalf("while it signs: %v", f)
		}
		rotate()
		time.Sleep(tokenLife + keyLag)
		if f := use(); f == nil || f.code != "invalid_token" {
			t.Errorf("gone from the set, and accepted: %v", f)
		}
		rotate() // now it is kept for hints only
		if f := use(); f == nil || f.code != "invalid_token" {
			t.Errorf("retired, and accepted: %v", f)
		}
	})
}
