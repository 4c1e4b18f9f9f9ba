package client_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
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

// TestPingWakes: a ping ends a Wait at once, whatever it says, and a second one is no fault (REQ-223).
func TestPingWakes(t *testing.T) {
	tests := []struct {
		state string
		want  error
	}{{"approved", nil}, {"denied", client.ErrDenied}, {"cancelled", client.ErrWithdrawn}}
	for _, tt := range tests {
		t.Run(tt.state, func(t *testing.T) {
			s := newOp()
			s.secret = true
			c := setup(t, s, client.Config{Secret: "s:cr et/", Ping: true})
			w, err := c.Ask(t.Context(), client.Ask{Hint: "ann"})
			must(t, err)
			done := make(chan error)
			go func() {
				_, err := c.Wait(t.Context(), w)
				done <- err
			}()
			<-s.polled // at once; the next poll would come in 30 s
			if status := s.decide(w.Handle, tt.state, "too much"); status != 204 {
				t.Errorf("the ping was answered with %d", status)
			}
			err = <-done
			var no *client.Denied
			if !errors.Is(err, tt.want) || errors.As(err, &no) && no.Note != "too much" {
				t.Errorf("Wait: %v", err)
			}
			if status := s.decide(w.Handle, tt.state, ""); status != 204 {
				t.Errorf("the ping's repeat was answered with %d", status)
			}
		})
	}
}

// TestPingOvertakes: a ping that is faster than the acknowledgement is not refused.
func TestPingOvertakes(t *testing.T) {
	s := newOp()
	s.secret, s.early = true, true
	c := setup(t, s, client.Config{Secret: "s:cr et/", Ping: true})
	w, err := c.Ask(t.Context(), client.Ask{Hint: "ann"})
	must(t, err)
	if _, err := c.Wait(t.Context(), w); err != nil {
		t.Error(err)
	}
}

// TestPingRace: a hundred requests are decided while they are waited for; every one ends by its ping.
func TestPingRace(t *testing.T) {
	s := newOp()
	s.secret = true
	c := setup(t, s, client.Config{Secret: "s:cr et/", Ping: true})
	var all sync.WaitGroup
	began := time.Now()
	for range 100 {
		w, err := c.Ask(t.Context(), client.Ask{Hint: "ann"})
		must(t, err)
		all.Go(func() {
			if _, err := c.Wait(t.Context(), w); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			if status := s.decide(w.Handle, "approved", ""); status != 204 {
				t.Errorf("the ping was answered with %d", status)
			}
		})
	}
	all.Wait()
	if took := time.Since(began); took > 25*time.Second { // a slow poll would come after 30
		t.Errorf("took %v", took)
	}
}

// TestPings: what the receiver answers (REQ-223).
func TestPings(t *testing.T) {
	s := newOp()
	s.secret = true
	c := setup(t, s, client.Config{Secret: "s:cr et/", Ping: true})
	w, err := c.Ask(t.Context(), client.Ask{Hint: "ann"})
	must(t, err)
	other, err := c.Ask(t.Context(), client.Ask{Hint: "ann"})
	must(t, err)
	token := "Bearer " + s.asked[0].params["client_notification_token"].(string)
	good := `{"auth_req_id":"` + w.Handle + `"}`
	tests := []struct {
		name, method, bearer, kind, body string
		want                             int
	}{
		{"as it should be", "POST", token, "application/json", good, 204},
		{"twice", "POST", token, "application/json; charset=utf-8", good, 204},
		{"scheme in lower case", "POST", "bearer" + token[6:], "application/json", good, 204},
		{"a member that we do not know", "POST", token, "application/json", `{"x":1,` + good[1:], 204},
		{"no token", "POST", "", "application/json", good, 401},
		{"wrong token", "POST", token + "x", "application/json", good, 401},
		{"another scheme", "POST", "Basic" + token[6:], "application/json", good, 401},
		{"endless token", "POST", "Bearer " + strings.Repeat("x", 1025), "application/json", good, 401},
		{"another request's token", "POST", token, "application/json", `{"auth_req_id":"` + other.Handle + `"}`, 401},
		{"unknown request", "POST", token, "application/json", `{"auth_req_id":"nobody"}`, 401},
		{"no request", "POST", token, "application/json", `{}`, 400},
		{"not a string", "POST", token, "application/json", `{"auth_req_id":7}`, 400},
		{"no JSON", "POST", token, "application/json", `auth_req_id`, 400},
		{"two objects", "POST", token, "application/json", good + good, 400},
		{"a form", "POST", token, "application/x-www-form-urlencoded", good, 415},
		{"too long", "POST", token, "application/json", `{"x":"` + strings.Repeat("x", 9000) + `"}`, 413},
		{"GET", "GET", token, "application/json", "", 405},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, "/", strings.NewReader(tt.body))
			r.Header.Set("Content-Type", tt.kind)
			if tt.bearer != "" {
				r.Header.Set("Authorization", tt.bearer)
			}
			a := httptest.NewRecorder()
			c.Pings().ServeHTTP(a, r)
			if a.Code != tt.want || a.Body.Len() != 0 || (a.Code == 401) != (a.Header().Get("WWW-Authenticate") != "") {
				t.Errorf("%d %v %q, want %d", a.Code, a.Header(), a.Body, tt.want)
			}
		})
	}
}

// TestResumeByPing: another process, which knows what was written down and nothing else, is woken too.
func TestResumeByPing(t *testing.T) {
	s := newOp()
	s.secret = true
	first := setup(t, s, client.Config{Secret: "s:cr et/", Ping: true, DPoP: dpopKey})
	w, err := first.Ask(t.Context(), client.Ask{Hint: "ann"})
	must(t, err)
	raw, err := json.Marshal(w)
	must(t, err)
	notify := s.asked[0].params["client_notification_token"].(string)
	if strings.Contains(string(raw), notify) || strings.Contains(string(raw), "s:cr") {
		t.Errorf("a secret is in %s", raw)
	}
	second := setup(t, s, client.Config{Secret: "s:cr et/", Ping: true, DPoP: dpopKey})
	if status := s.decide(w.Handle, "pending", ""); status != 401 {
		t.Errorf("before it is resumed: %d", status)
	}
	again := &client.Waiting{}
	must(t, json.Unmarshal(raw, again))
	done := make(chan error)
	go func() {
		_, err := second.Wait(t.Context(), again)
		done <- err
	}()
	<-s.polled
	if status := s.decide(w.Handle, "approved", ""); status != 204 {
		t.Errorf("after: %d", status)
	}
	must(t, <-done)
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
