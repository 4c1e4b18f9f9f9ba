package main

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// parse runs the command line far enough to know the configuration: serve fails at --listen, after all checks.
func parseConfig(t *testing.T, env map[string]string, args ...string) (code int, complaint string) {
	t.Helper()
	for name, value := range env {
		t.Setenv(name, value)
	}
	var out, errOut bytes.Buffer
	code = run(t.Context(), append([]string{"serve", "--data", filepath.Join(t.TempDir(), "d")}, args...), nil, &out, &errOut)
	return code, errOut.String()
}

// Everything that cannot work together is refused before anything is opened.
func TestConfigRefuses(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"no issuer", nil, "--issuer is required"},
		{"issuer without TLS", []string{"--issuer", "http://a.example"}, "--issuer must be an https URL"},
		{"REQ-002 issuer with query", []string{"--issuer", "https://a.example/?x"}, "--issuer must be an https URL"},
		{"fixtures without dev", []string{"--issuer", "https://a.example", "--fixtures", "x"}, "--fixtures needs --dev"},
		{"slow phone without dev", []string{"--issuer", "https://a.example", "--dev-phone-delay", "1s"}, "needs --dev"},
		{"certificate without key", []string{"--issuer", "https://a.example", "--tls-cert", "x"}, "need each other"},
		{"dev off loopback", []string{"--dev", "--listen", "0.0.0.0:0"}, "--dev needs a loopback"},
		{"REQ-076 plain HTTP off loopback", []string{"--issuer", "https://a.example", "--listen", "0.0.0.0:0"}, "--listen off loopback needs"},
		{"proxy is no network", []string{"--issuer", "https://a.example", "--trusted-proxy", "10.0.0.1"}, "--trusted-proxy must be a network"},
		{"metrics off loopback", []string{"--issuer", "https://a.example", "--admin-listen", "0.0.0.0:1"}, "--admin-listen must be a loopback"},
		{"listen without port", []string{"--issuer", "https://a.example", "--listen", "localhost"}, "must be HOST:PORT"},
		{"life too short", []string{"--issuer", "https://a.example", "--default-expiry", "9"}, "--default-expiry must be at least 10"},
		{"life too long", []string{"--issuer", "https://a.example", "--max-expiry", "604801"}, "--default-expiry must be"},
		{"no history", []string{"--issuer", "https://a.example", "--history-days", "0"}, "--history-days must be 1 to"},
		{"fewer people than none", []string{"--issuer", "https://a.example", "--people-per-minute=-1"}, "--people-per-minute must not"},
		{"endless history", []string{"--issuer", "https://a.example", "--history-days", "110000"}, "--history-days must be 1 to"},
		{"endless standing", []string{"--issuer", "https://a.example", "--standing-days", "366"}, "--standing-days must be 0 to 365"},
		{"plain HTTP without a terminator", []string{"--issuer", "https://a.example"}, "give --tls-cert, or --trusted-proxy"},
		{"pages with a path", []string{"--issuer", "https://a.example", "--pages-url", "https://a.example/x"}, "--pages-url must be an https origin"},
		{"negative limit", []string{"--issuer", "https://a.example", "--prompts-open=-1"}, "must not be negative"},
		{"unknown policy", []string{"--issuer", "https://a.example", "--quiet-hours", "loud"}, "--quiet-hours"},
		{"unknown loud type", []string{"--issuer", "https://a.example", "--loud-types", "payment_initiation,fire"}, "--loud-types must name"},
		{"unknown flag", []string{"--isuer", "https://a.example"}, "unknown flag"},
		{"unknown level", []string{"--issuer", "https://a.example", "--log-level", "loud"}, "--log-level"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			row(t, tt.name)
			if code, said := parseConfig(t, nil, tt.args...); code != exitUsage || !strings.Contains(said, tt.want) {
				t.Errorf("code %d, said %q, want %q", code, said, tt.want)
			}
		})
	}
}

// The command line wins over the environment, the environment over the file. What is refused tells which value counted.
func TestConfigOrder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "assent.toml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const issuer = "issuer = \"https://a.example\"\n"
	tests := []struct {
		name, file string
		env        map[string]string
		args       []string
		want       string
	}{
		{"file alone", issuer + "default-expiry = 3\n", nil, nil, "--default-expiry"},
		{"environment over file", "issuer = \"http://from-file.example\"\n",
			map[string]string{"ASSENT_ISSUER": "https://a.example", "ASSENT_HISTORY_DAYS": "0"}, nil, "--history-days"},
		{"command line over environment", "", map[string]string{"ASSENT_HISTORY_DAYS": "0"},
			[]string{"--issuer", "http://b.example", "--history-days", "1"}, "--issuer"},
		{"unknown key", "isuer = \"https://a.example\"\n", nil, nil, "unknown key"},
		{"ports of the file", issuer + "outbound-ports = [8443, 0]\n", nil, nil, "--outbound-ports"},
		{"registration of the file", issuer + "registration = true\nregistration-clients = 0\n", nil, nil, "--registration-clients"},
		{"resource", issuer + "[[resource]]\nuri = \"not absolute\"\n", nil, nil, "resource[0].uri"},
		{"ladder", issuer + "[[ladder]]\nchannel = \"fax\"\n", nil, nil, "ladder[0].channel"},
		{"ladder without end", issuer + "[[ladder]]\nchannel = \"any\"\nrepeat = 11\n", nil, nil, "ladder[0].repeat"},
		{"provider twice", issuer + "[[provider]]\nchannel = \"sms\"\n[[provider]]\nchannel = \"sms\"\n", nil, nil, "provider[1].channel"},
		{"provider beyond its bound", issuer + "[[provider]]\nchannel = \"sms\"\nin-flight = 257\n", nil, nil, "provider[0].in-flight"},
		{"provider without a rate", issuer + "[[provider]]\nchannel = \"sms\"\nper-second = -1\n", nil, nil, "provider[0].per-second"},
		{"unknown key of a ladder", issuer + "[[ladder]]\nchanel = \"any\"\n", nil, nil, "unknown key"},
		{"level of an unknown type", issuer + "[[level]]\ntype = \"fire\"\nneeds = \"phr\"\n", nil, nil, "level[0].type"},
		{"level that is none", issuer + "[[level]]\ntype = \"tool_call\"\nneeds = \"gold\"\n", nil, nil, "level[0].needs"},
		{"level without any", issuer + "[[level]]\ntype = \"tool_call\"\n", nil, nil, "level[0].needs"},
		{"level over a bad amount", issuer + "[[level]]\ntype = \"payment_initiation\"\ncurrency = \"EUR\"\nover = \"1,000\"\nneeds = \"phr\"\n", nil, nil, "level[0].over"},
		{"level over an amount that is no string", issuer + "[[level]]\ntype = \"payment_initiation\"\ncurrency = \"EUR\"\nover = 1000.00\nneeds = \"phr\"\n", nil, nil, "configuration"},
		{"level over an amount in nothing", issuer + "[[level]]\ntype = \"payment_initiation\"\nover = \"1000.00\"\nneeds = \"phr\"\n", nil, nil, "level[0].currency"},
		{"unknown key of a level", issuer + "[[level]]\ntype = \"tool_call\"\nneed = \"phr\"\n", nil, nil, "unknown key"},
		{"passkeys where none can be", "issuer = \"https://192.0.2.1\"\n[[level]]\ntype = \"tool_call\"\nneeds = \"phr\"\n", nil, nil, "passkeys need --pages-url"},
		{"list", issuer + "loud-types = [\"payment_initiation\", \"fire\"]\n", nil, nil, "--loud-types must name"},
		{"no TOML", "issuer: x", nil, nil, "configuration"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			write(tt.file)
			code, said := parseConfig(t, tt.env, append([]string{"--config", file}, tt.args...)...)
			if code != exitUsage || !strings.Contains(said, tt.want) {
				t.Errorf("code %d, said %q, want %q", code, said, tt.want)
			}
		})
	}
}

func TestConfigDerives(t *testing.T) {
	c := Config{Listen: "127.0.0.1:8460", Dev: true}
	if err := c.completeURLs(); err != nil || c.Issuer != "http://localhost:8460" || c.PagesURL != "http://localhost:8460" {
		t.Errorf("dev: %v, %q, %q", err, c.Issuer, c.PagesURL)
	}
	c = Config{Listen: "127.0.0.1:8460", Issuer: "https://a.example/t1/"}
	if err := c.completeURLs(); err != nil || c.Issuer != "https://a.example/t1/" || c.PagesURL != "https://a.example" {
		t.Errorf("path issuer: %v, %q, %q", err, c.Issuer, c.PagesURL)
	}
	if got := c.defaultAudience(); got != "https://a.example/t1/resource" {
		t.Errorf("REQ-235 default audience %q", got)
	}
	c.Resources = []Resource{{URI: "https://bank.example/", Scopes: []ResourceScope{{"pay", "Make payments", "결제하기"}}}}
	if got := c.defaultAudience(); got != "https://bank.example/" || c.scopes()["pay"].KO != "결제하기" {
		t.Errorf("resource: %q, %v", got, c.scopes())
	}
}

// The ports that client-chosen URLs may have come from the command line or a list in the file.
func TestOutboundPorts(t *testing.T) {
	if got := flagText([]any{int64(8443), int64(9443)}); got != "8443,9443" {
		t.Errorf("list of the file: %q", got)
	}
	if got := (&service{}).guard(); got.loopback || !got.allows(netip.MustParseAddrPort("8.8.8.8:443")) ||
		got.allows(netip.MustParseAddrPort("8.8.8.8:8443")) {
		t.Errorf("by default: %+v", got)
	}
	got := (&service{cfg: Config{OutboundPorts: []uint16{8443}, Dev: true}}).guard()
	if !got.loopback || !got.allows(netip.MustParseAddrPort("8.8.8.8:8443")) || got.allows(netip.MustParseAddrPort("8.8.8.8:9443")) {
		t.Errorf("with one port: %+v", got)
	}
}

func TestAdminSocketPath(t *testing.T) {
	if _, err := adminSocket("/" + strings.Repeat("x", 100)); err == nil || !strings.Contains(err.Error(), "shorter --data") {
		t.Errorf("long path: %v", err)
	}
}

func TestHelpAndVersion(t *testing.T) {
	var out bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, nil, &out, &out); code != exitOK || !strings.Contains(out.String(), "person invite") {
		t.Errorf("help: %d %s", code, out.String())
	}
	out.Reset()
	if code := run(t.Context(), []string{"version", "--licenses"}, nil, &out, &out); code != exitOK || !strings.Contains(out.String(), "assent ") {
		t.Errorf("version: %d %s", code, out.String())
	}
	out.Reset()
	if code := run(t.Context(), []string{"version", "--json"}, nil, &out, &out); code != exitOK || !strings.Contains(out.String(), `"version":`) {
		t.Errorf("version as JSON: %d %s", code, out.String())
	}
}
