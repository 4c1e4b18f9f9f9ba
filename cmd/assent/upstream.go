package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"assent/approvals"
	"assent/webapp/upstream"
)

// Upstream is an OpenID provider at which people may sign in: an [[upstream]] table of the configuration file.
type Upstream struct {
	Name   string `toml:"name"` // in /signin/NAME/back, the redirect URI to register with the provider
	EN     string `toml:"en"`   // what people read; default: the name
	KO     string `toml:"ko"`
	Issuer string `toml:"issuer"`

	ClientID   string `toml:"client_id"`
	SecretFile string `toml:"client_secret_file"` // or
	KeyFile    string `toml:"private_key_file"`   // PKCS #8, PEM: private_key_jwt
	KeyID      string `toml:"key_id"`

	Scopes     []string `toml:"scopes"`      // beside openid; profile or email show people which account is connected
	ACRValues  []string `toml:"acr_values"`  // asked for, and demanded
	MaxAge     Seconds  `toml:"max_age"`     // how long ago people may have signed in there; default 0: any time
	SessionACR []string `toml:"session_acr"` // what makes a sign-in good enough to approve; without both: every sign-in
	SessionAMR []string `toml:"session_amr"`
}

// maxKeyFile bounds the files of secrets.
const maxKeyFile = 16 << 10

// settings reads the files that a table names.
func (u Upstream) settings() (upstream.Settings, error) {
	s := upstream.Settings{Name: u.Name, EN: u.EN, KO: u.KO, Issuer: u.Issuer, ClientID: u.ClientID, KeyID: u.KeyID,
		Scopes: u.Scopes, ACRValues: u.ACRValues, MaxAge: u.MaxAge.Duration(), SessionACR: u.SessionACR, SessionAMR: u.SessionAMR}
	if u.SecretFile != "" {
		secret, err := readSecret(u.SecretFile)
		if err != nil {
			return s, fmt.Errorf("client_secret_file: %w", err)
		}
		s.Secret = string(secret)
	}
	if u.KeyFile != "" {
		key, err := readSigner(u.KeyFile)
		if err != nil {
			return s, fmt.Errorf("private_key_file: %w", err)
		}
		s.Key = key
	}
	return s, nil
}

func readSecret(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || len(raw) > maxKeyFile {
		return nil, errors.New("is empty or too long")
	}
	return raw, nil
}

func readSigner(path string) (crypto.Signer, error) {
	raw, err := readSecret(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, errors.New("is not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("holds no PKCS #8 private key")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("holds a key that cannot sign")
	}
	return signer, nil
}

// providers are all tables with their files.
func (c *Config) providers() (list []upstream.Settings, err error) {
	for i, u := range c.Upstreams {
		s, err := u.settings()
		if err != nil {
			return nil, fmt.Errorf("upstream[%d].%w", i, err)
		}
		list = append(list, s)
	}
	return list, nil
}

// checkUpstream refuses providers that cannot be.
func (c *Config) checkUpstream() error {
	list, err := c.providers()
	if err != nil {
		return err
	}
	return upstream.Check(list, c.Dev)
}

// openUpstream makes the ways in over providers, if there are any. It calls none of them.
func (s *service) openUpstream() error {
	list, err := s.cfg.providers()
	if err != nil || len(list) == 0 {
		return err
	}
	s.elsewhere, err = upstream.New(upstream.Config{Records: s.store, Root: s.root, Now: s.clock.Now, Log: s.log, HTTP: newUpstreamClient(),
		Origin: s.cfg.PagesURL, Providers: list, Loopback: s.cfg.Dev, Since: s.signedOutAt})
	return err
}

// signedOutAt is when a person was last signed out everywhere.
func (s *service) signedOutAt(ctx context.Context, id approvals.PersonID) (time.Time, error) {
	p, err := s.dir.Person(ctx, id)
	if err != nil {
		return time.Time{}, err
	}
	return p.SignedOutAt, nil
}

// newUpstreamClient makes the client for providers at which people sign in. Operators choose them, so they may be inside;
// what they answer is bounded like everything else from outside, and a redirect is an answer, not a way.
func newUpstreamClient() *http.Client {
	dialer := &net.Dialer{Timeout: guardConnect}
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    guardConnect,
		DisableCompression:     true,
		MaxResponseHeaderBytes: guardHeader,
		MaxConnsPerHost:        guardPerHost,
		MaxIdleConns:           guardHosts,
		IdleConnTimeout:        guardIdle,
	}
	return &http.Client{
		Transport:     boundedTransport{transport},
		Timeout:       guardTotal,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// boundedTransport bounds what comes back.
type boundedTransport struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (b boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if resp.ContentLength > guardBody {
		resp.Body.Close()
		return nil, errGuardLarge
	}
	resp.Body = &guardedBody{ReadCloser: resp.Body, left: guardBody}
	return resp, nil
}

// upstreamCollector reads how sign-ins elsewhere ended when metrics are asked for.
type upstreamCollector struct{ s *service }

var upstreamOutcomes = prometheus.NewDesc("approvals_upstream_signins_total",
	"Sign-ins at OpenID providers by how they ended.", []string{"provider", "outcome"}, nil)

// Describe names the metric.
func (c upstreamCollector) Describe(ch chan<- *prometheus.Desc) { ch <- upstreamOutcomes }

// Collect asks the keeper.
func (c upstreamCollector) Collect(ch chan<- prometheus.Metric) {
	if c.s.elsewhere == nil {
		return
	}
	for o, n := range c.s.elsewhere.Counts() {
		ch <- prometheus.MustNewConstMetric(upstreamOutcomes, prometheus.CounterValue, float64(n), o.Provider, o.What)
	}
}
