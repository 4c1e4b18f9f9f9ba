package approvals

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"assent/ciba/rowtest"
)

// paying is details of payments such as "EUR 480.00".
func paying(t rapid.TB, amounts ...string) Details {
	t.Helper()
	var objects []string
	for _, a := range amounts {
		currency, amount, _ := strings.Cut(a, " ")
		objects = append(objects, fmt.Sprintf(`{"type":"payment_initiation","creditorName":"Shop",`+
			`"instructedAmount":{"currency":%q,"amount":%q}}`, currency, amount))
	}
	return parsed(t, "["+strings.Join(objects, ",")+"]")
}

func parsed(t rapid.TB, details string) Details {
	t.Helper()
	out, err := BuiltinTypes().Parse([]byte(details), func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func levelOf(t rapid.TB, l Levels, details Details) Level {
	t.Helper()
	types := BuiltinTypes()
	objects, err := details.objects()
	if err != nil {
		t.Fatal(err)
	}
	return l.of(types, details, types.payments(details, objects))
}

func TestLevelRules(t *testing.T) {
	rowtest.Row(t, "REQ-129")
	const pay, tool = "payment_initiation", "tool_call"
	over := func(currency, amount string, needs Level) LevelRule { return LevelRule{pay, currency, amount, needs} }
	eur := over("EUR", "1000.00", LevelPasskey)
	tests := []struct {
		name    string
		rules   []LevelRule
		details Details
		want    Level
	}{
		{"no rule", nil, paying(t, "EUR 480.00"), LevelSession},
		{"below the bar", []LevelRule{eur}, paying(t, "EUR 999.99"), LevelSession},
		{"at the bar", []LevelRule{eur}, paying(t, "EUR 1000"), LevelSession},
		{"over the bar", []LevelRule{eur}, paying(t, "EUR 1000.01"), LevelPasskey},
		{"cut into two", []LevelRule{eur}, paying(t, "EUR 600", "EUR 600"), LevelPasskey},
		{"two currencies, each below", []LevelRule{eur, over("USD", "1000", LevelPasskey)}, paying(t, "EUR 600", "USD 600"), LevelSession},
		{"a currency that no rule names", []LevelRule{eur}, paying(t, "KRW 1"), LevelPasskey},
		{"a currency with a rule that raises nothing", []LevelRule{eur, over("USD", "", LevelSession)}, paying(t, "USD 5000"), LevelSession},
		{"every amount of a currency", []LevelRule{over("USD", "", LevelPasskey)}, paying(t, "USD 0.01"), LevelPasskey},
		{"a type, downwards", []LevelRule{{tool, "", "", LevelLink}}, parsed(t, runTool), LevelLink},
		{"a type, upwards", []LevelRule{{tool, "", "", LevelPasskey}}, parsed(t, runTool), LevelPasskey},
		{"another type", []LevelRule{{tool, "", "", LevelPasskey}}, paying(t, "EUR 1"), LevelSession},
		{"a type twice: the strictest", []LevelRule{{tool, "", "", LevelPasskey}, {tool, "", "", LevelLink}}, parsed(t, runTool), LevelPasskey},
		{"lowered type, over the bar", []LevelRule{{pay, "", "", LevelLink}, eur}, paying(t, "EUR 2000"), LevelPasskey},
		{"lowered type, below the bar", []LevelRule{{pay, "", "", LevelLink}, eur}, paying(t, "EUR 2"), LevelLink},
		{"an amount never lowers", []LevelRule{{pay, "", "", LevelPasskey}, over("EUR", "", LevelLink)}, paying(t, "EUR 2"), LevelPasskey},
		{"two bars crossed: the strictest", []LevelRule{over("EUR", "10", LevelPasskey), over("EUR", "20", LevelSession)}, paying(t, "EUR 30"), LevelPasskey},
		{"the strictest of several objects", []LevelRule{{tool, "", "", LevelLink}}, append(paying(t, "EUR 2"), parsed(t, runTool)...), LevelSession},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := NewLevels(BuiltinTypes(), tt.rules)
			if err != nil {
				t.Fatal(err)
			}
			if got := levelOf(t, l, tt.details); got != tt.want {
				t.Errorf("needs %s, want %s", got.ACR(), tt.want.ACR())
			}
		})
	}
}

func TestLevelsRefuse(t *testing.T) {
	good := LevelRule{"payment_initiation", "EUR", "1.00", LevelPasskey}
	tests := []struct {
		name, field string
		rule        LevelRule
	}{
		{"unknown type", "type", LevelRule{"fire", "", "", LevelPasskey}},
		{"no type", "type", LevelRule{"", "EUR", "1.00", LevelPasskey}},
		{"no level", "needs", LevelRule{"tool_call", "", "", LevelNone}},
		{"amount without currency", "currency", LevelRule{"payment_initiation", "", "1.00", LevelPasskey}},
		{"amount of a type without any", "currency", LevelRule{"tool_call", "EUR", "1.00", LevelPasskey}},
		{"unknown currency", "currency", LevelRule{"payment_initiation", "XXX", "1.00", LevelPasskey}},
		{"cents of a won", "over", LevelRule{"payment_initiation", "KRW", "1.00", LevelPasskey}},
		{"no amount", "over", LevelRule{"payment_initiation", "EUR", "1,000", LevelPasskey}},
		{"nothing", "over", LevelRule{"payment_initiation", "EUR", "0.00", LevelPasskey}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewLevels(BuiltinTypes(), []LevelRule{good, tt.rule})
			var field *FieldError
			if !errors.As(err, &field) || field.Field != "level[1]."+tt.field {
				t.Errorf("%v, want level[1].%s", err, tt.field)
			}
		})
	}
}

// More money never needs less, and neither does one more object; no rule about amounts goes below the type.
func TestLevelsOnlyRise(t *testing.T) {
	levels := rapid.SampledFrom([]Level{LevelLink, LevelSession, LevelPasskey})
	cents := rapid.IntRange(1, 500)
	currency := rapid.SampledFrom([]string{"EUR", "USD", "CHF"})
	euro := func(n int) string { return fmt.Sprintf("%d.%02d", n/100, n%100) }
	rapid.Check(t, func(t *rapid.T) {
		var rules []LevelRule
		for range rapid.IntRange(0, 6).Draw(t, "rules") {
			r := LevelRule{Type: "payment_initiation", Needs: levels.Draw(t, "needs")}
			if rapid.Bool().Draw(t, "amount") {
				r.Currency = currency.Draw(t, "of")
				if rapid.Bool().Draw(t, "over some") {
					r.Over = euro(cents.Draw(t, "over"))
				}
			}
			rules = append(rules, r)
		}
		l, err := NewLevels(BuiltinTypes(), rules)
		if err != nil {
			t.Fatal(err)
		}
		in, less := currency.Draw(t, "currency"), cents.Draw(t, "less")
		more := less + rapid.IntRange(0, 500).Draw(t, "more")
		low, high := levelOf(t, l, paying(t, in+" "+euro(less))), levelOf(t, l, paying(t, in+" "+euro(more)))
		if high < low {
			t.Fatalf("%s %d needs %s, and %d only %s", in, less, low.ACR(), more, high.ACR())
		}
		other := currency.Draw(t, "another") + " " + euro(cents.Draw(t, "another amount"))
		if both := levelOf(t, l, paying(t, in+" "+euro(less), other)); both < low {
			t.Fatalf("with one more object %s, without it %s", both.ACR(), low.ACR())
		}
		if base := l.base(BuiltinTypes(), Detail{Type: "payment_initiation"}); low < base || high > max(l.Highest(), base) {
			t.Fatalf("%s and %s, where the type takes %s and no rule more than %s", low.ACR(), high.ACR(), base.ACR(), l.Highest().ACR())
		}
	})
}
