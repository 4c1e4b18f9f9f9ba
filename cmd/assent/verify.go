package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// verifiedToken is what an API learns from an access token of ours.
type verifiedToken struct {
	jwt.Claims
	ClientID   string          `json:"client_id"`
	Scope      string          `json:"scope"`
	ACR        string          `json:"acr"`
	AMR        []string        `json:"amr"`
	Txn        string          `json:"txn"`
	Details    json.RawMessage `json:"authorization_details"`
	Disclosure struct {
		Digest   string `json:"digest"`
		Template string `json:"template"`
		Version  int    `json:"version"`
		Locale   string `json:"locale"`
	} `json:"disclosure"`
}

// verifier checks access tokens as a protected API would: with the issuer's metadata and keys, and nothing else.
type verifier struct {
	issuer string
	keys   jose.JSONWebKeySet
}

// newVerifier reads issuer and keys from a discovery document.
func newVerifier(ctx context.Context, discovery string) (*verifier, error) {
	var metadata struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := getJSON(ctx, discovery, &metadata); err != nil {
		return nil, err
	}
	v := &verifier{issuer: metadata.Issuer}
	if err := getJSON(ctx, metadata.JWKSURI, &v.keys); err != nil {
		return nil, err
	}
	return v, nil
}

func getJSON(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s: %s", url, resp.Status)
	}
	return json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(into)
}

// check verifies signature, type, issuer, audience and times (RFC 9068 section 4).
func (v *verifier) check(token, audience string, now time.Time) (verifiedToken, error) {
	var out verifiedToken
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return out, fmt.Errorf("access token: %w", err)
	}
	if parsed.Headers[0].ExtraHeaders[jose.HeaderType] != "at+jwt" {
		return out, errors.New("access token: typ is not at+jwt")
	}
	keys := v.keys.Key(parsed.Headers[0].KeyID)
	if len(keys) != 1 {
		return out, errors.New("access token: key is not in the JWKS")
	}
	if err := parsed.Claims(keys[0].Key, &out); err != nil {
		return out, fmt.Errorf("access token: %w", err)
	}
	if out.Expiry == nil || out.IssuedAt == nil || out.ID == "" || out.Subject == "" {
		return out, errors.New("access token: exp, iat, jti and sub are required")
	}
	expected := jwt.Expected{Issuer: v.issuer, AnyAudience: jwt.Audience{audience}, Time: now}
	if err := out.ValidateWithLeeway(expected, 2*time.Second); err != nil {
		return out, fmt.Errorf("access token: %w", err)
	}
	return out, nil
}
