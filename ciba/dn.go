package ciba

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// attributeNames are the short names of RFC 4514 section 3, and those that certificates of organisations often have.
var attributeNames = map[string]string{
	"CN": "2.5.4.3", "SERIALNUMBER": "2.5.4.5", "C": "2.5.4.6", "L": "2.5.4.7", "ST": "2.5.4.8", "STREET": "2.5.4.9",
	"O": "2.5.4.10", "OU": "2.5.4.11", "POSTALCODE": "2.5.4.17", "ORGANIZATIONIDENTIFIER": "2.5.4.97",
	"UID": "0.9.2342.19200300.100.1.1", "DC": "0.9.2342.19200300.100.1.25", "EMAILADDRESS": "1.2.840.113549.1.9.1",
}

var errDN = errors.New("must be a distinguished name as RFC 4514 writes it, such as CN=agent,O=Example,C=DE")

// attributes are what one part of a distinguished name says, each as type and value, in order.
type attributes []string

// parseDN reads the text of a distinguished name (RFC 4514 section 3). What comes last in a certificate comes first
// here.
func parseDN(text string) (name []attributes, err error) {
	part := attributes{}
	for rest, more := text, true; more; {
		var one string
		var plus bool
		one, rest, plus, more = cutDN(rest)
		a, err := parseAttribute(one)
		if err != nil {
			return nil, err
		}
		part = append(part, a)
		if !plus {
			slices.Sort(part)
			name, part = append(name, part), attributes{}
		}
	}
	if len(part) > 0 {
		return nil, errDN
	}
	return name, nil
}

// cutDN cuts at the first comma or plus that is not escaped.
func cutDN(text string) (one, rest string, plus, more bool) {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case ',', '+':
			return text[:i], text[i+1:], text[i] == '+', true
		}
	}
	return text, "", false, false
}

// parseAttribute reads type=value. Values in hexadecimal are left as they are.
func parseAttribute(text string) (string, error) {
	kind, value, ok := strings.Cut(text, "=")
	kind = strings.ToUpper(strings.TrimSpace(kind))
	if oid, short := attributeNames[kind]; short {
		kind = oid
	}
	value, err := unescapeDN(value)
	if !ok || err != nil || value == "" || strings.Trim(kind, "0123456789.") != "" || !strings.Contains(kind, ".") {
		return "", errDN
	}
	return kind + "=" + value, nil
}

// unescapeDN takes the escapes out of a value, and the unescaped white space around it.
func unescapeDN(text string) (string, error) {
	text = strings.TrimLeft(text, " ")
	var b strings.Builder
	end := 0 // behind the last byte that is not a bare space
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c != '\\' {
			b.WriteByte(c)
			if c != ' ' {
				end = b.Len()
			}
			continue
		}
		if i++; i == len(text) {
			return "", errDN
		}
		if strings.IndexByte(` "#+,;<=>\`, text[i]) >= 0 {
			b.WriteByte(text[i])
		} else if raw, err := hex.DecodeString(text[i:min(i+2, len(text))]); err == nil && len(raw) == 1 {
			b.WriteByte(raw[0])
			i++
		} else {
			return "", errDN
		}
		end = b.Len()
	}
	if !utf8.ValidString(b.String()) {
		return "", errDN
	}
	return b.String()[:end], nil
}

// subjectDN is the name in a certificate, in the form of [parseDN]. A value that is no text fits nothing.
func subjectDN(raw []byte) (name []attributes, err error) {
	var sequence pkix.RDNSequence
	if rest, err := asn1.Unmarshal(raw, &sequence); err != nil || len(rest) > 0 {
		return nil, errors.New("read subject of certificate: malformed name")
	}
	for _, set := range slices.Backward(sequence) {
		part := attributes{}
		for _, a := range set {
			text, ok := a.Value.(string)
			if !ok {
				return nil, fmt.Errorf("read subject of certificate: %v is no text", a.Type)
			}
			part = append(part, a.Type.String()+"="+text)
		}
		slices.Sort(part)
		name = append(name, part)
	}
	return name, nil
}

func sameDN(a, b []attributes) bool {
	return slices.EqualFunc(a, b, func(x, y attributes) bool { return slices.Equal(x, y) })
}
