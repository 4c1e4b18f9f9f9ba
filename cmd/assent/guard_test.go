package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// trap listens where nobody may go, on every address of this machine, and counts who comes.
type trap struct {
	port  uint16
	count atomic.Int64
}

func newTrap(t *testing.T) *trap {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	tr := &trap{port: uint16(l.Addr().(*net.TCPAddr).Port)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			tr.count.Add(1)
			c.Close()
		}
	}()
	return tr
}

func (tr *trap) url(host string) string {
	return "https://" + host + ":" + strconv.Itoa(int(tr.port)) + "/"
}

// newDNS starts a server that says what answer says, and returns a resolver that asks it.
func newDNS(t *testing.T, answer func(name string) []string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		for b := make([]byte, 1500); ; {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			reply, err := answerDNS(m, answer).Pack()
			if err == nil {
				_, _ = conn.WriteTo(reply, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func answerDNS(m dnsmessage.Message, answer func(name string) []string) *dnsmessage.Message {
	q := m.Questions[0]
	reply := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, Authoritative: true,
		RecursionAvailable: true}, Questions: m.Questions}
	if q.Type != dnsmessage.TypeA && q.Type != dnsmessage.TypeAAAA {
		return &reply
	}
	for _, text := range answer(q.Name.String()) {
		a := netip.MustParseAddr(text)
		r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}}
		switch {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			r.Body = &dnsmessage.AResource{A: a.As4()}
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			r.Body = &dnsmessage.AAAAResource{AAAA: a.As16()}
		default:
			continue
		}
		reply.Answers = append(reply.Answers, r)
	}
	return &reply
}

// fetch makes one call and returns its cause of failure, without the words of net/http around it.
func fetch(t *testing.T, c *http.Client, target string) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", target, strings.NewReader("canary"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	var cause *url.Error
	if errors.As(err, &cause) {
		return cause.Err
	}
	if err == nil {
		resp.Body.Close()
	}
	return err
}

// unguarded is the same client without the checks. It shows that the trap works.
func unguarded(allow guardRules) *http.Client {
	next := newGuardedClient(allow).Transport.(*guardedTransport).next
	next.DialContext = (&net.Dialer{Resolver: allow.resolver}).DialContext
	return &http.Client{Transport: next}
}

// REQ-284: every way to spell this machine, and its own private addresses, with the check and without.
func TestGuardSpellings(t *testing.T) {
	row(t, "REQ-284")
	resolver := newDNS(t, func(name string) []string {
		switch { // the search list of the machine may add to a name
		case strings.HasPrefix(name, "mapped."):
			return []string{"::ffff:127.0.0.1"}
		case strings.HasPrefix(name, "both."):
			return []string{"127.0.0.1", "::1"}
		}
		return []string{"127.0.0.1"}
	})
	unread := []string{"2130706433", "017700000001", "0177.0.0.1", "127.1", "127.0.1", "0", "127.000.000.001", "127.0.0.1."}
	for _, host := range unread { // by Go; a C library would read them
		tr := newTrap(t)
		err := fetch(t, newGuardedClient(guardRules{ports: []uint16{tr.port}, resolver: resolver}), tr.url(host))
		if err != errGuardName && err != errGuardAddress || tr.count.Load() != 0 {
			t.Errorf("%s: cause %q, %d connections", host, err, tr.count.Load())
		}
	}
	hosts := []string{"127.0.0.1", "127.255.255.254", "localhost", "LOCALHOST", "localhost.", "0.0.0.0", "[::]", "[::1]",
		"[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::ffff:0.0.0.0]",
		"0x7f000001", "0x7f.0.0.1", "①②⑦.⓪.⓪.①", "127。0。0。1", "inside.test", "mapped.test", "both.test"}
	hosts = append(hosts, ownAddresses(t)...)
	for _, host := range hosts {
		t.Run(host, func(t *testing.T) {
			tr := newTrap(t)
			rules := guardRules{ports: []uint16{tr.port}, resolver: resolver}
			if err := fetch(t, newGuardedClient(rules), tr.url(host)); err != errGuardAddress {
				t.Errorf("cause %q", err)
			}
			if n := tr.count.Load(); n != 0 {
				t.Errorf("%d connections", n)
			}
			err := fetch(t, unguarded(rules), tr.url(host))
			if n := tr.count.Load(); n == 0 && strings.Contains(host, "[") {
				t.Skipf("this machine has no such address: %v", err)
			} else if n == 0 {
				t.Errorf("without the check: %v, and no connection", err)
			}
		})
	}
}

// ownAddresses lists the addresses of this machine that only its neighbours know.
func ownAddresses(t *testing.T) (hosts []string) {
	t.Helper()
	list, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || p.Addr().IsLoopback() || p.Addr().IsLinkLocalUnicast() || isPublic(p.Addr()) {
			continue
		}
		host := p.Addr().String()
		if p.Addr().Is6() {
			host = "[" + host + "]"
		}
		hosts = append(hosts, host)
	}
	return hosts
}

// REQ-284 and RFC 6890: one address of each kind, and the neighbours of the blocks.
func TestGuardAddresses(t *testing.T) {
	row(t, "REQ-284")
	refused := []string{"0.0.0.0", "0.1.2.3", "10.0.0.5", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255",
		"127.0.0.1", "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1",
		"192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.1.1", "192.175.48.1", "198.18.0.1", "198.19.255.255",
		"198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1",
		"64:ff9b::808:808", "64:ff9b:1::a00:1", "100::1", "2001::1", "2001:0:4136:e378::1", "2001:2::1", "2001:20::1",
		"2001:db8::1", "2002:7f00:1::", "2620:4f:8000::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1",
		"fe80::1%lo", "fec0::1", "ff02::1"}
	client := newGuardedClient(guardRules{})
	for _, text := range refused {
		a := netip.MustParseAddr(text)
		if isPublic(a) {
			t.Errorf("%s counts as public", a)
		}
		target := &url.URL{Scheme: "https", Host: net.JoinHostPort(text, "443")}
		if err := fetch(t, client, target.String()); err != errGuardAddress {
			t.Errorf("%s: cause %q", a, err)
		}
	}
	for _, text := range []string{"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.1", "100.63.255.255", "100.128.0.1",
		"172.15.255.255", "172.32.0.1", "192.0.1.1", "192.167.255.255", "198.17.255.255", "198.20.0.1", "223.255.255.255",
		"2001:200::1", "2003::1", "2606:4700:4700::1111", "2a00:1450::1", "3ffe:ffff::1"} {
		if !isPublic(netip.MustParseAddr(text)) {
			t.Errorf("%s does not count as public", text)
		}
	}
}

// FuzzGuardAddress holds the table against what the standard library knows of addresses.
func FuzzGuardAddress(f *testing.F) {
	for _, text := range []string{"8.8.8.8", "10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "2606:4700::1"} {
		f.Add(netip.MustParseAddr(text).AsSlice())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, ok := netip.AddrFromSlice(raw)
		if !ok || !isPublic(a) {
			return
		}
		if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.Is4In6() || a.Is6() && isPublic(a.WithZone("lo")) {
			t.Errorf("%s counts as public", a)
		}
		if a.Is4() && isPublic(netip.AddrFrom16(a.As16())) {
			t.Errorf("%s counts as public inside of IPv6", a)
		}
	})
}

// Ports other than 443 are for the operator to allow; in dev mode this machine is open, and nothing else.
func TestGuardPorts(t *testing.T) {
	row(t, "REQ-284")
	tests := []struct {
		name  string
		rules guardRules
		to    string
		want  bool
	}{
		{"443", guardRules{}, "8.8.8.8:443", true},
		{"80", guardRules{}, "8.8.8.8:80", false},
		{"22", guardRules{}, "8.8.8.8:22", false},
		{"allowed port", guardRules{ports: []uint16{8443}}, "8.8.8.8:8443", true},
		{"allowed port, private address", guardRules{ports: []uint16{8443}}, "10.0.0.1:8443", false},
		{"dev mode", guardRules{loopback: true}, "127.0.0.1:9443", true},
		{"dev mode, IPv6", guardRules{loopback: true}, "[::1]:9443", true},
		{"dev mode, private address", guardRules{loopback: true}, "10.0.0.1:443", false},
		{"dev mode, this network", guardRules{loopback: true}, "0.0.0.0:443", false},
		{"dev mode, elsewhere", guardRules{loopback: true}, "8.8.8.8:9443", false},
	}
	for _, tt := range tests {
		err := tt.rules.control("tcp", tt.to, nil)
		if (err == nil) != tt.want {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if err := (guardRules{loopback: true}).control("tcp", "not an address", nil); err == nil {
		t.Error("an unreadable address passes")
	}
}

// REQ-024: what can be said about a URL before it is called. All addresses of a name count.
func TestGuardCheck(t *testing.T) {
	resolver := newDNS(t, func(name string) []string {
		switch {
		case strings.HasPrefix(name, "public."):
			return []string{"8.8.8.8", "2606:4700::1"}
		case strings.HasPrefix(name, "mixed."):
			return []string{"8.8.8.8", "10.0.0.5"}
		case strings.HasPrefix(name, "mixed6."):
			return []string{"8.8.8.8", "fd00::1"}
		}
		return nil
	})
	rules := guardRules{resolver: resolver, ports: []uint16{8443}}
	for target, want := range map[string]error{
		"https://8.8.8.8/":            nil,
		"https://public.test/":        nil,
		"https://public.test:443/x?y": nil,
		"https://public.test:8443/":   nil,
		"https://[2606:4700::1]/":     nil,
		"https://public.test:80/":     errGuardAddress,
		"https://mixed.test/":         errGuardAddress,
		"https://mixed6.test/":        errGuardAddress,
		"https://169.254.169.254/":    errGuardAddress,
		"https://localhost/":          errGuardAddress,
		"https://10.0.0.5/":           errGuardAddress,
		"https://[::ffff:8.8.8.8]/":   errGuardAddress,
		"https://[::1]/":              errGuardAddress,
		"https://nothing.test/":       nil, // it may be there later
		"http://public.test/":         errGuardURL,
		"https://u:p@public.test/":    errGuardURL,
		"https://":                    errGuardURL,
		"https://public.test:99999/":  errGuardURL,
		"https://public.test:0/":      errGuardAddress,
		"javascript:alert(1)":         errGuardURL,
		"https://public.test:https/":  errGuardURL,
		"https://public.test\n.test/": errGuardURL,
	} {
		if err := rules.check(t.Context(), target); err != want {
			t.Errorf("%s: %v, want %v", target, err, want)
		}
	}
}

// REQ-220: the name is public when it is registered and points inside when it is called.
func TestGuardRebinding(t *testing.T) {
	row(t, "REQ-024", "REQ-220", "REQ-284")
	var inside atomic.Bool
	resolver := newDNS(t, func(string) []string {
		if inside.Load() {
			return []string{"127.0.0.1"}
		}
		return []string{"8.8.8.8"}
	})
	tr := newTrap(t)
	rules := guardRules{ports: []uint16{tr.port}, resolver: resolver}
	seen, err := resolver.LookupNetIP(t.Context(), "ip4", "rebind.test")
	if err != nil || len(seen) != 1 || !rules.allows(netip.AddrPortFrom(seen[0].Unmap(), tr.port)) {
		t.Fatalf("at first: %v, %v", seen, err)
	}
	inside.Store(true)
	if err := fetch(t, newGuardedClient(rules), tr.url("rebind.test")); err != errGuardAddress || tr.count.Load() != 0 {
		t.Errorf("cause %q, %d connections", err, tr.count.Load())
	}
	if _ = fetch(t, unguarded(rules), tr.url("rebind.test")); tr.count.Load() == 0 {
		t.Error("the trap does not work")
	}
}

// guarded serves h over TLS on loopback and returns its URL and a client in dev mode that trusts it.
func guarded(t *testing.T, h http.HandlerFunc) (string, *http.Client) {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return server.URL, newGuardedClient(guardRules{loopback: true, roots: roots})
}

// A redirect is an answer like another: its target is never called, not even where it could be.
func TestGuardRedirect(t *testing.T) {
	row(t, "REQ-284")
	tr := newTrap(t)
	for _, status := range []int{301, 302, 303, 307, 308} {
		target, client := guarded(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", tr.url("127.0.0.1"))
			w.WriteHeader(status)
		})
		resp, err := client.Post(target, "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != status || tr.count.Load() != 0 {
			t.Errorf("status %d, %d connections", resp.StatusCode, tr.count.Load())
		}
	}
}

func TestGuardURL(t *testing.T) {
	row(t, "REQ-284")
	tr := newTrap(t)
	client := newGuardedClient(guardRules{loopback: true})
	host := "127.0.0.1:" + strconv.Itoa(int(tr.port))
	for _, target := range []string{"http://" + host, "https://user:password@" + host, "https://user@" + host, "ftp://" + host} {
		if err := fetch(t, client, target); err != errGuardURL || tr.count.Load() != 0 {
			t.Errorf("%s: cause %q, %d connections", target, err, tr.count.Load())
		}
	}
}

// REQ-219: what does not fit the limits is an error, early and without a word about where.
func TestGuardLimits(t *testing.T) {
	row(t, "REQ-219")
	tests := []struct {
		name  string
		serve http.HandlerFunc
		want  error
	}{
		{"small", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") }, nil},
		{"just fits", func(w http.ResponseWriter, _ *http.Request) { pour(w, guardBody) }, nil},
		{"a byte more", func(w http.ResponseWriter, _ *http.Request) { pour(w, guardBody+1) }, errGuardLarge},
		{"declared", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(1<<40))
			pour(w, 1)
		}, errGuardLarge},
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				pour(w, 1<<20)
			}
		}, errGuardLarge},
		{"large header", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Large", strings.Repeat("x", 2*guardHeader))
		}, errGuardAnswer},
		{"compressed", func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept-Encoding") != "" {
				pour(w, guardBody+1)
			}
		}, nil},
		{"silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, context.DeadlineExceeded},
		{"slow", func(w http.ResponseWriter, r *http.Request) {
			pour(w, 1)
			<-r.Context().Done()
			panic(http.ErrAbortHandler) // the end must not look like the end of the body
		}, context.DeadlineExceeded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target, client := guarded(t, tt.serve)
			if tt.want == context.DeadlineExceeded {
				client.Timeout = 100 * time.Millisecond // what it is otherwise, TestGuardClient says
			}
			resp, err := client.Get(target)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if err != nil && strings.Contains(strings.ReplaceAll(err.Error(), target, ""), "127.0.0.1") {
				t.Errorf("it names an address: %v", err)
			}
		})
	}
}

func pour(w http.ResponseWriter, n int) {
	fmt.Fprintf(w, "%*s", n, "")
	w.(http.Flusher).Flush()
}

// REQ-219: nothing is said to a host that cannot prove who it is, or only with an old protocol.
func TestGuardCertificates(t *testing.T) {
	row(t, "REQ-219", "REQ-262")
	tests := []struct {
		name  string
		spoil func(*httptest.Server, *http.Transport)
		want  error
	}{
		{"unknown authority", func(_ *httptest.Server, c *http.Transport) { c.TLSClientConfig.RootCAs = x509.NewCertPool() }, errGuardCertificate},
		{"another name", func(_ *httptest.Server, c *http.Transport) { c.TLSClientConfig.ServerName = "else.test" }, errGuardCertificate},
		{"TLS 1.1", func(s *httptest.Server, _ *http.Transport) {
			s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
		}, errGuardAnswer},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var calls atomic.Int64
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
			server.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes
			client := newGuardedClient(guardRules{loopback: true, roots: x509.NewCertPool()})
			transport := client.Transport.(*guardedTransport).next
			tt.spoil(server, transport)
			server.StartTLS()
			defer server.Close()
			if tt.want != errGuardCertificate || tt.name == "another name" {
				transport.TLSClientConfig.RootCAs.AddCert(server.Certificate())
			}
			if err := fetch(t, client, server.URL); err != tt.want || calls.Load() != 0 {
				t.Errorf("cause %q, %d calls", err, calls.Load())
			}
		})
	}
}

// What a call carries is up to its caller, but for what is the same in all of them.
func TestGuardClient(t *testing.T) {
	tr := newTrap(t)
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:"+strconv.Itoa(int(tr.port)))
	t.Setenv("ALL_PROXY", "http://127.0.0.1:"+strconv.Itoa(int(tr.port)))
	var header http.Header
	target, client := guarded(t, func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		http.SetCookie(w, &http.Cookie{Name: "seen", Value: "1"})
	})
	for range 2 {
		req, err := http.NewRequestWithContext(t.Context(), "GET", target, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("User-Agent", "another")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if len(header) != 1 || header.Get("User-Agent") != guardAgent {
			t.Errorf("header %v", header)
		}
		if req.Header.Get("User-Agent") != "another" {
			t.Error("the caller's request was changed")
		}
	}
	transport := client.Transport.(*guardedTransport).next
	if client.Timeout != 5*time.Second || transport.Proxy != nil || client.Jar != nil || tr.count.Load() != 0 {
		t.Errorf("timeout %v, jar %v, %d connections to the proxy", client.Timeout, client.Jar, tr.count.Load())
	}
}

// A host gets few connections at a time, however many of its clients wait.
func TestGuardPerHost(t *testing.T) {
	var now, most atomic.Int64
	entered, release := make(chan struct{}, 3*guardPerHost), make(chan struct{})
	target, client := guarded(t, func(http.ResponseWriter, *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		entered <- struct{}{}
		<-release
	})
	client.Timeout = time.Minute
	var calls sync.WaitGroup
	for range 3 * guardPerHost {
		calls.Go(func() {
			if err := fetch(t, client, target); err != nil {
				t.Errorf("call: %v", err)
			}
		})
	}
	for range guardPerHost {
		<-entered
	}
	close(release)
	calls.Wait()
	if most.Load() != guardPerHost {
		t.Errorf("%d at a time", most.Load())
	}
}
