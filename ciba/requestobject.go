package ciba

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"assent/approvals"
	"assent/approvals/keys"
)

// requestAlgs is what request objects may be signed with; each client is registered with one of them (REQ-144).
var requestAlgs = []string{string(jose.PS256), string(jose.ES256), string(jose.EdDSA)}

// requestLife is how old, how long-lived and how far from its end a request object may be (REQ-148, 149).
const requestLife = time.Hour

// kindRequest is the record kind of request objects that led to a request.
const kindRequest = "ciba.request"

// kindEvidence is the record kind of request objects as they were signed.
const kindEvidence = "ciba.evidence"

// askParams are the parameters of CIBA section 7.1 and our extensions to it: with a request object they are inside it,
// and nowhere else (REQ-151).
var askParams = []string{"scope", "client_notification_token", "acr_values", "login_hint_token", "id_token_hint",
	"login_hint", "binding_message", "user_code", "requested_expiry", "request_context", "resource", "audience",
	"authorization_details"}

// evidencePurpose is what the kept request object of a request is sealed for.
func evidencePurpose(id approvals.ID) string { return kindEvidence + "/" + string(id) }

// evidence is the write that keeps what the agent has signed for as long as the request itself is kept, sealed: it shows
// who asked for what, and in which words (REQ-159). An object that holds a secret is kept by its digest: nobody gets the
// secret from us, and the agent can still be held to what it shows (REQ-123, 128 and 140). A code that the person types is
// one.
func (a *asking) evidence(r *approvals.Request) []approvals.Write {
	if a.signed == "" {
		return nil
	}
	text := a.signed
	if a.form.get("user_code") != "" || a.form.get("client_notification_token") != "" || a.client.enters() {
		text = digestOf(text)
	}
	sealed := a.h.Root.Seal(evidencePurpose(r.ID), []byte(text))
	return []approvals.Write{approvals.PutNew(kindEvidence, string(r.ID), sealed, r.ExpiresAt.Add(a.h.Desk.Terms.History))}
}

// digestOf cannot be taken for a JWS, which has no colon.
func digestOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// SignedRequest returns the request object that led to a request, as its agent signed it, or "sha256:" and the digest of
// its bytes (base64url) if it held a user code, a notification token or a code to type. It is [approvals.ErrNotFound] for requests that
// came without one.
func (h *Handler) SignedRequest(ctx context.Context, id approvals.ID) (string, error) {
	rec, err := h.Records.Get(ctx, kindEvidence, string(id))
	if err != nil {
		return "", fmt.Errorf("signed request of %s: %w", id, err)
	}
	plain, err := h.Root.Open(evidencePurpose(id), rec.Value)
	if err != nil {
		return "", fmt.Errorf("signed request of %s: %w", id, err)
	}
	return string(plain), nil
}

func badObject(rule string) *fault { return badRequest("The request object " + rule + ".") }

// readRequest is REQ-142 to 158. What was signed takes the place of the form; nothing outside fills a gap (REQ-152).
func (a *asking) readRequest() error {
	text := a.form.get("request")
	switch {
	case a.form.get("request_uri") != "": // never fetched (REQ-086)
		return badRequest("The request_uri parameter is not accepted.")
	case text == "" && a.client.RequestAlg == "":
		return nil
	case text == "": // registration is the client's protection against being stripped of its signature (REQ-143)
		return badRequest("The client is registered for signed request objects and must send one.")
	case a.client.RequestAlg == "":
		return badRequest("The client is not registered for signed request objects.")
	}
	object, err := readJWS(text, []string{a.client.RequestAlg})
	if err != nil {
		return badObject("is not a JWS with the registered algorithm")
	}
	if !object.by(a.h.clients.keysOf(a.r.Context(), a.client, string(a.agent.ID), object.kid, object.alg)) {
		return badObject("is not signed with a key of the client")
	}
	if err := a.checkObject(object); err != nil {
		return err
	}
	if slices.ContainsFunc(a.form.list, func(p param) bool { return slices.Contains(askParams, p.name) }) {
		return badRequest("With a request object, other parameters must be inside it.")
	}
	a.form, err = object.claims.params()
	a.signed = text
	return err
}

// checkObject holds the claims to their rules; what they ask for is read later, like any other request.
func (a *asking) checkObject(object *signed) error {
	c, id, now := object.claims, string(a.agent.ID), a.at
	text := func(name string) string { s, _ := c.text(name); return s }
	_, uri := c["request_uri"]
	_, nested := c["request"]
	_, named := c["client_id"]
	jti := text("jti")
	switch {
	case !slices.Contains([]string{"", "jwt", "oauth-authz-req+jwt"}, object.typ): // REQ-156
		return badObject("has a wrong typ")
	case uri || nested: // REQ-154
		return badObject("must not hold request or request_uri")
	case text("iss") != id: // REQ-145
		return badObject("must have the client_id as iss")
	case named && text("client_id") != id:
		return badObject("names another client_id")
	case text("sub") == id: // it could be used as a client assertion (REQ-157)
		return badObject("must not have the client_id as sub")
	case !slices.ContainsFunc(c.audience(), func(s string) bool { return sameIssuer(s, a.h.Issuer) }): // REQ-146
		return badObject("must have the issuer in aud")
	case jti == "" || len(jti) > maxJTI:
		return badObject("must have a jti")
	}
	if err := checkTimes(c, now); err != nil {
		return err
	}
	expires, _ := c.date("exp")
	name := a.h.Root.Name(keys.LabelLookup, kindRequest, id, jti)
	a.burns = append(a.burns, burn{kindRequest, name, expires.Add(pastSkew), errObjectUsed})
	return nil
}

// checkTimes is REQ-147 to 149.
func checkTimes(c claims, now time.Time) error {
	expires, ok1 := c.date("exp")
	begins, ok2 := c.date("nbf")
	issued, ok3 := c.date("iat")
	oldest := now.Add(-requestLife)
	switch {
	case !ok1 || !ok2 || !ok3 || expires.IsZero() || begins.IsZero() || issued.IsZero():
		return badObject("must have exp, nbf and iat, as numbers")
	case !expires.After(now.Add(-pastSkew)):
		return badObject("has expired")
	case expires.After(now.Add(requestLife)), expires.Sub(begins) > requestLife:
		return badObject("is valid for more than 60 minutes")
	case c.tooFarAhead(now):
		return badObject("has nbf or iat in the future")
	case begins.Before(oldest), issued.Before(oldest):
		return badObject("has nbf or iat more than 60 minutes ago")
	}
	return nil
}

// params takes the request out of the claims. Strings are strings, and are not made from anything else (REQ-153).
func (c claims) params() (*params, error) {
	p := &params{}
	for _, name := range askParams {
		raw, has := c[name]
		if !has {
			continue
		}
		values, err := claimValues(name, raw)
		if err != nil {
			return nil, err
		}
		for _, v := range values {
			if err := p.add(name, v); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

func claimValues(name string, raw json.RawMessage) ([]string, error) {
	wrong := badObject("has a " + name + " of the wrong type")
	if name == "authorization_details" && raw[0] == '[' {
		return []string{string(raw)}, nil // judged with those of unsigned requests
	}
	v, err := approvals.ParseJSON(raw)
	if err != nil {
		return nil, wrong
	}
	switch v := v.(type) {
	case string:
		return []string{v}, nil
	case json.Number:
		if name == "requested_expiry" {
			return []string{v.String()}, nil
		}
	case []any:
		if name == "resource" {
			return texts(v, wrong)
		}
	case map[string]any:
		if name == "request_context" {
			return []string{string(raw)}, nil
		}
	}
	return nil, wrong
}

func texts(list []any, wrong error) ([]string, error) {
	out := make([]string, len(list))
	for i, v := range list {
		s, ok := v.(string)
		if !ok {
			return nil, wrong
		}
		out[i] = s
	}
	return out, nil
}

var errObjectUsed = badObject("has been used: its jti is not new")

// checkRequestAlg is REQ-026 and 028.
func (m Metadata) checkRequestAlg() error {
	const field = "backchannel_authentication_request_signing_alg"
	switch {
	case m.RequestAlg == "":
		return nil
	case !slices.Contains(requestAlgs, m.RequestAlg):
		return &approvals.FieldError{Field: field, Rule: "must be " + strings.Join(requestAlgs, ", ") + " or absent"}
	case !m.hasKeys():
		return &approvals.FieldError{Field: field, Rule: "needs jwks or jwks_uri"}
	}
	return nil
}
