package client

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Token is the answer that a person's approval brings. What it says besides the access token has been verified: Claims
// and Disclosure come from tokens with the server's signature.
type Token struct {
	AccessToken  string          `json:"access_token"`
	TokenType    string          `json:"token_type"` // Bearer or DPoP
	ExpiresIn    int             `json:"expires_in"` // seconds
	Scope        string          `json:"scope,omitempty"`
	IDToken      string          `json:"id_token,omitempty"`
	RefreshToken string          `json:"refresh_token,omitempty"`
	Details      json.RawMessage `json:"authorization_details,omitempty"` // as granted, which may be less than was asked

	Claims     *Claims     `json:"claims,omitempty"`     // nil without an ID token
	Disclosure *Disclosure `json:"disclosure,omitempty"` // nil if the server does not say

	// Difference is what the server says beside a token for less than was asked. Details is what counts.
	Difference
}

// Claims are what the ID token says about the person (OpenID Connect Core section 2).
type Claims struct {
	Subject  string   `json:"sub"`
	ACR      string   `json:"acr,omitempty"`
	AMR      []string `json:"amr,omitempty"`
	AuthTime int64    `json:"auth_time,omitempty"` // seconds since 1970
}

// Disclosure names the words that the person read before saying yes, by their SHA-256 digest.
type Disclosure struct {
	Digest   string `json:"digest"`
	Template string `json:"template"`
	Version  int    `json:"version"`
	Locale   string `json:"locale"`
}

// String keeps the tokens out of anything that prints.
func (t Token) String() string { return t.TokenType + " token for " + t.Scope }

// LogValue keeps the tokens out of logs.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// tokenAnswer is the answer of RFC 6749 section 5.1, OpenID Connect Core section 3.1.3.3 and RFC 9396 section 7.
type tokenAnswer struct {
	AccessToken  string          `json:"access_token"`
	TokenType    string          `json:"token_type"`
	ExpiresIn    seconds         `json:"expires_in"`
	Scope        string          `json:"scope"`
	IDToken      string          `json:"id_token"`
	RefreshToken string          `json:"refresh_token"`
	Details      json.RawMessage `json:"authorization_details"`
	Decision     string          `json:"decision"`
}

// Clocks may differ by this much.
const skew = time.Minute

func bad(rule string) error { return fmt.Errorf("%w: %s", ErrBadToken, rule) }

// accept checks a token response before anybody uses it.
func (c *Client) accept(ctx context.Context, w *Waiting, a tokenAnswer) (*Token, error) {
	t := &Token{AccessToken: a.AccessToken, TokenType: a.TokenType, ExpiresIn: int(a.ExpiresIn.duration() / time.Second),
		Scope: a.Scope, IDToken: a.IDToken, RefreshToken: a.RefreshToken, Details: a.Details,
		Difference: Difference{Decision: a.Decision}}
	kind := "Bearer"
	if c.dpop != nil {
		kind = "DPoP"
	}
	switch {
	case a.AccessToken == "":
		return nil, bad("the access token is missing")
	case !strings.EqualFold(a.TokenType, kind): // a token that anybody could use is not what was asked for
		return nil, bad("the token type is not " + kind)
	case a.IDToken == "" && slices.Contains(strings.Fields(a.Scope), "openid"):
		return nil, bad("the ID token is missing")
	}
	t.TokenType = kind
	if err := c.readIDToken(ctx, w, t); err != nil {
		return nil, err
	}
	if err := c.readAccessToken(ctx, t); err != nil {
		return nil, err
	}
	return t, nil
}

// idClaims are what we look at of an ID token.
type idClaims struct {
	Claims
	Issuer    string   `json:"iss"`
	Audience  audience `json:"aud"`
	Party     string   `json:"azp"`
	Expires   float64  `json:"exp"`
	Issued    float64  `json:"iat"`
	AtHash    string   `json:"at_hash"`
	AuthReqID string   `json:"urn:openid:params:jwt:claim:auth_req_id"`
}

// readIDToken is OpenID Connect Core section 3.1.3.7, with at_hash and the claim of CIBA section 10.3.1 where they are.
func (c *Client) readIDToken(ctx context.Context, w *Waiting, t *Token) error {
	if t.IDToken == "" {
		return nil
	}
	j, err := readJWS(t.IDToken)
	if err != nil {
		return bad("the ID token " + err.Error())
	}
	if good, err := c.verify(ctx, j); err != nil {
		return fmt.Errorf("verify ID token: %w", err)
	} else if !good {
		return bad("the ID token is not signed by the server")
	}
	var claims idClaims
	if err := json.Unmarshal(j.payload, &claims); err != nil {
		return bad("the ID token's claims cannot be read")
	}
	if err := c.checkID(&claims, w.Handle, t.AccessToken, j.header.Alg, time.Now()); err != nil {
		return bad("the ID token " + err.Error())
	}
	t.Claims = &claims.Claims
	return nil
}

func (c *Client) checkID(k *idClaims, handle, access, alg string, now time.Time) error {
	at := float64(now.Unix())
	switch {
	case k.Issuer != c.config.Issuer:
		return errors.New("has another issuer")
	case !slices.Contains(k.Audience, c.config.ID):
		return errors.New("is for another client")
	case (len(k.Audience) > 1 || k.Party != "") && k.Party != c.config.ID:
		return errors.New("was made for another party")
	case k.Subject == "":
		return errors.New("has no subject")
	case at > k.Expires+skew.Seconds():
		return errors.New("has expired")
	case k.Issued > at+skew.Seconds():
		return errors.New("is from the future")
	case k.AtHash != "" && k.AtHash != atHash(alg, access):
		return errors.New("belongs to another access token")
	case k.AuthReqID != "" && subtle.ConstantTimeCompare([]byte(k.AuthReqID), []byte(handle)) != 1:
		return errors.New("belongs to another request")
	}
	return nil
}

// atHash is the left half of the access token's hash, which is that of the ID token's alg (OpenID Connect Core section
// 3.1.3.6): SHA-512 for Ed25519, SHA-256 for the others.
func atHash(alg, access string) string {
	if alg == algEdDSA {
		sum := sha512.Sum512([]byte(access))
		return base64.RawURLEncoding.EncodeToString(sum[:32])
	}
	sum := sha256.Sum256([]byte(access))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// accessClaims are what we look at of an access token (RFC 9068).
type accessClaims struct {
	Disclosure *Disclosure `json:"disclosure"`
	Confirm    struct {
		JKT string `json:"jkt"`
	} `json:"cnf"`
}

// readAccessToken looks into a token that is a JWT of the server's. It is meant for the API, so everything else is left
// alone and nothing of it is required; but a token that is bound to a key that is not ours is of no use.
func (c *Client) readAccessToken(ctx context.Context, t *Token) error {
	j, err := readJWS(t.AccessToken)
	if err != nil || !strings.EqualFold(strings.TrimPrefix(j.header.Typ, "application/"), "at+jwt") {
		return nil
	}
	var claims accessClaims
	good, err := c.verify(ctx, j)
	if err != nil || !good || json.Unmarshal(j.payload, &claims) != nil {
		return nil
	}
	if c.dpop != nil && claims.Confirm.JKT != c.dpop.thumbprint {
		return bad("the access token is bound to another key")
	}
	t.Disclosure = claims.Disclosure
	return nil
}

// audience is a string or an array of strings (RFC 7519 section 4.1.3).
type audience []string

// UnmarshalJSON takes both forms.
func (a *audience) UnmarshalJSON(raw []byte) error {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(raw, (*[]string)(a))
}
