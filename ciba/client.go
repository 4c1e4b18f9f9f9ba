package ciba

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
)

// GrantCIBA is the grant type of CIBA Core section 10.1.
const GrantCIBA = "urn:openid:params:grant-type:ciba"

// Client authentication methods that we offer (OpenID Connect Core section 9).
const (
	SecretBasic   = "client_secret_basic"
	SecretPost    = "client_secret_post"
	PrivateKeyJWT = "private_key_jwt"
)

// authMethods is what is on everywhere. It is advertised; beside it, only certificates can be registered.
var authMethods = []string{SecretBasic, SecretPost, PrivateKeyJWT}

// MinSecret is the least length of a secret that is given by hand outside dev mode.
const MinSecret = 22

// maxPollHold is the longest time that a poll may be held (REQ-191).
const maxPollHold = 25

// Client is what this door keeps about an agent, in [approvals.Agent.Client].
type Client struct {
	V            int      `json:"v"`
	AuthMethod   string   `json:"token_endpoint_auth_method"`
	Secrets      []Secret `json:"secrets,omitempty"`
	GrantTypes   []string `json:"grant_types"`
	DeliveryMode string   `json:"backchannel_token_delivery_mode"`
	NotifyURL    string   `json:"backchannel_client_notification_endpoint,omitempty"`
	IDTokenAlg   string   `json:"id_token_signed_response_alg"`
	PollHold     *int     `json:"poll_hold_seconds,omitempty"` // for polls without Prefer; absent: our default

	JWKS          json.RawMessage `json:"jwks,omitempty"`
	JWKSURI       string          `json:"jwks_uri,omitempty"`
	AssertionAlg  string          `json:"token_endpoint_auth_signing_alg,omitempty"` // absent: any that we advertise
	Audience      string          `json:"assertion_audience,omitempty"`              // strict or compat
	AssertionLife int             `json:"assertion_lifetime_seconds,omitempty"`      // absent: 300

	RequestAlg  string       `json:"backchannel_authentication_request_signing_alg,omitempty"`
	HintIssuers []hintIssuer `json:"login_hint_token_issuers,omitempty"`
	PureOAuth   bool         `json:"pure_oauth,omitempty"` // openid may be left out (REQ-088)
	UserCode    bool         `json:"backchannel_user_code_parameter,omitempty"`
	HintPrivacy string       `json:"hint_privacy,omitempty"` // blind (REQ-282)
	EnforceACR  bool         `json:"acr_enforce,omitempty"`  // acr_values out of reach are refused (REQ-131)
	BindingCode string       `json:"binding_code,omitempty"` // enter: people type what the agent shows; absent: they compare

	DPoPBound        bool `json:"dpop_bound_access_tokens,omitempty"` // REQ-039
	DPoPNonce        bool `json:"dpop_nonce_required,omitempty"`      // its proofs must contain our nonce (REQ-202)
	CertificateBound bool `json:"tls_client_certificate_bound_access_tokens,omitempty"`
	certificateSubject

	OwnScopes []string `json:"client_credentials_scopes,omitempty"` // what it may have without a person

	Serves []string `json:"serves_audiences,omitempty"` // it is these resource servers, and may introspect their tokens

	Registration *registration `json:"registration,omitempty"` // of a client that registered itself

	keys   []clientKey // of JWKS
	barred bool        // by the profile of this installation
}

// Secret is the keyed hash of a client secret.
type Secret struct {
	MAC     []byte    `json:"mac"`
	Expires time.Time `json:"expires,omitzero"` // zero: never. Set for the secret that a rotation replaces.
}

// ClientOf reads what this door keeps about an agent.
func ClientOf(a *approvals.Agent) (*Client, error) {
	c := &Client{}
	if err := json.Unmarshal(a.Client, c); err != nil {
		return nil, fmt.Errorf("read client %s: %w", a.ID, err)
	}
	return c, nil
}

// Keep writes c into the agent's record.
func (c *Client) Keep(a *approvals.Agent) error {
	c.V = 1
	raw, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("keep client %s: %w", a.ID, err)
	}
	a.Client = raw
	return nil
}

// NewSecret makes a client secret of 256 bits from letters, digits, - and _, which every encoding leaves alone.
func NewSecret() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// NewClientID makes a client_id.
func NewClientID() string { return "agt_" + rand.Text()[:16] }

// SetSecret gives the agent a new secret. The old one keeps working until the given time; at the zero time it is over
// at once.
func SetSecret(a *approvals.Agent, root *keys.Root, secret string, oldUntil time.Time) error {
	c, err := ClientOf(a)
	if err != nil {
		return err
	}
	if c.AuthMethod != SecretBasic && c.AuthMethod != SecretPost {
		return &approvals.FieldError{Field: "client_secret", Rule: "must be absent with " + c.AuthMethod}
	}
	if err := checkSecret(secret); err != nil {
		return err
	}
	fresh := Secret{MAC: root.MAC(keys.LabelClient, string(a.ID), secret)}
	if oldUntil.IsZero() || len(c.Secrets) == 0 {
		c.Secrets = []Secret{fresh}
		return c.Keep(a)
	}
	old := c.Secrets[0]
	old.Expires = oldUntil
	c.Secrets = []Secret{fresh, old}
	return c.Keep(a)
}

// invisible is anything but %x21-7E.
func invisible(c rune) bool { return c < 0x21 || c > 0x7e }

func checkSecret(secret string) error {
	if secret == "" || len(secret) > 256 || strings.ContainsFunc(secret, invisible) {
		return &approvals.FieldError{Field: "client_secret", Rule: "must have 1 to 256 visible ASCII characters"}
	}
	return nil
}

// matches compares a secret with all that are valid now, in a time that does not depend on them.
func (c *Client) matches(root *keys.Root, id, secret string, now time.Time) bool {
	ok := false
	for _, s := range c.Secrets {
		good := root.Verify(s.MAC, keys.LabelClient, id, secret)
		ok = ok || good && (s.Expires.IsZero() || now.Before(s.Expires))
	}
	return ok
}

func (c *Client) mayUse(grant string) bool { return slices.Contains(c.GrantTypes, grant) }

// Metadata is RFC 7591 client metadata with the members of CIBA Core section 4 and our own, as fixtures and
// `agent add --file` give them. Members that we do not know are ignored (RFC 7591 section 2).
type Metadata struct {
	ClientID     string   `json:"client_id"`
	ClientSecret string   `json:"client_secret"`
	ClientName   string   `json:"client_name"`
	Operator     string   `json:"operator"` // ours: who runs it, as people read it
	AuthMethod   string   `json:"token_endpoint_auth_method"`
	GrantTypes   []string `json:"grant_types"`
	Scope        string   `json:"scope"`
	DeliveryMode string   `json:"backchannel_token_delivery_mode"`
	NotifyURL    string   `json:"backchannel_client_notification_endpoint"`
	UserCode     bool     `json:"backchannel_user_code_parameter"`
	RequestAlg   string   `json:"backchannel_authentication_request_signing_alg"`
	IDTokenAlg   string   `json:"id_token_signed_response_alg"`
	Types        []string `json:"authorization_details_types"`
	Generic      bool     `json:"generic_types"` // ours
	Audiences    []string `json:"allowed_audiences"`
	PollHold     *int     `json:"poll_hold_seconds"`
	BindingCode  string   `json:"binding_code"` // ours: compare or enter

	JWKS              json.RawMessage `json:"jwks"`
	JWKSURI           string          `json:"jwks_uri"`
	AssertionAlg      string          `json:"token_endpoint_auth_signing_alg"`
	AssertionAudience string          `json:"assertion_audience"`         // ours: strict or compat
	AssertionLife     int             `json:"assertion_lifetime_seconds"` // ours
	HintIssuers       []hintIssuer    `json:"login_hint_token_issuers"`   // ours
	HintPrivacy       string          `json:"hint_privacy"`               // ours: blind
	PureOAuth         bool            `json:"pure_oauth"`                 // ours
	EnforceACR        bool            `json:"acr_enforce"`                // ours
	DPoPBound         bool            `json:"dpop_bound_access_tokens"`
	DPoPNonce         bool            `json:"dpop_nonce_required"` // ours
	SubjectType       string          `json:"subject_type"`
	CertificateBound  bool            `json:"tls_client_certificate_bound_access_tokens"`
	OwnScopes         []string        `json:"client_credentials_scopes"` // ours
	Serves            []string        `json:"serves_audiences"`          // ours
	certificateSubject

	loopback  bool // dev mode: the notification endpoint may be on this machine
	defaulted bool // assertion_audience was not given
}

// ParseMetadata reads and checks one client. types are the authorization_details types of this server. What is not
// given gets our default: client_secret_post, the CIBA grant, poll mode, ES256, assertions for issuer or endpoints.
func ParseMetadata(raw []byte, types approvals.Types) (Metadata, error) {
	return parseMetadata(raw, types, false)
}

// ParseDevMetadata is [ParseMetadata] for dev mode: notification endpoints may be on this machine, and http there.
func ParseDevMetadata(raw []byte, types approvals.Types) (Metadata, error) {
	return parseMetadata(raw, types, true)
}

func parseMetadata(raw []byte, types approvals.Types, loopback bool) (Metadata, error) {
	m := Metadata{AuthMethod: SecretPost, GrantTypes: []string{GrantCIBA}, DeliveryMode: ModePoll, IDTokenAlg: "ES256",
		BindingCode: codeCompare, loopback: loopback}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("read client metadata: %w", err)
	}
	if m.AssertionAudience == "" {
		m.AssertionAudience, m.defaulted = audienceCompat, true
	}
	if m.ClientName == "" {
		m.ClientName = m.ClientID
	}
	return m, m.validate(types)
}

func (m Metadata) validate(types approvals.Types) error {
	rules := []struct {
		ok          bool
		field, rule string
	}{
		{slices.Contains(authMethods, m.AuthMethod) || m.byCertificate(), "token_endpoint_auth_method",
			"must be private_key_jwt, tls_client_auth, self_signed_tls_client_auth, client_secret_basic or client_secret_post"},
		{m.HintPrivacy == "" || m.HintPrivacy == privacyBlind, "hint_privacy", "must be blind or absent"},
		{!m.UserCode || m.HintPrivacy == "", "backchannel_user_code_parameter", "must be false with hint_privacy blind"},
		{m.SubjectType == "" || m.SubjectType == "public", "subject_type", "must be public or absent"}, // REQ-040
		{m.IDTokenAlg == "ES256", "id_token_signed_response_alg", "must be ES256"},
		{m.BindingCode == codeCompare || m.BindingCode == codeEnter, "binding_code", "must be compare or enter"},
		{m.PollHold == nil || *m.PollHold >= 0 && *m.PollHold <= maxPollHold, "poll_hold_seconds", "must be 0 to 25"},
		{len(m.Serves) <= 100, "serves_audiences", "must not hold more than 100 values"},
		{!slices.ContainsFunc(m.Serves, badAudience), "serves_audiences", "must hold 1 to 512 visible characters each"},
	}
	for _, r := range rules {
		if !r.ok {
			return &approvals.FieldError{Field: r.field, Rule: r.rule}
		}
	}
	if err := m.checkPermissions(types); err != nil {
		return err
	}
	for _, check := range []func() error{m.checkNotify, m.checkKeys, m.checkRequestAlg, m.checkHintIssuers,
		m.checkAssertions, m.checkCertificates, m.checkOwnScopes} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// checkPermissions is what scope, types and audiences must fulfil, whoever sets them.
func (m Metadata) checkPermissions(types approvals.Types) error {
	switch {
	case len(m.Audiences) > 100:
		return &approvals.FieldError{Field: "allowed_audiences", Rule: "must not hold more than 100 values"}
	case !validScope(m.Scope):
		return &approvals.FieldError{Field: "scope", Rule: "must be scope tokens separated by spaces"}
	case slices.ContainsFunc(m.Audiences, badAudience):
		return &approvals.FieldError{Field: "allowed_audiences", Rule: "must hold 1 to 512 visible characters each"}
	}
	for i, name := range m.Types {
		if _, known := types[name]; !known {
			field := fmt.Sprintf("authorization_details_types[%d]", i)
			return &approvals.FieldError{Field: field, Rule: "must be a type that this server knows: " + strings.Join(types.Names(), ", ")}
		}
	}
	return nil
}

// UsesSecret reports whether the client authenticates with a secret.
func (m Metadata) UsesSecret() bool { return m.AuthMethod == SecretBasic || m.AuthMethod == SecretPost }

func badAudience(s string) bool {
	return s == "" || len(s) > 512 || strings.ContainsFunc(s, invisible)
}

// Agent makes the record of a client. A client_secret is kept as its keyed hash; without one, a client that
// [Metadata.UsesSecret] gets one by [SetSecret].
func (m Metadata) Agent(root *keys.Root, now time.Time) (*approvals.Agent, error) {
	a := &approvals.Agent{ID: approvals.AgentID(m.ClientID), Name: m.ClientName, Operator: m.Operator, Types: m.Types, Generic: m.Generic,
		Scopes: scopeTokens(m.Scope), Audiences: m.Audiences, CreatedAt: now}
	if err := a.Validate(); err != nil {
		return nil, err
	}
	c := &Client{AuthMethod: m.AuthMethod, GrantTypes: m.GrantTypes, DeliveryMode: m.DeliveryMode, NotifyURL: m.NotifyURL,
		IDTokenAlg: m.IDTokenAlg, PollHold: m.PollHold, JWKS: squeeze(m.JWKS), JWKSURI: m.JWKSURI,
		AssertionAlg: m.AssertionAlg, Audience: m.AssertionAudience, AssertionLife: m.AssertionLife,
		RequestAlg: m.RequestAlg, HintIssuers: m.HintIssuers,
		UserCode: m.UserCode, HintPrivacy: m.HintPrivacy, PureOAuth: m.PureOAuth, EnforceACR: m.EnforceACR, BindingCode: m.BindingCode,
		DPoPBound: m.DPoPBound, DPoPNonce: m.DPoPNonce, CertificateBound: m.CertificateBound, certificateSubject: m.certificateSubject,
		OwnScopes: m.OwnScopes, Serves: m.Serves}
	if err := c.Keep(a); err != nil {
		return nil, err
	}
	if m.ClientSecret == "" {
		return a, nil
	}
	return a, SetSecret(a, root, m.ClientSecret, time.Time{})
}
