package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// script is a server that answers polls with one line after the other: a code, a Retry-After, how long it is held.
type script struct {
	t       *testing.T
	answers []reply
	seen    []time.Duration // since the start
	start   time.Time
	state   string // what the status endpoint says
	note    string
	keys    map[string]bool
	prefer  string
	ack     func(n int) (*http.Response, error) // instead of the usual acknowledgement
}

type reply struct {
	code  string // an OAuth error, "" for a token, "lost" for a broken connection, "html" for nonsense
	retry string
	hold  time.Duration
}

const discovery = `{"issuer":"https://s.example","backchannel_authentication_endpoint":"https://s.example/bc",` +
	`"token_endpoint":"https://s.example/t","backchannel_token_delivery_modes_supported":["poll","ping"],"assent_status_endpoint":"https://s.example/s","assent_cancel_endpoint":"https://s.example/c"}`

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet {
		return respond(200, discovery, ""), nil
	}
	if s.ack != nil && r.URL.Path == "/bc" {
		s.seen = append(s.seen, time.Since(s.start))
		s.keys[r.Header.Get("Idempotency-Key")] = true
		return s.ack(len(s.seen))
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || form.Get("client_id") != "travel" || form.Get("client_secret") != "s3cret" {
		s.t.Errorf("form %q", body)
	}
	switch r.URL.Path {
	case "/bc":
		return respond(200, `{"auth_req_id":"h","expires_in":60,"interval":2}`, ""), nil
	case "/s":
		return respond(200, `{"state":"`+s.state+`","note":"`+s.note+`"}`, ""), nil
	case "/c":
		return respond(400, `{"error":"invalid_grant","error_description":"ended"}`, ""), nil
	}
	return s.poll(r)
}

func (s *script) poll(r *http.Request) (*http.Response, error) {
	s.keys[r.Header.Get("Idempotency-Key")] = true
	if r.Header.Get("Prefer") != s.prefer {
		s.t.Errorf("Prefer: %q", r.Header.Get("Prefer"))
	}
	s.seen = append(s.seen, time.Since(s.start))
	next := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	select {
	case <-time.After(next.hold):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	switch next.code {
	case "":
		return respond(200, `{"access_token":"at","token_type":"Bearer","expires_in":300,"scope":"trips","authorization_details":[{"a": 1}]}`, ""), nil
	case "lost":
		return nil, errors.New("connection reset")
	case "html":
		return respond(502, "<html>", next.retry), nil
	case "server_error":
		return respond(503, `{"error":"server_error"}`, next.retry), nil
	}
	return respond(400, `{"error":"`+next.code+`","error_description":"d"}`, next.retry), nil
}

func respond(status int, body, retry string) *http.Response {
	h := http.Header{"Content-Type": {"application/json"}}
	if retry != "" {
		h.Set("Retry-After", retry)
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

func start(t *testing.T, answers ...reply) (*script, *Client, *Waiting) {
	t.Helper()
	return startIn(t, false, answers...)
}

func startIn(t *testing.T, ping bool, answers ...reply) (*script, *Client, *Waiting) {
	t.Helper()
	s := &script{t: t, answers: answers, start: time.Now(), state: "denied", keys: map[string]bool{}, prefer: "wait=25"}
	if ping {
		s.prefer = "wait=0"
	}
	c, err := New(t.Context(), Config{Issuer: "https://s.example", ID: "travel", Secret: "s3cret", Ping: ping,
		HTTP: &http.Client{Transport: s}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.Ask(t.Context(), Ask{Hint: "ann", Scope: "openid"})
	if err != nil {
		t.Fatal(err)
	}
	return s, c, w
}

// passing are the answers after which the client pauses with jitter.
var passing = []string{"lost", "html", "server_error", "use_dpop_nonce"}

// TestWait: when the client polls, and what it makes of each answer. Times are seconds since the request.
func TestWait(t *testing.T) {
	pending := func(hold time.Duration) reply { return reply{"authorization_pending", "2", hold} }
	tests := []struct {
		name    string
		answers []reply
		polls   []float64
		want    error
	}{
		{"at once", []reply{{}}, []float64{0}, nil},
		{"the interval runs from poll to poll", []reply{pending(0), pending(0), {}}, []float64{0, 2, 4}, nil},
		{"after a held poll at once", []reply{pending(25 * time.Second), {}}, []float64{0, 25}, nil},
		{"slow_down adds five seconds for good", []reply{{code: "slow_down"}, pending(0), {}}, []float64{0, 7, 14}, nil},
		{"slow_down says a longer wait", []reply{{code: "slow_down", retry: "12"}, pending(0), {}}, []float64{0, 12, 24}, nil},
		{"pending says a longer wait", []reply{{code: "authorization_pending", retry: "9"}, {}}, []float64{0, 9}, nil},
		{"lost connections", []reply{{code: "lost"}, {code: "lost"}, {code: "lost"}, {}}, []float64{0, 1, 3, 7}, nil},
		{"overload", []reply{{code: "server_error", retry: "6"}, {}}, []float64{0, 6}, nil},
		{"a nonce that changes each time", []reply{{code: "use_dpop_nonce"}, {}}, []float64{0, 1}, nil},
		{"a proxy's page", []reply{{code: "html"}, {}}, []float64{0, 1}, nil},
		{"pauses start anew", []reply{{code: "lost"}, {code: "lost"}, pending(0), {code: "lost"}, {}}, []float64{0, 1, 3, 5, 6}, nil},
		{"denied", []reply{{code: "access_denied"}}, []float64{0}, ErrDenied},
		{"expired", []reply{pending(0), {code: "expired_token"}}, []float64{0, 2}, ErrExpired},
		{"unreachable", []reply{{code: "transaction_failed"}}, []float64{0}, ErrUnreachable},
		{"used", []reply{{code: "invalid_grant"}}, []float64{0}, ErrGone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c, w := start(t, tt.answers...)
				token, err := c.Wait(t.Context(), w)
				if !errors.Is(err, tt.want) || (tt.want == nil) != (token != nil) {
					t.Fatalf("Wait: %v, %v", token, err)
				}
				spread := 1.0
				if slices.ContainsFunc(tt.answers, func(r reply) bool { return slices.Contains(passing, r.code) }) {
					spread = 1.5 // the jitter
				}
				for i, at := range tt.polls {
					if i >= len(s.seen) || s.seen[i].Seconds() < at || s.seen[i].Seconds() > at*spread {
						t.Fatalf("polls at %v, want %v", s.seen, tt.polls)
					}
				}
				if len(s.seen) != len(tt.polls) || len(s.keys) != 1 {
					t.Errorf("polls at %v with keys %v", s.seen, s.keys)
				}
				if token != nil && string(token.Details) != `[{"a": 1}]` {
					t.Errorf("details %s", token.Details)
				}
			})
		})
	}
}

// TestHold: a poll is not held longer than the caller's own HTTP client waits for an answer.
func TestHold(t *testing.T) {
	for timeout, want := range map[time.Duration]string{0: "wait=25", time.Minute: "wait=25", 10 * time.Second: "wait=5", time.Second: "wait=0"} {
		synctest.Test(t, func(t *testing.T) {
			s, c, w := start(t, reply{})
			c.http.Timeout, s.prefer = timeout, want
			if _, err := c.Wait(t.Context(), w); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestWaitForPing: without a ping, the client looks seldom, once more before the end, and when it is over.
func TestWaitForPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pending := reply{code: "authorization_pending", retry: "2"}
		s, c, w := startIn(t, true, pending, pending, pending, reply{code: "expired_token"})
		if _, err := c.Wait(t.Context(), w); !errors.Is(err, ErrExpired) {
			t.Errorf("Wait: %v", err)
		}
		if want := []time.Duration{0, 30 * time.Second, 55 * time.Second, 61 * time.Second}; !slices.Equal(s.seen, want) {
			t.Errorf("polls at %v, want %v", s.seen, want)
		}
	})
}

// TestWaitEnds: not even a server that asks for endless patience makes Wait last much longer than the request.
func TestWaitEnds(t *testing.T) {
	for _, code := range []string{"authorization_pending", "slow_down", "server_error"} {
		t.Run(code, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, c, w := start(t, reply{code: code, retry: "2000000000"})
				began := time.Now()
				if _, err := c.Wait(t.Context(), w); err == nil || code != "server_error" && !errors.Is(err, ErrExpired) {
					t.Errorf("Wait: %v", err)
				}
				if took := time.Since(began); took > 5*time.Minute {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

// TestAskRetries: with a Key, a lost acknowledgement is asked for again; without one, a second request could be made.
func TestAskRetries(t *testing.T) {
	good := `{"auth_req_id":"h","expires_in":60,"interval":2}`
	tests := []struct {
		name, key string
		first     func() (*http.Response, error)
		calls     int
		ok        bool
	}{
		{"lost", "k", func() (*http.Response, error) { return nil, errors.New("reset") }, 2, true},
		{"lost without key", "", func() (*http.Response, error) { return nil, errors.New("reset") }, 1, false},
		{"overload", "k", func() (*http.Response, error) { return respond(503, `{"error":"server_error"}`, "3"), nil }, 2, true},
		{"too many", "k", func() (*http.Response, error) { return respond(429, `{"error":"temporarily_unavailable"}`, ""), nil }, 2, true},
		{"refused", "k", func() (*http.Response, error) { return respond(400, `{"error":"unknown_user_id"}`, ""), nil }, 1, false},
		{"no id", "k", func() (*http.Response, error) { return respond(200, `{"expires_in":60}`, ""), nil }, 1, false},
		{"no life", "k", func() (*http.Response, error) { return respond(200, `{"auth_req_id":"h"}`, ""), nil }, 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c, _ := start(t)
				s.ack = func(n int) (*http.Response, error) {
					if n == 1 {
						return tt.first()
					}
					return respond(200, good, ""), nil
				}
				w, err := c.Ask(t.Context(), Ask{Hint: "ann", Key: tt.key})
				if (err == nil) != tt.ok || (w != nil) != tt.ok || len(s.seen) != tt.calls || !s.keys[tt.key] {
					t.Errorf("%v after %d calls", err, len(s.seen))
				}
			})
		})
	}
}

func TestWaitGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, w := start(t, reply{code: "lost"})
		if _, err := c.Wait(t.Context(), w); err == nil || strings.Contains(err.Error(), "h\"") {
			t.Errorf("Wait: %v", err)
		}
		if end := s.seen[len(s.seen)-1]; end < 110*time.Second || end > 140*time.Second {
			t.Errorf("last poll after %v", end)
		}
	})
}

func TestWaitCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, w := start(t, reply{"authorization_pending", "2", 20 * time.Second})
		ctx, cancel := contextAfter(t, 5*time.Second)
		defer cancel()
		began := time.Now()
		if _, err := c.Wait(ctx, w); !errors.Is(err, ctx.Err()) || time.Since(began) != 5*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

// TestDenied: a no comes with its note, and a withdrawal is no no.
func TestDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, w := start(t, reply{code: "access_denied"})
		s.note = "too much"
		_, err := c.Wait(t.Context(), w)
		var no *Denied
		if !errors.As(err, &no) || no.Note != "too much" || strings.Contains(err.Error(), "too much") {
			t.Errorf("Wait: %v", err)
		}
		s.state = "cancelled"
		if _, err := c.Wait(t.Context(), w); !errors.Is(err, ErrWithdrawn) || errors.Is(err, ErrDenied) {
			t.Errorf("Wait: %v", err)
		}
		if err := c.Cancel(t.Context(), w); !errors.Is(err, ErrGone) {
			t.Errorf("Cancel: %v", err)
		}
	})
}

// TestResume: a request that was written down can be waited for by another process.
func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, w := start(t, reply{})
		raw, err := json.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(raw), `"interval":2}`) { // seconds, as CIBA section 7.3 has it
			t.Errorf("written down: %s", raw)
		}
		var again Waiting
		if err := json.Unmarshal(raw, &again); err != nil || again.Handle != w.Handle || again.Interval != w.Interval ||
			!again.ExpiresAt.Equal(w.ExpiresAt) {
			t.Fatalf("%s: %+v, %v", raw, again, err)
		}
		if _, err := c.Wait(t.Context(), &again); err != nil {
			t.Error(err)
		}
	})
}

// TestWaitingForms: what other programs write down is read too, and nonsense is refused.
func TestWaitingForms(t *testing.T) {
	tests := map[string]time.Duration{
		`{"v":1,"auth_req_id":"h","expires_at":"2026-01-01T00:00:00Z","interval":7}`:            7 * time.Second,
		`{"v":2,"auth_req_id":"h","expires_at":"2026-01-01T00:00:00Z","interval":7}`:            0,
		`{"v":1,"auth_req_id":"","expires_at":"2026-01-01T00:00:00Z","interval":7}`:             0,
		`{"v":1,"auth_req_id":"h","interval":7}`:                                                0,
		`{"v":1,"auth_req_id":"h","expires_at":"2026-01-01T00:00:00Z","ping":"eA"}`:             0,
		`{"v":1,"auth_req_id":"h","expires_at":"2026-01-01T00:00:00Z","interval":7,"ping":"?"}`: 0,
		`{"auth_req_id":"h","expires_at":"2026-01-01T00:00:00Z","interval":7}`:                  7 * time.Second,
		`{"auth_req_id":"h","expires_at":"2026-01-01T00:00:00Z"}`:                               5 * time.Second,
		`{"auth_req_id":"h","expires_at":"2026-01-01T00:00:00Z","interval":-1}`:                 0,
		`{"auth_req_id":"h","expires_at":"2026-01-01T00:00:00Z","interval":1e9}`:                0,
		`[]`: 0,
	}
	for raw, want := range tests {
		var w Waiting
		if err := json.Unmarshal([]byte(raw), &w); (err == nil) != (want > 0) || w.Interval != want {
			t.Errorf("%s: %v, %v", raw, w.Interval, err)
		}
	}
	raw, err := json.Marshal(Waiting{Interval: 1500 * time.Millisecond})
	if err != nil || !strings.Contains(string(raw), `"interval":2}`) { // never sooner than told
		t.Errorf("%s, %v", raw, err)
	}
}

func TestDiscoveryFaults(t *testing.T) {
	tests := map[string]string{
		"another issuer": strings.Replace(discovery, "https://s.example", "https://x.example", 1),
		"no CIBA":        `{"issuer":"https://s.example","token_endpoint":"x"}`,
		"no JSON":        `<html>`,
		"a slash more":   strings.Replace(discovery, `"https://s.example"`, `"https://s.example/"`, 1),
		"plain HTTP":     strings.Replace(discovery, `https://s.example/t`, `http://s.example/t`, 1),
		"no address":     strings.Replace(discovery, `https://s.example/bc`, `/bc`, 1),
		"too long":       strings.Repeat(" ", maxAnswer+1),
	}
	for name, document := range tests {
		fake := roundTrip(func(*http.Request) (*http.Response, error) { return respond(200, document, ""), nil })
		config := Config{Issuer: "https://s.example", ID: "travel", Secret: "s", HTTP: &http.Client{Transport: fake}}
		if _, err := New(t.Context(), config); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	redirect := roundTrip(func(*http.Request) (*http.Response, error) {
		r := respond(302, "", "")
		r.Header.Set("Location", "https://x.example")
		return r, nil
	})
	var e *Error
	if _, err := New(t.Context(), Config{Issuer: "https://s.example", ID: "travel", Secret: "s", HTTP: &http.Client{Transport: redirect}}); !errors.As(err, &e) || e.Status != 302 {
		t.Errorf("redirect: %v", err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func contextAfter(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}
