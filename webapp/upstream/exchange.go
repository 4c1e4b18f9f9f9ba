package upstream

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/oauth2"

	"assent/approvals"
	"assent/approvals/keys"
)

// finishTime bounds everything that an answer makes us ask of a provider: the page must come before browsers and proxies
// give up.
const finishTime = 8 * time.Second

// subject is who a provider says somebody is, once everything about it was checked.
type subject struct {
	flow
	account  string // keyed hash of issuer and sub
	label    string // how the person knows the account
	level    approvals.Level
	amr      []string
	authTime time.Time // zero: the provider does not say
}

// identify turns an answer into who it is about.
func (k *Keeper) identify(ctx context.Context, p *provider, bound string, b Back) (*subject, error) {
	f, err := k.open(p, bound, b)
	if err != nil {
		return nil, err
	}
	if err := k.unspent(ctx, f); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, finishTime)
	defer cancel()
	m, err := p.metadata(ctx)
	if err != nil {
		return nil, err
	}
	if m.NamesIss && b.Iss == "" {
		return nil, refuse(ErrRefused, "issuer")
	}
	tokens, err := p.exchange(ctx, m, b.Code, k.verifier(f))
	if err != nil {
		return nil, err
	}
	c, err := p.verify(ctx, m, tokens, expected{f, k.nonce(f), k.Now()})
	if err != nil {
		return nil, err
	}
	return &subject{flow: f, account: k.Root.Name(keys.LabelUpstream, "account", p.Issuer, c.Subject), label: c.label(),
		level: p.level(c.ACR, c.AMR), amr: registered(c.AMR), authTime: c.AuthTime.time()}, nil
}

// exchange trades a code for tokens (OpenID Connect Core section 3.1.3).
func (p *provider) exchange(ctx context.Context, m *metadata, code, verifier string) (*oauth2.Token, error) {
	options := []oauth2.AuthCodeOption{oauth2.VerifierOption(verifier)}
	if p.Key != nil {
		assertion, err := p.assertion(m)
		if err != nil {
			return nil, fmt.Errorf("sign client assertion: %w", err)
		}
		options = append(options, oauth2.SetAuthURLParam("client_assertion_type", assertionType),
			oauth2.SetAuthURLParam("client_assertion", assertion))
	}
	tokens, err := p.oauth(m).Exchange(p.client(ctx), code, options...)
	if refused := (*oauth2.RetrieveError)(nil); errors.As(err, &refused) {
		return nil, turnedDown(refused)
	}
	if err != nil {
		return nil, refuse(ErrDown, "token")
	}
	return tokens, nil
}

// turnedDown tells a code that is not good from our own registration that is not, and both from a provider in trouble.
// Its words stay with it.
func turnedDown(r *oauth2.RetrieveError) error {
	switch {
	case r.Response != nil && (r.Response.StatusCode >= 500 || r.Response.StatusCode == http.StatusTooManyRequests):
		return refuse(ErrDown, "token")
	case r.ErrorCode == "invalid_client" || r.ErrorCode == "unauthorized_client":
		return refuse(ErrRefused, "client")
	}
	return refuse(ErrRefused, "code")
}

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assertionLife is how long a proof of ours is good.
const assertionLife = time.Minute

// assertion proves who we are (private_key_jwt, OpenID Connect Core section 9). Its audience is the issuer alone: an
// endpoint is what a provider says of itself, and another one could say it too.
func (p *provider) assertion(m *metadata) (string, error) {
	options := (&jose.SignerOptions{}).WithType("JWT")
	if p.KeyID != "" {
		options = options.WithHeader("kid", p.KeyID)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: signingAlg(p.Key, m.Algs), Key: p.Key}, options)
	if err != nil {
		return "", err
	}
	now := p.now()
	return jwt.Signed(signer).Claims(jwt.Claims{Issuer: p.ClientID, Subject: p.ClientID, Audience: jwt.Audience{p.Issuer},
		ID: rand.Text(), IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(assertionLife))}).Serialize()
}

// signingAlg is the best algorithm that the key fits and the provider takes.
func signingAlg(key crypto.Signer, takes []string) jose.SignatureAlgorithm {
	switch key.(type) {
	case ed25519.PrivateKey:
		return jose.EdDSA
	case *ecdsa.PrivateKey:
		return jose.ES256
	}
	if len(takes) > 0 && !slices.Contains(takes, string(jose.PS256)) {
		return jose.RS256
	}
	return jose.PS256
}
