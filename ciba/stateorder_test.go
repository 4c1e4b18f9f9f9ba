package ciba

import (
	"testing"
	"testing/synctest"
	"time"

	"assent/approvals"
)

// moment is where a poll meets a request: the state that was reached, on which side of its end, and at what pace.
type moment struct {
	state  string
	late   bool   // the time of the request is over
	swept  bool   // and the desk has noticed
	pacing string // first, steady, early
}

func (m moment) String() string {
	text := m.state + ", " + m.pacing + " poll"
	if m.late {
		text += ", late"
	}
	if m.swept {
		text += " and swept"
	}
	return text
}

// want is REQ-182: results first, then the end, then the pace.
func (m moment) want() string {
	switch {
	case m.state == "redeemed", m.state == "not eligible":
		return "invalid_grant"
	case m.state == "denied", m.state == "withdrawn":
		return "access_denied"
	case m.state == "failed":
		return "transaction_failed"
	case m.late:
		return "expired_token"
	case m.state == "approved":
		return ""
	case m.pacing == "early":
		return "slow_down"
	}
	return "authorization_pending"
}

// reach brings a request into a state by the ways that lead there in life.
func (s *service) reach(t *testing.T, handle, state string) {
	t.Helper()
	id, person := idOf(handle), approvals.Actor{Kind: "person", ID: "p-ann"}
	var err error
	switch state {
	case "approved":
		s.approve(t, handle)
	case "denied":
		s.deny(t, handle, "")
	case "withdrawn":
		_, err = s.Desk.Cancel(t.Context(), id, person, approvals.WithdrawnByPerson)
	case "not eligible":
		_, err = s.Desk.Cancel(t.Context(), id, approvals.Actor{Kind: "service"}, approvals.NotEligible)
	case "failed":
		_, err = s.Desk.Fail(t.Context(), id, approvals.Unreachable)
	case "redeemed":
		s.approve(t, handle)
		if a := s.post("/token", tk(handle)); a.status != 200 {
			t.Fatalf("redeem: %d %s", a.status, a.raw)
		}
	}
	must(t, err)
}

// TestStateOrder walks every state, before and after the request's end, swept and not, with a first poll, one in time
// and one too early.
func TestStateOrder(t *testing.T) {
	t.Parallel()
	row(t, "REQ-182", "REQ-190", "REQ-193", "REQ-196", "REQ-197", "REQ-286")
	const life = 60 * time.Second
	met := 0
	for _, state := range []string{"pending", "approved", "denied", "withdrawn", "not eligible", "failed", "redeemed"} {
		for _, end := range []struct{ late, swept bool }{{false, false}, {true, false}, {true, true}} {
			for _, pacing := range []string{"first", "steady", "early"} {
				m := moment{state, end.late, end.swept, pacing}
				met++
				synctest.Test(t, func(t *testing.T) {
					s := newService(t)
					handle := s.ask(t, "requested_expiry", "60")
					poll := func() answer { return s.post("/token", tk(handle), "Prefer", "wait=0") }
					opened := time.Now()
					if m.pacing == "early" && !m.late {
						poll()
					}
					s.reach(t, handle, m.state)
					if m.late {
						time.Sleep(time.Until(opened.Add(life - time.Second)))
						s.pollBefore(t, m, poll)
						time.Sleep(time.Second)
					} else if m.pacing == "steady" {
						s.pollBefore(t, m, poll)
						time.Sleep(interval * time.Second)
					}
					if m.swept {
						_, err := s.Desk.Sweep(t.Context())
						must(t, err)
					}
					a := poll()
					if a.code() != m.want() || (a.status == 200) != (m.want() == "") {
						t.Errorf("%s: %d %s, want %q", m, a.status, a.raw, m.want())
					}
				})
			}
		}
	}
	if met != 63 {
		t.Errorf("%d moments", met)
	}
}

// pollBefore is the poll that the one in question is measured from. It may not collect what is to be collected later.
func (s *service) pollBefore(t *testing.T, m moment, poll func() answer) {
	t.Helper()
	if m.pacing != "first" && m.state != "approved" {
		poll()
	}
}

// TestTakenAwayBetween: what happens to an approval when somebody or something is taken away before it is collected.
func TestTakenAwayBetween(t *testing.T) {
	row(t, "REQ-047", "REQ-074", "REQ-200")
	tests := []struct {
		name  string
		take  func(t *testing.T, s *service)
		key   string // the client signs with
		code  string // of the answer; "" for tokens
		state approvals.State
	}{
		{"nothing", func(*testing.T, *service) {}, "ES256", "", approvals.Redeemed},
		{"the client", func(t *testing.T, s *service) {
			s.change(t, "keyed", func(a *approvals.Agent) { a.Disabled = true })
		}, "ES256", "invalid_client", approvals.Approved},
		{"the client's key", func(t *testing.T, s *service) { s.addKeyedWith(t, "EdDSA") }, "ES256", "invalid_client", approvals.Approved},
		{"the client's key, which has another", func(t *testing.T, s *service) { s.addKeyedWith(t, "EdDSA") }, "EdDSA", "", approvals.Redeemed},
		{"the person", func(t *testing.T, s *service) { s.disable(t, "p-ann") }, "ES256", "invalid_grant", approvals.Cancelled},
		{"our signing key", func(t *testing.T, s *service) {
			_, err := s.Keyring.Rotate(t.Context())
			must(t, err)
		}, "ES256", "", approvals.Redeemed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newService(t)
			s.addKeyed(t)
			sign := func(key string, f form) form { return asserted(f, jws(t, key, key, nil, assertionClaims("keyed"))) }
			handle := s.post("/bc-authorize", sign("ES256", bc())).text("auth_req_id")
			s.approve(t, handle)
			tt.take(t, s)
			a := s.post("/token", sign(tt.key, tk(handle)))
			if a.code() != tt.code || (a.status == 200) != (tt.code == "") {
				t.Errorf("%d %s, want %q", a.status, a.raw, tt.code)
			}
			r, err := s.store.Request(t.Context(), idOf(handle))
			must(t, err)
			if r.State != tt.state {
				t.Errorf("state %s, want %s", r.State, tt.state)
			}
		})
	}
}

// addKeyedWith registers the client anew, with one key.
func (s *service) addKeyedWith(t *testing.T, key string) {
	t.Helper()
	fresh, err := ParseMetadata([]byte(keyed("keyed", jwksOf(key), "")), s.Desk.Renderer.Types)
	must(t, err)
	a, err := fresh.Agent(s.Root, time.Now())
	must(t, err)
	s.change(t, "keyed", func(old *approvals.Agent) { old.Client = a.Client })
}
