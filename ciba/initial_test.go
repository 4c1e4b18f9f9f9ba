package ciba

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// REQ-034: no token, a wrong one, a used, an expired and a revoked one are the same answer.
func TestInitialTokens(t *testing.T) {
	row(t, "REQ-034")
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, selfService)
		twice := s.initialToken(t, 2, Bounds{})
		revoked := s.initialToken(t, 9, Bounds{})
		id, _, _ := strings.Cut(revoked, ".")
		must(t, s.RevokeInitialToken(t.Context(), id))
		expired := s.initialToken(t, 9, Bounds{})
		if a := s.register(t, twice, `"token_endpoint_auth_method":"none"`); a.status != 400 {
			t.Fatalf("refused: %d %s", a.status, a.raw)
		}
		for range 2 { // what was refused has not counted
			if a := s.register(t, twice); a.status != 201 {
				t.Fatalf("use: %d %s", a.status, a.raw)
			}
		}
		time.Sleep(time.Hour)
		var bodies []string
		for name, token := range map[string]string{"none": "", "nonsense": "x", "used": twice, "revoked": revoked, "expired": expired,
			"forged": twice[:16] + "." + NewSecret(), "long": strings.Repeat("x", 4000) + ".x"} {
			a := s.register(t, token)
			bodies = append(bodies, a.raw)
			challenge := a.header.Get("WWW-Authenticate")
			if a.status != 401 || !strings.HasPrefix(challenge, "Bearer ") || strings.Contains(challenge, "error=") != (token != "") {
				t.Errorf("%s: %d %q %s", name, a.status, challenge, a.raw)
			}
		}
		if len(slices.Compact(bodies)) != 1 {
			t.Errorf("answers differ: %q", bodies)
		}
		list, err := s.InitialTokens(t.Context(), "", 10)
		must(t, err)
		if len(list) != 0 {
			t.Errorf("left: %+v", list)
		}
	})
}

// Limits hold per token, per hour and altogether, however many come at once.
func TestRegistrationLimits(t *testing.T) {
	row(t, "REQ-034")
	t.Parallel()
	at := time.Date(2027, 3, 14, 12, 0, 0, 0, time.UTC)
	var mu sync.Mutex
	clock := func(p *Parts) {
		p.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return at }
		p.Register = &Registration{Clients: 6, PerHour: 4}
	}
	s := newService(t, clock)
	new := func(uses int) string {
		_, token, err := s.NewInitialToken(t.Context(), InitialToken{Uses: uses, Expires: at.Add(24 * time.Hour)})
		must(t, err)
		return token
	}
	three := new(3)
	codes := make(chan int, 12)
	for range cap(codes) {
		go func() { codes <- s.register(t, three).status }()
	}
	got := map[int]int{}
	for range cap(codes) {
		got[<-codes]++
	}
	if got[201] > 3 || got[201]+got[401]+got[503] != 12 {
		t.Fatalf("at once: %v", got)
	}
	for got[201] < 3 { // who lost every race comes again
		if s.register(t, three).status != 201 {
			t.Fatal("uses were lost")
		}
		got[201]++
	}
	many := new(20)
	if a := s.register(t, many); a.status != 201 {
		t.Fatalf("fourth: %d %s", a.status, a.raw)
	}
	if a := s.register(t, many); a.status != 429 || a.header.Get("Retry-After") != "3600" {
		t.Errorf("fifth: %d, Retry-After %q", a.status, a.header.Get("Retry-After"))
	}
	mu.Lock()
	at = at.Add(time.Hour)
	mu.Unlock()
	for range 2 {
		if a := s.register(t, many); a.status != 201 {
			t.Errorf("an hour later: %d %s", a.status, a.raw)
		}
	}
	if a := s.register(t, many); a.status != 503 {
		t.Errorf("seventh: %d %s", a.status, a.raw)
	}
}
