package ciba

import (
	"context"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"assent/approvals"
)

// TestPace walks polls that are never held. Times are seconds since the request.
func TestPace(t *testing.T) {
	t.Parallel()
	type poll struct {
		at    float64
		code  string
		retry string
	}
	const wait, slow, bad = "authorization_pending", "slow_down", "invalid_request"
	tests := []struct {
		row, name string
		polls     []poll
	}{
		{"REQ-184", "first poll at once", []poll{{0, wait, "2"}}},
		{"REQ-185", "exactly the interval", []poll{{0, wait, "2"}, {2, wait, "2"}, {4, wait, "2"}}},
		{"REQ-185", "500 ms early is in time", []poll{{0, wait, "2"}, {1.5, wait, "2"}, {3.0, wait, "2"}}},
		{"REQ-185", "earlier is not", []poll{{0, wait, "2"}, {1.499, slow, "7"}}},
		{"REQ-186", "sticky, five seconds each", []poll{{0, wait, "2"}, {1, slow, "7"}, {5, slow, "12"}, {17, wait, "12"}, {29, wait, "12"}, {36, slow, "17"}}},
		{"REQ-186", "as told, then fine", []poll{{0, wait, "2"}, {1, slow, "7"}, {8, wait, "7"}, {15, wait, "7"}}},
		{"REQ-186", "cap", []poll{{0, wait, "2"}, {1, slow, "7"}, {2, slow, "12"}, {3, slow, "17"}, {4, slow, "22"}, {5, slow, "27"},
			{6, slow, "32"}, {7, slow, "37"}, {8, slow, "42"}, {9, slow, "47"}, {10, slow, "52"}, {11, bad, "57"}, {12, bad, "60"}, {13, bad, "60"}, {73, bad, "60"}}},
		{"REQ-189", "ten times too early in a row", []poll{{0, wait, "2"}, {1, slow, "7"}, {2, slow, "12"}, {3, slow, "17"}, {4, slow, "22"}, {5, slow, "27"},
			{6, slow, "32"}, {7, slow, "37"}, {8, slow, "42"}, {9, slow, "47"}, {10, slow, "52"}, {62, wait, "52"}, {63, slow, "57"}, {120, wait, "57"}}},
		{"REQ-189", "eleven times", []poll{{0, wait, "2"}, {1, slow, "7"}, {1, slow, "12"}, {1, slow, "17"}, {1, slow, "22"}, {1, slow, "27"},
			{1, slow, "32"}, {1, slow, "37"}, {1, slow, "42"}, {1, slow, "47"}, {1, slow, "52"}, {1, bad, "57"}, {100, bad, "57"}}},
		{"REQ-188", "hammering moves the mark", []poll{{0, wait, "2"}, {1, slow, "7"}, {2, slow, "12"}, {9, slow, "17"}, {20, slow, "22"}, {42, wait, "22"}}},
		{"REQ-186", "sticky over a long pause", []poll{{0, wait, "2"}, {1, slow, "7"}, {200, wait, "7"}, {205, slow, "12"}}},
	}
	for _, tt := range tests {
		t.Run(tt.row+" "+tt.name, func(t *testing.T) {
			row(t, tt.row, "REQ-187", "REQ-190")
			synctest.Test(t, func(t *testing.T) {
				s := newService(t)
				handle := s.ask(t)
				start := time.Now()
				for _, p := range tt.polls {
					time.Sleep(time.Until(start.Add(time.Duration(p.at * float64(time.Second)))))
					a := s.post("/token", tk(handle), "Prefer", "wait=0")
					if a.code() != p.code || a.header.Get("Retry-After") != p.retry || a.status != 400 { // REQ-187
						t.Errorf("at %v: %d %s, Retry-After %s; want %s, %s", p.at, a.status, a.code(), a.header.Get("Retry-After"), p.code, p.retry)
					}
				}
				s.approve(t, handle)
				if a := s.post("/token", tk(handle)); a.status != 200 { // REQ-190
					t.Errorf("after approval: %d %s", a.status, a.raw)
				}
			})
		})
	}
}

// TestPaceModel holds random polls against the rules in their plainest form, through every sweep.
func TestPaceModel(t *testing.T) {
	row(t, "REQ-185", "REQ-186", "REQ-188")
	rapid.Check(t, func(t *rapid.T) {
		p, at := newPace(), time.Unix(0, 0)
		end := at.Add(24 * time.Hour)
		step, last := 2*time.Second, time.Time{}
		for i, gap := range rapid.SliceOfN(rapid.IntRange(0, 90_000), 1, 60).Draw(t, "gaps in ms") {
			at = at.Add(time.Duration(gap) * time.Millisecond)
			early := i > 0 && at.Sub(last) < step-500*time.Millisecond
			if early {
				step = min(step+5*time.Second, time.Minute)
			}
			got := p.arrive("a", at, end)
			if got.early != early || got.seconds != int(step/time.Second) {
				t.Fatalf("poll %d after %d ms: %+v, want early %v, %v", i, gap, got, early, step)
			}
			last = at
		}
	})
}

// TestPaceForgets: marks go when they say nothing any more, and raised intervals stay.
func TestPaceForgets(t *testing.T) {
	p, start := newPace(), time.Now()
	end := start.Add(time.Hour)
	p.arrive("a", start, end)
	p.arrive("b", start, end)
	p.arrive("b", start, end) // too early: raised
	s := p.shard("a")
	s.sweep(start.Add(5 * time.Minute))
	p.shard("b").sweep(start.Add(5 * time.Minute))
	if len(s.marks) != 0 && s != p.shard("b") || p.shard("b").marks["b"] == nil {
		t.Error("the wrong mark went")
	}
	p.shard("b").sweep(end)
	if p.shard("b").marks["b"] != nil {
		t.Error("a mark outlived its request")
	}
}

// held is a poll that may take a while.
type held struct {
	answer
	took time.Duration
}

func (s *service) poll(handle string, headers ...string) <-chan held {
	done := make(chan held, 1)
	go func() {
		start := time.Now()
		a := s.post("/token", tk(handle), headers...)
		done <- held{a, time.Since(start)}
	}()
	return done
}

// TestHold is REQ-191 and design: how long which poll is held when nobody answers.
func TestHold(t *testing.T) {
	t.Parallel()
	row(t, "REQ-191")
	holder := []string{"client_id", "holder"}
	tests := []struct {
		name   string
		client []string
		before time.Duration // since the poll before; 0: this is the first
		prefer string
		want   time.Duration
	}{
		{"first poll", nil, 0, "", 0},
		{"second poll", nil, 2 * time.Second, "", 3 * time.Second},
		{"poll after 10 s", nil, 10 * time.Second, "", 3 * time.Second},
		{"poll after a pause", nil, 11 * time.Second, "", 0},
		{"first poll, wait=10", nil, 0, "wait=10", 10 * time.Second},
		{"wait=99 is cut", nil, 2 * time.Second, "wait=99", 25 * time.Second},
		{"wait=0", nil, 2 * time.Second, "wait=0", 0},
		{"broken wait", nil, 2 * time.Second, "wait=x", 3 * time.Second},
		{"client with 20 s", holder, 0, "", 20 * time.Second},
		{"client with 20 s, wait=1", holder, 25 * time.Second, "wait=1", time.Second},
		{"client with 0 s", []string{"client_id", "nohold"}, 2 * time.Second, "", 0},
		{"client with 0 s, wait=4", []string{"client_id", "nohold"}, 2 * time.Second, "wait=4", 4 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t)
				handle := s.ask(t, tt.client...)
				if tt.before > 0 {
					s.post("/token", tk(handle, tt.client...), "Prefer", "wait=0")
					time.Sleep(tt.before)
				}
				var headers []string
				if tt.prefer != "" {
					headers = []string{"Prefer", tt.prefer}
				}
				start := time.Now()
				a := s.post("/token", tk(handle, tt.client...), headers...)
				if took := time.Since(start); took != tt.want || a.code() != "authorization_pending" {
					t.Errorf("held %v, want %v: %s", took, tt.want, a.raw)
				}
			})
		})
	}
}

// TestHoldEnds: a held poll answers the moment there is something to say.
func TestHoldEnds(t *testing.T) {
	row(t, "REQ-191", "REQ-192")
	tests := []struct {
		name string
		act  func(t *testing.T, s *service, handle string)
		want string
	}{
		{"approved", func(t *testing.T, s *service, handle string) { s.approve(t, handle) }, ""},
		{"denied", func(t *testing.T, s *service, handle string) { s.deny(t, handle, "") }, "access_denied"},
		{"withdrawn", func(t *testing.T, s *service, handle string) { s.post("/requests/cancel", tk(handle)) }, "access_denied"},
		{"service stops", func(t *testing.T, s *service, handle string) { s.Close() }, "authorization_pending"},
		{"early poll", func(t *testing.T, s *service, handle string) { // it is never held, and the held one stays
			if a := s.post("/token", tk(handle), "Prefer", "wait=20"); a.code() != "slow_down" {
				t.Errorf("early poll: %s", a.raw)
			}
			s.approve(t, handle)
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t)
				handle := s.ask(t)
				done := s.poll(handle, "Prefer", "wait=20")
				time.Sleep(time.Second)
				tt.act(t, s, handle)
				got := <-done
				if got.code() != tt.want || got.took != time.Second || tt.want == "" && got.status != 200 {
					t.Errorf("after %v: %d %s", got.took, got.status, got.raw)
				}
			})
		})
	}
}

// TestHoldReplaced: an overlapping poll in time takes the place of the held one, without penalty.
func TestHoldReplaced(t *testing.T) {
	row(t, "REQ-192")
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		handle := s.ask(t)
		first := s.poll(handle, "Prefer", "wait=20")
		time.Sleep(2 * time.Second)
		second := s.poll(handle, "Prefer", "wait=20")
		if got := <-first; got.code() != "authorization_pending" || got.took != 2*time.Second {
			t.Errorf("first: %v %s", got.took, got.raw)
		}
		time.Sleep(3 * time.Second)
		s.approve(t, handle)
		if got := <-second; got.status != 200 || got.took != 3*time.Second {
			t.Errorf("second: %v %s", got.took, got.raw)
		}
	})
}

// TestHoldUntilExpiry: a poll that outlives its request says so at once.
func TestHoldUntilExpiry(t *testing.T) {
	row(t, "REQ-191", "REQ-193")
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		handle := s.ask(t, "requested_expiry", "10")
		if got := <-s.poll(handle, "Prefer", "wait=25"); got.code() != "expired_token" || got.took != 10*time.Second {
			t.Errorf("after %v: %s", got.took, got.raw)
		}
	})
}

// TestHoldBackstop: when another process decides and its signal is lost, the poll still hears of it within a second.
func TestHoldBackstop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, sharedStore)
		handle := s.ask(t)
		done := s.poll(handle, "Prefer", "wait=20")
		time.Sleep(1500 * time.Millisecond)
		elsewhere := approvals.NewDesk(approvals.DeskParts{Store: s.store, Records: s.store, Directory: s.Directory,
			Hub: approvals.NewHub(), Hash: s.hash, Now: time.Now, Log: s.Log})
		r, err := elsewhere.Request(t.Context(), idOf(handle))
		must(t, err)
		_, err = elsewhere.Approve(t.Context(), r.ID, s.answer(r))
		must(t, err)
		if got := <-done; got.status != 200 || got.took > 2500*time.Millisecond {
			t.Errorf("after %v: %d %s", got.took, got.status, got.raw)
		}
	})
}

// TestHoldDisconnect: a client that goes away frees its held poll, over a real connection.
func TestHoldDisconnect(t *testing.T) {
	row(t, "REQ-191")
	s := newService(t)
	ended := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.ServeHTTP(w, r)
		if r.URL.Path == "/token" {
			close(ended)
		}
	}))
	t.Cleanup(server.Close)
	handle := s.ask(t)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/token", strings.NewReader(tk(handle).String()))
	must(t, err)
	r.Header.Set("Content-Type", typeForm)
	r.Header.Set("Prefer", "wait=25")
	go func() {
		for s.holding(handle) == nil { // until it is held
			select {
			case <-ended:
				return
			default:
				runtime.Gosched()
			}
		}
		cancel()
	}()
	if resp, err := http.DefaultClient.Do(r); err == nil {
		t.Errorf("status %d", resp.StatusCode)
		resp.Body.Close()
	}
	<-ended
	if s.holding(handle) != nil {
		t.Error("the poll is still held")
	}
}

func (s *service) holding(handle string) chan struct{} {
	shard := s.pace.shard(idOf(handle))
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if m := shard.marks[idOf(handle)]; m != nil {
		return m.held
	}
	return nil
}

// TestHoldOutlivesWriteTimeout: the write deadline moves with the hold, and the connection serves on.
func TestHoldOutlivesWriteTimeout(t *testing.T) {
	t.Parallel()
	s := newService(t)
	server := httptest.NewUnstartedServer(s)
	server.Config.WriteTimeout = 200 * time.Millisecond
	server.Start()
	t.Cleanup(server.Close)
	handle := s.ask(t)
	for range 2 {
		r, err := http.NewRequest(http.MethodPost, server.URL+"/token", strings.NewReader(tk(handle).String()))
		must(t, err)
		r.Header.Set("Content-Type", typeForm)
		r.Header.Set("Prefer", "wait=1")
		resp, err := server.Client().Do(r)
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != 400 {
			t.Errorf("status %d", resp.StatusCode)
		}
	}
}
