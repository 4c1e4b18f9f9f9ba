package ciba

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"assent/approvals"
)

const rightCode = "4711-canary"

// addCoded makes clients that are registered for user codes, and Cid, who has one.
func (s *service) addCoded(t testing.TB) {
	t.Helper()
	for _, id := range []string{"coded", "coded2"} {
		must(t, s.saveAgent(`{"client_id":"`+id+`","client_secret":"`+testSecret+`","backchannel_user_code_parameter":true}`))
	}
	hash, err := hashCode(rightCode, 10)
	must(t, err)
	must(t, s.Directory.SavePerson(context.Background(), &approvals.Person{ID: "p-cid", Name: "Cid", Hints: []string{"cid"}, UserCode: hash}))
}

func coded(code string, pairs ...string) form {
	return bc(append([]string{"client_id", "coded", "login_hint", "cid", "user_code", code}, pairs...)...)
}

// TestUserCode is REQ-123 to 126.
func TestUserCode(t *testing.T) {
	s := newService(t)
	s.addCoded(t)
	tests := []struct {
		row, name string
		form      form
		want      string
	}{
		{"REQ-124", "none", coded(""), "missing_user_code"},
		{"REQ-125", "wrong", coded("4712"), "invalid_user_code"},
		{"REQ-125", "endless", coded(strings.Repeat("x", 129)), "invalid_user_code"},
		{"REQ-125", "right", coded(rightCode), ""},
		{"REQ-126", "person without a code", coded("", "login_hint", "ann"), ""},
		{"REQ-126", "person without a code, and one is sent", coded("any", "login_hint", "ann"), ""},
		{"REQ-126", "client not registered for codes", coded("", "client_id", "travel"), ""},
		{"REQ-123", "client not registered for codes, and one is sent", coded("wrong", "client_id", "travel"), ""},
		{"REQ-083", "unknown person", coded("wrong", "login_hint", "nobody"), "unknown_user_id"},
	}
	for _, tt := range tests {
		t.Run(tt.row+" "+tt.name, func(t *testing.T) {
			row(t, tt.row, "REQ-084")
			before := s.count()
			a := s.post("/bc-authorize", tt.form)
			if a.code() != tt.want || (a.status == 200) != (tt.want == "") {
				t.Errorf("%d %s, want %s", a.status, a.raw, tt.want)
			}
			if s.count() != before && tt.want != "" { // REQ-084
				t.Error("a refused request is stored")
			}
		})
	}
}

// TestUserCodeLock is REQ-127: five wrong codes close the door for all clients, for a quarter of an hour.
func TestUserCodeLock(t *testing.T) {
	row(t, "REQ-127")
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.addCoded(t)
		for i := range maxWrongCodes {
			id := []string{"coded", "coded2"}[i%2]
			if a := s.post("/bc-authorize", coded("wrong", "client_id", id)); a.code() != "invalid_user_code" {
				t.Fatalf("%d: %d %s", i, a.status, a.raw)
			}
			time.Sleep(time.Minute)
		}
		for _, id := range []string{"coded", "coded2"} {
			if a := s.post("/bc-authorize", coded(rightCode, "client_id", id)); a.status != 403 || a.code() != "access_denied" {
				t.Errorf("locked: %d %s", a.status, a.raw)
			}
		}
		if a := s.post("/bc-authorize", bc()); a.status != 200 {
			t.Errorf("another person: %d %s", a.status, a.raw)
		}
		time.Sleep(codeWindow - maxWrongCodes*time.Minute)
		if a := s.post("/bc-authorize", coded(rightCode)); a.status != 200 {
			t.Errorf("afterwards: %d %s", a.status, a.raw)
		}
	})
}

// TestUserCodeRace: guesses at once are counted like guesses in a row.
func TestUserCodeRace(t *testing.T) {
	row(t, "REQ-127")
	s := newService(t)
	s.addCoded(t)
	var guesses atomic.Int32
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			if s.post("/bc-authorize", coded("wrong")).code() == "invalid_user_code" {
				guesses.Add(1)
			}
		})
	}
	wait.Wait()
	if n := guesses.Load(); n != maxWrongCodes {
		t.Errorf("%d guesses", n)
	}
}

// TestHashUserCode is REQ-128: salted, slow, and the code is not in it.
func TestHashUserCode(t *testing.T) {
	t.Parallel()
	row(t, "REQ-128", "REQ-281")
	one, err := HashUserCode(rightCode)
	must(t, err)
	two, err := HashUserCode(rightCode)
	must(t, err)
	if one == two || strings.Contains(one, "4711") || !strings.Contains(one, "$300000$") {
		t.Errorf("%s, %s", one, two)
	}
	for code, want := range map[string]bool{rightCode: true, rightCode + " ": false, "": false} {
		if got, err := codeMatches(one, code); err != nil || got != want {
			t.Errorf("%q: %v, %v", code, got, err)
		}
	}
	for _, bad := range []string{"123", strings.Repeat("1", 129), "12\n34", "12\xff34"} {
		var field *approvals.FieldError
		if _, err := HashUserCode(bad); !errors.As(err, &field) || field.Field != "user_code" || strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, kept := range []string{"", "x", "pbkdf2-sha256$x$$", "pbkdf2-sha256$10$!$!", "bcrypt$1$AAAA$AAAA"} {
		if ok, err := codeMatches(kept, "x"); ok || err == nil {
			t.Errorf("%q: %v, %v", kept, ok, err)
		}
	}
}
