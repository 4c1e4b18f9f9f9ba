package ciba

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/approvals"
	"assent/store/bolt"
)

const notActive = `{"active":false}`

// inquiry is a question about a token, as travel asks it.
func inquiry(token string, pairs ...string) form {
	return form{"token": {token}, "client_id": {"travel"}, "client_secret": {testSecret}}.with(pairs...)
}

// asBank asks as the resource server of bank.example.
var asBank = []string{"client_id", "bank", "client_secret", otherSecret}

const bankClient = `{"client_id":"bank","client_name":"Example Bank","client_secret":"` + otherSecret +
	`","grant_types":[],"serves_audiences":["https://bank.example"]}`

// redeemed goes all the way and returns the token response and the handle.
func (s *service) redeemed(t testing.TB, pairs ...string) (answer, string) {
	t.Helper()
	handle := s.ask(t, pairs...)
	s.approve(t, handle)
	a := s.post("/token", tk(handle))
	if a.status != http.StatusOK {
		t.Fatalf("token: %d %s", a.status, a.raw)
	}
	return a, handle
}

func (s *service) active(t testing.TB, token string, pairs ...string) bool {
	t.Helper()
	a := s.post("/introspect", inquiry(token, pairs...))
	if a.status != http.StatusOK || a.json["active"] == false && a.raw != notActive {
		t.Errorf("introspect: %d %s", a.status, a.raw)
	}
	return a.json["active"] == true
}

// TestIntrospect is REQ-232, 246 and 249: what the token says, no more and no less.
func TestIntrospect(t *testing.T) {
	row(t, "REQ-232", "REQ-249")
	s := newService(t)
	must(t, s.saveAgent(bankClient))
	tokens, _ := s.redeemed(t, "authorization_details", payment, "scope", "openid trips.book", "resource", "https://bank.example")
	_, claims := s.verify(t, tokens.text("access_token"))
	claims["active"], claims["token_type"], claims["single_use"] = true, "Bearer", true
	for name, who := range map[string][]string{"its client": nil, "its resource server": asBank} {
		a := s.post("/introspect", inquiry(tokens.text("access_token"), who...))
		if diff := cmp.Diff(claims, a.json); diff != "" || a.status != 200 {
			t.Errorf("%s: %d (-token +answer):\n%s", name, a.status, diff)
		}
		if diff := cmp.Diff(tokens.json["authorization_details"], a.json["authorization_details"]); diff != "" { // REQ-232
			t.Errorf("%s: details (-response +answer):\n%s", name, diff)
		}
		for _, member := range []string{"sub", "act", "client_id", "scope", "exp", "aud", "iss", "jti", "txn"} {
			if a.json[member] == nil {
				t.Errorf("%s: no %s", name, member)
			}
		}
	}
}

// TestInactive is REQ-249: whatever is wrong, and whoever asks, the answer is the same bytes.
func TestInactive(t *testing.T) {
	t.Parallel()
	row(t, "REQ-249", "REQ-285")
	type world struct {
		*service
		tokens answer
		handle string
	}
	tests := []struct {
		name  string
		act   func(t *testing.T, w world)
		token func(w world) string
		as    []string
	}{
		{name: "unknown", token: func(world) string { return "x" }},
		{name: "an ID token", token: func(w world) string { return w.tokens.text("id_token") }}, // REQ-285
		{name: "an auth_req_id", token: func(w world) string { return w.handle }},
		{name: "one flipped bit", token: func(w world) string {
			parts := strings.Split(w.tokens.text("access_token"), ".")
			raw, _ := base64.RawURLEncoding.DecodeString(parts[2])
			raw[10] ^= 1
			return parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(raw)
		}},
		{name: "no signature", token: func(w world) string {
			parts := strings.Split(w.tokens.text("access_token"), ".")
			return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + parts[1] + "."
		}},
		{name: "another client's", as: []string{"client_id", "other", "client_secret", otherSecret}},
		{name: "another resource server's", as: []string{"client_id", "shop", "client_secret", otherSecret}},
		{name: "expired", act: func(*testing.T, world) { time.Sleep(tokenLife) }},
		{name: "person disabled", act: func(t *testing.T, w world) { w.disable(t, "p-ann") }},
		{name: "agent disabled", as: asBank, act: func(t *testing.T, w world) {
			w.change(t, "travel", func(a *approvals.Agent) { a.Disabled = true })
		}},
		{name: "type taken away", act: func(t *testing.T, w world) {
			w.change(t, "travel", func(a *approvals.Agent) { a.Types = nil })
		}},
		{name: "scope taken away", act: func(t *testing.T, w world) {
			w.change(t, "travel", func(a *approvals.Agent) { a.Scopes = nil })
		}},
		{name: "audience taken away", act: func(t *testing.T, w world) {
			w.change(t, "travel", func(a *approvals.Agent) { a.Audiences = nil })
		}},
		{name: "request forgotten", act: func(t *testing.T, w world) {
			_, err := w.store.Update(t.Context(), idOf(w.handle), func(r *approvals.Request) error { r.Forget(); return nil })
			must(t, err)
			w.Hub.Deliver(string(idOf(w.handle)))
		}},
		{name: "revoked", act: func(t *testing.T, w world) {
			if a := w.post("/revoke", inquiry(w.tokens.text("access_token"))); a.status != 200 {
				t.Error(a.raw)
			}
		}},
		{name: "asked with a wrong hint", token: func(world) string { return "x" }, as: []string{"token_type_hint", "nonsense"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t)
				must(t, s.saveAgent(bankClient))
				must(t, s.saveAgent(strings.NewReplacer("bank", "shop").Replace(bankClient)))
				w := world{service: s}
				w.tokens, w.handle = s.redeemed(t, "authorization_details", payment, "scope", "openid trips.book",
					"resource", "https://bank.example")
				token := w.tokens.text("access_token")
				if !s.active(t, token) {
					t.Fatal("not active to begin with")
				}
				if tt.act != nil {
					tt.act(t, w)
				}
				if tt.token != nil {
					token = tt.token(w)
				}
				if a := s.post("/introspect", inquiry(token, tt.as...)); a.status != 200 || a.raw != notActive {
					t.Errorf("%d %s", a.status, a.raw)
				}
			})
		})
	}
}

// TestIntrospectNotYetRedeemed: a token whose redemption has not been committed is nobody's.
func TestIntrospectNotYetRedeemed(t *testing.T) {
	s := newService(t)
	handle := s.ask(t)
	s.approve(t, handle)
	r, err := s.Desk.Request(t.Context(), idOf(handle))
	must(t, err)
	body, err := s.issuer.respond(r, grant{scope: []string{"openid"}}, s.Now())
	must(t, err)
	var early map[string]any
	must(t, json.Unmarshal(body, &early))
	if s.active(t, early["access_token"].(string)) {
		t.Error("active before its redemption")
	}
}

// TestConsume is REQ-241: what may be done once is done by the one resource server that hears so.
func TestConsume(t *testing.T) {
	row(t, "REQ-241")
	s := newService(t)
	must(t, s.saveAgent(bankClient))
	tokens, handle := s.redeemed(t, "authorization_details", payment, "resource", "https://bank.example")
	token := tokens.text("access_token")
	for name, body := range map[string]form{
		"its client":    inquiry(token, "consume", "true"),
		"another value": inquiry(token, asBank...).with("consume", "yes"),
	} {
		if a := s.post("/introspect", body); a.status != 400 || a.code() != "invalid_request" {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	for range 2 {
		if !s.active(t, token, asBank...) {
			t.Error("looking has used it up")
		}
	}
	answers := make(chan answer, 20)
	var group sync.WaitGroup
	for range cap(answers) {
		group.Go(func() { answers <- s.post("/introspect", inquiry(token, asBank...).with("consume", "true")) })
	}
	group.Wait()
	close(answers)
	active := 0
	for a := range answers {
		if a.json["active"] == true && a.json["single_use"] == true {
			active++
		} else if a.raw != notActive {
			t.Errorf("%d %s", a.status, a.raw)
		}
	}
	if active != 1 || s.active(t, token, asBank...) || s.active(t, token) {
		t.Errorf("%d of them heard that it is active", active)
	}
	s.trail(t, handle, "pending", "approved", "redeemed", "revoked")
}

// TestSingleUse: only what is done once is marked so.
func TestSingleUse(t *testing.T) {
	s := newService(t)
	for details, want := range map[string]any{payment: true, "[" + docRead + "]": nil, "": nil} {
		tokens, _ := s.redeemed(t, "authorization_details", details, "resource", "https://bank.example")
		if a := s.post("/introspect", inquiry(tokens.text("access_token"))); a.json["single_use"] != want {
			t.Errorf("%s: %s", details, a.raw)
		}
	}
}

// TestIntrospectFaults: the caller is authenticated first, and a token is required (RFC 7662 section 2.1).
func TestIntrospectFaults(t *testing.T) {
	row(t, "REQ-047", "REQ-249")
	s := newService(t)
	for _, path := range []string{"/introspect", "/revoke"} {
		tests := []struct {
			name   string
			body   form
			status int
			code   string
		}{
			{"no client", form{"token": {"x"}}, 401, "invalid_client"},
			{"wrong secret", inquiry("x", "client_secret", "wrong"), 401, "invalid_client"},
			{"disabled client", inquiry("x", "client_id", "gone"), 401, "invalid_client"},
			{"no token", inquiry(""), 400, "invalid_request"},
		}
		for _, tt := range tests {
			if a := s.post(path, tt.body); a.status != tt.status || a.code() != tt.code {
				t.Errorf("%s %s: %d %s", path, tt.name, a.status, a.raw)
			}
		}
		if a := s.send(path, typeForm, inquiry("x").String()+"&token=y"); a.code() != "invalid_request" {
			t.Errorf("%s token twice: %d %s", path, a.status, a.raw)
		}
		if a := s.send(path, typeJSON, "{}"); a.code() != "invalid_request" {
			t.Errorf("%s JSON: %d %s", path, a.status, a.raw)
		}
		if a := s.get(path); a.status != 405 || a.header.Get("Allow") != "POST" {
			t.Errorf("%s GET: %d", path, a.status)
		}
	}
}

// TestIntrospectLargeToken: details of the greatest size fit into the token parameter.
func TestIntrospectLargeToken(t *testing.T) {
	s := newService(t)
	argument := `"` + strings.Repeat("x", 15_500) + `"`
	tokens, _ := s.redeemed(t, "authorization_details", `[{"type":"tool_call","tool":"t","arguments":{"a":`+argument+`}}]`)
	if token := tokens.text("access_token"); len(token) < maxValue || !s.active(t, token) {
		t.Errorf("a token of %d bytes is not active", len(token))
	}
}

// TestIntrospectRotatedKey: a token stays good when its key stops signing.
func TestIntrospectRotatedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		time.Sleep(cacheAge)
		tokens, _ := s.redeemed(t)
		_, err := s.Keyring.Rotate(t.Context())
		must(t, err)
		time.Sleep(time.Second)
		if !s.active(t, tokens.text("access_token")) {
			t.Error("not active after a rotation")
		}
	})
}

// TestRevokedAfterRestart: what was revoked stays so in another process, and its record goes when it says nothing more.
func TestRevokedAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := bolt.Open(filepath.Join(t.TempDir(), "assent.db"), bolt.Options{})
		must(t, err)
		s := newServiceOn(t, st)
		first, _ := s.redeemed(t)
		second, _ := s.redeemed(t)
		if a := s.post("/revoke", inquiry(first.text("access_token"))); a.status != 200 {
			t.Fatal(a.raw)
		}
		again := s.restarted(t)
		if again.active(t, first.text("access_token")) || !again.active(t, second.text("access_token")) {
			t.Error("another process sees it otherwise")
		}
		time.Sleep(tokenLife)
		if left := s.records(t, kindRevoked); left != "" {
			t.Errorf("left: %s", left)
		}
		n, err := st.Prune(context.Background(), 100)
		must(t, err)
		if n != 1 {
			t.Errorf("%d records pruned", n)
		}
	})
}

// restarted is the same service as another process would see it: nothing in memory, everything in the store.
func (s *service) restarted(t testing.TB) *service {
	t.Helper()
	p := s.Parts
	p.Hub = approvals.NewHub()
	p.Directory = approvals.NewDirectory(s.store, p.Hub, 0, p.Now)
	p.Desk = approvals.NewDesk(approvals.DeskParts{Store: s.store, Records: s.store, Directory: p.Directory, Hub: p.Hub,
		Hash: s.hash, Now: p.Now, Log: p.Log})
	ring, err := NewKeyring(context.Background(), s.store, p.Root, p.Hub, 0, p.Now, p.Log)
	must(t, err)
	p.Keyring = ring
	h, err := New(p)
	must(t, err)
	t.Cleanup(h.Close)
	return &service{t: t, Handler: h, store: s.store}
}

// BenchmarkIntrospect is one ES256 verification and look-ups in memory.
func BenchmarkIntrospect(b *testing.B) {
	s := newService(b)
	tokens, _ := s.redeemed(b, "authorization_details", payment)
	body := inquiry(tokens.text("access_token")).String()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if status := hit(b, s, "/introspect", body); status != http.StatusOK {
				b.Errorf("status %d", status)
			}
		}
	})
}
