package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"assent/webapp/passkey/passkeytest"
)

// Stories as people tell them, one a file in testdata/script. Each starts the real binary as a process of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           filepath.Join("testdata", "script"),
		UpdateScripts: false,
		Setup: func(env *testscript.Env) error {
			env.Values[storyKey{}] = &story{}
			folder, err := os.MkdirTemp("", "assent") // $WORK is too long for a socket
			if err != nil {
				return err
			}
			env.Defer(func() {
				if p := env.Values[storyKey{}].(*story).process; p != nil && p.cmd.ProcessState == nil {
					p.kill()
				}
				os.RemoveAll(folder)
			})
			env.Setenv("DATA", filepath.Join(folder, "data"))
			return os.WriteFile(filepath.Join(folder, "fixtures.json"), []byte(fixtures), 0o600)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"start": start, "shutdown": shutdown, "kill9": kill9,
			"ask": ask, "poll": poll, "status": status, "cancel": cancel, "introspect": introspect,
			"approve": approve, "deny": deny, "report": reportAs, "withdraw": withdraw, "advance": advance, "page": page, "open": openPage,
			"install": install, "setenv": setenv, "inbox": inbox,
			"exits": exits, "pick": pick, "await": await, "passkey": usePasskey, "claims": claims,
		},
	})
}

type storyKey struct{}

// story is what one script has done so far.
type story struct {
	process *process
	args    []string
	id      string // the newest auth_req_id
	browser *browser
	trust   *x509.CertPool // of an installation with TLS
	device  *passkeytest.Authenticator
}

func storyOf(ts *testscript.TestScript) *story { return ts.Value(storyKey{}).(*story) }

// start runs the service; without arguments in dev mode with the fixtures, or as it was started before.
func start(ts *testscript.TestScript, neg bool, args []string) {
	s := storyOf(ts)
	if len(args) == 0 && s.args == nil {
		args = devArgs(ts.Getenv("DATA"))
	}
	if len(args) == 0 {
		args = s.args
	}
	s.args = args
	p, err := startProcess(args, os.Environ())
	if (err != nil) != neg {
		ts.Fatalf("start: %v", err)
	}
	if err != nil {
		fmt.Fprintln(ts.Stderr(), err)
		return
	}
	s.process = p
	ts.Setenv("ISSUER", p.issuer)
	if slices.Contains(args, "127.0.0.1:0") { // the same port again after a restart, so that links live on
		port := p.issuer[strings.LastIndex(p.issuer, ":")+1:]
		s.args[slices.Index(s.args, "127.0.0.1:0")] = "127.0.0.1:" + port
	}
}

func shutdown(ts *testscript.TestScript, neg bool, _ []string) {
	if err := storyOf(ts).process.stop(); (err != nil) != neg {
		ts.Fatalf("stop: %v\n%s", err, storyOf(ts).process.log())
	}
}

func kill9(ts *testscript.TestScript, _ bool, _ []string) { storyOf(ts).process.kill() }

// words splits name=value arguments: form members, and headers after a colon as in Prefer:wait=0.
func words(args []string) (url.Values, http.Header, string) {
	form, header, who := url.Values{}, http.Header{}, "bot"
	for _, arg := range args {
		if name, value, ok := strings.Cut(arg, ":"); ok && !strings.Contains(name, "=") {
			header.Set(name, value)
		} else if name, value, ok := strings.Cut(arg, "="); ok {
			form.Set(name, value)
		} else {
			who = arg
		}
	}
	return form, header, who
}

func (s *story) agent(who string) *agentHTTP {
	if who == "other" {
		return otherBot(s.process.issuer)
	}
	return bot(s.process.issuer)
}

// report prints an answer for stdout and fails unless its success is what the script says.
func report(ts *testscript.TestScript, neg bool, a wireAnswer, err error) {
	if err != nil {
		ts.Fatalf("%v", err)
	}
	fmt.Fprintf(ts.Stdout(), "%d %s\n", a.status, a.body)
	for _, name := range []string{"Retry-After", "WWW-Authenticate", "Cache-Control"} {
		if v := a.header.Get(name); v != "" {
			fmt.Fprintf(ts.Stdout(), "%s: %s\n", name, v)
		}
	}
	if (a.status != http.StatusOK) != neg {
		ts.Fatalf("status %d", a.status)
	}
}

// ask [other] [name=value …] [Header:value …] asks and remembers the auth_req_id.
func ask(ts *testscript.TestScript, neg bool, args []string) {
	s := storyOf(ts)
	form, header, who := words(args)
	a, err := s.agent(who).ask(context.Background(), form, header)
	report(ts, neg, a, err)
	if id := a.member("auth_req_id"); id != "" {
		s.id = id
		ts.Setenv("ID", id)
	}
}

// poll [other] [Header:value …] asks for the tokens of the newest request, or of auth_req_id=….
func poll(ts *testscript.TestScript, neg bool, args []string) {
	s := storyOf(ts)
	form, header, who := words(args)
	id := s.id
	if form.Has("auth_req_id") {
		id = form.Get("auth_req_id")
	}
	a, err := s.agent(who).poll(context.Background(), id, header)
	report(ts, neg, a, err)
}

// status and cancel [other] are about the newest request, or about auth_req_id=….
func status(ts *testscript.TestScript, neg bool, args []string) {
	about(ts, neg, args, "/requests/status")
}
func cancel(ts *testscript.TestScript, neg bool, args []string) {
	about(ts, neg, args, "/requests/cancel")
}

func about(ts *testscript.TestScript, neg bool, args []string, path string) {
	s := storyOf(ts)
	form, _, who := words(args)
	if !form.Has("auth_req_id") {
		form.Set("auth_req_id", s.id)
	}
	a, err := s.agent(who).send(context.Background(), path, form, nil)
	report(ts, neg, a, err)
}

// introspect [other] FILE asks about the access token that assent request has printed into a file.
func introspect(ts *testscript.TestScript, neg bool, args []string) {
	file := args[len(args)-1]
	_, _, who := words(args[:len(args)-1])
	var token struct {
		Access string `json:"access_token"`
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(file)), &token))
	a, err := storyOf(ts).agent(who).send(context.Background(), "/introspect", url.Values{"token": {token.Access}}, nil)
	report(ts, neg, a, err)
}

// person returns the sub of "as ann".
func personOf(ts *testscript.TestScript, args []string) string {
	if len(args) < 2 || args[0] != "as" {
		ts.Fatalf("usage: as NAME …")
	}
	return "u_" + args[1]
}

// approve as NAME takes the phone, taps the newest message and presses Approve.
func approve(ts *testscript.TestScript, neg bool, args []string) {
	press(ts, neg, args, "/approve", nil)
}

// deny as NAME [note] presses Deny.
func deny(ts *testscript.TestScript, neg bool, args []string) {
	values := map[string]string{}
	if len(args) > 2 {
		values["note"] = args[2]
	}
	press(ts, neg, args, "/deny", values)
}

// reportAs NAME presses Deny and report.
func reportAs(ts *testscript.TestScript, neg bool, args []string) {
	press(ts, neg, args, "/report", nil)
}

func press(ts *testscript.TestScript, neg bool, args []string, button string, values map[string]string) {
	s := storyOf(ts)
	person := personOf(ts, args)
	s.browser = newBrowser()
	ctx := context.Background()
	err := s.browser.openOnPhone(ctx, s.process.pages, person, patience(neg))
	if err == nil {
		err = s.browser.press(ctx, button, values)
	}
	if err == nil && s.browser.page.status >= 400 {
		err = fmt.Errorf("status %d: %s", s.browser.page.status, s.browser.page.visible())
	}
	if (err != nil) != neg {
		ts.Fatalf("press %s: %v", button, err)
	}
	if s.browser.page != nil {
		fmt.Fprintln(ts.Stdout(), s.browser.page.visible())
	}
}

// withdraw presses the button of the page that approve left open.
func withdraw(ts *testscript.TestScript, neg bool, _ []string) {
	s := storyOf(ts)
	if err := s.browser.press(context.Background(), "/withdraw", nil); (err != nil) != neg {
		ts.Fatalf("withdraw: %v", err)
	}
	fmt.Fprintln(ts.Stdout(), s.browser.page.visible())
}

// patience is short where the story expects that no message is there.
func patience(neg bool) time.Duration {
	if neg {
		return time.Second
	}
	return startTime
}

// page as NAME opens the newest request on the phone and prints what is to be read.
func page(ts *testscript.TestScript, neg bool, args []string) {
	s := storyOf(ts)
	s.browser = newBrowser()
	if err := s.browser.openOnPhone(context.Background(), s.process.pages, personOf(ts, args), patience(neg)); (err != nil) != neg {
		ts.Fatalf("open page: %v", err)
	}
	fmt.Fprintln(ts.Stdout(), s.browser.page.visible())
}

// open URL [press SUFFIX name=value …]… walks the pages with the browser of the story.
func openPage(ts *testscript.TestScript, neg bool, args []string) {
	s := storyOf(ts)
	ctx := context.Background()
	if s.browser == nil {
		s.browser = newBrowser()
	}
	var err error
	if args[0] == "press" {
		form, _, _ := words(args[2:])
		values := map[string]string{}
		for name := range form {
			values[name] = form.Get(name)
		}
		err = s.browser.press(ctx, args[1], values)
	} else {
		err = s.browser.open(ctx, args[0])
	}
	if err == nil && s.browser.page.status >= 400 {
		err = fmt.Errorf("status %d: %s", s.browser.page.status, s.browser.page.visible())
	}
	if (err != nil) != neg {
		ts.Fatalf("open: %v", err)
	}
	fmt.Fprintln(ts.Stdout(), s.browser.page.visible())
}

// inbox opens the signed-in person's inbox and the first request in it.
func inbox(ts *testscript.TestScript, neg bool, _ []string) {
	s := storyOf(ts)
	ctx := context.Background()
	err := s.browser.open(ctx, s.process.pages+"/inbox")
	var link string
	if err == nil {
		link, err = s.browser.page.link(func(href string) bool { return strings.Contains(href, "/requests/") })
	}
	if err == nil {
		err = s.browser.open(ctx, link)
	}
	if (err != nil) != neg {
		ts.Fatalf("inbox: %v: %s", err, s.browser.page.visible())
	}
	fmt.Fprintln(ts.Stdout(), s.browser.page.visible())
}

// exits CODE assent ARG … runs the program and expects that exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == want {
		return
	}
	ts.Fatalf("%s: %v, want exit code %d", args[1], err, want)
}

// install makes what a real installation brings along: a port ($PORT), a certificate for it (tls.crt, tls.key), and
// clients that trust it.
func install(ts *testscript.TestScript, _ bool, _ []string) {
	port, err := freePort()
	ts.Check(err)
	ts.Check(writeSelfSigned(ts.MkAbs("tls.crt"), ts.MkAbs("tls.key")))
	s := storyOf(ts)
	s.trust = x509.NewCertPool()
	s.trust.AppendCertsFromPEM([]byte(ts.ReadFile("tls.crt")))
	s.browser = newBrowser()
	s.browser.http.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.trust}}
	ts.Setenv("PORT", port)
	ts.Setenv("SSL_CERT_FILE", ts.MkAbs("tls.crt"))
}

// freePort finds a port of loopback for a service that has to know it before it starts. It is below those that systems give
// to whoever asks for any, or another test might get it in between.
func freePort() (string, error) {
	for range 100 {
		port := strconv.Itoa(20_000 + mathrand.IntN(10_000))
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
		if err == nil {
			return port, l.Close()
		}
	}
	return "", errors.New("no port is free")
}

// writeSelfSigned writes a certificate for localhost and its key.
func writeSelfSigned(certFile, keyFile string) error {
	cert, key, err := selfSigned("localhost")
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(certFile, cert, 0o600), os.WriteFile(keyFile, key, 0o600))
}

// selfSigned makes a certificate that vouches for itself.
func selfSigned(host string) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), err
}

// setenv NAME FILE MEMBER takes a string member out of a JSON file.
func setenv(ts *testscript.TestScript, _ bool, args []string) {
	var object map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &object))
	value, ok := object[args[2]].(string)
	if !ok {
		ts.Fatalf("%s has no string %s", args[1], args[2])
	}
	ts.Setenv(args[0], value)
}

// pick NAME FILE PATTERN takes the first group of a pattern out of a file.
func pick(ts *testscript.TestScript, _ bool, args []string) {
	found := regexp.MustCompile(args[2]).FindStringSubmatch(ts.ReadFile(args[1]))
	if len(found) < 2 {
		ts.Fatalf("%s has no %s", args[1], args[2])
	}
	ts.Setenv(args[0], found[1])
}

// await PATTERN COMMAND ARG … runs a program until its output has the pattern.
func await(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile(args[0])
	for end := time.Now().Add(startTime); ; <-time.After(20 * time.Millisecond) { // as an operator looks again
		ts.Check(ts.Exec(args[1], args[2:]...))
		if pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s never said %s", args[1], args[0])
		}
	}
}

// advance DURATION puts the service's clock forward.
func advance(ts *testscript.TestScript, _ bool, args []string) {
	body := strings.NewReader(fmt.Sprintf(`{"advance": %q}`, args[0]))
	resp, err := http.Post(storyOf(ts).process.pages+"/dev/clock", "application/json", body)
	if err != nil {
		ts.Fatalf("advance: %v", err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		ts.Fatalf("advance: %s", resp.Status)
	}
}
