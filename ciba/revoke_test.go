package ciba

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestRevoke is REQ-251 and 252: owners take back what is theirs, as often as they like, and nothing else.
func TestRevoke(t *testing.T) {
	row(t, "REQ-251", "REQ-252", "REQ-287")
	s := newService(t)
	tokens, handle := s.redeemed(t)
	access := tokens.text("access_token")
	pending := s.ask(t)
	foreign := []string{"client_id", "other", "client_secret", otherSecret}
	steps := []struct {
		name   string
		body   form
		status int
		code   string
		active bool // the access token afterwards
	}{
		{"unknown", inquiry("x"), 200, "", true},
		{"unknown with a hint", inquiry("x", "token_type_hint", "refresh_token"), 200, "", true},
		{"REQ-252 a pending auth_req_id", inquiry(pending), 200, "", true},
		{"REQ-252 its own auth_req_id", inquiry(handle), 200, "", true},
		{"an ID token", inquiry(tokens.text("id_token")), 400, "unsupported_token_type", true},
		{"another client's", inquiry(access, foreign...), 400, "invalid_request", true},
		{"its own", inquiry(access), 200, "", false},
		{"again", inquiry(access), 200, "", false},
	}
	for _, tt := range steps {
		a := s.post("/revoke", tt.body)
		if a.status != tt.status || a.code() != tt.code {
			t.Errorf("%s: %d %s", tt.name, a.status, a.raw)
		}
		if got := s.active(t, access); got != tt.active {
			t.Errorf("%s: active %v", tt.name, got)
		}
	}
	if a := s.post("/token", tk(pending)); a.code() != "authorization_pending" { // REQ-252
		t.Errorf("the pending request: %s", a.raw)
	}
	s.trail(t, handle, "pending", "approved", "redeemed", "revoked") // REQ-287
}

// trail compares the audit records of a request.
func (s *service) trail(t *testing.T, handle string, want ...string) {
	t.Helper()
	events, err := s.store.Events(t.Context(), idOf(handle))
	must(t, err)
	var got []string
	for _, e := range events {
		got = append(got, e.Kind)
	}
	if len(got) != len(want) {
		t.Fatalf("audit records %v, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("audit records %v, want %v", got, want)
		}
	}
}

// TestRevokeExpired: what is over by itself is nobody's fault and leaves nothing.
func TestRevokeExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		tokens, handle := s.redeemed(t)
		time.Sleep(tokenLife)
		for _, who := range [][]string{nil, {"client_id", "other", "client_secret", otherSecret}} {
			if a := s.post("/revoke", inquiry(tokens.text("access_token"), who...)); a.status != 200 {
				t.Errorf("%d %s", a.status, a.raw)
			}
		}
		s.trail(t, handle, "pending", "approved", "redeemed")
	})
}

// TestRevokeAtOnce: of many simultaneous revocations all are answered, and one is on record.
func TestRevokeAtOnce(t *testing.T) {
	s := newService(t)
	tokens, handle := s.redeemed(t)
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if a := s.post("/revoke", inquiry(tokens.text("access_token"))); a.status != 200 {
				t.Errorf("%d %s", a.status, a.raw)
			}
		})
	}
	group.Wait()
	s.trail(t, handle, "pending", "approved", "redeemed", "revoked")
}
