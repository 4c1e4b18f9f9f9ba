package webapp

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var placeholder = regexp.MustCompile(`%(\[\d\])?[sd]`)

// Both languages say the same: no text is missing, and each has the same places to fill.
func TestCatalogueParity(t *testing.T) {
	hangul := regexp.MustCompile(`\p{Hangul}`)
	for key, p := range texts {
		if strings.TrimSpace(p.en) == "" || strings.TrimSpace(p.ko) == "" {
			t.Errorf("%s is empty", key)
		}
		en, ko := placeholder.FindAllString(p.en, -1), placeholder.FindAllString(p.ko, -1)
		slices.Sort(en)
		slices.Sort(ko)
		if !slices.Equal(en, ko) {
			t.Errorf("%s: places %v and %v", key, en, ko)
		}
		if len(en) > 1 && !strings.HasPrefix(en[0], "%[") {
			t.Errorf("%s: places must be numbered", key)
		}
		if key != "brand" && key != "language" && !hangul.MatchString(p.ko) {
			t.Errorf("%s is not Korean", key)
		}
		if key != "language" && hangul.MatchString(p.en) {
			t.Errorf("%s is not English", key)
		}
	}
}

// Korean speaks 해요체, and no particle that depends on the last letter is glued to a name.
func TestKoreanStyle(t *testing.T) {
	formal := regexp.MustCompile(`(니다|니까|시오)([.?!]|$)`)
	josa := regexp.MustCompile(`%(\[\d\])?s(은|는|이|가|을|를|과|와|으로|로)( |$|\.)`)
	for key, p := range texts {
		if formal.MatchString(p.ko) {
			t.Errorf("%s is too formal: %s", key, p.ko)
		}
		if josa.MatchString(p.ko) {
			t.Errorf("%s glues a particle to a name: %s", key, p.ko)
		}
	}
}

// Every text is used, and every text that a template or a file names exists.
func TestCatalogueIsUsed(t *testing.T) {
	var all strings.Builder
	for _, pattern := range []string{"*.go", "templates/*.html"} {
		files, err := filepath.Glob(pattern)
		check(t, err)
		for _, f := range files {
			if f == "text.go" || strings.HasSuffix(f, "_test.go") {
				continue
			}
			raw, err := os.ReadFile(f)
			check(t, err)
			all.Write(raw)
		}
	}
	source := all.String()
	named := regexp.MustCompile(`(?:\.T|\.Before|\.After|say\(\S+,) "([a-zA-Z0-9.]+)"`)
	for _, m := range named.FindAllStringSubmatch(source, -1) {
		if _, known := texts[m[1]]; !known {
			t.Errorf("%s is named and does not exist", m[1])
		}
	}
	for key := range texts {
		family, member, _ := strings.Cut(key, ".")
		composed := slices.Contains([]string{"state", "alert"}, family) || strings.HasPrefix(key, "agent.done.") || member == "title" || member == "body"
		if composed {
			key = family
		}
		if !strings.Contains(source, `"`+key) {
			t.Errorf("%s is used nowhere", key)
		}
	}
}

func TestLookUp(t *testing.T) {
	if _, err := lookUp("en", "no such key"); err == nil {
		t.Error("a missing text is no error")
	}
	if _, _, err := around("en", "brand"); err == nil {
		t.Error("a text without a place is no error")
	}
	if got := say("ko", "ask.deny"); got != "거절" {
		t.Error(got)
	}
}
