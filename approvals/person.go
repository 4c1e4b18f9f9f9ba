package approvals

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// PersonID is the sub of a person: opaque, never reused, the same in every token.
type PersonID string

// Person is somebody who can be asked. People are created by operators or invitation only, never by a hint or a first
// login.
type Person struct {
	V         int       `json:"v"`
	ID        PersonID  `json:"sub"`
	Name      string    `json:"name"`
	Locale    string    `json:"locale"` // "en" or "ko"
	Zone      string    `json:"zone"`   // IANA name; UTC when empty
	Hints     []string  `json:"login_hints,omitempty"`
	Email     string    `json:"email,omitempty"`
	Phone     string    `json:"phone,omitempty"`     // E.164
	Addresses []Address `json:"addresses,omitempty"` // in the person's order

	Quiet QuietHours `json:"quiet_hours,omitzero"` // in Zone
	Muted []string   `json:"muted,omitempty"`      // channels that bring this person no requests; codes come all the same

	// Detail is how much notifications may say, where only the person's own browser can read them; empty is DetailMinimal.
	Detail string `json:"detail,omitempty"`

	UserCode  string    `json:"user_code,omitempty"` // slow hash, made and compared by the agents' door
	Disabled  bool      `json:"disabled,omitempty"`
	CreatedAt time.Time `json:"created_at"`

	// SignedOutAt ends everything that was signed in or bound before it, on every device.
	SignedOutAt time.Time `json:"signed_out_at,omitzero"`

	// ReachChangedAt is when a number, or a further device, was last added, or an address taken away by hand. For a while from then on nobody approves what
	// takes a passkey: whoever took an account over wants just that.
	ReachChangedAt time.Time `json:"reach_changed_at,omitzero"`

	Revision uint64 `json:"-"` // of the record this came from
}

// Values of [Person.Detail]. Text messages and what passes through an app's provider never carry details.
const (
	DetailMinimal = "minimal" // that something waits, never what: lock screens are public
	DetailSummary = "summary" // the sentence of the request as well
)

// Address is where a channel reaches a person, in the person's order of preference.
type Address struct {
	Channel    string    `json:"channel"` // Name of a channels.Channel
	Value      string    `json:"value"`   // E.164 number, device token, subscription
	VerifiedAt time.Time `json:"verified_at,omitzero"`
}

// LogValue keeps numbers and device tokens out of logs.
func (a Address) LogValue() slog.Value { return slog.StringValue(a.Channel) }

// LogValue keeps a person's addresses and name out of logs.
func (p *Person) LogValue() slog.Value { return slog.StringValue(string(p.ID)) }

// names lists every identifier that must belong to this person alone, in the form in which hints are looked up.
func (p *Person) names() []string {
	names := []string{Name("sub", string(p.ID))}
	for _, h := range p.Hints {
		names = append(names, Name("hint", h))
	}
	if p.Email != "" {
		names = append(names, Name("email", p.Email))
	}
	if p.Phone != "" {
		names = append(names, Name("phone", p.Phone))
	}
	return names
}

// Name is the look-up form of an identifier: kind "sub", "hint", "email" or "phone". E-mail compares in lower case,
// everything else exactly.
func Name(kind, value string) string {
	if kind == "email" {
		value = strings.ToLower(value)
	}
	return kind + ":" + value
}

// subChars need no escaping in a URL's path or in JSON, and cover the subjects that identity providers hand out.
const subChars = clientIDChars + "@|:+="

// maxHint is the longest hint: a record's key holds it with its kind in front.
const maxHint = 500

// Validate reports what a person's record must fulfil before it may be stored.
func (p *Person) Validate() error {
	switch {
	case p.ID == "" || len(p.ID) > 255:
		return invalid("sub", "must have 1 to 255 characters")
	case strings.Trim(string(p.ID), subChars) != "":
		return invalid("sub", "must hold only letters, digits and - . _ ~ @ | : + =")
	case p.Name == "" || len(p.Name) > 200 || strings.ContainsFunc(p.Name, odd):
		return invalid("name", "must have 1 to 200 bytes and no invisible characters")
	case p.Phone != "" && (len(p.Phone) < 8 || len(p.Phone) > 16 || p.Phone[0] != '+' || !isDigits(p.Phone[1:])):
		return invalid("phone", "must be an E.164 number such as +4930123456")
	case p.Email != "" && (strings.Count(p.Email, "@") != 1 || len(p.Email) > 254 || strings.ContainsFunc(p.Email, odd) ||
		strings.Contains(p.Email, " ")):
		return invalid("email", "must be an e-mail address")
	}
	switch p.Detail {
	case "", DetailMinimal, DetailSummary:
	default:
		return invalid("detail", "must be minimal or summary")
	}
	for i, h := range p.Hints {
		if h == "" || len(h) > maxHint || strings.ContainsFunc(h, odd) {
			return invalid(fmt.Sprintf("login_hints[%d]", i), "must have 1 to %d visible bytes", maxHint)
		}
	}
	if _, err := time.LoadLocation(p.Zone); err != nil || p.Zone == "Local" { // which would be the host's
		return invalid("zone", "must be an IANA time zone")
	}
	for i, channel := range p.Muted {
		if channel == "" || len(channel) > 32 || slices.Contains(p.Muted[:i], channel) {
			return invalid(fmt.Sprintf("muted[%d]", i), "must be the name of a channel, once")
		}
	}
	return p.Quiet.validate()
}

func decodePerson(rec Record) (*Person, error) {
	p := &Person{Revision: rec.Revision}
	if err := json.Unmarshal(rec.Value, p); err != nil {
		return nil, fmt.Errorf("read person: %w", err)
	}
	return p, nil
}
