package approvals

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"assent/ciba/rowtest"
)

// standing is a request whose agent wants to come back.
func standing(t *testing.T, details string) *Request {
	t.Helper()
	r := shown(t, details)
	r.Until = noon.AddDate(0, 0, 30)
	return r
}

var asked3 = "[" + strings.Trim(payTravel, "[]") + "," + strings.Trim(readReport, "[]") + "," + strings.Trim(runTool, "[]") + "]"

// What people read when they approve less, as text for a reviewer and as the bytes that are signed for.
func TestNarrowedGolden(t *testing.T) {
	rowtest.Row(t, "REQ-101", "REQ-102")
	for name, tt := range map[string]struct {
		r *Request
		c Choice
	}{
		"amount": {shown(t, payTravel), Choice{Parts: map[int]Part{0: {Amount: "300.00"}}}},
		"list":   {shown(t, readReport), Choice{Parts: map[int]Part{0: {Keep: []string{"read"}}}}},
		"once":   {standing(t, readReport), Choice{Lasts: LastsOnce}},
		"week":   {standing(t, readReport), Choice{Lasts: LastsWeek}},
		"one":    {shown(t, asked3), Choice{Parts: map[int]Part{0: {Leave: true}, 2: {Leave: true}}}},
		"all": {standing(t, asked3), Choice{Parts: map[int]Part{0: {Amount: "479.99"}, 1: {Keep: []string{"share"}}, 2: {Leave: true}},
			Lasts: LastsDay}},
	} {
		for _, locale := range []string{English, Korean} {
			t.Run(name+"."+locale, func(t *testing.T) {
				d, err := Renderer{Types: BuiltinTypes()}.DiscloseNarrowed(tt.r, tt.c, locale)
				if err != nil {
					t.Fatal(err)
				}
				var b strings.Builder
				for _, f := range d.Facts {
					fmt.Fprintf(&b, "%-7s %s: %s\n", f.Role, f.Label, f.Text)
				}
				fmt.Fprintf(&b, "button  %s\n\n%s\n%s\n", d.Button, d.Canonical(), d.Digest())
				golden(t, "narrowed."+name+"."+locale+".golden", b.String())
			})
		}
	}
}

// What is granted is written as the agent has written what it asked, however the person types it.
func TestNarrowKeepsForm(t *testing.T) {
	rowtest.Row(t, "REQ-102")
	for _, tt := range []struct{ asked, typed, want string }{
		{"480.00", "40", `"40.00"`},
		{"480.00", "40.5", `"40.50"`},
		{"480.5", "40", `"40.0"`},
		{"480", "40", `"40"`},
		{"480", "40.25", `"40.25"`},
	} {
		r := shown(t, strings.Replace(payTravel, "480.00", tt.asked, 1))
		n, err := Renderer{Types: BuiltinTypes()}.Narrow(r, Choice{Parts: map[int]Part{0: {Amount: tt.typed}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := string(n.Details[0].Raw); !strings.Contains(got, `"amount":`+tt.want) {
			t.Errorf("%s of %s: %s", tt.typed, tt.asked, got)
		}
	}
}

// A choice that a type does not allow, that is wider than what was asked, or that is none, is refused and says why.
func TestNarrowRefusals(t *testing.T) {
	rowtest.Row(t, "REQ-102")
	part := func(p Part) Choice { return Choice{Parts: map[int]Part{0: p}} }
	tests := []struct {
		name, asked string
		choice      Choice
		field, rule string
	}{
		{"nothing", payTravel, Choice{}, "choice", "take something away"},
		{"the same", payTravel, part(Part{Amount: "480.00"}), "choice", "take something away"},
		{"the same, written otherwise", payTravel, part(Part{Amount: "480"}), "choice", "take something away"},
		{"more", payTravel, part(Part{Amount: "480.01"}), "parts[0].amount", "more than what was asked"},
		{"much more", payTravel, part(Part{Amount: strings.Repeat("9", 30)}), "parts[0].amount", "more than what was asked"},
		{"zero", payTravel, part(Part{Amount: "0.00"}), "parts[0].amount", "more than zero"},
		{"negative", payTravel, part(Part{Amount: "-1.00"}), "parts[0].amount", "decimal string"},
		{"third digit", payTravel, part(Part{Amount: "1.001"}), "parts[0].amount", "2 digits"},
		{"exponent", payTravel, part(Part{Amount: "1e2"}), "parts[0].amount", "decimal string"},
		{"endless", payTravel, part(Part{Amount: strings.Repeat("1", 31)}), "parts[0].amount", "longer"},
		{"list of a payment", payTravel, part(Part{Keep: []string{"initiate"}}), "parts[0].keep", "no list"},
		{"only one", payTravel, part(Part{Leave: true}), "parts", "leave something"},
		{"all three", asked3, Choice{Parts: map[int]Part{0: {Leave: true}, 1: {Leave: true}, 2: {Leave: true}}}, "parts", "leave something"},
		{"left out and lowered", asked3, part(Part{Leave: true, Amount: "1.00"}), "parts[0]", "left out"},
		{"another object", payTravel, Choice{Parts: map[int]Part{1: {Amount: "1.00"}}}, "parts[1]", "asked for"},
		{"negative place", payTravel, Choice{Parts: map[int]Part{-1: {Leave: true}}}, "parts[-1]", "asked for"},
		{"amount of a document", readReport, part(Part{Amount: "1.00"}), "parts[0].amount", "no amount"},
		{"nothing kept", readReport, part(Part{Keep: []string{}}), "parts[0].keep", "keep something"},
		{"what was not asked", readReport, part(Part{Keep: []string{"read", "delete"}}), "parts[0].keep", "only what was asked"},
		{"twice", readReport, part(Part{Keep: []string{"read", "read"}}), "parts[0].keep", "nothing twice"},
		{"all kept", readReport, part(Part{Keep: []string{"share", "read"}}), "choice", "take something away"},
		{"amount of a tool", runTool, part(Part{Amount: "1"}), "parts[0].amount", "no amount"},
		{"list of a tool", runTool, part(Part{Keep: []string{"x"}}), "parts[0].keep", "no list"},
		{"time that was not asked", payTravel, Choice{Lasts: LastsOnce}, "lasts", "does not ask"},
		{"unknown time", readReport, Choice{Lasts: "month"}, "lasts", "does not ask"},
		{"scopes only", "", Choice{Parts: map[int]Part{0: {Leave: true}}}, "parts[0]", "asked for"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Renderer{Types: BuiltinTypes()}.Narrow(shown(t, tt.asked), tt.choice)
			var wrong *FieldError
			if !errors.As(err, &wrong) || wrong.Field != tt.field || !strings.Contains(wrong.Rule, tt.rule) {
				t.Errorf("%v, want %s … %s", err, tt.field, tt.rule)
			}
		})
	}
}

// Coming back may be refused, or be over sooner, never later.
func TestNarrowedTime(t *testing.T) {
	r := shown(t, readReport)
	r.DecideBy = noon
	for _, tt := range []struct {
		asked time.Duration
		lasts Lasting
		until time.Time
		ok    bool
	}{
		{30 * 24 * time.Hour, LastsWeek, noon.AddDate(0, 0, 7), true},
		{30 * 24 * time.Hour, LastsDay, noon.AddDate(0, 0, 1), true},
		{30 * 24 * time.Hour, LastsOnce, time.Time{}, true},
		{7 * 24 * time.Hour, LastsWeek, time.Time{}, false},
		{time.Hour, LastsDay, time.Time{}, false},
		{time.Hour, LastsOnce, time.Time{}, true},
		{30 * 24 * time.Hour, "year", time.Time{}, false},
	} {
		r.Until = noon.Add(tt.asked)
		n, err := Renderer{Types: BuiltinTypes()}.Narrow(r, Choice{Lasts: tt.lasts})
		if (err == nil) != tt.ok || !n.Until.Equal(tt.until) {
			t.Errorf("%s of %s: %v, %v", tt.lasts, tt.asked, n.Until, err)
		}
	}
}

// drawChoice makes choices that are mostly allowed for asked3, and sometimes not.
func drawChoice(t *rapid.T) Choice {
	c := Choice{Lasts: rapid.SampledFrom([]Lasting{"", "", LastsOnce, LastsDay, LastsWeek, "month"}).Draw(t, "lasts")}
	amount := rapid.SampledFrom([]string{"", "0.01", "1", "300.00", "479.99", "480.00", "480.01", "0", "x"})
	keep := rapid.SampledFrom([][]string{nil, {"read"}, {"share"}, {"share", "read"}, {"write"}, {}})
	for i := range 3 {
		p := Part{Leave: rapid.IntRange(0, 3).Draw(t, "leave") == 0}
		if i == 0 {
			p.Amount = amount.Draw(t, "amount")
		}
		if i == 1 {
			p.Keep = keep.Draw(t, "keep")
		}
		if p.Leave && rapid.Bool().Draw(t, "only") {
			p = Part{Leave: true}
		}
		if !p.empty() {
			if c.Parts == nil {
				c.Parts = map[int]Part{}
			}
			c.Parts[i] = p
		}
	}
	return c
}

// AO-176: what is granted is part of what was asked, in every member, and taking the same away again takes nothing more.
func TestNarrowedIsNeverWider(t *testing.T) {
	rowtest.Row(t, "REQ-102")
	p := Renderer{Types: BuiltinTypes()}
	r := standing(t, asked3)
	narrowed := 0
	rapid.Check(t, func(t *rapid.T) {
		c := drawChoice(t)
		n, err := p.Narrow(r, c)
		if err != nil {
			return
		}
		narrowed++
		if n.Until.After(r.Until) || len(n.Details) == 0 || len(n.Details) > len(r.Requested) || !slices.IsSorted(n.asked) {
			t.Fatalf("%s: until %v, %d objects, %v", c, n.Until, len(n.Details), n.asked)
		}
		for i, was := range n.asked {
			inside(t, n.Details[i], r.Requested[was])
		}
		again := Choice{Parts: map[int]Part{}}
		for i, was := range n.asked {
			if kept := (Part{Amount: c.Parts[was].Amount, Keep: c.Parts[was].Keep}); !kept.empty() {
				again.Parts[i] = kept
			}
		}
		twice, err := p.Types.narrow(n.Details, again.Parts)
		if err != nil || !slices.EqualFunc(twice.Details, n.Details, sameDetail) {
			t.Fatalf("%s: twice is not once: %v, %v", c, twice.Details, err)
		}
		if back, err := ParseChoice(c.String()); err != nil || back.String() != c.String() {
			t.Fatalf("%s reads as %s, %v", c, back, err)
		}
	})
	if narrowed == 0 {
		t.Error("no choice was allowed")
	}
}

// inside fails unless granted is asked with an amount that is not more and a list that is part.
func inside(t *rapid.T, granted, asked Detail) {
	g, err := ParseJSON(granted.Raw)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := ParseJSON(asked.Raw)
	got, want := g.(map[string]any), a.(map[string]any)
	if m, ok := got["instructedAmount"]; ok {
		if moneyOf(m).Minor.Cmp(moneyOf(want["instructedAmount"]).Minor) > 0 || moneyOf(m).Minor.Sign() <= 0 ||
			moneyOf(m).Currency != moneyOf(want["instructedAmount"]).Currency {
			t.Fatalf("%s of %s", granted.Raw, asked.Raw)
		}
		want["instructedAmount"] = m
	}
	if list, ok := got["actions"].([]any); ok && granted.Type == "document_access" {
		for _, v := range list {
			if !slices.Contains(want["actions"].([]any), v) {
				t.Fatalf("%s of %s", granted.Raw, asked.Raw)
			}
		}
		want["actions"] = list
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s of %s", granted.Raw, asked.Raw)
	}
	if granted.Type == "tool_call" && !sameDetail(granted, asked) {
		t.Fatalf("a tool call became %s", granted.Raw)
	}
}

// What comes in the place of a choice is refused with an error or is a choice, and is never wider.
func FuzzNarrow(f *testing.F) {
	for _, text := range []string{`{"parts":{"0":{"amount":"300.00"}}}`, `{"parts":{"1":{"keep":["read"]},"2":{"leave":true}},"lasts":"day"}`,
		`{"parts":{"0":{"amount":"1","amount":"2"}}}`, `{"parts":{"00":{}}}`, `{"x":1}`, `[]`, `null`, `{"lasts":"once"}{}`, "\xff"} {
		f.Add(text)
	}
	details, err := BuiltinTypes().Parse([]byte(asked3), func(string) bool { return true })
	if err != nil {
		f.Fatal(err)
	}
	r := &Request{Requested: details, DecideBy: noon, Until: noon.AddDate(0, 0, 30), Zone: "UTC"}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseChoice(text)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if back, err := ParseChoice(c.String()); err != nil || back.String() != c.String() {
			t.Fatalf("%q reads as %q, %v", c, back, err)
		}
		n, err := Renderer{Types: BuiltinTypes()}.Narrow(r, c)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if n.Until.After(r.Until) || len(n.Details) == 0 || len(n.Details) > 3 {
			t.Fatalf("%q grants %d objects until %v", text, len(n.Details), n.Until)
		}
	})
}
