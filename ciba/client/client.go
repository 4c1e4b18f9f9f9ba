package client

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Config says which server to ask and who asks. Exactly one of Secret, Key and Certificate is how the agent shows who
// it is; with Secret or Key, Certificate may be added for tokens that are bound to the certificate.
type Config struct {
	Issuer string // exactly as the server publishes it
	ID     string // client_id

	Secret      string // client_secret, sent in the form (client_secret_post)
	Basic       bool   // client_secret_basic instead
	Key         *Key   // private_key_jwt (RFC 7523)
	Certificate bool   // HTTP shows a TLS client certificate (RFC 8705)

	RequestKey *Key          // signs every request (CIBA section 7.1.1); only if the agent is registered for it
	DPoP       crypto.Signer // a P-256 key that tokens are bound to (RFC 9449)
	Ping       bool          // the agent is registered for ping mode, and serves [Client.Pings] at its endpoint

	HTTP *http.Client // nil: one of our own
}

// Client asks one server. It is safe for concurrent use.
type Client struct {
	config  Config
	http    *http.Client
	server  server
	key     *signer // of Config.Key
	request *signer // of Config.RequestKey
	dpop    *prover // nil: off
	pings   *pings  // nil: off
	keys    keyCache
	salt    [32]byte // for notification tokens of requests with a Key
}

// endpoints are the members that RFC 8705 section 5 may list a second time, for callers with a certificate.
type endpoints struct {
	Backchannel string `json:"backchannel_authentication_endpoint"`
	Token       string `json:"token_endpoint"`
	Status      string `json:"assent_status_endpoint"`
	Cancel      string `json:"assent_cancel_endpoint"`
}

// server is the part of the discovery document that we use.
type server struct {
	endpoints
	Issuer      string    `json:"issuer"`
	JWKS        string    `json:"jwks_uri"`
	Modes       []string  `json:"backchannel_token_delivery_modes_supported"`
	RequestAlgs []string  `json:"backchannel_authentication_request_signing_alg_values_supported"`
	DPoPAlgs    []string  `json:"dpop_signing_alg_values_supported"`
	MTLS        endpoints `json:"mtls_endpoint_aliases"`
}

// New reads the server's discovery document (OpenID Connect Discovery section 4), once, and holds config against it:
// what the server does not offer is an error here and not after a person has been asked. Redirects are never followed.
func New(ctx context.Context, config Config) (*Client, error) {
	c := &Client{config: config, http: &http.Client{}}
	if config.HTTP != nil {
		*c.http = *config.HTTP
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	rand.Read(c.salt[:])
	if err := c.takeKeys(); err != nil {
		return nil, fmt.Errorf("client %s: %w", config.ID, err)
	}
	if err := c.discover(ctx); err != nil {
		return nil, fmt.Errorf("discover %s: %w", config.Issuer, err)
	}
	return c, nil
}

// takeKeys checks how the client shows who it is, and readies its keys.
func (c *Client) takeKeys() (err error) {
	secret, key := c.config.Secret != "", c.config.Key != nil
	switch {
	case c.config.ID == "":
		return errors.New("Config.ID is required")
	case secret && key:
		return errors.New("Config.Secret and Config.Key exclude each other")
	case !secret && !key && !c.config.Certificate:
		return errors.New("one of Config.Secret, Config.Key and Config.Certificate is required")
	}
	if c.key, err = newSigner(c.config.Key); err != nil {
		return fmt.Errorf("Config.Key: %w", err)
	}
	if c.request, err = newSigner(c.config.RequestKey); err != nil {
		return fmt.Errorf("Config.RequestKey: %w", err)
	}
	if c.config.DPoP != nil {
		if c.dpop, err = newProver(c.config.DPoP); err != nil {
			return fmt.Errorf("Config.DPoP: %w", err)
		}
	}
	if c.config.Ping {
		c.pings = newPings()
	}
	return nil
}

// discover fetches the document and checks it.
func (c *Client) discover(ctx context.Context) error {
	if err := safe(c.config.Issuer); err != nil {
		return fmt.Errorf("issuer %w", err)
	}
	address := strings.TrimSuffix(c.config.Issuer, "/") + "/.well-known/openid-configuration"
	if err := c.get(ctx, address, &c.server); err != nil {
		return err
	}
	if c.server.Issuer != c.config.Issuer { // byte for byte
		return fmt.Errorf("the server calls itself %q", c.server.Issuer)
	}
	if c.config.Certificate {
		c.server.prefer(c.server.MTLS)
	}
	if err := c.server.check(); err != nil {
		return err
	}
	return c.offers()
}

// prefer takes the addresses for callers with a certificate where there are any.
func (e *endpoints) prefer(mtls endpoints) {
	for _, p := range []struct{ to, from *string }{
		{&e.Backchannel, &mtls.Backchannel}, {&e.Token, &mtls.Token}, {&e.Status, &mtls.Status}, {&e.Cancel, &mtls.Cancel},
	} {
		if *p.from != "" {
			*p.to = *p.from
		}
	}
}

// check refuses a document that would have us send credentials in the clear.
func (s *server) check() error {
	if s.Backchannel == "" || s.Token == "" {
		return errors.New("the server does not offer CIBA")
	}
	for name, address := range map[string]string{"backchannel_authentication_endpoint": s.Backchannel,
		"token_endpoint": s.Token, "jwks_uri": s.JWKS, "assent_status_endpoint": s.Status,
		"assent_cancel_endpoint": s.Cancel} {
		if address == "" {
			continue
		}
		if err := safe(address); err != nil {
			return fmt.Errorf("%s %w", name, err)
		}
	}
	return nil
}

// offers compares what the client is set up for with what the server says it can do.
func (c *Client) offers() error {
	s := &c.server
	switch {
	case c.config.Ping && !slices.Contains(s.Modes, "ping"):
		return errors.New("the server does not offer ping mode")
	case c.dpop != nil && !slices.Contains(s.DPoPAlgs, algES256):
		return errors.New("the server does not offer DPoP with ES256")
	case c.request != nil && !slices.Contains(s.RequestAlgs, c.request.alg):
		return fmt.Errorf("the server does not take requests that are signed with %s", c.request.alg)
	}
	return nil
}

var errUnsafe = errors.New("must be an https URL, or http on this machine")

// safe reports whether secrets may be sent to an address (CIBA section 7: TLS).
func safe(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return errUnsafe
	}
	ip := net.ParseIP(u.Hostname())
	here := u.Hostname() == "localhost" || strings.HasSuffix(u.Hostname(), ".localhost") || ip != nil && ip.IsLoopback()
	if u.Scheme == "https" || u.Scheme == "http" && here {
		return nil
	}
	return errUnsafe
}
