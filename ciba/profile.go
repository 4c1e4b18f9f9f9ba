package ciba

import (
	"slices"
	"strings"

	"assent/approvals"
)

// Profile narrows what this door offers. The zero value is CIBA Core with the compatibility that clients register for.
type Profile string

// ProfileFAPI is the FAPI-CIBA profile with the algorithms and DPoP of FAPI 2.0: nobody authenticates by a secret or
// leniently, requests are signed and say what they are about, and every access token is bound to its holder's key
// (REQ-253 to 262).
const ProfileFAPI Profile = "fapi"

// secretMethods are the client authentication methods that a profile may take away.
var secretMethods = []string{SecretBasic, SecretPost}

// methods are those of on that may be used.
func (p Profile) methods(on []string) []string {
	if p != ProfileFAPI {
		return on
	}
	return slices.DeleteFunc(slices.Clone(on), func(m string) bool { return slices.Contains(secretMethods, m) })
}

// narrow makes a client that is registered already keep to the profile. Who cannot is barred: what it is registered
// with may have been right when it was. Whoever chose no binding gets its tokens bound to its certificate if that is
// how it authenticates, and to a DPoP key otherwise.
func (p Profile) narrow(c *Client) {
	if p != ProfileFAPI {
		return
	}
	c.barred = slices.Contains(secretMethods, c.AuthMethod) || c.AssertionAlg == compatAlg
	c.Audience, c.AssertionLife = audienceStrict, 0
	if c.DPoPBound || c.CertificateBound {
		return
	}
	c.CertificateBound = c.AuthMethod == TLSClientAuth || c.AuthMethod == SelfSignedTLSAuth // REQ-258
	c.DPoPBound = !c.CertificateBound
}

// rotates reports whether a refresh token is replaced with each use. Under FAPI 2.0 section 5.3.2.1 it is not: only the
// holder of a key can use it, and a client that loses an answer must not lose the approval (REQ-247).
func (p Profile) rotates() bool { return p != ProfileFAPI }

// Barred reports whether an agent that is registered cannot get in: the profile bars it, or nobody here asks for the
// certificate that it would show.
func (h *Handler) Barred(a *approvals.Agent) (bool, error) {
	c, err := ClientOf(a)
	if err != nil {
		return false, err
	}
	h.Profile.narrow(c)
	return c.barred || !slices.Contains(h.MTLS.methods(), c.AuthMethod), nil
}

// admits refuses metadata that contradicts the profile, whoever registers it.
func (p Profile) admits(m Metadata) error {
	if p != ProfileFAPI {
		return nil
	}
	for _, r := range []struct {
		ok          bool
		field, rule string
	}{
		{!slices.Contains(secretMethods, m.AuthMethod), "token_endpoint_auth_method",
			"must not be a secret under the fapi profile"}, // REQ-256
		{m.AssertionAlg != compatAlg, "token_endpoint_auth_signing_alg",
			"must be " + strings.Join(assertionAlgs, ", ") + " or absent under the fapi profile"}, // REQ-257
		{m.RequestAlg != "", "backchannel_authentication_request_signing_alg",
			"is required under the fapi profile"}, // REQ-253
		{m.AssertionAudience == audienceStrict || m.defaulted, "assertion_audience",
			"must be strict under the fapi profile"},
	} {
		if !r.ok {
			return &approvals.FieldError{Field: r.field, Rule: r.rule}
		}
	}
	return nil
}

// signedOnly is REQ-253: under the profile nothing is asked without a signature.
func (a *asking) signedOnly() error {
	if a.h.Profile == ProfileFAPI && a.form.get("request") == "" {
		return badRequest("A signed request object is required.")
	}
	return nil
}

// saysWhat is REQ-120 and 254: under the profile a request says what it is about, by its details or by a message that
// the person can compare.
func (a *asking) saysWhat() error {
	if a.h.Profile == ProfileFAPI && a.ask.Binding == "" && len(a.ask.Details) == 0 {
		return badRequest("A binding_message is required where no authorization_details say what the request is about.")
	}
	return nil
}
