package client_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

type object = map[string]any

// Keys of the agent and of the server, made once.
var (
	serverKey, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	agentKey, _  = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	dpopKey, _   = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, edKey, _  = ed25519.GenerateKey(rand.Reader)
	rsaKey       = sync.OnceValue(func() *rsa.PrivateKey { k, _ := rsa.GenerateKey(rand.Reader, 2048); return k })
)

// agentKeys is what the server knows of the agent's keys.
func agentKeys() map[string]crypto.PublicKey {
	return map[string]crypto.PublicKey{"es": agentKey.Public(), "ed": edKey.Public(), "ps": rsaKey().Public()}
}

// opServer is a small CIBA server that checks all it is shown, with another JOSE library than ours has code for, and
// pings by HTTP. Its fields are set before it is used.
type opServer struct {
	*httptest.Server
	secret, basic bool   // how the agent authenticates; neither: private_key_jwt
	nonce         string // demanded in proofs, at the token endpoint and the API
	endpoint      string // where pings go; "": poll mode
	early         bool   // the ping overtakes the acknowledgement
	spoil         func(access string, claims object)

	mu      sync.Mutex
	seen    map[string]bool // jti
	asked   []*asked
	faults  []string
	polled  chan struct{}     // answers to polls
	answers map[string][]byte // by Idempotency-Key
}

type asked struct {
	handle, jkt string
	params      object
	state, note string
}

func newOp() *opServer {
	s := &opServer{polled: make(chan struct{}, 1), seen: map[string]bool{}, answers: map[string][]byte{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", s.discovery)
	mux.HandleFunc("GET /jwks", s.jwks)
	mux.HandleFunc("POST /bc", s.ask)
	mux.HandleFunc("POST /token", s.token)
	mux.HandleFunc("POST /status", s.status)
	mux.HandleFunc("POST /cancel", s.cancel)
	mux.HandleFunc("/api", s.api)
	s.Server = httptest.NewServer(mux)
	return s
}

func (s *opServer) discovery(w http.ResponseWriter, r *http.Request) {
	answer(w, 200, object{"issuer": s.URL, "backchannel_authentication_endpoint": s.URL + "/bc", "token_endpoint": s.URL + "/token",
		"jwks_uri": s.URL + "/jwks", "assent_status_endpoint": s.URL + "/status", "assent_cancel_endpoint": s.URL + "/cancel",
		"backchannel_token_delivery_modes_supported": []string{"poll", "ping"}, "dpop_signing_alg_values_supported": []string{"ES256"},
		"backchannel_authentication_request_signing_alg_values_supported": []string{"ES256", "PS256", "EdDSA"}})
}

func (s *opServer) jwks(w http.ResponseWriter, r *http.Request) {
	answer(w, 200, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: serverKey.Public(), KeyID: "op", Algorithm: "ES256", Use: "sig"}}})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, code string) { answer(w, 400, object{"error": code}) }

// fault remembers what the client did wrong.
func (s *opServer) fault(format string, args ...any) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
	return false
}

// authentic is REQ-055 to 063, for the one agent "travel".
func (s *opServer) authentic(r *http.Request) bool {
	if err := r.ParseForm(); err != nil {
		return s.fault("form: %v", err)
	}
	f := r.PostForm
	user, password, basic := r.BasicAuth()
	switch {
	case f.Get("client_id") != "travel":
		return s.fault("client_id %q", f.Get("client_id"))
	case s.basic:
		return basic && user == "travel" && password == "s%3Acr+et%2F" && !f.Has("client_secret") || s.fault("basic %q", password)
	case s.secret:
		return !basic && f.Get("client_secret") == "s:cr et/" || s.fault("secret")
	}
	if f.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || basic || f.Has("client_secret") {
		return s.fault("assertion_type %v", f)
	}
	claims, ok := s.signed(f.Get("client_assertion"), "client-authentication+jwt")
	return ok && (claims["sub"] == "travel" || s.fault("sub %v", claims)) && s.fresh(claims)
}

// signed verifies a JWS of the agent's: signature, typ, iss, aud.
func (s *opServer) signed(text, typ string) (object, bool) {
	j, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.ES256, jose.PS256, jose.EdDSA})
	if err != nil {
		return nil, s.fault("%s: %v", typ, err)
	}
	h := j.Signatures[0].Protected
	raw, err := j.Verify(agentKeys()[h.KeyID])
	if err != nil || h.ExtraHeaders["typ"] != typ {
		return nil, s.fault("%s: %v, %v", typ, err, h)
	}
	var claims object
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&claims); err != nil || claims["iss"] != "travel" || claims["aud"] != s.URL {
		return nil, s.fault("%s: %v, %v", typ, err, claims)
	}
	return claims, true
}

// fresh holds jti and times to their rules.
func (s *opServer) fresh(claims object) bool {
	jti, _ := claims["jti"].(string)
	iat := number(claims["iat"])
	s.mu.Lock()
	used := s.seen[jti]
	s.seen[jti] = true
	s.mu.Unlock()
	if used || len(jti) < 16 || time.Since(time.Unix(iat, 0)).Abs() > time.Minute {
		return s.fault("not fresh: %v", claims)
	}
	return true
}

func number(v any) int64 {
	n, _ := v.(json.Number)
	i, _ := n.Int64()
	return i
}

// proven checks a DPoP proof (RFC 9449 section 4.3) and returns the thumbprint of its key, "" without a proof.
func (s *opServer) proven(r *http.Request, access string) (jkt string, ok bool) {
	text := r.Header.Get("DPoP")
	if text == "" {
		return "", true
	}
	j, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return "", s.fault("proof: %v", err)
	}
	h := j.Signatures[0].Protected
	raw, err := j.Verify(h.JSONWebKey)
	if err != nil || h.ExtraHeaders["typ"] != "dpop+jwt" || !h.JSONWebKey.IsPublic() {
		return "", s.fault("proof: %v, %v", err, h)
	}
	var claims object
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&claims); err != nil || claims["htm"] != r.Method || claims["htu"] != s.URL+r.URL.Path || !s.fresh(claims) {
		return "", s.fault("proof: %v, %v", err, claims)
	}
	if want, _ := claims["ath"].(string); access != "" && want != digest(access) {
		return "", s.fault("ath %q", want)
	}
	sum, err := h.JSONWebKey.Thumbprint(crypto.SHA256)
	return base64.RawURLEncoding.EncodeToString(sum), err == nil && (s.nonce == "" || claims["nonce"] == s.nonce)
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (s *opServer) ask(w http.ResponseWriter, r *http.Request) {
	if !s.authentic(r) {
		answer(w, 401, object{"error": "invalid_client"})
		return
	}
	jkt, ok := s.proven(r, "")
	if !ok {
		w.Header().Set("DPoP-Nonce", s.nonce)
		refuse(w, "use_dpop_nonce")
		return
	}
	params := object{}
	for name, v := range r.PostForm {
		params[name] = v[0]
	}
	if text := r.PostForm.Get("request"); text != "" {
		if params, ok = s.signed(text, "oauth-authz-req+jwt"); !ok || !s.fresh(params) {
			refuse(w, "invalid_request")
			return
		}
	}
	key := r.Header.Get("Idempotency-Key")
	s.mu.Lock()
	defer s.mu.Unlock()
	if body := s.answers[key]; key != "" && body != nil {
		w.Write(body)
		return
	}
	a := &asked{handle: "h" + rand.Text(), jkt: jkt, params: params, state: "pending"}
	s.asked = append(s.asked, a)
	if s.early {
		a.state = "approved"
		s.ping(a)
	}
	body, _ := json.Marshal(object{"auth_req_id": a.handle, "expires_in": 120, "interval": 1})
	s.answers[key] = body
	w.Write(body)
}

// find returns the request of a call that has been authenticated.
func (s *opServer) find(w http.ResponseWriter, r *http.Request) *asked {
	if !s.authentic(r) {
		answer(w, 401, object{"error": "invalid_client"})
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.asked, func(a *asked) bool { return a.handle == r.PostForm.Get("auth_req_id") })
	if i < 0 {
		refuse(w, "invalid_grant")
		return nil
	}
	return s.asked[i]
}

func (s *opServer) token(w http.ResponseWriter, r *http.Request) {
	a := s.find(w, r)
	if a == nil {
		return
	}
	jkt, ok := s.proven(r, "")
	s.mu.Lock()
	defer s.mu.Unlock()
	if !ok || jkt != a.jkt {
		w.Header().Set("DPoP-Nonce", s.nonce)
		refuse(w, "use_dpop_nonce")
		return
	}
	select {
	case s.polled <- struct{}{}:
	default:
	}
	switch a.state {
	case "approved":
		a.state = "redeemed"
		answer(w, 200, s.tokens(a))
	case "redeemed":
		refuse(w, "invalid_grant")
	case "denied", "cancelled":
		refuse(w, "access_denied")
	default:
		refuse(w, "authorization_pending")
	}
}

// tokens makes the token response; spoil may change it.
func (s *opServer) tokens(a *asked) object {
	now := time.Now().Unix()
	access := object{"iss": s.URL, "aud": "https://api.example", "client_id": "travel", "exp": now + 300,
		"disclosure": object{"digest": "d1", "template": "payment_initiation", "version": 1, "locale": "en"}}
	out := object{"token_type": "Bearer", "expires_in": 300, "scope": "openid"}
	if a.jkt != "" {
		out["token_type"], access["cnf"] = "DPoP", object{"jkt": a.jkt}
	}
	if s.spoil != nil {
		s.spoil("access", access)
	}
	out["access_token"] = sign("at+jwt", access)
	sum := sha256.Sum256([]byte(out["access_token"].(string)))
	id := object{"iss": s.URL, "aud": "travel", "sub": "u_ann", "iat": now, "exp": now + 300, "acr": "phr", "amr": []string{"hwk"},
		"auth_time": now, "at_hash": base64.RawURLEncoding.EncodeToString(sum[:16]),
		"urn:openid:params:jwt:claim:auth_req_id": a.handle}
	if s.spoil != nil {
		s.spoil("id", id)
	}
	out["id_token"] = sign("JWT", id)
	if d := a.params["authorization_details"]; d != nil {
		if text, ok := d.(string); ok {
			d = json.RawMessage(text)
		}
		out["authorization_details"] = d
	}
	if s.spoil != nil {
		s.spoil("response", out)
	}
	return out
}

func sign(typ string, claims object) string {
	o := (&jose.SignerOptions{}).WithType(jose.ContentType(typ)).WithHeader("kid", "op")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: serverKey}, o)
	if err != nil {
		panic(err)
	}
	raw, _ := json.Marshal(claims)
	j, _ := signer.Sign(raw)
	text, _ := j.CompactSerialize()
	return text
}

func (s *opServer) status(w http.ResponseWriter, r *http.Request) {
	if a := s.find(w, r); a != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		answer(w, 200, object{"state": a.state, "note": a.note, "expires_at": time.Now()})
	}
}

func (s *opServer) cancel(w http.ResponseWriter, r *http.Request) {
	if a := s.find(w, r); a != nil {
		s.decide(a.handle, "cancelled", "")
		answer(w, 200, object{"state": "cancelled", "expires_at": time.Now()})
	}
}

// api is a protected resource that takes both kinds of tokens.
func (s *opServer) api(w http.ResponseWriter, r *http.Request) {
	scheme, access, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	jkt, ok := s.proven(r, access)
	if scheme == "DPoP" && (jkt == "" || !ok) {
		w.Header().Set("DPoP-Nonce", s.nonce)
		w.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
		w.WriteHeader(401)
		return
	}
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s", scheme, body)
}

// decide is the person's part. In ping mode it returns the status that the agent answered with.
func (s *opServer) decide(handle, state, note string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.asked[slices.IndexFunc(s.asked, func(a *asked) bool { return a.handle == handle })]
	a.state, a.note = state, note
	return s.ping(a)
}

// ping is CIBA section 10.2.
func (s *opServer) ping(a *asked) int {
	token, _ := a.params["client_notification_token"].(string)
	if s.endpoint == "" {
		return 0
	}
	return ping(s.endpoint, token, `{"auth_req_id":"`+a.handle+`"}`)
}

// pings go over connections of their own: a test server that closes takes the idle ones of the default client along.
var pinger = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func ping(endpoint, token, body string) int {
	r, _ := http.NewRequestWithContext(context.Background(), http.MethodPost, endpoint, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	resp, err := pinger.Do(r)
	if err != nil {
		return -1
	}
	resp.Body.Close()
	return resp.StatusCode
}
