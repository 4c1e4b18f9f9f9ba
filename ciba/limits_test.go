package ciba

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"assent/approvals"
)

func limited(p *Parts) { p.Limits = Limits{Failures: 5, People: 3, Unknown: 2} }

// from sends a form from an address.
func (s *service) from(remote, path string, f form) answer {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(f.String()))
	r.Header.Set("Content-Type", typeForm)
	r.RemoteAddr = remote
	return s.do(r)
}

// TestFailuresAreThrottled is REQ-072: who fails too often is put off, there and as that client only.
func TestFailuresAreThrottled(t *testing.T) {
	row(t, "REQ-072", "REQ-176")
	const here, neighbour, elsewhere = "192.0.2.7:1000", "192.0.2.7:2000", "192.0.2.8:1000"
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, limited)
		s.addKeyed(t)
		for range 5 {
			if a := s.from(here, "/token", tk("x", "client_secret", "wrong")); a.status != 401 {
				t.Fatalf("%d %s", a.status, a.raw)
			}
		}
		put := func(name, remote string, f form, want int) {
			t.Helper()
			a := s.from(remote, "/bc-authorize", f)
			if a.status != want || want == 429 && (a.code() != "temporarily_unavailable" || a.header.Get("Retry-After") != "60") {
				t.Errorf("%s: %d %s %v", name, a.status, a.raw, a.header)
			}
		}
		put("the right secret, from there", neighbour, bc(), 429)
		put("from elsewhere", elsewhere, bc(), 200)
		put("another client, from there", here, bc("client_id", "other", "client_secret", otherSecret), 200)
		put("a client with a key, from there", here, asserted(bc(), jws(t, "ES256", "ES256", nil, assertionClaims("keyed"))), 200)
		for i := range 45 { // with new names there is no end of them
			s.from(here, "/token", tk("x", "client_id", fmt.Sprint("nobody", i)))
		}
		put("another client, from where anybody fails", here, bc("client_id", "other", "client_secret", otherSecret), 429)
		time.Sleep(time.Minute)
		put("a minute later", here, bc(), 200)
	})
}

// TestSweepingIsThrottled is REQ-267: a client that asks for very many people, or for nobody again and again.
func TestSweepingIsThrottled(t *testing.T) {
	row(t, "REQ-176", "REQ-267")
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, limited)
		for i := range 5 {
			id := fmt.Sprint("p-", i)
			must(t, s.Directory.SavePerson(t.Context(), &approvals.Person{ID: approvals.PersonID(id), Name: "P", Hints: []string{id}}))
		}
		ask := func(hint string, want int, pairs ...string) {
			t.Helper()
			a := s.post("/bc-authorize", bc(append(pairs, "login_hint", hint)...))
			if a.status != want || want == 429 && (a.code() != "temporarily_unavailable" || a.header.Get("Retry-After") == "") {
				t.Errorf("%s: %d %s", hint, a.status, a.raw)
			}
		}
		for _, hint := range []string{"p-0", "p-1", "p-1", "p-2"} {
			ask(hint, 200)
		}
		before := s.count()
		ask("p-3", 429)
		ask("p-0", 429) // nor anybody else, for the rest of the minute
		if n := s.count(); n != before {
			t.Errorf("%d requests, before %d", n, before)
		}
		other := []string{"client_id", "other", "client_secret", otherSecret}
		ask("p-3", 200, other...)
		ask("nobody", 400, other...)
		ask("noone", 400, other...)
		ask("nowhere", 429, other...)
		ask("p-3", 429, other...) // which would tell who exists
		time.Sleep(time.Minute)
		ask("p-4", 200)
		ask("p-4", 200, other...)
	})
}

// TestSweepingBlindly: for a blind client, people and nobody count alike.
func TestSweepingBlindly(t *testing.T) {
	row(t, "REQ-267", "REQ-282")
	s := newService(t, limited)
	s.addBlind(t)
	for id, hints := range map[string][]string{"blind": {"ann", "bob", "ann@example.com", "p-ann"}, "blind2": {"x", "y", "z", "ann"}} {
		for i, hint := range hints {
			want := 200
			if i == 3 {
				want = 429
			}
			if a := s.post("/bc-authorize", bc("client_id", id, "login_hint", hint)); a.status != want {
				t.Errorf("%s, %s: %d %s", id, hint, a.status, a.raw)
			}
		}
	}
}

// TestUnknownParametersAreCounted is REQ-081.
func TestUnknownParametersAreCounted(t *testing.T) {
	row(t, "REQ-081")
	s := newService(t)
	s.addKeyed(t)
	for _, f := range []form{bc("request_expiry", "300", "foo", "1"), asserted(bc("requested_expiry", "30"),
		jws(t, "ES256", "ES256", nil, assertionClaims("keyed")))} {
		if a := s.post("/bc-authorize", f); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.raw)
		}
	}
	if n := s.UnknownParameters(); n != 2 {
		t.Errorf("%d unknown parameters", n)
	}
}

// TestTallyIsBounded: whoever floods it costs no more memory; what is known is counted on, and what is new is not free.
func TestTallyIsBounded(t *testing.T) {
	row(t, "REQ-072")
	var c tally
	at := time.Now()
	c.add(at, "known")
	for i := range maxTallied + 10 {
		c.add(at, fmt.Sprint(i))
	}
	if len(c.of) > maxTallied+1 || c.add(at, "known") != 2 {
		t.Errorf("%d keys, known %d", len(c.of), c.of["known"])
	}
	if c.add(at, "new") != 1 || c.over("new", 10, at) != 60 || c.over("new", 20, at) != 0 {
		t.Errorf("the rest has %d", c.of[theRest])
	}
	if wait := c.over("known", 2, at.Add(59_500*time.Millisecond)); wait != 1 {
		t.Errorf("%d seconds left", wait)
	}
	if c.over("known", 2, at.Add(time.Minute)) != 0 || c.add(at.Add(time.Minute), "known") != 1 {
		t.Error("the minute does not end")
	}
}

// TestClaimsCostNoMemory: names that no client can have are one, however they are sent.
func TestClaimsCostNoMemory(t *testing.T) {
	row(t, "REQ-072")
	s := newService(t, limited)
	for i := range 4 {
		s.post("/token", tk("x", "client_id", fmt.Sprint(strings.Repeat("n", maxValue-9), i)))
	}
	names := 0
	for i := range s.gauges.failures.shards {
		for name := range s.gauges.failures.shards[i].of {
			if names++; len(name) > 300 {
				t.Errorf("%d bytes are kept", len(name))
			}
		}
	}
	if names != 2 { // the address, and it with the one name
		t.Errorf("%d names", names)
	}
}
