package ciba

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// cacheAge is how long others may keep the discovery document and the JWKS. A key is published at least that long
// before it signs.
const cacheAge = 5 * time.Minute

// discovery is the metadata of RFC 8414 and OpenID Connect Discovery: what works, and nothing else.
type discovery struct {
	Issuer              string   `json:"issuer"`
	Backchannel         string   `json:"backchannel_authentication_endpoint"`
	Token               string   `json:"token_endpoint"`
	Introspection       string   `json:"introspection_endpoint"`
	Revocation          string   `json:"revocation_endpoint"`
	UserInfo            string   `json:"userinfo_endpoint"`
	JWKS                string   `json:"jwks_uri"`
	Registration        string   `json:"registration_endpoint,omitempty"`
	Status              string   `json:"assent_status_endpoint"` // ours: no standard names these
	Cancel              string   `json:"assent_cancel_endpoint"`
	ResponseTypes       []string `json:"response_types_supported"` // none: there is no browser grant (REQ-014)
	GrantTypes          []string `json:"grant_types_supported"`
	DeliveryModes       []string `json:"backchannel_token_delivery_modes_supported"`
	RequestAlgs         []string `json:"backchannel_authentication_request_signing_alg_values_supported"`
	SignedOnly          bool     `json:"require_signed_request_object,omitempty"` // RFC 9101 section 10.5
	UserCode            bool     `json:"backchannel_user_code_parameter_supported"`
	AuthMethods         []string `json:"token_endpoint_auth_methods_supported"`
	AuthAlgs            []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	CertificateBound    bool     `json:"tls_client_certificate_bound_access_tokens,omitempty"`
	DPoPAlgs            []string `json:"dpop_signing_alg_values_supported"`
	IntrospectMethods   []string `json:"introspection_endpoint_auth_methods_supported"` // REQ-015
	IntrospectAlgs      []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	RevokeMethods       []string `json:"revocation_endpoint_auth_methods_supported"`
	RevokeAlgs          []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	SubjectTypes        []string `json:"subject_types_supported"`
	IDTokenAlgs         []string `json:"id_token_signing_alg_values_supported"`
	Scopes              []string `json:"scopes_supported"`
	Claims              []string `json:"claims_supported"`
	ACRs                []string `json:"acr_values_supported,omitempty"`
	DetailTypes         []string `json:"authorization_details_types_supported"`
	RequestParameter    bool     `json:"request_parameter_supported"`
	RequestURIParameter bool     `json:"request_uri_parameter_supported"`
	ClaimsParameter     bool     `json:"claims_parameter_supported"`

	Aliases map[string]string `json:"mtls_endpoint_aliases,omitempty"`
}

// discovery renders the one document that both well-known paths serve (REQ-001).
func (h *Handler) discovery() ([]byte, error) {
	root := strings.TrimSuffix(h.Issuer, "/")
	methods := h.Profile.methods(h.MTLS.methods()) // every endpoint authenticates clients in the same way
	raw, err := json.Marshal(discovery{
		Issuer:           h.Issuer,
		Backchannel:      root + "/bc-authorize",
		Token:            root + "/token",
		Introspection:    root + "/introspect",
		Revocation:       root + "/revoke",
		UserInfo:         root + userinfoPath,
		JWKS:             root + "/.well-known/jwks.json",
		Registration:     h.registrationEndpoint(root),
		Status:           root + "/requests/status",
		Cancel:           root + "/requests/cancel",
		ResponseTypes:    []string{},
		GrantTypes:       slices.Sorted(maps.Keys(h.grants)),
		DeliveryModes:    deliveryModes,
		RequestAlgs:      requestAlgs,
		SignedOnly:       h.Profile == ProfileFAPI,
		UserCode:         true,
		AuthMethods:      methods,
		AuthAlgs:         assertionAlgs,
		CertificateBound: h.MTLS != nil, // REQ-009
		DPoPAlgs:         dpopAlgs,
		Aliases:          h.aliases(),
		SubjectTypes:     []string{"public"},
		IDTokenAlgs:      []string{string(jose.ES256)},
		Scopes:           h.scopes(),
		Claims:           []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "acr", "amr", "at_hash", "name", "email"},
		ACRs:             h.ACRs,
		DetailTypes:      h.Desk.Renderer.Types.Names(),

		IntrospectMethods: methods,
		IntrospectAlgs:    assertionAlgs,
		RevokeMethods:     methods,
		RevokeAlgs:        assertionAlgs,
	})
	if err != nil {
		return nil, fmt.Errorf("write discovery document: %w", err)
	}
	return raw, nil
}

// aliases are the endpoints for clients with certificates (RFC 8705 section 5), if they are elsewhere.
func (h *Handler) aliases() map[string]string {
	if h.MTLS == nil || h.MTLS.URL == "" {
		return nil
	}
	root := strings.TrimSuffix(h.MTLS.URL, "/")
	return map[string]string{"backchannel_authentication_endpoint": root + "/bc-authorize", "token_endpoint": root + "/token",
		"introspection_endpoint": root + "/introspect", "revocation_endpoint": root + "/revoke",
		"userinfo_endpoint":      root + userinfoPath,
		"assent_status_endpoint": root + "/requests/status", "assent_cancel_endpoint": root + "/requests/cancel"}
}

// scopes lists what every client may ask for; offline_access only where there are refresh tokens.
func (h *Handler) scopes() []string {
	if _, on := h.grants[GrantRefresh]; on {
		return append(slices.Clone(commonScopes), offlineAccess)
	}
	return commonScopes
}

// discoveryPaths puts the well-known segment behind the issuer's path as OpenID Connect Discovery wants it, and before
// it as RFC 8414 section 3.1 does.
func discoveryPaths(base string) []string {
	const openid, oauth = "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"
	if base == "" {
		return []string{openid, oauth}
	}
	return []string{base + openid, oauth + base, openid + base, base + oauth}
}

// jwks is the published key set.
func (h *Handler) jwks() ([]byte, error) {
	keys, err := h.Keyring.Public()
	if err != nil {
		return nil, err
	}
	return json.Marshal(jose.JSONWebKeySet{Keys: keys})
}
