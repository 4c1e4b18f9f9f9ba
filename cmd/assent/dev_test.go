package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func postJSON(t *testing.T, url, body string, header ...string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// Dev mode decides without a person, so only programs on this machine may use it.
func TestDevMode(t *testing.T) {
	p := newDev(t)
	agent := bot(p.issuer)
	id := must(t, 200)(agent.ask(t.Context(), nil, nil)).member("auth_req_id")
	body := `{"auth_req_id":"` + id + `","user":"ann"}`
	for name, got := range map[string]int{
		"rebound name":      postJSON(t, p.pages+"/dev/approve", body, "Host", "evil.example"),
		"a form's type":     postJSON(t, p.pages+"/dev/approve", body, "Content-Type", "text/plain"),
		"unknown member":    postJSON(t, p.pages+"/dev/approve", `{"auth_req_id":"x","usr":"ann"}`),
		"somebody else":     postJSON(t, p.pages+"/dev/approve", strings.Replace(body, `"ann"`, `"bob"`, 1)),
		"unknown request":   postJSON(t, p.pages+"/dev/approve", `{"auth_req_id":"x","user":"ann"}`),
		"from a page":       postJSON(t, p.pages+"/dev/decide?action=allow&auth_req_id="+id, "", "Sec-Fetch-Site", "cross-site"),
		"unknown action":    postJSON(t, p.pages+"/dev/decide?action=maybe&auth_req_id="+id, ""),
		"clock backwards":   postJSON(t, p.pages+"/dev/clock", `{"advance":"-1h"}`),
		"clock with a word": postJSON(t, p.pages+"/dev/clock", `{"advance":"soon"}`),
		"odd provider":      postJSON(t, p.pages+"/dev/provider", `{"answer":"perhaps"}`),
		"endless provider":  postJSON(t, p.pages+"/dev/provider", `{"answer":"accept","delay":"2m"}`),
	} {
		if got < 400 || got >= 500 {
			t.Errorf("%s: status %d", name, got)
		}
	}
	if a := must(t, 400)(agent.poll(t.Context(), id, nil)); a.member("error") != "authorization_pending" {
		t.Fatalf("decided by one of them: %s", a.body)
	}
	if got := postJSON(t, p.pages+"/dev/approve", body); got != http.StatusNoContent {
		t.Fatalf("approve: status %d", got)
	}
	must(t, 200)(agent.poll(t.Context(), id, nil))
	if got := postJSON(t, p.pages+"/dev/deny", body); got != http.StatusConflict {
		t.Errorf("deny after approval: status %d", got)
	}
	second := must(t, 200)(agent.ask(t.Context(), nil, nil)).member("auth_req_id")
	if got := postJSON(t, p.pages+"/dev/decide?action=deny&auth_req_id="+second, ""); got != http.StatusNoContent {
		t.Errorf("decide by query: status %d", got)
	}
	if a := must(t, 400)(agent.poll(t.Context(), second, nil)); a.member("error") != "access_denied" {
		t.Errorf("after the denial: %s", a.body)
	}
}

// The demo presses the real buttons and checks everything that comes back.
func TestDemo(t *testing.T) {
	var out, errOut bytes.Buffer
	if code := run(t.Context(), []string{"demo", "--yes"}, nil, &out, &errOut); code != exitOK {
		t.Fatalf("code %d\n%s\n%s", code, out.String(), errOut.String())
	}
	for _, want := range []string{demoSentence, "/dev/phone/ann", "the token arrived", "flipped bit was refused"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
}

// Whoever plays Ann by hand sees the page that says "Approved" and can go on: the demo serves until it is interrupted.
func TestDemoStays(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	said, w := io.Pipe()
	code := make(chan int, 1)
	go func() { code <- run(ctx, []string{"demo"}, nil, w, io.Discard); w.Close() }()
	person, stayed := &demoPerson{}, false
	for lines := bufio.NewScanner(said); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if strings.HasSuffix(line, "/dev/phone/ann") {
			go func() {
				if err := person.decide(ctx, line); err != nil {
					t.Error(err)
					interrupt()
				}
			}()
		}
		if stayed = strings.Contains(line, "Ctrl-C ends"); stayed {
			interrupt()
		}
	}
	if got := <-code; got != exitOK || !stayed {
		t.Errorf("code %d, stayed %v", got, stayed)
	}
}

// REQ-175: over the limit nothing is worked on, and room comes back.
func TestShed(t *testing.T) {
	row(t, "REQ-175")
	worked, held := 0, make(chan struct{})
	entered := make(chan struct{})
	h := shed(1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		worked++
		if r.URL.Path == "/hold" {
			close(entered)
			<-held
		}
	}))
	done := make(chan struct{})
	go func() {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/hold", nil))
		close(done)
	}()
	<-entered
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", "/bc-authorize", nil))
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), `"temporarily_unavailable"`) || worked != 1 {
		t.Errorf("status %d, %v, %s, worked %d", w.Code, w.Header(), w.Body, worked)
	}
	close(held)
	<-done
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", "/bc-authorize", nil))
	if w.Code != 200 || worked != 2 {
		t.Errorf("afterwards: status %d, worked %d", w.Code, worked)
	}
}

// X-Forwarded-* count from the configured terminator only, and only its last hop.
func TestBehindProxy(t *testing.T) {
	var seen *http.Request
	next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r })
	tests := []struct {
		name, network, from, proto, forwarded string
		status                                int
		remote                                string
	}{
		{"no proxy: header is dropped", "", "198.51.100.7:1", "https", "203.0.113.9", 200, "198.51.100.7:1"},
		{"REQ-069 stranger", "10.0.0.0/24", "198.51.100.7:1", "https", "203.0.113.9", 403, ""},
		{"terminator without TLS", "10.0.0.0/24", "10.0.0.2:1", "http", "203.0.113.9", 403, ""},
		{"terminator", "10.0.0.0/24", "10.0.0.2:1", "https", "192.0.2.1, 203.0.113.9", 200, "203.0.113.9:0"},
		{"terminator without TLS, behind a hop that claims it", "10.0.0.0/24", "10.0.0.2:1", "https, http", "203.0.113.9", 403, ""},
		{"terminator behind a hop without TLS", "10.0.0.0/24", "10.0.0.2:1", "http, https", "203.0.113.9", 200, "203.0.113.9:0"},
		{"terminator that names a port", "10.0.0.0/24", "10.0.0.2:1", "https", "203.0.113.9:4711", 200, "203.0.113.9:0"},
		{"terminator that names nobody", "10.0.0.0/24", "10.0.0.2:1", "https", "unknown", 200, "10.0.0.2:1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			seen = nil
			h, err := (&Config{TrustedProxy: tt.network}).behindProxy(next)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = tt.from
			r.Header.Set("X-Forwarded-Proto", tt.proto)
			r.Header.Set("X-Forwarded-For", tt.forwarded)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.status || (seen != nil) != (tt.status == 200) {
				t.Fatalf("status %d", w.Code)
			}
			if seen != nil && (seen.RemoteAddr != tt.remote || seen.Header.Get("X-Forwarded-For") != "") {
				t.Errorf("remote %q, header %q", seen.RemoteAddr, seen.Header.Get("X-Forwarded-For"))
			}
		})
	}
}
