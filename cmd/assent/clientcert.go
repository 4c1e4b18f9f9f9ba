package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"assent/ciba"
)

// mutual is what agents with certificates are told and held to, or nil if nobody asks for certificates.
func (c *Config) mutual() (*ciba.MTLS, error) {
	if !c.asksForCertificates() {
		return nil, nil
	}
	roots, err := readAuthorities(c.MTLSCA)
	if err != nil {
		return nil, err
	}
	return &ciba.MTLS{URL: c.MTLSURL, Roots: roots}, nil
}

func (c *Config) asksForCertificates() bool { return c.MTLSListen != "" || c.ClientCertHeader != "" }

// readAuthorities reads certificates in PEM; no file is no pool.
func readAuthorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--mtls-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("--mtls-ca: no certificate in %s", file)
	}
	return pool, nil
}

// mutualConfig asks for a certificate and takes any, or none: whose it is and who has issued it is judged with the
// client's registration at hand, in one answer for everything that is wrong. No authorities are named, because many
// clients would then keep a self-signed certificate to themselves.
func mutualConfig(c *certificates) *tls.Config {
	config := tlsConfig(c)
	config.ClientAuth = tls.RequestClientCert
	return config
}

// checkMutual refuses settings about clients' certificates that cannot work.
func (c *Config) checkMutual() error {
	switch {
	case c.MTLSListen != "" && c.TLSCert == "":
		return errors.New("--mtls-listen needs --tls-cert and --tls-key")
	case c.ClientCertHeader != "" && c.TrustedProxy == "":
		return errors.New("--client-cert-header needs --trusted-proxy: from anybody else the header means nothing")
	case !validHeader(c.ClientCertHeader):
		return errors.New("--client-cert-header must be the name of a header that nothing else uses, such as Client-Cert")
	case !c.asksForCertificates() && (c.MTLSCA != "" || c.MTLSURL != ""):
		return errors.New("--mtls-ca and --mtls-url need --mtls-listen or --client-cert-header")
	}
	if c.MTLSListen == "" {
		return nil
	}
	loopback, err := isLoopback(c.MTLSListen)
	if err != nil {
		return fmt.Errorf("--mtls-listen: %w", err)
	}
	if c.Dev && !loopback {
		return errors.New("--dev needs a loopback --mtls-listen")
	}
	return nil
}

// takenHeaders have a meaning already.
var takenHeaders = []string{"Authorization", "Cookie", "Content-Type", "Content-Length", "DPoP", "Host",
	"Idempotency-Key", "Prefer"}

// validHeader reports whether a header can be given to certificates. None is fine.
func validHeader(name string) bool {
	letter := func(c rune) bool {
		return c == '-' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
	}
	taken := slices.ContainsFunc(takenHeaders, func(h string) bool { return strings.EqualFold(h, name) })
	return !taken && strings.TrimFunc(name, letter) == "" && !strings.HasPrefix(strings.ToLower(name), "x-forwarded-")
}

// completeMutual derives the URL of the listener for certificates from the issuer and its port, and checks it.
func (c *Config) completeMutual(issuer *url.URL) error {
	if c.MTLSURL == "" && c.MTLSListen != "" {
		_, port, _ := net.SplitHostPort(c.MTLSListen)
		c.MTLSURL = "https://" + net.JoinHostPort(issuer.Hostname(), port) + strings.TrimSuffix(issuer.Path, "/")
	}
	if c.MTLSURL == "" {
		return nil
	}
	u, err := url.Parse(c.MTLSURL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil ||
		strings.TrimSuffix(u.Path, "/") != strings.TrimSuffix(issuer.Path, "/") {
		return errors.New("--mtls-url must be an https URL with the issuer's path")
	}
	c.MTLSURL = strings.TrimSuffix(c.MTLSURL, "/")
	return nil
}

var errForwarded = errors.New("client certificate header: must be one certificate, as RFC 9440 or percent-encoded PEM")

// takeCertificate makes the certificate that a TLS terminator has forwarded what a TLS connection would have shown.
// Whoever calls it has checked that the request comes from that terminator.
func takeCertificate(r *http.Request, header string) error {
	lines := r.Header.Values(header)
	r.Header.Del(header)
	if len(lines) == 0 || len(lines) == 1 && lines[0] == "" {
		return nil
	}
	if len(lines) > 1 {
		return errForwarded
	}
	der, err := forwardedCertificate(lines[0])
	if err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return errForwarded
	}
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
	return nil
}

// forwardedCertificate reads :base64: (RFC 9440 section 2.1), or PEM as nginx escapes it.
func forwardedCertificate(line string) ([]byte, error) {
	if inner, ok := strings.CutPrefix(line, ":"); ok {
		inner, ok = strings.CutSuffix(inner, ":")
		der, err := base64.StdEncoding.DecodeString(inner)
		if !ok || err != nil {
			return nil, errForwarded
		}
		return der, nil
	}
	text, err := url.PathUnescape(line)
	if err != nil {
		return nil, errForwarded
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || strings.TrimSpace(string(rest)) != "" {
		return nil, errForwarded
	}
	return block.Bytes, nil
}
