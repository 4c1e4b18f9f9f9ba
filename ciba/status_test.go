package ciba

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/approvals"
)

// TestStatus: with AO-009, an agent hears of no reason but its own.
func TestStatus(t *testing.T) {
	var details any
	must(t, json.Unmarshal([]byte(payment), &details))
	tests := []struct {
		name string
		act  func(t *testing.T, s *service, handle string)
		want map[string]any
	}{
		{"pending", func(*testing.T, *service, string) {}, map[string]any{"state": "pending", "expires_in": 290.0}},
		{"approved", func(t *testing.T, s *service, handle string) { s.approve(t, handle) },
			map[string]any{"state": "approved", "expires_in": 290.0, "decided_at": "2000-01-01T00:00:10Z", "authorization_details": details}},
		{"redeemed", func(t *testing.T, s *service, handle string) {
			s.approve(t, handle)
			s.post("/token", tk(handle))
		}, map[string]any{"state": "redeemed", "expires_in": 290.0, "decided_at": "2000-01-01T00:00:10Z",
			"ended_at": "2000-01-01T00:00:10Z", "authorization_details": details}},
		{"denied with a note", func(t *testing.T, s *service, handle string) { s.deny(t, handle, `too "much" <b>`) },
			map[string]any{"state": "denied", "expires_in": 290.0, "decided_at": "2000-01-01T00:00:10Z",
				"ended_at": "2000-01-01T00:00:10Z", "note": `too "much" <b>`}},
		{"withdrawn", func(t *testing.T, s *service, handle string) { s.post("/requests/cancel", tk(handle)) },
			map[string]any{"state": "cancelled", "expires_in": 290.0, "ended_at": "2000-01-01T00:00:10Z", "reason": "withdrawn_by_agent"}},
		{"expired", func(*testing.T, *service, string) { time.Sleep(5 * time.Minute) },
			map[string]any{"state": "expired", "expires_in": 0.0, "ended_at": "2000-01-01T00:05:00Z"}},
		{"expired and swept", func(t *testing.T, s *service, _ string) {
			time.Sleep(6 * time.Minute)
			_, err := s.Desk.Sweep(t.Context())
			must(t, err)
		}, map[string]any{"state": "expired", "expires_in": 0.0, "ended_at": "2000-01-01T00:05:00Z"}},
		{"withdrawn by the person", func(t *testing.T, s *service, handle string) { s.end(t, handle, approvals.WithdrawnByPerson) },
			map[string]any{"state": "cancelled", "expires_in": 290.0, "ended_at": "2000-01-01T00:00:10Z"}},
		{"no longer eligible", func(t *testing.T, s *service, handle string) { s.end(t, handle, approvals.NotEligible) },
			map[string]any{"state": "cancelled", "expires_in": 290.0, "ended_at": "2000-01-01T00:00:10Z"}},
		{"quiet hours", func(t *testing.T, s *service, handle string) {
			_, err := s.Desk.Fail(t.Context(), idOf(handle), approvals.QuietTime)
			must(t, err)
		}, map[string]any{"state": "failed", "expires_in": 290.0, "ended_at": "2000-01-01T00:00:10Z"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t)
				handle := s.ask(t, "authorization_details", payment)
				time.Sleep(10 * time.Second)
				tt.act(t, s, handle)
				a := s.post("/requests/status", tk(handle))
				tt.want["request"] = string(idOf(handle))
				tt.want["progress"] = seen(tt.want)
				tt.want["created_at"], tt.want["expires_at"] = "2000-01-01T00:00:00Z", "2000-01-01T00:05:00Z"
				if diff := cmp.Diff(tt.want, a.json); diff != "" || a.status != 200 {
					t.Errorf("%d (-want +got):\n%s", a.status, diff)
				}
				if s.post("/requests/status", tk(handle)).status != 200 { // no poll: nothing is too early
					t.Error("the second status call was refused")
				}
			})
		})
	}
}

// end withdraws a request for a reason that is not its agent's.
func (s *service) end(t *testing.T, handle string, why approvals.Reason) {
	t.Helper()
	_, err := s.Desk.Cancel(t.Context(), idOf(handle), approvals.Actor{Kind: "service"}, why)
	must(t, err)
}

// seen is the progress of a request that nobody was told of.
func seen(status map[string]any) []any {
	line := []any{map[string]any{"stage": "queued", "at": "2000-01-01T00:00:00Z"}}
	if at, decided := status["decided_at"]; decided {
		line = append(line, map[string]any{"stage": "decided", "at": at})
	}
	return line
}

// AO-009: an agent learns that the person was told and has the page open, and never who, how, how often or why. A client
// that must not learn who exists does not even learn that (REQ-282).
func TestStatusProgress(t *testing.T) {
	tests := []struct {
		client string
		want   string
	}{
		{"travel", `[{"stage":"queued","at":"2000-01-01T00:00:00Z"},{"stage":"told","at":"2000-01-01T00:00:03Z"},` +
			`{"stage":"opened","at":"2000-01-01T00:00:06Z"},{"stage":"decided","at":"2000-01-01T00:00:06Z"}]`},
		{"blind", `[{"stage":"queued","at":"2000-01-01T00:00:00Z"},{"stage":"decided","at":"2000-01-01T00:00:06Z"}]`},
	}
	for _, tt := range tests {
		t.Run(tt.client, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t)
				s.addBlind(t)
				handle := s.ask(t, "client_id", tt.client)
				record := func(channel string, status approvals.Status, code, provider string) {
					d := approvals.Delivery{Channel: channel, Attempt: 1, Status: status, Code: code, Provider: provider,
						Why: "next address", At: time.Now()}
					_, err := s.Desk.Record(t.Context(), idOf(handle), d)
					must(t, err)
					time.Sleep(time.Second)
				}
				time.Sleep(time.Second)
				record("push", approvals.StatusFailed, "CANARY-code", "")
				record("web", approvals.StatusHeld, "", "")
				record("sms", approvals.StatusAccepted, "", "CANARY-provider")
				record("sms", approvals.StatusDelivered, "", "")
				record("sms", approvals.StatusRetracted, "", "")
				must(t, s.Desk.Opened(t.Context(), idOf(handle), "p-ann", time.Now()))
				s.approve(t, handle)
				a := s.post("/requests/status", tk(handle, "client_id", tt.client))
				if !strings.Contains(a.raw, `"progress":`+tt.want) {
					t.Errorf("%s\nwant %s", a.raw, tt.want)
				}
				for _, internal := range []string{"CANARY", "sms", "push", "web", "ann", "address"} {
					if strings.Contains(a.raw, internal) {
						t.Errorf("%s is in %s", internal, a.raw)
					}
				}
			})
		})
	}
}

func TestStatusFaults(t *testing.T) {
	s := newService(t)
	handle := s.ask(t)
	for _, path := range []string{"/requests/status", "/requests/cancel"} {
		tests := []struct {
			name string
			body form
			want string
		}{
			{"no handle", tk(handle, "auth_req_id", ""), "invalid_request"},
			{"unknown", tk(handle, "auth_req_id", "x"), "invalid_grant"},
			{"foreign", tk(handle, "client_id", "other", "client_secret", otherSecret), "invalid_grant"},
			{"wrong secret", tk(handle, "client_secret", "x"), "invalid_client"},
			{"no grant", tk(handle, "client_id", "web"), "unauthorized_client"},
		}
		for _, tt := range tests {
			if a := s.post(path, tt.body); a.code() != tt.want {
				t.Errorf("%s %s: %d %s", path, tt.name, a.status, a.raw)
			}
		}
		if a := s.send(path, typeJSON, "{}"); a.code() != "invalid_request" {
			t.Errorf("%s as JSON: %d %s", path, a.status, a.raw)
		}
	}
	if a := s.post("/token", tk(handle)); a.code() != "authorization_pending" {
		t.Errorf("the request after that: %s", a.raw)
	}
}

func TestCancel(t *testing.T) {
	row(t, "REQ-252")
	s := newService(t)
	pending, approved, redeemed := s.ask(t), s.ask(t), s.ask(t)
	s.approve(t, approved)
	s.approve(t, redeemed)
	s.post("/token", tk(redeemed))
	for _, handle := range []string{pending, approved} {
		for range 2 { // once more is no fault
			if a := s.post("/requests/cancel", tk(handle)); a.status != 200 || a.json["state"] != "cancelled" || a.json["reason"] != string(approvals.WithdrawnByAgent) {
				t.Errorf("%d %s", a.status, a.raw)
			}
		}
		if a := s.post("/token", tk(handle)); a.code() != "access_denied" {
			t.Errorf("token: %d %s", a.status, a.raw)
		}
	}
	if a := s.post("/requests/cancel", tk(redeemed)); a.status != 400 || a.code() != "invalid_grant" {
		t.Errorf("redeemed: %d %s", a.status, a.raw)
	}
}

// TestLogOfTheGone: a client that left lowers the line about its leaving, and nothing else.
func TestLogOfTheGone(t *testing.T) {
	var out bytes.Buffer
	s := newService(t, func(p *Parts) {
		p.Log = slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	ctx, leave := context.WithCancel(t.Context())
	leave()
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"its own leaving", fmt.Errorf("read: %w", context.Canceled), "DEBUG"},
		{"done all the same", nil, "INFO"},
		{"the store is broken", fmt.Errorf("write: %w", approvals.ErrUnavailable), "ERROR"},
		{"refused", errGrant, "INFO"},
	}
	for _, tt := range tests {
		out.Reset()
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/token", nil)
		s.Handler.post("token", func(*call) ([]byte, error) { return nil, tt.err })(httptest.NewRecorder(), r)
		if !strings.Contains(out.String(), `"level":"`+tt.want+`"`) {
			t.Errorf("%s: %s", tt.name, out.String())
		}
	}
}

// TestLog: one line a call, without anything that is secret or somebody's.
func TestLog(t *testing.T) {
	row(t, "REQ-123", "REQ-128")
	var out bytes.Buffer
	s := newService(t, func(p *Parts) {
		p.Log = slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	handle := s.ask(t, "login_hint", "ann@example.com", "binding_message", "CANARY-7", "user_code", "canary-code")
	s.post("/token", tk(handle))
	s.post("/requests/status", tk(handle))
	s.post("/bc-authorize", bc("client_secret", "canary-wrong"))
	s.approve(t, handle)
	token := s.post("/token", tk(handle), keyHeader, "canary-key").text("access_token")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 5 {
		t.Errorf("%d lines:\n%s", len(lines), out.String())
	}
	for _, canary := range []string{"anary", "CANARY", "ann@", testSecret, handle[27:], token[20:40]} {
		if strings.Contains(out.String(), canary) {
			t.Errorf("%q is in the log:\n%s", canary, out.String())
		}
	}
	for i, want := range []string{`"INFO"`, `"DEBUG"`, `"DEBUG"`, `"INFO"`, `"INFO"`} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("line %d: %s", i, lines[i])
		}
	}
}
