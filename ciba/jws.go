package ciba

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"

	"assent/approvals"
)

// Times that every signed thing from outside is held to (REQ-059, 060).
const (
	pastSkew   = 10 * time.Second // a clock may be this much behind ours
	futureSkew = 60 * time.Second // iat and nbf may be this far ahead
)

// signed is one compact JWS (RFC 7515 section 7.1) whose parts have been read. Nothing in it may be believed before
// [signed.by] has found its key.
type signed struct {
	alg, kid, typ string
	header        claims
	claims        claims
	jose          *jose.JSONWebSignature
}

var errJWS = errors.New("must be a compact JWS")

// readJWS reads header and payload strictly. Every algorithm that is not in algs, five parts, and critical extensions
// are refused; headers that name or carry keys are not looked at here (REQ-064).
func readJWS(text string, algs []string) (s *signed, err error) {
	head, rest, _ := strings.Cut(text, ".")
	body, _, ok := strings.Cut(rest, ".")
	if !ok || strings.ContainsAny(text, " \t\r\n") {
		return nil, errJWS
	}
	s = &signed{}
	if s.header, err = decodePart(head); err != nil {
		return nil, err
	}
	if s.alg, s.kid, s.typ, err = readHeader(s.header); err != nil {
		return nil, err
	}
	if s.claims, err = decodePart(body); err != nil {
		return nil, err
	}
	allowed := make([]jose.SignatureAlgorithm, len(algs))
	for i, a := range algs {
		allowed[i] = jose.SignatureAlgorithm(a)
	}
	s.jose, err = jose.ParseSignedCompact(text, allowed)
	return s, err
}

func decodePart(text string) (claims, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errJWS
	}
	return readClaims(raw)
}

// readHeader returns alg, kid and typ; a typ is compared as RFC 7515 section 4.1.9 says.
func readHeader(header claims) (alg, kid, typ string, err error) {
	var ok1, ok2, ok3 bool
	alg, ok1 = header.text("alg")
	kid, ok2 = header.text("kid")
	typ, ok3 = header.text("typ")
	_, critical := header["crit"]
	_, unencoded := header["b64"]
	if !ok1 || alg == "" || !ok2 || !ok3 || critical || unencoded {
		return "", "", "", errJWS
	}
	return alg, kid, strings.TrimPrefix(strings.ToLower(typ), "application/"), nil
}

// by reports whether one of the keys made the signature.
func (s *signed) by(keys []clientKey) bool {
	for _, k := range keys {
		if !k.fits(s.alg) {
			continue
		}
		if _, err := s.jose.Verify(k.public); err == nil {
			return true
		}
	}
	return false
}

// takes says which key an algorithm works with (RFC 7518 sections 3.3 to 3.5, RFC 8037 section 3.1).
func takes(alg string, public any) bool {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		return alg == string(jose.ES256) && key.Curve == elliptic.P256()
	case ed25519.PublicKey:
		return alg == string(jose.EdDSA)
	case *rsa.PublicKey:
		return (alg == string(jose.PS256) || alg == string(jose.RS256)) && key.N.BitLen() >= 2048
	}
	return false
}

// claims are the members of a JSON object, each as it was written.
type claims map[string]json.RawMessage

// readClaims reads one JSON object whose members come once each.
func readClaims(raw []byte) (claims, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') || !utf8.Valid(raw) {
		return nil, errJWS
	}
	c := claims{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, errJWS
		}
		key, _ := name.(string) // the decoder allows nothing else here
		var value json.RawMessage
		if _, twice := c[key]; twice || d.Decode(&value) != nil {
			return nil, errJWS
		}
		c[key] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, errJWS
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errJWS
	}
	return c, nil
}

// text returns a string claim, or "" for one that is absent. It reports false for any other type.
func (c claims) text(name string) (string, bool) {
	raw, has := c[name]
	if !has {
		return "", true
	}
	v, err := approvals.ParseJSON(raw)
	s, ok := v.(string)
	return s, ok && err == nil
}

// maxDate is the last second of the year 9999.
const maxDate = 253402300799

// date returns a NumericDate (RFC 7519 section 2), or the zero time for one that is absent. It reports false for any
// other type.
func (c claims) date(name string) (time.Time, bool) {
	raw, has := c[name]
	if !has {
		return time.Time{}, true
	}
	var number json.Number
	if len(raw) > 32 || raw[0] == '"' || json.Unmarshal(raw, &number) != nil {
		return time.Time{}, false
	}
	seconds, err := number.Float64()
	if err != nil || !(seconds >= 0 && seconds <= maxDate) {
		return time.Time{}, false
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9)), true
}

// audience returns aud, which is a string or an array of strings (RFC 7519 section 4.1.3).
func (c claims) audience() []string {
	if one, ok := c.text("aud"); ok && one != "" {
		return []string{one}
	}
	v, err := approvals.ParseJSON(c["aud"])
	list, _ := v.([]any)
	if err != nil || len(list) > maxAudiences {
		return nil
	}
	all := make([]string, 0, len(list))
	for _, e := range list {
		s, ok := e.(string)
		if !ok {
			return nil
		}
		all = append(all, s)
	}
	return all
}

// tooFarAhead reports iat or nbf beyond what clocks may differ, or of a wrong type (REQ-060).
func (c claims) tooFarAhead(now time.Time) bool {
	for _, name := range [...]string{"iat", "nbf"} {
		if at, ok := c.date(name); !ok || at.After(now.Add(futureSkew)) {
			return true
		}
	}
	return false
}
