package ciba

import (
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"testing"
	"time"
)

// Whatever is accepted as an endpoint is one that a request can be made for, over TLS, to a name.
func FuzzEndpoint(f *testing.F) {
	for _, seed := range []string{deskEndpoint, "https://u@desk.example/", "https://[::1]/", "http://localhost:1/", "https://desk.example#",
		"https://127.1/", "https://desk.example:443x/", "https://a.b:/", "https://xn--bcher-kva.example/?a=%00", "https://A.EXAMPLE./"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !isEndpoint(text, false) {
			return
		}
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "https" || u.User != nil || u.Fragment != "" || !isEndpoint(text, true) {
			t.Fatalf("accepted %q", text)
		}
		if _, err := netip.ParseAddr(u.Hostname()); err == nil {
			t.Errorf("%q names an address", text)
		}
		if _, err := http.NewRequest(http.MethodPost, text, nil); err != nil {
			t.Errorf("no request for %q: %v", text, err)
		}
	})
}

var b64token = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

func FuzzNotificationToken(f *testing.F) {
	for _, seed := range []string{"", pingToken, "=", "a=b", "a b", "a\n", "é", "a==="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got, want := isToken68(text), b64token.MatchString(text); got != want {
			t.Errorf("%q: %v, want %v (RFC 6750 section 2.1)", text, got, want)
		}
		if guessBits(text) < 0 {
			t.Errorf("%q: negative", text)
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"0", "120", "-1", "1.5", "99999999999999999999", "Wed, 21 Oct 2026 07:28:00 GMT", "soon", "+5", " 5"} {
		f.Add(seed)
	}
	now := time.Date(2026, 10, 21, 7, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		if got := retryAfter(text, now); got < 0 {
			t.Errorf("%q: %v", text, got)
		}
	})
}
