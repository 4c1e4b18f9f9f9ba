package approvals

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits of authorization_details (REQ-099).
const (
	MaxDetailsBytes = 16 << 10
	MaxDetails      = 16
)

// Detail is one object of authorization_details (RFC 9396) that has passed its type's schema. Its JSON is kept as the
// agent wrote it, white space aside; the token carries these bytes.
type Detail struct {
	Type    string
	Raw     json.RawMessage
	Generic bool // no type that was known here when the agent asked; so it stays, whatever becomes known later
}

// Details is an authorization_details array.
type Details []Detail

// Digest is the SHA-256 of the array in canonical JSON (RFC 8785), in base64url without padding: 43 characters.
func (d Details) Digest() string {
	list := make([]any, 0, len(d))
	for _, one := range d {
		value, err := ParseJSON(one.Raw)
		if err != nil {
			value = string(one.Raw) // not after Parse, which lets only JSON in
		}
		list = append(list, value)
	}
	sum := sha256.Sum256(Canonical(list))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// MarshalJSON writes the object as a string, because encoding/json would rewrite <, > and & inside of it, and a database
// may do worse. An edge that shows the object writes Raw.
func (d Detail) MarshalJSON() ([]byte, error) {
	if d.Generic {
		return json.Marshal(genericDetail{string(d.Raw)})
	}
	return json.Marshal(string(d.Raw))
}

// genericDetail is how an object of an unknown type is kept.
type genericDetail struct {
	Generic string `json:"generic"`
}

// UnmarshalJSON reads an object that was checked when it first came in.
func (d *Detail) UnmarshalJSON(raw []byte) error {
	var text string
	if len(raw) > 0 && raw[0] == '{' {
		var kept genericDetail
		if err := json.Unmarshal(raw, &kept); err != nil {
			return err
		}
		d.Generic, text = true, kept.Generic
	} else if err := json.Unmarshal(raw, &text); err != nil {
		return err
	}
	var head struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal([]byte(text), &head); err != nil {
		return err
	}
	d.Type, d.Raw = head.Type, json.RawMessage(text)
	return nil
}

// ErrContainer marks authorization_details that are not a JSON array of objects at all, which RFC 6749 calls
// invalid_request; faults inside an object have RFC 9396's own code (REQ-094).
var ErrContainer = fmt.Errorf("not an array of objects: %w", ErrInvalid)

// Types is the registry of what may be asked: schema, renderer and needed level for each authorization_details type.
type Types map[string]Type

// Type is one authorization_details type.
type Type struct {
	Name    string
	Version int   // of schema and template together; changes whenever the text a person reads may change
	Level   Level // weakest sign-in that may approve
	Once    bool  // an approval is for doing it once

	less    lessening                         // what a person may take away before approving
	members members                           // nil: every member
	check   func(object map[string]any) error // rules between members; may be nil
	render  func(object map[string]any, w words) rendering
	pays    func(object map[string]any) payment // what an approval spends, and on whom; nil: nothing
}

// payment is money that leaves the person with an approval.
type payment struct {
	amount Money
	payee  string // names whoever gets it; payees are the same when it is
}

// of returns the type of an object; false if it is gone.
func (t Types) of(d Detail) (Type, bool) {
	if d.Generic {
		return generic, true
	}
	typ, known := t[d.Type]
	return typ, known
}

// Once reports whether an approval of a type is for doing it once. That holds for what nobody knows.
func (t Types) Once(name string) bool {
	typ, known := t[name]
	return !known || typ.Once
}

// Names lists the registered types in alphabetical order.
func (t Types) Names() []string { return slices.Sorted(maps.Keys(t)) }

// Parse reads an authorization_details array, checks every object against its type and returns it in order. allowed
// says which types the agent may use; about a type that is not registered it is asked as [TypeGeneric]. An empty array is
// the same as none (REQ-098).
func (t Types) Parse(raw []byte, allowed func(name string) bool) (Details, error) {
	const field = "authorization_details"
	if len(raw) > MaxDetailsBytes {
		return nil, invalid(field, "must not be longer than %d bytes", MaxDetailsBytes)
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(raw, &parts); err != nil || parts == nil {
		return nil, ErrContainer
	}
	if len(parts) > MaxDetails {
		return nil, invalid(field, "must not hold more than %d objects", MaxDetails)
	}
	details := make(Details, 0, len(parts))
	for i, part := range parts {
		d, err := t.parseOne(fmt.Sprintf("%s[%d]", field, i), part, allowed)
		if err != nil {
			return nil, err
		}
		details = append(details, d)
	}
	if len(details) == 0 {
		return nil, nil
	}
	return details, nil
}

// usable names the types of which one may be asked, for whoever has asked for another.
func (t Types) usable(allowed func(string) bool) string {
	names := slices.DeleteFunc(t.Names(), func(name string) bool { return !allowed(name) })
	if len(names) == 0 {
		return "there is none"
	}
	return strings.Join(names, ", ")
}

func (t Types) parseOne(path string, raw []byte, allowed func(string) bool) (Detail, error) {
	if first := bytes.TrimLeft(raw, " \t\r\n"); len(first) == 0 || first[0] != '{' {
		return Detail{}, ErrContainer
	}
	v, err := ParseJSON(raw)
	if err != nil {
		return Detail{}, invalid(path, "%s", err)
	}
	object := v.(map[string]any)
	name, ok := object["type"].(string)
	if !ok || name == "" {
		return Detail{}, invalid(path+".type", "is required and must be a string")
	}
	typ, known := t[name]
	if !known && allowed(TypeGeneric) {
		typ = generic
	} else if !known || !allowed(name) {
		return Detail{}, invalid(path+".type", "must be a type that this server knows and this client may use: %s", t.usable(allowed))
	}
	if typ.members != nil {
		if err := typ.members.validate(path, object); err != nil {
			return Detail{}, err
		}
	}
	if typ.check != nil {
		if err := typ.check(object); err != nil {
			return Detail{}, fmt.Errorf("%s: %w", path, err)
		}
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		return Detail{}, ErrContainer
	}
	return Detail{Type: name, Raw: compact.Bytes(), Generic: !known}, nil
}

// objects reads the JSON of every object.
func (d Details) objects() ([]map[string]any, error) {
	out := make([]map[string]any, len(d))
	for i, one := range d {
		v, err := ParseJSON(one.Raw)
		object, ok := v.(map[string]any)
		if err != nil || !ok {
			return nil, fmt.Errorf("read %s: %w", one.Type, errors.Join(err, ErrContainer))
		}
		out[i] = object
	}
	return out, nil
}

// payments says what an approval of each of the details spends; nil for those that spend nothing. objects is what they hold.
func (t Types) payments(details Details, objects []map[string]any) []*payment {
	out := make([]*payment, len(details))
	for i, d := range details {
		if typ, _ := t.of(d); typ.pays != nil {
			spent := typ.pays(objects[i])
			out[i] = &spent
		}
	}
	return out
}

// members is an object's schema. Unknown members are refused: what no renderer shows, no person can approve (REQ-096).
type members map[string]member

type member struct {
	required bool
	check    func(path string, v any) error
}

func (m members) validate(path string, object map[string]any) error {
	for _, name := range canonicalOrder(object) {
		rule, known := m[name]
		if !known {
			return invalid(path, "has a member that its type does not know")
		}
		if err := rule.check(path+"."+name, object[name]); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if _, present := object[name]; m[name].required && !present {
			return invalid(path+"."+name, "is required")
		}
	}
	return nil
}

func required(check func(string, any) error) member { return member{true, check} }
func optional(check func(string, any) error) member { return member{false, check} }

// text accepts a non-empty string of at most limit code points.
func text(limit int) func(string, any) error {
	return func(path string, v any) error {
		s, ok := v.(string)
		if !ok || s == "" {
			return invalid(path, "must be a non-empty string")
		}
		if utf8.RuneCountInString(s) > limit {
			return invalid(path, "must not be longer than %d characters", limit)
		}
		return nil
	}
}

// oneOf accepts one of the given strings.
func oneOf(allowed ...string) func(string, any) error {
	return func(path string, v any) error {
		if s, ok := v.(string); !ok || !slices.Contains(allowed, s) {
			return invalid(path, "must be one of %v", allowed)
		}
		return nil
	}
}

// listOf accepts a non-empty array of at most 16 values that each pass.
func listOf(each func(string, any) error) func(string, any) error {
	return func(path string, v any) error {
		list, ok := v.([]any)
		if !ok || len(list) == 0 || len(list) > 16 {
			return invalid(path, "must be an array of 1 to 16 values")
		}
		for i, e := range list {
			if err := each(fmt.Sprintf("%s[%d]", path, i), e); err != nil {
				return err
			}
		}
		return nil
	}
}

// object accepts an object that passes the given schema.
func object(m members) func(string, any) error {
	return func(path string, v any) error {
		o, ok := v.(map[string]any)
		if !ok {
			return invalid(path, "must be an object")
		}
		return m.validate(path, o)
	}
}
