package ciba

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"assent/approvals"
	"assent/approvals/keys"
	"assent/store/bolt"
)

const (
	testIssuer  = "https://assent.example"
	testSecret  = "correct-horse-battery-staple-01"
	otherSecret = "another-horse-battery-staple-02"
	payment     = `[{"type":"payment_initiation","instructedAmount":{"currency":"EUR","amount":"480.00"},"creditorName":"Example Travel <Ltd> & Söhne"}]`
)

// service is the real door on a real store, with one person and some agents.
type service struct {
	t testing.TB
	*Handler
	store *bolt.Store
}

type option func(*Parts)

// sharedStore is how a handler is set up when other processes write to the same store.
func sharedStore(p *Parts) {
	p.Fresh = time.Second
	p.Desk = approvals.NewDesk(approvals.DeskParts{Store: p.Records.(*bolt.Store), Records: p.Records, Directory: p.Directory,
		Hub: p.Hub, Hash: func(s string) []byte { return p.Root.MAC(keys.LabelHandle, s) }, Now: p.Now, Log: p.Log, Fresh: p.Fresh})
}

func (s *service) hash(secret string) []byte { return s.Root.MAC(keys.LabelHandle, secret) }

func newService(t testing.TB, options ...option) *service {
	t.Helper()
	st, err := bolt.Open(filepath.Join(storeFolder(t), "assent.db"), bolt.Options{})
	must(t, err)
	return newServiceOn(t, st, options...)
}

// storeFolder is in memory where the system has such a place: the stores of these tests sync thousands of times, and what
// a disk keeps is tested elsewhere. Benchmarks measure with a disk.
func storeFolder(t testing.TB) string {
	t.Helper()
	if _, measures := t.(*testing.B); measures {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "assent-ciba")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}

func newServiceOn(t testing.TB, st *bolt.Store, options ...option) *service {
	t.Helper()
	ctx := context.Background()
	t.Cleanup(func() { must(t, st.Close()) })
	root, err := keys.New(bytes.Repeat([]byte{7}, keys.Size))
	must(t, err)
	hub := approvals.NewHub()
	directory := approvals.NewDirectory(st, hub, 0, time.Now)
	log := slog.New(slog.NewJSONHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelInfo}))
	desk := approvals.NewDesk(approvals.DeskParts{Store: st, Records: st, Directory: directory, Hub: hub,
		Hash: func(s string) []byte { return root.MAC(keys.LabelHandle, s) }, Now: time.Now, Log: log})
	ring, err := NewKeyring(ctx, st, root, hub, 0, time.Now, log)
	must(t, err)
	replay, err := OpenReplay(filepath.Join(storeFolder(t), "replay.log"), "boot", time.Now())
	must(t, err)
	t.Cleanup(func() { must(t, replay.Close()) })
	parts := Parts{Issuer: testIssuer, DefaultAudience: "https://api.example", ACRs: []string{"urn:assent:acr:session"},
		Desk: desk, Directory: directory, Records: st, Hub: hub, Root: root, Keyring: ring, Replay: replay,
		Now: time.Now, Log: log}
	for _, o := range options {
		o(&parts)
	}
	h, err := New(parts)
	must(t, err)
	t.Cleanup(h.Close)
	s := &service{t: t, Handler: h, store: st}
	s.fill(t)
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fill makes people and agents, all in one commit of the store.
func (s *service) fill(t testing.TB) {
	t.Helper()
	var saves []func() error
	for _, p := range []*approvals.Person{
		{ID: "p-ann", Name: "Ann", Locale: "en", Hints: []string{"ann"}, Email: "Ann@Example.com", Phone: "+4930123456"},
		{ID: "p-bob", Name: "Bob", Locale: "ko", Hints: []string{"bob", "acct:bob@example.com"}},
		{ID: "p-eve", Name: "Eve", Hints: []string{"eve"}, Disabled: true},
	} {
		saves = append(saves, func() error { return s.Directory.SavePerson(context.Background(), p) })
	}
	for _, raw := range testClients {
		saves = append(saves, func() error { return s.saveAgent(raw) })
	}
	errs := make(chan error, len(saves))
	for _, save := range saves {
		go func() { errs <- save() }()
	}
	for range saves {
		must(t, <-errs)
	}
}

const allTypes = `"authorization_details_types":["payment_initiation","document_access","tool_call"]`

var testClients = []string{
	`{"client_id":"travel","client_name":"Travel Bot","client_secret":"` + testSecret + `",` + allTypes +
		`,"scope":"trips.book","allowed_audiences":["https://bank.example","https://trips.example/api"]}`,
	`{"client_id":"other","client_name":"Other Bot","client_secret":"` + otherSecret + `",` + allTypes + `}`,
	`{"client_id":"basic","client_secret":"` + basicSecret + `","token_endpoint_auth_method":"client_secret_basic"}`,
	`{"client_id":"web","client_secret":"` + testSecret + `","grant_types":["authorization_code"]}`,
	`{"client_id":"holder","client_secret":"` + testSecret + `","poll_hold_seconds":20}`,
	`{"client_id":"nohold","client_secret":"` + testSecret + `","poll_hold_seconds":0}`,
	`{"client_id":"gone","client_secret":"` + testSecret + `"}`,
}

func (s *service) saveAgent(raw string) error {
	m, err := ParseMetadata([]byte(raw), s.Desk.Renderer.Types)
	if err != nil {
		return err
	}
	a, err := m.Agent(s.Root, time.Now())
	if err != nil {
		return err
	}
	a.Disabled = a.ID == "gone"
	return s.Directory.SaveAgent(context.Background(), a)
}

// form is a body; values are changed with set, and "" takes one away.
type form url.Values

func (f form) with(pairs ...string) form {
	out := form{}
	for k, v := range f {
		out[k] = slices.Clone(v)
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			delete(out, pairs[i])
		} else {
			out[pairs[i]] = []string{pairs[i+1]}
		}
	}
	return out
}

func (f form) String() string { return url.Values(f).Encode() }

// bc is the smallest valid backchannel request.
func bc(pairs ...string) form {
	return form{"scope": {"openid"}, "login_hint": {"ann"}, "binding_message": {"TEAL-7"}, "client_id": {"travel"},
		"client_secret": {testSecret}}.with(pairs...)
}

// tk is a token request for a handle.
func tk(handle string, pairs ...string) form {
	return form{"grant_type": {GrantCIBA}, "auth_req_id": {handle}, "client_id": {"travel"},
		"client_secret": {testSecret}}.with(pairs...)
}

type answer struct {
	status int
	header http.Header
	raw    string
	json   map[string]any
}

func (a answer) code() string {
	s, _ := a.json["error"].(string)
	return s
}

func (a answer) text(name string) string {
	s, _ := a.json[name].(string)
	return s
}

// post sends a form; headers are name, value, name, value.
func (s *service) post(path string, f form, headers ...string) answer {
	return s.send(path, typeForm, f.String(), headers...)
}

func (s *service) send(path, kind, body string, headers ...string) answer {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", kind)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return s.do(r)
}

func (s *service) do(r *http.Request) answer {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	a := answer{status: w.Code, header: w.Header(), raw: w.Body.String()}
	_ = json.Unmarshal(w.Body.Bytes(), &a.json)
	if r.Method == http.MethodPost && !strings.Contains(r.URL.Path, "well-known") && r.URL.Path != userinfoPath {
		s.check(a, r.URL.Path)
	}
	return a
}

// errorCodes is all that the back channel ever says: CIBA sections 11 and 13, RFC 6749, 8707, 9396 and 9449.
var errorCodes = []string{"invalid_request", "invalid_client", "invalid_grant", "invalid_scope", "invalid_target",
	"invalid_authorization_details", "invalid_binding_message", "missing_user_code", "invalid_user_code",
	"expired_login_hint_token", "unknown_user_id", "unauthorized_client", "unsupported_grant_type", "access_denied",
	"authorization_pending", "slow_down", "expired_token", "transaction_failed", "temporarily_unavailable", "server_error",
	"invalid_dpop_proof", "use_dpop_nonce", "unsupported_token_type"}

// registrationCodes is what registration says beside them (RFC 7591 section 3.2.2, RFC 6750 section 3.1).
var registrationCodes = []string{"invalid_client_metadata", "invalid_redirect_uri", "invalid_software_statement",
	"unapproved_software_statement", "invalid_token"}

// check is what holds for every answer of the back channel: REQ-170 to 172.
func (s *service) check(a answer, path string) {
	if a.header.Get("Content-Type") != "application/json" || a.header.Get("Cache-Control") != "no-store" {
		s.t.Errorf("headers of %q: %v", a.raw, a.header)
	}
	if (a.header.Get("WWW-Authenticate") != "") && a.status != http.StatusUnauthorized {
		s.t.Errorf("challenge with status %d", a.status)
	}
	if a.status == http.StatusOK || a.status == http.StatusCreated {
		return
	}
	registers := strings.HasPrefix(path, "/register") && slices.Contains(registrationCodes, a.code())
	if !registers && !slices.Contains(errorCodes, a.code()) { // REQ-114
		s.t.Errorf("no error of the closed list in %q", a.raw)
	}
	for name, v := range a.json {
		text, ok := v.(string)
		odd := strings.ContainsFunc(text, func(c rune) bool { return c < 0x20 || c > 0x7e || c == '"' || c == '\\' })
		if !ok || odd || name != "error" && name != "error_description" {
			s.t.Errorf("member %q of %q", name, a.raw)
		}
	}
}

// ask opens a request and returns its handle.
func (s *service) ask(t testing.TB, pairs ...string) string {
	t.Helper()
	a := s.post("/bc-authorize", bc(pairs...))
	if a.status != http.StatusOK {
		t.Fatalf("bc-authorize: %d %s", a.status, a.raw)
	}
	return a.text("auth_req_id")
}

func idOf(handle string) approvals.ID {
	id, _, _ := strings.Cut(handle, ".")
	return approvals.ID(id)
}

// approve does what the page does when the person presses the button.
func (s *service) approve(t testing.TB, handle string) {
	t.Helper()
	r, err := s.Desk.Request(context.Background(), idOf(handle))
	must(t, err)
	_, err = s.Desk.Approve(context.Background(), r.ID, s.answer(r))
	must(t, err)
}

func (s *service) answer(r *approvals.Request) approvals.Answer {
	return approvals.Answer{By: r.Subject, Digest: r.Disclosures[0].Digest(), Locale: r.Locale, Level: approvals.LevelSession,
		AMR: []string{"otp"}, AuthTime: time.Now().Add(-time.Minute), Via: "page"}
}

func (s *service) deny(t testing.TB, handle, note string) {
	t.Helper()
	r, err := s.Desk.Request(context.Background(), idOf(handle))
	must(t, err)
	a := s.answer(r)
	a.Note = note
	_, err = s.Desk.Deny(context.Background(), r.ID, a)
	must(t, err)
}

// verify checks a token's signature against the published keys and returns header and claims.
func (s *service) verify(t testing.TB, token string) (jose.Header, map[string]any) {
	t.Helper()
	published := s.get("/.well-known/jwks.json")
	var set jose.JSONWebKeySet
	must(t, json.Unmarshal([]byte(published.raw), &set))
	parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	must(t, err)
	payload, err := parsed.Verify(set)
	must(t, err)
	var claims map[string]any
	must(t, json.Unmarshal(payload, &claims))
	return parsed.Signatures[0].Header, claims
}

func (s *service) get(path string) answer {
	return s.do(httptest.NewRequest(http.MethodGet, path, nil))
}

// empty adds parameters without a value.
func (f form) empty(names ...string) form {
	out := f.with()
	for _, n := range names {
		if out[n] == nil {
			out[n] = []string{""}
		}
	}
	return out
}

// stored is everything that the store keeps of a request.
func stored(t testing.TB, r *approvals.Request) string {
	t.Helper()
	raw, err := json.Marshal(r)
	must(t, err)
	return string(raw)
}

func verifies(s *service, token string) bool {
	keys, err := s.Keyring.Public()
	must(s.t, err)
	parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	must(s.t, err)
	_, err = parsed.Verify(jose.JSONWebKeySet{Keys: keys})
	return err == nil
}
