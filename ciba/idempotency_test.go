package ciba

import (
	"encoding/base64"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"assent/approvals"
)

const keyHeader = "Idempotency-Key"

// TestAskedOnce is REQ-169, for ten minutes.
func TestAskedOnce(t *testing.T) {
	row(t, "REQ-169")
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		first := s.post("/bc-authorize", bc(), keyHeader, "k1")
		if again := s.post("/bc-authorize", bc(), keyHeader, "k1"); again.status != 200 || again.raw != first.raw {
			t.Errorf("again: %d %s", again.status, again.raw)
		}
		if other := s.post("/bc-authorize", bc("binding_message", "X"), keyHeader, "k1"); other.status != 400 || other.code() != "invalid_request" {
			t.Errorf("another body: %d %s", other.status, other.raw)
		}
		if other := s.post("/bc-authorize", bc(), keyHeader, "k2"); other.status != 200 || other.raw == first.raw {
			t.Errorf("another key: %d %s", other.status, other.raw)
		}
		if other := s.post("/bc-authorize", bc("client_id", "other", "client_secret", otherSecret), keyHeader, "k1"); other.status != 200 || other.raw == first.raw {
			t.Errorf("another client: %d %s", other.status, other.raw)
		}
		if n := s.count(); n != 3 {
			t.Errorf("%d requests", n)
		}
		if refused := s.post("/bc-authorize", bc("scope", "nope"), keyHeader, "k3"); refused.code() != "invalid_request" {
			t.Errorf("refused: %s", refused.raw)
		}
		if fixed := s.post("/bc-authorize", bc(), keyHeader, "k3"); fixed.status != 200 { // a refusal takes no key
			t.Errorf("fixed: %s", fixed.raw)
		}
		time.Sleep(askedLifetime)
		if late := s.post("/bc-authorize", bc(), keyHeader, "k1"); late.status != 200 || late.raw == first.raw {
			t.Errorf("after ten minutes: %d %s", late.status, late.raw)
		}
	})
}

// TestTwoKeys: two headers are two, also when one of them is empty.
func TestTwoKeys(t *testing.T) {
	s := newService(t)
	for _, keys := range [][]string{{"", "k"}, {"k", ""}, {"", ""}, {"k", "k"}} {
		if a := s.post("/bc-authorize", bc(), keyHeader, keys[0], keyHeader, keys[1]); a.code() != "invalid_request" {
			t.Errorf("%q: %d %s", keys, a.status, a.raw)
		}
	}
	if a := s.post("/bc-authorize", bc(), keyHeader, ""); a.status != 200 {
		t.Errorf("one empty header: %d %s", a.status, a.raw)
	}
}

// TestAskedOnceAtOnce: of many simultaneous requests with one key, one is made, and all get its handle.
func TestAskedOnceAtOnce(t *testing.T) {
	row(t, "REQ-169")
	s := newService(t)
	answers := make(chan string, 50)
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() { answers <- s.post("/bc-authorize", bc(), keyHeader, "k").raw })
	}
	group.Wait()
	close(answers)
	first := <-answers
	for a := range answers {
		if a != first || !strings.Contains(a, "auth_req_id") {
			t.Errorf("%s, first %s", a, first)
		}
	}
	if n := s.count(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// TestRedeemedOnce says of a redemption who gets the lost answer again, and who does not.
func TestRedeemedOnce(t *testing.T) {
	row(t, "REQ-199")
	tests := []struct {
		name    string
		between func(t *testing.T, s *service)
		key     string
		pairs   []string
		want    string // error code; "" for the same bytes
	}{
		{"same call", nil, "k1", nil, ""},
		{"as JSON", nil, "k1", []string{"-", "json"}, ""},
		{"no key", nil, "", nil, "invalid_grant"},
		{"another key", nil, "k2", nil, "invalid_grant"},
		{"another body", nil, "k1", []string{"scope", "openid"}, "invalid_request"},
		{"after 59 s", func(*testing.T, *service) { time.Sleep(59 * time.Second) }, "k1", nil, ""},
		{"after 60 s", func(*testing.T, *service) { time.Sleep(60 * time.Second) }, "k1", nil, "invalid_grant"},
		{"another client", nil, "k1", []string{"client_id", "other", "client_secret", otherSecret}, "invalid_grant"},
		{"wrong secret", nil, "k1", []string{"client_secret", "wrong"}, "invalid_client"},
		{"person disabled", func(t *testing.T, s *service) { s.disable(t, "p-ann") }, "k1", nil, "invalid_grant"},
		{"revoked by the person", func(t *testing.T, s *service) { s.revoke(t) }, "k1", nil, "invalid_grant"},
		{"type taken away", func(t *testing.T, s *service) {
			s.change(t, "travel", func(a *approvals.Agent) { a.Types = nil })
		}, "k1", nil, "invalid_grant"},
		{"scope taken away", func(t *testing.T, s *service) {
			s.change(t, "travel", func(a *approvals.Agent) { a.Scopes = nil })
		}, "k1", nil, "invalid_grant"},
		{"audience taken away", func(t *testing.T, s *service) {
			s.change(t, "travel", func(a *approvals.Agent) { a.Audiences = nil })
		}, "k1", nil, "invalid_grant"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t)
				handle := s.ask(t, "authorization_details", payment, "scope", "openid trips.book", "resource", "https://bank.example")
				s.approve(t, handle)
				first := s.post("/token", tk(handle), keyHeader, "k1")
				if first.status != 200 {
					t.Fatalf("first: %d %s", first.status, first.raw)
				}
				if tt.between != nil {
					tt.between(t, s)
				}
				again := s.repeat(handle, tt.key, tt.pairs)
				if again.code() != tt.want || tt.want == "" && again.raw != first.raw {
					t.Errorf("again: %d %s, want %q", again.status, again.raw, tt.want)
				}
				opened := base64.StdEncoding.EncodeToString([]byte(`{"access_token"`))[:18]
				if strings.Contains(s.records(t, kindRedeemed), opened) {
					t.Error("the kept answer is not sealed")
				}
			})
		})
	}
}

func (s *service) repeat(handle, key string, pairs []string) answer {
	var headers []string
	if key != "" {
		headers = []string{keyHeader, key}
	}
	if len(pairs) == 2 && pairs[1] == "json" {
		return s.send("/token", typeJSON, `{"auth_req_id":"`+handle+`","grant_type":"`+GrantCIBA+`","client_secret":"`+testSecret+`","client_id":"travel"}`, headers...)
	}
	return s.post("/token", tk(handle, pairs...), headers...)
}

// revoke does what the page does when the person wants nobody to use what was approved.
func (s *service) revoke(t *testing.T) {
	t.Helper()
	list, err := s.Desk.List(t.Context(), approvals.Query{States: []approvals.State{approvals.Redeemed}})
	must(t, err)
	for _, r := range list {
		_, err := s.Desk.Revoke(t.Context(), r.ID, approvals.Revocation{
			By: approvals.Actor{Kind: "person", ID: string(r.Subject)}, Why: approvals.RevokedByPerson})
		must(t, err)
	}
}

func (s *service) records(t *testing.T, kind string) string {
	t.Helper()
	list, err := s.store.Scan(t.Context(), kind, "", 100)
	must(t, err)
	var all strings.Builder
	for _, r := range list {
		all.Write(r.Value)
	}
	return all.String()
}

// TestRedeemedOnceAtOnce: simultaneous redemptions with one key all get the same tokens; there is one redemption.
func TestRedeemedOnceAtOnce(t *testing.T) {
	s := newService(t)
	handle := s.ask(t)
	s.approve(t, handle)
	answers := make(chan answer, 50)
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() { answers <- s.post("/token", tk(handle), keyHeader, "k") })
	}
	group.Wait()
	close(answers)
	first := <-answers
	for a := range answers {
		if a.status != 200 || a.raw != first.raw {
			t.Errorf("%d %s", a.status, a.raw)
		}
	}
	events, err := s.store.Events(t.Context(), idOf(handle))
	must(t, err)
	if len(events) != 3 { // pending, approved, redeemed
		t.Errorf("%d events", len(events))
	}
}

// TestKeyOfAnotherRedemption: a key that was used for one request does not serve another, which stays collectable.
func TestKeyOfAnotherRedemption(t *testing.T) {
	s := newService(t)
	first, second := s.ask(t), s.ask(t)
	s.approve(t, first)
	s.approve(t, second)
	if a := s.post("/token", tk(first), keyHeader, "k"); a.status != 200 {
		t.Fatal(a.raw)
	}
	if a := s.post("/token", tk(second), keyHeader, "k"); a.status != 400 || a.code() != "invalid_request" {
		t.Errorf("%d %s", a.status, a.raw)
	}
	if a := s.post("/token", tk(second), keyHeader, "k2"); a.status != 200 {
		t.Errorf("%d %s", a.status, a.raw)
	}
}
