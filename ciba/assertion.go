package ciba

import (
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"assent/approvals"
	"assent/approvals/keys"
)

// assertionType is the only client_assertion_type (RFC 7523 section 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assertionAlgs is what client assertions may be signed with (REQ-062). RS256 is for clients that are registered with
// exactly that, and is not advertised.
var assertionAlgs = []string{string(jose.PS256), string(jose.ES256), string(jose.EdDSA)}

const compatAlg = string(jose.RS256)

// Life of an assertion: what everybody may use, and the most that a client can be registered with.
const (
	assertionLife    = 300 * time.Second
	maxAssertionLife = time.Hour
)

// maxJTI bounds the id of an assertion or of a request object.
const maxJTI = 512

// offerAssertion reads a client assertion (RFC 7523 section 3) as far as it takes to know whose it claims to be. Nil is
// one that can be nobody's.
func offerAssertion(form *params) *proof {
	if form.get("client_assertion_type") != assertionType {
		return nil
	}
	s, err := readJWS(form.get("client_assertion"), append(slices.Clone(assertionAlgs), compatAlg))
	if err != nil {
		return nil
	}
	id, ok := s.claims.text("sub")
	if named := form.get("client_id"); !ok || id == "" || named != "" && named != id { // REQ-055
		return nil
	}
	return &proof{method: PrivateKeyJWT, id: id, assertion: s}
}

// asserts judges signature and claims of an assertion. It says no without saying why.
func (cs *clients) asserts(ctx context.Context, c *Client, p *proof, now time.Time) bool {
	signature := p.assertion.by(cs.keysOf(ctx, c, p.id, p.assertion.kid, p.assertion.alg))
	return signature && c.takesAlg(p.assertion.alg) && cs.claimsHold(c, p, now)
}

// takesAlg is REQ-062: exactly the registered algorithm, or any of ours.
func (c *Client) takesAlg(alg string) bool {
	if c.AssertionAlg != "" {
		return alg == c.AssertionAlg
	}
	return slices.Contains(assertionAlgs, alg)
}

// claimsHold is REQ-055 to 063, but for the single use of jti.
func (cs *clients) claimsHold(c *Client, p *proof, now time.Time) bool {
	claims := p.assertion.claims
	issuer, _ := claims.text("iss")
	jti, ok := claims.text("jti")
	expires, dated := claims.date("exp")
	switch {
	case issuer != p.id, !ok || jti == "" || len(jti) > maxJTI:
		return false
	case !slices.Contains([]string{"", "jwt", "client-authentication+jwt"}, p.assertion.typ): // REQ-063
		return false
	case !dated || !expires.After(now.Add(-pastSkew)) || expires.After(now.Add(c.assertionLife())): // REQ-059
		return false
	case claims.tooFarAhead(now):
		return false
	}
	return cs.meantForUs(c, claims.audience())
}

// leniently reports whether an assertion needed the compat policy. The log says so, for operators who want to end it.
func (cs *clients) leniently(p *proof) bool {
	if p.assertion == nil {
		return false
	}
	return p.assertion.alg == compatAlg || !sameIssuer(p.assertion.claims.audience()[0], cs.issuer)
}

func (c *Client) assertionLife() time.Duration {
	if c.AssertionLife == 0 {
		return assertionLife
	}
	return time.Duration(c.AssertionLife) * time.Second
}

// meantForUs is REQ-056 and 057: one audience, which is the issuer with or without trailing slash, or for clients with
// the compat policy one of our endpoints.
func (cs *clients) meantForUs(c *Client, aud []string) bool {
	if len(aud) != 1 {
		return false
	}
	return sameIssuer(aud[0], cs.issuer) || c.Audience == audienceCompat && slices.Contains(cs.endpoints, aud[0])
}

// endpointsOf lists the URLs that an assertion may be addressed to under the compat policy.
func endpointsOf(issuer string) (list []string) {
	root := strings.TrimSuffix(issuer, "/")
	for _, path := range [...]string{"/bc-authorize", "/token", "/oauth/token", "/introspect", "/revoke",
		"/requests/status", "/requests/cancel"} {
		list = append(list, root+path)
	}
	return list
}

// spend uses up the assertion's jti, on all endpoints alike (REQ-061). An assertion from before an unclean start may
// have been used, which nobody can tell any more: its client is asked to come again with a new one.
func (cs *clients) spend(p *proof, refusal error, now time.Time) error {
	issued, _ := p.assertion.claims.date("iat")
	if wait := cs.replay.unsure(issued, now); wait > 0 {
		return errTryLater.after(int(math.Ceil(wait.Seconds())))
	}
	expires, _ := p.assertion.claims.date("exp")
	jti, _ := p.assertion.claims.text("jti")
	name := cs.root.MAC(keys.LabelLookup, "ciba.assertion", p.id, jti)
	err := cs.replay.use([replaySize]byte(name[len(name)-replaySize:]), expires.Add(pastSkew), now)
	if errors.Is(err, errReplayed) {
		return refusal
	}
	return err
}

var errTryLater = &fault{status: http.StatusServiceUnavailable, code: "temporarily_unavailable",
	text: "Assertions cannot be checked for reuse at the moment. Come again with a new one.", retry: 1}

// audience policies of client assertions.
const (
	audienceStrict = "strict"
	audienceCompat = "compat"
)

// checkAssertions is what the members about assertions must fulfil (REQ-028, 062).
func (m Metadata) checkAssertions() error {
	keyed := m.AuthMethod == PrivateKeyJWT
	compat := m.AssertionAudience == audienceCompat
	life := time.Duration(m.AssertionLife) * time.Second
	for _, r := range []struct {
		ok          bool
		field, rule string
	}{
		{compat || m.AssertionAudience == audienceStrict, "assertion_audience", "must be strict or compat"},
		{m.AssertionAlg == "" || slices.Contains(assertionAlgs, m.AssertionAlg) || m.AssertionAlg == compatAlg && compat,
			"token_endpoint_auth_signing_alg", "must be PS256, ES256 or EdDSA, or RS256 with assertion_audience compat"},
		{m.AssertionAlg == "" || keyed, "token_endpoint_auth_signing_alg", "is for private_key_jwt only"},
		{m.AssertionLife == 0 || life >= time.Minute && life <= maxAssertionLife && (compat || life <= assertionLife),
			"assertion_lifetime_seconds", "must be 60 to 300, or to 3600 with assertion_audience compat"},
		{!keyed || m.ClientSecret == "", "client_secret", "must be absent with private_key_jwt"},
		{m.hasKeys() || !keyed, "jwks", "or jwks_uri is required"},
	} {
		if !r.ok {
			return &approvals.FieldError{Field: r.field, Rule: r.rule}
		}
	}
	return nil
}
