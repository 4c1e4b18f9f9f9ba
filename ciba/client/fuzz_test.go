package client

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// FuzzPing: whatever is sent to the receiver, only the right token with the right request rings.
func FuzzPing(f *testing.F) {
	const token = "wYPF0h30jpKf7Xn42vNF4FA1iXKHO9Uw"
	for _, seed := range [][3]string{
		{"Bearer " + token, "application/json", `{"auth_req_id":"h"}`},
		{"Bearer x", "application/json", `{"auth_req_id":"h"}`},
		{"bearer " + token, "application/json;charset=utf-8", `{"auth_req_id":"h","x":[]}`},
		{"", "text/plain", `[]`},
		{"Bearer " + token, "application/json", `{"auth_req_id":"h"}{}`},
		{"Bearer " + token, "application/json", `{"AUTH_REQ_ID":7}`},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, authorization, kind, body string) {
		p := newPings()
		b := p.bell(&Waiting{Handle: "h", ExpiresAt: time.Now().Add(time.Minute), ping: sha256.Sum256([]byte(token))})
		ring := b.listen()
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set("Authorization", authorization)
		r.Header.Set("Content-Type", kind)
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		rang := false
		select {
		case <-ring:
			rang = true
		default:
		}
		_, given, _ := strings.Cut(authorization, " ")
		if rang != (w.Code == http.StatusNoContent) || rang && given != token {
			t.Errorf("%d, rang: %v, token %q, body %q", w.Code, rang, given, body)
		}
	})
}

// FuzzAnswer: no token response, acknowledgement, status, error, key set or saved request makes the client panic, and
// nothing is accepted whose ID token nobody has signed.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"access_token":"a","token_type":"Bearer","expires_in":300,"scope":"trips"}`,
		`{"access_token":"a","token_type":"Bearer","expires_in":1e99,"id_token":"eyJhbGciOiJFUzI1NiIsImtpZCI6Im9wIn0.e30.AA"}`,
		`{"access_token":"eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJub25lIn0.e30.","token_type":"bearer"}`,
		`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":"RSA","n":"AQAB","e":"AA"},{"kty":"OKP","crv":"Ed25519","x":""},7]}`,
		`{"auth_req_id":"h","expires_in":120,"interval":2}`, `{"auth_req_id":"h","expires_in":-1}`,
		`{"error":"slow_down","error_description":"\u001b[2J"}`, `{"state":"denied","expires_at":"x"}`, `[]`, `<html>`, ``,
		`{"v":1,"auth_req_id":"h","expires_at":"2026-01-01T00:00:00Z","interval":7,"ping":"eA"}`,
	} {
		f.Add(200, seed)
		f.Add(400, seed)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		fake := roundTrip(func(r *http.Request) (*http.Response, error) { return respond(status, body, ""), nil })
		c := &Client{config: Config{Issuer: "https://s.example", ID: "travel", Secret: "s"}, http: &http.Client{Transport: fake}}
		c.server.JWKS, c.server.Token, c.server.Backchannel, c.server.Status = "https://s/k", "https://s/t", "https://s/b", "https://s/s"
		c.keys.keep(nil, time.Now())
		w := &Waiting{Handle: "h", ExpiresAt: time.Now().Add(time.Minute)}
		if token, err := c.Poll(ctx, w, 0); err == nil && (token.IDToken != "" || token.Claims != nil || token.AccessToken == "") {
			t.Errorf("accepted %q", body)
		}
		if w, err := c.Ask(ctx, Ask{Hint: "a"}); err == nil && (w.Handle == "" || !w.ExpiresAt.After(time.Now().Add(-time.Hour)) || w.Interval <= 0) {
			t.Errorf("acknowledged: %+v", w)
		}
		if _, err := c.Status(ctx, w); err != nil && strings.ContainsFunc(err.Error(), func(c rune) bool { return c < 0x20 }) {
			t.Errorf("error %q", err)
		}
		var set struct{ Keys []json.RawMessage }
		if json.Unmarshal([]byte(body), &set) == nil {
			for _, k := range readKeys(set.Keys) {
				signedBy(k.key, algRS256, nil, nil)
			}
		}
		var saved Waiting
		if json.Unmarshal([]byte(body), &saved) == nil && saved.Handle == "" {
			t.Errorf("read %q", body)
		}
	})
}
