package ciba

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/approvals"
)

// TestStates is REQ-182 and the rows around it: every state, polled early and, in a second pass, late.
func TestStates(t *testing.T) {
	t.Parallel()
	row(t, "REQ-182", "REQ-134", "REQ-162")
	type act func(t *testing.T, s *service, handle string)
	approved := func(t *testing.T, s *service, handle string) { s.approve(t, handle) }
	tests := []struct {
		row, name string
		act       act
		want      string // error code; "" for tokens
	}{
		{"REQ-183", "untouched", func(*testing.T, *service, string) {}, "authorization_pending"},
		{"REQ-196", "denied", func(t *testing.T, s *service, handle string) { s.deny(t, handle, "") }, "access_denied"},
		{"REQ-197", "nobody reached", func(t *testing.T, s *service, handle string) {
			_, err := s.Desk.Fail(t.Context(), idOf(handle), approvals.Unreachable)
			must(t, err)
		}, "transaction_failed"},
		{"REQ-193", "expired", func(t *testing.T, s *service, _ string) { time.Sleep(301 * time.Second) }, "expired_token"},
		{"REQ-193", "approved and expired", func(t *testing.T, s *service, handle string) {
			s.approve(t, handle)
			time.Sleep(301 * time.Second)
		}, "expired_token"},
		{"REQ-193", "expired and swept", func(t *testing.T, s *service, _ string) {
			time.Sleep(301 * time.Second)
			_, err := s.Desk.Sweep(t.Context())
			must(t, err)
		}, "expired_token"},
		{"REQ-194", "expired 23 h ago", func(t *testing.T, s *service, _ string) { s.pass(t, 23*time.Hour) }, "expired_token"},
		{"REQ-194", "expired 25 h ago", func(t *testing.T, s *service, _ string) { s.pass(t, 25*time.Hour) }, "invalid_grant"},
		{"design 5", "withdrawn by the agent", func(t *testing.T, s *service, handle string) {
			if a := s.post("/requests/cancel", tk(handle)); a.status != 200 {
				t.Fatal(a.raw)
			}
		}, "access_denied"},
		{"design 5", "withdrawn after approval", func(t *testing.T, s *service, handle string) {
			s.approve(t, handle)
			_, err := s.Desk.Cancel(t.Context(), idOf(handle), approvals.Actor{Kind: "person", ID: "p-ann"}, approvals.WithdrawnByPerson)
			must(t, err)
		}, "access_denied"},
		{"REQ-200", "person disabled after approval", func(t *testing.T, s *service, handle string) {
			s.approve(t, handle)
			s.disable(t, "p-ann")
		}, "invalid_grant"},
		{"REQ-200", "type taken away after approval", func(t *testing.T, s *service, handle string) {
			s.approve(t, handle)
			s.change(t, "travel", func(a *approvals.Agent) { a.Types = nil })
		}, "invalid_grant"},
		{"REQ-200", "scope taken away after approval", func(t *testing.T, s *service, handle string) {
			s.approve(t, handle)
			s.change(t, "travel", func(a *approvals.Agent) { a.Scopes = nil })
		}, "invalid_grant"},
		{"REQ-200", "audience taken away after approval", func(t *testing.T, s *service, handle string) {
			s.approve(t, handle)
			s.change(t, "travel", func(a *approvals.Agent) { a.Audiences = nil })
		}, "invalid_grant"},
		{"REQ-198", "redeemed", func(t *testing.T, s *service, handle string) {
			s.approve(t, handle)
			if a := s.post("/token", tk(handle)); a.status != 200 {
				t.Fatal(a.raw)
			}
		}, "invalid_grant"},
		{"REQ-198", "approved", approved, ""},
	}
	for _, pass := range []struct {
		name  string
		pause time.Duration
	}{{"early", 0}, {"late", interval * time.Second}} {
		for _, tt := range tests {
			t.Run(tt.row+" "+tt.name+" "+pass.name, func(t *testing.T) {
				row(t, tt.row, "REQ-173", "REQ-174", "REQ-190")
				synctest.Test(t, func(t *testing.T) {
					s := newService(t)
					handle := s.ask(t, "authorization_details", payment, "scope", "openid trips.book", "resource", "https://bank.example")
					s.post("/token", tk(handle)) // so that what follows at once would be too early
					tt.act(t, s, handle)
					time.Sleep(pass.pause)
					first := s.post("/token", tk(handle), "Prefer", "wait=0")
					want := tt.want
					if want == "authorization_pending" && pass.pause == 0 {
						want = "slow_down"
					}
					if first.code() != want || want == "" && first.status != 200 || want != "" && first.status != 400 { // REQ-173, 174, 190
						t.Fatalf("%d %s, want %q", first.status, first.raw, want)
					}
					if want != "" && tt.want != "authorization_pending" {
						s.sameAgain(t, handle, first)
					}
				})
			})
		}
	}
}

// sameAgain is REQ-196: a refusal is repeatable, however fast.
func (s *service) sameAgain(t *testing.T, handle string, first answer) {
	t.Helper()
	row(t, "REQ-196")
	for range 3 {
		if a := s.post("/token", tk(handle)); a.code() != first.code() || a.raw != first.raw {
			t.Errorf("repeated: %s, first %s", a.raw, first.raw)
		}
	}
}

// pass lets time go by with the desk's sweeps.
func (s *service) pass(t *testing.T, d time.Duration) {
	t.Helper()
	time.Sleep(301 * time.Second)
	_, err := s.Desk.Sweep(t.Context())
	must(t, err)
	time.Sleep(d)
	_, err = s.Desk.Sweep(t.Context())
	must(t, err)
}

func (s *service) disable(t testing.TB, id approvals.PersonID) {
	t.Helper()
	p, err := s.Directory.Person(context.Background(), id)
	must(t, err)
	next := *p
	next.Disabled = true
	must(t, s.Directory.SavePerson(context.Background(), &next))
}

// change saves an agent with what f makes of it.
func (s *service) change(t testing.TB, id approvals.AgentID, f func(*approvals.Agent)) {
	t.Helper()
	a, err := s.Directory.Agent(context.Background(), id)
	must(t, err)
	next := *a
	f(&next)
	must(t, s.Directory.SaveAgent(context.Background(), &next))
}

// TestTakenAwaySpends is REQ-200: what the agent may no longer have withdraws the approval, also when it is taken away
// while the poll is held, and giving it back does not bring the approval back.
func TestTakenAwaySpends(t *testing.T) {
	row(t, "REQ-200")
	for _, waits := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newService(t)
			handle := s.ask(t, "scope", "openid trips.book")
			var done <-chan held
			if waits {
				done = s.poll(handle, "Prefer", "wait=20")
				time.Sleep(time.Second)
			}
			s.change(t, "travel", func(a *approvals.Agent) { a.Scopes = nil })
			s.approve(t, handle)
			var got answer
			if waits {
				got = (<-done).answer
			} else {
				got = s.post("/token", tk(handle))
			}
			if got.status != 400 || got.code() != "invalid_grant" {
				t.Errorf("held %v: %d %s", waits, got.status, got.raw)
			}
			s.change(t, "travel", func(a *approvals.Agent) { a.Scopes = []string{"trips.book"} })
			if got := s.post("/token", tk(handle)); got.code() != "invalid_grant" {
				t.Errorf("given back: %d %s", got.status, got.raw)
			}
			r, err := s.store.Request(t.Context(), idOf(handle))
			must(t, err)
			if r.State != approvals.Cancelled || r.Reason != approvals.NotEligible {
				t.Errorf("state %s, reason %s", r.State, r.Reason)
			}
		})
	}
}

// TestTokenFaults are the faults that need no state.
func TestTokenFaults(t *testing.T) {
	row(t, "REQ-170", "REQ-172", "REQ-173", "REQ-079", "REQ-181")
	s := newService(t)
	handle := s.ask(t)
	id, secret, _ := strings.Cut(handle, ".")
	tests := []struct {
		row, name string
		body      form
		want      string
	}{
		{"REQ-178", "no grant_type", tk(handle, "grant_type", ""), "invalid_request"},
		{"REQ-178", "other grant", tk(handle, "grant_type", "ciba"), "unsupported_grant_type"},
		{"REQ-178", "client_credentials", tk(handle, "grant_type", "client_credentials"), "unsupported_grant_type"},
		{"REQ-178", "no handle", tk(handle, "auth_req_id", ""), "invalid_request"},
		{"REQ-179", "client without the grant", tk(handle, "client_id", "web"), "unauthorized_client"},
		{"REQ-180", "malformed", tk(handle, "auth_req_id", "x"), "invalid_grant"},
		{"REQ-180", "malformed with odd characters", tk(handle, "auth_req_id", "☃"), "invalid_grant"},
		{"REQ-180", "unknown", tk(handle, "auth_req_id", strings.Repeat("0", 26)+"."+secret), "invalid_grant"},
		{"REQ-180", "wrong secret", tk(handle, "auth_req_id", id+"."+strings.Repeat("A", 43)), "invalid_grant"},
		{"REQ-180", "no secret", tk(handle, "auth_req_id", id+"."), "invalid_grant"},
		{"REQ-180", "foreign", tk(handle, "client_id", "other", "client_secret", otherSecret), "invalid_grant"},
	}
	bodies := map[string]bool{}
	for _, tt := range tests {
		row(t, tt.row)
		a := s.post("/token", tt.body)
		if a.status != 400 || a.code() != tt.want {
			t.Errorf("%s %s: %d %s, want %s", tt.row, tt.name, a.status, a.raw, tt.want)
		}
		if tt.row == "REQ-180" {
			bodies[a.raw] = true
		}
	}
	if len(bodies) != 1 {
		t.Errorf("REQ-180: %d different bodies", len(bodies))
	}
	if a := s.post("/token", form(tk(handle)).with("auth_req_id", handle)); a.code() != "authorization_pending" { // REQ-181
		t.Errorf("the owner's first poll after all that: %s", a.raw)
	}
	twice := tk(handle).String() + "&auth_req_id=" + handle
	if a := s.send("/token", typeForm, twice); a.code() != "invalid_request" { // REQ-079
		t.Errorf("auth_req_id twice: %s", a.raw)
	}
}

// TestForeignAttempts is REQ-181: they neither slow the owner down nor spend the approval.
func TestForeignAttempts(t *testing.T) {
	row(t, "REQ-181")
	s := newService(t)
	handle := s.ask(t)
	foreign := tk(handle, "client_id", "other", "client_secret", otherSecret)
	for range 10 {
		s.post("/token", foreign)
	}
	if a := s.post("/token", tk(handle)); a.code() != "authorization_pending" {
		t.Errorf("owner: %s", a.raw)
	}
	s.approve(t, handle)
	for range 10 {
		if a := s.post("/token", foreign); a.code() != "invalid_grant" {
			t.Errorf("foreign: %s", a.raw)
		}
	}
	if a := s.post("/token", tk(handle)); a.status != 200 {
		t.Errorf("owner: %s", a.raw)
	}
}

// TestOneRedemption is REQ-198: of 100 parallel redemptions one gets tokens.
func TestOneRedemption(t *testing.T) {
	row(t, "REQ-198")
	s := newService(t)
	handle := s.ask(t)
	s.approve(t, handle)
	var group sync.WaitGroup
	codes := make(chan string, 100)
	for range 100 {
		group.Go(func() { codes <- s.post("/token", tk(handle)).code() })
	}
	group.Wait()
	close(codes)
	count := map[string]int{}
	for c := range codes {
		count[c]++
	}
	if count[""] != 1 || count["invalid_grant"] != 99 {
		t.Errorf("answers: %v", count)
	}
}

// TestJSONBody: published clients send JSON to the token endpoint.
func TestJSONBody(t *testing.T) {
	s := newService(t)
	handle := s.ask(t)
	body := func(extra string) string {
		return `{"grant_type":"` + GrantCIBA + `","auth_req_id":"` + handle + `","client_id":"travel","client_secret":"` + testSecret + `"` + extra + `}`
	}
	tests := []struct{ name, body, want string }{
		{"null is absent", body(`,"x":null,"scope":null`), "authorization_pending"},
		{"empty is absent", body(`,"scope":""`), "slow_down"},
		{"number", body(`,"x":1`), "invalid_request"},
		{"nested", body(`,"x":{}`), "invalid_request"},
		{"array", body(`,"resource":["https://bank.example"]`), "invalid_request"},
		{"twice", body(`,"grant_type":"x"`), "invalid_request"},
		{"an array", `[]`, "invalid_request"},
		{"null", `null`, "invalid_request"},
		{"nothing", ``, "invalid_request"},
		{"trailing", body("") + "{}", "invalid_request"},
		{"not UTF-8", body(",\"x\":\"\xff\""), "invalid_request"},
		{"NUL", body(`,"x":"\u0000"`), "invalid_request"},
		{"lone surrogate", body(`,"x":"\ud800"`), "invalid_request"},
		{"long", body(`,"x":"` + strings.Repeat("x", maxValue+1) + `"`), "invalid_request"},
		{"wrong secret", strings.Replace(body(""), testSecret, "x", 1), "invalid_client"},
	}
	for _, path := range []string{"/token", "/oauth/token"} {
		for _, tt := range tests {
			a := s.send(path, "application/json; charset=utf-8", tt.body, "Prefer", "wait=0")
			if a.code() != tt.want && !(path == "/oauth/token" && a.code() == "slow_down") {
				t.Errorf("%s %s: %d %s, want %s", path, tt.name, a.status, a.raw, tt.want)
			}
		}
	}
	s.approve(t, handle)
	if a := s.send("/oauth/token", typeJSON, body("")); a.status != 200 {
		t.Errorf("approved: %d %s", a.status, a.raw)
	}
}

// TestNarrowedAsGranted is REQ-243: the agent may spell what it collects in its own way; response and token say it in the
// bytes that were granted.
func TestNarrowedAsGranted(t *testing.T) {
	row(t, "REQ-204", "REQ-243")
	s := newService(t)
	const pay, call = `{"type":"tool_call","tool":"pay","arguments":{"n":100}}`, `{"type":"tool_call","tool":"call","arguments":{"n":1}}`
	handle := s.ask(t, "authorization_details", "["+pay+","+call+"]")
	s.approve(t, handle)
	a := s.post("/token", tk(handle, "authorization_details", `[{ "arguments":{"n":1e2}, "tool":"p\u0061y", "type":"tool_call"}]`))
	if a.status != http.StatusOK || !strings.Contains(a.raw, `"authorization_details":[`+pay+`]`) {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(a.text("access_token"), ".")[1])
	must(t, err)
	if !strings.Contains(string(payload), `"authorization_details":[`+pay+`]`) {
		t.Errorf("%s", payload)
	}
}

// TestNarrow is REQ-204: less may be collected than was granted, never more, and a refusal spends nothing.
func TestNarrow(t *testing.T) {
	t.Parallel()
	row(t, "REQ-204", "REQ-237")
	const one = `{"type":"document_access","identifier":"d1","actions":["read"],"locations":["https://bank.example"]}`
	const two = `{"type":"tool_call","tool":"x","locations":["https://trips.example/api"]}`
	ask := func(t *testing.T, s *service) string {
		return s.ask(t, "scope", "openid trips.book", "authorization_details", "["+one+","+two+"]")
	}
	tests := []struct {
		name  string
		pairs []string
		want  string // error code
		check func(t *testing.T, body, access map[string]any)
	}{
		{"all", nil, "", func(t *testing.T, body, access map[string]any) {
			if len(access["aud"].([]any)) != 2 || len(access["authorization_details"].([]any)) != 2 {
				t.Errorf("access token: %v", access)
			}
		}},
		{"resource", []string{"resource", "https://bank.example"}, "", func(t *testing.T, body, access map[string]any) { // REQ-237
			if access["aud"] != "https://bank.example" || len(access["authorization_details"].([]any)) != 1 {
				t.Errorf("access token: %v", access)
			}
		}},
		{"scope without openid", []string{"scope", "trips.book"}, "", func(t *testing.T, body, access map[string]any) {
			if body["scope"] != "trips.book" || access["scope"] != "trips.book" || body["id_token"] != nil {
				t.Errorf("response: %v", body)
			}
		}},
		{"one object, other order", []string{"authorization_details", `[ {"tool":"x", "locations":["https://trips.example/api"], "type":"tool_call"} ]`}, "", func(t *testing.T, body, access map[string]any) {
			if len(body["authorization_details"].([]any)) != 1 {
				t.Errorf("response: %v", body)
			}
		}},
		{"empty details", []string{"authorization_details", "[]"}, "", nil},
		{"offline_access is left out", []string{"scope", "openid offline_access"}, "", func(t *testing.T, body, access map[string]any) {
			if body["scope"] != "openid" {
				t.Errorf("response: %v", body)
			}
		}},
		{"offline_access alone", []string{"scope", "offline_access"}, "invalid_scope", nil},
		{"blank scope", []string{"scope", "  "}, "invalid_scope", nil},
		{"malformed scope", []string{"scope", "openid\ttrips.book"}, "invalid_scope", nil},
		{"wider scope", []string{"scope", "openid email"}, "invalid_scope", nil},
		{"other resource", []string{"resource", "https://api.example"}, "invalid_target", nil},
		{"other object", []string{"authorization_details", strings.Replace("["+one+"]", "read", "write", 1)}, "invalid_authorization_details", nil},
		{"the same object twice", []string{"authorization_details", "[" + one + "," + one + "]"}, "invalid_authorization_details", nil},
		{"broken details", []string{"authorization_details", "{"}, "invalid_request", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newService(t)
			handle := ask(t, s)
			s.approve(t, handle)
			a := s.post("/token", tk(handle, tt.pairs...))
			if a.code() != tt.want {
				t.Fatalf("%d %s, want %q", a.status, a.raw, tt.want)
			}
			if tt.want != "" {
				if a := s.post("/token", tk(handle)); a.status != http.StatusOK {
					t.Errorf("afterwards: %d %s", a.status, a.raw)
				}
				return
			}
			_, access := s.verify(t, a.text("access_token"))
			for _, name := range []string{"scope", "authorization_details"} { // both say the same (RFC 9396 section 7)
				if diff := cmp.Diff(a.json[name], access[name]); diff != "" {
					t.Errorf("%s (-response +token):\n%s", name, diff)
				}
			}
			if tt.check != nil {
				tt.check(t, a.json, access)
			}
		})
	}
}

// TestNarrowDefaultAudience: a request that named no audience may be collected for the one that it got (REQ-235).
func TestNarrowDefaultAudience(t *testing.T) {
	row(t, "REQ-235")
	s := newService(t)
	handle := s.ask(t, "authorization_details", `[{"type":"tool_call","tool":"x","locations":["https://else.example"]}]`)
	s.approve(t, handle)
	if a := s.post("/token", tk(handle, "resource", "https://bank.example")); a.code() != "invalid_target" {
		t.Errorf("another resource: %d %s", a.status, a.raw)
	}
	a := s.post("/token", tk(handle, "resource", "https://api.example"))
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	if _, access := s.verify(t, a.text("access_token")); access["aud"] != "https://api.example" || access["authorization_details"] == nil {
		t.Errorf("access token: %v", access)
	}
}

// TestConflict: somebody else's change is nobody's fault, and no outage.
func TestConflict(t *testing.T) {
	f := faultOf(fmt.Errorf("redeem x: %w", approvals.ErrConflict))
	if f.status != 503 || f.code != "server_error" || f.retry == 0 || f.text != "Somebody else changed it at the same moment. Try again." {
		t.Errorf("%d %s", f.status, f.body())
	}
}

// TestUnavailable is REQ-167: what cannot be stored is a 503 that says when to try again, and spends nothing.
func TestUnavailable(t *testing.T) {
	row(t, "REQ-167")
	s := newService(t)
	handle := s.ask(t)
	s.approve(t, handle)
	must(t, s.store.Close())
	for _, a := range []answer{s.post("/bc-authorize", bc()), s.post("/token", tk(handle)), s.post("/requests/cancel", tk(handle))} {
		if a.status != 503 || a.code() != "server_error" || a.header.Get("Retry-After") == "" {
			t.Errorf("%d %s", a.status, a.raw)
		}
	}
}

func TestUnknownError(t *testing.T) {
	row(t, "REQ-177")
	f := faultOf(json.Unmarshal([]byte("{"), &struct{}{}))
	if f.status != 500 || string(f.body()) != `{"error":"server_error"}` { // REQ-177
		t.Errorf("%d %s", f.status, f.body())
	}
}
