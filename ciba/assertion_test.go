package ciba

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// testKeys are the keys of the test clients, made once.
var testKeys = sync.OnceValue(func() map[string]crypto.Signer {
	curve, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, edwards, _ := ed25519.GenerateKey(rand.Reader)
	modulus, _ := rsa.GenerateKey(rand.Reader, 2048)
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return map[string]crypto.Signer{"ES256": curve, "EdDSA": edwards, "PS256": modulus, "RS256": modulus, "other": other}
})

// jwksOf is the public set of some test keys, each with its name as kid.
func jwksOf(names ...string) string {
	var set jose.JSONWebKeySet
	for _, n := range names {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: testKeys()[n].Public(), KeyID: n})
	}
	raw, _ := json.Marshal(set)
	return string(raw)
}

type object = map[string]any

// jws signs claims with a test key; header members are added or replaced, nil ones taken away.
func jws(t testing.TB, key, alg string, header, claims object) string {
	t.Helper()
	o := (&jose.SignerOptions{}).WithHeader("kid", key)
	for name, v := range header {
		o = o.WithHeader(jose.HeaderKey(name), v)
	}
	if v, has := header["kid"]; has && v == nil {
		delete(o.ExtraHeaders, "kid")
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: testKeys()[key]}, o)
	must(t, err)
	raw, err := json.Marshal(claims)
	must(t, err)
	made, err := signer.Sign(raw)
	must(t, err)
	text, err := made.CompactSerialize()
	must(t, err)
	return text
}

// from makes claims out of others; nil takes one away.
func from(claims object, pairs ...any) object {
	out := maps.Clone(claims)
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i].(string)] = pairs[i+1]
		if pairs[i+1] == nil {
			delete(out, pairs[i].(string))
		}
	}
	return out
}

func assertionClaims(id string, pairs ...any) object {
	now := time.Now().Unix()
	claims := from(object{"iss": id, "sub": id, "aud": testIssuer, "jti": newJTI(), "iat": now, "exp": now + 60}, pairs...)
	for name, value := range claims {
		if from, ok := value.(seconds); ok {
			claims[name] = now + int64(from)
		}
	}
	return claims
}

// seconds is a NumericDate so far from the moment at which the claims are made.
type seconds int64

// asserted is a form that is authenticated with an assertion instead of a secret.
func asserted(f form, assertion string) form {
	return f.with("client_id", "", "client_secret", "", "client_assertion_type", assertionType, "client_assertion", assertion)
}

func keyed(id, keys, more string) string {
	return `{"client_id":"` + id + `","token_endpoint_auth_method":"private_key_jwt","jwks":` + keys + more + `}`
}

// addKeyed registers the clients that authenticate with keys.
func (s *service) addKeyed(t testing.TB) {
	t.Helper()
	all := jwksOf("ES256", "EdDSA", "PS256")
	for _, raw := range []string{
		keyed("keyed", all, `,"assertion_audience":"strict"`),
		keyed("easy", all, `,"assertion_lifetime_seconds":3600`),
		keyed("rsa", all, `,"token_endpoint_auth_signing_alg":"RS256"`),
		keyed("exact", all, `,"token_endpoint_auth_signing_alg":"ES256"`),
	} {
		must(t, s.saveAgent(raw))
	}
}

func TestAssertion(t *testing.T) {
	t.Parallel()
	type tc struct {
		row, name, id, alg string
		header             object
		change             []any
		ok                 bool
	}
	tests := []tc{
		{"REQ-062", "ES256", "keyed", "ES256", nil, nil, true},
		{"REQ-062", "PS256", "keyed", "PS256", nil, nil, true},
		{"REQ-062", "EdDSA", "keyed", "EdDSA", nil, nil, true},
		{"REQ-062", "RS256", "keyed", "RS256", object{"kid": "PS256"}, nil, false},
		{"REQ-062", "RS256 of a compat client", "easy", "RS256", object{"kid": "PS256"}, nil, false},
		{"REQ-062", "RS256 registered", "rsa", "RS256", object{"kid": "PS256"}, nil, true},
		{"REQ-062", "PS256 where RS256 is registered", "rsa", "PS256", nil, nil, false},
		{"REQ-062", "registered", "exact", "ES256", nil, nil, true},
		{"REQ-062", "another than registered", "exact", "EdDSA", nil, nil, false},
		{"published clients", "no kid", "keyed", "ES256", object{"kid": nil}, nil, true},
		{"REQ-065", "unknown kid", "keyed", "ES256", object{"kid": "nope"}, nil, false},
		{"REQ-066", "kid of another key", "keyed", "ES256", object{"kid": "EdDSA"}, nil, false},
		{"REQ-055", "sub of nobody", "keyed", "ES256", nil, []any{"sub", "nobody", "iss", "nobody"}, false},
		{"REQ-055", "iss is another", "keyed", "ES256", nil, []any{"iss", "easy"}, false},
		{"REQ-055", "no iss", "keyed", "ES256", nil, []any{"iss", nil}, false},
		{"REQ-055", "no sub", "keyed", "ES256", nil, []any{"sub", nil}, false},
		{"REQ-055", "sub is a number", "keyed", "ES256", nil, []any{"sub", 7}, false},
		{"REQ-056", "array of one", "keyed", "ES256", nil, []any{"aud", []string{testIssuer}}, true},
		{"published clients", "with slash", "keyed", "ES256", nil, []any{"aud", testIssuer + "/"}, true},
		{"REQ-056", "two slashes", "keyed", "ES256", nil, []any{"aud", testIssuer + "//"}, false},
		{"REQ-056", "array of two", "keyed", "ES256", nil, []any{"aud", []string{testIssuer, "https://else.example"}}, false},
		{"REQ-056", "token URL", "keyed", "ES256", nil, []any{"aud", testIssuer + "/token"}, false},
		{"REQ-056", "no aud", "keyed", "ES256", nil, []any{"aud", nil}, false},
		{"REQ-056", "aud is a number", "keyed", "ES256", nil, []any{"aud", 1}, false},
		{"REQ-057", "token URL, compat", "easy", "ES256", nil, []any{"aud", testIssuer + "/token"}, true},
		{"REQ-057", "other token URL, compat", "easy", "ES256", nil, []any{"aud", []string{testIssuer + "/oauth/token"}}, true},
		{"REQ-057", "backchannel URL, compat", "easy", "ES256", nil, []any{"aud", testIssuer + "/bc-authorize"}, true},
		{"REQ-057", "two URLs, compat", "easy", "ES256", nil, []any{"aud", []string{testIssuer, testIssuer + "/token"}}, false},
		{"REQ-057", "foreign URL, compat", "easy", "ES256", nil, []any{"aud", "https://else.example/token"}, false},
		{"REQ-059", "no exp", "keyed", "ES256", nil, []any{"exp", nil}, false},
		{"REQ-059", "exp is text", "keyed", "ES256", nil, []any{"exp", "4000000000"}, false},
		{"REQ-059", "expired", "keyed", "ES256", nil, []any{"exp", seconds(-12)}, false},
		{"REQ-059", "expired within skew", "keyed", "ES256", nil, []any{"exp", seconds(-3)}, true},
		{"REQ-059", "too long", "keyed", "ES256", nil, []any{"exp", seconds(330)}, false},
		{"REQ-059", "an hour, registered", "easy", "ES256", nil, []any{"exp", seconds(3590)}, true},
		{"REQ-059", "more than an hour", "easy", "ES256", nil, []any{"exp", seconds(3700)}, false},
		{"REQ-060", "iat ahead", "keyed", "ES256", nil, []any{"iat", seconds(8)}, true},
		{"REQ-060", "iat far ahead", "keyed", "ES256", nil, []any{"iat", seconds(90)}, false},
		{"REQ-060", "nbf ahead", "keyed", "ES256", nil, []any{"nbf", seconds(8)}, true},
		{"REQ-060", "nbf far ahead", "keyed", "ES256", nil, []any{"nbf", seconds(90)}, false},
		{"REQ-060", "no iat", "keyed", "ES256", nil, []any{"iat", nil}, true},
		{"REQ-060", "iat is text", "keyed", "ES256", nil, []any{"iat", "now"}, false},
		{"REQ-060", "fraction", "keyed", "ES256", nil, []any{"iat", float64(time.Now().Unix()) + 0.25}, true},
		{"REQ-061", "no jti", "keyed", "ES256", nil, []any{"jti", nil}, false},
		{"REQ-061", "empty jti", "keyed", "ES256", nil, []any{"jti", ""}, false},
		{"REQ-061", "endless jti", "keyed", "ES256", nil, []any{"jti", strings.Repeat("x", 513)}, false},
		{"REQ-063", "typ JWT", "keyed", "ES256", object{"typ": "JWT"}, nil, true},
		{"REQ-063", "typ of its own", "keyed", "ES256", object{"typ": "client-authentication+jwt"}, nil, true},
		{"REQ-063", "typ in full", "keyed", "ES256", object{"typ": "application/client-authentication+jwt"}, nil, true},
		{"REQ-063", "typ of a proof", "keyed", "ES256", object{"typ": "dpop+jwt"}, nil, false},
		{"REQ-063", "typ of a request", "keyed", "ES256", object{"typ": "oauth-authz-req+jwt"}, nil, false},
		{"REQ-063", "typ of a token", "keyed", "ES256", object{"typ": "at+jwt"}, nil, false},
		{"REQ-064", "crit", "keyed", "ES256", object{"crit": []string{"x"}, "x": 1}, nil, false},
		{"REQ-064", "crit b64", "keyed", "ES256", object{"crit": []string{"b64"}, "b64": true}, nil, false},
		{"REQ-064", "stray jku", "keyed", "ES256", object{"jku": "https://else.example/keys"}, nil, true},
	}
	s := newService(t)
	s.addKeyed(t)
	for _, tt := range tests {
		t.Run(tt.row+" "+tt.name, func(t *testing.T) {
			row(t, tt.row, "REQ-047")
			for _, path := range []string{"/bc-authorize", "/token", "/requests/status", "/requests/cancel"} { // REQ-047
				key := tt.alg
				if key == "RS256" {
					key = "PS256"
				}
				body := bc("auth_req_id", "x", "grant_type", GrantCIBA)
				a := s.post(path, asserted(body, jws(t, key, tt.alg, tt.header, assertionClaims(tt.id, tt.change...))))
				if ok := a.code() != "invalid_client"; ok != tt.ok {
					t.Errorf("%s: %d %s", path, a.status, a.raw)
				}
			}
		})
	}
}

// TestAssertionForms is REQ-048, 049, 054, 055, 062 and 064: what is around the claims.
func TestAssertionForms(t *testing.T) {
	row(t, "REQ-054")
	s := newService(t)
	s.addKeyed(t)
	good := func() string { return jws(t, "ES256", "ES256", nil, assertionClaims("keyed")) }
	part := func(v any) string {
		raw, err := json.Marshal(v)
		must(t, err)
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	embedded := jws(t, "other", "ES256", object{"jwk": jose.JSONWebKey{Key: testKeys()["other"].Public()}, "kid": "ES256"},
		assertionClaims("keyed"))
	flipped := []byte(good())
	flipped[len(flipped)-20] ^= 1
	head, rest, _ := strings.Cut(good(), ".")
	tests := []struct {
		row, name string
		body      form
		status    int
	}{
		{"REQ-054", "alone", asserted(bc(), good()), 200},
		{"REQ-055", "with its client_id", asserted(bc(), good()).with("client_id", "keyed"), 200},
		{"REQ-055", "with another client_id", asserted(bc(), good()).with("client_id", "easy"), 401},
		{"REQ-054", "wrong type", asserted(bc(), good()).with("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"), 401},
		{"REQ-054", "no type", asserted(bc(), good()).with("client_assertion_type", ""), 401},
		{"REQ-054", "type alone", asserted(bc(), ""), 401},
		{"REQ-048", "with a secret", asserted(bc(), good()).with("client_secret", testSecret), 400},
		{"REQ-049", "of a secret's client", asserted(bc(), jws(t, "ES256", "ES256", nil, assertionClaims("travel"))), 401},
		{"REQ-049", "secret of a key's client", bc("client_id", "keyed"), 401},
		{"REQ-052", "wrong key", asserted(bc(), jws(t, "other", "ES256", object{"kid": "ES256"}, assertionClaims("keyed"))), 401},
		{"REQ-052", "flipped bit", asserted(bc(), string(flipped)), 401},
		{"REQ-064", "embedded key", asserted(bc(), embedded), 401},
		{"REQ-062", "none", asserted(bc(), part(object{"alg": "none"})+"."+part(assertionClaims("keyed"))+"."), 401},
		{"REQ-062", "HS256", asserted(bc(), part(object{"alg": "HS256"})+"."+part(assertionClaims("keyed"))+".AAAA"), 401},
		{"RFC 7515", "not a JWS", asserted(bc(), "x"), 401},
		{"RFC 7515", "five parts", asserted(bc(), "a.b.c.d.e"), 401},
		{"RFC 7515", "white space", asserted(bc(), head+".\n"+rest), 401},
		{"RFC 7515", "claims are an array", asserted(bc(), part(object{"alg": "ES256"})+"."+part([]int{1})+".AAAA"), 401},
	}
	want := s.post("/bc-authorize", bc("client_secret", "wrong"))
	for _, tt := range tests {
		t.Run(tt.row+" "+tt.name, func(t *testing.T) {
			row(t, tt.row, "REQ-052")
			a := s.post("/bc-authorize", tt.body)
			if a.status != tt.status || tt.status == 401 && a.raw != want.raw { // REQ-052
				t.Errorf("%d %s, want %d", a.status, a.raw, tt.status)
			}
		})
	}
	two := asserted(bc(), "").String() + "&client_assertion=" + good() + "&client_assertion=" + good()
	if a := s.send("/bc-authorize", typeForm, two); a.status != 400 { // REQ-054
		t.Errorf("two assertions: %d %s", a.status, a.raw)
	}
}

// TestAssertionOnce is REQ-061: one use, wherever it is, and however many come at once.
func TestAssertionOnce(t *testing.T) {
	row(t, "REQ-061")
	s := newService(t)
	s.addKeyed(t)
	used := jws(t, "ES256", "ES256", nil, assertionClaims("keyed"))
	if a := s.post("/bc-authorize", asserted(bc(), used)); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	if a := s.post("/token", asserted(tk("x"), used)); a.status != 401 {
		t.Errorf("replay at the other endpoint: %d %s", a.status, a.raw)
	}
	raced := asserted(bc(), jws(t, "ES256", "ES256", nil, assertionClaims("keyed")))
	var passed atomic.Int32
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			if s.post("/bc-authorize", raced).status == 200 {
				passed.Add(1)
			}
		})
	}
	wait.Wait()
	if n := passed.Load(); n != 1 {
		t.Errorf("%d of 20 passed", n)
	}
	same := assertionClaims("easy", "jti", "one")
	for _, id := range []string{"easy", "keyed"} { // an id is a client's own
		claims := from(same, "iss", id, "sub", id)
		if a := s.post("/bc-authorize", asserted(bc(), jws(t, "ES256", "ES256", nil, claims))); a.status != 200 {
			t.Errorf("%s: %d %s", id, a.status, a.raw)
		}
	}
}

// TestAssertionNotSpentByFailure: an assertion that proved nothing is not used up.
func TestAssertionNotSpentByFailure(t *testing.T) {
	s := newService(t)
	s.addKeyed(t)
	claims := assertionClaims("keyed")
	forged := jws(t, "other", "ES256", object{"kid": "ES256"}, claims)
	if a := s.post("/bc-authorize", asserted(bc(), forged)); a.status != 401 {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	if a := s.post("/bc-authorize", asserted(bc(), jws(t, "ES256", "ES256", nil, claims))); a.status != 200 {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// TestSameRefusalWithKeys is REQ-052: unknown, disabled and wrong key are one answer, and leave no other trace.
func TestSameRefusalWithKeys(t *testing.T) {
	row(t, "REQ-052")
	s := newService(t)
	s.addKeyed(t)
	a, err := s.Directory.Agent(t.Context(), "exact")
	must(t, err)
	off := *a
	off.Disabled = true
	must(t, s.Directory.SaveAgent(t.Context(), &off))
	want := s.post("/bc-authorize", asserted(bc(), jws(t, "other", "ES256", object{"kid": "ES256"}, assertionClaims("keyed"))))
	if want.status != 401 {
		t.Fatalf("%d %s", want.status, want.raw)
	}
	for name, id := range map[string]string{"unknown": "nobody", "disabled": "exact", "with a secret": "travel"} {
		for _, alg := range assertionAlgs {
			got := s.post("/bc-authorize", asserted(bc(), jws(t, alg, alg, nil, assertionClaims(id))))
			if got.status != 401 || got.raw != want.raw || len(got.header) != len(want.header) {
				t.Errorf("%s, %s: %d %s %v", name, alg, got.status, got.raw, got.header)
			}
		}
	}
}

// TestCompatIsLogged is REQ-057: operators can see who still needs leniency.
func TestCompatIsLogged(t *testing.T) {
	row(t, "REQ-057")
	var out bytes.Buffer
	s := newService(t, func(p *Parts) { p.Log = slog.New(slog.NewJSONHandler(&out, nil)) })
	s.addKeyed(t)
	for _, tt := range []struct {
		aud    string
		compat bool
	}{{testIssuer, false}, {testIssuer + "/", false}, {testIssuer + "/token", true}} {
		out.Reset()
		s.post("/bc-authorize", asserted(bc(), jws(t, "ES256", "ES256", nil, assertionClaims("easy", "aud", tt.aud))))
		if got := strings.Contains(out.String(), `"compat":true`); got != tt.compat {
			t.Errorf("%s: %s", tt.aud, out.String())
		}
	}
}

// TestWholeFlowWithKeys: an agent with a key asks, polls and collects.
func TestWholeFlowWithKeys(t *testing.T) {
	s := newService(t)
	s.addKeyed(t)
	sign := func(f form) form { return asserted(f, jws(t, "EdDSA", "EdDSA", nil, assertionClaims("keyed"))) }
	handle := s.post("/bc-authorize", sign(bc())).text("auth_req_id")
	if a := s.post("/token", sign(tk(handle))); a.code() != "authorization_pending" {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	s.approve(t, handle)
	if a := s.post("/token", sign(tk(handle))); a.status != 200 {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// keyServer serves a key set that tests change, and counts.
type keyServer struct {
	*httptest.Server
	body   atomic.Value
	status atomic.Int32
	hits   atomic.Int32
}

func newKeyServer(t *testing.T, body string) *keyServer {
	k := &keyServer{}
	k.body.Store(body)
	k.status.Store(200)
	k.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k.hits.Add(1)
		w.WriteHeader(int(k.status.Load()))
		_, _ = w.Write([]byte(k.body.Load().(string)))
	}))
	t.Cleanup(k.Close)
	return k
}

// TestJWKSURI is REQ-065: fetched when needed, not more than once a minute, kept when the source fails.
func TestJWKSURI(t *testing.T) {
	t.Parallel()
	row(t, "REQ-065")
	k := newKeyServer(t, jwksOf("ES256"))
	var ahead atomic.Int64
	s := newService(t, func(p *Parts) {
		p.Fetch = k.Client()
		p.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	must(t, s.saveAgent(`{"client_id":"remote","token_endpoint_auth_method":"private_key_jwt","jwks_uri":"`+k.URL+`"}`))
	call := func(key string) int {
		at := s.Now().Unix()
		claims := assertionClaims("remote", "iat", at, "exp", at+60)
		return s.post("/bc-authorize", asserted(bc(), jws(t, key, "ES256", nil, claims))).status
	}
	expect := func(what, key string, status int, hits int32) {
		t.Helper()
		if got := call(key); got != status || k.hits.Load() != hits {
			t.Errorf("%s: %d after %d fetches, want %d after %d", what, got, k.hits.Load(), status, hits)
		}
	}
	expect("first", "ES256", 200, 1)
	expect("known", "ES256", 200, 1)
	k.body.Store(jwksOf("ES256", "other"))
	for range 100 {
		expect("unknown kid within the floor", "other", 401, 1)
	}
	ahead.Store(int64(keysFloor))
	expect("rotated", "other", 200, 2)
	k.status.Store(500)
	ahead.Store(int64(keysFloor + keysFresh))
	expect("source fails", "ES256", 200, 3)
	expect("source fails, not asked again", "ES256", 200, 3)
	ahead.Store(int64(keysFloor + keysStale + time.Minute))
	expect("too old", "ES256", 401, 4)
	k.status.Store(200)
	k.body.Store(`{"keys":[` + strings.Repeat(" ", maxKeySet) + `]}`)
	ahead.Add(int64(keysFloor))
	expect("too large", "ES256", 401, 5)
	k.body.Store(jwksOf("other"))
	ahead.Add(int64(keysFloor))
	expect("withdrawn key", "ES256", 401, 6)
}

// TestJWKSURISingleFlight: those who come during a fetch share it.
func TestJWKSURISingleFlight(t *testing.T) {
	row(t, "REQ-065")
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var hits atomic.Int32
		slow := &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			hits.Add(1)
			<-release
			w := httptest.NewRecorder()
			_, _ = w.WriteString(jwksOf("ES256"))
			return w.Result(), nil
		})}
		r := &remoteKeys{http: slow, now: time.Now}
		found := make(chan int, 10)
		for range 10 {
			go func() { found <- len(r.find(t.Context(), "c", "https://keys.example", withID("ES256"))) }()
		}
		close(release)
		for range 10 {
			if n := <-found; n != 1 {
				t.Errorf("%d keys", n)
			}
		}
		if n := hits.Load(); n != 1 {
			t.Errorf("%d fetches", n)
		}
	})
}

// TestKeysThatFit: keys of another kind do not use up the tries of a signature without kid.
func TestKeysThatFit(t *testing.T) {
	row(t, "REQ-065", "REQ-066")
	s := newService(t)
	must(t, s.saveAgent(`{"client_id":"many","token_endpoint_auth_method":"private_key_jwt","jwks":`+
		jwksOf("EdDSA", "EdDSA", "EdDSA", "EdDSA", "ES256")+`}`))
	text := jws(t, "ES256", "ES256", object{"kid": nil}, assertionClaims("many"))
	if a := s.post("/bc-authorize", asserted(bc(), text)); a.status != 200 {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// TestJWKSURIHangs: while a source hangs, who has a key in the set that is known goes on with it; who needs the answer
// waits no longer than its caller.
func TestJWKSURIHangs(t *testing.T) {
	row(t, "REQ-065")
	synctest.Test(t, func(t *testing.T) {
		hangs := &http.Client{Transport: roundTrip(func(q *http.Request) (*http.Response, error) {
			<-q.Context().Done()
			return nil, q.Context().Err()
		})}
		r := &remoteKeys{http: hangs, now: time.Now}
		known, err := readKeySet([]byte(jwksOf("ES256")))
		must(t, err)
		r.source("c", "https://keys.example").known.Store(&fetchedKeys{known, time.Now()})
		time.Sleep(keysFresh)
		begun := time.Now()
		find := func(ctx context.Context, kid string) (n int, took time.Duration) {
			n = len(r.find(ctx, "c", "https://keys.example", withID(kid)))
			return n, time.Since(begun)
		}
		first := make(chan int)
		go func() { n, _ := find(t.Context(), "ES256"); first <- n }()
		synctest.Wait() // it fetches
		for range 5 {
			if n, took := find(t.Context(), "ES256"); n != 1 || took != 0 {
				t.Errorf("%d keys after %s", n, took)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if n, took := find(ctx, "other"); n != 0 || took != time.Second {
			t.Errorf("unknown key: %d after %s", n, took)
		}
		if n := <-first; n != 1 || time.Since(begun) != keysDeadline {
			t.Errorf("who fetched: %d keys after %s", n, time.Since(begun))
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(q *http.Request) (*http.Response, error) { return f(q) }

// TestKeySet is REQ-028, 064 and 066: what a set gives.
func TestKeySet(t *testing.T) {
	row(t, "REQ-028", "REQ-066")
	key := func(name, more string) string {
		raw, err := (&jose.JSONWebKey{Key: testKeys()[name].Public(), KeyID: "k"}).MarshalJSON()
		must(t, err)
		return strings.TrimSuffix(string(raw), "}") + more + "}"
	}
	tests := []struct {
		name, set string
		usable    int // -1: refused
	}{
		{"one", `{"keys":[` + key("ES256", "") + `]}`, 1},
		{"same kid, one for encryption", `{"keys":[` + key("other", `,"use":"enc"`) + `,` + key("ES256", `,"use":"sig"`) + `]}`, 1},
		{"key_ops", `{"keys":[` + key("other", `,"key_ops":["encrypt"]`) + `,` + key("ES256", `,"key_ops":["verify"]`) + `]}`, 1},
		{"alg of another kind", `{"keys":[` + key("other", `,"alg":"ES384"`) + `,` + key("ES256", `,"alg":"ES256"`) + `]}`, 1},
		{"unknown type beside", `{"keys":[{"kty":"NEW"},` + key("ES256", "") + `]}`, 1},
		{"no key", `{"keys":[]}`, -1},
		{"nothing usable", `{"keys":[` + key("ES256", `,"use":"enc"`) + `]}`, -1},
		{"symmetric", `{"keys":[{"kty":"oct","k":"AAAA"},` + key("ES256", "") + `]}`, -1},
		{"private", `{"keys":[` + key("ES256", `,"d":"AAAA"`) + `]}`, -1},
		{"not a set", `[]`, -1},
		{"33 keys", `{"keys":[` + strings.Repeat(key("ES256", "")+",", 32) + key("ES256", "") + `]}`, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			keys, err := readKeySet([]byte(tt.set))
			if tt.usable < 0 {
				if err == nil {
					t.Error("accepted")
				}
				return
			}
			if err != nil || len(keys) != tt.usable {
				t.Errorf("%d keys, %v", len(keys), err)
			}
		})
	}
}

func FuzzAssertion(f *testing.F) {
	good := jws(f, "ES256", "ES256", nil, assertionClaims("keyed"))
	head, rest, _ := strings.Cut(good, ".")
	for _, seed := range []string{good, "", "..", "a.b.c", head + ".e30." + rest, head + "." + rest + "." + rest, good + "=", "eyJhbGciOiJub25lIn0.e30."} {
		f.Add(seed)
	}
	s := newService(f)
	s.addKeyed(f)
	f.Fuzz(func(t *testing.T, text string) {
		s.t = t
		a := s.post("/bc-authorize", asserted(bc(), text))
		if a.status >= 500 || a.status == 200 && text != good {
			t.Errorf("%q: %d %s", text, a.status, a.raw)
		}
	})
}

func FuzzKeySet(f *testing.F) {
	for _, seed := range []string{jwksOf("ES256", "EdDSA", "PS256"), `{"keys":[{}]}`, `{"keys":[{"kty":"EC","crv":"P-256","x":"","y":""}]}`,
		`{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB"}]}`, `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}`, `{"keys":null}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := readKeySet([]byte(text))
		if err == nil && (len(keys) == 0 || len(keys) > maxKeys) {
			t.Errorf("%q: %d keys", text, len(keys))
		}
	})
}
