package main

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"golang.org/x/net/netutil"
)

// limitConnections holds further connections back until others close.
func limitConnections(l net.Listener, n int) net.Listener { return netutil.LimitListener(l, n) }

// behindProxy takes the client's address from the last hop of X-Forwarded-For, but only from the configured terminator,
// and refuses whoever else comes over plain HTTP. Without a proxy those headers mean nothing and are removed.
func (c *Config) behindProxy(next http.Handler) (http.Handler, error) {
	if c.TrustedProxy == "" {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			stripForwarded(r)
			next.ServeHTTP(w, r)
		}), nil
	}
	network, err := netip.ParsePrefix(c.TrustedProxy)
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !network.Contains(peer.Addr().Unmap()) || r.Header.Get("X-Forwarded-Proto") != "https" {
			http.Error(w, "this listener answers its TLS terminator only", http.StatusForbidden)
			return
		}
		if client, err := netip.ParseAddr(lastHop(r.Header.Values("X-Forwarded-For"))); err == nil {
			r.RemoteAddr = netip.AddrPortFrom(client, 0).String()
		}
		stripForwarded(r)
		next.ServeHTTP(w, r)
	}), nil
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
