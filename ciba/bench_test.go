package ciba

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"assent/approvals"
)

// hit is one call as a server would make it, without the recorder's costs.
func hit(b *testing.B, h http.Handler, path, body string) int {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", typeForm)
	r.Header.Set("Prefer", "wait=0")
	w := &sink{header: http.Header{}}
	h.ServeHTTP(w, r)
	return w.status
}

// sink is an http.ResponseWriter that throws away what it gets.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkAuthorize is a durable backchannel request with one object of authorization_details, 64 callers at a time.
func BenchmarkAuthorize(b *testing.B) {
	s := newService(b)
	body := bc("authorization_details", payment).String()
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if status := hit(b, s, "/bc-authorize", body); status != http.StatusOK {
				b.Errorf("status %d", status)
			}
		}
	})
}

// BenchmarkPendingPoll is a poll that is neither held nor too early: one request, a clock that runs 10 s a poll.
func BenchmarkPendingPoll(b *testing.B) {
	var ticks atomic.Int64
	start := time.Now()
	s := newService(b, func(p *Parts) {
		p.Now = func() time.Time { return start.Add(time.Duration(ticks.Load())) }
	})
	var handles []string
	for range 1000 {
		handles = append(handles, tk(s.ask(b, "requested_expiry", "604800")).String())
	}
	var next atomic.Int64
	b.SetParallelism(32)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n := next.Add(1)
			if n%1000 == 0 {
				ticks.Add(int64(3 * time.Second))
			}
			if status := hit(b, s, "/token", handles[n%1000]); status != http.StatusBadRequest {
				b.Errorf("status %d", status)
			}
		}
	})
}

// BenchmarkRedeem is a durable redemption with two ES256 signatures.
func BenchmarkRedeem(b *testing.B) {
	s := newService(b)
	bodies := make([]string, b.N)
	work := make(chan int)
	done := make(chan struct{})
	for range 64 {
		go func() {
			for i := range work {
				bodies[i] = s.approved(b)
			}
			done <- struct{}{}
		}()
	}
	for i := range bodies {
		work <- i
	}
	close(work)
	for range 64 {
		<-done
	}
	var next atomic.Int64
	b.SetParallelism(32)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if status := hit(b, s, "/token", bodies[next.Add(1)-1]); status != http.StatusOK {
				b.Errorf("status %d", status)
			}
		}
	})
}

// approved opens a request, approves it, and returns the body of its redemption.
func (s *service) approved(b *testing.B) string {
	a := s.post("/bc-authorize", bc("authorization_details", payment))
	handle := a.text("auth_req_id")
	r, err := s.Desk.Request(context.Background(), idOf(handle))
	if err != nil {
		b.Error(err)
		return ""
	}
	if _, err := s.Desk.Approve(context.Background(), approvals.ID(r.ID), s.answer(r)); err != nil {
		b.Error(err)
	}
	return tk(handle).String()
}

// BenchmarkRespond is the signing part of a redemption alone.
func BenchmarkRespond(b *testing.B) {
	s := newService(b)
	handle := s.ask(b, "authorization_details", payment)
	s.approve(b, handle)
	r, err := s.Desk.Request(context.Background(), idOf(handle))
	must(b, err)
	g := grant{scope: r.Scope, details: r.Granted}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.issuer.respond(r, g, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkProof is the check of one DPoP proof, its entry in the replay log included.
func BenchmarkProof(b *testing.B) {
	for _, alg := range dpopAlgs {
		b.Run(alg, func(b *testing.B) {
			s := newService(b)
			var lines []string
			for range 20_000 {
				lines = append(lines, proofOf(b, alg, alg, nil))
				if alg == "PS256" && len(lines) == 500 {
					break // slow to sign
				}
			}
			r := httptest.NewRequest(http.MethodPost, "/token", nil)
			next := 0
			b.ReportAllocs()
			for b.Loop() {
				r.Header["Dpop"] = lines[next%len(lines) : next%len(lines)+1]
				if next++; next%len(lines) == 0 {
					clear(s.Replay.used)
				}
				if _, err := s.proofs.shown(&call{r: r, at: time.Now()}, "", false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCertificate is the authentication of a client by a certificate from an authority.
func BenchmarkCertificate(b *testing.B) {
	ca := newAuthority(b)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	s := newService(b, func(p *Parts) { p.MTLS = &MTLS{Roots: roots} })
	must(b, s.saveAgent(byAuthority("dns", "tls_client_auth_san_dns", "agent.example")))
	leaf := ca.certify(agentCertificate(), nil).Leaf
	r := httptest.NewRequest(http.MethodPost, "/token", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
	f, err := parseForm("client_id=dns")
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.clients.authenticate(r, f, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEmptyHandler parses the same form and answers nothing: what the others are measured against.
func BenchmarkEmptyHandler(b *testing.B) {
	body := bc("authorization_details", payment).String()
	empty := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			b.Error(err)
		}
		w.WriteHeader(http.StatusOK)
	})
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			hit(b, empty, "/bc-authorize", body)
		}
	})
}

// BenchmarkPing is one decision and its ping, from the decision to the call, on the real bus; the agent's answer and its
// commit are behind it.
func BenchmarkPing(b *testing.B) {
	rec := newReceiver(b, nil)
	p := newPinger(b, rec.URL)
	for b.Loop() {
		b.StopTimer()
		handle := p.ask(b)
		b.StartTimer()
		p.deny(b, handle, "")
		rec.next(b)
	}
}

// BenchmarkRefusals shows side by side what it costs to refuse somebody (REQ-052): who is unknown, who is disabled, and
// who has the wrong secret or key must not be told apart by the time it takes.
func BenchmarkRefusals(b *testing.B) {
	s := newService(b)
	s.addKeyed(b)
	must(b, s.saveAgent(keyed("off", jwksOf("ES256"), "")))
	s.change(b, "off", func(a *approvals.Agent) { a.Disabled = true })
	signed := func(key, id string) string {
		return asserted(bc(), jws(b, key, "ES256", object{"kid": "ES256"}, assertionClaims(id))).String()
	}
	for _, tt := range []struct{ name, body string }{
		{"secret/unknown", bc("client_id", "nobody").String()},
		{"secret/disabled", bc("client_id", "gone").String()},
		{"secret/wrong", bc("client_secret", otherSecret).String()},
		{"key/unknown", signed("other", "nobody")},
		{"key/disabled", signed("other", "off")},
		{"key/wrong", signed("other", "keyed")},
	} {
		b.Run(tt.name, func(b *testing.B) {
			for b.Loop() {
				if status := hit(b, s, "/bc-authorize", tt.body); status != http.StatusUnauthorized {
					b.Fatalf("status %d", status)
				}
			}
		})
	}
}
