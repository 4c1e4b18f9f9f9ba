package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/net/html"
)

// TestMain lets the test binary be the assent binary: a test starts itself as a process of its own and can kill it.
func TestMain(m *testing.M) {
	testscript.Main(abreast{m}, map[string]func(){"assent": main})
}

// abreast is a run in which twice as many tests run side by side as usual: they wait for processes half of their time.
type abreast struct{ *testing.M }

func (a abreast) Run() int {
	flag.Parse()
	side := flag.Lookup("test.parallel")
	if n, err := strconv.Atoi(side.DefValue); err == nil && side.Value.String() == side.DefValue {
		_ = side.Value.Set(strconv.Itoa(2 * n))
	}
	return a.M.Run()
}

// demanded reports whether the environment names tools that must be there, as it does before a change lands.
func demanded() bool { return os.Getenv("ASSENT_REQUIRE") != "" }

// need skips a test whose tool is missing, which err says. Where ASSENT_REQUIRE names the tool, as it does before a
// change lands, that is a failure.
func need(t *testing.T, tool string, err error) {
	t.Helper()
	switch {
	case err == nil:
	case slices.Contains(strings.Split(os.Getenv("ASSENT_REQUIRE"), ","), tool):
		t.Fatalf("%s is required: %v", tool, err)
	default:
		t.Skipf("needs %s: %v", tool, err)
	}
}

// process is one running `assent serve`.
type process struct {
	cmd     *exec.Cmd
	issuer  string
	pages   string
	metrics string // host:port, if asked for

	mu   sync.Mutex
	logs bytes.Buffer
	done chan struct{} // closed when its output has ended
}

// startTime is how long a process may take to say that it is ready.
const startTime = 20 * time.Second

// startProcess runs assent with args and waits until it says that it is ready.
func startProcess(args, env []string) (*process, error) {
	binary, err := exec.LookPath("assent") // testscript puts the test binary there under this name
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(binary, args...), done: make(chan struct{})}
	p.cmd.Env = env
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan error, 1)
	go p.read(stderr, ready)
	select {
	case err = <-ready:
	case <-time.After(startTime):
		err = fmt.Errorf("not ready after %v", startTime)
	}
	if err != nil {
		p.kill()
		return nil, fmt.Errorf("start assent %s: %w\n%s", strings.Join(args, " "), err, p.log())
	}
	return p, nil
}

// read collects the log and reports the line that says ready.
func (p *process) read(stderr io.Reader, ready chan<- error) {
	defer close(p.done)
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for waiting := true; lines.Scan(); {
		p.mu.Lock()
		p.logs.Write(append(lines.Bytes(), '\n'))
		p.mu.Unlock()
		var line struct{ Msg, Issuer, Pages, Metrics string }
		if waiting && json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "ready" {
			p.issuer, p.pages, p.metrics, waiting = line.Issuer, line.Pages, line.Metrics, false
			ready <- nil
		}
	}
	ready <- fmt.Errorf("it ended")
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.logs.String()
}

// kill is kill -9.
func (p *process) kill() {
	p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.done
	p.cmd.Wait()
}

// stop asks politely and returns how it ended.
func (p *process) stop() error {
	p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.done
	return p.cmd.Wait()
}

// fixtures every test starts with: two agents and two people.
const fixtures = `{
  "clients": [
    {"client_id": "bot", "client_name": "Travel Bot", "client_secret": "bot-secret-0123456789-abcdef",
     "authorization_details_types": ["payment_initiation", "document_access", "tool_call"]},
    {"client_id": "other", "client_name": "Other Bot", "client_secret": "other-secret-0123456789-abcd",
     "token_endpoint_auth_method": "client_secret_basic", "authorization_details_types": ["tool_call"]}
  ],
  "people": [
    {"sub": "u_ann", "login_hints": ["ann"], "name": "Ann", "locale": "en", "zone": "Europe/Berlin", "phone": "+4930123456", "email": "ann@example.com"},
    {"sub": "u_bob", "login_hints": ["bob"], "name": "Bob", "locale": "ko", "zone": "Asia/Seoul"}
  ]
}`

// pay is what most tests ask for.
const pay = `[{"type":"payment_initiation","instructedAmount":{"currency":"EUR","amount":"480.00"},"creditorName":"Example Travel"}]`

// devArgs is the command line of a service for tests over the folder.
func devArgs(data string) []string {
	return []string{"serve", "--dev", "--data", data, "--listen", "127.0.0.1:0", "--fixtures", filepath.Join(data, "..", "fixtures.json")}
}

// newDev starts a service in dev mode over a new folder.
func newDev(t *testing.T) *process {
	t.Helper()
	data := newData(t)
	return restartDev(t, data)
}

// newData makes a folder for a service, with the fixtures beside it.
func newData(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "assent") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	if err := os.WriteFile(filepath.Join(folder, "fixtures.json"), []byte(fixtures), 0o600); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(folder, "data")
}

// restartDev starts a service over a folder that may have been used before, and stops it with the test.
func restartDev(t *testing.T, data string, more ...string) *process {
	t.Helper()
	p, err := startProcess(append(devArgs(data), more...), os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			p.kill()
		}
	})
	return p
}

// agentHTTP is an agent that speaks the wire by hand, so that tests see every byte.
type agentHTTP struct {
	issuer, id, secret string
	basic              bool
	key                bool // the form says who it is
	http               *http.Client
}

func bot(issuer string) *agentHTTP {
	return &agentHTTP{issuer: issuer, id: "bot", secret: "bot-secret-0123456789-abcdef", http: &http.Client{Timeout: 40 * time.Second}}
}

func otherBot(issuer string) *agentHTTP {
	return &agentHTTP{issuer: issuer, id: "other", secret: "other-secret-0123456789-abcd", basic: true, http: &http.Client{Timeout: 40 * time.Second}}
}

// wireAnswer is what came back.
type wireAnswer struct {
	status int
	header http.Header
	body   []byte
}

// member reads a string member of the body.
func (a wireAnswer) member(name string) string {
	var m map[string]any
	json.Unmarshal(a.body, &m)
	s, _ := m[name].(string)
	return s
}

// send posts a form to an endpoint.
func (a *agentHTTP) send(ctx context.Context, path string, form url.Values, header http.Header) (wireAnswer, error) {
	req, err := a.request(ctx, path, form, header)
	if err != nil {
		return wireAnswer{}, err
	}
	return do(a.http, req)
}

// request makes the request that send sends.
func (a *agentHTTP) request(ctx context.Context, path string, form url.Values, header http.Header) (*http.Request, error) {
	body := url.Values{}
	for name, values := range form {
		body[name] = values
	}
	if !a.basic && !a.key {
		body.Set("client_id", a.id)
		body.Set("client_secret", a.secret)
	}
	req, err := http.NewRequestWithContext(ctx, "POST", strings.TrimSuffix(a.issuer, "/")+path, strings.NewReader(body.Encode()))
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if a.basic {
		req.SetBasicAuth(url.QueryEscape(a.id), url.QueryEscape(a.secret))
	}
	return req, nil
}

// do returns an answer once all of it is there.
func do(client *http.Client, req *http.Request) (wireAnswer, error) {
	resp, err := client.Do(req)
	if err != nil {
		return wireAnswer{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return wireAnswer{resp.StatusCode, resp.Header, raw}, err
}

// devDecide decides through dev mode, as the subject of the request.
func devDecide(ctx context.Context, client *http.Client, pages, id string, approve bool) (wireAnswer, error) {
	req, err := devRequest(ctx, pages, id, approve)
	if err != nil {
		return wireAnswer{}, err
	}
	return do(client, req)
}

func devRequest(ctx context.Context, pages, id string, approve bool) (*http.Request, error) {
	path := map[bool]string{true: "/dev/approve", false: "/dev/deny"}[approve]
	req, err := http.NewRequestWithContext(ctx, "POST", pages+path, strings.NewReader(fmt.Sprintf(`{"auth_req_id": %q}`, id)))
	if err == nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, err
}

// verdict is what a request page says: "open", "approved", "denied", or "" for anything else.
func (p *htmlPage) verdict() string {
	if findNode(p.root, func(n *html.Node) bool { return attr(n, "data-stage") == "open" }) != nil {
		return "open"
	}
	h1 := findNode(p.root, func(n *html.Node) bool { return n.Data == "h1" })
	if h1 == nil {
		return ""
	}
	for _, verdict := range []string{"approved", "denied"} {
		if words := strings.ToLower(textOf(h1)); strings.HasPrefix(words, verdict) || strings.HasPrefix(words, "already "+verdict) {
			return verdict
		}
	}
	return ""
}

// ask posts a backchannel request with defaults for what form leaves out.
func (a *agentHTTP) ask(ctx context.Context, form url.Values, header http.Header) (wireAnswer, error) {
	return a.send(ctx, "/bc-authorize", askForm(form), header)
}

func askForm(form url.Values) url.Values {
	defaults := url.Values{"scope": {"openid"}, "login_hint": {"ann"}, "binding_message": {"H3-91"}, "authorization_details": {pay}}
	for name, values := range form {
		defaults[name] = values
	}
	return defaults
}

// poll posts a token request for an auth_req_id.
func (a *agentHTTP) poll(ctx context.Context, id string, header http.Header) (wireAnswer, error) {
	return a.send(ctx, "/token", pollForm(id), header)
}

func pollForm(id string) url.Values {
	return url.Values{"grant_type": {"urn:openid:params:grant-type:ciba"}, "auth_req_id": {id}}
}

// must returns the answer of a call that has to succeed with a status.
func must(t *testing.T, want int) func(wireAnswer, error) wireAnswer {
	return func(a wireAnswer, err error) wireAnswer {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if a.status != want {
			t.Fatalf("status %d, want %d: %s", a.status, want, a.body)
		}
		return a
	}
}

// openOnPhone finds the newest message on the person's simulated phone, taps it and continues to the request page.
// patience is how long it waits for a message.
func (b *browser) openOnPhone(ctx context.Context, pages, person string, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for {
		if err := b.open(ctx, pages+"/dev/phone/"+person); err != nil {
			return err
		}
		link, err := b.page.link(func(href string) bool { return strings.Contains(href, "/r/") })
		if err == nil {
			if err := b.open(ctx, link); err != nil {
				return err
			}
			return b.press(ctx, b.page.url.Path, nil)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no message on the phone of %s: %w", person, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond): // the phone is polled, as a person looks at it again
		}
	}
}
