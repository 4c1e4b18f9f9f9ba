package approvals

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"assent/ciba/rowtest"
)

// Numbers of RFC 8785 appendix B, by their float64 bits.
func TestCanonicalNumbers(t *testing.T) {
	tests := []struct {
		bits uint64
		want string
	}{
		{0x0000000000000000, "0"}, {0x8000000000000000, "0"}, {0x0000000000000001, "5e-324"},
		{0x8000000000000001, "-5e-324"}, {0x7fefffffffffffff, "1.7976931348623157e+308"},
		{0x4340000000000000, "9007199254740992"}, {0x4430000000000000, "295147905179352830000"},
		{0x44b52d02c7e14af5, "9.999999999999997e+22"}, {0x44b52d02c7e14af6, "1e+23"},
		{0x444b1ae4d6e2ef4e, "999999999999999700000"}, {0x444b1ae4d6e2ef50, "1e+21"},
		{0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"}, {0x3eb0c6f7a0b5ed8d, "0.000001"},
		{0x41b3de4355555553, "333333333.3333332"}, {0xbecbf647612f3696, "-0.0000033333333333333333"},
	}
	for _, tt := range tests {
		if got := formatNumber(math.Float64frombits(tt.bits)); got != tt.want {
			t.Errorf("%016x = %s, want %s", tt.bits, got, tt.want)
		}
	}
}

func TestCanonicalForm(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"white space and order", ` { "b" : [ 1 , true , null ] , "a" : "x" } `, `{"a":"x","b":[1,true,null]}`},
		{"RFC 8785 3.2.2 strings", `"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/"`, "\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\""},
		{"RFC 8785 3.2.3 order by UTF-16", `{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}`,
			"{\"\\r\":2,\"1\":4,\"\u0080\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\ufb33\":3}"},
		{"numbers", `[1E3, 0.10, 4.50, 2e-3, 1e21]`, `[1000,0.1,4.5,0.002,1e+21]`},
		{"empty", `[{},[],""]`, `[{},[],""]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, err := ParseJSON([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if got := string(Canonical(v)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestParseJSONRefuses(t *testing.T) {
	rowtest.Row(t, "REQ-099")
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	if _, err := ParseJSON([]byte(deep(8))); err != nil {
		t.Errorf("eight levels: %v", err)
	}
	tests := []struct{ name, in string }{
		{"REQ-099 nine levels", deep(9)},
		{"REQ-099 a member twice", `{"a":1,"a":1}`},
		{"a member twice by escape", `{"a":1,"\u0061":2}`},
		{"REQ-099 1e400", `1e400`},
		{"20 digits", `12345678901234567890`},
		{"2^53 + 1", `9007199254740993`},
		{"too small", `1e-400`},
		{"zero by rounding, huge exponent", `1e-999999999`},
		{"number of 65 digits", strings.Repeat("1", 65)},
		{"lone surrogate", `"\ud800"`},
		{"lone low surrogate", `"a\udc00"`},
		{"surrogates in the wrong order", `"\udc00\ud800"`},
		{"invalid UTF-8", "\"\xff\""},
		{"two values", `1 2`},
		{"nothing", ` `},
		{"open object", `{"a":1`},
		{"bare word", `nope`},
		{"leading zero", `01`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if v, err := ParseJSON([]byte(tt.in)); err == nil {
				t.Errorf("accepted as %v", v)
			}
		})
	}
	for _, in := range []string{`0`, `-0.0`, `0e9999999`, `0.1`, `1e308`, `123456789012345680000`, `"\\ud800"`, `"\ud83d\ude00"`} {
		if _, err := ParseJSON([]byte(in)); err != nil {
			t.Errorf("%s: %v", in, err)
		}
	}
}

// Whatever is accepted means what encoding/json reads, has one canonical form, and that form is its own.
func FuzzCanonical(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5,"x"]}`, `[true ,false,null, -1.5e+3 ] `, `{"\\\"\u0041":"a\nb"}`, `"\ud83d\ude00"`, `1e21`, `{"":{"\u2028":null}}`, `[[[[[[[[1]]]]]]]]`, `0e99999999999`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := ParseJSON(raw)
		if err != nil {
			return
		}
		var plain any
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		if err := d.Decode(&plain); err != nil || !reflect.DeepEqual(v, plain) {
			t.Fatalf("read %v, encoding/json reads %v, %v", v, plain, err)
		}
		once := Canonical(v)
		again, err := ParseJSON(once)
		if err != nil {
			t.Fatalf("own form refused: %v\n%s", err, once)
		}
		if twice := Canonical(again); string(twice) != string(once) {
			t.Fatalf("%s\n%s", once, twice)
		}
	})
}

// Details never panic, and what they accept can be shown in both languages.
func FuzzDetails(f *testing.F) {
	for _, s := range []string{payTravel, readReport, runTool, `[{"type":"tool_call","tool":"x","arguments":{"a":{"b":[1,"2",null,{}]}}}]`,
		launchRocket, `[{"type":"rocket","":{"amount":5,"currency":[]},"instructedAmount":7,"locations":1}]`, `[{"type":"generic"}]`} {
		f.Add([]byte(s))
	}
	types := BuiltinTypes()
	f.Fuzz(func(t *testing.T, raw []byte) {
		details, err := types.Parse(raw, func(string) bool { return true })
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("%v is not ErrInvalid", err)
			}
			return
		}
		r := inState(Pending)
		r.Requested = details
		for _, locale := range []string{English, Korean} {
			d, err := Renderer{Types: types}.Disclose(r, locale)
			if err != nil {
				t.Fatal(err)
			}
			for _, fact := range d.Facts {
				if strings.ContainsFunc(fact.Label+fact.Text, odd) {
					t.Fatalf("%q: %q holds an invisible character", fact.Label, fact.Text)
				}
			}
			if _, err := (Renderer{Types: types}).Room(r, locale); err != nil {
				t.Fatal(err)
			}
		}
	})
}
