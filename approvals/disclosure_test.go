package approvals

import (
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"assent/ciba/rowtest"
)

var update = flag.Bool("update", false, "rewrite golden files")

// shown is a request as the desk would open it, with everything fixed that is random in life.
func shown(t *testing.T, details string) *Request {
	t.Helper()
	r := inState(Pending)
	r.ID, r.AgentName, r.Zone, r.Salt = "01jqa2x7dg8vn3k5m9p2r4t6w8", "Travel Bot", "Europe/Berlin", []byte("sixteen bytes ok")
	r.Scope, r.Binding = []string{"openid", "profile", "orders.write"}, "H3-91"
	if details != "" {
		var err error
		if r.Requested, err = BuiltinTypes().Parse([]byte(details), func(string) bool { return true }); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// What people read, as text for a reviewer and as the bytes that are signed for.
func TestDisclosureGolden(t *testing.T) {
	rowtest.Row(t, "REQ-101", "REQ-269")
	hostile := `[{"type":"payment_initiation","instructedAmount":{"currency":"EUR","amount":"1.00"},
	  "creditorName":"Bank\u202egnp.exe","remittanceInformationUnstructured":"<b>free</b>\u200b\n\"quoted\" \u3164 e\u0301"}]`
	renderer := Renderer{Types: BuiltinTypes(), Scopes: map[string]Phrase{"profile": {"See your name", "이름 보기"}}}
	for name, details := range map[string]string{
		"payment": payTravel, "document": readReport, "tool": runTool, "hostile": hostile, "scopes": "", "standing": readReport,
		"risks": payTravel, "generic": launchRocket,
		"several": strings.TrimSuffix(payTravel, "]") + "," + strings.TrimPrefix(runTool, "["),
	} {
		for _, locale := range []string{English, Korean} {
			t.Run(name+"."+locale, func(t *testing.T) {
				r := shown(t, details)
				if name == "standing" {
					r.Scope, r.Until = append(r.Scope, "offline_access"), noon.AddDate(0, 0, 30)
				}
				if name == "risks" {
					r.Operator, r.Since = "Example GmbH", noon.AddDate(-1, 0, 0)
					r.Risks = []Risk{{Kind: SelfRegistered}, {Kind: FirstRequest}, {Kind: UnusualAmount, Currency: "EUR", Usual: "38"},
						{Kind: NewPayee, Payee: (&payment{payee: "Example Travel\nDE02100100109307118603"}).hash().String()}}
				}
				d, err := renderer.Disclose(r, locale)
				if err != nil {
					t.Fatal(err)
				}
				var b strings.Builder
				for _, f := range d.Facts {
					fmt.Fprintf(&b, "%-7s %s: %s\n", f.Role, f.Label, f.Text)
				}
				fmt.Fprintf(&b, "button  %s\n\n%s\n%s\n", d.Button, d.Canonical(), d.Digest())
				golden(t, name+"."+locale+".golden", b.String())
			})
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// REQ-288: whoever holds the canonical bytes can recompute the digest, and they say what was shown.
func TestDigestCanBeRecomputed(t *testing.T) {
	rowtest.Row(t, "REQ-288")
	d, err := Renderer{Types: BuiltinTypes()}.Disclose(shown(t, payTravel), English)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(d.Canonical())
	if got := base64.RawURLEncoding.EncodeToString(sum[:]); got != d.Digest() {
		t.Errorf("digest %s, want %s", got, d.Digest())
	}
	back, err := ParseCanonical(d.Canonical())
	if err != nil {
		t.Fatal(err)
	}
	if string(back.Canonical()) != string(d.Canonical()) || back.Facts[0].Text != "Pay 480.00 EUR to Example Travel" {
		t.Errorf("read back: %+v", back)
	}
}

// Any change of what is shown changes the digest; a role, which only lays out, does not.
func TestDigestCoversEverythingShown(t *testing.T) {
	rowtest.Row(t, "REQ-101")
	base := shown(t, payTravel)
	renderer := Renderer{Types: BuiltinTypes()}
	first, _ := renderer.Disclose(base, English)
	for name, change := range map[string]func(*Request){
		"binding":    func(r *Request) { r.Binding = "H3-92" },
		"agent name": func(r *Request) { r.AgentName = "Travel Bat" },
		"scope":      func(r *Request) { r.Scope = r.Scope[:2] },
		"zone":       func(r *Request) { r.Zone = "UTC" },
		"deadline":   func(r *Request) { r.DecideBy = r.DecideBy.Add(1e9) },
		"salt":       func(r *Request) { r.Salt = []byte("another salt 16b") },
		"request":    func(r *Request) { r.ID = "01jqa2x7dg8vn3k5m9p2r4t6w9" },
		"until":      func(r *Request) { r.Until = noon },
		"operator":   func(r *Request) { r.Operator = "Example GmbH" },
		"since":      func(r *Request) { r.Since = noon },
		"risk":       func(r *Request) { r.Risks = []Risk{{Kind: FirstRequest}} },
		"audience":   func(r *Request) { r.Audience = []string{"https://api.example.com"} },
	} {
		r := *base
		change(&r)
		if d, err := renderer.Disclose(&r, English); err != nil || d.Digest() == first.Digest() {
			t.Errorf("%s: same digest (%v)", name, err)
		}
	}
}

// A tool may tell "false" from false, so the person must be able to.
func TestArgumentsAreToldApart(t *testing.T) {
	rowtest.Row(t, "REQ-101")
	said := map[string]string{}
	for _, value := range []string{`false`, `"false"`, `null`, `"null"`, `5`, `"5"`, `[]`, `"[]"`, `{}`, `"{}"`, `""`, `" "`, `"x"`, `"\"x\""`, `["x"]`, `{"0":"x"}`} {
		r := shown(t, `[{"type":"tool_call","tool":"x","arguments":{"a":`+value+`}}]`)
		d, err := Renderer{Types: BuiltinTypes()}.Disclose(r, English)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprint(d.Facts)
		if other, twice := said[text]; twice {
			t.Errorf("%s and %s read the same: %s", value, other, text)
		}
		said[text] = value
	}
}

func TestVisible(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain", "Grüße, 안녕 🙂", "Grüße, 안녕 🙂"},
		{"bidi override", "a\u202eb", "a⟨U+202E⟩b"},
		{"zero width", "a\u200bb\ufeff", "a⟨U+200B⟩b⟨U+FEFF⟩"},
		{"control", "a\nb\x00", "a⟨U+000A⟩b⟨U+0000⟩"},
		{"no-break space", "a\u00a0b", "a⟨U+00A0⟩b"},
		{"Hangul filler", "\u3164", "⟨U+3164⟩"},
		{"tag characters", "x\U000e0041", "x⟨U+E0041⟩"},
		{"combining marks stay", "e\u0301", "e\u0301"},
	}
	for _, tt := range tests {
		if got := Visible(tt.in); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
