package approvals

import (
	"errors"
	"strings"
	"testing"

	"assent/ciba/rowtest"
)

const (
	payTravel = `[{"type":"payment_initiation","instructedAmount":{"currency":"EUR","amount":"480.00"},
	  "creditorName":"Example Travel","creditorAccount":{"iban":"DE02100100109307118603"},
	  "remittanceInformationUnstructured":"Trip 4711, two nights"}]`
	readReport = `[{"type":"document_access","identifier":"doc-7","name":"Quarterly report","actions":["read","share"],
	  "locations":["https://files.example.com/api"],"purpose":"Summary for the meeting"}]`
	runTool = `[{"type":"tool_call","tool":"deploy","server":"https://tools.example.com",
	  "arguments":{"service":"shop","replicas":3,"env":{"debug":false,"a.b":"x"},"tags":[]},"reason":"Release 2.4"}]`
)

func TestDetails(t *testing.T) {
	pay := func(members string) string {
		return `[{"type":"payment_initiation","creditorName":"Shop","instructedAmount":{"currency":"EUR","amount":"1.00"}` + members + `}]`
	}
	amount := func(currency, amount string) string {
		return `[{"type":"payment_initiation","creditorName":"S","instructedAmount":{"currency":"` + currency + `","amount":` + amount + `}}]`
	}
	tests := []struct {
		name, in string
		want     error  // nil, ErrContainer or ErrInvalid
		field    string // what the error names
	}{
		{"payment", payTravel, nil, ""},
		{"document", readReport, nil, ""},
		{"tool", runTool, nil, ""},
		{"REQ-098 empty array", `[]`, nil, ""},
		{"REQ-094 not JSON", `not json`, ErrContainer, ""},
		{"REQ-094 not an array", `{}`, ErrContainer, ""},
		{"REQ-094 null", `null`, ErrContainer, ""},
		{"REQ-094 element not an object", `[1]`, ErrContainer, ""},
		{"REQ-095 no type", `[{}]`, ErrInvalid, "authorization_details[0].type"},
		{"REQ-095 empty type", `[{"type":""}]`, ErrInvalid, "authorization_details[0].type"},
		{"REQ-095 type not a string", `[{"type":7}]`, ErrInvalid, "authorization_details[0].type"},
		{"REQ-095 unknown type", `[{"type":"other"}]`, ErrInvalid, "authorization_details[0].type"},
		{"REQ-100 other case", `[{"type":"Payment_Initiation"}]`, ErrInvalid, "authorization_details[0].type"},
		{"REQ-095 type of another client", `[{"type":"forbidden"}]`, ErrInvalid, "authorization_details[0].type"},
		{"REQ-096 unknown member", pay(`,"priority":1`), ErrInvalid, "authorization_details[0]"},
		{"REQ-096 missing member", `[{"type":"payment_initiation","creditorName":"S"}]`, ErrInvalid, "authorization_details[0].instructedAmount"},
		{"REQ-096 wrong JSON type", `[{"type":"payment_initiation","creditorName":7}]`, ErrInvalid, "authorization_details[0].creditorName"},
		{"REQ-096 second object", `[{"type":"tool_call","tool":"x"},{"type":"tool_call"}]`, ErrInvalid, "authorization_details[1].tool"},
		{"REQ-097 actions not an array", pay(`,"actions":"initiate"`), ErrInvalid, "authorization_details[0].actions"},
		{"REQ-097 empty string in array", pay(`,"locations":[""]`), ErrInvalid, "authorization_details[0].locations[0]"},
		{"REQ-099 17 objects", `[` + strings.Repeat(`{"type":"tool_call","tool":"x"},`, 16) + `{"type":"tool_call","tool":"x"}]`, ErrInvalid, "authorization_details"},
		{"REQ-099 member twice", `[{"type":"tool_call","tool":"x","tool":"y"}]`, ErrInvalid, "authorization_details[0]"},
		{"REQ-099 too long", `[{"type":"tool_call","tool":"` + strings.Repeat("x", MaxDetailsBytes) + `"}]`, ErrInvalid, "authorization_details"},
		{"1e400 in an argument", `[{"type":"tool_call","tool":"x","arguments":{"n":1e400}}]`, ErrInvalid, "authorization_details[0]"},
		{"payment that is none", pay(`,"actions":["status"]`), ErrInvalid, "actions"},
		{"money as a number", amount("EUR", `480.00`), ErrInvalid, "authorization_details[0].instructedAmount.amount"},
		{"money with three decimals", amount("EUR", `"1.001"`), ErrInvalid, "authorization_details[0].instructedAmount.amount"},
		{"yen with decimals", amount("JPY", `"100.00"`), ErrInvalid, "authorization_details[0].instructedAmount.amount"},
		{"dinar with three decimals", amount("KWD", `"1.001"`), nil, ""},
		{"no money", amount("EUR", `"0.00"`), ErrInvalid, "authorization_details[0].instructedAmount.amount"},
		{"negative money", amount("EUR", `"-1.00"`), ErrInvalid, "authorization_details[0].instructedAmount.amount"},
		{"leading zero", amount("EUR", `"007.00"`), ErrInvalid, "authorization_details[0].instructedAmount.amount"},
		{"exponent", amount("EUR", `"1e3"`), ErrInvalid, "authorization_details[0].instructedAmount.amount"},
		{"unknown currency", amount("XXX", `"1.00"`), ErrInvalid, "authorization_details[0].instructedAmount.currency"},
		{"wrong check digits", pay(`,"creditorAccount":{"iban":"DE03100100109307118603"}`), ErrInvalid, "authorization_details[0].creditorAccount.iban"},
		{"location with fragment", pay(`,"locations":["https://a.example/#x"]`), ErrInvalid, "authorization_details[0].locations[0]"},
		{"too many arguments", `[{"type":"tool_call","tool":"x","arguments":{"n":[` + strings.Repeat("1,", 64) + `1]}}]`, ErrInvalid, "arguments"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rowtest.Row(t, tt.name)
			got, err := BuiltinTypes().Parse([]byte(tt.in), func(name string) bool { return name != "forbidden" && name != TypeGeneric })
			if !errors.Is(err, tt.want) || errors.Is(err, ErrContainer) != (tt.want == ErrContainer) {
				t.Fatalf("Parse: %v, want %v", err, tt.want)
			}
			var field *FieldError
			if errors.As(err, &field) && field.Field != tt.field {
				t.Errorf("names %q, want %q", field.Field, tt.field)
			}
			if tt.want == nil && tt.in != `[]` && len(got) == 0 {
				t.Error("nothing parsed")
			}
		})
	}
}

// What the agent wrote is what the token carries, to the byte, white space aside.
func TestDetailKeepsItsBytes(t *testing.T) {
	in := `[ {"tool" : "x", "type":"tool_call", "arguments":{"n":1.50,"s":"\u0041"}} ]`
	details, err := BuiltinTypes().Parse([]byte(in), func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"tool":"x","type":"tool_call","arguments":{"n":1.50,"s":"\u0041"}}`; string(details[0].Raw) != want {
		t.Errorf("%s\nwant %s", details[0].Raw, want)
	}
}

func TestMoney(t *testing.T) {
	tests := []struct{ currency, amount, en, ko string }{
		{"EUR", "480.00", "480.00 EUR", "480.00 EUR"},
		{"EUR", "480", "480.00 EUR", "480.00 EUR"},
		{"EUR", "0.5", "0.50 EUR", "0.50 EUR"},
		{"KRW", "1200000", "₩1,200,000", "1,200,000원"},
		{"KWD", "1234.567", "1,234.567 KWD", "1,234.567 KWD"},
		{"USD", "99999999999999999999999.99", "99,999,999,999,999,999,999,999.99 USD", "99,999,999,999,999,999,999,999.99 USD"},
	}
	for _, tt := range tests {
		m := moneyOf(map[string]any{"currency": tt.currency, "amount": tt.amount})
		if got := (words{English}).amount(m); got != tt.en {
			t.Errorf("%s %s in English: %s", tt.amount, tt.currency, got)
		}
		if got := (words{Korean}).amount(m); got != tt.ko {
			t.Errorf("%s %s in Korean: %s", tt.amount, tt.currency, got)
		}
	}
}

// The digest is of what the objects say, not of how they are written.
func TestDetailsDigest(t *testing.T) {
	digest := func(raws ...string) string {
		var d Details
		for _, raw := range raws {
			d = append(d, Detail{Type: "t", Raw: []byte(raw)})
		}
		return d.Digest()
	}
	if digest(`{"type":"t","a":1}`) != digest(`{ "a" : 1.0, "type":"t" }`) {
		t.Error("white space and order count")
	}
	if digest() != "T1PNoYwrqgwDVLtfmj7L5e0Sq02OEbqHPC8RFhICuUU" { // echo -n '[]' | sha256sum
		t.Errorf("digest of nothing: %s", digest())
	}
	for _, other := range []string{digest(`{"type":"t","a":2}`), digest(), digest(`{"type":"t","a":1}`, `{"type":"t","a":1}`)} {
		if other == digest(`{"type":"t","a":1}`) {
			t.Error("two details, one digest")
		}
	}
}
