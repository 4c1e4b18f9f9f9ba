package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// TestAgentKey: the forms in which agents keep their keys, and what is refused without repeating it.
func TestAgentKey(t *testing.T) {
	t.Parallel()
	curve, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, edwards, err2 := ed25519.GenerateKey(rand.Reader)
	modulus, err3 := rsa.GenerateKey(rand.Reader, 2048)
	pkcs8, err4 := x509.MarshalPKCS8PrivateKey(edwards)
	sec1, err5 := x509.MarshalECPrivateKey(curve)
	jwk, err6 := json.Marshal(jose.JSONWebKey{Key: curve, KeyID: "k1"})
	public, err7 := json.Marshal(jose.JSONWebKey{Key: curve.Public(), KeyID: "k1"})
	shared, err8 := json.Marshal(jose.JSONWebKey{Key: []byte("secret")})
	for _, err := range []error{err1, err2, err3, err4, err5, err6, err7, err8} {
		if err != nil {
			t.Fatal(err)
		}
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	tests := []struct {
		name, file, kid string
		ok              bool
	}{
		{"PKCS #8", block("PRIVATE KEY", pkcs8), "", true},
		{"SEC 1", block("EC PRIVATE KEY", sec1), "", true},
		{"SEC 1 by openssl", block("EC PARAMETERS", []byte{6, 1, 1}) + block("EC PRIVATE KEY", sec1), "", true},
		{"PKCS #1", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(modulus)), "", true},
		{"JWK", " " + string(jwk) + "\n", "k1", true},
		{"public JWK", string(public), "", false},
		{"shared secret", string(shared), "", false},
		{"certificate", block("CERTIFICATE", pkcs8[1:]), "", false},
		{"parameters only", block("EC PARAMETERS", []byte{6, 1, 1}), "", false},
		{"half a JWK", string(jwk[:40]), "", false},
		{"something else", "correct-horse-battery", "", false},
		{"nothing", "", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			key, err := parseAgentKey([]byte(tt.file))
			if (err == nil) != tt.ok || tt.ok && (key.ID != tt.kid || key.Signer == nil) {
				t.Errorf("%v, %v", key, err)
			}
			if err != nil && tt.file != "" && strings.Contains(err.Error(), tt.file) {
				t.Errorf("the error repeats the file: %v", err)
			}
		})
	}
}
