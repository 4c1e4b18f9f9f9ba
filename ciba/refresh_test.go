package ciba

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/approvals"
)

const (
	docRead = `{"type":"document_access","identifier":"d1","actions":["read"],"locations":["https://bank.example"]}`
	docNote = `{"type":"document_access","identifier":"d2","actions":["comment"],"locations":["https://trips.example/api"]}`

	stayClient = `{"client_id":"stay","client_name":"Reader","client_secret":"` + testSecret + `",` + allTypes +
		`,"scope":"trips.book","allowed_audiences":["https://bank.example","https://trips.example/api"],` +
		`"grant_types":["` + GrantCIBA + `","` + GrantRefresh + `"]}`
	day = 24 * time.Hour
)

// stays is a service with a client that may come back.
func stays(t testing.TB, options ...option) *service {
	t.Helper()
	s := newService(t, options...)
	must(t, s.saveAgent(stayClient))
	must(t, s.saveAgent(strings.NewReplacer(`"stay"`, `"away"`).Replace(stayClient)))
	return s
}

// standing collects an approval on which stay may come back.
func (s *service) standing(t testing.TB, pairs ...string) (answer, string) {
	t.Helper()
	pairs = append([]string{"client_id", "stay", "scope", "openid trips.book offline_access",
		"authorization_details", "[" + docRead + "," + docNote + "]"}, pairs...)
	handle := s.ask(t, pairs...)
	s.approve(t, handle)
	a := s.post("/token", tk(handle, "client_id", "stay"))
	if a.status != http.StatusOK || !isRefresh(a.text("refresh_token")) {
		t.Fatalf("token: %d %s", a.status, a.raw)
	}
	return a, handle
}

// rt is a refresh of stay's.
func rt(token string, pairs ...string) form {
	return form{"grant_type": {GrantRefresh}, "refresh_token": {token}, "client_id": {"stay"},
		"client_secret": {testSecret}}.with(pairs...)
}

// TestOfflineAccess is REQ-090, 231 and 248 with our own rule: a refresh token is for clients with the grant, for what is
// not done once, and only if the person read that the agent can come back.
func TestOfflineAccess(t *testing.T) {
	t.Parallel()
	row(t, "REQ-090", "REQ-231", "REQ-248")
	const scope = "openid offline_access"
	tests := []struct {
		name    string
		ask     []string
		collect []string
		between func(t *testing.T, s *service)
		off     bool // in this house
		reads   bool // the person reads so
		gets    bool
	}{
		{name: "asked", ask: []string{"scope", scope}, reads: true, gets: true},
		{name: "asked with details", ask: []string{"scope", scope, "authorization_details", "[" + docRead + "]"}, reads: true, gets: true},
		{name: "not asked", ask: []string{"scope", "openid"}},
		{name: "client without the grant", ask: []string{"scope", scope, "client_id", "travel"}, collect: []string{"client_id", "travel"}},
		{name: "a payment", ask: []string{"scope", scope, "authorization_details", payment}},
		{name: "off in this house", ask: []string{"scope", scope}, off: true},
		{name: "not collected", ask: []string{"scope", scope}, collect: []string{"scope", "openid"}, reads: true},
		{name: "grant taken away", ask: []string{"scope", scope}, reads: true, between: func(t *testing.T, s *service) {
			must(t, s.reregister(t, strings.Replace(stayClient, `,"`+GrantRefresh+`"`, "", 1)))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := stays(t, func(p *Parts) {
				if tt.off {
					p.Desk.Terms.Standing = 0
				}
			})
			handle := s.ask(t, append([]string{"client_id", "stay"}, tt.ask...)...)
			r, err := s.Desk.Request(t.Context(), idOf(handle))
			must(t, err)
			if reads := strings.Contains(string(r.Disclosures[0].Canonical()), "come back"); reads != tt.reads {
				t.Errorf("the person reads so: %v", reads)
			}
			s.approve(t, handle)
			if tt.between != nil {
				tt.between(t, s)
			}
			a := s.post("/token", tk(handle, append([]string{"client_id", "stay"}, tt.collect...)...))
			if a.status != 200 || isRefresh(a.text("refresh_token")) != tt.gets {
				t.Errorf("%d %s", a.status, a.raw)
			}
			if shown := strings.Contains(a.text("scope"), offlineAccess); shown != tt.gets {
				t.Errorf("scope %q", a.text("scope"))
			}
			document := s.get("/.well-known/openid-configuration").raw
			for _, word := range []string{offlineAccess, GrantRefresh} {
				if strings.Contains(document, word) == tt.off {
					t.Errorf("%s is advertised: %v", word, !tt.off)
				}
			}
			if tt.off {
				if a := s.post("/token", rt("x")); a.code() != "unsupported_grant_type" {
					t.Errorf("grant that is off: %s", a.raw)
				}
			}
		})
	}
}

// reregister replaces a client's record.
func (s *service) reregister(t testing.TB, raw string) error {
	t.Helper()
	m, err := ParseMetadata([]byte(raw), s.Desk.Renderer.Types)
	must(t, err)
	next, err := m.Agent(s.Root, time.Now())
	must(t, err)
	old, err := s.Directory.Agent(t.Context(), next.ID)
	must(t, err)
	next.Revision = old.Revision
	return s.Directory.SaveAgent(t.Context(), next)
}

// TestRefresh: new tokens say what the first ones said, about the same decision, and the old refresh token is replaced.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stays(t)
		first, _ := s.standing(t)
		time.Sleep(day)
		if s.active(t, first.text("access_token"), "client_id", "stay") {
			t.Error("the first access token is still active")
		}
		second := s.post("/token", rt(first.text("refresh_token")))
		if second.status != 200 || second.text("refresh_token") == first.text("refresh_token") {
			t.Fatalf("%d %s", second.status, second.raw)
		}
		volatile := []string{"iat", "exp", "jti", "at_hash"}
		for _, name := range []string{"access_token", "id_token"} {
			_, before := s.verify(t, first.text(name))
			_, after := s.verify(t, second.text(name))
			for _, claim := range volatile {
				delete(before, claim)
				delete(after, claim)
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("%s (-first +second):\n%s", name, diff)
			}
		}
		if !s.active(t, second.text("access_token"), "client_id", "stay") {
			t.Error("the second access token is not active")
		}
		if third := s.post("/token", rt(second.text("refresh_token"))); third.status != 200 {
			t.Errorf("third: %d %s", third.status, third.raw)
		}
	})
}

// TestRefreshNarrows is REQ-204 and 248 with RFC 8707 section 2.2: less than was approved may be had, never more, and a
// refusal spends nothing. What one exchange left out, the next may have.
func TestRefreshNarrows(t *testing.T) {
	row(t, "REQ-204", "REQ-248")
	s := stays(t)
	tokens, _ := s.standing(t)
	token := tokens.text("refresh_token")
	tests := []struct {
		name  string
		pairs []string
		want  string // error code
		check func(t *testing.T, body, access map[string]any)
	}{
		{"one resource", []string{"resource", "https://bank.example"}, "", func(t *testing.T, body, access map[string]any) {
			if access["aud"] != "https://bank.example" || len(access["authorization_details"].([]any)) != 1 {
				t.Errorf("%v", access)
			}
		}},
		{"the other resource", []string{"resource", "https://trips.example/api"}, "", func(t *testing.T, body, access map[string]any) {
			if access["aud"] != "https://trips.example/api" {
				t.Errorf("%v", access)
			}
		}},
		{"another resource", []string{"resource", "https://api.example"}, "invalid_target", nil},
		{"less scope", []string{"scope", "trips.book"}, "", func(t *testing.T, body, access map[string]any) {
			if body["scope"] != "trips.book" || body["id_token"] != nil || body["refresh_token"] == nil {
				t.Errorf("%v", body)
			}
		}},
		{"more scope", []string{"scope", "openid email"}, "invalid_scope", nil},
		{"fewer details", []string{"authorization_details", "[" + docNote + "]"}, "", func(t *testing.T, body, access map[string]any) {
			if len(body["authorization_details"].([]any)) != 1 {
				t.Errorf("%v", body)
			}
		}},
		{"other details", []string{"authorization_details", strings.Replace("["+docRead+"]", "read", "write", 1)}, "invalid_authorization_details", nil},
		{"everything", nil, "", func(t *testing.T, body, access map[string]any) {
			if body["scope"] != "openid trips.book offline_access" || len(access["authorization_details"].([]any)) != 2 {
				t.Errorf("%v", body)
			}
		}},
	}
	for _, tt := range tests {
		a := s.post("/token", rt(token, tt.pairs...))
		if a.code() != tt.want {
			t.Fatalf("%s: %d %s, want %q", tt.name, a.status, a.raw, tt.want)
		}
		if tt.want == "" {
			token = a.text("refresh_token")
			_, access := s.verify(t, a.text("access_token"))
			tt.check(t, a.json, access)
		}
	}
}

// TestRefreshRefused is REQ-247: what is not this client's good refresh token is one answer and leaves nothing.
func TestRefreshRefused(t *testing.T) {
	row(t, "REQ-247")
	s := stays(t)
	tokens, handle := s.standing(t)
	token := tokens.text("refresh_token")
	parts := strings.Split(token, ".")
	tests := []struct {
		name string
		body form
		want string
	}{
		{"unknown", rt("x"), "invalid_grant"},
		{"only the prefix", rt(refreshPrefix), "invalid_grant"},
		{"an access token", rt(tokens.text("access_token")), "invalid_grant"},
		{"an auth_req_id", rt(handle), "invalid_grant"},
		{"another number", rt(parts[0] + ".2." + parts[2]), "invalid_grant"},
		{"number with a sign", rt(parts[0] + ".+1." + parts[2]), "invalid_grant"},
		{"another request", rt(refreshPrefix + strings.Repeat("0", 26) + ".1." + parts[2]), "invalid_grant"},
		{"altered", rt(token[:len(token)-2] + "--"), "invalid_grant"},
		{"longer", rt(token + "A"), "invalid_grant"},
		{"another client's", rt(token, "client_id", "away"), "invalid_grant"},
		{"client without the grant", rt(token, "client_id", "travel"), "unauthorized_client"},
		{"no token", rt(""), "invalid_request"},
		{"wrong secret", rt(token, "client_secret", "wrong"), "invalid_client"},
	}
	bodies := map[string]bool{}
	for _, tt := range tests {
		a := s.post("/token", tt.body)
		if a.code() != tt.want {
			t.Errorf("%s: %d %s, want %s", tt.name, a.status, a.raw, tt.want)
		}
		if tt.want == "invalid_grant" {
			bodies[a.raw] = true
		}
	}
	if len(bodies) != 1 {
		t.Errorf("%d different bodies", len(bodies))
	}
	if a := s.post("/token", rt(token)); a.status != 200 {
		t.Errorf("the owner, after all that: %d %s", a.status, a.raw)
	}
}

// TestRefreshEnds: what ends an approval that stands, for good.
func TestRefreshEnds(t *testing.T) {
	t.Parallel()
	again := func(t *testing.T, s *service, f func(*approvals.Agent)) {
		s.change(t, "stay", f)
	}
	tests := []struct {
		name  string
		act   func(t *testing.T, s *service, handle string)
		undo  func(t *testing.T, s *service)
		alive bool
	}{
		{name: "nothing", alive: true},
		{name: "a moment before its day", act: func(*testing.T, *service, string) { time.Sleep(30*day - time.Second) }, alive: true},
		{name: "its day", act: func(*testing.T, *service, string) { time.Sleep(30 * day) }},
		{name: "person disabled", act: func(t *testing.T, s *service, _ string) { s.disable(t, "p-ann") },
			undo: func(t *testing.T, s *service) { s.enable(t, "p-ann") }},
		{name: "type taken away", act: func(t *testing.T, s *service, _ string) {
			again(t, s, func(a *approvals.Agent) { a.Types = nil })
		}, undo: func(t *testing.T, s *service) {
			again(t, s, func(a *approvals.Agent) { a.Types = []string{"document_access"} })
		}},
		{name: "scope taken away", act: func(t *testing.T, s *service, _ string) {
			again(t, s, func(a *approvals.Agent) { a.Scopes = nil })
		}, undo: func(t *testing.T, s *service) {
			again(t, s, func(a *approvals.Agent) { a.Scopes = []string{"trips.book"} })
		}},
		{name: "audience taken away", act: func(t *testing.T, s *service, _ string) {
			again(t, s, func(a *approvals.Agent) { a.Audiences = nil })
		}, undo: func(t *testing.T, s *service) {
			again(t, s, func(a *approvals.Agent) { a.Audiences = []string{"https://bank.example", "https://trips.example/api"} })
		}},
		{name: "revoked by somebody else", act: func(t *testing.T, s *service, handle string) {
			_, err := s.Desk.Revoke(t.Context(), idOf(handle), approvals.Revocation{By: approvals.Actor{Kind: "person", ID: "p-ann"}})
			must(t, err)
		}},
		{name: "REQ-199 its auth_req_id used again", act: func(t *testing.T, s *service, handle string) {
			time.Sleep(time.Minute)
			s.post("/token", tk(handle, "client_id", "stay"))
		}},
		{name: "request forgotten", act: func(t *testing.T, s *service, handle string) {
			_, err := s.store.Update(t.Context(), idOf(handle), func(r *approvals.Request) error { r.Forget(); return nil })
			must(t, err)
			s.Hub.Deliver(string(idOf(handle)))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := stays(t)
				tokens, handle := s.standing(t)
				if tt.act != nil {
					tt.act(t, s, handle)
				}
				a := s.post("/token", rt(tokens.text("refresh_token")))
				if tt.alive {
					if a.status != 200 {
						t.Errorf("%d %s", a.status, a.raw)
					}
					if left := a.json["expires_in"].(float64); time.Duration(left)*time.Second > tokenLife || left < 1 {
						t.Errorf("expires in %v s", left)
					}
					return
				}
				if a.code() != "invalid_grant" || a.status != 400 {
					t.Errorf("%d %s", a.status, a.raw)
				}
				if tt.undo != nil {
					tt.undo(t, s)
					if a := s.post("/token", rt(tokens.text("refresh_token"))); a.code() != "invalid_grant" {
						t.Errorf("given back: %d %s", a.status, a.raw)
					}
				}
			})
		})
	}
}

func (s *service) enable(t testing.TB, id approvals.PersonID) {
	t.Helper()
	p, err := s.Directory.Person(t.Context(), id)
	must(t, err)
	next := *p
	next.Disabled = false
	must(t, s.Directory.SavePerson(t.Context(), &next))
}

// TestAccessTokenEndsWithTheApproval is AO-005: nothing outlives the day until which the agent may come back.
func TestAccessTokenEndsWithTheApproval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stays(t)
		tokens, handle := s.standing(t)
		r, err := s.Desk.Request(t.Context(), idOf(handle))
		must(t, err)
		time.Sleep(time.Until(r.Until) - 10*time.Second)
		a := s.post("/token", rt(tokens.text("refresh_token")))
		_, access := s.verify(t, a.text("access_token"))
		if a.json["expires_in"] != float64(10) || int64(access["exp"].(float64)) != r.Until.Unix() {
			t.Errorf("%s", a.raw)
		}
	})
}

// TestCollectedLate: who collects when the day is over gets a token that lives, and none to come back with.
func TestCollectedLate(t *testing.T) {
	row(t, "REQ-198", "REQ-241")
	synctest.Test(t, func(t *testing.T) {
		s := stays(t, func(p *Parts) { p.Desk.Terms.Standing = day })
		handle := s.ask(t, "client_id", "stay", "scope", "openid trips.book offline_access", "requested_expiry", "259200")
		time.Sleep(2 * day)
		s.approve(t, handle)
		a := s.post("/token", tk(handle, "client_id", "stay"))
		if a.status != http.StatusOK || a.json["expires_in"] != tokenLife.Seconds() || a.text("refresh_token") != "" {
			t.Fatalf("%d %s", a.status, a.raw)
		}
		if !s.active(t, a.text("access_token"), "client_id", "stay") {
			t.Error("the token is dead")
		}
	})
}

// TestRefreshReuse: an exchanged token that comes again is refused; unless its answer may just have been lost, everything
// that was issued ends (RFC 9700 section 4.14.2).
func TestRefreshReuse(t *testing.T) {
	t.Parallel()
	row(t, "REQ-247")
	tests := []struct {
		name  string
		act   func(t *testing.T, s *service, tokens []string) answer
		alive bool
	}{
		{"at once", func(t *testing.T, s *service, tokens []string) answer {
			return s.post("/token", rt(tokens[1]))
		}, true},
		{"after 59 s", func(t *testing.T, s *service, tokens []string) answer {
			time.Sleep(59 * time.Second)
			return s.post("/token", rt(tokens[1]))
		}, true},
		{"after 60 s", func(t *testing.T, s *service, tokens []string) answer {
			time.Sleep(60 * time.Second)
			return s.post("/token", rt(tokens[1]))
		}, false},
		{"one whose successor was used", func(t *testing.T, s *service, tokens []string) answer {
			return s.post("/token", rt(tokens[0]))
		}, false},
		{"by another client", func(t *testing.T, s *service, tokens []string) answer {
			return s.post("/token", rt(tokens[0], "client_id", "away"))
		}, true},
		{"with a key that nobody used", func(t *testing.T, s *service, tokens []string) answer {
			return s.post("/token", rt(tokens[0]), keyHeader, "new")
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := stays(t)
				first, handle := s.standing(t)
				tokens := []string{first.text("refresh_token")}
				var last answer
				for range 2 {
					last = s.post("/token", rt(tokens[len(tokens)-1]))
					tokens = append(tokens, last.text("refresh_token"))
				}
				if a := tt.act(t, s, tokens); a.status != 400 || a.code() != "invalid_grant" {
					t.Errorf("%d %s", a.status, a.raw)
				}
				if got := s.active(t, last.text("access_token"), "client_id", "stay"); got != tt.alive {
					t.Errorf("access token active: %v", got)
				}
				if a := s.post("/token", rt(tokens[2])); (a.status == 200) != tt.alive {
					t.Errorf("the good one: %d %s", a.status, a.raw)
				}
				if !tt.alive {
					s.trail(t, handle, "pending", "approved", "redeemed", "revoked")
					if left := s.records(t, kindRefresh); left != "" {
						t.Errorf("left: %s", left)
					}
				}
			})
		})
	}
}

// TestRefreshedOnce is the rule of redemption, for refresh: the same call gets the same bytes, for a minute.
func TestRefreshedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stays(t)
		tokens, _ := s.standing(t)
		token := tokens.text("refresh_token")
		first := s.post("/token", rt(token), keyHeader, "k")
		time.Sleep(59 * time.Second)
		if a := s.post("/token", rt(token), keyHeader, "k"); a.raw != first.raw || a.status != 200 {
			t.Errorf("again: %d %s", a.status, a.raw)
		}
		if a := s.post("/token", rt(token, "scope", "openid"), keyHeader, "k"); a.status != 400 || a.code() != "invalid_request" {
			t.Errorf("another body: %d %s", a.status, a.raw)
		}
		if a := s.post("/token", rt(first.text("refresh_token")), keyHeader, "k"); a.status != 400 || a.code() != "invalid_request" {
			t.Errorf("the key with the next token: %d %s", a.status, a.raw)
		}
		if strings.Contains(s.records(t, kindRefreshed), "access_token") {
			t.Error("the kept answer is not sealed")
		}
		time.Sleep(time.Second)
		if a := s.post("/token", rt(token), keyHeader, "k"); a.code() != "invalid_grant" {
			t.Errorf("after a minute: %d %s", a.status, a.raw)
		}
		if a := s.post("/token", rt(first.text("refresh_token"))); a.code() != "invalid_grant" {
			t.Errorf("the good one, after reuse: %d %s", a.status, a.raw)
		}
	})
}

// TestRefreshedOnceAndDisabled: a lost answer is not told again to somebody who may no longer.
func TestRefreshedOnceAndDisabled(t *testing.T) {
	s := stays(t)
	tokens, _ := s.standing(t)
	if a := s.post("/token", rt(tokens.text("refresh_token")), keyHeader, "k"); a.status != 200 {
		t.Fatal(a.raw)
	}
	s.disable(t, "p-ann")
	if a := s.post("/token", rt(tokens.text("refresh_token")), keyHeader, "k"); a.code() != "invalid_grant" {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// TestRefreshAtOnce: of twenty simultaneous exchanges of one token one wins, or all get its answer if they are the same
// call; either way the winner's token is good.
func TestRefreshAtOnce(t *testing.T) {
	for _, key := range []string{"", "k"} {
		s := stays(t)
		tokens, handle := s.standing(t)
		answers := make(chan answer, 20)
		var group sync.WaitGroup
		for range cap(answers) {
			group.Go(func() {
				var headers []string
				if key != "" {
					headers = []string{keyHeader, key}
				}
				answers <- s.post("/token", rt(tokens.text("refresh_token")), headers...)
			})
		}
		group.Wait()
		close(answers)
		var winner answer
		won, lost := 0, 0
		for a := range answers {
			switch {
			case a.status == 200 && (won == 0 || a.raw == winner.raw):
				winner = a
				won++
			case a.code() == "invalid_grant":
				lost++
			default:
				t.Errorf("key %q: %d %s", key, a.status, a.raw)
			}
		}
		if want := map[string]int{"": 1, "k": 20}[key]; won != want || won+lost != 20 {
			t.Errorf("key %q: %d won, %d lost", key, won, lost)
		}
		if a := s.post("/token", rt(winner.text("refresh_token"))); a.status != 200 {
			t.Errorf("key %q, the winner's token: %d %s", key, a.status, a.raw)
		}
		s.trail(t, handle, "pending", "approved", "redeemed")
	}
}

// TestRefreshAgainstRevocation: after a revocation was answered, no exchange gives anything.
func TestRefreshAgainstRevocation(t *testing.T) {
	s := stays(t)
	tokens, _ := s.standing(t)
	token := tokens.text("refresh_token")
	answers := make(chan answer, 10)
	var group sync.WaitGroup
	group.Go(func() {
		if a := s.post("/revoke", inquiry(token, "client_id", "stay")); a.status != 200 {
			t.Errorf("revoke: %d %s", a.status, a.raw)
		}
	})
	for range cap(answers) {
		group.Go(func() { answers <- s.post("/token", rt(token)) })
	}
	group.Wait()
	close(answers)
	for a := range answers {
		switch {
		case a.status == 200 && s.active(t, a.text("access_token"), "client_id", "stay"):
			t.Error("active after the revocation")
		case a.status == 200 && s.post("/token", rt(a.text("refresh_token"))).code() != "invalid_grant":
			t.Error("refreshed after the revocation")
		case a.status != 200 && a.code() != "invalid_grant":
			t.Errorf("%d %s", a.status, a.raw)
		}
	}
}

// TestRevokeRefreshToken is REQ-251: with a refresh token everything ends that was issued, also when it was exchanged.
func TestRevokeRefreshToken(t *testing.T) {
	row(t, "REQ-251")
	for _, exchanged := range []bool{false, true} {
		s := stays(t)
		tokens, handle := s.standing(t)
		latest := tokens
		if exchanged {
			latest = s.post("/token", rt(tokens.text("refresh_token")))
		}
		owner := []string{"client_id", "stay"}
		if a := s.post("/revoke", inquiry(tokens.text("refresh_token"), "client_id", "away")); a.status != 400 || a.code() != "invalid_request" {
			t.Errorf("another client: %d %s", a.status, a.raw)
		}
		if a := s.post("/revoke", inquiry(tokens.text("refresh_token")+"A", owner...)); a.status != 200 {
			t.Errorf("unknown: %d %s", a.status, a.raw)
		}
		if !s.active(t, latest.text("refresh_token"), owner...) || !s.active(t, latest.text("access_token"), owner...) {
			t.Error("not active to begin with")
		}
		for range 2 {
			if a := s.post("/revoke", inquiry(tokens.text("refresh_token"), owner...)); a.status != 200 {
				t.Errorf("%d %s", a.status, a.raw)
			}
		}
		for _, a := range []answer{tokens, latest} {
			if s.active(t, a.text("refresh_token"), owner...) || s.active(t, a.text("access_token"), owner...) {
				t.Error("still active")
			}
		}
		s.trail(t, handle, "pending", "approved", "redeemed", "revoked")
	}
}

// TestIntrospectRefreshToken is REQ-249 for refresh tokens: their client hears what they are good for, nobody else does.
func TestIntrospectRefreshToken(t *testing.T) {
	row(t, "REQ-249")
	s := stays(t)
	must(t, s.saveAgent(bankClient))
	tokens, handle := s.standing(t)
	token := tokens.text("refresh_token")
	r, err := s.Desk.Request(t.Context(), idOf(handle))
	must(t, err)
	want := map[string]any{"active": true, "iss": testIssuer, "sub": "p-ann", "client_id": "stay", "txn": string(r.ID),
		"scope": "openid trips.book offline_access", "exp": float64(r.Until.Unix()),
		"authorization_details": tokens.json["authorization_details"]}
	a := s.post("/introspect", inquiry(token, "client_id", "stay"))
	if diff := cmp.Diff(want, a.json); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, who := range map[string][]string{"another client": {"client_id", "away"}, "the resource server": asBank} {
		if s.active(t, token, who...) {
			t.Errorf("%s may ask", name)
		}
	}
	s.post("/token", rt(token))
	if s.active(t, token, "client_id", "stay") {
		t.Error("active after its exchange")
	}
}

// TestRefreshBound: a family that began with a DPoP key goes on with that key only (REQ-247).
func TestRefreshBound(t *testing.T) {
	row(t, "REQ-247")
	s := stays(t)
	handle := s.ask(t, "client_id", "stay", "scope", "openid offline_access")
	s.approve(t, handle)
	proof := func(key string) string { return proofOf(t, key, key, nil) }
	tokens := s.post("/token", tk(handle, "client_id", "stay"), "DPoP", proof("ES256"))
	token := tokens.text("refresh_token")
	if tokens.status != 200 || tokens.text("token_type") != "DPoP" || !isRefresh(token) {
		t.Fatalf("%d %s", tokens.status, tokens.raw)
	}
	if a := s.post("/token", rt(token)); a.code() != "invalid_grant" {
		t.Errorf("without a proof: %d %s", a.status, a.raw)
	}
	if a := s.post("/token", rt(token), "DPoP", proof("EdDSA")); a.code() != "invalid_grant" {
		t.Errorf("another key: %d %s", a.status, a.raw)
	}
	asked := s.post("/introspect", inquiry(token, "client_id", "stay"))
	_, access := s.verify(t, tokens.text("access_token"))
	if diff := cmp.Diff(access["cnf"], asked.json["cnf"]); diff != "" || access["cnf"] == nil {
		t.Errorf("cnf (-access token +refresh token):\n%s", diff)
	}
	next := s.post("/token", rt(token), "DPoP", proof("ES256"), keyHeader, "k")
	_, again := s.verify(t, next.text("access_token"))
	if diff := cmp.Diff(access["cnf"], again["cnf"]); diff != "" || next.text("token_type") != "DPoP" {
		t.Errorf("refreshed cnf (-first +second):\n%s", diff)
	}
	if a := s.post("/token", rt(token), "DPoP", proof("ES256"), keyHeader, "k"); a.raw != next.raw {
		t.Errorf("the lost answer, with a fresh proof: %d %s", a.status, a.raw)
	}
}

// TestRefreshAfterRestart: another process goes on where this one stopped; and a store that was put back from a backup
// counts less than a token that we gave.
func TestRefreshAfterRestart(t *testing.T) {
	s := stays(t)
	tokens, handle := s.standing(t)
	backup, err := s.store.Get(t.Context(), kindRefresh, string(idOf(handle)))
	must(t, err)
	second := s.post("/token", rt(tokens.text("refresh_token")))
	s = s.restarted(t)
	third := s.post("/token", rt(second.text("refresh_token")))
	if third.status != 200 {
		t.Fatalf("after a restart: %d %s", third.status, third.raw)
	}
	must(t, s.store.Apply(t.Context(), approvals.PutAny(kindRefresh, backup.Key, backup.Value, backup.Expires)))
	fourth := s.post("/token", rt(third.text("refresh_token")))
	if fourth.status != 200 {
		t.Fatalf("after a backup: %d %s", fourth.status, fourth.raw)
	}
	if a := s.post("/token", rt(fourth.text("refresh_token"))); a.status != 200 {
		t.Errorf("and on: %d %s", a.status, a.raw)
	}
}

// TestStoreHoldsNoRefreshToken is REQ-278 for refresh tokens: who has the store and not the root key has none.
func TestStoreHoldsNoRefreshToken(t *testing.T) {
	row(t, "REQ-278")
	s := stays(t)
	tokens, _ := s.standing(t)
	secret := tokens.text("refresh_token")[strings.LastIndex(tokens.text("refresh_token"), ".")+1:]
	for _, kind := range []string{kindRefresh, kindRefreshed, kindRedeemed} {
		if strings.Contains(s.records(t, kind), secret) {
			t.Errorf("%s holds it", kind)
		}
	}
}

// FuzzToken: no bytes in place of a token make an endpoint fail, and nothing that we did not give is good.
func FuzzToken(f *testing.F) {
	s := stays(f)
	tokens, handle := s.standing(f)
	for _, seed := range []string{"", "x", "a.b.c", "..", refreshPrefix, refreshPrefix + "..", handle, tokens.text("id_token"),
		tokens.text("access_token"), tokens.text("refresh_token"), tokens.text("refresh_token") + "A"} {
		f.Add(seed)
	}
	given := map[string]bool{tokens.text("access_token"): true, tokens.text("refresh_token"): true}
	f.Fuzz(func(t *testing.T, token string) {
		s.t = t
		if given[token] {
			return
		}
		owner := []string{"client_id", "stay"}
		for path, body := range map[string]form{"/introspect": inquiry(token, owner...), "/revoke": inquiry(token, owner...), "/token": rt(token)} {
			a := s.post(path, body)
			if a.status >= 500 || path == "/token" && a.status == 200 || a.json["active"] == true {
				t.Errorf("%s %q: %d %s", path, token, a.status, a.raw)
			}
		}
	})
}

// BenchmarkRefresh is a durable exchange with two ES256 signatures.
func BenchmarkRefresh(b *testing.B) {
	s := stays(b)
	tokens := make(chan string, 64)
	for range cap(tokens) {
		a, _ := s.standing(b)
		tokens <- a.text("refresh_token")
	}
	b.SetParallelism(32)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			a := s.post("/token", rt(<-tokens))
			if a.status != http.StatusOK {
				b.Errorf("%d %s", a.status, a.raw)
			}
			tokens <- a.text("refresh_token")
		}
	})
}
