package ciba

import (
	"context"
	"sync"
	"testing"

	"assent/approvals"
	"assent/approvals/keys"
	"assent/store/bolt"
)

// meanwhile is a real store that lets something else happen just before the next change of a request.
type meanwhile struct {
	*bolt.Store
	mu sync.Mutex
	do func()
}

func (m *meanwhile) Update(ctx context.Context, id approvals.ID, change func(*approvals.Request) error) (*approvals.Request, error) {
	m.mu.Lock()
	do := m.do
	m.do = nil
	m.mu.Unlock()
	if do != nil {
		do()
	}
	return m.Store.Update(ctx, id, change)
}

// on makes a desk whose changes go through m.
func (m *meanwhile) on(p *Parts) {
	m.Store = p.Records.(*bolt.Store)
	p.Desk = approvals.NewDesk(approvals.DeskParts{Store: m, Records: p.Records, Directory: p.Directory, Hub: p.Hub,
		Hash: func(s string) []byte { return p.Root.MAC(keys.LabelHandle, s) }, Now: p.Now, Log: p.Log})
}

// TestRedemptionOvertaken is REQ-199: a redemption that loses a race costs neither the winner's tokens nor an approval
// that still stands.
func TestRedemptionOvertaken(t *testing.T) {
	row(t, "REQ-198", "REQ-199")
	tests := []struct {
		name   string
		key    string // of the call that loses
		before func(t *testing.T, s *service, handle string) (won answer)
		status int
		same   bool // the winner's bytes
	}{
		{"by the same call", "k1", redeemWith("k1"), 200, true},
		{"by another key", "k2", redeemWith("k1"), 400, false},
		{"by a call without key", "k1", redeemWith(""), 400, false},
		{"by a change of the person", "k1", func(t *testing.T, s *service, _ string) (won answer) {
			s.rename(t, "p-ann", "Anne")
			return won
		}, 503, false},
		{"by a change of the agent", "k1", func(t *testing.T, s *service, _ string) (won answer) {
			s.change(t, "travel", func(a *approvals.Agent) { a.Name = "Travel" })
			return won
		}, 503, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := &meanwhile{}
			s := newService(t, m.on)
			handle := s.ask(t)
			s.approve(t, handle)
			var won answer
			m.do = func() { won = tt.before(t, s, handle) }
			lost := s.post("/token", tk(handle), keyHeader, tt.key)
			if lost.status != tt.status || tt.same != (won.raw == lost.raw) {
				t.Errorf("lost: %d %s", lost.status, lost.raw)
			}
			if won.status == 200 && !s.active(t, won.text("access_token")) {
				t.Error("the winner's token is revoked")
			}
			if tt.status != 503 {
				return
			}
			if a := s.post("/token", tk(handle), keyHeader, tt.key); a.status != 200 {
				t.Errorf("next try: %d %s", a.status, a.raw)
			}
		})
	}
}

func redeemWith(key string) func(*testing.T, *service, string) answer {
	return func(t *testing.T, s *service, handle string) answer {
		t.Helper()
		a := s.post("/token", tk(handle), keyHeader, key)
		if a.status != 200 {
			t.Errorf("the winner: %d %s", a.status, a.raw)
		}
		return a
	}
}

func (s *service) rename(t testing.TB, id approvals.PersonID, name string) {
	t.Helper()
	p, err := s.Directory.Person(t.Context(), id)
	must(t, err)
	next := *p
	next.Name = name
	must(t, s.Directory.SavePerson(t.Context(), &next))
}

// TestJudgedOnWhatIsCommitted is REQ-200: a token leaves only if the agent that scope and audience were judged by is
// still the same at the commit, also when the desk has heard of a change before this door has.
func TestJudgedOnWhatIsCommitted(t *testing.T) {
	row(t, "REQ-200")
	for _, key := range []string{"", "k1"} {
		t.Run("key "+key, func(t *testing.T) {
			var desks *approvals.Directory
			s := stays(t, func(p *Parts) {
				hub := approvals.NewHub() // so that neither directory hears of the other's changes
				desks = approvals.NewDirectory(p.Records, hub, 0, p.Now)
				p.Desk = approvals.NewDesk(approvals.DeskParts{Store: p.Records.(*bolt.Store), Records: p.Records, Directory: desks,
					Hub: hub, Hash: func(s string) []byte { return p.Root.MAC(keys.LabelHandle, s) }, Now: p.Now, Log: p.Log})
			})
			tokens, _ := s.standing(t)
			handle := s.ask(t, "client_id", "stay", "scope", "openid trips.book")
			s.approve(t, handle)
			a, err := desks.Agent(t.Context(), "stay")
			must(t, err)
			next := *a
			next.Scopes = nil
			must(t, desks.SaveAgent(t.Context(), &next))
			for _, f := range []form{tk(handle, "client_id", "stay"), rt(tokens.text("refresh_token"))} {
				if a := s.post("/token", f, keyHeader, key); a.status != 503 {
					t.Errorf("%s: %d %s", f["grant_type"], a.status, a.raw)
				}
			}
		})
	}
}
