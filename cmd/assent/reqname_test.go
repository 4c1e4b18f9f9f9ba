package main

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// REQ-177: the answer's header and the log line bear the same name, and nobody outside chooses it.
func TestCallsAreNamed(t *testing.T) {
	row(t, "REQ-177")
	var log bytes.Buffer
	logger := newLogger(&log, "info").With("part", "x")
	h := named(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { logger.InfoContext(r.Context(), "worked") }))
	r := httptest.NewRequest("POST", "/", nil)
	r.Header.Set(nameHeader, "mine")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	name := w.Header().Get(nameHeader)
	if len(name) != 12 || !strings.Contains(log.String(), `"req":"`+name+`"`) || strings.Contains(log.String(), "mine") {
		t.Errorf("header %q, log %s", name, log.String())
	}
	again := httptest.NewRecorder()
	h.ServeHTTP(again, httptest.NewRequest("POST", "/", nil))
	if again.Header().Get(nameHeader) == name {
		t.Error("two calls have one name")
	}
}

// Metrics, profiles and dev mode answer to this machine's own names only (DNS rebinding).
func TestLocalOnly(t *testing.T) {
	h := localOnly(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	for host, want := range map[string]int{"localhost:1": 200, "127.0.0.1": 200, "[::1]:80": 200, "evil.example": 403, "10.0.0.1:1": 403, "": 403} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("host %q: status %d, want %d", host, w.Code, want)
		}
	}
}

// A renewed certificate is taken without a restart; half a renewal keeps the old one and says so.
func TestCertificateRenewal(t *testing.T) {
	folder := t.TempDir()
	certFile, keyFile := filepath.Join(folder, "c"), filepath.Join(folder, "k")
	at := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	write := func(cert, key []byte) {
		t.Helper()
		at = at.Add(time.Hour)
		for path, text := range map[string][]byte{certFile: cert, keyFile: key} {
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	made := func() (cert, key []byte) {
		t.Helper()
		cert, key, err := selfSigned("localhost")
		if err != nil {
			t.Fatal(err)
		}
		return cert, key
	}
	firstCert, firstKey := made()
	write(firstCert, firstKey)
	var log bytes.Buffer
	c, err := newCertificates(certFile, keyFile, func() time.Time { return at }, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	first, _ := c.current()
	nextCert, nextKey := made()
	write(nextCert, firstKey)
	if half, _ := c.current(); half != first || !strings.Contains(log.String(), "not taken") {
		t.Errorf("half a renewal: changed %v, log %s", half != first, log.String())
	}
	write(nextCert, nextKey)
	if renewed, _ := c.current(); renewed == first {
		t.Error("the renewed pair is not served")
	}
	if _, err := newCertificates(filepath.Join(folder, "none"), keyFile, time.Now, slog.New(slog.NewTextHandler(io.Discard, nil))); err == nil {
		t.Error("no certificate, and no complaint")
	}
}
