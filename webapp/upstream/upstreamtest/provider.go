// Package upstreamtest is an OpenID provider for tests: real HTTP, discovery, keys that rotate, codes that count once, and
// switches for everything that a provider can do wrong. Whoever comes is signed in at once as the user that the test has
// chosen; there are no pages. It refuses to know what it is tested with.
package upstreamtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// User is who signs in: the claims beside those that every ID token has.
type User map[string]any

// Faults are what the provider does wrong, or at least not as usual.
type Faults struct {
	Status  map[string]int // by path, such as "/token"
	Slow    map[string]bool
	Error   string                        // an error code in the place of a code
	Iss     *string                       // iss beside the code; "": none
	Claims  func(claims map[string]any)   // changes an ID token before it is signed
	Token   func(answer map[string]any)   // changes the answer of the token endpoint
	Alg     jose.SignatureAlgorithm       // of ID tokens: "none", "HS256"; default ES256
	Typ     string                        // head of ID tokens; default JWT
	Foreign bool                          // ID tokens are signed with a key that is not published
	Reuse   bool                          // codes count as often as they come
	Meta    func(document map[string]any) // changes the discovery document
}

// Provider is one OpenID provider with one client.
type Provider struct {
	Issuer   string
	ClientID string
	Secret   string

	t      testing.TB
	server *httptest.Server
	now    func() time.Time

	mu       sync.Mutex
	user     User
	faults   Faults
	keys     []*ecdsa.PrivateKey // the last one signs
	codes    map[string]url.Values
	calls    map[string]int
	asserted jose.JSONWebKey // of private_key_jwt; zero: a secret
}

// New starts a provider over TLS that ends with the test. Its client is "assent".
func New(t testing.TB, now func() time.Time) *Provider {
	t.Helper()
	p := &Provider{ClientID: "assent", Secret: rand.Text(), t: t, now: now, codes: map[string]url.Values{},
		calls: map[string]int{}}
	p.Rotate()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET /jwks", p.jwks)
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	p.server = httptest.NewTLSServer(p.faulty(mux))
	t.Cleanup(p.server.Close)
	p.Issuer = p.server.URL
	return p
}

// Client is an HTTP client that trusts the provider and follows no redirect. It gives up after a second.
func (p *Provider) Client() *http.Client {
	c := *p.server.Client()
	c.Timeout = time.Second
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

// SignIn makes everybody who comes this user.
func (p *Provider) SignIn(u User) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.user = u
}

// Break sets what goes wrong from now on; the zero Faults heal everything.
func (p *Provider) Break(f Faults) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = f
}

// Rotate makes a new signing key. The old one stays published.
func (p *Provider) Rotate() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = append(p.keys, key)
}

// Trust makes the client prove itself with a key (private_key_jwt) in the place of the secret.
func (p *Provider) Trust(public jose.JSONWebKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asserted = public
}

// Calls is how often a path was called.
func (p *Provider) Calls(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[path]
}

// faulty counts calls, and answers in the place of a path that is broken or slow.
func (p *Provider) faulty(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.calls[r.URL.Path]++
		status, slow := p.faults.Status[r.URL.Path], p.faults.Slow[r.URL.Path]
		p.mu.Unlock()
		switch {
		case slow:
			_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice that somebody has gone
			<-r.Context().Done()
		case status != 0:
			http.Error(w, "<b>provider says: out of order</b>", status)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (p *Provider) discovery(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	document := map[string]any{"issuer": p.Issuer, "authorization_endpoint": p.Issuer + "/authorize",
		"token_endpoint": p.Issuer + "/token", "jwks_uri": p.Issuer + "/jwks",
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported": []string{"ES256"}, "code_challenge_methods_supported": []string{"S256"},
		"authorization_response_iss_parameter_supported": true}
	if p.faults.Meta != nil {
		p.faults.Meta(document)
	}
	answer(w, http.StatusOK, document)
}

func kid(k *ecdsa.PrivateKey) string {
	public := jose.JSONWebKey{Key: k.Public()}
	sum, _ := public.Thumbprint(crypto.SHA256) // cannot fail for this kind
	return base64.RawURLEncoding.EncodeToString(sum)
}

func (p *Provider) jwks(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	set := jose.JSONWebKeySet{}
	for _, k := range p.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Public(), KeyID: kid(k), Algorithm: "ES256", Use: "sig"})
	}
	answer(w, http.StatusOK, set)
}

// authorize signs the user in and sends the browser back.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := r.URL.Query()
	to, err := url.Parse(q.Get("redirect_uri"))
	switch {
	case err != nil || q.Get("client_id") != p.ClientID || q.Get("response_type") != "code":
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	case q.Get("code_challenge_method") != "S256" || q.Get("nonce") == "" || q.Get("state") == "" ||
		!slices.Contains(strings.Fields(q.Get("scope")), "openid"):
		http.Error(w, "weak request", http.StatusBadRequest)
		return
	}
	back := url.Values{"state": {q.Get("state")}, "iss": {p.Issuer}, "session_state": {"x"}}
	if p.faults.Iss != nil {
		back["iss"] = []string{*p.faults.Iss}
		if *p.faults.Iss == "" {
			delete(back, "iss")
		}
	}
	if p.faults.Error != "" {
		back.Set("error", p.faults.Error)
		back.Set("error_description", "<b>provider says no</b>")
	} else {
		code := rand.Text()
		p.codes[code] = q
		back.Set("code", code)
	}
	to.RawQuery = back.Encode()
	w.Header().Set("Location", to.String())
	w.WriteHeader(http.StatusFound)
}

// token trades a code, once.
func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = r.ParseForm()
	asked, known := p.codes[r.PostForm.Get("code")]
	sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	switch {
	case !p.authenticated(r):
		answer(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client", "error_description": "provider says no"})
		return
	case !known || r.PostForm.Get("grant_type") != "authorization_code",
		r.PostForm.Get("redirect_uri") != asked.Get("redirect_uri"),
		base64.RawURLEncoding.EncodeToString(sum[:]) != asked.Get("code_challenge"):
		answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant", "error_description": "provider says no"})
		return
	}
	if !p.faults.Reuse {
		delete(p.codes, r.PostForm.Get("code"))
	}
	access := rand.Text()
	out := map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": 60, "id_token": p.idToken(asked, access)}
	if p.faults.Token != nil {
		p.faults.Token(out)
	}
	answer(w, http.StatusOK, out)
}

func (p *Provider) authenticated(r *http.Request) bool {
	if p.asserted.Key == nil {
		id, secret, basic := r.BasicAuth()
		if !basic {
			id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
		}
		return id == p.ClientID && secret == p.Secret
	}
	token, err := jwt.ParseSigned(r.PostForm.Get("client_assertion"),
		[]jose.SignatureAlgorithm{jose.ES256, jose.PS256, jose.RS256, jose.EdDSA})
	if err != nil {
		return false
	}
	var c jwt.Claims
	if token.Claims(p.asserted, &c) != nil {
		return false
	}
	return c.ValidateWithLeeway(jwt.Expected{Issuer: p.ClientID, Subject: p.ClientID, AnyAudience: jwt.Audience{p.Issuer},
		Time: p.now()}, 0) == nil && c.ID != ""
}

func (p *Provider) idToken(asked url.Values, access string) string {
	now := p.now()
	hash := sha256.Sum256([]byte(access))
	claims := map[string]any{"iss": p.Issuer, "aud": p.ClientID, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"nonce": asked.Get("nonce"), "at_hash": base64.RawURLEncoding.EncodeToString(hash[:16])}
	maps.Copy(claims, p.user)
	if p.faults.Claims != nil {
		p.faults.Claims(claims)
	}
	if p.faults.Alg == "none" {
		head, _ := json.Marshal(map[string]string{"alg": "none", "typ": "JWT"})
		body, _ := json.Marshal(claims)
		return base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body) + "."
	}
	signed, err := jwt.Signed(p.signer()).Claims(claims).Serialize()
	if err != nil {
		p.t.Error(err)
	}
	return signed
}

func (p *Provider) signer() jose.Signer {
	key := p.keys[len(p.keys)-1]
	name := kid(key)
	if p.faults.Foreign {
		key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	with := jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: name}}
	if p.faults.Alg != "" { // the classic confusion: what is public taken for a shared secret
		public, _ := jose.JSONWebKey{Key: key.Public()}.MarshalJSON()
		with = jose.SigningKey{Algorithm: p.faults.Alg, Key: public}
	}
	typ := p.faults.Typ
	if typ == "" {
		typ = "JWT"
	}
	s, err := jose.NewSigner(with, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		p.t.Error(err)
	}
	return s
}
