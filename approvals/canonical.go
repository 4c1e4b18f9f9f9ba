package approvals

import (
	"encoding/json"
	"errors"
	"fmt"
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
	if !json.Valid(raw) {
		return nil, errJSON
	}
	s := scanner{raw: raw}
	return s.value(1)
}

// scanner takes apart JSON whose syntax encoding/json has found valid; what is left to check is what that package lets
// pass. It is several times faster than the token reader, which matters because every request is parsed twice.
type scanner struct {
	raw []byte
	at  int
}

// next skips white space and the commas and colons between values, and returns the byte that follows.
func (s *scanner) next() byte {
	for {
		switch c := s.raw[s.at]; c {
		case ' ', '\t', '\r', '\n', ',', ':':
			s.at++
		default:
			return c
		}
	}
}

func (s *scanner) value(depth int) (any, error) {
	switch c := s.next(); c {
	case '{', '[':
		if depth > maxDepth {
			return nil, fmt.Errorf("must not be deeper than %d levels", maxDepth)
		}
		s.at++
		if c == '[' {
			return s.array(depth)
		}
		return s.object(depth)
	case '"':
		return s.text()
	case 't':
		s.at += len("true")
		return true, nil
	case 'f':
		s.at += len("false")
		return false, nil
	case 'n':
		s.at += len("null")
		return nil, nil
	}
	return s.number()
}

func (s *scanner) array(depth int) (any, error) {
	list := []any{}
	for s.next() != ']' {
		v, err := s.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	s.at++
	return list, nil
}

func (s *scanner) object(depth int) (any, error) {
	object := map[string]any{}
	for s.next() != '}' {
		name, err := s.text()
		if err != nil {
			return nil, err
		}
		if _, twice := object[name]; twice {
			return nil, errors.New("must not name a member twice")
		}
		if object[name], err = s.value(depth + 1); err != nil {
			return nil, err
		}
	}
	s.at++
	return object, nil
}

// text reads a string. One without escapes is the bytes between its quotes.
func (s *scanner) text() (text string, err error) {
	begin, plain := s.at, true
	for s.at++; s.raw[s.at] != '"'; s.at++ {
		if s.raw[s.at] == '\\' {
			plain = false
			s.at++
		}
	}
	s.at++
	if plain {
		return string(s.raw[begin+1 : s.at-1]), nil
	}
	if err := json.Unmarshal(s.raw[begin:s.at], &text); err != nil {
		return "", errJSON
	}
	return text, nil
}

func (s *scanner) number() (any, error) {
	begin := s.at
	for s.at < len(s.raw) && strings.IndexByte("+-.eE0123456789", s.raw[s.at]) >= 0 {
		s.at++
	}
	n := json.Number(s.raw[begin:s.at])
	return n, checkNumber(string(n))
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
	slices.SortFunc(names, compareUTF16)
	return names
}

// compareUTF16 compares as UTF-16 code units compare. Code points order the same way, and so do bytes of UTF-8, but for
// U+10000 and above: their surrogates come before U+E000.
func compareUTF16(a, b string) int {
	if !strings.ContainsFunc(a, beyondBMP) && !strings.ContainsFunc(b, beyondBMP) {
		return strings.Compare(a, b)
	}
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}

func beyondBMP(c rune) bool { return c > 0xffff }

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
