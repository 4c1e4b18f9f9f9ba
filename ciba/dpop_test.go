package ciba

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// proofOf signs a proof of a test key; members of header and claims are added or replaced, nil ones taken away.
func proofOf(t testing.TB, key, alg string, header object, claims ...any) string {
	t.Helper()
	signer := testKeys()[key]
	head := object{"typ": "dpop+jwt", "jwk": jose.JSONWebKey{Key: signer.Public()}, "kid": nil}
	maps.Copy(head, header)
	return jws(t, key, alg, head, proofClaims(claims...))
}

func proofClaims(pairs ...any) object {
	now := time.Now().Unix()
	claims := from(object{"jti": newJTI(), "htm": "POST", "htu": testIssuer + "/token", "iat": now}, pairs...)
	for name, value := range claims {
		if from, ok := value.(seconds); ok {
			claims[name] = now + int64(from)
		}
	}
	return claims
}

// thumbprint of a test key, computed as RFC 7638 section 3 says, beside the library.
func thumbprint(t testing.TB, key string) string {
	t.Helper()
	var members map[string]string
	raw, err := json.Marshal(jose.JSONWebKey{Key: testKeys()[key].Public()})
	must(t, err)
	must(t, json.Unmarshal(raw, &members))
	raw, err = json.Marshal(members) // required members only, in lexical order, without white space
	must(t, err)
	sum := sha256.Sum256(raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

const boundClient = `{"client_id":"bound","client_secret":"` + testSecret + `","dpop_bound_access_tokens":true}`
const nonceClient = `{"client_id":"nonce","client_secret":"` + testSecret + `","dpop_nonce_required":true}`

func newBound(t testing.TB, options ...option) *service {
	t.Helper()
	s := newService(t, options...)
	must(t, s.saveAgent(boundClient))
	must(t, s.saveAgent(nonceClient))
	return s
}

// TestProof is RFC 9449 section 4.3 with REQ-010, 060 and 285: which proofs are taken at the token endpoint.
func TestProof(t *testing.T) {
	row(t, "REQ-010", "REQ-060")
	private := jose.JSONWebKey{Key: testKeys()["ES256"]}
	other := jose.JSONWebKey{Key: testKeys()["other"].Public()}
	tests := []struct {
		row, name, alg string
		header         object
		claims         []any
		ok             bool
	}{
		{"REQ-010", "ES256", "ES256", nil, nil, true},
		{"REQ-010", "PS256", "PS256", nil, nil, true},
		{"REQ-010", "EdDSA", "EdDSA", nil, nil, true},
		{"REQ-010", "RS256", "RS256", nil, nil, false},
		{"4.3-4", "typ in full", "ES256", object{"typ": "application/dpop+jwt"}, nil, true},
		{"4.3-4", "no typ", "ES256", object{"typ": nil}, nil, false},
		{"REQ-285", "typ of an assertion", "ES256", object{"typ": "client-authentication+jwt"}, nil, false},
		{"REQ-285", "typ of a request object", "ES256", object{"typ": "oauth-authz-req+jwt"}, nil, false},
		{"REQ-285", "typ of an access token", "ES256", object{"typ": "at+jwt"}, nil, false},
		{"REQ-285", "typ JWT", "ES256", object{"typ": "JWT"}, nil, false},
		{"4.3-6", "jwk of another key", "ES256", object{"jwk": other}, nil, false},
		{"4.3-7", "private jwk", "ES256", object{"jwk": private}, nil, false},
		{"4.3-7", "no jwk", "ES256", object{"jwk": nil}, nil, false},
		{"4.3-7", "jwk is text", "ES256", object{"jwk": "key"}, nil, false},
		{"4.3-7", "jwk is null", "ES256", object{"jwk": json.RawMessage("null")}, nil, false},
		{"4.3-7", "jwk is empty", "ES256", object{"jwk": object{}}, nil, false},
		{"4.3-7", "jwk to encrypt with", "ES256", object{"jwk": jose.JSONWebKey{Key: testKeys()["ES256"].Public(), Use: "enc"}}, nil, false},
		{"4.3-7", "jwk for another alg", "ES256", object{"jwk": jose.JSONWebKey{Key: testKeys()["ES256"].Public(), Algorithm: "ES512"}}, nil, false},
		{"REQ-064", "crit", "ES256", object{"crit": []string{"x"}, "x": 1}, nil, false},
		{"REQ-064", "kid beside jwk", "ES256", object{"kid": "mine"}, nil, true},
		{"4.3-8", "htm of another method", "ES256", nil, []any{"htm", "GET"}, false},
		{"4.3-8", "htm in lower case", "ES256", nil, []any{"htm", "post"}, false},
		{"4.3-8", "no htm", "ES256", nil, []any{"htm", nil}, false},
		{"4.3-8", "htm is a list", "ES256", nil, []any{"htm", []string{"POST"}}, false},
		{"4.3-9", "query and fragment", "ES256", nil, []any{"htu", testIssuer + "/token?a=b#c"}, true},
		{"4.3-9", "default port, upper case", "ES256", nil, []any{"htu", "HTTPS://Assent.Example:443/token"}, true},
		{"4.3-9", "dot segments and escapes", "ES256", nil, []any{"htu", testIssuer + "/x/../%74oken"}, true},
		{"4.3-9", "another endpoint", "ES256", nil, []any{"htu", testIssuer + "/bc-authorize"}, false},
		{"4.3-9", "the other name of the endpoint", "ES256", nil, []any{"htu", testIssuer + "/oauth/token"}, false},
		{"4.3-9", "slash at the end", "ES256", nil, []any{"htu", testIssuer + "/token/"}, false},
		{"4.3-9", "another host", "ES256", nil, []any{"htu", "https://else.example/token"}, false},
		{"4.3-9", "longer host", "ES256", nil, []any{"htu", testIssuer + ".evil.example/token"}, false},
		{"4.3-9", "another port", "ES256", nil, []any{"htu", testIssuer + ":8443/token"}, false},
		{"4.3-9", "another scheme", "ES256", nil, []any{"htu", "http://assent.example/token"}, false},
		{"4.3-9", "user in the URL", "ES256", nil, []any{"htu", "https://a@assent.example/token"}, false},
		{"4.3-9", "path only", "ES256", nil, []any{"htu", "/token"}, false},
		{"4.3-9", "no URL", "ES256", nil, []any{"htu", "https://[/token"}, false},
		{"4.3-9", "endless", "ES256", nil, []any{"htu", testIssuer + "/token?" + strings.Repeat("x", maxHTU)}, false},
		{"4.3-9", "no htu", "ES256", nil, []any{"htu", nil}, false},
		{"REQ-060", "iat ahead", "ES256", nil, []any{"iat", seconds(8)}, true},
		{"REQ-060", "iat far ahead", "ES256", nil, []any{"iat", seconds(75)}, false},
		{"REQ-060", "nbf far ahead", "ES256", nil, []any{"nbf", seconds(75)}, false},
		{"4.3-11", "half a minute old", "ES256", nil, []any{"iat", seconds(-30)}, true},
		{"4.3-11", "too old", "ES256", nil, []any{"iat", seconds(-75)}, false},
		{"4.3-11", "no iat", "ES256", nil, []any{"iat", nil}, false},
		{"4.3-11", "iat is text", "ES256", nil, []any{"iat", "now"}, false},
		{"4.3-3", "no jti", "ES256", nil, []any{"jti", nil}, false},
		{"4.3-3", "empty jti", "ES256", nil, []any{"jti", ""}, false},
		{"4.3-3", "jti is a number", "ES256", nil, []any{"jti", 7}, false},
		{"4.3-3", "endless jti", "ES256", nil, []any{"jti", strings.Repeat("x", maxJTI+1)}, false},
		{"4.3-3", "claims of others", "ES256", nil, []any{"aud", "x", "exp", 1, "ath", "x"}, true},
		{"REQ-202", "nonce of nobody", "ES256", nil, []any{"nonce", "x"}, false},
		{"REQ-202", "nonce is a number", "ES256", nil, []any{"nonce", 7}, false},
		{"bounds", "endless", "ES256", nil, []any{"x", strings.Repeat("x", maxProof)}, false},
	}
	s := newBound(t)
	for _, tt := range tests {
		t.Run(tt.row+" "+tt.name, func(t *testing.T) {
			row(t, tt.row)
			key := tt.alg
			a := s.post("/token", tk("x", "client_id", "bound"), "DPoP", proofOf(t, key, tt.alg, tt.header, tt.claims...))
			want := "invalid_dpop_proof"
			if tt.ok {
				want = "invalid_grant" // the proof has passed, and there is no such request
			}
			if strings.HasPrefix(tt.name, "nonce") {
				want = "use_dpop_nonce"
			}
			if a.status != 400 || a.code() != want {
				t.Errorf("%d %s, want %s", a.status, a.raw, want)
			}
		})
	}
}

// largeKey makes an RSA key a little above the limit. Four small primes are found much faster than two large ones.
func largeKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	one := big.NewInt(1)
	key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: big.NewInt(1), E: 65537}}
	phi := big.NewInt(1)
	for range 4 {
		prime, err := rand.Prime(rand.Reader, 1026)
		must(t, err)
		key.Primes = append(key.Primes, prime)
		key.N.Mul(key.N, prime)
		phi.Mul(phi, new(big.Int).Sub(prime, one))
	}
	if key.D = new(big.Int).ModInverse(big.NewInt(65537), phi); key.D == nil {
		return largeKey(t)
	}
	key.Precompute()
	return key
}

// TestProofForms: what is no proof at all.
func TestProofForms(t *testing.T) {
	t.Parallel()
	row(t, "REQ-010")
	s := newBound(t)
	good := func() string { return proofOf(t, "ES256", "ES256", nil) }
	part := func(v any) string {
		raw, err := json.Marshal(v)
		must(t, err)
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	large := largeKey(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	foreign := func(alg jose.SignatureAlgorithm, key crypto.Signer, public any) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).
			WithHeader("typ", "dpop+jwt").WithHeader("jwk", jose.JSONWebKey{Key: public}))
		must(t, err)
		raw, err := json.Marshal(proofClaims())
		must(t, err)
		made, err := signer.Sign(raw)
		must(t, err)
		text, err := made.CompactSerialize()
		must(t, err)
		return text
	}
	symmetric := []byte(strings.Repeat("k", 32))
	hs256 := func() string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: symmetric}, (&jose.SignerOptions{}).
			WithHeader("typ", "dpop+jwt").WithHeader("jwk", object{"kty": "oct", "k": base64.RawURLEncoding.EncodeToString(symmetric)}))
		must(t, err)
		raw, _ := json.Marshal(proofClaims())
		made, err := signer.Sign(raw)
		must(t, err)
		text, _ := made.CompactSerialize()
		return text
	}
	flipped := []byte(good())
	flipped[len(flipped)-20] ^= 1
	head, rest, _ := strings.Cut(good(), ".")
	none := part(object{"typ": "dpop+jwt", "alg": "none", "jwk": jose.JSONWebKey{Key: testKeys()["ES256"].Public()}})
	for name, lines := range map[string][]string{
		"none":               {},
		"empty":              {""},
		"two":                {good(), good()},
		"two in one":         {good() + ", " + good()},
		"not a JWT":          {"x"},
		"one part":           {head},
		"alg none":           {none + "." + part(proofClaims()) + "."},
		"HS256":              {hs256()},
		"flipped bit":        {string(flipped)},
		"header twice":       {part(object{"alg": "ES256"}) + rest[strings.Index(rest, "."):]},
		"RSA of 4100 bits":   {foreign(jose.PS256, large, large.Public())},
		"P-384":              {foreign(jose.ES384, p384, p384.Public())},
		"a public assertion": {jws(t, "ES256", "ES256", nil, assertionClaims("bound"))},
		"five parts":         {"a.b.c.d.e"},
	} {
		t.Run(name, func(t *testing.T) {
			var headers []string
			for _, line := range lines {
				headers = append(headers, "DPoP", line)
			}
			for _, client := range []string{"bound", "travel"} { // whoever sends a proof must send a good one
				if len(lines) == 0 && client == "travel" {
					continue
				}
				a := s.post("/token", tk("x", "client_id", client), headers...)
				if a.status != 400 || a.code() != "invalid_dpop_proof" {
					t.Errorf("%s: %d %s", client, a.status, a.raw)
				}
			}
		})
	}
}

// TestBoundToken is REQ-039, 201, 202 and 239, worked example 13.1: without a proof nothing is spent, every poll takes a
// new one, and the token is bound to its key.
func TestBoundToken(t *testing.T) {
	row(t, "REQ-039", "REQ-239")
	for _, client := range []string{"bound", "travel"} { // registered for it, or just doing it
		t.Run(client, func(t *testing.T) {
			s := newBound(t)
			handle := s.ask(t, "client_id", client)
			s.approve(t, handle)
			bare := s.post("/token", tk("x", "client_id", client))
			if registered := client == "bound"; (bare.code() == "invalid_dpop_proof") != registered {
				t.Errorf("without proof: %d %s", bare.status, bare.raw)
			}
			got := s.post("/token", tk(handle, "client_id", client), "DPoP", proofOf(t, "EdDSA", "EdDSA", nil))
			if got.status != 200 || got.text("token_type") != "DPoP" {
				t.Fatalf("%d %s", got.status, got.raw)
			}
			_, claims := s.verify(t, got.text("access_token"))
			if cnf, _ := claims["cnf"].(map[string]any); len(cnf) != 1 || cnf["jkt"] != thumbprint(t, "EdDSA") {
				t.Errorf("cnf: %v, want %s", claims["cnf"], thumbprint(t, "EdDSA"))
			}
		})
	}
}

// TestBoundWithoutProof is REQ-201: the id is not consumed.
func TestBoundWithoutProof(t *testing.T) {
	row(t, "REQ-039", "REQ-201")
	s := newBound(t)
	handle := s.ask(t, "client_id", "bound")
	s.approve(t, handle)
	if a := s.post("/token", tk(handle, "client_id", "bound")); a.status != 400 || a.code() != "invalid_dpop_proof" {
		t.Errorf("without: %d %s", a.status, a.raw)
	}
	if a := s.post("/token", tk(handle, "client_id", "bound"), "DPoP", proofOf(t, "ES256", "ES256", nil)); a.status != 200 {
		t.Errorf("with: %d %s", a.status, a.raw)
	}
}

// TestProofOnce is REQ-202: a proof works once, on either name of an endpoint and for either outcome, and not again after
// a restart.
func TestProofOnce(t *testing.T) {
	row(t, "REQ-202")
	path := filepath.Join(t.TempDir(), "replay.log")
	open := func() *Replay {
		r, err := OpenReplay(path, "boot", time.Now())
		must(t, err)
		return r
	}
	first := open()
	s := newBound(t, func(p *Parts) { p.Replay = first })
	proof := proofOf(t, "ES256", "ES256", nil)
	if a := s.post("/token", tk("x"), "DPoP", proof); a.code() != "invalid_grant" {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	again := func(s *service) {
		t.Helper()
		if a := s.post("/token", tk("x"), "DPoP", proof); a.status != 400 || a.code() != "invalid_dpop_proof" {
			t.Errorf("again: %d %s", a.status, a.raw)
		}
	}
	again(s)
	second := open() // the first one was killed
	defer second.Close()
	must(t, first.Close())
	again(newBound(t, func(p *Parts) { p.Replay = second }))
}

// TestProofOnceAtOnce: of many simultaneous uses of one proof, one passes.
func TestProofOnceAtOnce(t *testing.T) {
	row(t, "REQ-202")
	s := newBound(t)
	proof := proofOf(t, "ES256", "ES256", nil)
	var passed atomic.Int32
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if s.post("/token", tk("x"), "DPoP", proof).code() == "invalid_grant" {
				passed.Add(1)
			}
		})
	}
	group.Wait()
	if n := passed.Load(); n != 1 {
		t.Errorf("%d passed", n)
	}
}

// TestProofsOfOthers: one client's jti is nothing to another's key.
func TestProofsOfOthers(t *testing.T) {
	s := newBound(t)
	for _, key := range []string{"ES256", "EdDSA"} {
		if a := s.post("/token", tk("x"), "DPoP", proofOf(t, key, key, nil, "jti", "same")); a.code() != "invalid_grant" {
			t.Errorf("%s: %d %s", key, a.status, a.raw)
		}
	}
}

// TestProofInDoubt: after an unclean start nobody knows which proofs were used before it.
func TestProofInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBound(t)
		s.Replay.doubtful = time.Now().Add(startDoubt)
		use := func() answer { return s.post("/token", tk("x"), "DPoP", proofOf(t, "ES256", "ES256", nil)) }
		if a := use(); a.status != 503 || a.code() != "temporarily_unavailable" || a.header.Get("Retry-After") == "" {
			t.Errorf("%d %s", a.status, a.raw)
		}
		time.Sleep(startDoubt + 2*time.Second)
		if a := use(); a.code() != "invalid_grant" {
			t.Errorf("later: %d %s", a.status, a.raw)
		}
	})
}

// TestNonce is REQ-202 with RFC 9449 section 8: a challenge is no poll, the nonce works until the end of the next slot,
// and who uses an old one is told the new one.
func TestNonce(t *testing.T) {
	row(t, "REQ-202")
	synctest.Test(t, func(t *testing.T) {
		s := newBound(t)
		time.Sleep(nonceSlot - time.Duration(time.Now().UnixNano())%nonceSlot) // the beginning of a slot
		handle := s.ask(t, "client_id", "nonce")
		poll := func(nonce any) answer {
			return s.post("/token", tk(handle, "client_id", "nonce"), "Prefer", "wait=0",
				"DPoP", proofOf(t, "ES256", "ES256", nil, "nonce", nonce))
		}
		ask := poll(nil)
		nonce := ask.header.Get("DPoP-Nonce")
		if ask.status != 400 || ask.code() != "use_dpop_nonce" || nonce == "" {
			t.Fatalf("%d %s, nonce %q", ask.status, ask.raw, nonce)
		}
		if a := poll(nonce); a.code() != "authorization_pending" || a.header.Get("DPoP-Nonce") != "" {
			t.Errorf("first poll: %s %v", a.raw, a.header)
		}
		if a := poll(nil); a.code() != "use_dpop_nonce" {
			t.Errorf("without: %s", a.raw)
		}
		if a := poll(nonce[:len(nonce)-2] + "xx"); a.code() != "use_dpop_nonce" {
			t.Errorf("forged: %s", a.raw)
		}
		time.Sleep(2*nonceSlot - time.Second)
		old := poll(nonce)
		next := old.header.Get("DPoP-Nonce")
		if old.code() != "authorization_pending" || next == "" || next == nonce {
			t.Errorf("in the next slot: %s %v", old.raw, old.header)
		}
		time.Sleep(2 * time.Second)
		if a := poll(nonce); a.code() != "use_dpop_nonce" || a.header.Get("DPoP-Nonce") == nonce {
			t.Errorf("stale: %s %v", a.raw, a.header)
		}
		s.approve(t, handle)
		if a := poll(next); a.status != 200 || a.text("token_type") != "DPoP" {
			t.Errorf("in time: %s", a.raw)
		}
		if a := s.post("/token", tk("x", "client_id", "nonce")); a.code() != "invalid_grant" { // bound or not is its choice
			t.Errorf("no proof: %s", a.raw)
		}
	})
}

// TestPromisedKey is REQ-203: who asks with a key collects with that key, and a wrong one spends nothing.
func TestPromisedKey(t *testing.T) {
	row(t, "REQ-084", "REQ-203")
	s := newBound(t)
	proof := func(key, path string) []string {
		return []string{"DPoP", proofOf(t, key, key, nil, "htu", testIssuer+path)}
	}
	asked := s.post("/bc-authorize", bc(), proof("ES256", "/bc-authorize")...)
	handle := asked.text("auth_req_id")
	if asked.status != 200 {
		t.Fatalf("%d %s", asked.status, asked.raw)
	}
	s.approve(t, handle)
	for name, headers := range map[string][]string{"another key": proof("EdDSA", "/token"), "no key": nil} {
		if a := s.post("/token", tk(handle), headers...); a.status != 400 || a.code() != "invalid_dpop_proof" {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	if a := s.post("/token", tk(handle), proof("ES256", "/token")...); a.status != 200 || a.text("token_type") != "DPoP" {
		t.Errorf("the key: %d %s", a.status, a.raw)
	}
	for name, headers := range map[string][]string{
		"of another endpoint": proof("ES256", "/token"),
		"two":                 append(proof("ES256", "/bc-authorize"), proof("ES256", "/bc-authorize")...),
		"broken":              {"DPoP", "x"},
	} {
		if a := s.post("/bc-authorize", bc(), headers...); a.status != 400 || a.code() != "invalid_dpop_proof" {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	if n := s.count(); n != 1 { // REQ-084
		t.Errorf("%d requests", n)
	}
}

// TestOnceWithKey: a lost answer is had again with a new proof of the same key, and by nobody else.
func TestOnceWithKey(t *testing.T) {
	s := newBound(t)
	proof := func(key, path string) []string {
		return []string{keyHeader, "k", "DPoP", proofOf(t, key, key, nil, "htu", testIssuer+path)}
	}
	asked := s.post("/bc-authorize", bc(), proof("ES256", "/bc-authorize")...)
	if a := s.post("/bc-authorize", bc(), proof("ES256", "/bc-authorize")...); a.raw != asked.raw {
		t.Errorf("asked again: %s", a.raw)
	}
	if a := s.post("/bc-authorize", bc(), proof("EdDSA", "/bc-authorize")...); a.code() != "invalid_request" {
		t.Errorf("asked again with another key: %s", a.raw)
	}
	handle := asked.text("auth_req_id")
	s.approve(t, handle)
	first := s.post("/token", tk(handle), proof("ES256", "/token")...)
	if a := s.post("/token", tk(handle), proof("ES256", "/token")...); first.status != 200 || a.raw != first.raw {
		t.Errorf("again: %s", a.raw)
	}
	other := s.ask(t)
	s.approve(t, other)
	headers := []string{keyHeader, "k2", "DPoP", proofOf(t, "ES256", "ES256", nil)}
	if a := s.post("/token", tk(other), headers...); a.status != 200 {
		t.Fatalf("%s", a.raw)
	}
	for name, headers := range map[string][]string{
		"another key": {keyHeader, "k2", "DPoP", proofOf(t, "EdDSA", "EdDSA", nil)},
		"no key":      {keyHeader, "k2"},
	} {
		if a := s.post("/token", tk(other), headers...); a.status != 400 || a.code() != "invalid_grant" {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
}

// TestBothNames: each name of the token endpoint is its own htu, and an issuer with a path has that in it.
func TestBothNames(t *testing.T) {
	s := newBound(t, func(p *Parts) { p.Issuer = "https://h.example/t1/" })
	for path, htu := range map[string]string{"/t1/token": "https://h.example/t1/token", "/t1/oauth/token": "https://h.example:443/t1/oauth/token"} {
		a := s.post(path, tk("x", "client_id", "bound"), "DPoP", proofOf(t, "ES256", "ES256", nil, "htu", htu))
		if a.code() != "invalid_grant" {
			t.Errorf("%s: %s", path, a.raw)
		}
	}
}
