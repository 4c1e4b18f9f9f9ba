package sms

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"assent/approvals"
	"assent/channels"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func testWriter(most int) writer {
	return writer{names: Names{EN: "Acme Approvals", KO: "승인함"}, host: "ap.example.com", most: most}
}

func testMessage(kind channels.Kind, locale string) channels.Message {
	m := channels.Message{Kind: kind, Locale: locale, Ref: "K7-42", Agent: "Travel Bot", By: "14:32",
		URL: "https://ap.example.com/r/7Kq2mX9wTzB4", Expires: time.Now().Add(time.Minute)}
	if kind == channels.KindCode {
		m.Ref, m.Agent, m.By, m.URL, m.Code = "", "", "", "", "482913"
	}
	return m
}

// TestWords: what people read, with the parts that it takes at home and in Korea.
func TestWords(t *testing.T) {
	var out bytes.Buffer
	odd := map[string]func(*channels.Message){
		"plain":                     func(*channels.Message) {},
		"agent that looks like one": func(m *channels.Message) { m.Agent = "bank-login.example" },
		"agent with an emoji":       func(m *channels.Message) { m.Agent = "Bot 🚀" },
		"agent outside of EUC-KR":   func(m *channels.Message) { m.Agent = "뷁봇" },
		"long day and host": func(m *channels.Message) {
			m.By = map[string]string{"en": "24 Nov 03:00", "ko": "11월 24일 03:00"}[m.Locale]
			m.URL = "https://approvals.example.com/r/7Kq2mX9wTzB4"
		},
	}
	for _, locale := range []string{approvals.English, approvals.Korean} {
		for _, kind := range []channels.Kind{channels.KindRequest, channels.KindReminder, channels.KindCode, channels.KindTest} {
			for _, name := range []string{"plain", "agent that looks like one", "agent with an emoji", "agent outside of EUC-KR",
				"long day and host"} {
				if kind != channels.KindRequest && name != "plain" {
					continue
				}
				for _, country := range []string{"DE", "KR"} {
					m := testMessage(kind, locale)
					odd[name](&m)
					text, parts, err := testWriter(1).write(m, country)
					if err != nil {
						t.Errorf("%s %s %s: %v", locale, kind, name, err)
					}
					fmt.Fprintf(&out, "%s %s to %s, %s: %d part\n%s\n\n", locale, kind, country, name, parts, text)
				}
			}
		}
	}
	path := filepath.Join("testdata", "words.golden")
	if *update {
		if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Error(diff)
	}
}

// TestNothingFits: rather no message than one of more parts than allowed.
func TestNothingFits(t *testing.T) {
	m := testMessage(channels.KindRequest, approvals.English)
	m.URL = "https://" + strings.Repeat("long.", 40) + "example/r/7Kq2mX9wTzB4"
	if text, _, err := testWriter(1).write(m, "DE"); err == nil {
		t.Errorf("wrote %q", text)
	}
	if _, parts, err := testWriter(2).write(m, "DE"); err != nil || parts != 2 {
		t.Errorf("two parts allowed: %d parts, %v", parts, err)
	}
}

// TestParts follows 3GPP TS 23.038.
func TestParts(t *testing.T) {
	tests := []struct {
		name string
		text string
		want int
	}{
		{"nothing", "", 1},
		{"full GSM part", strings.Repeat("a", 160), 1},
		{"one more", strings.Repeat("a", 161), 2},
		{"two full GSM parts", strings.Repeat("a", 306), 2},
		{"one more than two", strings.Repeat("a", 307), 3},
		{"euro counts twice", strings.Repeat("€", 80), 1},
		{"euro over the end", strings.Repeat("€", 80) + "a", 2},
		{"escape is not torn", strings.Repeat("a", 152) + "€" + strings.Repeat("a", 152), 3},
		{"accents of the GSM alphabet", strings.Repeat("é", 160), 1},
		{"full UCS part", strings.Repeat("가", 70), 1},
		{"one more in UCS", strings.Repeat("가", 71), 2},
		{"two full UCS parts", strings.Repeat("가", 134), 2},
		{"three UCS parts", strings.Repeat("가", 135), 3},
		{"one odd character makes all UCS", strings.Repeat("a", 70) + "·", 2},
		{"pairs", strings.Repeat("🚀", 35), 1},
		{"pair is not torn", strings.Repeat("가", 66) + "🚀" + strings.Repeat("가", 66), 3},
		{"backtick is not in it", strings.Repeat("`", 71), 2},
	}
	for _, tt := range tests {
		if got := Parts(tt.text); got != tt.want {
			t.Errorf("%s: %d parts, want %d", tt.name, got, tt.want)
		}
	}
	if n := len([]rune(gsmBasic)); n != 127 { // 128 with the escape
		t.Errorf("GSM alphabet has %d characters", n)
	}
}

// FuzzParts: a text never takes fewer parts than its units fill, nor more than tearing can explain, and cutting it never
// makes it longer.
func FuzzParts(f *testing.F) {
	for _, seed := range []string{"", "abc", "€{}", "승인함", "🚀a", "\xff", strings.Repeat("€a", 120)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := Parts(text)
		units, one, more := len(utf16.Encode([]rune(text))), ucsOne, ucsMore
		if n, gsm := septets(text); gsm {
			units, one, more = n, gsmOne, gsmMore
		}
		least := 1
		if units > one {
			least = (units + more - 1) / more
		}
		if got < least || got > least+units/(more-1)+1 || units <= one && got != 1 {
			t.Errorf("%d units take %d parts, at least %d expected", units, got, least)
		}
		if runes := []rune(text); len(runes) > 0 && strings.ToValidUTF8(text, "") == text {
			if cut := Parts(string(runes[:len(runes)-1])); cut > got {
				t.Errorf("%d parts, and %d after cutting", got, cut)
			}
		}
		carriesKorean(text)
		plain(text)
	})
}

// TestEUCKR: the 2,350 syllables of KS X 1001 and nothing more.
func TestEUCKR(t *testing.T) {
	syllables := 0
	for c := '가'; c <= '힣'; c++ {
		if carriesKorean(string(c)) {
			syllables++
		}
	}
	if syllables != 2350 {
		t.Errorf("%d syllables, want 2,350", syllables)
	}
	for text, want := range map[string]bool{"승인함 K7-42": true, "뷁": false, "똠방각하": false, "🚀": false, "plain": true,
		"승인\xff": false} {
		if got := carriesKorean(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// TestPlain: nothing that a phone could make a link or a number of.
func TestPlain(t *testing.T) {
	for name, want := range map[string]bool{"Travel Bot": true, "예시여행": true, "R&D (EU)": true, "O'Neill-Bot": true, "Bot 7": true,
		"a.example": false, "http://x": false, "x@y": false, "call 0190123": false, "two\nlines": false, "⟨U+202E⟩": false,
		strings.Repeat("x", 33): false} {
		if got := plain(name) != ""; got != want {
			t.Errorf("plain(%q): %v, want %v", name, got, want)
		}
	}
}

// TestCountries: the longest known beginning decides.
func TestCountries(t *testing.T) {
	for number, want := range map[string]string{"+821012345678": "KR", "+4915799987431": "DE", "+12125550100": "US",
		"+18765550100": "JM", "+77011234567": "KZ", "+79161234567": "RU", "+881612345678": "", "+99912345678": "", "": "",
		"82": "KR"} {
		if got := CountryOf(number); got != want {
			t.Errorf("CountryOf(%q) = %q, want %q", number, got, want)
		}
	}
	c, err := ParseCountries([]string{"kr", " US "})
	if err != nil || !c.Allows("+821012345678") || !c.Allows("+14165550100") || c.Allows("+18765550100") || c.Allows("+4930123") {
		t.Errorf("KR and US: %+v, %v", c, err)
	}
	for _, bad := range []string{"", "XX", "82", "*"} {
		if _, err := ParseCountries([]string{bad}); err == nil {
			t.Errorf("ParseCountries(%q) accepts", bad)
		}
	}
}
