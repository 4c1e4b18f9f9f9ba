package ciba

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/approvals"
	"assent/ciba/client"
)

// approveLess is a person who takes something away first.
func (s *service) approveLess(t testing.TB, handle string, c approvals.Choice) *approvals.Request {
	t.Helper()
	r, err := s.Desk.Request(t.Context(), idOf(handle))
	must(t, err)
	shown, err := s.Desk.Renderer.DiscloseNarrowed(r, c, r.Locale)
	must(t, err)
	a := s.answer(r)
	a.Digest, a.Choice = shown.Digest(), c
	r, err = s.Desk.Approve(t.Context(), r.ID, a)
	must(t, err)
	return r
}

// raw is one member of a JSON object, byte for byte.
func raw(t testing.TB, object, member string) string {
	t.Helper()
	var all map[string]json.RawMessage
	must(t, json.Unmarshal([]byte(object), &all))
	return string(all[member])
}

// TestPeopleNarrow is REQ-102, 204 and 232: what a person has left of a request is what answer, token, introspection and
// status carry, byte for byte; the agent learns the difference, and may collect less than that and never what was asked.
func TestPeopleNarrow(t *testing.T) {
	row(t, "REQ-102", "REQ-204", "REQ-232")
	const (
		docs  = "[" + docRead + "," + docNote + "]"
		paid  = `[{"creditorName":"Example Travel","instructedAmount":{"amount":"300.00","currency":"EUR"},"type":"payment_initiation"}]`
		share = `[{"type":"document_access","identifier":"a<b","actions":["read","share"]}]`
		read  = `[{"actions":["read"],"identifier":"a<b","type":"document_access"}]`
	)
	part := func(n int, p approvals.Part) approvals.Choice {
		return approvals.Choice{Parts: map[int]approvals.Part{n: p}}
	}
	tests := []struct {
		name, asked, granted string
		choice               approvals.Choice
		template             string
	}{
		{"amount", `[{"type":"payment_initiation","instructedAmount":{"currency":"EUR","amount":"480.00"},"creditorName":"Example Travel"}]`,
			paid, part(0, approvals.Part{Amount: "300.00"}), "payment_initiation"},
		{"object", docs, "[" + docNote + "]", part(0, approvals.Part{Leave: true}), "document_access"},
		{"list", share, read, part(0, approvals.Part{Keep: []string{"read"}}), "document_access"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newService(t)
			handle := s.ask(t, "authorization_details", tt.asked)
			decided := s.approveLess(t, handle, tt.choice)
			if a := s.post("/token", tk(handle, "authorization_details", tt.asked)); a.code() != "invalid_authorization_details" {
				t.Errorf("what was asked can be collected: %d %s", a.status, a.raw)
			}
			status := s.post("/requests/status", tk(handle))
			if raw(t, status.raw, "authorization_details") != tt.granted || status.json["decision"] != "narrowed" ||
				raw(t, status.raw, "requested_authorization_details") != tt.asked {
				t.Errorf("status %s", status.raw)
			}
			a := s.post("/token", tk(handle, "authorization_details", tt.granted))
			if a.status != 200 || raw(t, a.raw, "authorization_details") != tt.granted || a.json["decision"] != "narrowed" {
				t.Fatalf("token response: %d %s", a.status, a.raw)
			}
			_, claims := s.verify(t, a.text("access_token"))
			inside := s.post("/introspect", form{"client_id": {"travel"}, "client_secret": {testSecret}, "token": {a.text("access_token")}})
			for from, got := range map[string]any{"token": claims["authorization_details"], "introspection": inside.json["authorization_details"]} {
				if diff := cmp.Diff(a.json["authorization_details"], got); diff != "" {
					t.Errorf("%s (-answer +got): %s", from, diff)
				}
			}
			said := claims["disclosure"].(map[string]any)
			if said["digest"] != decided.Decisions[0].Digest || said["template"] != tt.template || said["version"] != 1.0 {
				t.Errorf("disclosure %v", said)
			}
		})
	}
}

// TestNarrowedStanding: a shorter time ends refresh tokens sooner, and refusing to be come back on gives none.
func TestNarrowedStanding(t *testing.T) {
	tests := []struct {
		lasts approvals.Lasting
		gets  bool
		life  time.Duration // of the first refresh token, within a minute
	}{{approvals.LastsOnce, false, 0}, {approvals.LastsDay, true, day}, {approvals.LastsWeek, true, 7 * day}}
	for _, tt := range tests {
		t.Run(string(tt.lasts), func(t *testing.T) {
			s := stays(t)
			handle := s.ask(t, "client_id", "stay", "scope", "openid offline_access", "authorization_details", "["+docRead+"]")
			r := s.approveLess(t, handle, approvals.Choice{Lasts: tt.lasts})
			status := s.post("/requests/status", tk(handle, "client_id", "stay"))
			if status.json["requested_until"] != stamp(r.UntilAsked) || status.text("approved_until") != stamp(r.Until) ||
				status.json["decision"] != "narrowed" {
				t.Errorf("status %s", status.raw)
			}
			a := s.post("/token", tk(handle, "client_id", "stay"))
			token := a.text("refresh_token")
			if a.status != 200 || isRefresh(token) != tt.gets || strings.Contains(a.text("scope"), offlineAccess) != tt.gets {
				t.Fatalf("%d %s", a.status, a.raw)
			}
			if !tt.gets {
				return
			}
			rec, err := s.store.Get(t.Context(), kindRefresh, string(r.ID))
			must(t, err)
			if off := rec.Expires.Sub(r.DecideBy.Add(tt.life)); off != 0 {
				t.Errorf("refresh tokens end %v off", off)
			}
			again := s.post("/token", rt(token))
			if again.status != 200 || again.json["decision"] != "narrowed" {
				t.Errorf("coming back: %d %s", again.status, again.raw)
			}
		})
	}
}

// TestNarrowedAndRepeated: the answer that got lost says the same once more.
func TestNarrowedAndRepeated(t *testing.T) {
	s := newService(t)
	handle := s.ask(t, "authorization_details", payment)
	s.approveLess(t, handle, approvals.Choice{Parts: map[int]approvals.Part{0: {Amount: "1.00"}}})
	first := s.post("/token", tk(handle), "Idempotency-Key", "k")
	again := s.post("/token", tk(handle), "Idempotency-Key", "k")
	if first.status != 200 || first.raw != again.raw || first.json["decision"] != "narrowed" {
		t.Errorf("%s\n%s", first.raw, again.raw)
	}
}

// TestGoClientLearnsLess: our client has the difference beside the token.
func TestGoClientLearnsLess(t *testing.T) {
	s := newService(t)
	c, err := client.New(t.Context(), client.Config{Issuer: testIssuer, ID: "travel", Secret: testSecret, HTTP: &http.Client{Transport: s}})
	must(t, err)
	for _, less := range []bool{true, false} {
		w, err := c.Ask(t.Context(), client.Ask{Hint: "ann", Details: json.RawMessage(payment)})
		must(t, err)
		if less {
			s.approveLess(t, w.Handle, approvals.Choice{Parts: map[int]approvals.Part{0: {Amount: "1.00"}}})
		} else {
			s.approve(t, w.Handle)
		}
		token, err := c.Wait(t.Context(), w)
		must(t, err)
		if less && (token.Decision != "narrowed" || string(token.Requested) != payment || !strings.Contains(string(token.Details), `"1.00"`)) ||
			!less && (token.Decision != "" || token.Requested != nil || string(token.Details) != payment) {
			t.Errorf("less: %v, token %+v", less, token.Difference)
		}
	}
}

// TestNoteIsHarmless: what a person writes with a no cannot play with the screen on which an agent shows it.
func TestNoteIsHarmless(t *testing.T) {
	s := newService(t)
	handle := s.ask(t)
	s.deny(t, handle, "예산을 넘어요.\n\u202e\x1b[2J<b>")
	if a := s.post("/requests/status", tk(handle)); a.json["note"] != "예산을 넘어요.\n⟨U+202E⟩⟨U+001B⟩[2J<b>" {
		t.Errorf("%s", a.raw)
	}
}
