package approvals

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Role says how a page lays a fact out. It is no part of the evidence: every fact is shown, whatever its role.
type Role string

// Roles of facts.
const (
	RoleAction Role = "action" // the one plain sentence
	RoleAgent  Role = "agent"
	RoleAmount Role = "amount"
	RoleFact   Role = "fact"
	RoleWords  Role = "words" // the agent's own words, unchecked
	RoleCode   Role = "code"  // binding_message, to compare
	RoleEnter  Role = "enter" // says that a code is to be typed, and never which
	RolePart   Role = "part"  // begins the facts of one of several objects
	RoleWhole  Role = "whole" // about the request as a whole, after the facts of its objects
	RoleAbout  Role = "about" // about the agent, and stands with its name
	RoleRisk   Role = "risk"  // a reason to look closer
)

// Fact is one line of what the person reads.
type Fact struct {
	Label string `json:"label"`
	Text  string `json:"text"`
	Role  Role   `json:"role"`
}

// Disclosure is exactly what a person is shown: strings only, rendered once by a pure function. Its canonical bytes
// are stored with the decision, and its digest is in the form, the audit record and the token.
type Disclosure struct {
	Request   ID        `json:"request"`
	Type      string    `json:"type"`     // authorization_details types, joined by spaces; empty for scopes only
	Template  string    `json:"template"` // name of the rendering function
	Version   int       `json:"version"`
	Locale    string    `json:"locale"`
	Zone      string    `json:"zone"`
	ExpiresAt time.Time `json:"expires_at"`
	Salt      string    `json:"salt"`
	Facts     []Fact    `json:"facts"`
	Button    string    `json:"button"` // the words on the approving button
}

// Canonical returns the RFC 8785 bytes of {button, expires_at, facts: [[label, text]…], locale, request, salt, template,
// type, version, zone}. Whoever holds them can recompute [Disclosure.Digest] with any SHA-256 tool.
func (d Disclosure) Canonical() []byte {
	b := make([]byte, 0, 1<<10)
	member := func(name, value string) {
		b = append(append(append(b, '"'), name...), '"', ':')
		b = append(appendString(b, value), ',')
	}
	b = append(b, '{') // members follow in their canonical order
	member("button", d.Button)
	member("expires_at", d.ExpiresAt.UTC().Format(time.RFC3339))
	b = append(b, `"facts":[`...)
	for i, f := range d.Facts {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(append(b, '['), f.Label), ',')
		b = append(appendString(b, f.Text), ']')
	}
	b = append(b, ']', ',')
	member("locale", d.Locale)
	member("request", string(d.Request))
	member("salt", d.Salt)
	member("template", d.Template)
	member("type", d.Type)
	b = append(strconv.AppendInt(append(b, `"version":`...), int64(d.Version), 10), ',')
	member("zone", d.Zone)
	b[len(b)-1] = '}'
	return b
}

// Digest is the SHA-256 of [Disclosure.Canonical] in base64url without padding: 43 characters.
func (d Disclosure) Digest() string {
	sum := sha256.Sum256(d.Canonical())
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Action returns the one plain sentence of what will happen.
func (d Disclosure) Action() string {
	for _, f := range d.Facts {
		if f.Role == RoleAction {
			return f.Text
		}
	}
	return ""
}

// rendering is what one object of authorization_details says.
type rendering struct {
	action, button string
	facts          []Fact
}

func (out *rendering) add(label, text string, role Role) {
	out.facts = append(out.facts, Fact{label, text, role})
}

// list adds one fact for an optional array of strings.
func (out *rendering) list(label string, v any) {
	if values, ok := v.([]any); ok {
		texts := make([]string, len(values))
		for i, e := range values {
			texts[i] = Visible(e.(string))
		}
		out.add(label, strings.Join(texts, ", "), RoleFact)
	}
}

// Renderer turns requests into disclosures.
type Renderer struct {
	Types  Types
	Scopes map[string]Phrase // what a scope means; a scope without a phrase is shown by its name
}

// Disclose renders what r asks, in one language. It reads nothing but r and the renderer's tables, so that the same
// request renders to the same bytes in every process and every year, as long as types keep their version.
func (p Renderer) Disclose(r *Request, locale string) (Disclosure, error) {
	objects, err := r.Requested.objects()
	if err != nil {
		return Disclosure{}, err
	}
	return p.disclose(r, objects, locale)
}

// disclose is Disclose for who has read what r asks.
func (p Renderer) disclose(r *Request, objects []map[string]any, locale string) (Disclosure, error) {
	w := words{Locale(locale)}
	d := Disclosure{Request: r.ID, Locale: w.locale, Zone: r.Zone, ExpiresAt: r.DecideBy,
		Salt: base64.RawURLEncoding.EncodeToString(r.Salt)}
	parts := make([]rendering, len(r.Requested))
	var names []string
	for i, detail := range r.Requested {
		var err error
		if parts[i], err = p.Types.renderObject(detail, objects[i], w); err != nil {
			return Disclosure{}, err
		}
		names = append(names, detail.Type)
	}
	d.Type = strings.Join(names, " ")
	whole := assemble(parts, w)
	d.Template, d.Version = p.template(r.Requested)
	d.Button = whole.button

	d.Facts = append(d.Facts, Fact{w.say(labelAction), whole.action, RoleAction},
		Fact{w.say(labelAgent), Visible(r.AgentName), RoleAgent})
	d.Facts = append(append(d.Facts, w.about(r)...), whole.facts...)
	if access := p.scopes(r.Scope, w); access != "" {
		d.Facts = append(d.Facts, Fact{w.say(labelAccess), access, RoleWhole})
		if len(parts) == 0 {
			d.Button = w.say(sayApproveAccess)
		}
	}
	if len(r.Audience) > 0 {
		d.Facts = append(d.Facts, Fact{w.say(labelAudience), Visible(strings.Join(r.Audience, ", ")), RoleWhole})
	}
	if !r.Until.IsZero() {
		text := w.sprintf(sayStanding, w.date(r.Until, r.Zone))
		d.Facts = append(d.Facts, Fact{w.say(labelStanding), text, RoleWhole})
	}
	d.Facts = append(d.Facts, p.risks(r, objects, w)...)
	if r.Binding != "" {
		d.Facts = append(d.Facts, Fact{w.say(labelCode), Visible(r.Binding), RoleCode})
	}
	if r.Enters() {
		d.Facts = append(d.Facts, Fact{w.say(labelCode), w.sprintf(sayEnter, r.CodeDigits), RoleEnter})
	}
	return d, nil
}

// about says what is known of the agent beside its name.
func (w words) about(r *Request) (facts []Fact) {
	if r.Operator != "" {
		facts = append(facts, Fact{w.say(labelOperator), Visible(r.Operator), RoleAbout})
	}
	if !r.Since.IsZero() {
		facts = append(facts, Fact{w.say(labelSince), w.day(r.Since, r.Zone), RoleAbout})
	}
	return facts
}

func (t Types) renderOne(detail Detail, w words) (rendering, error) {
	objects, err := Details{detail}.objects()
	if err != nil {
		return rendering{}, err
	}
	return t.renderObject(detail, objects[0], w)
}

func (t Types) renderObject(detail Detail, object map[string]any, w words) (rendering, error) {
	typ, known := t.of(detail)
	if !known {
		return rendering{}, fmt.Errorf("render %s: type is gone: %w", detail.Type, ErrInvalid)
	}
	return typ.render(object, w), nil
}

// assemble joins the renderings of several objects under headings; one object needs none.
func assemble(parts []rendering, w words) rendering {
	switch len(parts) {
	case 0:
		return rendering{action: w.say(saySignIn), button: w.say(sayApproveSignIn)}
	case 1:
		return parts[0]
	}
	whole := rendering{action: w.sprintf(saySeveral, len(parts)), button: w.sprintf(sayApproveAll, len(parts))}
	for i, part := range parts {
		whole.add(w.sprintf(labelItem, i+1, len(parts)), part.action, RolePart)
		whole.facts = append(whole.facts, part.facts...)
	}
	return whole
}

// template names the rendering: the type itself, "several" for more than one object, "scopes" for none.
func (p Renderer) template(details Details) (name string, version int) {
	switch len(details) {
	case 0:
		return "scopes", 2
	case 1:
		typ, _ := p.Types.of(details[0])
		return typ.Name, typ.Version
	}
	for _, d := range details {
		typ, _ := p.Types.of(d)
		version += typ.Version
	}
	return "several", version
}

// scopes says what a list of scopes allows. openid alone is the sign-in itself and says nothing beside other facts;
// offline_access has a fact of its own.
func (p Renderer) scopes(scope []string, w words) string {
	var out []string
	for _, s := range scope {
		if s == "openid" || s == "offline_access" {
			continue
		}
		if text, known := p.Scopes[s]; known {
			out = append(out, w.configured(text))
		} else {
			out = append(out, Visible(s))
		}
	}
	return strings.Join(out, " · ")
}

// ParseCanonical reads canonical bytes back, for those who check evidence. Roles are not part of them.
func ParseCanonical(raw []byte) (Disclosure, error) {
	var wire struct {
		Disclosure
		Facts [][2]string `json:"facts"`
	}
	if err := json.Unmarshal(raw, &wire); err != nil {
		return Disclosure{}, fmt.Errorf("read disclosure: %w", err)
	}
	d := wire.Disclosure
	for _, f := range wire.Facts {
		d.Facts = append(d.Facts, Fact{Label: f[0], Text: f[1]})
	}
	return d, nil
}
