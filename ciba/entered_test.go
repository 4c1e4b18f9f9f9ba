package ciba

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"assent/approvals"
)

const typedClient = `{"client_id":"typed","client_name":"Chat Bot","client_secret":"` + testSecret + `",` + allTypes + `,"binding_code":"enter"}`

// typing is a service with a client whose people type the code.
func typing(t testing.TB, options ...option) *service {
	t.Helper()
	s := newService(t, options...)
	must(t, s.saveAgent(typedClient))
	must(t, s.saveAgent(strings.NewReplacer(`"typed"`, `"typed2"`).Replace(typedClient)))
	must(t, s.saveAgent(strings.NewReplacer(`"typed"`, `"typedblind"`, `"binding_code"`, `"hint_privacy":"blind","binding_code"`).Replace(typedClient)))
	return s
}

// TestEnteredCode: a client whose people type the code sends two to six digits that are not too simple, and always.
func TestEnteredCode(t *testing.T) {
	row(t, "REQ-117", "REQ-120")
	s := typing(t)
	for _, tt := range []struct{ message, code string }{
		{"42", ""}, {"482913", ""}, {"00", ""}, {"1357", ""},
		{"4", "invalid_binding_message"}, {"4829137", "invalid_binding_message"}, {"H3-91", "invalid_binding_message"},
		{"４２", "invalid_binding_message"}, {" 42", "invalid_binding_message"}, {"777", "invalid_binding_message"},
		{"1234", "invalid_binding_message"}, {"4321", "invalid_binding_message"}, {"", "invalid_request"},
	} {
		a := s.post("/bc-authorize", bc("client_id", "typed", "binding_message", tt.message))
		if a.code() != tt.code || (a.status == 200) != (tt.code == "") {
			t.Errorf("%q: %d %s", tt.message, a.status, a.raw)
		}
		if tt.message != "" && strings.Contains(a.text("error_description"), tt.message) && len(tt.message) > 1 {
			t.Errorf("%q is repeated: %s", tt.message, a.raw)
		}
	}
}

// TestStaleCode: an agent shows a person no code twice in 24 hours; another agent, another person and another day may.
func TestStaleCode(t *testing.T) {
	row(t, "REQ-121")
	synctest.Test(t, func(t *testing.T) {
		s := typing(t)
		ask := func(want string, pairs ...string) {
			t.Helper()
			a := s.post("/bc-authorize", bc(append([]string{"client_id", "typed", "binding_message", "42"}, pairs...)...))
			if a.code() != want {
				t.Errorf("%v: %d %s", pairs, a.status, a.raw)
			}
		}
		ask("")
		ask("invalid_binding_message")
		ask("invalid_binding_message", "login_hint", "ann@example.com") // the same person by another name
		ask("", "client_id", "typed2")
		ask("", "login_hint", "bob")
		ask("", "binding_message", "43")
		time.Sleep(staleCode - time.Second)
		ask("invalid_binding_message")
		time.Sleep(time.Second)
		ask("")
	})
}

// TestStaleCodeTellsNothing: REQ-282 holds for codes: what a blind client hears is the same whether there is such a person
// or not.
func TestStaleCodeTellsNothing(t *testing.T) {
	s := typing(t)
	for _, hint := range []string{"ann", "nobody"} {
		for i, want := range []string{"", "invalid_binding_message"} {
			a := s.post("/bc-authorize", bc("client_id", "typedblind", "login_hint", hint, "binding_message", "42"))
			if a.code() != want {
				t.Errorf("%s, %d: %d %s", hint, i, a.status, a.raw)
			}
		}
	}
}

// TestStaleCodeRace: of ten that come side by side with one code, one asks.
func TestStaleCodeRace(t *testing.T) {
	s := typing(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	codes := map[string]int{}
	for range 10 {
		all.Go(func() {
			a := s.post("/bc-authorize", bc("client_id", "typed", "binding_message", "42"))
			mu.Lock()
			defer mu.Unlock()
			codes[a.code()]++
		})
	}
	all.Wait()
	if codes[""] != 1 || codes["invalid_binding_message"] != 9 {
		t.Error(codes)
	}
}

// TestEnteredCodeIsNowhere: neither the store nor the log nor an answer has a code that a person types, and a repeat with
// an Idempotency-Key is the same request.
func TestEnteredCodeIsNowhere(t *testing.T) {
	row(t, "REQ-118")
	var out bytes.Buffer
	s := typing(t, func(p *Parts) {
		p.Log = slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	const canary = "482913"
	f := bc("client_id", "typed", "binding_message", canary)
	first := s.post("/bc-authorize", f, "Idempotency-Key", "k")
	again := s.post("/bc-authorize", f, "Idempotency-Key", "k")
	if first.status != 200 || again.raw != first.raw {
		t.Fatalf("%s\n%s", first.raw, again.raw)
	}
	handle := first.text("auth_req_id")
	r, err := s.store.Request(t.Context(), idOf(handle))
	must(t, err)
	said := s.post("/requests/status", tk(handle, "client_id", "typed")).raw
	for _, kind := range []string{kindEntered, kindAsked, "due"} {
		recs, err := s.store.Scan(t.Context(), kind, "", 100)
		must(t, err)
		for _, rec := range recs {
			said += rec.Key + string(rec.Value)
		}
	}
	events, err := s.store.Events(t.Context(), r.ID)
	must(t, err)
	text, err := json.Marshal(events)
	must(t, err)
	for from, all := range map[string]string{"request": stored(t, r), "records and status": said, "events": string(text), "log": out.String()} {
		if strings.Contains(all, canary) {
			t.Errorf("the code is in the %s", from)
		}
	}
	if !r.Enters() || r.Binding != "" {
		t.Errorf("%+v", r)
	}
}

// TestSignedCodeIsKeptByDigest: a signed request that holds such a code is kept by its digest.
func TestSignedCodeIsKeptByDigest(t *testing.T) {
	s := newService(t)
	s.addSigning(t)
	a, err := s.Directory.Agent(t.Context(), signer)
	must(t, err)
	changed := *a
	c, err := ClientOf(a)
	must(t, err)
	c.BindingCode = codeEnter
	must(t, c.Keep(&changed))
	must(t, s.Directory.SaveAgent(t.Context(), &changed))
	asked := s.post("/bc-authorize", ro(signer, jws(t, "ES256", "ES256", nil, objectClaims(signer, "binding_message", "482913"))))
	if asked.status != 200 {
		t.Fatal(asked.raw)
	}
	if kept, err := s.SignedRequest(t.Context(), idOf(asked.text("auth_req_id"))); err != nil || !strings.HasPrefix(kept, "sha256:") {
		t.Errorf("%s, %v", kept, err)
	}
}

// TestAgentSeesTooManyTries: the agent is told no, and nothing of the tries.
func TestAgentSeesTooManyTries(t *testing.T) {
	s := typing(t)
	handle := s.post("/bc-authorize", bc("client_id", "typed", "binding_message", "42")).text("auth_req_id")
	r, err := s.Desk.Request(t.Context(), idOf(handle))
	must(t, err)
	a := s.answer(r)
	a.Code = "24"
	for range 3 {
		if _, err := s.Desk.Approve(t.Context(), r.ID, a); err == nil {
			t.Fatal("a wrong code was taken")
		}
	}
	if got := s.post("/token", tk(handle, "client_id", "typed")); got.code() != "access_denied" {
		t.Errorf("%d %s", got.status, got.raw)
	}
	status := s.post("/requests/status", tk(handle, "client_id", "typed"))
	if status.json["state"] != string(approvals.Denied) || strings.Contains(status.raw, "code") || status.json["reason"] != nil {
		t.Errorf("%s", status.raw)
	}
}
