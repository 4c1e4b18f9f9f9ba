package ciba

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func name(n byte) (out [replaySize]byte) {
	out[0] = n
	return out
}

func openReplay(t *testing.T, path, boot string, now time.Time) *Replay {
	t.Helper()
	r, err := OpenReplay(path, boot, now)
	must(t, err)
	t.Cleanup(func() { must(t, r.Close()) })
	return r
}

// TestReplayRestart is the end of a process and of a machine: what was used stays used, or nothing from before counts.
func TestReplayRestart(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	tests := []struct {
		name   string
		boot   string // of the second start; the first is "one"
		closed bool
		spoil  func([]byte) []byte
		used   bool // is the entry still known
		doubt  bool
	}{
		{name: "process killed", boot: "one", used: true},
		{name: "process ended", boot: "one", closed: true, used: true},
		{name: "machine went down in order", boot: "two", closed: true, used: true},
		{name: "machine crashed", boot: "two", used: true, doubt: true},
		{name: "nobody knows", boot: "", used: true, doubt: true},
		{name: "half an entry", boot: "one", used: true, spoil: func(b []byte) []byte { return append(b, 1, 2, 3) }},
		{name: "emptied", boot: "one", doubt: true, spoil: func([]byte) []byte { return nil }},
		{name: "something else", boot: "one", doubt: true, spoil: func(b []byte) []byte { b[0] = 'x'; return b }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "replay.log")
			first := openReplay(t, path, "one", now)
			if first.unsure(time.Time{}, now) != 0 {
				t.Error("a new log is in doubt")
			}
			must(t, first.use(name(1), now.Add(time.Minute), now))
			if tt.closed {
				must(t, first.Close())
			}
			raw, err := os.ReadFile(path) // what a killed process leaves behind
			must(t, err)
			if tt.spoil != nil {
				raw = tt.spoil(raw)
			}
			copied := filepath.Join(t.TempDir(), "replay.log")
			must(t, os.WriteFile(copied, raw, 0o600))
			second := openReplay(t, copied, tt.boot, now)
			if doubt := second.unsure(now, now) > 0; doubt != tt.doubt {
				t.Errorf("doubt %v", doubt)
			}
			err = second.use(name(1), now.Add(time.Minute), now)
			if errors.Is(err, errReplayed) != tt.used {
				t.Errorf("use: %v", err)
			}
		})
	}
}

// TestReplayDoubt: after an unclean start of the machine, older assertions are put off until they have expired, also
// over further restarts.
func TestReplayDoubt(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	path := filepath.Join(t.TempDir(), "replay.log")
	must(t, os.WriteFile(path, []byte(strings.Repeat("x", 200)), 0o600))
	for range 2 {
		r := openReplay(t, path, "one", now)
		for _, tt := range []struct {
			name       string
			issued, at time.Time
			doubt      bool
		}{
			{"no iat", time.Time{}, now, true},
			{"before the start", now.Add(-time.Minute), now, true},
			{"just after", now.Add(9 * time.Second), now.Add(9 * time.Second), true},
			{"later", now.Add(11 * time.Second), now.Add(11 * time.Second), false},
			{"no iat, later", time.Time{}, now.Add(time.Minute), true},
			{"no iat, when all of them have expired", time.Time{}, now.Add(2 * time.Hour), false},
		} {
			if got := r.unsure(tt.issued, tt.at); got > 0 != tt.doubt {
				t.Errorf("%s: %v", tt.name, got)
			}
		}
		must(t, r.Close())
	}
}

// TestReplayLimit: a full set refuses, and takes again once entries have expired. The log does not grow without end.
func TestReplayLimit(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	path := filepath.Join(t.TempDir(), "replay.log")
	r := openReplay(t, path, "one", now)
	r.limit, r.sweep = 10, 10
	for i := range 10 {
		must(t, r.use(name(byte(i)), now.Add(time.Minute), now))
	}
	var f *fault
	if err := r.use(name(99), now.Add(time.Minute), now); !errors.As(err, &f) || f.status != 503 {
		t.Errorf("full: %v", err)
	}
	for range 100 {
		now = now.Add(2 * time.Minute)
		for i := range 10 {
			must(t, r.use(name(byte(i)), now.Add(time.Minute), now))
		}
	}
	info, err := os.Stat(path)
	must(t, err)
	if info.Size() > replayHeader+20*replayEntry {
		t.Errorf("the log has %d bytes", info.Size())
	}
}

// TestUncleanStart: a good assertion is put off with 503, a bad one is refused all the same.
func TestUncleanStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "replay.log")
	must(t, os.WriteFile(path, nil, 0o600))
	r := openReplay(t, path, "two", time.Now())
	s := newService(t, func(p *Parts) { p.Replay = r })
	s.addKeyed(t)
	a := s.post("/bc-authorize", asserted(bc(), jws(t, "ES256", "ES256", nil, assertionClaims("keyed"))))
	if a.status != 503 || a.code() != "temporarily_unavailable" || a.header.Get("Retry-After") == "" {
		t.Errorf("%d %s %v", a.status, a.raw, a.header)
	}
	forged := jws(t, "other", "ES256", object{"kid": "ES256"}, assertionClaims("keyed"))
	if a := s.post("/bc-authorize", asserted(bc(), forged)); a.status != 401 {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// TestReplayLogFails: what cannot be remembered does not pass.
func TestReplayLogFails(t *testing.T) {
	s := newService(t)
	s.addKeyed(t)
	must(t, s.Replay.file.Close())
	a := s.post("/bc-authorize", asserted(bc(), jws(t, "ES256", "ES256", nil, assertionClaims("keyed"))))
	if a.status != 503 {
		t.Errorf("%d %s", a.status, a.raw)
	}
	s.Replay.file = nil
}

func BenchmarkReplay(b *testing.B) {
	r, err := OpenReplay(filepath.Join(b.TempDir(), "replay.log"), "one", time.Now())
	must(b, err)
	now := time.Now()
	var n [replaySize]byte
	for b.Loop() {
		for i := range n {
			if n[i]++; n[i] != 0 {
				break
			}
		}
		now = now.Add(time.Millisecond)
		must(b, r.use(n, now.Add(time.Minute), now))
	}
	must(b, r.Close())
}
