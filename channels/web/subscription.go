package web

import (
	"bytes"
	"crypto/ecdh"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"assent/approvals"
)

// Limits of what a browser hands in.
const (
	maxSubscription = 4 << 10
	maxEndpoint     = 1024
)

// subscription is where one browser listens, and what it can decrypt: what PushSubscription.toJSON of the Push API
// gives.
type subscription struct {
	Endpoint string `json:"endpoint"`
	Keys     struct {
		P256DH string `json:"p256dh"`
		Auth   string `json:"auth"`
	} `json:"keys"`
	Expires *float64 `json:"expirationTime,omitempty"` // milliseconds; we learn of the end from the push service

	target target
	origin string // of Endpoint, for the token
}

// Rules say which hosts are push services.
type Rules struct {
	More     []string // beside [Services]: host names; *.example.com means every name below
	Loopback bool     // dev mode: this machine, on any port and over http too
}

// Services lists the push services of the browsers that people use.
func Services() []string {
	return []string{"fcm.googleapis.com", "*.push.services.mozilla.com", "*.push.apple.com", "*.notify.windows.com"}
}

// Validate reports what further hosts must look like.
func (r Rules) Validate() error {
	for i, host := range r.More {
		name := strings.TrimPrefix(host, "*.")
		if !strings.Contains(name, ".") || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" ||
			strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") {
			return &approvals.FieldError{Field: fmt.Sprintf("host[%d]", i),
				Rule: "must be a host name in lower case, such as push.example.com or *.push.example.com"}
		}
	}
	return nil
}

// allow reports what is wrong with an endpoint. Browsers choose it, so it is a client's URL like any other.
func (r Rules) allow(endpoint string) (*url.URL, error) {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || len(endpoint) > maxEndpoint || u.Host == "" || u.Opaque != "" || u.User != nil || u.Fragment != "":
		return nil, &approvals.FieldError{Field: "endpoint",
			Rule: fmt.Sprintf("must be a URL of at most %d bytes, without user and fragment", maxEndpoint)}
	case r.Loopback && (u.Scheme == "http" || u.Scheme == "https") && thisMachine(u.Hostname()):
		return u, nil
	case u.Scheme != "https" || u.Port() != "" && u.Port() != "443":
		return nil, &approvals.FieldError{Field: "endpoint", Rule: "must be https on port 443"}
	case !r.listed(u.Hostname()):
		return nil, &approvals.FieldError{Field: "endpoint", Rule: "must belong to a push service that is allowed here"}
	}
	return u, nil
}

func (r Rules) listed(host string) bool {
	return slices.ContainsFunc(slices.Concat(Services(), r.More), func(rule string) bool { return below(host, rule) })
}

func thisMachine(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// below reports whether a host fits a rule. Browsers write hosts in lower case and without a dot at the end.
func below(host, rule string) bool {
	if tail, wild := strings.CutPrefix(rule, "*"); wild {
		return strings.HasSuffix(host, tail) && len(host) > len(tail)
	}
	return host == rule
}

// parse reads what a browser hands in.
func (r Rules) parse(raw []byte) (*subscription, error) {
	if len(raw) > maxSubscription {
		return nil, &approvals.FieldError{Field: "subscription",
			Rule: fmt.Sprintf("must not be longer than %d bytes", maxSubscription)}
	}
	s := &subscription{}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if err := dec.Decode(s); err != nil {
		return nil, &approvals.FieldError{Field: "subscription", Rule: "must be what PushSubscription.toJSON gives"}
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, &approvals.FieldError{Field: "subscription", Rule: "must be one JSON object"}
	}
	return s, s.complete(r)
}

// complete checks the members and makes of them what sending needs.
func (s *subscription) complete(r Rules) error {
	u, err := r.allow(s.Endpoint)
	if err != nil {
		return err
	}
	s.origin = originOf(u)
	point, err := decode(s.Keys.P256DH)
	if err == nil {
		s.target.public, err = ecdh.P256().NewPublicKey(point)
	}
	if err != nil {
		return &approvals.FieldError{Field: "keys.p256dh", Rule: "must be a point of P-256 in base64url"}
	}
	if s.target.auth, err = decode(s.Keys.Auth); err != nil || len(s.target.auth) != authSize {
		return &approvals.FieldError{Field: "keys.auth", Rule: "must be 16 bytes in base64url"}
	}
	return nil
}

// decode reads base64url, with padding or without.
func decode(text string) ([]byte, error) {
	return base64.RawURLEncoding.Strict().DecodeString(strings.TrimRight(text, "="))
}

// originOf writes an origin as a token's audience names it: without the port that goes without saying (RFC 6454, 6.2).
func originOf(u *url.URL) string {
	if u.Scheme == "https" {
		return "https://" + strings.TrimSuffix(u.Host, ":443")
	}
	return u.Scheme + "://" + u.Host
}
