package ciba

import (
	"bytes"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"assent/approvals"
)

// Limits of what a client may send (REQ-082).
const (
	maxBody    = 64 << 10
	usualBody  = 2 << 10 // that much room is made before the first byte
	maxValue   = 16 << 10
	maxRequest = 32 << 10 // a signed request object, or a token of ours
	maxParams  = 64
)

const (
	typeForm = "application/x-www-form-urlencoded"
	typeJSON = "application/json"
)

type param struct{ name, value string }

// params are the decoded parameters of one body. The query is never read (REQ-070), and a parameter without a value is
// no parameter (REQ-080).
type params struct {
	list  []param
	twice bool // a parameter other than resource came twice; refused in its turn (REQ-079, 083)
}

// get returns the value of a parameter, or "" when it is absent.
func (p *params) get(name string) string {
	for i := range p.list {
		if p.list[i].name == name {
			return p.list[i].value
		}
	}
	return ""
}

// all returns every value of a repeatable parameter.
func (p *params) all(name string) (values []string) {
	for _, e := range p.list {
		if e.name == name {
			values = append(values, e.value)
		}
	}
	return values
}

// count says how often a parameter came.
func (p *params) count(name string) (n int) {
	for i := range p.list {
		if p.list[i].name == name {
			n++
		}
	}
	return n
}

func (p *params) add(name, value string) error {
	limit := maxValue
	if name == "request" || name == "token" {
		limit = maxRequest
	}
	switch {
	case value == "":
		return nil
	case len(value) > limit:
		return badRequest("A parameter is too long.")
	case len(p.list) == maxParams:
		return badRequest("There are too many parameters.")
	case !utf8.ValidString(name) || !utf8.ValidString(value):
		return badRequest("A parameter is not in UTF-8.")
	case strings.IndexByte(value, 0) >= 0 || strings.IndexByte(name, 0) >= 0:
		return badRequest("A parameter holds a NUL character.")
	}
	if name != "resource" && p.count(name) > 0 {
		p.twice = true
	}
	p.list = append(p.list, param{name, value})
	return nil
}

// readParams reads the body once, up to its limit. JSON is for the token endpoint alone, where published clients send
// it.
func readParams(w http.ResponseWriter, r *http.Request, json bool) (*params, error) {
	kind, err := bodyType(r)
	if err != nil || kind != typeForm && !(json && kind == typeJSON) {
		return nil, badRequest("The Content-Type must be " + typeForm + ".")
	}
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	if kind == typeJSON {
		return parseJSON(body)
	}
	return parseForm(string(body))
}

func bodyType(r *http.Request) (string, error) {
	text := r.Header.Get("Content-Type")
	if text == typeForm {
		return text, nil
	}
	kind, _, err := mime.ParseMediaType(text)
	return kind, err
}

// readBody sets no more memory aside than most bodies need: a Content-Length is only a promise.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > maxBody {
		return nil, errTooLarge
	}
	var b bytes.Buffer
	b.Grow(int(min(max(r.ContentLength, 0), usualBody)) + bytes.MinRead)
	_, err := b.ReadFrom(http.MaxBytesReader(w, r.Body, maxBody))
	return b.Bytes(), bodyFault(err)
}

var errTooLarge = &fault{status: http.StatusRequestEntityTooLarge, code: "invalid_request",
	text: "The body is larger than 64 KiB."}

func bodyFault(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &tooLarge):
		return errTooLarge
	}
	return badRequest("The body could not be read to its end.")
}

// parseForm reads application/x-www-form-urlencoded strictly: broken escapes, NUL and invalid UTF-8 are refused
// (REQ-078).
func parseForm(body string) (*params, error) {
	p := &params{list: make([]param, 0, 8)}
	for body != "" {
		var part string
		part, body, _ = strings.Cut(body, "&")
		name, value, _ := strings.Cut(part, "=")
		name, ok1 := unescape(name)
		value, ok2 := unescape(value)
		if !ok1 || !ok2 {
			return nil, badRequest("The form holds a broken percent escape.")
		}
		if err := p.add(name, value); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// unescape decodes + and %XX. It reports false for a broken escape.
func unescape(s string) (string, bool) {
	if !strings.ContainsAny(s, "%+") {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '+':
			b = append(b, ' ')
		case '%':
			if i+2 >= len(s) || unhex(s[i+1]) < 0 || unhex(s[i+2]) < 0 {
				return "", false
			}
			b = append(b, byte(unhex(s[i+1])<<4|unhex(s[i+2])))
			i += 2
		default:
			b = append(b, s[i])
		}
	}
	return string(b), true
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// parseJSON reads one flat object of strings; null is the same as absent. No member may come twice.
func parseJSON(body []byte) (*params, error) {
	v, err := approvals.ParseJSON(body)
	if err != nil {
		return nil, badRequest(plain("The body " + err.Error() + "."))
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, badRequest("The body must be a JSON object.")
	}
	p := &params{list: make([]param, 0, len(object))}
	for name, v := range object {
		value, ok := v.(string)
		if !ok && v != nil {
			return nil, badRequest("Every member of the JSON body must be a string.")
		}
		if err := p.add(name, value); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// credentials are the parameters that prove who the client is; everything else says what it wants.
var credentials = []string{"client_id", "client_secret", "client_assertion", "client_assertion_type"}

// wants lists names and values in a fixed order, without credentials: the content of the request, whatever its
// encoding.
func (p *params) wants() []string {
	var list []param
	for _, e := range p.list {
		if !slices.Contains(credentials, e.name) {
			list = append(list, e)
		}
	}
	slices.SortStableFunc(list, func(a, b param) int { return strings.Compare(a.name, b.name) })
	flat := make([]string, 0, 2*len(list))
	for _, e := range list {
		flat = append(flat, e.name, e.value)
	}
	return flat
}
