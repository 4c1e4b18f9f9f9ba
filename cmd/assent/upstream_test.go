package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// upstreamTable reads a configuration file with one [[upstream]] table, as serve does.
func upstreamTable(t *testing.T, lines ...string) *Config {
	t.Helper()
	var c cli
	table := append([]string{"[[upstream]]", `name = "corp"`, `issuer = "https://login.example.com"`, `client_id = "assent"`}, lines...)
	if _, err := c.loadTOML(strings.NewReader(strings.Join(table, "\n"))); err != nil {
		t.Fatal(err)
	}
	return &Config{tables: c.tables}
}

// A provider is a table of the configuration file; its secrets are files. What cannot work is named before the start.
func TestUpstreamTables(t *testing.T) {
	folder := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	secret, empty := file("secret", "hush-hush-hush\n"), file("empty", "\n")
	private := file("key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	tests := []struct{ line, want string }{
		{`client_secret_file = "` + secret + `"`, ""},
		{`private_key_file = "` + private + `"`, ""},
		{"", "upstream[0].client_secret_file"},
		{`client_secret_file = "` + empty + `"`, "upstream[0].client_secret_file"},
		{`client_secret_file = "` + folder + `/none"`, "upstream[0].client_secret_file"},
		{`private_key_file = "` + secret + `"`, "upstream[0].private_key_file: is not PEM"},
		{"client_secret_file = \"" + secret + "\"\nsession_amr = [\"house\"]", "upstream[0].session_amr"},
		{"client_secret_file = \"" + secret + "\"\nmax_age = -1", "upstream[0].max_age"},
	}
	for _, tt := range tests {
		err := upstreamTable(t, tt.line).checkUpstream()
		if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.line, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("the secret is in %v", err)
		}
	}
	list, err := upstreamTable(t, `client_secret_file = "`+secret+`"`, `max_age = 60`, `ko = "예시"`).providers()
	if err != nil || list[0].Secret != "hush-hush-hush" || list[0].MaxAge.Seconds() != 60 || list[0].Title("ko") != "예시" {
		t.Errorf("%v", err)
	}
	var c cli
	if _, err := c.loadTOML(strings.NewReader("[[upstream]]\nclient_secret = \"x\"")); err == nil {
		t.Error("a secret in the configuration file is taken")
	}
}

// What providers answer is bounded, and a redirect is an answer.
func TestUpstreamClient(t *testing.T) {
	large := strings.Repeat("a", guardBody+1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large":
			_, _ = io.WriteString(w, large)
		case "/chunked":
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, large)
		case "/elsewhere":
			http.Redirect(w, r, "/large", http.StatusFound)
		}
	}))
	defer server.Close()
	client := newUpstreamClient()
	defer client.CloseIdleConnections()
	for _, path := range []string{"/large", "/chunked"} {
		resp, err := client.Get(server.URL + path)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if err == nil {
			t.Errorf("%s was read to its end", path)
		}
	}
	resp, err := client.Get(server.URL + "/elsewhere")
	if err != nil || resp.StatusCode != http.StatusFound {
		t.Errorf("followed a redirect: %v", err)
	}
	if err == nil {
		resp.Body.Close()
	}
}

// A provider that is down keeps the service neither from starting nor from its other ways in; how sign-ins end is
// counted.
func TestUpstreamDownAtStart(t *testing.T) {
	folder := t.TempDir()
	secret, config := filepath.Join(folder, "secret"), filepath.Join(folder, "assent.toml")
	table := "[[upstream]]\nname = \"corp\"\nen = \"Example ID\"\nissuer = \"http://127.0.0.1:1\"\nclient_id = \"assent\"\n" +
		"client_secret_file = \"" + secret + "\"\n"
	for path, content := range map[string]string{secret: "hush-hush-hush", config: table} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := startProcess([]string{"serve", "--dev", "--config", config, "--data", filepath.Join(folder, "data"),
		"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); <-p.done })
	read := func(url string) (int, string) {
		t.Helper()
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		raw, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(raw)
	}
	if status, page := read(p.pages + "/signin"); status != http.StatusOK || !strings.Contains(page, "Continue with Example ID") {
		t.Errorf("%d: %s", status, page)
	}
	if status, page := read(p.pages + "/signin/corp"); status != http.StatusServiceUnavailable ||
		!strings.Contains(page, "Example ID does not answer right now.") {
		t.Errorf("%d: %s", status, page)
	}
	const counted = `approvals_upstream_signins_total{outcome="discovery",provider="corp"} 1`
	if _, page := read("http://" + p.metrics + "/metrics"); !strings.Contains(page, counted) {
		t.Errorf("no %s", counted)
	}
}
