package ciba

import (
	"strings"
	"testing"
)

func TestBindingMessage(t *testing.T) {
	row(t, "REQ-117", "REQ-118", "REQ-119")
	tests := []struct {
		text string
		ok   bool
	}{
		{"1234", true}, {"TEAL-7", true}, {"K", true}, {"W4SCT", true},
		{"Pay 480.00 EUR to Example Travel, now?", true},
		{"확인 번호 4821", true}, {"Überweisung № 7", false}, {"Überweisung 7: 50 €", true}, {"確認。次へ", true},
		{"a+b=c (x) #1 & 50% @home “q” – ok", true},
		{"v1.2", true}, {"No.2", true}, {"at 3 p.m. today", true}, {"50$", true}, {"प्रमाण ७", true},
		{strings.Repeat("가", 128), true},
		{strings.Repeat("가", 129), false},
		{"   ", false}, {"a\nb", false}, {"a\tb", false}, {"a\u00a0b", false}, {"a\u202eb", false}, {"a\u200bb", false},
		{"a\ufeffb", false}, {"a\u3164b", false}, {"a\u0000b", false}, {"🙂", false}, {"a\\b", false}, {"<b>", false}, {"a|b", false},
		{"`x`", false}, {"\ufffd", false}, {"\ue000", false},
		{"pay at evil.example/x", false}, {"https://x", false}, {"WWW.x", false}, {"see evil.com", false},
		{"see EVIL.COM", false}, {"mailto:x", false}, {"tel:+4930123456", false}, {"мир.рф", false}, {"evil。com", false},
		{"evil．com", false}, {"javascript:x", false}, {"a@b.example", false},
		{"10.0.0.1/pay", false}, {"see 10.0.0.1", false}, {"10。0。0。1", false}, {"v1.2.3", true}, {"1.2.3", true},
		{"+4930123456", false}, {"+49 (30) 12 34 56", false}, {"+49.30.123456", false}, {"call 030 1234567", false},
		{"555-0123-4", false}, {"(030) 123-4567", false}, {"010–1234–5678", false}, {"٠١٢٣٤٥٦", false}, {"12345678", false},
		{"H3-91", true}, {"123456", true}, {"12-34 56", true}, {"480.00 EUR for 2", true}, {"1,234,567.00 EUR", true},
		{"1 + 1 = 2", true}, {"12:30, gate 14, seat 22", true},
	}
	for _, tt := range tests {
		got, err := askedBinding(tt.text)
		if (err == nil) != tt.ok || tt.ok && got != tt.text { // REQ-117 to 119
			t.Errorf("%q: %v", tt.text, err)
		}
		if err != nil && faultOf(err).code != "invalid_binding_message" {
			t.Errorf("%q: %v", tt.text, err)
		}
	}
}

func TestPreferWait(t *testing.T) {
	tests := []struct {
		lines []string
		want  int
		ok    bool
	}{
		{nil, 0, false}, {[]string{""}, 0, false}, {[]string{"respond-async"}, 0, false},
		{[]string{"wait=10"}, 10, true}, {[]string{"Wait=10"}, 10, true}, {[]string{"respond-async, wait=7; x=y"}, 7, true},
		{[]string{"respond-async", "wait=7"}, 7, true}, {[]string{`wait="5"`}, 5, true}, {[]string{"wait = 5"}, 5, true},
		{[]string{"wait=0"}, 0, true}, {[]string{"wait=1, wait=9"}, 1, true}, {[]string{"wait"}, 0, false},
		{[]string{"wait=-1"}, 0, false}, {[]string{"wait=1.5"}, 1, false}, {[]string{"wait=99999999999999"}, 0, false},
		{[]string{"waiting=5"}, 0, false},
	}
	for _, tt := range tests {
		if got, ok := preferWait(tt.lines); ok != tt.ok || ok && got != tt.want {
			t.Errorf("%q: %d %v", tt.lines, got, ok)
		}
	}
}

func TestIssuerPath(t *testing.T) {
	row(t, "REQ-002")
	good := map[string]string{"https://h": "", "https://h/": "", "https://h/t1": "/t1", "https://h/t1/": "/t1", "http://localhost:8080": ""}
	for issuer, want := range good {
		if got, err := issuerPath(issuer); err != nil || got != want {
			t.Errorf("%s: %q, %v", issuer, got, err)
		}
	}
	for _, issuer := range []string{"", "h", "ftp://h", "https://", "https://h?x=1", "https://h#f", "https://u@h", "https://h/{x}", "https://h/*",
		"https://h/%7Bx%7D", "https://h/a%20b", "https://h/a%25b", "https://h/a%2Fb"} {
		if _, err := issuerPath(issuer); err == nil {
			t.Errorf("%q was accepted", issuer)
		}
	}
}

func TestPlain(t *testing.T) {
	row(t, "REQ-171")
	if got := plain("a\"b\\c\nd🙂e"); got != "a?b?c?d?e" {
		t.Errorf("%q", got)
	}
	if got := plain(strings.Repeat("x", 1000)); len(got) != maxText {
		t.Errorf("%d characters", len(got))
	}
}
