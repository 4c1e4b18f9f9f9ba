package fcmsim

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"sync"
	"time"
)

// accounts is the token endpoint of one service account (RFC 7523).
type accounts struct {
	key *rsa.PrivateKey

	mu      sync.Mutex
	given   map[string]bool
	asked   int
	refuses int // HTTP status of its answers; 0: it gives tokens
}

func newAccounts() (*accounts, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	return &accounts{key: key, given: map[string]bool{}}, err
}

const (
	accountEmail = "sender@simulated.iam.gserviceaccount.com"
	accountKey   = "1"
)

// Account is the JSON file of the service account that may send. base is the URL of this server.
func (s *Server) Account(base string) []byte {
	der, _ := x509.MarshalPKCS8PrivateKey(s.accounts.key) // an RSA key: cannot fail
	file, _ := json.Marshal(map[string]string{"type": "service_account", "project_id": s.project,
		"private_key_id": accountKey, "client_email": accountEmail, "token_uri": base + "/token",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))}) // strings: cannot fail
	return file
}

// RefuseTokens makes the token endpoint answer with an HTTP status from now on; 0 makes it give tokens again.
func (s *Server) RefuseTokens(status int) {
	s.accounts.mu.Lock()
	defer s.accounts.mu.Unlock()
	s.accounts.refuses = status
}

// EndTokens ends every access token that was given out.
func (s *Server) EndTokens() {
	s.accounts.mu.Lock()
	defer s.accounts.mu.Unlock()
	clear(s.accounts.given)
}

// TokensAsked returns how often the token endpoint was called.
func (s *Server) TokensAsked() int {
	s.accounts.mu.Lock()
	defer s.accounts.mu.Unlock()
	return s.accounts.asked
}

func (a *accounts) gave(token string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.given[token]
}

// token gives an access token for a signed assertion.
func (a *accounts) token(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	right := a.signed(r.PostFormValue("assertion"), "http://"+r.Host+"/token")
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	switch {
	case a.refuses != 0:
		writeJSON(w, a.refuses, map[string]string{"error": "simulated: refused"})
		return
	case !right:
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
		return
	}
	token := "ya29." + rand.Text()
	a.given[token] = true
	writeJSON(w, http.StatusOK, map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 3599})
}

// signed checks an assertion by the vendor's rules: RS256, our account, for this endpoint, for an hour at most.
func (a *accounts) signed(assertion, audience string) bool {
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		return false
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || rsa.VerifyPKCS1v15(&a.key.PublicKey, crypto.SHA256, sum[:], signature) != nil {
		return false
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Issuer   string `json:"iss"`
		Audience string `json:"aud"`
		Scope    string `json:"scope"`
		Issued   int64  `json:"iat"`
		Expires  int64  `json:"exp"`
	}
	if err != nil || json.Unmarshal(raw, &claims) != nil {
		return false
	}
	now := time.Now().Unix()
	return claims.Issuer == accountEmail && claims.Audience == audience && claims.Scope != "" &&
		claims.Issued <= now+60 && claims.Expires > now && claims.Expires-claims.Issued <= 3660
}
