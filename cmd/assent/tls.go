package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// tlsConfig is TLS 1.3, or 1.2 with the two ECDHE AES-GCM families of BCP 195 (REQ-076).
func tlsConfig(c *certificates) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current() },
	}
}

// certificates serves a certificate from files and reads them again when they change, so that a renewal needs no
// restart. A broken renewal keeps the old certificate.
type certificates struct {
	certFile, keyFile string
	now               func() time.Time
	log               *slog.Logger

	mu      sync.Mutex
	cert    *tls.Certificate
	stamp   time.Time
	checked time.Time
}

// recheck is how often the files are looked at.
const recheck = 10 * time.Second

func newCertificates(certFile, keyFile string, now func() time.Time, log *slog.Logger) (*certificates, error) {
	c := &certificates{certFile: certFile, keyFile: keyFile, now: now, log: log}
	return c, c.read()
}

func (c *certificates) read() error {
	stamp, err := c.changed()
	if err != nil {
		return fmt.Errorf("TLS certificate: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("TLS certificate: %w", err)
	}
	c.cert, c.stamp, c.checked = &pair, stamp, c.now()
	return nil
}

// changed returns the younger of the two files' times.
func (c *certificates) changed() (time.Time, error) {
	cert, err := os.Stat(c.certFile)
	if err != nil {
		return time.Time{}, err
	}
	key, err := os.Stat(c.keyFile)
	if err != nil {
		return time.Time{}, err
	}
	if key.ModTime().After(cert.ModTime()) {
		return key.ModTime(), nil
	}
	return cert.ModTime(), nil
}

func (c *certificates) current() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now().Sub(c.checked) >= recheck {
		c.checked = c.now()
		if stamp, err := c.changed(); err == nil && !stamp.Equal(c.stamp) {
			if err := c.read(); err != nil { // half a renewal: the old pair serves on, and the next look tries again
				c.log.Warn("new TLS certificate not taken", "err", err)
			}
		}
	}
	return c.cert, nil
}
