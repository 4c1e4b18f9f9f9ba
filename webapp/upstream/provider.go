package upstream

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// provider is one provider: what the operator said of it, and what it says of itself.
type provider struct {
	Settings
	http     *http.Client
	now      func() time.Time
	redirect string // one for each provider, so that an answer of one never counts as another's (RFC 9700 section 4.4.2)
	loopback bool

	turn  chan struct{} // holds one token: whoever has it looks the provider up, or reads what is known
	known *metadata     // nil: nothing yet
	tried time.Time     // of the last look-up that failed
}

// metadata is what a provider says of itself (OpenID Connect Discovery 1.0 section 3).
type metadata struct {
	oauth2.Endpoint
	Keys     *oidc.RemoteKeySet
	JWKS     string   `json:"jwks_uri"`
	Methods  []string `json:"token_endpoint_auth_methods_supported"`
	Algs     []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	NamesIss bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207
	at       time.Time
}

// How long what a provider says of itself is good. A provider that is down leads nobody in anyway; but a document that
// cannot be had for a moment is no reason to send everybody away.
const (
	metadataLife = time.Hour
	metadataStay = 24 * time.Hour  // when it cannot be had anew
	lookUpAgain  = 5 * time.Second // after a look-up that failed
	lookUpTime   = 5 * time.Second
)

var errEndpoint = errors.New("an endpoint is missing or does not use https")

func newProvider(s Settings, c Config) *provider {
	p := &provider{Settings: s, http: c.HTTP, now: c.Now, redirect: c.Origin + "/signin/" + s.Name + "/back",
		loopback: c.Loopback, turn: make(chan struct{}, 1)}
	p.turn <- struct{}{}
	return p
}

// metadata returns where the provider is, or [ErrDown]. All who ask at once share one look-up, which none of them can
// cut short for the others.
func (p *provider) metadata(ctx context.Context) (*metadata, error) {
	select {
	case <-p.turn:
		defer func() { p.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, refuse(ErrDown, "gone")
	}
	now := p.now()
	if p.known != nil && now.Sub(p.known.at) < metadataLife {
		return p.known, nil
	}
	if p.tried.IsZero() || now.Sub(p.tried) >= lookUpAgain {
		m, err := p.lookUp(ctx)
		if err == nil {
			m.at, p.known, p.tried = now, m, time.Time{}
			return m, nil
		}
		p.tried = now
	}
	if p.known != nil && now.Sub(p.known.at) < metadataStay {
		return p.known, nil
	}
	return nil, refuse(ErrDown, "discovery")
}

// lookUp reads the provider's own document. The library checks that it names the issuer.
func (p *provider) lookUp(ctx context.Context) (*metadata, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookUpTime)
	defer cancel()
	found, err := oidc.NewProvider(p.client(ctx), p.Issuer)
	if err != nil {
		return nil, err
	}
	m := &metadata{Endpoint: found.Endpoint()}
	if err := found.Claims(m); err != nil {
		return nil, err
	}
	if !reachable(m.AuthURL, p.loopback) || !reachable(m.TokenURL, p.loopback) || !reachable(m.JWKS, p.loopback) {
		return nil, errEndpoint
	}
	m.AuthStyle = oauth2.AuthStyleInHeader // also what a provider has that names no method
	if p.Key != nil || len(m.Methods) > 0 && !slices.Contains(m.Methods, "client_secret_basic") {
		m.AuthStyle = oauth2.AuthStyleInParams
	}
	m.Keys = oidc.NewRemoteKeySet(p.client(context.Background()), m.JWKS)
	return m, nil
}

// client hands our HTTP client to both libraries.
func (p *provider) client(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, p.http)
}
