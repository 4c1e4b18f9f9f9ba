package client_test

import (
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"assent/ciba/client"
)

const details = `[{"type":"payment_initiation","creditorName":"Example Travel <Ltd> & Söhne","amount":"480.00"}]`

// setup is a server, a client of it and, in ping mode, the agent's own endpoint.
func setup(t *testing.T, s *opServer, config client.Config) *client.Client {
	t.Helper()
	t.Cleanup(s.Close)
	config.Issuer, config.ID, config.HTTP = s.URL, "travel", s.Client()
	c, err := client.New(t.Context(), config)
	must(t, err)
	if config.Ping {
		own := httptest.NewServer(c.Pings())
		t.Cleanup(own.Close)
		s.endpoint = own.URL
	}
	t.Cleanup(func() {
		if len(s.faults) > 0 {
			t.Errorf("the server complains: %q", s.faults)
		}
	})
	return c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ways are all ways to show who one is.
func ways(s *opServer) map[string]client.Config {
	return map[string]client.Config{
		"post":  {Secret: "s:cr et/"},
		"basic": {Secret: "s:cr et/", Basic: true},
		"ES256": {Key: &client.Key{Signer: agentKey, ID: "es"}},
		"PS256": {Key: &client.Key{Signer: rsaKey(), ID: "ps"}},
		"EdDSA": {Key: &client.Key{Signer: edKey, ID: "ed"}},
	}
}

// TestEveryWay: authentication × signed request × token binding × delivery, each a whole approval and an API call.
func TestEveryWay(t *testing.T) {
	cases := 0
	for way := range ways(nil) {
		for _, signed := range []string{"", "es", "ps", "ed"} {
			for _, binding := range []string{"bearer", "DPoP", "nonce"} {
				for _, mode := range []bool{false, true} {
					cases++
					t.Run(fmt.Sprintf("%s/signed=%s/%s/ping=%v", way, signed, binding, mode), func(t *testing.T) {
						t.Parallel()
						everyWay(t, way, signed, binding, mode)
					})
				}
			}
		}
	}
	if cases != 5*4*3*2 {
		t.Errorf("%d cases", cases)
	}
}

func everyWay(t *testing.T, way, signed, binding string, mode bool) {
	s := newOp()
	s.basic, s.secret = way == "basic", way == "post"
	config := ways(s)[way]
	config.Ping = mode
	if signed != "" {
		config.RequestKey = &client.Key{Signer: map[string]crypto.Signer{"es": agentKey, "ps": rsaKey(), "ed": edKey}[signed], ID: signed}
	}
	if binding != "bearer" {
		config.DPoP = dpopKey
	}
	if binding == "nonce" {
		s.nonce = "n1"
	}
	c := setup(t, s, config)
	w, err := c.Ask(t.Context(), client.Ask{Hint: "ann", Scope: "openid trips", Message: "TEAL-7", Details: json.RawMessage(details),
		Resource: []string{"https://api.example"}, ACR: "phr", Life: time.Minute, UserCode: "1234"})
	must(t, err)
	asked := s.asked[0].params
	for name, want := range map[string]string{"login_hint": "ann", "scope": "openid trips", "binding_message": "TEAL-7",
		"acr_values": "phr", "requested_expiry": "60", "user_code": "1234"} {
		if got := fmt.Sprint(asked[name]); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := fmt.Sprint(asked["resource"]); !strings.Contains(got, "https://api.example") {
		t.Errorf("resource: %s", got)
	}
	if token, _ := asked["client_notification_token"].(string); mode != (len(token) == 43) {
		t.Errorf("client_notification_token of %d characters", len(token))
	}
	if status := s.decide(w.Handle, "approved", ""); mode && status != 204 {
		t.Errorf("the ping was answered with %d", status)
	}
	token, err := c.Wait(t.Context(), w)
	must(t, err)
	if token.Claims == nil || token.Claims.Subject != "u_ann" || token.Disclosure == nil || token.Disclosure.Digest != "d1" {
		t.Errorf("token %+v, claims %+v, disclosure %+v", token, token.Claims, token.Disclosure)
	}
	var list []map[string]string
	if err := json.Unmarshal(token.Details, &list); err != nil || list[0]["creditorName"] != "Example Travel <Ltd> & Söhne" {
		t.Errorf("details %s, %v", token.Details, err)
	}
	if s.nonce != "" {
		s.nonce = "n2" // the API has another one
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/api?q=1#f", strings.NewReader("body"))
	must(t, err)
	resp, err := c.Do(r, token)
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if want := token.TokenType + " body"; err != nil || string(body) != want || r.Header.Get("Authorization") != "" {
		t.Errorf("API: %d %s, %v", resp.StatusCode, body, err)
	}
}

// TestHandleStaysHome: a handle is not shown to another server, or by another client.
func TestHandleStaysHome(t *testing.T) {
	here, there := newOp(), newOp()
	here.secret, there.secret = true, true
	c, stranger := setup(t, here, client.Config{Secret: "s:cr et/"}), setup(t, there, client.Config{Secret: "s:cr et/"})
	w, err := c.Ask(t.Context(), client.Ask{Hint: "ann"})
	must(t, err)
	_, waited := stranger.Wait(t.Context(), w)
	_, polled := stranger.Poll(t.Context(), w, 0)
	_, looked := stranger.Status(t.Context(), w)
	for i, err := range []error{waited, polled, looked, stranger.Cancel(t.Context(), w)} {
		if err == nil || strings.Contains(err.Error(), w.Handle) {
			t.Errorf("%d: %v", i, err)
		}
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("asked", "request", w)
	if printed := fmt.Sprintf("%v %+v %s", w, *w, log.String()); strings.Contains(printed, w.Handle) {
		t.Errorf("printed: %s", printed)
	}
}

// TestAskAgain: with a Key, asking again is the same request, in ping mode too.
func TestAskAgain(t *testing.T) {
	s := newOp()
	s.secret = true
	c := setup(t, s, client.Config{Secret: "s:cr et/", Ping: true})
	w, err := c.Ask(t.Context(), client.Ask{Hint: "ann", Key: "k"})
	must(t, err)
	again, err := c.Ask(t.Context(), client.Ask{Hint: "ann", Key: "k"})
	must(t, err)
	if again.Handle != w.Handle || len(s.asked) != 1 {
		t.Errorf("%d requests", len(s.asked))
	}
	if status := s.decide(w.Handle, "approved", ""); status != 204 {
		t.Errorf("the ping was answered with %d", status)
	}
}

// TestBadTokens: a token response that does not hold is not handed out.
func TestBadTokens(t *testing.T) {
	const of = "id"
	tests := []struct {
		name, part string
		change     func(object)
		want       string // "": accepted
	}{
		{"as it should be", of, func(object) {}, ""},
		{"no at_hash", of, func(c object) { delete(c, "at_hash") }, ""},
		{"no claim of the request", of, func(c object) { delete(c, "urn:openid:params:jwt:claim:auth_req_id") }, ""},
		{"audience among others", of, func(c object) { c["aud"], c["azp"] = []string{"x", "travel"}, "travel" }, ""},
		{"another issuer", of, func(c object) { c["iss"] = c["iss"].(string) + "/" }, "issuer"},
		{"another audience", of, func(c object) { c["aud"] = "other" }, "another client"},
		{"several audiences, no azp", of, func(c object) { c["aud"] = []string{"x", "travel"} }, "party"},
		{"another azp", of, func(c object) { c["azp"] = "x" }, "party"},
		{"no subject", of, func(c object) { delete(c, "sub") }, "subject"},
		{"expired", of, func(c object) { c["exp"] = time.Now().Add(-2 * time.Minute).Unix() }, "expired"},
		{"no exp", of, func(c object) { delete(c, "exp") }, "expired"},
		{"from the future", of, func(c object) { c["iat"] = time.Now().Add(2 * time.Minute).Unix() }, "future"},
		{"another at_hash", of, func(c object) { c["at_hash"] = "x" }, "access token"},
		{"another request", of, func(c object) { c["urn:openid:params:jwt:claim:auth_req_id"] = "x" }, "request"},
		{"a claim of another type", of, func(c object) { c["sub"] = 7 }, "read"},
		{"no ID token", "response", func(c object) { delete(c, "id_token") }, "missing"},
		{"no ID token, no openid", "response", func(c object) { delete(c, "id_token"); c["scope"] = "trips" }, ""},
		{"flipped bit", "response", func(c object) { c["id_token"] = flip(c["id_token"].(string)) }, "signed"},
		{"no signature", "response", func(c object) { c["id_token"] = "eyJhbGciOiJub25lIn0.e30." }, "signed"},
		{"no JWS", "response", func(c object) { c["id_token"] = "x" }, "JWS"},
		{"no access token", "response", func(c object) { delete(c, "access_token") }, "missing"},
		{"another token type", "response", func(c object) { c["token_type"] = "Bearer" }, "DPoP"},
		{"type in lower case", "response", func(c object) { c["token_type"] = "dpop" }, ""},
		{"bound to another key", "access", func(c object) { c["cnf"] = object{"jkt": "x"} }, "another key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newOp()
			s.secret = true
			s.spoil = func(part string, claims object) {
				if part == tt.part {
					tt.change(claims)
				}
			}
			c := setup(t, s, client.Config{Secret: "s:cr et/", DPoP: dpopKey})
			w, err := c.Ask(t.Context(), client.Ask{Hint: "ann"})
			must(t, err)
			s.decide(w.Handle, "approved", "")
			token, err := c.Wait(t.Context(), w)
			if tt.want == "" {
				must(t, err)
				return
			}
			if token != nil || !errors.Is(err, client.ErrBadToken) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Wait: %v", err)
			}
		})
	}
}

func flip(text string) string {
	b := []byte(text)
	i := len(b) - 10
	b[i] = map[bool]byte{true: 'B', false: 'A'}[b[i] == 'A']
	return string(b)
}
