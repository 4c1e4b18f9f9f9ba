package upstream

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"
)

// algs is the closed list of signatures that an ID token may bear. "none" and those with shared secrets are not on it.
var algs = []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.EdDSA, jose.PS256, jose.PS384, jose.RS256, jose.RS384}

// leeway is how far a provider's clock may be off.
const leeway = time.Minute

// maxToken bounds an ID token.
const maxToken = 32 << 10

// expected is what an ID token is compared with.
type expected struct {
	flow  flow
	nonce string
	now   time.Time
}

// claims are what is read of an ID token beside what the library reads.
type claims struct {
	Subject  string  `json:"sub"`
	AZP      string  `json:"azp"`
	ACR      string  `json:"acr"`
	AMR      texts   `json:"amr"`
	AuthTime seconds `json:"auth_time"`

	Username string `json:"preferred_username"`
	Email    string `json:"email"`
	Name     string `json:"name"`
}

// verify checks an ID token by OpenID Connect Core section 3.1.3.7 and what was asked for with it. The library checks
// signature, issuer, audience and end.
func (p *provider) verify(ctx context.Context, m *metadata, tokens *oauth2.Token, want expected) (*claims, error) {
	raw, _ := tokens.Extra("id_token").(string)
	if raw == "" || len(raw) > maxToken {
		return nil, refuse(ErrRefused, "token")
	}
	if why := odd(raw); why != "" {
		return nil, refuse(ErrRefused, why)
	}
	keys := &watched{KeySet: m.Keys}
	checks := &oidc.Config{ClientID: p.ClientID, Now: func() time.Time { return want.now.Add(-leeway) }}
	for _, a := range algs {
		checks.SupportedSigningAlgs = append(checks.SupportedSigningAlgs, string(a))
	}
	token, err := oidc.NewVerifier(p.Issuer, keys, checks).Verify(ctx, raw)
	if err != nil {
		return nil, keys.explain(err)
	}
	c := &claims{}
	if err := token.Claims(c); err != nil {
		return nil, refuse(ErrRefused, "token")
	}
	if err := p.checkToken(token, c, tokens.AccessToken, want); err != nil {
		return nil, err
	}
	return c, p.checkWish(c, want)
}

// odd says what is wrong about the head of a token; "" when nothing is. An access or a logout token is signed with the
// same keys, and says what it is (RFC 8725 section 3.11).
func odd(raw string) string {
	parsed, err := jose.ParseSignedCompact(raw, algs)
	if err != nil || len(parsed.Signatures) != 1 {
		return "alg"
	}
	typ, has := parsed.Signatures[0].Header.ExtraHeaders[jose.HeaderType]
	if text, _ := typ.(string); has && !strings.EqualFold(text, "JWT") {
		return "type"
	}
	return ""
}

// checkToken is about the token itself.
func (p *provider) checkToken(token *oidc.IDToken, c *claims, access string, want expected) error {
	began := time.Unix(want.flow.At, 0)
	switch {
	case subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(want.nonce)) != 1:
		return refuse(ErrRefused, "nonce")
	case c.AZP != "" && c.AZP != p.ClientID, len(token.Audience) > 1 && c.AZP == "":
		return refuse(ErrRefused, "azp")
	case token.IssuedAt.Before(began.Add(-leeway)), token.IssuedAt.After(want.now.Add(leeway)):
		return refuse(ErrRefused, "iat")
	case token.AccessTokenHash != "" && token.VerifyAccessToken(access) != nil:
		return refuse(ErrRefused, "at_hash")
	case c.Subject == "" || len(c.Subject) > 255:
		return refuse(ErrRefused, "sub")
	case c.AuthTime.time().After(want.now.Add(leeway)):
		return refuse(ErrRefused, "auth_time")
	}
	return nil
}

// checkWish is about how the person signed in. What was asked for and is not in the token did not happen: nothing is
// taken for less in silence.
func (p *provider) checkWish(c *claims, want expected) error {
	if len(p.ACRValues) > 0 && !slices.Contains(p.ACRValues, c.ACR) {
		return refuse(ErrWeak, "acr")
	}
	oldest := time.Time{}
	switch {
	case want.flow.Fresh:
		oldest = time.Unix(want.flow.At, 0)
	case p.MaxAge > 0:
		oldest = want.now.Add(-p.MaxAge)
	}
	if !oldest.IsZero() && c.AuthTime.time().Before(oldest.Add(-leeway)) {
		return refuse(ErrWeak, "auth_time")
	}
	return nil
}

// watched remembers how a look at the keys failed: the library tells errors apart only in words.
type watched struct {
	oidc.KeySet
	err error
}

// VerifySignature implements [oidc.KeySet].
func (w *watched) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, err := w.KeySet.VerifySignature(ctx, jwt)
	w.err = err
	return payload, err
}

func (w *watched) explain(err error) error {
	switch {
	case errors.As(err, new(*oidc.TokenExpiredError)):
		return refuse(ErrRefused, "expired")
	case w.err != nil && errors.Unwrap(w.err) != nil: // only a set that was not fetched has a cause of its own
		return refuse(ErrDown, "keys")
	case w.err != nil:
		return refuse(ErrRefused, "signature")
	}
	return refuse(ErrRefused, "claims") // issuer, audience, form
}

// label is how the person knows the account: for their own page, never for us.
func (c *claims) label() string {
	for _, text := range []string{c.Username, c.Email, c.Name} {
		if text != "" {
			runes := []rune(text)
			return string(runes[:min(len(runes), maxLabel)])
		}
	}
	return ""
}

const maxLabel = 80

// texts are an array of strings. Anything else is none: some providers write one string.
type texts []string

// UnmarshalJSON implements [json.Unmarshaler].
func (t *texts) UnmarshalJSON(raw []byte) error {
	var list []string
	if json.Unmarshal(raw, &list) == nil {
		*t = list
	}
	return nil
}

// seconds is a NumericDate (RFC 7519 section 2), 0 when there is none.
type seconds int64

// UnmarshalJSON implements [json.Unmarshaler].
func (s *seconds) UnmarshalJSON(raw []byte) error {
	var f float64
	if err := json.Unmarshal(raw, &f); err != nil {
		return err
	}
	if f < 0 || f > math.MaxInt32*100 {
		return errDate
	}
	*s = seconds(f)
	return nil
}

var errDate = errors.New("not a date")

func (s seconds) time() time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(int64(s), 0)
}
