package approvals

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// BuiltinTypes are the authorization_details types that every installation has.
func BuiltinTypes() Types {
	types := Types{}
	for _, t := range []Type{paymentInitiation, documentAccess, toolCall} {
		types[t.Name] = t
	}
	return types
}

// paymentInitiation uses the member names of the example in RFC 9396 section 2. Money is a decimal string.
var paymentInitiation = Type{
	Name: "payment_initiation", Version: 1, Level: LevelSession, Once: true,
	less: lessening{amount: "instructedAmount", amountLabel: labelAmount},
	members: members{
		"type":                              required(text(64)),
		"actions":                           optional(listOf(oneOf("initiate", "status", "cancel"))), // with initiate
		"locations":                         optional(listOf(location)),
		"instructedAmount":                  required(money),
		"creditorName":                      required(text(140)),
		"creditorAccount":                   optional(object(members{"iban": required(iban)})),
		"remittanceInformationUnstructured": optional(text(140)),
	},
	check: func(o map[string]any) error {
		if actions, ok := o["actions"].([]any); ok && !slices.Contains(actions, any("initiate")) {
			return invalid("actions", "must hold initiate: that is what the person reads")
		}
		return nil
	},
	render: func(o map[string]any, w words) rendering {
		m := moneyOf(o["instructedAmount"])
		payee := Visible(o["creditorName"].(string))
		out := rendering{
			action: w.sprintf(sayPay, w.amount(m), payee),
			button: w.sprintf(sayApproveAmount, w.amount(m)),
			facts:  []Fact{{w.say(labelAmount), w.amount(m), RoleAmount}, {w.say(labelTo), payee, RoleFact}},
		}
		if account, ok := o["creditorAccount"].(map[string]any); ok {
			out.add(w.say(labelAccount), groupIBAN(account["iban"].(string)), RoleFact)
		}
		if actions, ok := o["actions"]; ok {
			out.add(w.say(labelActions), w.verbs(paymentSteps, actions), RoleFact)
		}
		out.list(w.say(labelWhere), o["locations"])
		if s, ok := o["remittanceInformationUnstructured"].(string); ok {
			out.add(w.say(labelReference), Visible(s), RoleWords)
		}
		return out
	},
	pays: func(o map[string]any) payment {
		p := payment{moneyOf(o["instructedAmount"]), o["creditorName"].(string)}
		if account, ok := o["creditorAccount"].(map[string]any); ok {
			p.payee += "\n" + account["iban"].(string) // another account is another payee
		}
		return p
	},
}

// documentAccess asks for one document.
var documentAccess = Type{
	Name: "document_access", Version: 1, Level: LevelSession,
	less: lessening{list: "actions", listLabel: labelAccess, listWords: documentVerbs},
	members: members{
		"type":       required(text(64)),
		"identifier": required(text(256)),
		"name":       optional(text(140)),
		"actions":    required(listOf(oneOf("read", "comment", "write", "share", "delete"))),
		"locations":  optional(listOf(location)),
		"purpose":    optional(text(280)),
	},
	render: func(o map[string]any, w words) rendering {
		what, verbs := Visible(o["identifier"].(string)), w.verbs(documentVerbs, o["actions"])
		out := rendering{
			action: w.sprintf(sayDocument, verbs, what),
			button: w.sprintf(sayApproveVerbs, verbs),
			facts:  []Fact{{w.say(labelDocument), what, RoleFact}, {w.say(labelAccess), verbs, RoleFact}},
		}
		out.list(w.say(labelWhere), o["locations"])
		if s, ok := o["name"].(string); ok { // what the agent calls it; the API goes by the identifier
			out.add(w.say(labelCalled), Visible(s), RoleWords)
		}
		if s, ok := o["purpose"].(string); ok {
			out.add(w.say(labelWhy), Visible(s), RoleWords)
		}
		return out
	},
}

// maxArguments bounds what one person can read before pressing a button.
const maxArguments = 64

// toolCall asks to call one tool once, with exactly these arguments.
var toolCall = Type{
	Name: "tool_call", Version: 1, Level: LevelSession, Once: true,
	members: members{
		"type":      required(text(64)),
		"tool":      required(text(128)),
		"server":    optional(text(256)),
		"arguments": optional(anyObject),
		"locations": optional(listOf(location)),
		"reason":    optional(text(280)),
	},
	check: func(o map[string]any) error {
		if n := len(flatten("", o["arguments"])); n > maxArguments {
			return invalid("arguments", "must not hold more than %d values", maxArguments)
		}
		return nil
	},
	render: func(o map[string]any, w words) rendering {
		tool := Visible(o["tool"].(string))
		out := rendering{
			action: w.sprintf(sayTool, tool),
			button: w.say(sayApproveTool),
			facts:  []Fact{{w.say(labelTool), tool, RoleFact}},
		}
		if s, ok := o["server"].(string); ok {
			out.add(w.say(labelServer), Visible(s), RoleFact)
		}
		for _, arg := range flatten("", o["arguments"]) {
			out.add(w.sprintf(sayArgument, Visible(arg.path)), arg.text, RoleFact)
		}
		out.list(w.say(labelWhere), o["locations"])
		if s, ok := o["reason"].(string); ok {
			out.add(w.say(labelWhy), Visible(s), RoleWords)
		}
		return out
	},
}

// maxPath is how long the name of a value may be that people have to read beside it.
const maxPath = 128

// TypeGeneric stands for every type that is not registered here, in the question whether an agent may use it.
const TypeGeneric = "generic"

// generic shows what no type is known for, member by member. It takes a passkey, for whoever approves it has nothing but
// the agent's own names for things to go by.
var generic = Type{
	Name: TypeGeneric, Version: 1, Level: LevelPasskey, Once: true,
	check: func(o map[string]any) error {
		name := o["type"].(string)
		if err := text(64)("type", name); err != nil {
			return err
		}
		if strings.ContainsFunc(name, odd) || strings.Contains(name, " ") {
			return invalid("type", "must not hold spaces or invisible characters")
		}
		values := flatten("", o)
		if len(values)-1 > maxArguments { // type itself is one
			return invalid("members", "must not hold more than %d values", maxArguments)
		}
		if slices.ContainsFunc(values, func(a argument) bool { return utf8.RuneCountInString(a.path) > maxPath }) {
			return invalid("members", "must not have names of more than %d characters, with those around them", maxPath)
		}
		return nil
	},
	render: func(o map[string]any, w words) rendering {
		out := rendering{
			action: w.say(sayGeneric),
			button: w.say(sayApproveGeneric),
			facts:  []Fact{{w.say(labelKind), Visible(o["type"].(string)), RoleFact}},
		}
		for _, member := range flatten("", o) {
			if member.path != "type" {
				out.add(w.sprintf(sayMember, Visible(member.path)), member.text, RoleFact)
			}
		}
		return out
	},
}

// anyObject accepts every object; what is in it is shown value by value.
func anyObject(path string, v any) error {
	if _, ok := v.(map[string]any); !ok {
		return invalid(path, "must be an object")
	}
	return nil
}

// location accepts an absolute URI without fragment (RFC 9396 section 2.2, RFC 8707 section 2).
func location(path string, v any) error {
	if err := text(512)(path, v); err != nil {
		return err
	}
	if u, err := url.Parse(v.(string)); err != nil || !u.IsAbs() || u.Fragment != "" {
		return invalid(path, "must be an absolute URI without fragment")
	}
	return nil
}

var ibanShape = regexp.MustCompile(`^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$`)

// iban checks shape and the check digits of ISO 13616 (mod 97).
func iban(path string, v any) error {
	s, ok := v.(string)
	if !ok || !ibanShape.MatchString(s) {
		return invalid(path, "must be an IBAN without spaces")
	}
	rest := 0
	for _, c := range s[4:] + s[:4] {
		if c >= 'A' {
			rest = (rest*100 + int(c-'A') + 10) % 97
		} else {
			rest = (rest*10 + int(c-'0')) % 97
		}
	}
	if rest != 1 {
		return invalid(path, "must have right check digits")
	}
	return nil
}

func groupIBAN(s string) string {
	var b strings.Builder
	for i, c := range s {
		if i > 0 && i%4 == 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(c)
	}
	return b.String()
}

type argument struct{ path, text string }

// flatten lists every value below v with its path, in canonical order, so that nothing in it stays unseen. Numbers
// keep the digits they came with.
func flatten(path string, v any) []argument {
	var out []argument
	switch v := v.(type) {
	case map[string]any:
		for _, name := range canonicalOrder(v) {
			out = append(out, flatten(join(path, name), v[name])...)
		}
		if len(v) == 0 && path != "" {
			out = append(out, argument{path, "{}"})
		}
	case []any:
		for i, e := range v {
			out = append(out, flatten(fmt.Sprintf("%s[%d]", path, i), e)...)
		}
		if len(v) == 0 {
			out = append(out, argument{path, "[]"})
		}
	case nil:
		if path != "" {
			out = append(out, argument{path, "null"})
		}
	case string:
		out = append(out, argument{path, literal(v)})
	default:
		out = append(out, argument{path, fmt.Sprint(v)})
	}
	return out
}

// literal shows a string as it is, in quotation marks if it would read like another JSON value: "false" and false, "5"
// and 5 may mean different things to a tool.
func literal(s string) string {
	if s == "" || s != strings.TrimSpace(s) || strings.ContainsAny(s[:1], `"[{`) || json.Valid([]byte(s)) {
		return Visible(string(appendString(nil, s)))
	}
	return Visible(s)
}

// join quotes names that would make {"a.b":1} and {"a":{"b":1}} look alike.
func join(path, name string) string {
	if name == "" || strings.ContainsAny(name, `.[]"`) {
		return path + "[" + string(appendString(nil, name)) + "]"
	}
	if path == "" {
		return name
	}
	return path + "." + name
}
