package upstream

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"assent/approvals"
)

// Settings are one provider as the operator describes it.
type Settings struct {
	Name   string // in our paths: 1 to 32 of a-z, 0-9 and "-"
	EN, KO string // what people read; Name when empty
	Issuer string // byte for byte as the provider writes it

	ClientID string
	Secret   string        // client_secret_basic or client_secret_post; or
	Key      crypto.Signer // private_key_jwt: P-256, Ed25519, or RSA of 2048 bits and more
	KeyID    string        // kid of Key, if the provider wants one

	Scopes    []string      // beside openid
	ACRValues []string      // asked for (acr_values); the ID token must hold one of them
	MaxAge    time.Duration // how long ago the person may have signed in there; 0: any time

	// SessionACR and SessionAMR are what makes a sign-in count as [approvals.LevelSession]: any one value of either. What
	// has none of them is [approvals.LevelLink], which reads, denies, and approves only what an operator lowered to it.
	// Both empty: every sign-in counts.
	SessionACR []string
	SessionAMR []string
}

// reserved are names that our own paths below /signin have.
var reserved = []string{"code", "passkey"}

var (
	nameShape  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	tokenShape = regexp.MustCompile(`^[\x21\x23-\x5B\x5D-\x7E]{1,255}$`) // scope-token (RFC 6749 section 3.3); acr values go in one parameter too
)

// maxTitle is the longest name of a provider, in bytes: it stands on a button.
const maxTitle = 60

// Title is what people read, in a language.
func (s *Settings) Title(lang string) string {
	title := s.EN
	if lang == approvals.Korean {
		title = s.KO
	}
	if title == "" {
		return s.Name
	}
	return title
}

// Validate reports the first setting that cannot work. loopback allows plain HTTP to this machine.
func (s *Settings) Validate(loopback bool) error {
	switch {
	case !nameShape.MatchString(s.Name) || slices.Contains(reserved, s.Name):
		return invalid("name", "must be 1 to 32 of a-z, 0-9 and -, and not code or passkey")
	case !titled(s.EN):
		return invalid("en", "must have at most 60 bytes and no invisible characters")
	case !titled(s.KO):
		return invalid("ko", "must have at most 60 bytes and no invisible characters")
	case !reachable(s.Issuer, loopback) || strings.ContainsAny(s.Issuer, "?#"):
		return invalid("issuer", "must be an https URL without query or fragment")
	case s.ClientID == "" || len(s.ClientID) > 512 || strings.ContainsFunc(s.ClientID, unicode.IsControl):
		return invalid("client_id", "must have 1 to 512 characters")
	case (s.Secret == "") == (s.Key == nil):
		return invalid("client_secret_file", "or private_key_file must be given, and not both")
	case s.MaxAge < 0 || s.MaxAge > maxMaxAge:
		return invalid("max_age", "must be 0 to 31536000 seconds")
	}
	if err := checkKey(s.Key); err != nil {
		return err
	}
	for _, list := range []struct {
		field  string
		values []string
	}{{"scopes", s.Scopes}, {"acr_values", s.ACRValues}, {"session_acr", s.SessionACR}, {"session_amr", s.SessionAMR}} {
		if len(list.values) > 20 || slices.ContainsFunc(list.values, func(v string) bool { return !tokenShape.MatchString(v) }) {
			return invalid(list.field, "must be at most 20 values without spaces")
		}
	}
	for _, method := range s.SessionAMR {
		if !methods[method] {
			return invalid("session_amr", "must be values of RFC 8176")
		}
	}
	return nil
}

const maxMaxAge = 365 * 24 * time.Hour

func titled(s string) bool {
	return len(s) <= maxTitle && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) })
}

// reachable reports whether a URL may be called, or a browser sent to it.
func reachable(address string, loopback bool) bool {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" || len(address) > 2000 {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && loopback && isLocal(u.Hostname())
}

func isLocal(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func checkKey(key crypto.Signer) error {
	switch k := key.(type) {
	case nil, ed25519.PrivateKey:
		return nil
	case *ecdsa.PrivateKey:
		if k.Curve == elliptic.P256() {
			return nil
		}
	case *rsa.PrivateKey:
		if k.N.BitLen() >= 2048 {
			return nil
		}
	}
	return invalid("private_key_file", "must hold a P-256, Ed25519 or RSA key, RSA of at least 2048 bits")
}

func invalid(field, rule string) error { return &approvals.FieldError{Field: field, Rule: rule} }

// Check validates providers, also in what they must not have in common: two with one issuer would answer for each other.
// Errors name the table, the setting and the rule.
func Check(list []Settings, loopback bool) error {
	for i := range list {
		if err := list[i].Validate(loopback); err != nil {
			return fmt.Errorf("upstream[%d].%w", i, err)
		}
		for j := range i {
			if list[i].Name == list[j].Name || list[i].Issuer == list[j].Issuer {
				return fmt.Errorf("upstream[%d]: name and issuer must be unlike those of upstream[%d]: %w", i, j, approvals.ErrInvalid)
			}
		}
	}
	return nil
}
