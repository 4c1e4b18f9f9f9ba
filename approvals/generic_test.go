package approvals

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"assent/ciba/rowtest"
)

// launchRocket is of a type that nobody knows, from an agent that means no good.
const launchRocket = `[{"type":"rocket_launch","to":"<b>Moon</b>\u202egnp","fuel":0.1,"weight":1.50,"crew":[],"Amount":"0.00 EUR",
	"a.b":1,"a":{"b":2,"c":null},"note":"line\nbreak\u200b","ok":false,"say":"false"}]`

// What is asked of a type that nobody knows is shown as nothing but what it is, value by value, with every digit.
func TestGeneric(t *testing.T) {
	rowtest.Row(t, "REQ-095")
	r := shown(t, launchRocket)
	d, err := Renderer{Types: BuiltinTypes()}.Disclose(r, Korean)
	if err != nil || d.Action() != "처음 보는 종류의 요청이에요" || d.Template != "generic" || d.Version != 1 || d.Type != "rocket_launch" {
		t.Errorf("%q of %s %d for %s, %v", d.Action(), d.Template, d.Version, d.Type, err)
	}
	if d, _ = (Renderer{Types: BuiltinTypes()}).Disclose(r, English); d.Action() != "We do not recognise this kind of request" {
		t.Errorf("%q", d.Action())
	}
	for _, fixed := range []string{d.Action(), d.Button} {
		if strings.Contains(fixed, "rocket") || strings.Contains(fixed, "Moon") {
			t.Errorf("the agent's words are in %q", fixed)
		}
	}
	values := map[string]string{}
	for _, f := range d.Facts {
		values[f.Label] = f.Text
	}
	for label, want := range map[string]string{"Kind": "rocket_launch", "Field to": "<b>Moon</b>⟨U+202E⟩gnp", "Field fuel": "0.1",
		"Field weight": "1.50", "Field crew": "[]", "Field Amount": "0.00 EUR", `Field ["a.b"]`: "1", "Field a.b": "2", "Field a.c": "null",
		"Field note": "line⟨U+000A⟩break⟨U+200B⟩", "Field ok": "false", "Field say": `"false"`} {
		if values[label] != want {
			t.Errorf("%s: %q, want %q", label, values[label], want)
		}
	}
}

// Only agents that may, and only what fits on a page and has exact numbers.
func TestGenericRefused(t *testing.T) {
	rowtest.Row(t, "REQ-095", "REQ-099")
	may := (&Agent{Types: []string{"tool_call"}, Generic: true}).MayAsk
	tests := []struct {
		name, in string
		may      func(string) bool
		ok       bool
	}{
		{"may", `[{"type":"rocket","n":1}]`, may, true},
		{"may not", `[{"type":"rocket","n":1}]`, (&Agent{Types: []string{"rocket", "generic"}}).MayAsk, false},
		{"a known type of others", readReport, may, false},
		{"a known type that it may, as the type wants it", `[{"type":"tool_call","tool":"x","extra":1}]`, may, false},
		{"named like the switch", `[{"type":"generic","n":1}]`, may, true},
		{"64 values", `[{"type":"rocket","n":[` + strings.Repeat("1,", 63) + `1]}]`, may, true},
		{"65 values", `[{"type":"rocket","n":[` + strings.Repeat("1,", 64) + `1]}]`, may, false},
		{"a name of a page", `[{"type":"rocket","n":{"` + strings.Repeat("n", 127) + `":1}}]`, may, false},
		{"1e400", `[{"type":"rocket","n":1e400}]`, may, false},
		{"20 digits", `[{"type":"rocket","n":12345678901234567890}]`, may, false},
		{"20 digits in a string", `[{"type":"rocket","n":"12345678901234567890"}]`, may, true},
		{"0.1 + 0.2", `[{"type":"rocket","n":0.30000000000000004}]`, may, true},
		{"what float64 rounds", `[{"type":"rocket","n":0.1000000000000000055}]`, may, false},
		{"a type of two words", `[{"type":"rocket launch"}]`, may, false},
		{"a type that reads backwards", "[{\"type\":\"\u202etekcor\"}]", may, false},
		{"a long type", `[{"type":"` + strings.Repeat("r", 65) + `"}]`, may, false},
		{"no type", `[{"n":1}]`, may, false},
	}
	for _, tt := range tests {
		details, err := BuiltinTypes().Parse([]byte(tt.in), tt.may)
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if tt.ok && !details[0].Generic {
			t.Errorf("%s: taken for a known type", tt.name)
		}
	}
}

// It takes a passkey whatever an operator says of other types, is for once, and stays unknown when its type becomes known.
func TestGenericStaysGeneric(t *testing.T) {
	details := append(parsed(t, launchRocket), parsed(t, runTool)...)
	l, err := NewLevels(BuiltinTypes(), []LevelRule{{"tool_call", "", "", LevelLink}})
	if err != nil {
		t.Fatal(err)
	}
	if got := levelOf(t, l, details); got != LevelPasskey {
		t.Errorf("takes %s", got.ACR())
	}
	raw, err := json.Marshal(details)
	if err != nil {
		t.Fatal(err)
	}
	var back Details
	if err := json.Unmarshal(raw, &back); err != nil || !slices.EqualFunc(back, details, func(a, b Detail) bool {
		return a.Type == b.Type && a.Generic == b.Generic && string(a.Raw) == string(b.Raw)
	}) {
		t.Errorf("kept as %s, read as %v, %v", raw, back, err)
	}
	before := shown(t, launchRocket)
	now := Renderer{Types: BuiltinTypes()}
	first, err := now.Disclose(before, English)
	if err != nil {
		t.Fatal(err)
	}
	known := paymentInitiation
	known.Name, known.Once = "rocket_launch", false
	now.Types["rocket_launch"] = known // which would look for members that are not there
	again, err := now.Disclose(before, English)
	if err != nil || first.Digest() != again.Digest() {
		t.Errorf("a request from before reads otherwise: %v", err)
	}
	desk := Desk{Renderer: now, Terms: DefaultTerms()}
	if desk.MayStand(before.Requested) || !BuiltinTypes().Once("rocket_launch") {
		t.Error("what nobody knows is not for once")
	}
}
