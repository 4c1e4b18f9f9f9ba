package ciba

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/approvals"
)

func (s *service) addBlind(t testing.TB) {
	t.Helper()
	for _, id := range []string{"blind", "blind2"} {
		must(t, s.saveAgent(`{"client_id":"`+id+`","client_secret":"`+testSecret+`","hint_privacy":"blind"}`))
	}
}

// shape is an answer without what differs from one request to the next.
func shape(a answer) map[string]any {
	out := map[string]any{"status": a.status, "retry": a.header.Get("Retry-After")}
	for name, v := range a.json {
		if !slices.Contains([]string{"auth_req_id", "request", "created_at", "expires_at", "ended_at"}, name) {
			out[name] = v
		}
	}
	return out
}

// TestBlind is REQ-282: from first to last, a client that may not know who exists sees the same.
func TestBlind(t *testing.T) {
	row(t, "REQ-282")
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.addBlind(t)
		open := func(hint string) string {
			t.Helper()
			a := s.post("/bc-authorize", bc("client_id", "blind", "login_hint", hint, "requested_expiry", "60"))
			if a.status != 200 {
				t.Fatalf("%s: %d %s", hint, a.status, a.raw)
			}
			return a.text("auth_req_id")
		}
		real, nobody, disabled := open("ann"), open("nobody"), open("eve")
		withdrawn, nothing := open("ann"), open("nobody")
		if n := s.count(); n != 2 {
			t.Errorf("%d requests are stored, and people asked", n)
		}
		if len(real) != len(nobody) {
			t.Errorf("%q and %q", real, nobody)
		}
		same := func(what, path string, one, two string, headers ...string) {
			t.Helper()
			a := shape(s.post(path, tk(one, "client_id", "blind"), headers...))
			b := shape(s.post(path, tk(two, "client_id", "blind"), headers...))
			if diff := cmp.Diff(a, b); diff != "" {
				t.Errorf("%s (-real +decoy):\n%s", what, diff)
			}
		}
		for _, fake := range []string{nobody, disabled} {
			one := open("ann")
			same("first poll", "/token", one, fake)
			same("too early", "/token", one, fake)
			same("status", "/requests/status", one, fake)
		}
		time.Sleep(30 * time.Second)
		same("poll", "/token", real, open("nobody"))
		same("held poll", "/token", open("ann"), open("nobody"), "Prefer", "wait=3")
		same("withdraw", "/requests/cancel", withdrawn, nothing)
		same("withdraw again", "/requests/cancel", withdrawn, nothing)
		same("withdrawn", "/token", withdrawn, nothing)
		same("withdrawn", "/requests/status", withdrawn, nothing)
		time.Sleep(time.Minute)
		same("expired", "/token", real, nobody)
		same("withdraw what has expired", "/requests/cancel", real, nobody)
		for range 2 { // before and after the desk has noticed
			same("expired", "/requests/status", real, nobody)
			for _, handle := range []string{real, nobody} {
				a := s.post("/requests/status", tk(handle, "client_id", "blind"))
				if a.text("ended_at") != a.text("expires_at") {
					t.Errorf("expired: %s", a.raw)
				}
			}
			_, err := s.Desk.Sweep(t.Context())
			must(t, err)
		}
		if a := s.post("/token", tk(nobody, "client_id", "blind")); a.code() != "expired_token" {
			t.Errorf("%d %s", a.status, a.raw)
		}
	})
}

// TestDecoyIsTheClientsOwn: a decoy answers its client with its secret, and nobody else (REQ-180).
func TestDecoyIsTheClientsOwn(t *testing.T) {
	row(t, "REQ-180", "REQ-278", "REQ-282")
	s := newService(t)
	s.addBlind(t)
	handle := s.post("/bc-authorize", bc("client_id", "blind", "login_hint", "nobody")).text("auth_req_id")
	for name, f := range map[string]form{
		"other blind client": tk(handle, "client_id", "blind2"),
		"other client":       tk(handle),
		"wrong secret":       tk(handle[:27]+strings.Repeat("A", 43), "client_id", "blind"),
	} {
		for _, path := range []string{"/token", "/requests/status", "/requests/cancel"} {
			if a := s.post(path, f); a.code() != "invalid_grant" {
				t.Errorf("%s at %s: %d %s", name, path, a.status, a.raw)
			}
		}
	}
	rec, err := s.store.Get(t.Context(), kindDecoy, string(idOf(handle)))
	must(t, err)
	if strings.Contains(string(rec.Value), handle[27:]) || rec.Expires.IsZero() { // REQ-278
		t.Errorf("%s until %v", rec.Value, rec.Expires)
	}
}

// TestDecoyOnce: an Idempotency-Key and a request object mean the same with a decoy.
func TestDecoyOnce(t *testing.T) {
	s := newService(t)
	s.addBlind(t)
	f := bc("client_id", "blind", "login_hint", "nobody")
	first := s.post("/bc-authorize", f, "Idempotency-Key", "k")
	again := s.post("/bc-authorize", f, "Idempotency-Key", "k")
	if first.status != 200 || first.raw != again.raw {
		t.Errorf("%d %s, then %d %s", first.status, first.raw, again.status, again.raw)
	}
	must(t, s.saveAgent(`{"client_id":"both","client_secret":"`+testSecret+`","hint_privacy":"blind",
		"backchannel_authentication_request_signing_alg":"ES256","jwks":`+jwksOf("ES256")+`}`))
	text := jws(t, "ES256", "ES256", nil, objectClaims("both", "login_hint", "nobody"))
	if a := s.post("/bc-authorize", ro("both", text)); a.status != 200 {
		t.Errorf("%d %s", a.status, a.raw)
	}
	if a := s.post("/bc-authorize", ro("both", text)); a.code() != "invalid_request" {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// TestDecoysAreBounded: nobody can be asked for without end either, and a client that has its fill hears so whoever it
// asks for.
func TestDecoysAreBounded(t *testing.T) {
	row(t, "REQ-282")
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.addBlind(t)
		s.Desk.Terms.MaxOpen = 3
		open := func(id, hint string, want int) {
			t.Helper()
			if a := s.post("/bc-authorize", bc("client_id", id, "login_hint", hint, "requested_expiry", "60")); a.status != want {
				t.Errorf("%s, %s: %d %s", id, hint, a.status, a.raw)
			}
		}
		full := errTooMany.status
		for range 3 {
			open("blind", "nobody", 200)
			open("blind2", "ann", 200)
		}
		open("blind", "nobody", full)
		open("blind2", "ann", full)
		open("blind2", "nobody", full)
		time.Sleep(time.Minute)
		open("blind", "nobody", 200)
	})
}

// TestDecoysGiveTheirPlace: as with real requests, what was withdrawn, or never made, takes no place.
func TestDecoysGiveTheirPlace(t *testing.T) {
	row(t, "REQ-282")
	for _, hint := range []string{"ann", "nobody"} {
		t.Run(hint, func(t *testing.T) {
			s := newService(t)
			s.addBlind(t)
			s.Desk.Terms.MaxOpen = 1
			f := bc("client_id", "blind", "login_hint", hint)
			for range 3 {
				a := s.post("/bc-authorize", f)
				if a.status != 200 {
					t.Fatalf("%d %s", a.status, a.raw)
				}
				for range 2 {
					s.post("/requests/cancel", tk(a.text("auth_req_id"), "client_id", "blind"))
				}
			}
			if s.post("/bc-authorize", f).status != 200 || s.post("/bc-authorize", f).status != errTooMany.status {
				t.Error("a place was given back twice")
			}
		})
	}
}

// TestDecoyCannotBeDecided: there is nothing that a person could be shown or asked.
func TestDecoyCannotBeDecided(t *testing.T) {
	s := newService(t)
	s.addBlind(t)
	handle := s.post("/bc-authorize", bc("client_id", "blind", "login_hint", "nobody")).text("auth_req_id")
	if _, err := s.Desk.Approve(t.Context(), idOf(handle), approvals.Answer{By: "p-ann"}); err == nil {
		t.Error("it was approved")
	}
}
