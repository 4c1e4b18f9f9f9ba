package ciba

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"assent/approvals"
)

// REQ-035 and RFC 7592 section 2: reading, changing, and what a change must not bring.
func TestManageRegistration(t *testing.T) {
	row(t, "REQ-035")
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, selfService)
		token := s.initialToken(t, 2, travelBounds)
		mine, others := s.register(t, token, `"scope":"trips.book","client_name":"One"`), s.register(t, token, `"client_name":"Two"`)
		access := mine.text("registration_access_token")

		read := s.json("GET", place(mine), access, "")
		for name, v := range mine.json {
			if name != "client_secret" && fmt.Sprint(read.json[name]) != fmt.Sprint(v) {
				t.Errorf("GET: %s is %v, want %v", name, read.json[name], v)
			}
		}
		if read.status != 200 || read.json["client_secret"] != nil {
			t.Errorf("GET: %d %s", read.status, read.raw)
		}
		id := `"client_id":"` + mine.text("client_id") + `"`
		for name, body := range map[string]string{
			"no client_id":      `{` + poller + `}`,
			"another client_id": `{"client_id":"` + others.text("client_id") + `",` + poller + `}`,
			"access token":      `{` + id + `,` + poller + `,"registration_access_token":"` + access + `"}`,
			"uri":               `{` + id + `,` + poller + `,"registration_client_uri":"` + mine.text("registration_client_uri") + `"}`,
			"secret's end":      `{` + id + `,` + poller + `,"client_secret_expires_at":0}`,
			"time":              `{` + id + `,` + poller + `,"client_id_issued_at":1}`,
			"secret":            `{` + id + `,` + poller + `,"client_secret":"` + NewSecret() + `"}`,
			"wider":             `{` + id + `,` + poller + `,"scope":"trips.cancel"}`,
			"mode":              `{` + id + `}`,
		} {
			if a := s.json("PUT", place(mine), access, body); a.status != 400 || a.code() != "invalid_client_metadata" {
				t.Errorf("PUT with %s: %d %s", name, a.status, a.raw)
			}
		}
		changed := s.json("PUT", place(mine), access, `{`+id+`,`+poller+`,"client_name":"Three","client_secret":"`+mine.text("client_secret")+`"}`)
		if changed.status != 200 || changed.text("client_name") != "Three" || changed.json["client_secret"] != nil ||
			changed.text("scope") != "trips.book trips.read" || changed.json["client_id_issued_at"] != mine.json["client_id_issued_at"] {
			t.Errorf("PUT: %d %s", changed.status, changed.raw)
		}
		if a := s.post("/bc-authorize", bc("client_id", "", "client_secret", ""), "Authorization",
			basicOf(mine.text("client_id"), mine.text("client_secret"))); a.status != 200 {
			t.Errorf("with the secret from before: %d %s", a.status, a.raw)
		}
		renewed := changed.text("registration_access_token")
		if read := s.json("GET", place(mine), renewed, ""); renewed == access || read.status != 200 || read.text("registration_access_token") != renewed {
			t.Errorf("GET with the new token: %d %s", read.status, read.raw)
		}
		if a := s.json("GET", place(mine), access, ""); a.status != 401 { // it would be told to go on with what ends in a minute
			t.Errorf("GET with the token from before: %d %s", a.status, a.raw)
		}
		lost := s.json("PUT", place(mine), access, `{`+id+`,`+poller+`}`) // whoever has not got the answer tries again
		if lost.status != 200 {
			t.Errorf("PUT with the token from before: %d %s", lost.status, lost.raw)
		}
		access, renewed = renewed, lost.text("registration_access_token")
		time.Sleep(oldToken)
		if a := s.json("PUT", place(mine), access, `{`+id+`,`+poller+`}`); a.status != 401 {
			t.Errorf("the token from before, a minute later: %d", a.status)
		}
		keyed := s.json("PUT", place(mine), renewed, `{`+id+`,`+poller+`,"token_endpoint_auth_method":"private_key_jwt","jwks":`+jwksOf("ES256")+`}`)
		if keyed.status != 200 || keyed.text("assertion_audience") != "strict" || keyed.json["client_secret_expires_at"] != nil {
			t.Errorf("to keys: %d %s", keyed.status, keyed.raw)
		}
		back := s.json("PUT", place(mine), keyed.text("registration_access_token"), `{`+id+`,`+poller+`}`)
		if back.status != 200 || len(back.text("client_secret")) != 43 || back.text("client_secret") == mine.text("client_secret") {
			t.Errorf("back to a secret: %d %s", back.status, back.raw)
		}
	})
}

// REQ-033: a change cannot give a client what only operators give either, and what it leaves out gets its default again.
func TestChangeTakesNoFavours(t *testing.T) {
	row(t, "REQ-033", "REQ-035")
	t.Parallel()
	s := newService(t, selfService)
	mine := s.register(t, s.initialToken(t, 1, travelBounds), `"binding_code":"enter"`)
	id, access := mine.text("client_id"), mine.text("registration_access_token")
	for _, want := range []string{"enter", "compare"} {
		more := map[string]string{"enter": `,"binding_code":"enter"`}[want]
		a := s.json("PUT", place(mine), access, `{"client_id":"`+id+`",`+poller+more+`,"operator":"A Bank","generic_types":true,
		  "acr_enforce":true,"hint_privacy":"blind","poll_hold_seconds":0,"serves_audiences":["https://trips.example/api"]}`)
		if a.status != 200 || a.text("binding_code") != want {
			t.Fatalf("%d %s", a.status, a.raw)
		}
		access = a.text("registration_access_token")
		agent, err := s.Directory.Agent(t.Context(), approvals.AgentID(id))
		must(t, err)
		c, err := ClientOf(agent)
		must(t, err)
		if agent.Operator != "" || agent.Generic || c.EnforceACR || c.HintPrivacy != "" || c.PollHold != nil || c.Serves != nil {
			t.Errorf("it gave itself %+v %+v", agent, c)
		}
		if c.enters() != (want == "enter") {
			t.Errorf("people %s the code: %q", want, c.BindingCode)
		}
	}
}

// TestEveryMemberIsPlaced: a member of [Metadata] is one that clients may say about themselves, or one that they may not.
// Whoever adds one decides here.
func TestEveryMemberIsPlaced(t *testing.T) {
	row(t, "REQ-033")
	others := []string{"client_id", "client_secret", "operator", "generic_types", "poll_hold_seconds", "assertion_lifetime_seconds",
		"login_hint_token_issuers", "hint_privacy", "pure_oauth", "acr_enforce", "dpop_nonce_required", "client_credentials_scopes",
		"serves_audiences", "subject_type"}
	var placed, members []string
	placed = append(append(placed, registrableMembers...), others...)
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Metadata]()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			members = append(members, name)
		}
	}
	slices.Sort(placed)
	slices.Sort(members)
	if !slices.Equal(placed, members) {
		t.Errorf("placed are\n%q, members\n%q", placed, members)
	}
}

// REQ-035: whoever has no good token for this client hears the same, whatever there is.
func TestManageRegistrationRefuses(t *testing.T) {
	row(t, "REQ-035")
	t.Parallel()
	s := newService(t, selfService)
	token := s.initialToken(t, 3, Bounds{})
	mine, others, off := s.register(t, token), s.register(t, token), s.register(t, token)
	agent, err := s.Directory.Agent(t.Context(), approvals.AgentID(off.text("client_id")))
	must(t, err)
	disabled := *agent
	disabled.Disabled = true
	must(t, s.Directory.SaveAgent(t.Context(), &disabled))
	bodies := map[string]bool{}
	for _, method := range []string{"GET", "PUT"} {
		for _, try := range [][2]string{{place(mine), others.text("registration_access_token")}, {place(mine), token}, {place(mine), ""},
			{place(mine), NewSecret()}, {"/register/nobody", NewSecret()}, {"/register/travel", testSecret}, {"/register/", NewSecret()},
			{place(off), off.text("registration_access_token")}, {place(mine), mine.text("client_secret")}} {
			a := s.json(method, try[0], try[1], `{}`)
			bodies[a.raw] = true
			if a.status != 401 || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("%s %s: %d %s", method, try[0], a.status, a.raw)
			}
		}
	}
	if len(bodies) != 1 {
		t.Errorf("answers differ: %q", slices.Collect(maps.Keys(bodies)))
	}
	if a := s.json("POST", place(mine), mine.text("registration_access_token"), "{}"); a.status != 405 || a.header.Get("Allow") != "DELETE, GET, PUT" {
		t.Errorf("POST: %d, Allow %q", a.status, a.header.Get("Allow"))
	}
	if a := s.json("GET", "/register", token, ""); a.status != 405 || a.header.Get("Allow") != "POST" {
		t.Errorf("GET /register: %d, Allow %q", a.status, a.header.Get("Allow"))
	}
}

// REQ-036: what a deleted client has asked is withdrawn, and nothing of it can be collected.
func TestDeleteRegistration(t *testing.T) {
	row(t, "REQ-036")
	t.Parallel()
	s := newService(t, selfService)
	mine := s.register(t, s.initialToken(t, 1, travelBounds))
	auth := basicOf(mine.text("client_id"), mine.text("client_secret"))
	pending := s.post("/bc-authorize", bc("client_id", "", "client_secret", ""), "Authorization", auth).text("auth_req_id")
	access := mine.text("registration_access_token")

	gone := s.json("DELETE", place(mine), access, "")
	if gone.status != http.StatusNoContent || gone.raw != "" || gone.header.Get("Content-Type") != "" {
		t.Fatalf("DELETE: %d %q %v", gone.status, gone.raw, gone.header)
	}
	if a := s.post("/token", tk(pending, "client_id", "", "client_secret", ""), "Authorization", auth); a.status != 401 || a.code() != "invalid_client" {
		t.Errorf("token: %d %s", a.status, a.raw)
	}
	r, err := s.Desk.Request(t.Context(), idOf(pending))
	must(t, err)
	if r.State != approvals.Cancelled {
		t.Errorf("its request is %s", r.State)
	}
	if a := s.json("DELETE", place(mine), access, ""); a.status != 401 {
		t.Errorf("again: %d", a.status)
	}
	if count, err := s.census(t.Context()); err != nil || count.Clients != 0 {
		t.Errorf("counted: %+v, %v", count, err)
	}
}

// A process that dies between the steps of a deletion leaves a client that can be deleted again.
func TestDeleteRegistrationAgain(t *testing.T) {
	t.Parallel()
	s := newService(t, selfService)
	mine := s.register(t, s.initialToken(t, 1, Bounds{}))
	agent, err := s.Directory.Agent(t.Context(), approvals.AgentID(mine.text("client_id")))
	must(t, err)
	disabled := *agent
	disabled.Disabled = true
	must(t, s.Directory.SaveAgent(t.Context(), &disabled))
	if a := s.json("DELETE", place(mine), mine.text("registration_access_token"), ""); a.status != http.StatusNoContent {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// reported has Ann report a new request of a registered client.
func (s *service) reported(t *testing.T, client answer) {
	t.Helper()
	handle := s.post("/bc-authorize", bc("client_id", "", "client_secret", ""), "Authorization",
		basicOf(client.text("client_id"), client.text("client_secret"))).text("auth_req_id")
	r, err := s.Desk.Request(t.Context(), idOf(handle))
	must(t, err)
	_, err = s.Desk.Report(t.Context(), r.ID, s.answer(r))
	must(t, err)
}

// REQ-266: a reported client does not shed its reports by deleting itself and registering again: what it came by is held
// until an operator has looked, and then it is gone.
func TestDeleteReported(t *testing.T) {
	row(t, "REQ-266")
	t.Parallel()
	s := newService(t, selfService)
	token, others := s.initialToken(t, 5, travelBounds), s.initialToken(t, 5, travelBounds)
	mine := s.register(t, token)
	id, access := approvals.AgentID(mine.text("client_id")), mine.text("registration_access_token")
	s.reported(t, mine)
	if a := s.register(t, token); a.status != 201 {
		t.Fatalf("one report holds the token: %d %s", a.status, a.raw)
	}
	for _, want := range []int{204, 401} {
		if a := s.json("DELETE", place(mine), access, ""); a.status != want {
			t.Errorf("DELETE: %d %s, want %d", a.status, a.raw, want)
		}
	}
	for _, method := range []string{"GET", "PUT"} {
		if a := s.json(method, place(mine), access, "{}"); a.status != 401 {
			t.Errorf("%s after it: %d", method, a.status)
		}
	}
	left, err := s.Directory.Agent(t.Context(), id)
	if err != nil || !left.Disabled || left.DisabledWhy != approvals.DisabledDeleted {
		t.Errorf("left of it: %+v, %v", left, err)
	}
	if a := s.register(t, token); a.status != 401 {
		t.Errorf("again with the same token: %d %s", a.status, a.raw)
	}
	if a := s.register(t, others); a.status != 201 {
		t.Errorf("with another one: %d %s", a.status, a.raw)
	}
	if n, err := s.Clear(t.Context(), id); n != 1 || err != nil {
		t.Errorf("clear: %d, %v", n, err)
	}
	if _, err := s.Directory.Agent(t.Context(), id); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("after it: %v", err)
	}
	if count, err := s.census(t.Context()); err != nil || count.Clients != 2 {
		t.Errorf("counted: %+v, %v", count, err)
	}
	if a := s.register(t, token); a.status != 201 {
		t.Errorf("after it: %d %s", a.status, a.raw)
	}
}

// REQ-266: an initial access token registers nobody while a client that came by it is suspended.
func TestSuspendedHoldsToken(t *testing.T) {
	row(t, "REQ-266")
	t.Parallel()
	s := newService(t, selfService)
	token := s.initialToken(t, 5, travelBounds)
	mine := s.register(t, token)
	id := approvals.AgentID(mine.text("client_id"))
	s.reported(t, mine)
	agent, err := s.Directory.Agent(t.Context(), id)
	must(t, err)
	suspended := *agent
	suspended.Disabled, suspended.DisabledWhy = true, approvals.DisabledReported
	must(t, s.Directory.SaveAgent(t.Context(), &suspended))
	if a := s.register(t, token); a.status != 401 {
		t.Errorf("suspended: %d %s", a.status, a.raw)
	}
	_, err = s.Clear(t.Context(), id)
	must(t, err)
	if a := s.register(t, token); a.status != 201 {
		t.Errorf("cleared: %d %s", a.status, a.raw)
	}
}
