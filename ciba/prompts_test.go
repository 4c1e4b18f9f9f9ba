package ciba

import (
	"testing"
	"testing/synctest"
	"time"

	"assent/approvals"

	"github.com/google/go-cmp/cmp"
)

// TestPromptLimits: the request that is one too many for its person is refused with 403 access_denied, and leaves nothing.
func TestPromptLimits(t *testing.T) {
	row(t, "REQ-264")
	s := newService(t)
	s.Desk.Prompts = approvals.PromptLimits{Open: 2}
	for range 2 {
		s.ask(t)
	}
	a := s.post("/bc-authorize", bc())
	if a.status != 403 || a.code() != "access_denied" {
		t.Errorf("%d %s, want 403 access_denied", a.status, a.raw)
	}
	if n := s.count(); n != 2 {
		t.Errorf("%d requests are stored, want 2", n)
	}
}

// TestShutOut is REQ-266: a client that the person has paused or blocked gets 403 access_denied, in the words of one that
// has asked too often, and only for that person. What it had of the person before is gone as well.
func TestShutOut(t *testing.T) {
	row(t, "REQ-266")
	s := newService(t)
	pending, approved, collected := s.ask(t), s.ask(t), s.ask(t)
	s.approve(t, approved)
	must(t, s.Desk.Pause(t.Context(), "p-ann", "travel", s.Now().Add(time.Hour)))
	paused := s.post("/bc-authorize", bc())
	if paused.status != 403 || paused.code() != "access_denied" {
		t.Errorf("paused: %d %s", paused.status, paused.raw)
	}
	s.approve(t, collected) // those that waited stay
	if a := s.post("/token", tk(collected)); a.status != 200 {
		t.Errorf("collect while paused: %d %s", a.status, a.raw)
	}
	must(t, s.Desk.Resume(t.Context(), "p-ann", "travel"))
	s.ask(t)

	must(t, s.Desk.Disconnect(t.Context(), "p-ann", "travel"))
	blocked := s.post("/bc-authorize", bc())
	s.Desk.Prompts = approvals.PromptLimits{Open: 1}
	s.ask(t, "login_hint", "bob")
	over := s.post("/bc-authorize", bc("login_hint", "bob"))
	for name, a := range map[string]answer{"paused": paused, "too often": over} {
		if diff := cmp.Diff(a.raw, blocked.raw); diff != "" || a.status != blocked.status {
			t.Errorf("blocked and %s differ (-%[1]s +blocked):\n%s", name, diff)
		}
	}
	for name, handle := range map[string]string{"pending": pending, "approved": approved} {
		if a := s.post("/token", tk(handle)); a.status != 400 || a.code() != "access_denied" {
			t.Errorf("%s before the block: %d %s", name, a.status, a.raw)
		}
	}
	must(t, s.Desk.Reconnect(t.Context(), "p-ann", "travel"))
	s.ask(t)
}

// TestShutOutComesNotBack: a refresh token is good no more once the person has disconnected the client (REQ-248, 266).
func TestShutOutComesNotBack(t *testing.T) {
	row(t, "REQ-266")
	s := stays(t)
	first, _ := s.standing(t)
	must(t, s.Desk.Disconnect(t.Context(), "p-ann", "stay"))
	if a := s.post("/token", rt(first.text("refresh_token"))); a.status != 400 || a.code() != "invalid_grant" {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// TestShutOutBlindly: a client that may not know who exists does not learn who has shut it out (REQ-282).
func TestShutOutBlindly(t *testing.T) {
	row(t, "REQ-266", "REQ-282")
	s := newService(t)
	s.addBlind(t)
	must(t, s.Desk.Disconnect(t.Context(), "p-ann", "blind"))
	ask := func(hint string) answer { return s.post("/bc-authorize", bc("client_id", "blind", "login_hint", hint)) }
	blocked, nobody := ask("ann"), ask("nobody")
	if diff := cmp.Diff(shape(blocked), shape(nobody)); diff != "" || s.count() != 0 {
		t.Errorf("%d requests are stored (-blocked +nobody):\n%s", s.count(), diff)
	}
}

// TestRestAfterDenials is REQ-265: after two denials the agent is refused for a while, and only there. Operators shut one
// out for everybody, and it gets 401 then.
func TestRestAfterDenials(t *testing.T) {
	row(t, "REQ-265")
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.Desk.Prompts = approvals.DefaultPromptLimits()
		for range 2 {
			s.deny(t, s.ask(t), "")
		}
		if a := s.post("/bc-authorize", bc()); a.status != 403 || a.code() != "access_denied" {
			t.Errorf("after two denials: %d %s", a.status, a.raw)
		}
		for name, f := range map[string]form{"another person": bc("login_hint", "bob"),
			"another agent": bc("client_id", "other", "client_secret", otherSecret)} {
			if a := s.post("/bc-authorize", f); a.status != 200 {
				t.Errorf("%s: %d %s", name, a.status, a.raw)
			}
		}
		time.Sleep(15 * time.Minute)
		for range 2 {
			s.deny(t, s.ask(t), "")
		}
		time.Sleep(15 * time.Minute)
		if a := s.post("/bc-authorize", bc()); a.status != 403 {
			t.Errorf("the second rest is twice as long: %d %s", a.status, a.raw)
		}
		time.Sleep(15 * time.Minute)
		s.ask(t)
		s.change(t, "travel", func(a *approvals.Agent) { a.Disabled = true })
		if a := s.post("/bc-authorize", bc()); a.status != 401 || a.code() != "invalid_client" {
			t.Errorf("shut out by an operator: %d %s", a.status, a.raw)
		}
	})
}

// TestPromptLimitsBlind: a client that may not know who exists sees no limit either (REQ-282). Nobody is asked, and the
// request looks like one that nobody answers.
func TestPromptLimitsBlind(t *testing.T) {
	row(t, "REQ-282")
	s := newService(t)
	s.addBlind(t)
	s.Desk.Prompts = approvals.PromptLimits{Open: 1}
	ask := func(hint string) answer { return s.post("/bc-authorize", bc("client_id", "blind", "login_hint", hint)) }
	first := ask("ann")
	for range 2 {
		over, nobody := ask("ann"), ask("nobody")
		if diff := cmp.Diff(shape(over), shape(nobody)); diff != "" {
			t.Errorf("over the limit (-known +nobody):\n%s", diff)
		}
		for _, path := range []string{"/token", "/requests/status", "/requests/cancel"} {
			one := s.post(path, tk(over.text("auth_req_id"), "client_id", "blind"))
			two := s.post(path, tk(nobody.text("auth_req_id"), "client_id", "blind"))
			if diff := cmp.Diff(shape(one), shape(two)); diff != "" {
				t.Errorf("%s (-known +nobody):\n%s", path, diff)
			}
		}
	}
	if diff := cmp.Diff(shape(first), shape(ask("nobody"))); diff != "" || s.count() != 1 {
		t.Errorf("%d requests are stored (-asked +nobody):\n%s", s.count(), diff)
	}
}
