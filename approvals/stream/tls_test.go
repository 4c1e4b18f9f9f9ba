package stream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// TestMutualTLS: a server that shows a certificate of our authority and asks for one of ours.
func TestMutualTLS(t *testing.T) {
	cert, key := certificate(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	port := freePort(t)
	asking := &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	serveWith(t, &server.Options{Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true, JetStream: true,
		StoreDir: t.TempDir(), TLSConfig: asking, TLSVerify: true, TLSTimeout: 2})
	url := fmt.Sprintf("tls://127.0.0.1:%d", port)

	tests := []struct {
		name      string
		config    Config
		connected bool
	}{
		{"both certificates", Config{URL: url, CA: cert, Cert: cert, Key: key}, true},
		{"authority unknown to us", Config{URL: url, Cert: cert, Key: key}, false},
		{"no certificate of ours", Config{URL: url, CA: cert}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := opened(t, tt.config)
			if err := b.Healthy(); (err == nil) != tt.connected {
				t.Errorf("Healthy: %v, want connected %t", err, tt.connected)
			}
			err := b.Send(t.Context(), "phone", "k", "id", time.Time{}, nil)
			if (err == nil) != tt.connected {
				t.Errorf("Send: %v, want connected %t", err, tt.connected)
			}
		})
	}
}

// certificate writes a certificate that is its own authority, and its key.
func certificate(t testing.TB) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bus"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return written(t, filepath.Join(dir, "cert.pem"), "CERTIFICATE", der),
		written(t, filepath.Join(dir, "key.pem"), "PRIVATE KEY", secret)
}

func written(t testing.TB, path, kind string, der []byte) string {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
