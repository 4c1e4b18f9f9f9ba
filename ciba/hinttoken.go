package ciba

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"assent/approvals"
	"assent/approvals/keys"
)

// maxIDTokenAge is how long after its iat an ID token names its person, expired or not (REQ-111).
const maxIDTokenAge = 90 * 24 * time.Hour

// Limits of login_hint_tokens.
const (
	maxHintTokenLife = 30 * 24 * time.Hour // so that a jti need not be kept for ever
	maxHintIssuers   = 8
)

// hintAlgs is what login_hint_tokens may be signed with.
var hintAlgs = []string{string(jose.PS256), string(jose.ES256), string(jose.EdDSA)}

// kindHintToken is the record kind of login_hint_tokens with a jti that led to a request.
const kindHintToken = "ciba.hint"

// hintIssuer is somebody whose login_hint_tokens a client may use.
type hintIssuer struct {
	Issuer  string          `json:"issuer"`
	JWKS    json.RawMessage `json:"jwks,omitempty"`
	JWKSURI string          `json:"jwks_uri,omitempty"`

	keys []clientKey // of JWKS
}

var (
	errIDToken     = badRequest("The id_token_hint is not an ID token of this issuer for this client.")
	errIDTokenOld  = badRequest("The id_token_hint is older than 90 days.")
	errHintToken   = badRequest("The login_hint_token is not signed by an issuer of this client, or its claims are wrong.")
	errHintUsed    = badRequest("The login_hint_token has been used.")
	errHintExpired = refuse("expired_login_hint_token", "The login_hint_token has expired.")
)

// readHint reads the one hint of the request.
func (a *asking) readHint() (err error) {
	switch {
	case a.form.get("login_hint") != "":
		a.hint, err = parseHint(a.form.get("login_hint"), a.h.Issuer)
	case a.form.get("id_token_hint") != "":
		a.hint, err = a.h.idTokenHint(a.form.get("id_token_hint"), a.agent.ID, a.at)
	default:
		err = a.readHintToken(a.form.get("login_hint_token"))
	}
	return err
}

// idTokenHint is REQ-110 to 113: an ID token that we gave this client. It may have expired, and its key may have been
// rotated away.
func (h *Handler) idTokenHint(text string, client approvals.AgentID, now time.Time) (hint, error) {
	s, err := readJWS(text, []string{string(jose.ES256)})
	if err != nil || s.typ != "jwt" || !h.Keyring.signed(s) {
		return hint{}, errIDToken
	}
	issuer, _ := s.claims.text("iss")
	subject, _ := s.claims.text("sub")
	issued, _ := s.claims.date("iat")
	switch {
	case issuer != h.Issuer, subject == "", !slices.Contains(s.claims.audience(), string(client)):
		return hint{}, errIDToken
	case issued.Before(now.Add(-maxIDTokenAge)):
		return hint{}, errIDTokenOld
	}
	return named("sub", subject), nil
}

// readHintToken is REQ-107 to 109: a JWS of an issuer that is registered for this client.
func (a *asking) readHintToken(text string) error {
	s, err := readJWS(text, hintAlgs)
	if err != nil {
		return errHintToken
	}
	issuer, _ := s.claims.text("iss")
	i := slices.IndexFunc(a.client.HintIssuers, func(h hintIssuer) bool { return h.Issuer == issuer })
	if i < 0 || !s.by(a.h.clients.keysOfIssuer(a.r.Context(), a.client.HintIssuers[i], s.kid)) {
		return errHintToken
	}
	return a.checkHintToken(s)
}

func (a *asking) checkHintToken(s *signed) error {
	expires, dated := s.claims.date("exp")
	id, ok := s.claims.text("jti")
	switch {
	case s.typ != "" && s.typ != "jwt":
		return errHintToken
	case !slices.ContainsFunc(s.claims.audience(), func(aud string) bool { return sameIssuer(aud, a.h.Issuer) }):
		return errHintToken
	case !dated || expires.IsZero() || expires.After(a.at.Add(maxHintTokenLife)), s.claims.tooFarAhead(a.at):
		return errHintToken
	case !ok || len(id) > maxJTI || len(s.claims["sub_id"]) == 0:
		return errHintToken
	case !expires.After(a.at.Add(-pastSkew)):
		return errHintExpired
	}
	if id != "" {
		issuer, _ := s.claims.text("iss")
		name := a.h.Root.Name(keys.LabelLookup, kindHintToken, string(a.agent.ID), issuer, id)
		a.burns = append(a.burns, burn{kindHintToken, name, expires.Add(pastSkew), errHintUsed})
	}
	var err error
	if a.hint, err = subjectIdentifier(string(s.claims["sub_id"]), a.h.Issuer); err != nil {
		return errHintToken
	}
	return nil
}

// burn is something that a request uses up when it is opened, and not when it is refused (REQ-109, 150).
type burn struct {
	kind, name string
	until      time.Time
	used       *fault
}

// unused refuses what has led to a request before.
func (a *asking) unused() error {
	for _, b := range a.burns {
		_, err := a.h.Records.Get(a.r.Context(), b.kind, b.name)
		if err == nil {
			return b.used
		}
		if !errors.Is(err, approvals.ErrNotFound) {
			return err
		}
	}
	return nil
}

// burnt are the writes that use everything up, in the transaction of the request that it leads to.
func (a *asking) burnt() (writes []approvals.Write) {
	for _, b := range a.burns {
		writes = append(writes, approvals.PutNew(b.kind, b.name, []byte("{}"), b.until))
	}
	return writes
}

// checkHintIssuers is what login_hint_token_issuers must fulfil.
func (m Metadata) checkHintIssuers() error {
	const field = "login_hint_token_issuers"
	if len(m.HintIssuers) > maxHintIssuers {
		return &approvals.FieldError{Field: field, Rule: fmt.Sprintf("must not hold more than %d issuers", maxHintIssuers)}
	}
	for i, h := range m.HintIssuers {
		at := func(name string) string { return fmt.Sprintf("%s[%d].%s", field, i, name) }
		if h.Issuer == "" || len(h.Issuer) > 512 || strings.ContainsFunc(h.Issuer, invisible) {
			return &approvals.FieldError{Field: at("issuer"), Rule: "must have 1 to 512 visible characters"}
		}
		of := Metadata{JWKS: h.JWKS, JWKSURI: h.JWKSURI}
		var wrong *approvals.FieldError
		if err := of.checkKeys(); errors.As(err, &wrong) {
			return &approvals.FieldError{Field: at(wrong.Field), Rule: wrong.Rule}
		}
		if !of.hasKeys() {
			return &approvals.FieldError{Field: at("jwks"), Rule: "or jwks_uri is required"}
		}
	}
	return nil
}
