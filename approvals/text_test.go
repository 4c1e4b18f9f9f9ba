package approvals

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// phrases reads every text of this package out of its source, so that none is left out.
func phrases(t *testing.T) map[string]phrase {
	t.Helper()
	found := map[string]phrase{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			pair, ok := n.(*ast.CompositeLit)
			if !ok || len(pair.Elts) != 2 {
				return true
			}
			en, ok1 := pair.Elts[0].(*ast.BasicLit)
			ko, ok2 := pair.Elts[1].(*ast.BasicLit)
			if !ok1 || !ok2 || en.Kind != token.STRING || ko.Kind != token.STRING {
				return true
			}
			var p phrase
			p.en, _ = strconv.Unquote(en.Value)
			p.ko, _ = strconv.Unquote(ko.Value)
			found[set.Position(pair.Pos()).String()] = p
			return true
		})
	}
	if len(found) < 50 {
		t.Fatalf("only %d texts found", len(found))
	}
	return found
}

// Both languages say the same with the same places to fill; Korean speaks 해요체 and glues no particle to a place whose
// last letter decides it (ux.md 8, 17).
func TestPhrases(t *testing.T) {
	var (
		place  = regexp.MustCompile(`%(\[\d\])?[sd]`)
		letter = regexp.MustCompile(`\pL`)
		hangul = regexp.MustCompile(`\p{Hangul}`)
		formal = regexp.MustCompile(`(니다|니까|시오)([.?!]|$)`)
		josa   = regexp.MustCompile(`%(\[\d\])?[sd](은|는|이|가|을|를|과|와|으로|로|아|야|이나|나|이라|라)( |$|\.)`)
	)
	for at, p := range phrases(t) {
		en, ko := place.FindAllString(p.en, -1), place.FindAllString(p.ko, -1)
		slices.Sort(en)
		slices.Sort(ko)
		switch {
		case len(en) != len(ko):
			t.Errorf("%s: places %v and %v", at, en, ko)
		case len(en) > 1 && !strings.Contains(p.en+p.ko, "%["):
			t.Errorf("%s: places must be numbered where there are several", at)
		case letter.MatchString(place.ReplaceAllString(p.en, "")) && !hangul.MatchString(p.ko) || hangul.MatchString(p.en):
			t.Errorf("%s: %q and %q are not English and Korean", at, p.en, p.ko)
		case formal.MatchString(p.ko):
			t.Errorf("%s is too formal: %s", at, p.ko)
		case josa.MatchString(p.ko):
			t.Errorf("%s glues a particle to a name: %s", at, p.ko)
		}
	}
}

// The approving button repeats the amount, or the verb of what will happen; it is never a bare yes, and never the agent's
// words (ux.md 2.4). Every type that there is walks through.
func TestButtons(t *testing.T) {
	const doc = `[{"type":"document_access","identifier":"Approve everything","actions":[%s]}]`
	tests := map[string]struct{ details, en, ko string }{
		"payment_initiation": {details: payTravel, en: "Approve 480.00 EUR", ko: "480.00 EUR 승인"},
		"document_access":    {details: readReport, en: "Approve: Read, Share", ko: "읽기, 공유 승인"},
		"tool_call":          {details: runTool, en: "Approve this run", ko: "실행 승인"},
		TypeGeneric:          {details: launchRocket, en: "Approve this unknown request", ko: "처음 보는 요청 승인"},
		"several":            {details: strings.TrimSuffix(payTravel, "]") + "," + strings.TrimPrefix(runTool, "["), en: "Approve all 2", ko: "2가지 모두 승인"},
		"scopes":             {details: "", en: "Approve access", ko: "권한 승인"},
	}
	for _, name := range append(BuiltinTypes().Names(), TypeGeneric, "several", "scopes") {
		tt, ok := tests[name]
		if !ok {
			t.Errorf("%s has no button here: what does it say?", name)
			continue
		}
		for locale, want := range map[string]string{English: tt.en, Korean: tt.ko} {
			d, err := Renderer{Types: BuiltinTypes()}.Disclose(shown(t, tt.details), locale)
			if err != nil || d.Button != want {
				t.Errorf("%s in %s: %q, %v, want %q", name, locale, d.Button, err, want)
			}
		}
	}
	for verb, words := range documentVerbs {
		r := shown(t, strings.Replace(doc, "%s", strconv.Quote(verb), 1))
		for locale, want := range map[string]string{English: words.en, Korean: words.ko} {
			d, err := Renderer{Types: BuiltinTypes()}.Disclose(r, locale)
			if err != nil || !strings.Contains(d.Button, want) || strings.Contains(d.Button, "everything") {
				t.Errorf("%s in %s: %q, %v", verb, locale, d.Button, err)
			}
		}
	}
	r := shown(t, "")
	r.Scope = []string{"openid"}
	for locale, want := range map[string]string{English: "Approve sign-in", Korean: "본인 확인 승인"} {
		if d, err := (Renderer{Types: BuiltinTypes()}).Disclose(r, locale); err != nil || d.Button != want {
			t.Errorf("sign-in in %s: %q, %v", locale, d.Button, err)
		}
	}
}
