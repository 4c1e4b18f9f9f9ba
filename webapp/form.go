package webapp

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxForm bounds every body.
const maxForm = 64 << 10

// form reads a body that may hold the given fields, each at most once, and nothing else. Pages that we wrote never send
// anything different, so whatever does is refused before a rule of the domain sees it.
func form(v *visit, fields ...string) (url.Values, error) {
	kind, _, err := mime.ParseMediaType(v.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, fmt.Errorf("content type: %w", errForm)
	}
	raw, err := io.ReadAll(http.MaxBytesReader(nil, v.Body, maxForm))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, errTooLarge
	}
	if err != nil {
		return nil, fmt.Errorf("read body: %w", errForm)
	}
	return parseForm(string(raw), fields...)
}

func parseForm(raw string, fields ...string) (url.Values, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, fmt.Errorf("encoding: %w", errForm)
	}
	for name, given := range values {
		switch {
		case !slices.Contains(fields, name):
			return nil, fmt.Errorf("unknown field: %w", errForm)
		case len(given) > 1:
			return nil, fmt.Errorf("field %s twice: %w", name, errForm)
		case !utf8.ValidString(given[0]):
			return nil, fmt.Errorf("field %s is not UTF-8: %w", name, errForm)
		}
	}
	return values, nil
}

var ownPage = regexp.MustCompile(`^/(requests/[0-9a-z]{26}|agents|history|history/[0-9a-z]{26}|agents/[A-Za-z0-9._~-]{1,255}|passkeys|sessions|settings|accounts|devices)$`)

// ownPath returns where a visitor may be sent after sign-in: a request, a page about the account, or the inbox. Anything
// else, and every other site, is the inbox.
func ownPath(next string) string {
	if ownPage.MatchString(next) {
		return next
	}
	return "/"
}

// here is the page that this visit is about, for coming back to it: the request or the agent of a POST on it, a page about
// the account, the inbox otherwise.
func (v *visit) here() string {
	const prefix = len("/requests/") + 26
	p := v.URL.Path
	if len(p) >= prefix && strings.HasPrefix(p, "/requests/") {
		return ownPath(p[:prefix])
	}
	if strings.HasSuffix(p, "/connect") { // a link of that page
		return "/accounts"
	}
	for p != "/" && !ownPage.MatchString(p) { // the form of a page lies below it
		p = path.Dir(p)
	}
	return ownPath(p)
}
