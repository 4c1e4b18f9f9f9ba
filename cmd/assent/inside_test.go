package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"assent/ciba"
)

// lockedLog is a log that is read while it is written.
type lockedLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// installation is a whole service as it runs behind a proxy, not in dev mode, whose clients' hosts stand for what the
// test says.
type installation struct {
	*service
	log     *lockedLog
	address string
	inside  atomic.Bool // names point inside
	trap    *trap
}

// insideHosts are the hosts of clients, and what their names stand for once they point inside. What this machine has no
// interface for is followed by loopback, which is the address that a dialer tries next.
func insideHosts(t *testing.T) map[string][]string {
	hosts := map[string][]string{
		"loopback": {"127.0.0.1"}, "loopback6": {"::1"}, "any": {"0.0.0.0"},
		"private": {"10.1.2.3", "127.0.0.1"}, "linklocal": {"169.254.169.254", "127.0.0.1"}, "carrier": {"100.64.0.1", "127.0.0.1"},
		"mapped": {"::ffff:127.0.0.1"}, "translated": {"64:ff9b::7f00:1", "::1"},
	}
	for i, host := range ownAddresses(t) {
		if a, err := netip.ParseAddr(host); err == nil {
			hosts[fmt.Sprint("own", i)] = []string{a.String()}
		}
	}
	return hosts
}

func newInstallation(t *testing.T) *installation {
	t.Helper()
	in := &installation{trap: newTrap(t), log: &lockedLog{}}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	in.address = net.JoinHostPort("127.0.0.1", port)
	hosts := insideHosts(t)
	in.service = newService(Config{Data: newData(t), Listen: in.address, Issuer: "https://approve.example", TrustedProxy: "127.0.0.1/32",
		DefaultLife: 300, MaxLife: 604800, HistoryDays: 1, OutboundPorts: []uint16{in.trap.port},
		Registration: true, RegistrationClients: 100, RegistrationHour: 1000}, newLogger(in.log, "info"))
	in.dns = newDNS(t, func(name string) []string {
		label, _, _ := strings.Cut(name, ".")
		if in.inside.Load() {
			return hosts[label]
		}
		return []string{"8.8.8.8"}
	})
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- in.serve(ctx, func(*service) { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the service ended: %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	return in
}

// RoundTrip is the proxy before the service.
func (in *installation) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host = "http", in.address
	r.Header.Set("X-Forwarded-Proto", "https")
	return http.DefaultTransport.RoundTrip(r)
}

func (in *installation) url(host string) string { return in.trap.url(host + ".rebind.test") }

// add makes the agents and the person that a host is tried with, while its name is public.
func (in *installation) add(t *testing.T, host string) {
	t.Helper()
	for _, metadata := range []map[string]any{
		{"client_id": "pinged-" + host, "client_secret": refusalSecret, "backchannel_token_delivery_mode": "ping",
			"backchannel_client_notification_endpoint": in.url(host)},
		{"client_id": "keyed-" + host, "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": in.url(host)},
	} {
		metadata["client_name"] = "Travel Bot"
		raw, err := json.Marshal(metadata)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.addAgent(t.Context(), newAgent{Metadata: raw, AcceptSecret: true, SameName: true}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := in.addPerson(t.Context(), newPerson{LoginHints: []string{host}, Name: "Ann"}); err != nil {
		t.Fatal(err)
	}
}

// register lets an agent register itself with its keys and its endpoint at the host.
func (in *installation) register(t *testing.T, host string) wireAnswer {
	t.Helper()
	_, token, err := in.agents.NewInitialToken(t.Context(), ciba.InitialToken{Uses: 1, Expires: in.clock.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]any{"client_name": "New Bot", "token_endpoint_auth_method": "private_key_jwt",
		"jwks_uri": in.url(host), "backchannel_token_delivery_mode": "ping", "backchannel_client_notification_endpoint": in.url(host),
		"grant_types": []string{ciba.GrantCIBA}})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", in.cfg.Issuer+"/register", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	a, err := do(&http.Client{Transport: in}, req)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestNothingInside: names that were public when a client was registered point inside when the client is pinged or its
// keys are fetched, and when another one registers itself. Nobody comes to the trap that stands there.
func TestNothingInside(t *testing.T) {
	row(t, "REQ-024", "REQ-220", "REQ-284")
	t.Parallel()
	in := newInstallation(t)
	hosts := insideHosts(t)
	for host := range hosts {
		in.add(t, host)
		if a := in.register(t, host); a.status != http.StatusCreated {
			t.Fatalf("%s registers while it is public: %d %s", host, a.status, a.body)
		}
	}
	in.inside.Store(true)
	for host := range hosts {
		agent := &agentHTTP{issuer: in.cfg.Issuer, id: "pinged-" + host, secret: refusalSecret, http: &http.Client{Transport: in}}
		ask := url.Values{"login_hint": {host}, "authorization_details": nil, "client_notification_token": {pingToken}}
		handle := must(t, http.StatusOK)(agent.ask(t.Context(), ask, nil)).member("auth_req_id")
		must(t, http.StatusOK)(agent.send(t.Context(), "/requests/cancel", url.Values{"auth_req_id": {handle}}, nil))
		within(t, "attempt to ping "+host, func() bool {
			return strings.Contains(in.log.String(), fmt.Sprintf(`"agent":%q,"attempt":1,"code":"unreachable"`, agent.id))
		})
		signer := &agentHTTP{issuer: in.cfg.Issuer, key: true, http: agent.http}
		form := url.Values{"client_id": {"keyed-" + host}, "client_assertion": {assertionBy(t, curveKey(t), "keyed-"+host, in.cfg.Issuer)},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}
		if a := must(t, http.StatusUnauthorized)(signer.ask(t.Context(), form, nil)); a.member("error") != "invalid_client" {
			t.Errorf("%s: %s", host, a.body)
		}
		if a := in.register(t, host); a.status != http.StatusBadRequest || a.member("error") != "invalid_client_metadata" {
			t.Errorf("%s registers while it points inside: %d %s", host, a.status, a.body)
		}
		if n := in.trap.count.Load(); n != 0 {
			t.Fatalf("%s: %d connections", host, n)
		}
	}
	t.Logf("%d hosts, 3 ways to each, %d connections", len(hosts), in.trap.count.Load())
}

// TestRedirectsLeadNowhere: the host of a client is good, and sends us on to a place that we could even reach, in dev
// mode. Nobody comes there.
func TestRedirectsLeadNowhere(t *testing.T) {
	row(t, "REQ-214", "REQ-284")
	t.Parallel()
	data := newData(t)
	file := func(name string) string { return filepath.Join(data, "..", name) }
	if err := writeSelfSigned(file("host.crt"), file("host.key")); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(file("host.crt"), file("host.key"))
	if err != nil {
		t.Fatal(err)
	}
	tr := newTrap(t)
	var calls atomic.Int64
	host := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		statuses := []int{301, 302, 303, 307, 308}
		w.Header().Set("Location", tr.url("localhost"))
		w.WriteHeader(statuses[calls.Add(1)%int64(len(statuses))])
	}))
	host.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	host.StartTLS()
	t.Cleanup(host.Close)
	place := "https://localhost:" + portOf(t, host.URL)
	agents := fmt.Sprintf(`"clients": [
	  {"client_id": "pinged", "client_secret": %q, "backchannel_token_delivery_mode": "ping", "backchannel_client_notification_endpoint": %q},
	  {"client_id": "keyed", "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": %q},`, refusalSecret, place, place)
	if err := os.WriteFile(file("fixtures.json"), []byte(strings.Replace(fixtures, `"clients": [`, agents, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := startProcess(devArgs(data), append(os.Environ(), "SSL_CERT_FILE="+file("host.crt")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			p.kill()
		}
	})
	if a := askSigned(t, p.issuer, "keyed"); a.status != http.StatusUnauthorized || calls.Load() != 1 {
		t.Errorf("keys: status %d after %d calls", a.status, calls.Load())
	}
	agent := &agentHTTP{issuer: p.issuer, id: "pinged", secret: refusalSecret, http: bot(p.issuer).http}
	for range 5 {
		ask := url.Values{"client_notification_token": {pingToken}, "authorization_details": nil}
		before := calls.Load()
		handle := must(t, http.StatusOK)(agent.ask(t.Context(), ask, nil)).member("auth_req_id")
		must(t, http.StatusNoContent)(devDecide(t.Context(), agent.http, p.pages, handle, true))
		within(t, "ping", func() bool { return calls.Load() > before })
		must(t, http.StatusOK)(agent.poll(t.Context(), handle, nil))
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	if n := tr.count.Load(); n != 0 {
		t.Errorf("%d connections", n)
	}
}
