package ciba

import (
	"net/http"
	"strings"
)

// maxToken bounds an access token that is shown to us; headers as a whole may have 16 KiB.
const maxToken = 16 << 10

// presented returns the access token that a request to a resource carries (RFC 6750 section 2.1, RFC 9449 section 7.1):
// one of ours, alive, and held by whom it is bound to. Whether it is meant for this resource, and has not been revoked,
// is the caller's to ask. Refusals are 401 with a challenge.
func (h *Handler) presented(c *call) (*accessToken, error) {
	scheme, token := carried(c.r.Header)
	if token == "" {
		return nil, errNoToken
	}
	t := h.issuer.read(token, c.at)
	if t == nil {
		return nil, badToken(scheme)
	}
	if err := h.heldBy(c, scheme, token, t.Confirm); err != nil {
		return nil, err
	}
	return t, nil
}

// carried takes scheme, in lower case, and token out of the one Authorization header.
func carried(header http.Header) (scheme, token string) {
	lines := header["Authorization"]
	if len(lines) != 1 || len(lines[0]) > maxToken {
		return "", ""
	}
	scheme, token, _ = strings.Cut(lines[0], " ")
	scheme = strings.ToLower(scheme)
	if scheme != "bearer" && scheme != "dpop" {
		return "", ""
	}
	return scheme, strings.TrimLeft(token, " ")
}

// heldBy is REQ-258 at a resource: a bound token is worth nothing to anybody but the holder of its key, and a DPoP
// token must not pass as a bearer token (RFC 9449 section 7.2).
func (h *Handler) heldBy(c *call, scheme, token string, bound *confirmation) error {
	if bound.tokenType() != map[string]string{"bearer": "Bearer", "dpop": "DPoP"}[scheme] {
		return badToken(scheme)
	}
	if bound == nil {
		return nil
	}
	if bound.X5T != "" && bound.X5T != thumbprintOf(c.r) {
		return badToken(scheme)
	}
	if bound.JKT == "" {
		return nil
	}
	jkt, err := h.proofs.shown(c, token, false)
	if err != nil {
		return atResource(err)
	}
	if jkt != bound.JKT {
		return badToken(scheme)
	}
	return nil
}

var (
	dpopChallenge = `DPoP algs="` + strings.Join(dpopAlgs, " ") + `"`
	errNoToken    = &fault{status: http.StatusUnauthorized, code: "invalid_token", text: "An access token is required.",
		challenge: "Bearer, " + dpopChallenge}
)

// badToken is the answer to a token that is not good here, in the words of the scheme that it came with.
func badToken(scheme string) *fault {
	f := &fault{status: http.StatusUnauthorized, code: "invalid_token",
		text:      "The access token is not valid, has expired, or is bound to another key.",
		challenge: `Bearer error="invalid_token"`}
	if scheme == "dpop" {
		f.challenge = dpopChallenge + `, error="invalid_token"`
	}
	return f
}

// atResource says about a proof at a resource what RFC 9449 sections 7.1 and 9 want: 401 with a challenge.
func atResource(err error) error {
	f := faultOf(err)
	if f.status != http.StatusBadRequest {
		return err
	}
	there := *f
	there.status, there.challenge = http.StatusUnauthorized, dpopChallenge+`, error="`+f.code+`"`
	return &there
}
