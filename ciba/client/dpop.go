package client

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Bounds of what servers may make us remember.
const (
	maxNonce   = 1024
	maxOrigins = 256
)

// prover makes DPoP proofs (RFC 9449 section 4.2) and remembers the nonces that servers hand out.
type prover struct {
	signer     *signer
	jwk        map[string]string
	thumbprint string // RFC 7638

	mu     sync.Mutex
	nonces map[string]string // by origin
}

func newProver(key crypto.Signer) (*prover, error) {
	public, ok := key.Public().(*ecdsa.PublicKey)
	if !ok {
		return nil, errors.New("must be a P-256 key")
	}
	s, err := newSigner(&Key{Signer: key})
	if err != nil {
		return nil, err
	}
	point, err := public.Bytes()
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	x := base64.RawURLEncoding.EncodeToString(point[1:33])
	y := base64.RawURLEncoding.EncodeToString(point[33:])
	sum := sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + x + `","y":"` + y + `"}`))
	return &prover{signer: s, jwk: map[string]string{"kty": "EC", "crv": "P-256", "x": x, "y": y},
		thumbprint: base64.RawURLEncoding.EncodeToString(sum[:]), nonces: map[string]string{}}, nil
}

// prove adds a proof for this one request. With an access token the proof is for it (ath).
func (p *prover) prove(r *http.Request, access string) error {
	claims := map[string]any{"jti": rand.Text(), "htm": r.Method, "htu": target(r.URL), "iat": time.Now().Unix()}
	if nonce := p.nonce(r.URL); nonce != "" {
		claims["nonce"] = nonce
	}
	if access != "" {
		sum := sha256.Sum256([]byte(access))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	proof, err := p.signer.signWith(map[string]any{"typ": "dpop+jwt", "alg": p.signer.alg, "jwk": p.jwk}, claims)
	if err != nil {
		return fmt.Errorf("sign proof: %w", err)
	}
	r.Header.Set("DPoP", proof)
	return nil
}

// target is htu: the address without query and fragment.
func target(u *url.URL) string {
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	return u.Scheme + "://" + u.Host + path
}

func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }

func (p *prover) nonce(u *url.URL) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.nonces[origin(u)]
}

// hear remembers the nonce that an answer brings (RFC 9449 section 8.2).
func (p *prover) hear(resp *http.Response) {
	nonce := resp.Header.Get("DPoP-Nonce")
	if nonce == "" || len(nonce) > maxNonce || resp.Request == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.nonces) >= maxOrigins {
		clear(p.nonces) // they come again with the next answer
	}
	p.nonces[origin(resp.Request.URL)] = nonce
}

// Authorize puts the token into a request to an API: as a bearer token, or with a proof that is good for this request
// only (RFC 9449 section 7). [Client.Do] does so and sends it.
func (c *Client) Authorize(r *http.Request, t *Token) error {
	if err := safe(origin(r.URL)); err != nil {
		return fmt.Errorf("authorize: the address %w", err)
	}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	if !strings.EqualFold(t.TokenType, "DPoP") {
		r.Header.Set("Authorization", "Bearer "+t.AccessToken)
		return nil
	}
	if c.dpop == nil {
		return errors.New("authorize: the token is bound to a key, and Config.DPoP is not set")
	}
	r.Header.Set("Authorization", "DPoP "+t.AccessToken)
	if err := c.dpop.prove(r, t.AccessToken); err != nil {
		return fmt.Errorf("authorize: %w", err)
	}
	return nil
}

// Do calls an API with the token, through the client's own [http.Client]: with its certificate, and without following
// redirects. When the API wants a nonce in the proof, the request is sent a second time (RFC 9449 section 9); a
// request with a body needs GetBody for that, which [http.NewRequest] provides. r itself is not changed.
func (c *Client) Do(r *http.Request, t *Token) (*http.Response, error) {
	first := r.Clone(r.Context())
	resp, err := c.send(first, t)
	if err != nil || !wantsNonce(resp) || r.Body != nil && r.GetBody == nil {
		return resp, err
	}
	second := r.Clone(r.Context())
	if r.GetBody != nil {
		if second.Body, err = r.GetBody(); err != nil {
			return resp, nil
		}
	}
	resp.Body.Close()
	return c.send(second, t)
}

func (c *Client) send(r *http.Request, t *Token) (*http.Response, error) {
	if err := c.Authorize(r, t); err != nil {
		return nil, err
	}
	resp, err := c.http.Do(r)
	if err == nil && c.dpop != nil {
		c.dpop.hear(resp)
	}
	return resp, err
}

func wantsNonce(resp *http.Response) bool {
	return resp.StatusCode == http.StatusUnauthorized && resp.Header.Get("DPoP-Nonce") != "" &&
		strings.Contains(strings.Join(resp.Header["Www-Authenticate"], ","), "use_dpop_nonce")
}
