package ciba

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"assent/approvals"
)

// What a client may say about itself. Everything else, such as logos, and the leniencies that operators give, is as if
// it were not there (REQ-033): it is neither kept, nor shown, nor fetched. binding_code is one of ours that a client may
// choose: a code to type only makes it harder to approve.
var registrableMembers = []string{
	"client_name", "grant_types", "scope", "authorization_details_types", "allowed_audiences",
	"token_endpoint_auth_method", "token_endpoint_auth_signing_alg", "assertion_audience", "jwks", "jwks_uri",
	"id_token_signed_response_alg", "backchannel_token_delivery_mode", "backchannel_client_notification_endpoint",
	"backchannel_user_code_parameter", "binding_code",
	"backchannel_authentication_request_signing_alg", "dpop_bound_access_tokens",
	"tls_client_certificate_bound_access_tokens", "tls_client_auth_subject_dn", "tls_client_auth_san_dns",
	"tls_client_auth_san_uri", "tls_client_auth_san_ip", "tls_client_auth_san_email",
}

// serverMembers are ours to say: a change that brings one is refused (RFC 7592 section 2.2).
var serverMembers = []string{"registration_access_token", "registration_client_uri", "client_secret_expires_at",
	"client_id_issued_at"}

// maxClientName leaves room for what is put behind the name.
const maxClientName = 100 - len(selfRegistered)

// memberSet holds the members of one JSON object, but for those that are null, which is the same as absent.
type memberSet map[string]json.RawMessage

func badMetadata(text string) *fault { return refuse("invalid_client_metadata", text) }

// metadataFault says in OAuth's words which member breaks which rule (REQ-032).
func metadataFault(err error) error {
	var wrong *approvals.FieldError
	if errors.As(err, &wrong) {
		return badMetadata(plain("The member " + wrong.Error() + "."))
	}
	return err
}

// readMembers reads the body as strictly as every JSON from outside.
func (h *Handler) readMembers(c *call) (memberSet, error) {
	if kind, err := bodyType(c.r); err != nil || kind != typeJSON {
		return nil, badMetadata("The Content-Type must be application/json.")
	}
	body, err := readBody(c.w, c.r)
	if err != nil {
		return nil, err
	}
	if _, err := approvals.ParseJSON(body); err != nil {
		return nil, badMetadata(plain("The body " + err.Error() + "."))
	}
	var all memberSet
	if err := json.Unmarshal(body, &all); err != nil || all == nil {
		return nil, badMetadata("The body must be a JSON object.")
	}
	maps.DeleteFunc(all, func(_ string, raw json.RawMessage) bool { return string(raw) == "null" })
	return all, all.check()
}

// check is about members that we have no use for but that say more than can be ignored.
func (m memberSet) check() error {
	var uris, responses []string
	subjects := ""
	for _, known := range []struct {
		name string
		into any
	}{{"response_types", &responses}, {"subject_type", &subjects}} {
		if raw, ok := m[known.name]; ok && json.Unmarshal(raw, known.into) != nil {
			return badMetadata("The member " + known.name + " has the wrong type.")
		}
	}
	raw, redirects := m["redirect_uris"]
	switch {
	case redirects && json.Unmarshal(raw, &uris) != nil, slices.ContainsFunc(uris, badRedirect):
		return refuse("invalid_redirect_uri", "Every redirect URI must be an https URL without fragment.")
	case len(responses) > 0: // REQ-029
		return badMetadata("The member response_types must be empty: there is no authorization endpoint.")
	case subjects != "" && subjects != "public":
		return badMetadata("The member subject_type must be public.")
	}
	return m.checkStatement()
}

func badRedirect(s string) bool {
	u, err := url.Parse(s)
	return err != nil || u.Opaque != "" || !isHTTPS(s)
}

// checkStatement refuses software statements: their claims would have to win over the members, and nobody is trusted
// to make them (RFC 7591 section 2.3).
func (m memberSet) checkStatement() error {
	raw, given := m["software_statement"]
	if !given {
		return nil
	}
	var text string
	if json.Unmarshal(raw, &text) != nil || strings.Count(text, ".") != 2 {
		return refuse("invalid_software_statement", "The software statement is not a signed JWT.")
	}
	return refuse("unapproved_software_statement", "No issuer of software statements is approved here.")
}

// registrable reads what a client says about itself. Defaults are those of RFC 7591 where we have what they mean:
// client_secret_basic, assertions for the issuer alone, and all that the initial access token allows.
func (h *Handler) registrable(ctx context.Context, all memberSet, b Bounds) (Metadata, error) {
	m := Metadata{AuthMethod: SecretBasic, GrantTypes: []string{GrantCIBA}, IDTokenAlg: "ES256", BindingCode: codeCompare,
		AssertionAudience: audienceStrict, Scope: strings.Join(b.Scopes, " "), Types: slices.Clone(b.Types),
		Audiences: slices.Clone(b.Audiences), loopback: h.Register.Loopback}
	known := memberSet{}
	for _, name := range registrableMembers {
		if raw, ok := all[name]; ok {
			known[name] = raw
		}
	}
	raw, err := json.Marshal(known)
	if err != nil {
		return m, err
	}
	var wrong *json.UnmarshalTypeError
	if err := json.Unmarshal(raw, &m); errors.As(err, &wrong) {
		return m, badMetadata(plain("The member " + wrong.Field + " has the wrong type."))
	} else if err != nil {
		return m, badMetadata("The body must be a JSON object.")
	}
	m.JWKS = squeeze(m.JWKS)
	if err := m.validate(h.Desk.Renderer.Types); err != nil {
		return m, metadataFault(err)
	}
	if err := h.Admits(m); err != nil {
		return m, metadataFault(err)
	}
	if err := h.withinBounds(m, b); err != nil {
		return m, metadataFault(err)
	}
	return m, h.checkURLs(ctx, m)
}

// withinBounds is what holds for a client that registers itself, beyond what holds for every client.
func (h *Handler) withinBounds(m Metadata, b Bounds) error {
	foreign := func(grant string) bool { return h.grants[grant] == nil }
	common := commonScopes
	if b.Refresh {
		common = h.scopes()
	}
	for _, r := range []struct {
		ok          bool
		field, rule string
	}{
		{m.ClientName == "" || len(m.ClientName) <= maxClientName && strings.TrimSpace(m.ClientName) != "", "client_name",
			fmt.Sprintf("must have 1 to %d bytes", maxClientName)},
		{slices.Contains(m.GrantTypes, GrantCIBA), "grant_types", "must hold " + GrantCIBA}, // REQ-021
		{!slices.ContainsFunc(m.GrantTypes, foreign), "grant_types", "must hold only what grant_types_supported lists"},
		{!slices.Contains(m.GrantTypes, GrantClient), "grant_types", "must not hold client_credentials: ask an operator"},
		{b.Refresh || !slices.Contains(m.GrantTypes, GrantRefresh), "grant_types",
			"must not hold refresh_token: the initial access token does not allow it"},
		{!exceeds(scopeTokens(m.Scope), b.Scopes, common), "scope", "goes beyond the initial access token"},
		{!exceeds(m.Types, b.Types), "authorization_details_types", "goes beyond the initial access token"},
		{!exceeds(m.Audiences, b.Audiences), "allowed_audiences", "goes beyond the initial access token"},
		{m.AssertionAudience == audienceStrict || b.Compat, "assertion_audience", "must be strict"},
		{m.tellsOwn(b.Hosts), "backchannel_client_notification_endpoint",
			"must be at the host of jwks_uri whose keys the client must use, or at one that the initial access token allows"},
	} {
		if !r.ok {
			return &approvals.FieldError{Field: r.field, Rule: r.rule}
		}
	}
	return nil
}

// tellsOwn is REQ-025: what is called when there is a result must be the client's own place, which the keys at the same
// host show if it has to use them, or one that an operator has named. Otherwise a client could have us call whomever it
// likes.
func (m Metadata) tellsOwn(hosts []string) bool {
	if m.NotifyURL == "" {
		return true
	}
	host := hostOf(m.NotifyURL)
	if !m.usesKeys() {
		return slices.Contains(hosts, host)
	}
	return host != "" && (host == hostOf(m.JWKSURI) || slices.Contains(hosts, host))
}

// usesKeys reports whether the client gets nowhere without the keys that it has registered. Otherwise its jwks_uri may
// be anybody's.
func (m Metadata) usesKeys() bool {
	return m.AuthMethod == PrivateKeyJWT || m.AuthMethod == SelfSignedTLSAuth || m.RequestAlg != ""
}

func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
}

// checkURLs looks at the hosts that a client wants us to call (REQ-024).
func (h *Handler) checkURLs(ctx context.Context, m Metadata) error {
	for _, place := range []struct{ member, url string }{
		{"jwks_uri", m.JWKSURI}, {"backchannel_client_notification_endpoint", m.NotifyURL},
	} {
		if place.url == "" || h.Register.CheckURL == nil {
			continue
		}
		if h.Register.CheckURL(ctx, place.url) != nil {
			return badMetadata("The member " + place.member + " must be at a public address, on an allowed port.")
		}
	}
	return nil
}

// checkChange is what holds for the body of a change: it names the client, and nothing that is ours to say (REQ-035).
func (h *Handler) checkChange(c *call, all memberSet) error {
	for _, name := range serverMembers {
		if _, given := all[name]; given {
			return badMetadata("The member " + name + " must be absent.")
		}
	}
	var id, secret string
	if json.Unmarshal(all["client_id"], &id) != nil || id != string(c.agent.ID) {
		return badMetadata("The member client_id must be the client's own.")
	}
	raw, given := all["client_secret"]
	if given && (json.Unmarshal(raw, &secret) != nil || !c.client.matches(h.Root, id, secret, c.at)) {
		return badMetadata("The member client_secret must be the current one, or absent.")
	}
	return nil
}

// clientInformation is the answer of RFC 7591 section 3.2.1 with all that is registered.
type clientInformation struct {
	ClientID      string `json:"client_id"`
	IssuedAt      int64  `json:"client_id_issued_at"`
	Secret        string `json:"client_secret,omitempty"`            // when it is new: it is not kept
	SecretExpires *int   `json:"client_secret_expires_at,omitempty"` // 0 is never; absent without a secret
	Token         string `json:"registration_access_token"`
	URI           string `json:"registration_client_uri"`

	Name          string          `json:"client_name,omitempty"`
	AuthMethod    string          `json:"token_endpoint_auth_method"`
	AssertionAlg  string          `json:"token_endpoint_auth_signing_alg,omitempty"`
	Audience      string          `json:"assertion_audience,omitempty"`
	GrantTypes    []string        `json:"grant_types"`
	ResponseTypes []string        `json:"response_types"`
	Scope         string          `json:"scope,omitempty"`
	Types         []string        `json:"authorization_details_types"`
	Audiences     []string        `json:"allowed_audiences,omitempty"`
	JWKS          json.RawMessage `json:"jwks,omitempty"`
	JWKSURI       string          `json:"jwks_uri,omitempty"`
	IDTokenAlg    string          `json:"id_token_signed_response_alg"`
	DeliveryMode  string          `json:"backchannel_token_delivery_mode"`
	NotifyURL     string          `json:"backchannel_client_notification_endpoint,omitempty"`
	UserCode      bool            `json:"backchannel_user_code_parameter"`
	RequestAlg    string          `json:"backchannel_authentication_request_signing_alg,omitempty"`
	BindingCode   string          `json:"binding_code,omitempty"` // absent: compare, of a client from before there was a choice

	DPoPBound        bool `json:"dpop_bound_access_tokens"`
	CertificateBound bool `json:"tls_client_certificate_bound_access_tokens"`
	certificateSubject
}

func (h *Handler) information(a *approvals.Agent, c *Client, secret, token string) ([]byte, error) {
	out := clientInformation{ClientID: string(a.ID), IssuedAt: a.CreatedAt.Unix(), Secret: secret, Token: token,
		URI:  strings.TrimSuffix(h.Issuer, "/") + "/register/" + string(a.ID),
		Name: c.Registration.Name, AuthMethod: c.AuthMethod, AssertionAlg: c.AssertionAlg,
		GrantTypes: c.GrantTypes, ResponseTypes: []string{}, Scope: strings.Join(a.Scopes, " "),
		Types: append([]string{}, a.Types...), Audiences: a.Audiences, JWKS: c.JWKS, JWKSURI: c.JWKSURI,
		IDTokenAlg: c.IDTokenAlg, DeliveryMode: c.DeliveryMode, NotifyURL: c.NotifyURL,
		UserCode: c.UserCode, RequestAlg: c.RequestAlg, BindingCode: c.BindingCode,
		DPoPBound: c.DPoPBound, CertificateBound: c.CertificateBound, certificateSubject: c.certificateSubject}
	switch c.AuthMethod {
	case PrivateKeyJWT:
		out.Audience = c.Audience
	case SecretBasic, SecretPost:
		out.SecretExpires = new(int)
	}
	return literal(out)
}
