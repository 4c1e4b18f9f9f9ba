package ciba

import (
	"testing"

	"assent/approvals"

	"github.com/google/go-cmp/cmp"
)

// TestPromptLimits: the request that is one too many for its person is refused with 403 access_denied, and leaves nothing.
func TestPromptLimits(t *testing.T) {
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
