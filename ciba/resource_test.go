package ciba

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// shows shows a token to a resource and returns what that makes of it.
func shows(s *service, audience, scheme, token string, proofs ...string) (*Token, *httptest.ResponseRecorder) {
	r := httptest.NewRequest(http.MethodGet, "/resource", nil)
	if token != "" {
		r.Header.Set("Authorization", scheme+" "+token)
	}
	for _, p := range proofs {
		r.Header.Add("DPoP", p)
	}
	w := httptest.NewRecorder()
	return Resource{s.Handler, audience}.Show(w, r), w
}

// A resource takes tokens that are meant for it, from whom they are bound to, as long as they last.
func TestResource(t *testing.T) {
	row(t, "REQ-235", "REQ-258")
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		const here = "https://api.example"
		handle := s.ask(t, "authorization_details", payment)
		s.approve(t, handle)
		bearer := s.post("/token", tk(handle)).text("access_token")
		got, _ := shows(s, here, "Bearer", bearer)
		if got == nil || got.Subject != "p-ann" || got.ClientID != "travel" || got.Request != string(idOf(handle)) ||
			len(got.Details) != 1 || string(got.Details[0]) != strings.Trim(payment, "[]") {
			t.Fatalf("token %+v", got)
		}
		handle = s.ask(t)
		s.approve(t, handle)
		bound := s.post("/token", tk(handle), "DPoP", proofOf(t, "ES256", "ES256", nil)).text("access_token")
		proof := func(key string) string {
			return proofOf(t, key, key, nil, "htm", "GET", "htu", testIssuer+"/resource", "ath", ath(bound))
		}
		if got, w := shows(s, here, "DPoP", bound, proof("ES256")); got == nil {
			t.Errorf("bound: %d %s", w.Code, w.Body)
		}
		if got, _ := shows(s, "https://bank.example", "Bearer", bearer); got != nil {
			t.Error("REQ-235: a token for another audience was taken")
		}
		middle := len(bearer) - 20
		flipped := bearer[:middle] + string(bearer[middle]^1) + bearer[middle+1:]
		for name, try := range map[string][]string{"no token": {"", ""}, "nonsense": {"Bearer", "x"}, "one bit": {"Bearer", flipped},
			"no proof": {"DPoP", bound}, "as a bearer token": {"Bearer", bound}, "another key": {"DPoP", bound, proof("PS256")}} {
			got, w := shows(s, here, try[0], try[1], try[2:]...)
			if got != nil || w.Code != 401 || w.Header().Get("WWW-Authenticate") == "" || strings.Contains(w.Body.String(), "ann") {
				t.Errorf("%s: %+v, %d %s", name, got, w.Code, w.Body)
			}
		}
		time.Sleep(tokenLife)
		if got, w := shows(s, here, "Bearer", bearer); got != nil || w.Code != 401 {
			t.Errorf("expired: %+v, %d", got, w.Code)
		}
	})
}
