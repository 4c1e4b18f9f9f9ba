package ciba

import (
	"testing"
	"testing/synctest"
	"time"

	"assent/approvals"
)

// TestReuse is REQ-199: a second redemption is refused; after the time in which an answer may be asked for again it also
// revokes what the first one gave.
func TestReuse(t *testing.T) {
	t.Parallel()
	row(t, "REQ-199")
	tests := []struct {
		name   string
		after  time.Duration
		again  func(s *service, handle string) answer
		active bool
	}{
		{"at once", 0, nil, true},
		{"after 2 s", 2 * time.Second, nil, true},
		{"after 59 s", 59 * time.Second, nil, true},
		{"after 60 s", 60 * time.Second, nil, false},
		{"after 60 s with a key", 60 * time.Second, func(s *service, handle string) answer {
			return s.post("/token", tk(handle), keyHeader, "k")
		}, false},
		{"after 60 s by another client", 60 * time.Second, func(s *service, handle string) answer { // REQ-181
			return s.post("/token", tk(handle, "client_id", "other", "client_secret", otherSecret))
		}, true},
		{"after 60 s with another secret", 60 * time.Second, func(s *service, handle string) answer {
			return s.post("/token", tk(handle[:len(handle)-1]+"-"))
		}, true},
		{"after 60 s at the status endpoint", 60 * time.Second, func(s *service, handle string) answer {
			s.post("/requests/status", tk(handle))
			return s.post("/requests/cancel", tk(handle))
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t)
				tokens, handle := s.redeemed(t)
				time.Sleep(tt.after)
				again := func(s *service, handle string) answer { return s.post("/token", tk(handle)) }
				if tt.again != nil {
					again = tt.again
				}
				for range 2 {
					if a := again(s, handle); a.status != 400 || a.code() != "invalid_grant" {
						t.Errorf("again: %d %s", a.status, a.raw)
					}
				}
				if got := s.active(t, tokens.text("access_token")); got != tt.active {
					t.Errorf("active %v, want %v", got, tt.active)
				}
				r, err := s.store.Request(t.Context(), idOf(handle))
				must(t, err)
				if r.State != approvals.Redeemed || r.RevokedAt.IsZero() != tt.active {
					t.Errorf("%s, revoked at %s", r.State, r.RevokedAt)
				}
				if !tt.active {
					s.trail(t, handle, "pending", "approved", "redeemed", "revoked")
				}
			})
		})
	}
}
