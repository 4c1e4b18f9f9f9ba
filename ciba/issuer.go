package ciba

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/approvals"
)

// tokenLife is the life of access token and ID token (REQ-241).
const tokenLife = 300 * time.Second

// issuer makes tokens out of decisions.
type issuer struct {
	name     string // iss
	audience string // aud of access tokens whose request named none
	keys     *Keyring
}

// grant is what token and response say: what was approved, or the part that the agent collects, for its audience.
type grant struct {
	scope    []string
	audience []string
	details  approvals.Details
	cnf      *confirmation
	refresh  string            // the refresh token that goes with it, if any
	also     []approvals.Write // what is kept about that token
}

// confirmation is the cnf claim of RFC 7800: whoever shows the token must hold this key. A nil one is a bearer token.
type confirmation struct {
	JKT string `json:"jkt,omitempty"`      // thumbprint of a DPoP key (RFC 9449 section 6.1)
	X5T string `json:"x5t#S256,omitempty"` // thumbprint of a certificate (RFC 8705 section 3.1)
}

// tokenType is the token_type of RFC 6749 section 7.1.
func (c *confirmation) tokenType() string {
	if c != nil && c.JKT != "" {
		return "DPoP"
	}
	return "Bearer"
}

// about is the common part of both tokens: the approval, as the person gave it (REQ-236, 243).
type about struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Issued   int64    `json:"iat"`
	Expires  int64    `json:"exp"`
	AuthTime int64    `json:"auth_time,omitempty"` // when the person signed in on the deciding device
	ACR      string   `json:"acr,omitempty"`       // what was reached, never what was asked (REQ-130)
	AMR      []string `json:"amr,omitempty"`       // RFC 8176
}

// accessClaims are those of RFC 9068 section 2.2, RFC 8693 section 4.1 (act), RFC 9396 section 9.1 and our own txn and
// disclosure. A token that stands for no approval has neither act nor these two. No hint, address or binding message is in them (REQ-240).
type accessClaims struct {
	about
	Audience   audience        `json:"aud"`
	ClientID   string          `json:"client_id"`
	ID         string          `json:"jti"`
	Scope      string          `json:"scope,omitempty"`
	Actor      actor           `json:"act,omitzero"`
	Details    details         `json:"authorization_details,omitempty"`
	Txn        string          `json:"txn,omitempty"` // the request
	Disclosure shownDisclosure `json:"disclosure,omitzero"`
	Confirm    *confirmation   `json:"cnf,omitempty"`
}

type actor struct {
	Subject string `json:"sub"`
}

// shownDisclosure says which words the person read, by their digest.
type shownDisclosure struct {
	Digest   string `json:"digest"`
	Template string `json:"template"`
	Version  int    `json:"version"`
	Locale   string `json:"locale"`
}

// idClaims are those of OpenID Connect Core section 2.
type idClaims struct {
	about
	Audience string `json:"aud"`
	AtHash   string `json:"at_hash"`
}

// audience is a string when there is one value, as most resource servers expect.
type audience []string

// MarshalJSON follows RFC 7519 section 4.1.3.
func (a audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}

// UnmarshalJSON follows RFC 7519 section 4.1.3.
func (a *audience) UnmarshalJSON(raw []byte) error {
	var one string
	if err := json.Unmarshal(raw, &one); err == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(raw, (*[]string)(a))
}

// details are the agent's own bytes.
type details []json.RawMessage

// tokenResponse is the answer of RFC 6749 section 5.1, OpenID Connect Core section 3.1.3.3 and RFC 9396 section 7.
type tokenResponse struct {
	AccessToken string  `json:"access_token"`
	TokenType   string  `json:"token_type"`
	ExpiresIn   int     `json:"expires_in"`
	Scope       string  `json:"scope"`
	IDToken     string  `json:"id_token,omitempty"`
	Refresh     string  `json:"refresh_token,omitempty"`
	Details     details `json:"authorization_details,omitempty"`
	Decision    string  `json:"decision,omitempty"` // ours: narrowed, when less was approved than was asked
}

// respond signs the tokens of an approved request and writes the token response.
func (i *issuer) respond(r *approvals.Request, g grant, at time.Time) ([]byte, error) {
	key := i.keys.current()
	decision, err := subjectDecision(r)
	if err != nil {
		return nil, err
	}
	common := i.about(r, decision, at)
	access, err := i.accessToken(key, common, r, decision, g)
	if err != nil {
		return nil, fmt.Errorf("access token of %s: %w", r.ID, err)
	}
	out := tokenResponse{AccessToken: access, TokenType: g.cnf.tokenType(),
		ExpiresIn: int(common.Expires - common.Issued), Scope: strings.Join(g.scope, " "),
		Refresh: g.refresh, Details: rawDetails(g.details), Decision: decisionOf(r)}
	if slices.Contains(g.scope, "openid") {
		claims := idClaims{about: common, Audience: string(r.Agent), AtHash: atHash(access)}
		if out.IDToken, err = sign(key.idToken, claims); err != nil {
			return nil, fmt.Errorf("id token of %s: %w", r.ID, err)
		}
	}
	return literal(out)
}

func (i *issuer) about(r *approvals.Request, d *approvals.Decision, at time.Time) about {
	a := about{Issuer: i.name, Subject: string(r.Subject), Issued: at.Unix(), Expires: endOf(r, at).Unix(),
		ACR: d.Level.ACR(), AMR: d.AMR}
	if !d.AuthTime.IsZero() {
		a.AuthTime = d.AuthTime.Unix()
	}
	return a
}

// endOf is when a token ends that is issued now: nothing outlives the day until which the agent may come back. Once that
// day is over, an approval is good for one token like any other.
func endOf(r *approvals.Request, at time.Time) time.Time {
	end := at.Add(tokenLife)
	if at.Before(r.Until) && r.Until.Before(end) {
		return r.Until
	}
	return end
}

func (i *issuer) accessToken(key *signingKey, common about, r *approvals.Request, d *approvals.Decision,
	g grant) (string, error) {
	shown, err := shownTo(r, d)
	if err != nil {
		return "", err
	}
	aud := audience(g.audience)
	if len(aud) == 0 {
		aud = audience{i.audience}
	}
	return sign(key.accessToken, accessClaims{about: common, Audience: aud, ClientID: string(r.Agent), ID: newJTI(),
		Scope: strings.Join(g.scope, " "), Actor: actor{string(r.Agent)}, Details: rawDetails(g.details),
		Txn: string(r.ID), Disclosure: shown, Confirm: g.cnf})
}

// subjectDecision is the subject's own approval: sub, acr, amr and auth_time are never another approver's.
func subjectDecision(r *approvals.Request) (*approvals.Decision, error) {
	for i := range r.Decisions {
		if d := &r.Decisions[i]; d.Approve && d.By == r.Subject {
			return d, nil
		}
	}
	return nil, errors.New("approved without the subject's decision")
}

// decisionNarrowed is the decision of a person who has approved less than was asked (AO-106, 320).
const decisionNarrowed = "narrowed"

// decisionOf is empty for an approval of all that was asked, about which there is nothing to add.
func decisionOf(r *approvals.Request) string {
	if r.Narrowed() {
		return decisionNarrowed
	}
	return ""
}

// shownTo says what was on the screen when the person decided. What was asked was not, if less was approved.
func shownTo(r *approvals.Request, d *approvals.Decision) (shownDisclosure, error) {
	for _, s := range r.Disclosures {
		if s.Locale == d.Locale && d.Choice == "" {
			return shownDisclosure{d.Digest, s.Template, s.Version, s.Locale}, nil
		}
	}
	s, err := approvals.ParseCanonical([]byte(d.Disclosure))
	return shownDisclosure{d.Digest, s.Template, s.Version, s.Locale}, err
}

func rawDetails(list approvals.Details) details {
	var out details
	for _, d := range list {
		out = append(out, d.Raw)
	}
	return out
}

// newJTI makes a token id of 128 bits.
func newJTI() string {
	b := make([]byte, 16)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// atHash is the left half of the token's SHA-256 (OpenID Connect Core section 3.1.3.6).
func atHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

func sign(signer compact, claims any) (string, error) {
	payload, err := literal(claims)
	if err != nil {
		return "", err
	}
	return signer.sign(payload)
}

// literal writes JSON without turning <, > and & into escapes, so that authorization_details stay the bytes that were
// shown and granted.
func literal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("write JSON: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
