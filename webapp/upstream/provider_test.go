package upstream_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"assent/approvals"
	"assent/webapp/upstream"
	"assent/webapp/upstream/upstreamtest"
)

const discovery = "/.well-known/openid-configuration"

func (h *house) begin() error {
	_, err := h.Begin(h.t.Context(), "corp", bound, "en", upstream.Wish{})
	return err
}

// A provider is asked where it is when somebody wants to go there, and no sooner; not more than once in five seconds when
// it does not answer; and what it said is good for an hour, or for a day if it cannot be had anew.
func TestDiscovery(t *testing.T) {
	down := upstreamtest.Faults{Status: map[string]int{discovery: 503}}
	h := newHouse(t)
	steps := []struct {
		what   string
		after  time.Duration
		faults upstreamtest.Faults
		want   error
		calls  int
	}{
		{what: "down", faults: down, want: upstream.ErrDown, calls: 1},
		{what: "again at once", faults: down, want: upstream.ErrDown, calls: 1},
		{what: "again after a while", after: 5 * time.Second, faults: down, want: upstream.ErrDown, calls: 2},
		{what: "slow", after: 5 * time.Second, faults: upstreamtest.Faults{Slow: map[string]bool{discovery: true}},
			want: upstream.ErrDown, calls: 3},
		{what: "up", after: 5 * time.Second, calls: 4},
		{what: "up, known", after: 59 * time.Minute, calls: 4},
		{what: "up, anew", after: time.Minute, calls: 5},
		{what: "down, but known", after: time.Hour, faults: down, calls: 6},
		{what: "down for long", after: 22 * time.Hour, faults: down, calls: 7},
		{what: "down for too long", after: time.Hour, faults: down, want: upstream.ErrDown, calls: 8},
	}
	if n := h.provider.Calls(discovery); n != 0 {
		t.Fatalf("asked %d times before anybody wanted to go there", n)
	}
	for _, s := range steps {
		h.advance(s.after)
		h.provider.Break(s.faults)
		if err := h.begin(); !errors.Is(err, s.want) {
			t.Errorf("%s: %v, want %v", s.what, err, s.want)
		}
		if n := h.provider.Calls(discovery); n != s.calls {
			t.Errorf("%s: asked %d times, want %d", s.what, n, s.calls)
		}
	}
}

// Whoever goes away does not cut a look-up short for those who come after.
func TestDiscoveryGoesOn(t *testing.T) {
	h := newHouse(t)
	gone, leave := context.WithCancel(t.Context())
	leave()
	_, _ = h.Begin(gone, "corp", bound, "en", upstream.Wish{})
	if err := h.begin(); err != nil || h.provider.Calls(discovery) != 1 {
		t.Errorf("%v after %d calls", err, h.provider.Calls(discovery))
	}
}

// A document that names another issuer, or leads where nobody should be sent, is none.
func TestDiscoveryRefused(t *testing.T) {
	set := func(name string, value any) upstreamtest.Faults {
		return upstreamtest.Faults{Meta: func(d map[string]any) { d[name] = value }}
	}
	for name, f := range map[string]upstreamtest.Faults{
		"another issuer":    set("issuer", "https://evil.example"),
		"plain token":       set("token_endpoint", "http://provider.example/token"),
		"plain keys":        set("jwks_uri", "http://provider.example/jwks"),
		"script":            set("authorization_endpoint", "javascript:alert(1)"),
		"no token endpoint": set("token_endpoint", ""),
		"password in a URL": set("jwks_uri", "https://a:b@provider.example/jwks"),
		"no document":       {Status: map[string]int{discovery: 404}},
		"redirect":          {Status: map[string]int{discovery: 302}},
	} {
		h := newHouse(t)
		h.provider.Break(f)
		if err := h.begin(); !errors.Is(err, upstream.ErrDown) || h.why() != "discovery" {
			t.Errorf("%s: %v because of %s", name, err, h.why())
		}
	}
}

// Keys may rotate between two sign-ins.
func TestRotation(t *testing.T) {
	h := newHouse(t)
	check(t, h.connect("ann"))
	h.provider.Rotate()
	if _, err := h.signIn(upstream.Wish{}); err != nil {
		t.Error(err)
	}
	if n := h.provider.Calls("/jwks"); n != 2 {
		t.Errorf("keys fetched %d times", n)
	}
}

// The request at the provider says what OpenID Connect and PKCE want, and nothing of it is the same twice.
func TestRequest(t *testing.T) {
	h := newHouse(t, func(s *upstream.Settings) {
		s.Scopes, s.ACRValues, s.MaxAge = []string{"profile"}, []string{"gold", "silver"}, time.Hour
	})
	ask := func(w upstream.Wish) url.Values {
		to, err := h.Begin(t.Context(), "corp", bound, "ko", w)
		check(t, err)
		u, err := url.Parse(to)
		check(t, err)
		return u.Query()
	}
	got, again, fresh := ask(upstream.Wish{}), ask(upstream.Wish{}), ask(upstream.Wish{Fresh: true})
	for name, want := range map[string]string{"response_type": "code", "client_id": "assent", "scope": "openid profile",
		"redirect_uri": "https://ap.example.com/signin/corp/back", "code_challenge_method": "S256", "ui_locales": "ko",
		"acr_values": "gold silver", "max_age": "3600", "prompt": ""} {
		if got.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.Get(name), want)
		}
	}
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if len(got.Get(name)) < 43 || got.Get(name) == again.Get(name) {
			t.Errorf("%s: %q and %q", name, got.Get(name), again.Get(name))
		}
	}
	if fresh.Get("prompt") != "login" || fresh.Get("max_age") != "0" {
		t.Errorf("fresh: prompt %q, max_age %q", fresh.Get("prompt"), fresh.Get("max_age"))
	}
}

// We prove who we are with a secret, either way, or with a key that never leaves.
func TestClientAuthentication(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	rsa2048, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	tests := []struct {
		name   string
		key    crypto.Signer
		meta   map[string]any
		secret string
		want   error
	}{
		{name: "client_secret_basic"},
		{name: "client_secret_post", meta: map[string]any{"token_endpoint_auth_methods_supported": []string{"client_secret_post"}}},
		{name: "wrong secret", secret: "x", want: upstream.ErrRefused},
		{name: "ES256", key: p256},
		{name: "EdDSA", key: ed},
		{name: "PS256", key: rsa2048},
		{name: "RS256", key: rsa2048, meta: map[string]any{"token_endpoint_auth_signing_alg_values_supported": []string{"RS256", "ES256"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, func(s *upstream.Settings) {
				if tt.key != nil {
					s.Secret, s.Key, s.KeyID = "", tt.key, "k1"
				}
				if tt.secret != "" {
					s.Secret = tt.secret
				}
			})
			if tt.key != nil {
				h.provider.Trust(jose.JSONWebKey{Key: tt.key.Public(), KeyID: "k1"})
			}
			h.provider.Break(upstreamtest.Faults{Meta: func(d map[string]any) {
				for name, value := range tt.meta {
					d[name] = value
				}
			}})
			if err := h.connect("ann"); !errors.Is(err, tt.want) || err != nil && h.why() != "client" {
				t.Errorf("%v because of %s, want %v", err, h.why(), tt.want)
			}
		})
	}
}

// An answer of one provider counts at no other, whatever it says of itself.
func TestMixUp(t *testing.T) {
	h := newHouse(t)
	evil := upstreamtest.New(t, h.clock)
	evil.SignIn(upstreamtest.User{"sub": "a-1"})
	h.config.Providers = append(h.config.Providers, upstream.Settings{Name: "evil", Issuer: evil.Issuer, ClientID: "assent", Secret: "x"})
	h.restart()
	check(t, h.connect("ann"))
	b := h.answer(upstream.Wish{})
	b.Iss = ""
	if _, err := h.SignIn(t.Context(), "evil", bound, b); !errors.Is(err, upstream.ErrRefused) || h.why() != "issuer" {
		t.Errorf("%v because of %s", err, h.why())
	}
	if n := evil.Calls("/token"); n != 0 {
		t.Errorf("a code of one provider was sent to another")
	}
	if _, err := h.SignIn(t.Context(), "nowhere", bound, b); !errors.Is(err, upstream.ErrNoProvider) {
		t.Error(err)
	}
}

// Looking at an answer calls nobody and writes nothing.
func TestLookIsPure(t *testing.T) {
	h := newHouse(t)
	b := h.answer(upstream.Wish{Next: "/passkeys", Lang: "ko"})
	before := h.provider.Calls("/token") + h.provider.Calls("/jwks") + h.provider.Calls(discovery)
	for range 3 {
		w, err := h.Look(t.Context(), "corp", bound, b)
		if err != nil || w.Next != "/passkeys" || w.Lang != "ko" || w.Connects() {
			t.Fatalf("%+v, %v", w, err)
		}
	}
	if after := h.provider.Calls("/token") + h.provider.Calls("/jwks") + h.provider.Calls(discovery); after != before {
		t.Errorf("%d calls", after-before)
	}
	for _, kind := range []string{"flow", "upstream", "upstreams"} {
		if recs, err := h.store.Scan(t.Context(), kind, "", 10); err != nil || len(recs) > 0 {
			t.Errorf("%d records of %s, %v", len(recs), kind, err)
		}
	}
}

// The store names no account: neither subject nor provider's tokens are in it.
func TestAtRest(t *testing.T) {
	h := newHouse(t)
	h.provider.SignIn(upstreamtest.User{"sub": "subject-of-ann"})
	check(t, h.connect("ann"))
	if _, err := h.signIn(upstream.Wish{}); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"flow", "upstream", "upstreams"} {
		recs, err := h.store.Scan(t.Context(), kind, "", 10)
		check(t, err)
		if len(recs) == 0 {
			t.Errorf("no record of %s", kind)
		}
		for _, r := range recs {
			if text := r.Key + string(r.Value); strings.Contains(text, "subject-of-ann") || strings.Contains(text, h.provider.Issuer) {
				t.Errorf("%s holds %s", kind, text)
			}
		}
	}
}

// A table of the configuration that cannot work is named with its rule, before the service starts.
func TestSettings(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	check(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	check(t, err)
	tests := []struct {
		change func(*upstream.Settings)
		want   string
	}{
		{func(*upstream.Settings) {}, ""},
		{func(s *upstream.Settings) { s.Issuer = "http://localhost:9/a" }, ""}, // on loopback
		{func(s *upstream.Settings) { s.Name = "" }, "upstream[0].name"},
		{func(s *upstream.Settings) { s.Name = "a/b" }, "upstream[0].name"},
		{func(s *upstream.Settings) { s.Name = "passkey" }, "upstream[0].name"},
		{func(s *upstream.Settings) { s.Name = "code" }, "upstream[0].name"},
		{func(s *upstream.Settings) { s.EN = "A\u202eB" }, "upstream[0].en"},
		{func(s *upstream.Settings) { s.KO = strings.Repeat("가", 21) }, "upstream[0].ko"},
		{func(s *upstream.Settings) { s.Issuer = "http://provider.example" }, "upstream[0].issuer"},
		{func(s *upstream.Settings) { s.Issuer = "https://provider.example/?a" }, "upstream[0].issuer"},
		{func(s *upstream.Settings) { s.Issuer = "https://a:b@provider.example" }, "upstream[0].issuer"},
		{func(s *upstream.Settings) { s.Issuer = "" }, "upstream[0].issuer"},
		{func(s *upstream.Settings) { s.ClientID = "" }, "upstream[0].client_id"},
		{func(s *upstream.Settings) { s.Secret = "" }, "upstream[0].client_secret_file"},
		{func(s *upstream.Settings) { s.Key = p384 }, "upstream[0].client_secret_file"},
		{func(s *upstream.Settings) { s.Secret, s.Key = "", small }, "upstream[0].private_key_file"},
		{func(s *upstream.Settings) { s.Secret, s.Key = "", p384 }, "upstream[0].private_key_file"},
		{func(s *upstream.Settings) { s.Scopes = []string{"a b"} }, "upstream[0].scopes"},
		{func(s *upstream.Settings) { s.ACRValues = []string{""} }, "upstream[0].acr_values"},
		{func(s *upstream.Settings) { s.SessionACR = make([]string, 21) }, "upstream[0].session_acr"},
		{func(s *upstream.Settings) { s.SessionAMR = []string{"house"} }, "upstream[0].session_amr"},
		{func(s *upstream.Settings) { s.MaxAge = -1 }, "upstream[0].max_age"},
	}
	for _, tt := range tests {
		s := upstream.Settings{Name: "corp", Issuer: "https://provider.example", ClientID: "assent", Secret: "a secret"}
		tt.change(&s)
		err := upstream.Check([]upstream.Settings{s}, true)
		switch {
		case tt.want == "" && err != nil:
			t.Error(err)
		case tt.want != "" && (!errors.Is(err, approvals.ErrInvalid) || !strings.HasPrefix(err.Error(), tt.want+" ")):
			t.Errorf("%v, want %s", err, tt.want)
		case err != nil && strings.Contains(err.Error(), "a secret"):
			t.Errorf("the secret is in %v", err)
		}
	}
	s := upstream.Settings{Name: "corp", EN: "Example ID", Issuer: "https://provider.example", ClientID: "assent", Secret: "a"}
	if err := upstream.Check([]upstream.Settings{s, s}, false); err == nil {
		t.Error("two providers with one name")
	}
	if s.Title("en") != "Example ID" || s.Title("ko") != "corp" {
		t.Errorf("titles %q and %q", s.Title("en"), s.Title("ko"))
	}
}

// What comes back in the address is bounded and read once, and no answer signs anybody in whom the provider did not.
func FuzzBack(f *testing.F) {
	for _, seed := range []string{"code=a&state=b", "error=access_denied&state=b&iss=https://p.example", "code=a&code=b", "code=a&error=b",
		"state=%ff&code=%00", "code=a;b", "", "code=" + strings.Repeat("a", 4097), "error_description=%3Cb%3E&error=x&state="} {
		f.Add(seed)
	}
	h := newHouse(f)
	f.Fuzz(func(t *testing.T, query string) {
		b, err := upstream.ParseBack(query)
		if err != nil {
			if !errors.Is(err, upstream.ErrRefused) || b != (upstream.Back{}) {
				t.Fatalf("%+v, %v", b, err)
			}
			return
		}
		for _, v := range []string{b.Code, b.State, b.Iss, b.Error} {
			if len(v) > 4096 || strings.Trim(v, visible) != "" {
				t.Errorf("took %q", v)
			}
		}
		if (b.Code == "") == (b.Error == "") {
			t.Errorf("took %+v", b)
		}
		if _, err := h.SignIn(t.Context(), "corp", bound, b); err == nil {
			t.Errorf("signed in with %+v", b)
		}
	})
}

// visible is everything that a value may hold.
var visible = func() string {
	var b strings.Builder
	for c := byte(' '); c < 0x7f; c++ {
		b.WriteByte(c)
	}
	return b.String()
}()
