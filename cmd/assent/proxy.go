package main

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"

	"golang.org/x/net/netutil"
)

// limitConnections holds further connections back until others close.
func limitConnections(l net.Listener, n int) net.Listener { return netutil.LimitListener(l, n) }

// maxInFlight is how many answers may be under way at once, held polls and live pages included. HTTP/2 puts many of them
// on one connection, so the limit of connections does not cover it.
const maxInFlight = 60_000

// shed answers 503 before any work is done once the limit is reached (REQ-175): nothing is stored, no poll is counted.
func shed(limit int64, next http.Handler) http.Handler {
	var open atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer open.Add(-1)
		if open.Add(1) > limit {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			w.Write([]byte(`{"error":"temporarily_unavailable","error_description":"The service is overloaded."}`))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// behindProxy takes the client's address from the last hop of X-Forwarded-For, but only from the configured terminator,
// and refuses whoever else comes over plain HTTP. Without a proxy those headers mean nothing and are removed.
// A certificate that it forwards is what the connection would have shown.
func (c *Config) behindProxy(next http.Handler) (http.Handler, error) {
	if c.TrustedProxy == "" {
		return c.direct(next), nil
	}
	network, err := netip.ParsePrefix(c.TrustedProxy)
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !network.Contains(peer.Addr().Unmap()) || lastHop(r.Header.Values("X-Forwarded-Proto")) != "https" {
			http.Error(w, "this listener answers its TLS terminator only", http.StatusForbidden)
			return
		}
		if client, ok := address(lastHop(r.Header.Values("X-Forwarded-For"))); ok {
			r.RemoteAddr = netip.AddrPortFrom(client, 0).String()
		}
		if c.ClientCertHeader != "" {
			if err := takeCertificate(r, c.ClientCertHeader); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		stripForwarded(r)
		next.ServeHTTP(w, r)
	}), nil
}

// direct is for listeners that no proxy stands before: what only a proxy may say is removed (REQ-069).
func (c *Config) direct(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stripForwarded(r)
		if c.ClientCertHeader != "" {
			r.Header.Del(c.ClientCertHeader)
		}
		next.ServeHTTP(w, r)
	})
}

// address reads what terminators write: an address, or an address with a port.
func address(s string) (netip.Addr, bool) {
	if withPort, err := netip.ParseAddrPort(s); err == nil {
		return withPort.Addr(), true
	}
	plain, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return plain, err == nil
}

func lastHop(values []string) string {
	if len(values) == 0 {
		return ""
	}
	hops := strings.Split(values[len(values)-1], ",")
	return strings.TrimSpace(hops[len(hops)-1])
}

func stripForwarded(r *http.Request) {
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded", "X-Real-Ip"} {
		r.Header.Del(name)
	}
}
