package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// guardRules say where the guarded client may go beside public addresses on port 443.
type guardRules struct {
	ports    []uint16       // allowed as 443 is
	loopback bool           // dev mode: this machine, on any port
	plain    bool           // dev mode: over http as well
	perHost  int            // connections to one host; 0: few
	resolver *net.Resolver  // nil: the system's
	roots    *x509.CertPool // nil: the system's
}

// Limits of what is fetched from URLs that clients choose (REQ-219, 284).
const (
	guardConnect = 3 * time.Second
	guardTotal   = 5 * time.Second // from the look-up of the name to the last byte
	guardIdle    = 30 * time.Second
	guardHosts   = 64 // idle connections
	guardPerHost = 4
	guardHeader  = 16 << 10
	guardBody    = 256 << 10
	guardAgent   = "Assent"
)

// What a guarded call can fail with, unless it is cancelled. Addresses, and names in certificates, would tell what the
// network looks like from inside; so the cause is one of these and nothing else.
var (
	errGuardURL         = errors.New("the URL must be https, without user and password")
	errGuardAddress     = errors.New("the host's address or port is not allowed")
	errGuardName        = errors.New("the host has no address")
	errGuardCertificate = errors.New("the host's certificate was not accepted")
	errGuardSlow        = fmt.Errorf("the host took too long: %w", context.DeadlineExceeded)
	errGuardLarge       = errors.New("the answer is too large")
	errGuardAnswer      = errors.New("the host was not reached or did not answer in HTTP")
)

// newGuardedClient makes the client for every URL that a client of ours chooses: notification endpoints, key sets and
// the like. It reaches public hosts over verified TLS and nothing else. An address is checked when it is connected to,
// so that a name that points elsewhere by then is caught (REQ-220). A redirect is an answer, not a way.
func newGuardedClient(allow guardRules) *http.Client {
	perHost := cmp.Or(allow.perHost, guardPerHost)
	dialer := &net.Dialer{Timeout: guardConnect, Resolver: allow.resolver, Control: allow.control}
	transport := &http.Transport{
		DialContext:            dialer.DialContext,
		Proxy:                  nil, // whatever the environment says
		Protocols:              new(http.Protocols),
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: allow.roots},
		TLSHandshakeTimeout:    guardConnect,
		DisableCompression:     true,
		MaxResponseHeaderBytes: guardHeader,
		MaxConnsPerHost:        perHost,
		MaxIdleConnsPerHost:    perHost,
		MaxIdleConns:           max(guardHosts, perHost),
		IdleConnTimeout:        guardIdle,
	}
	transport.Protocols.SetHTTP1(true) // limits per host hold for connections, so there is one call on each
	return &http.Client{
		Transport:     &guardedTransport{transport, allow.plain},
		Timeout:       guardTotal,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// control runs between the look-up of a name and each connection.
func (g guardRules) control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !g.allows(to) {
		return errGuardAddress
	}
	return nil
}

func (g guardRules) allows(to netip.AddrPort) bool {
	if g.loopback && to.Addr().IsLoopback() {
		return true
	}
	return (to.Port() == 443 || slices.Contains(g.ports, to.Port())) && isPublic(to.Addr())
}

// isPublic reports whether an address belongs to the public Internet, by the registries of special-purpose addresses
// (RFC 6890). Addresses that carry another one inside are not: where they lead is decided elsewhere.
func isPublic(a netip.Addr) bool {
	if a.Is6() && !globalUnicast.Contains(a) { // so are zones, IPv4-mapped, NAT64, ULA, link-local and multicast
		return false
	}
	return !slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(a) })
}

// globalUnicast is all that is handed out of IPv6 (RFC 4291).
var globalUnicast = netip.MustParsePrefix("2000::/3")

var special = prefixes(
	"0.0.0.0/8",         // this network
	"10.0.0.0/8",        // private
	"100.64.0.0/10",     // behind a carrier's NAT
	"127.0.0.0/8",       // loopback
	"168.63.129.16/32",  // a cloud's own service, at an address that looks public
	"169.254.0.0/16",    // link-local, metadata services
	"172.16.0.0/12",     // private
	"192.0.0.0/24",      // protocol assignments
	"192.0.2.0/24",      // documentation
	"192.31.196.0/24",   // AS112
	"192.52.193.0/24",   // AMT
	"192.88.99.0/24",    // 6to4 relays
	"192.168.0.0/16",    // private
	"192.175.48.0/24",   // AS112
	"198.18.0.0/15",     // benchmarking
	"198.51.100.0/24",   // documentation
	"203.0.113.0/24",    // documentation
	"224.0.0.0/4",       // multicast
	"240.0.0.0/4",       // reserved, broadcast
	"2001::/23",         // protocol assignments: Teredo, benchmarking, ORCHID
	"2001:db8::/32",     // documentation
	"2002::/16",         // 6to4
	"2620:4f:8000::/48", // AS112
	"3fff::/20",         // documentation
)

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// guardedTransport bounds what goes out and what comes back.
type guardedTransport struct {
	next  *http.Transport
	plain bool
}

// RoundTrip implements [http.RoundTripper].
func (g *guardedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := checkGuarded(r.URL, g.plain); err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", guardAgent)
	resp, err := g.next.RoundTrip(r)
	if err != nil {
		return nil, guardError(err)
	}
	if resp.ContentLength > guardBody {
		resp.Body.Close()
		return nil, errGuardLarge
	}
	resp.Body = &guardedBody{ReadCloser: resp.Body, left: guardBody}
	return resp, nil
}

// checkGuarded refuses what can be told from the URL alone. An IPv4-mapped address is one of them: the system connects
// to the IPv4 address inside.
func checkGuarded(u *url.URL, plain bool) error {
	if u.Scheme != "https" && !(plain && u.Scheme == "http" && isLocalHost(u.Host)) || u.User != nil {
		return errGuardURL
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && a.Is4In6() {
		return errGuardAddress
	}
	return nil
}

// check reports what a call to the URL would be refused for now. A host that cannot be looked up is no reason: it may be
// there later, and every call is checked again.
func (g guardRules) check(ctx context.Context, target string) error {
	u, err := url.Parse(target)
	if err != nil || u.Hostname() == "" {
		return errGuardURL
	}
	if err := checkGuarded(u, g.plain); err != nil {
		return err
	}
	port := uint64(443)
	if u.Port() != "" {
		port, err = strconv.ParseUint(u.Port(), 10, 16)
	} else if u.Scheme == "http" {
		port = 80
	}
	if err != nil {
		return errGuardURL
	}
	if !g.loopback && port != 443 && !slices.Contains(g.ports, uint16(port)) {
		return errGuardAddress
	}
	ctx, cancel := context.WithTimeout(ctx, guardConnect)
	defer cancel()
	addresses, err := g.lookUp().LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return nil
	}
	for _, a := range addresses {
		if !g.allows(netip.AddrPortFrom(a.Unmap(), uint16(port))) {
			return errGuardAddress
		}
	}
	return nil
}

func (g guardRules) lookUp() *net.Resolver {
	if g.resolver == nil {
		return net.DefaultResolver
	}
	return g.resolver
}

// guardError says what happened without saying where.
func guardError(err error) error {
	var (
		name        *net.DNSError
		certificate *tls.CertificateVerificationError
		timeout     net.Error
	)
	switch {
	case errors.Is(err, errGuardAddress):
		return errGuardAddress
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.As(err, &certificate):
		return errGuardCertificate
	case errors.As(err, &timeout) && timeout.Timeout():
		return errGuardSlow
	case errors.As(err, &name):
		return errGuardName
	}
	return errGuardAnswer
}

// guardedBody is a body that ends with an error where it becomes too large.
type guardedBody struct {
	io.ReadCloser
	left int
	over error
}

// Read implements [io.Reader].
func (b *guardedBody) Read(p []byte) (int, error) {
	if b.over != nil {
		return 0, b.over
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left+1)])
	switch {
	case n > b.left:
		n, b.over = b.left, errGuardLarge
	case err == io.EOF:
		b.over = io.EOF
	case err != nil:
		b.over = guardError(err)
	}
	b.left -= n
	return n, b.over
}
