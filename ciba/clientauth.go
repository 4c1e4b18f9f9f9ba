package ciba

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
)

// caller is an authenticated client.
type caller struct {
	agent  *approvals.Agent
	client *Client
	compat bool // its assertion passed only because the client is registered with our leniency (REQ-057)
}

// proof is what a client offers to show who it is.
type proof struct {
	method    string
	id        string
	secret    string
	raw       string              // the secret without percent-decoding, for clients that do not encode
	assertion *signed             // instead of a secret
	chain     []*x509.Certificate // instead of both: what the TLS connection has shown, the client's own first
}

// clients authenticates, keeping what it parsed for as long as the directory keeps the record it parsed.
type clients struct {
	directory *approvals.Directory
	root      *keys.Root
	replay    *Replay
	remote    *remoteKeys
	mtls      *MTLS // nil: no certificates
	profile   Profile
	issuer    string
	endpoints []string
	nobody    *Client // stands in for clients that do not exist, so that they cost the same
	parsed    sync.Map
}

func newClients(p Parts) (*clients, error) {
	own, err := nobodysKeys()
	if err != nil {
		return nil, err
	}
	endpoints := endpointsOf(p.Issuer)
	if p.MTLS != nil && p.MTLS.URL != "" {
		endpoints = append(endpoints, endpointsOf(p.MTLS.URL)...) // REQ-058
	}
	return &clients{directory: p.Directory, root: p.Root, replay: p.Replay, mtls: p.MTLS, profile: p.Profile,
		issuer: p.Issuer, endpoints: endpoints, remote: &remoteKeys{http: p.Fetch, now: p.Now},
		nobody: &Client{Secrets: []Secret{{MAC: p.Root.MAC(keys.LabelClient, "", NewSecret())}}, keys: own}}, nil
}

// nobodysKeys makes one key of each kind. Nobody knows their private halves; the RSA one never had any.
func nobodysKeys() ([]clientKey, error) {
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	modulus := make([]byte, 256)
	rand.Read(modulus)
	modulus[0] |= 0x80
	modulus[255] |= 1
	return []clientKey{{public: &curve.PublicKey}, {public: edwards},
		{public: &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: 65537}}}, nil
}

// authenticate decides who calls. Unknown, disabled, wrong secret and wrong method take the same path to the same bytes
// (REQ-047 to 052).
func (cs *clients) authenticate(r *http.Request, form *params, now time.Time) (*caller, error) {
	ctx, header := r.Context(), r.Header
	refusal := errClient
	if header.Get("Authorization") != "" && isBasic(header.Get("Authorization")) {
		refusal = errClientBasic
	}
	offered, err := offer(header, form)
	if err != nil {
		return nil, err
	}
	if offered == nil {
		offered = cs.offerCertificate(r, form)
	}
	if offered == nil {
		return nil, refusal
	}
	agent, client, err := cs.find(ctx, offered.id)
	if err != nil {
		return nil, err
	}
	good := cs.proves(ctx, client, offered, now)
	if !good || agent == nil || agent.Disabled || client.barred || !offered.by(client.AuthMethod) {
		return nil, refusal
	}
	if offered.assertion != nil {
		if err := cs.spend(offered, refusal, now); err != nil {
			return nil, err
		}
	}
	return &caller{agent, client, cs.leniently(offered)}, nil
}

// proves reports whether the credential is the client's own. Nobody's is judged like anybody's.
func (cs *clients) proves(ctx context.Context, c *Client, offered *proof, now time.Time) bool {
	switch {
	case offered.chain != nil:
		return cs.certifies(ctx, c, offered, now)
	case offered.assertion != nil:
		return cs.asserts(ctx, c, offered, now)
	}
	good := c.matches(cs.root, offered.id, offered.secret, now)
	if offered.raw != offered.secret {
		good = c.matches(cs.root, offered.id, offered.raw, now) || good
	}
	return good
}

// by reports whether a proof is by the registered method. Which of the two a certificate is meant for is only there.
func (p *proof) by(method string) bool {
	if p.chain != nil {
		return method == TLSClientAuth || method == SelfSignedTLSAuth
	}
	return method == p.method
}

// offer finds the one mechanism that a request uses; two at once are malformed (REQ-048), none is nil. The query is
// never looked at (REQ-070).
func offer(header http.Header, form *params) (*proof, error) {
	lines := header["Authorization"]
	mechanisms := len(lines) + form.count("client_secret") + form.count("client_assertion")
	switch {
	case mechanisms > 1:
		return nil, badRequest("More than one client authentication was used.")
	case form.count("client_id") > 1, form.count("client_assertion_type") > 1:
		return nil, errTwice
	case form.get("client_assertion") != "":
		return offerAssertion(form), nil
	case mechanisms == 0, form.get("client_assertion_type") != "":
		return nil, nil
	case len(lines) == 0:
		secret := form.get("client_secret")
		return &proof{method: SecretPost, id: form.get("client_id"), secret: secret, raw: secret}, nil
	}
	p := basic(lines[0])
	if p == nil || form.get("client_id") != "" && form.get("client_id") != p.id {
		return nil, nil
	}
	return p, nil
}

// offerCertificate is what is left to a caller without any other credentials: client_id and a certificate (REQ-067). A
// certificate beside other credentials only binds tokens.
func (cs *clients) offerCertificate(r *http.Request, form *params) *proof {
	others := len(r.Header["Authorization"]) + form.count("client_secret") + form.count("client_assertion") +
		form.count("client_assertion_type")
	if cs.mtls == nil || others > 0 || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 || form.get("client_id") == "" {
		return nil
	}
	return &proof{id: form.get("client_id"), chain: r.TLS.PeerCertificates}
}

func isBasic(line string) bool {
	return len(line) >= 6 && strings.EqualFold(line[:6], "basic ")
}

// basic reads RFC 7617 credentials whose halves are form-encoded (RFC 6749 section 2.3.1). Clients that skip that
// encoding get one comparison with the raw text.
func basic(line string) *proof {
	if !isBasic(line) {
		return nil
	}
	encoded := strings.Trim(line[6:], " ")
	if strings.ContainsAny(encoded, "\r\n") { // which the decoder would skip
		return nil
	}
	plain, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return nil
	}
	id, secret, ok := strings.Cut(string(plain), ":")
	if !ok || id == "" || secret == "" {
		return nil
	}
	p := &proof{method: SecretBasic, id: id, secret: secret, raw: secret}
	if decoded, ok := unescape(id); ok {
		p.id = decoded
	}
	if decoded, ok := unescape(secret); ok {
		p.secret = decoded
	}
	return p
}

// maxClientID is the longest client_id.
const maxClientID = 255

// find returns the agent and what we keep about it, or nobody's client with a nil agent.
func (cs *clients) find(ctx context.Context, id string) (*approvals.Agent, *Client, error) {
	if id == "" || len(id) > maxClientID {
		return nil, cs.nobody, nil
	}
	agent, err := cs.directory.Agent(ctx, approvals.AgentID(id))
	if errors.Is(err, approvals.ErrNotFound) {
		return nil, cs.nobody, nil
	}
	if err != nil {
		return nil, nil, err
	}
	client, err := cs.read(agent)
	return agent, client, err
}

type parsedClient struct {
	of     *approvals.Agent
	client *Client
}

// read parses a record once: the directory hands out the same pointer until the record changes.
func (cs *clients) read(a *approvals.Agent) (*Client, error) {
	if v, ok := cs.parsed.Load(a.ID); ok && v.(parsedClient).of == a {
		return v.(parsedClient).client, nil
	}
	c, err := ClientOf(a)
	if err != nil {
		return nil, err
	}
	cs.profile.narrow(c)
	if len(c.Secrets) == 0 {
		c.Secrets = slices.Clone(cs.nobody.Secrets)
	}
	if c.JWKS != nil {
		if c.keys, err = readKeySet(c.JWKS); err != nil {
			return nil, fmt.Errorf("read client %s: jwks %w", a.ID, err)
		}
	}
	for i := range c.HintIssuers {
		if c.HintIssuers[i].JWKS == nil {
			continue
		}
		if c.HintIssuers[i].keys, err = readKeySet(c.HintIssuers[i].JWKS); err != nil {
			return nil, fmt.Errorf("read client %s: login_hint_token_issuers %w", a.ID, err)
		}
	}
	cs.parsed.Store(a.ID, parsedClient{a, c})
	return c, nil
}
