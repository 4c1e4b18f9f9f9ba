package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The profile starts only where it can be kept, and takes only clients that keep it.
func TestProfileAtStart(t *testing.T) {
	row(t, "REQ-256", "REQ-262")
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"dev mode on plain HTTP":   {[]string{"--dev", "--profile", "fapi"}, "--profile fapi needs --tls-cert"},
		"dev mode's own issuer":    {[]string{"--dev", "--profile", "fapi", "--tls-cert", "x", "--tls-key", "y"}, "https --issuer"},
		"no terminator":            {[]string{"--profile", "fapi", "--issuer", "https://a.example"}, "--profile fapi needs --tls-cert"},
		"a profile that we do not": {[]string{"--profile", "fapi2"}, "--profile"},
	} {
		if code, said := parseConfig(t, nil, tt.args...); code != exitUsage || !strings.Contains(said, tt.want) {
			t.Errorf("%s: code %d, said %q", name, code, said)
		}
	}
	data := newData(t)
	cert, key := filepath.Join(filepath.Dir(data), "tls.crt"), filepath.Join(filepath.Dir(data), "tls.key")
	if err := writeSelfSigned(cert, key); err != nil {
		t.Fatal(err)
	}
	flags := []string{"--tls-cert", cert, "--tls-key", key}
	args := append(append(devArgs(data), "--profile", "fapi", "--issuer", "https://localhost:8460"), flags...)
	if p, err := startProcess(args, os.Environ()); err == nil {
		p.kill()
		t.Error("started with clients that have secrets")
	} else if !strings.Contains(err.Error(), "clients[0]: token_endpoint_auth_method must not be a secret under the fapi profile") {
		t.Error(err)
	}
	args = append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0", "--profile", "fapi", "--issuer", "https://localhost:8460"}, flags...)
	p, err := startProcess(args, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	if said, code := runs(t, "agent", "add", "--data", data, "New Bot"); code != exitFailed || !strings.Contains(said, "must not be a secret") {
		t.Errorf("agent with a secret: code %d, %s", code, said)
	}
}
