package client_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"assent/ciba/client"
)

// TestConfig: what cannot work is refused before anybody is asked.
func TestConfig(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	key := &client.Key{Signer: agentKey}
	tests := map[string]client.Config{
		"one of Config.Secret":      {},
		"exclude each other":        {Secret: "s", Key: key},
		"Config.Key: must be":       {Key: &client.Key{Signer: p384}},
		"Config.Key: must be a":     {Key: &client.Key{}},
		"Config.RequestKey: must":   {Secret: "s", RequestKey: &client.Key{Signer: p384}},
		"Config.DPoP: must":         {Secret: "s", DPoP: edKey},
		"issuer must be an https":   {Secret: "s", Issuer: "http://assent.example"},
		"does not offer ping":       {Secret: "s", Ping: true},
		"does not offer DPoP":       {Secret: "s", DPoP: dpopKey},
		"that are signed with ES25": {Secret: "s", RequestKey: key},
	}
	plain := httptest.NewServer(nil)
	defer plain.Close()
	plain.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, object{"issuer": plain.URL, "token_endpoint": plain.URL, "backchannel_authentication_endpoint": plain.URL})
	})
	for want, config := range tests {
		config.ID = "travel"
		if config.Issuer == "" {
			config.Issuer = plain.URL
		}
		if _, err := client.New(t.Context(), config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	c, err := client.New(t.Context(), client.Config{Issuer: plain.URL, ID: "travel", Secret: "s"})
	must(t, err)
	for i, a := range []client.Ask{{}, {Hint: "a", IDToken: "b"}, {Hint: "a", Details: json.RawMessage(`[`)}} {
		if _, err := c.Ask(t.Context(), a); err == nil {
			t.Errorf("ask %d was accepted", i)
		}
	}
	if c.Pings() != nil {
		t.Error("pings are received in poll mode")
	}
	r := httptest.NewRequest("GET", "http://api.example/", nil)
	if err := c.Authorize(r, &client.Token{AccessToken: "t"}); err == nil {
		t.Error("a token was put into a request in the clear")
	}
	r = httptest.NewRequest("GET", "https://api.example/", nil)
	if err := c.Authorize(r, &client.Token{AccessToken: "t", TokenType: "DPoP"}); err == nil {
		t.Error("a bound token was used without its key")
	}
}

// TestCertificate: a caller with a certificate is sent to the addresses for those (RFC 8705 section 5).
func TestCertificate(t *testing.T) {
	var calls []string
	own := httptest.NewServer(nil)
	defer own.Close()
	own.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls = append(calls, r.Method+" "+r.URL.Path)
		switch r.URL.Path {
		case "/mtls/bc":
			if r.ParseForm(); r.PostForm.Get("client_id") != "travel" || len(r.PostForm) != 3 {
				t.Errorf("form %v", r.PostForm)
			}
			answer(w, 200, object{"auth_req_id": "h", "expires_in": 60})
		case "/t":
			answer(w, 200, object{"access_token": "a", "token_type": "Bearer", "expires_in": 60})
		default:
			answer(w, 200, object{"issuer": own.URL, "token_endpoint": own.URL + "/t", "backchannel_authentication_endpoint": own.URL + "/bc",
				"mtls_endpoint_aliases": object{"backchannel_authentication_endpoint": own.URL + "/mtls/bc"}})
		}
	})
	c, err := client.New(t.Context(), client.Config{Issuer: own.URL, ID: "travel", Certificate: true})
	must(t, err)
	w, err := c.Ask(t.Context(), client.Ask{Hint: "ann"})
	must(t, err)
	if w.Interval != 5*time.Second {
		t.Errorf("interval %v", w.Interval) // CIBA section 7.3
	}
	if _, err := c.Wait(t.Context(), w); err != nil {
		t.Error(err)
	}
	if want := []string{"GET /.well-known/openid-configuration", "POST /mtls/bc", "POST /t"}; !slices.Equal(calls, want) {
		t.Errorf("calls %q", calls)
	}
}
