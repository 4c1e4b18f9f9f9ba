package ciba

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/approvals"
)

// TestTokens is section 9: what is in the answer and in both tokens, and what is not.
func TestTokens(t *testing.T) {
	row(t, "REQ-002", "REQ-130", "REQ-231", "REQ-232", "REQ-234", "REQ-235", "REQ-236", "REQ-238", "REQ-241", "REQ-240", "REQ-242", "REQ-243", "REQ-244", "REQ-245", "REQ-246", "REQ-288", "REQ-261")
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		handle := s.ask(t, "scope", "openid trips.book", "authorization_details", payment, "acr_values", "phr",
			"binding_message", "CANARY-7", "resource", "https://bank.example")
		signedIn := time.Now().Add(-time.Minute) // see service.answer
		s.approve(t, handle)
		time.Sleep(time.Minute)
		now := time.Now().Unix()
		a := s.post("/token", tk(handle))
		if a.status != 200 || a.header.Get("Pragma") != "no-cache" { // REQ-231
			t.Fatalf("%d %s %v", a.status, a.raw, a.header)
		}
		r, err := s.store.Request(t.Context(), idOf(handle))
		must(t, err)
		access, id := a.text("access_token"), a.text("id_token")
		if got := members(a.json); got != "access_token authorization_details expires_in id_token scope token_type" {
			t.Errorf("members: %s", got)
		}
		if a.json["token_type"] != "Bearer" || a.json["expires_in"] != 300.0 || a.json["scope"] != "openid trips.book" {
			t.Errorf("response: %s", a.raw)
		}
		var details any
		must(t, json.Unmarshal([]byte(payment), &details))
		header, claims := s.verify(t, access)
		if header.ExtraHeaders["typ"] != "at+jwt" || header.Algorithm != "ES256" || claims["jti"] == "" { // REQ-234
			t.Errorf("header %v", header)
		}
		jti, _ := base64.RawURLEncoding.DecodeString(claims["jti"].(string))
		if len(jti) != 16 {
			t.Errorf("jti %v", claims["jti"])
		}
		delete(claims, "jti")
		want := map[string]any{
			"iss": testIssuer, "sub": "p-ann", "aud": "https://bank.example", "client_id": "travel", // REQ-002, 235
			"scope": "openid trips.book", "iat": float64(now), "exp": float64(now + 300), "auth_time": float64(signedIn.Unix()), // REQ-243
			"acr": "urn:assent:acr:session", "amr": []any{"otp"}, "act": map[string]any{"sub": "travel"}, // REQ-130, 236, 238
			"authorization_details": details, "txn": string(r.ID),
			"disclosure": map[string]any{"digest": r.Decisions[0].Digest, "template": "payment_initiation",
				"version": float64(r.Disclosures[0].Version), "locale": "en"},
		}
		if diff := cmp.Diff(want, claims); diff != "" {
			t.Errorf("access token (-want +got):\n%s", diff)
		}
		if digest := sha256.Sum256([]byte(r.Decisions[0].Disclosure)); base64.RawURLEncoding.EncodeToString(digest[:]) != r.Decisions[0].Digest {
			t.Error("the digest is not that of what was shown")
		}
		for _, canary := range []string{"CANARY", "ann@", "+49"} { // REQ-240
			if payload := part(t, access); strings.Contains(payload, canary) {
				t.Errorf("%s is in %s", canary, payload)
			}
		}
		if !strings.Contains(part(t, access), `"authorization_details":`+payment) { // byte for byte
			t.Errorf("access token: %s", part(t, access))
		}
		header, claims = s.verify(t, id)
		sum := sha256.Sum256([]byte(access))
		want = map[string]any{"iss": testIssuer, "sub": "p-ann", "aud": "travel", "iat": float64(now), "exp": float64(now + 300), // REQ-242, 245
			"auth_time": float64(signedIn.Unix()), "acr": "urn:assent:acr:session", "amr": []any{"otp"},
			"at_hash": base64.RawURLEncoding.EncodeToString(sum[:16])} // REQ-244
		if diff := cmp.Diff(want, claims); diff != "" || header.ExtraHeaders["typ"] != "JWT" {
			t.Errorf("id token (-want +got):\n%s", diff)
		}
	})
}

func part(t *testing.T, token string) string {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	must(t, err)
	return string(raw)
}

func members(object map[string]any) string {
	var names []string
	for name := range object {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// TestPlainTokens: without details and audience there is no empty member, and the default audience counts.
func TestPlainTokens(t *testing.T) {
	row(t, "REQ-098", "REQ-233", "REQ-235")
	s := newService(t)
	handle := s.ask(t)
	s.approve(t, handle)
	a := s.post("/token", tk(handle))
	if got := members(a.json); got != "access_token expires_in id_token scope token_type" { // REQ-233
		t.Errorf("members: %s", got)
	}
	_, claims := s.verify(t, a.text("access_token"))
	if claims["aud"] != "https://api.example" || claims["authorization_details"] != nil { // REQ-235
		t.Errorf("claims: %v", claims)
	}
}

// TestOtherLanguage: the token names the disclosure that was on the screen.
func TestOtherLanguage(t *testing.T) {
	row(t, "REQ-288")
	s := newService(t)
	handle := s.ask(t, "authorization_details", payment)
	r, err := s.Desk.Request(t.Context(), idOf(handle))
	must(t, err)
	shown, err := s.Desk.Show(r, approvals.Korean)
	must(t, err)
	a := s.answer(r)
	a.Locale, a.Digest = approvals.Korean, shown.Digest()
	_, err = s.Desk.Approve(t.Context(), r.ID, a)
	must(t, err)
	_, claims := s.verify(t, s.post("/token", tk(handle)).text("access_token"))
	got := claims["disclosure"].(map[string]any)
	if got["locale"] != "ko" || got["digest"] != shown.Digest() || got["template"] != "payment_initiation" {
		t.Errorf("disclosure: %v", got)
	}
}

// TestTampered: a token with one flipped bit does not verify.
func TestTampered(t *testing.T) {
	row(t, "REQ-234")
	s := newService(t)
	_, token := s.signs(t)
	pieces := strings.Split(token, ".")
	signature, err := base64.RawURLEncoding.DecodeString(pieces[2])
	must(t, err)
	signature[10] ^= 1
	pieces[2] = base64.RawURLEncoding.EncodeToString(signature)
	if verifies(s, strings.Join(pieces, ".")) || !verifies(s, token) {
		t.Error("the signature does not matter")
	}
}
