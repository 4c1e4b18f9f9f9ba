package ciba

import (
	"context"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"assent/approvals"
)

// maxHint is the longest login_hint in characters (REQ-105).
const maxHint = 512

var (
	errHint     = badRequest("The login_hint is malformed.")
	errHintLong = badRequest("The login_hint is longer than 512 characters.")
)

// hint is a login_hint in the forms that people are found by. A hint that is well formed and can name nobody has none.
type hint struct{ names []string }

// parseHint reads a login_hint: a subject identifier in JSON (RFC 9493), a tel: or acct: URI, an E.164 number, an
// e-mail address, or a plain name. It is compared exactly, but for the case of e-mail addresses.
func parseHint(text, issuer string) (hint, error) {
	switch {
	case utf8.RuneCountInString(text) > maxHint:
		return hint{}, errHintLong
	case strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "{"):
		return subjectIdentifier(text, issuer)
	case strings.ContainsFunc(text, unicode.IsControl):
		return hint{}, errHint
	case hasScheme(text, "tel:"):
		number, ok := e164(text[len("tel:"):])
		if !ok {
			return hint{}, errHint
		}
		return named("phone", number), nil
	case hasScheme(text, "acct:"):
		return hint{[]string{approvals.Name("hint", text), approvals.Name("hint", text[len("acct:"):])}}, nil
	}
	found := hint{[]string{approvals.Name("hint", text), approvals.Name("sub", text)}}
	if number, ok := e164(text); ok {
		found.names = append(found.names, approvals.Name("phone", number))
	}
	if strings.Count(text, "@") == 1 {
		found.names = append(found.names, approvals.Name("email", text))
	}
	return found, nil
}

func named(kind, value string) hint { return hint{[]string{approvals.Name(kind, value)}} }

func hasScheme(text, scheme string) bool {
	return len(text) > len(scheme) && strings.EqualFold(text[:len(scheme)], scheme)
}

// e164 takes the visual separators of RFC 3966 out of an international number.
func e164(text string) (string, bool) {
	if !strings.HasPrefix(text, "+") {
		return "", false
	}
	digits := strings.NewReplacer("-", "", ".", "", " ", "", "(", "", ")", "").Replace(text[1:])
	if len(digits) < 7 || len(digits) > 15 || strings.Trim(digits, "0123456789") != "" {
		return "", false
	}
	return "+" + digits, true
}

// subject is an RFC 9493 subject identifier. Members that its format does not have are refused (REQ-106).
type subject struct {
	format string
	rest   map[string]string
}

func subjectIdentifier(text, issuer string) (hint, error) {
	s, err := parseSubject(text)
	if err != nil {
		return hint{}, err
	}
	switch {
	case s.has("iss_sub", "iss", "sub"):
		if !sameIssuer(s.rest["iss"], issuer) {
			return hint{}, nil // somebody else's person is nobody here
		}
		return named("sub", s.rest["sub"]), nil
	case s.has("email", "email"):
		return named("email", s.rest["email"]), nil
	case s.has("phone_number", "phone_number"):
		number, _ := e164(s.rest["phone_number"])
		return named("phone", number), nil
	case s.has("opaque", "id"):
		return named("hint", s.rest["id"]), nil
	}
	return hint{}, errHint
}

func parseSubject(text string) (subject, error) {
	v, err := approvals.ParseJSON([]byte(text))
	object, ok := v.(map[string]any)
	if err != nil || !ok {
		return subject{}, errHint
	}
	s := subject{rest: map[string]string{}}
	for name, v := range object {
		value, ok := v.(string)
		if !ok || strings.ContainsFunc(value, unicode.IsControl) {
			return subject{}, errHint
		}
		s.rest[name] = value
	}
	s.format = s.rest["format"]
	delete(s.rest, "format")
	return s, nil
}

func (s subject) has(format string, members ...string) bool {
	if s.format != format || len(s.rest) != len(members) {
		return false
	}
	for _, m := range members {
		if s.rest[m] == "" {
			return false
		}
	}
	return true
}

// sameIssuer forgives one trailing slash: published clients always add it.
func sameIssuer(a, b string) bool { return strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/") }

// person finds whom the hint means. Nobody, several and disabled are one answer (REQ-104).
func (h *Handler) person(ctx context.Context, hint hint) (*approvals.Person, error) {
	if len(hint.names) == 0 {
		return nil, errUnknownUser
	}
	p, err := h.Directory.Find(ctx, hint.names...)
	if errors.Is(err, approvals.ErrNotFound) {
		return nil, errUnknownUser
	}
	return p, err
}
