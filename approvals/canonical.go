package approvals

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits of any JSON that comes from outside (REQ-099).
const (
	maxDepth  = 8
	maxNumber = 64 // characters of one number
)

var errJSON = errors.New("must be JSON")

// ParseJSON reads one JSON value strictly: UTF-8, no duplicate member names, no lone surrogates, at most eight levels,
// and only numbers that survive a float64 round trip. Objects become map[string]any, numbers json.Number.
//
// Being strict here is what makes canonical bytes, the page and the token say the same thing.
func ParseJSON(raw []byte) (any, error) {
	if !utf8.Valid(raw) || hasLoneSurrogate(raw) {
		return nil, fmt.Errorf("%w in UTF-8", errJSON)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	v, err := parseValue(d, 1)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w with nothing after it", errJSON)
	}
	return v, nil
}

func parseValue(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, errJSON
	}
	switch t := t.(type) {
	case json.Delim:
		if depth > maxDepth {
			return nil, fmt.Errorf("must not be deeper than %d levels", maxDepth)
		}
		if t == '[' {
			return parseArray(d, depth)
		}
		return parseObject(d, depth)
	case json.Number:
		return t, checkNumber(string(t))
	}
	return t, nil
}

func parseArray(d *json.Decoder, depth int) (any, error) {
	list := []any{}
	for d.More() {
		v, err := parseValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, closing(d)
}

func parseObject(d *json.Decoder, depth int) (any, error) {
	object := map[string]any{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, errJSON
		}
		name := t.(string) // the decoder allows nothing else here
		if _, twice := object[name]; twice {
			return nil, errors.New("must not name a member twice")
		}
		if object[name], err = parseValue(d, depth+1); err != nil {
			return nil, err
		}
	}
	return object, closing(d)
}

func closing(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return errJSON
	}
	return nil
}

// checkNumber refuses numbers that another reader would round: 20-digit integers, 1e400, 0.1000000000000000055.
func checkNumber(literal string) error {
	if len(literal) > maxNumber {
		return fmt.Errorf("must not hold a number of more than %d characters", maxNumber)
	}
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil || math.IsInf(f, 0) {
		return errors.New("must not hold a number outside float64")
	}
	if f == 0 { // Rat would expand 0e-999999999
		if strings.ContainsAny(strings.ToLower(literal[:mantissa(literal)]), "123456789") {
			return errors.New("must not hold a number that float64 rounds to zero")
		}
		return nil
	}
	exact, ok1 := new(big.Rat).SetString(literal)
	kept, ok2 := new(big.Rat).SetString(formatNumber(f))
	if !ok1 || !ok2 || exact.Cmp(kept) != 0 {
		return errors.New("must not hold a number that float64 rounds; send it as a string")
	}
	return nil
}

func mantissa(literal string) int {
	if i := strings.IndexAny(literal, "eE"); i >= 0 {
		return i
	}
	return len(literal)
}

// hasLoneSurrogate finds \ud800-style escapes without their other half, which decoders replace silently.
func hasLoneSurrogate(raw []byte) bool {
	for i := 0; i+1 < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		if raw[i+1] != 'u' {
			i++ // an escaped backslash hides what follows
			continue
		}
		first, ok := escape(raw, i)
		if !ok || !utf16.IsSurrogate(first) {
			i += 5
			continue
		}
		second, ok := escape(raw, i+6)
		if !ok || utf16.DecodeRune(first, second) == utf8.RuneError {
			return true
		}
		i += 11
	}
	return false
}

func escape(raw []byte, at int) (rune, bool) {
	if at+6 > len(raw) || raw[at] != '\\' || raw[at+1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(raw[at+2:at+6]), 16, 16)
	return rune(n), err == nil
}

// Canonical writes a parsed value as RFC 8785 (JSON Canonicalization Scheme) demands: members sorted by UTF-16 code
// units, numbers as ECMAScript prints them, the shortest string escapes, no white space.
func Canonical(v any) []byte { return appendCanonical(nil, v) }

func appendCanonical(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		return strconv.AppendBool(b, v)
	case string:
		return appendString(b, v)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case json.Number:
		f, _ := v.Float64() // parsed values have been checked
		return append(b, formatNumber(f)...)
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendCanonical(b, e)
		}
		return append(b, ']')
	case map[string]any:
		b = append(b, '{')
		for i, name := range canonicalOrder(v) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, name), ':')
			b = appendCanonical(b, v[name])
		}
		return append(b, '}')
	}
	panic(fmt.Sprintf("approvals: canonical form of %T", v)) // a programming error: parsed values have no other types
}

func canonicalOrder(object map[string]any) []string {
	names := make([]string, 0, len(object))
	for name := range object {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
	})
	return names
}

// formatNumber is ECMAScript's Number::toString.
func formatNumber(f float64) string {
	if f == 0 {
		return "0"
	}
	if abs := math.Abs(f); abs >= 1e-6 && abs < 1e21 {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	s := strconv.FormatFloat(f, 'e', -1, 64) // Go pads the exponent to two digits
	s = strings.Replace(s, "e-0", "e-", 1)
	return strings.Replace(s, "e+0", "e+", 1)
}

func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\b':
			b = append(b, '\\', 'b')
		case c == '\t':
			b = append(b, '\\', 't')
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\f':
			b = append(b, '\\', 'f')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
