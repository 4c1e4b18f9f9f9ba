package ciba

import (
	"strings"
	"testing"
	"testing/synctest"

	"assent/approvals"
)

const rocket = `[{"type":"rocket_launch","to":"Moon","fuel":0.1}]`

// TestGenericTypes: a type that nobody knows is for clients that an operator lets have it, takes a passkey, and is in the
// token as it was asked. Where nobody can have a passkey it is refused at once.
func TestGenericTypes(t *testing.T) {
	row(t, "REQ-095", "REQ-130", "REQ-232")
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		must(t, s.saveAgent(`{"client_id":"curious","client_secret":"`+testSecret+`",`+allTypes+`,"generic_types":true}`))
		ask := bc("client_id", "curious", "authorization_details", rocket)
		if a := s.post("/bc-authorize", bc("authorization_details", rocket)); a.text("error") != "invalid_authorization_details" {
			t.Errorf("a client that may not: %d %s", a.status, a.raw)
		}
		if a := s.post("/bc-authorize", ask.with("authorization_details", `[{"type":"tool_call","rocket":1}]`)); a.text("error") != "invalid_authorization_details" {
			t.Errorf("a known type in another shape: %d %s", a.status, a.raw)
		}
		many := `[{"type":"rocket_launch","n":[` + strings.Repeat("1,", 64) + `1]}]`
		if a := s.post("/bc-authorize", ask.with("authorization_details", many)); a.text("error") != "invalid_authorization_details" {
			t.Errorf("more than a page holds: %d %s", a.status, a.raw)
		}
		a := s.post("/bc-authorize", ask.with("acr_values", "urn:assent:acr:session"))
		if a.status != 200 {
			t.Fatalf("a client that may: %d %s", a.status, a.raw)
		}
		handle := a.text("auth_req_id")
		r, err := s.Desk.Request(t.Context(), idOf(handle))
		must(t, err)
		answer := s.answer(r)
		if _, err := s.Desk.Approve(t.Context(), r.ID, answer); err == nil || r.Level != approvals.LevelPasskey {
			t.Fatalf("takes %s, a session gives %v", r.Level.ACR(), err)
		}
		answer.Level, answer.AMR = approvals.LevelPasskey, []string{"hwk", "user"}
		_, err = s.Desk.Approve(t.Context(), r.ID, answer)
		must(t, err)
		got := s.post("/token", tk(handle, "client_id", "curious"))
		if got.status != 200 || !strings.Contains(got.raw, rocket) {
			t.Fatalf("%d %s", got.status, got.raw)
		}
		_, claims := s.verify(t, got.text("access_token"))
		if claims["acr"] != "phr" || claims["disclosure"].(map[string]any)["template"] != "generic" {
			t.Errorf("claims %v", claims)
		}
		if seen := s.post("/introspect", form{"client_id": {"curious"}, "client_secret": {testSecret}, "token": {got.text("access_token")}}); seen.json["single_use"] != true {
			t.Errorf("introspection says %s", seen.raw)
		}
		if doc := s.get("/.well-known/openid-configuration"); strings.Contains(doc.raw, "rocket") || strings.Contains(doc.raw, "generic") {
			t.Errorf("discovery lists what nobody knows: %s", doc.raw)
		}
		s.change(t, "curious", func(a *approvals.Agent) { a.Generic = false })
		if again := s.post("/bc-authorize", ask); again.text("error") != "invalid_authorization_details" {
			t.Errorf("after the switch: %d %s", again.status, again.raw)
		}
		s.change(t, "curious", func(a *approvals.Agent) { a.Generic = true })
		s.Desk.Reach = approvals.LevelSession
		if a := s.post("/bc-authorize", ask); a.text("error") != "invalid_authorization_details" || !strings.Contains(a.raw, "passkey") {
			t.Errorf("where nobody can have a passkey: %d %s", a.status, a.raw)
		}
	})
}

// TestGenericTakenAway is REQ-200: an approval of what nobody knows is not collected once the client may not have that.
func TestGenericTakenAway(t *testing.T) {
	row(t, "REQ-200")
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.Desk.Ceiling = approvals.LevelSession
		s.change(t, "travel", func(a *approvals.Agent) { a.Generic = true })
		handle := s.ask(t, "authorization_details", rocket)
		s.approve(t, handle)
		s.change(t, "travel", func(a *approvals.Agent) { a.Generic = false })
		if a := s.post("/token", tk(handle)); a.text("error") != "invalid_grant" {
			t.Errorf("%d %s", a.status, a.raw)
		}
	})
}
