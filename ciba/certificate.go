package ciba

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"assent/approvals"
)

// Client authentication by certificate (RFC 8705 section 2).
const (
	TLSClientAuth     = "tls_client_auth"
	SelfSignedTLSAuth = "self_signed_tls_client_auth"
)

// MTLS says how clients can show certificates. They arrive as the peer certificates of the request's TLS connection;
// who shows one has shown to hold its key, and nothing more is believed of it.
type MTLS struct {
	URL   string         // the base of mtls_endpoint_aliases; "": certificates are asked for at the endpoints themselves
	Roots *x509.CertPool // who issues certificates for tls_client_auth; nil: that method is off
}

// methods lists what is on: it is advertised, and nobody authenticates by anything else.
func (m *MTLS) methods() []string {
	on := slices.Clone(authMethods)
	if m == nil {
		return on
	}
	if m.Roots != nil {
		on = append(on, TLSClientAuth)
	}
	return append(on, SelfSignedTLSAuth)
}

// Admits refuses metadata that [ParseMetadata] has accepted and this installation cannot serve: the profile must let
// it in, and certificates need a listener that asks for them.
func (h *Handler) Admits(m Metadata) error {
	if err := h.Profile.admits(m); err != nil {
		return err
	}
	switch {
	case !slices.Contains(h.MTLS.methods(), m.AuthMethod):
		return &approvals.FieldError{Field: "token_endpoint_auth_method",
			Rule: "must be one of " + strings.Join(h.MTLS.methods(), ", ") + " here"}
	case m.CertificateBound && h.MTLS == nil:
		return &approvals.FieldError{Field: "tls_client_certificate_bound_access_tokens",
			Rule: "must be false here: nobody asks for certificates"}
	}
	return nil
}

// certificateSubject is what the certificate of a tls_client_auth client says about itself. Exactly one member is given
// (RFC 8705 section 2.1.2).
type certificateSubject struct {
	DN    string `json:"tls_client_auth_subject_dn,omitempty"`
	DNS   string `json:"tls_client_auth_san_dns,omitempty"`
	URI   string `json:"tls_client_auth_san_uri,omitempty"`
	IP    string `json:"tls_client_auth_san_ip,omitempty"`
	Email string `json:"tls_client_auth_san_email,omitempty"`
}

// maxSubject bounds each of them.
const maxSubject = 1024

// is reports whether the certificate says so. No name with a wildcard means more than itself.
func (s certificateSubject) is(c *x509.Certificate) bool {
	switch {
	case s.DN != "":
		want, err1 := parseDN(s.DN)
		got, err2 := subjectDN(c.RawSubject)
		return err1 == nil && err2 == nil && sameDN(want, got)
	case s.DNS != "":
		return slices.ContainsFunc(c.DNSNames, func(name string) bool { return strings.EqualFold(name, s.DNS) })
	case s.URI != "":
		return slices.ContainsFunc(c.URIs, func(u *url.URL) bool { return u.String() == s.URI })
	case s.IP != "":
		return s.hasIP(c)
	case s.Email != "":
		return slices.Contains(c.EmailAddresses, s.Email)
	}
	return false
}

func (s certificateSubject) hasIP(c *x509.Certificate) bool {
	want, err := netip.ParseAddr(s.IP)
	for _, ip := range c.IPAddresses {
		if got, ok := netip.AddrFromSlice(ip); err == nil && ok && got.Unmap() == want.Unmap() {
			return true
		}
	}
	return false
}

// certifies is REQ-068: a certificate from the authority with the one registered subject, or one of the client's own
// keys. Both questions are asked about everybody, nobody included.
func (cs *clients) certifies(ctx context.Context, c *Client, p *proof, now time.Time) bool {
	leaf := p.chain[0]
	issued := cs.mtls.issued(p.chain, now) && c.certificateSubject.is(leaf)
	own := cs.ownCertificate(ctx, c, p.id, leaf) && !now.Before(leaf.NotBefore) && !now.After(leaf.NotAfter)
	switch c.AuthMethod {
	case TLSClientAuth:
		return issued
	case SelfSignedTLSAuth:
		return own
	}
	return false
}

// issued verifies the chain up to the configured authority (RFC 8705 section 2.1).
func (m *MTLS) issued(chain []*x509.Certificate, now time.Time) bool {
	if m.Roots == nil {
		return false
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: m.Roots, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err == nil
}

// ownCertificate reports whether the client has registered this certificate, or its key without a certificate (RFC 8705
// section 2.2.2).
func (cs *clients) ownCertificate(ctx context.Context, c *Client, id string, leaf *x509.Certificate) bool {
	same := func(keys []clientKey) (found []clientKey) {
		for _, k := range keys {
			if k.certifiedBy(leaf) {
				found = append(found, k)
			}
		}
		return found
	}
	switch {
	case c.JWKS != nil:
		return len(same(c.keys)) > 0
	case c.JWKSURI != "":
		return len(cs.remote.find(ctx, id, c.JWKSURI, same)) > 0
	}
	return len(same(cs.nobody.keys)) > 0
}

func (k clientKey) certifiedBy(leaf *x509.Certificate) bool {
	if k.certificate != nil {
		return bytes.Equal(k.certificate, leaf.Raw)
	}
	public, ok := k.public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(leaf.PublicKey)
}

// checkCertificates is what the members about certificates must fulfil.
func (m Metadata) checkCertificates() error {
	byAuthority := m.AuthMethod == TLSClientAuth
	given := 0
	for _, member := range []struct{ field, value string }{
		{"tls_client_auth_subject_dn", m.DN}, {"tls_client_auth_san_dns", m.DNS}, {"tls_client_auth_san_uri", m.URI},
		{"tls_client_auth_san_ip", m.IP}, {"tls_client_auth_san_email", m.Email},
	} {
		if member.value == "" {
			continue
		}
		given++
		if !byAuthority {
			return &approvals.FieldError{Field: member.field, Rule: "is for tls_client_auth only"}
		}
		if len(member.value) > maxSubject {
			return &approvals.FieldError{Field: member.field, Rule: "must have at most 1024 bytes"}
		}
	}
	_, badIP := netip.ParseAddr(m.IP)
	_, badDN := parseDN(m.DN)
	switch {
	case byAuthority && given != 1:
		return &approvals.FieldError{Field: "tls_client_auth_subject_dn",
			Rule: "or exactly one tls_client_auth_san_ member is required"}
	case m.IP != "" && badIP != nil:
		return &approvals.FieldError{Field: "tls_client_auth_san_ip", Rule: "must be an IP address"}
	case m.DN != "" && badDN != nil:
		return &approvals.FieldError{Field: "tls_client_auth_subject_dn", Rule: badDN.Error()}
	case m.AuthMethod == SelfSignedTLSAuth && !m.hasKeys(): // REQ-028
		return &approvals.FieldError{Field: "jwks", Rule: "or jwks_uri is required"}
	case m.byCertificate() && m.ClientSecret != "":
		return &approvals.FieldError{Field: "client_secret", Rule: "must be absent with " + m.AuthMethod}
	}
	return nil
}

func (m Metadata) byCertificate() bool {
	return m.AuthMethod == TLSClientAuth || m.AuthMethod == SelfSignedTLSAuth
}
