package ciba

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

// TestLoginHint is REQ-104 to 106: every documented form finds Ann, and nothing else does.
func TestLoginHint(t *testing.T) {
	row(t, "REQ-104", "REQ-105", "REQ-106", "REQ-259")
	tests := []struct {
		name, hint, want string // want: sub, or an error code
	}{
		{"plain name", "ann", "p-ann"},
		{"sub", "p-ann", "p-ann"},
		{"e-mail", "ann@example.com", "p-ann"},
		{"e-mail in capitals", "ANN@EXAMPLE.COM", "p-ann"},
		{"phone", "+4930123456", "p-ann"},
		{"tel", "tel:+4930123456", "p-ann"},
		{"tel with separators", "TEL:+49-30-(12)3.456", "p-ann"},
		{"phone with spaces", "+49 30 123456", "p-ann"},
		{"acct", "acct:bob@example.com", "p-bob"},
		{"acct of a plain name", "acct:bob", "p-bob"},
		{"iss_sub", `{"format":"iss_sub","iss":"https://assent.example","sub":"p-ann"}`, "p-ann"},
		{"iss_sub with slash and spaces", ` { "format": "iss_sub", "iss": "https://assent.example/", "sub": "p-ann" }`, "p-ann"},
		{"subject e-mail", `{"format":"email","email":"ann@example.com"}`, "p-ann"},
		{"subject phone", `{"format":"phone_number","phone_number":"+4930123456"}`, "p-ann"},
		{"opaque subject", `{"format":"opaque","id":"ann"}`, "p-ann"},
		{"foreign issuer", `{"format":"iss_sub","iss":"https://else.example","sub":"p-ann"}`, "unknown_user_id"},
		{"issuer in capitals", `{"format":"iss_sub","iss":"https://ASSENT.example","sub":"p-ann"}`, "unknown_user_id"},
		{"two slashes", `{"format":"iss_sub","iss":"https://assent.example//","sub":"p-ann"}`, "unknown_user_id"},
		{"sub is no hint", `{"format":"iss_sub","iss":"https://assent.example","sub":"ann"}`, "unknown_user_id"},
		{"bad subject phone", `{"format":"phone_number","phone_number":"12"}`, "unknown_user_id"},
		{"name in capitals", "Ann", "unknown_user_id"},
		{"name with a space", " ann", "unknown_user_id"},
		{"national number", "030123456", "unknown_user_id"},
		{"disabled", "eve", "unknown_user_id"},
		{"nobody", "nobody", "unknown_user_id"},
		{"extra member", `{"format":"email","email":"ann@example.com","amount":"1"}`, "invalid_request"},
		{"unknown format", `{"format":"did","url":"did:x"}`, "invalid_request"},
		{"no format", `{"iss":"https://assent.example","sub":"p-ann"}`, "invalid_request"},
		{"missing member", `{"format":"iss_sub","sub":"p-ann"}`, "invalid_request"},
		{"number", `{"format":"email","email":7}`, "invalid_request"},
		{"broken JSON", `{"format"`, "invalid_request"},
		{"twice", `{"format":"email","format":"email","email":"ann@example.com"}`, "invalid_request"},
		{"control character", "an\u0007n", "invalid_request"},
		{"control character in JSON", `{"format":"opaque","id":"a\u0007"}`, "invalid_request"},
		{"bad tel", "tel:ann", "invalid_request"},
		{"short tel", "tel:+49", "invalid_request"},
		{"512 characters", strings.Repeat("é", 512), "unknown_user_id"},
		{"513 characters", strings.Repeat("é", 513), "invalid_request"},
	}
	s := newService(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := s.post("/bc-authorize", bc("login_hint", tt.hint))
			if a.status != http.StatusOK {
				if a.code() != tt.want || strings.Contains(a.raw, "ann") {
					t.Fatalf("%d %s, want %s", a.status, a.raw, tt.want)
				}
				return
			}
			r, err := s.Desk.Request(t.Context(), idOf(a.text("auth_req_id")))
			must(t, err)
			if string(r.Subject) != tt.want {
				t.Errorf("subject %s, want %s", r.Subject, tt.want)
			}
		})
	}
}

// TestAmbiguousHint: a name of one person that is another's sub names nobody.
func TestAmbiguousHint(t *testing.T) {
	row(t, "REQ-104")
	s := newService(t)
	bob, err := s.Directory.Person(t.Context(), "p-bob")
	must(t, err)
	next := *bob
	next.Hints = []string{"p-ann"}
	must(t, s.Directory.SavePerson(t.Context(), &next))
	if a := s.post("/bc-authorize", bc("login_hint", "p-ann")); a.code() != "unknown_user_id" {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

func FuzzLoginHint(f *testing.F) {
	for _, seed := range []string{"ann", "+4930123456", "tel:+", "acct:", `{"format":"iss_sub","iss":"https://assent.example","sub":"p-ann"}`,
		`{"format":`, "{", "\x00", "a@b@c", strings.Repeat("x", 600), `{"a":{"b":{}}}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h, err := parseHint(text, testIssuer)
		var known *fault
		if err != nil && (!errors.As(err, &known) || known.code != "invalid_request") {
			t.Errorf("%q: %v", text, err)
		}
		if err == nil && len(h.names) > 4 {
			t.Errorf("%q: %d names", text, len(h.names))
		}
	})
}
