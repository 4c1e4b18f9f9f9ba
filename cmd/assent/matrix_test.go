package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"assent/ciba/client"
)

// The dimensions of the matrix, and the ends that every cell comes to.
var (
	matrixModes    = []string{"poll", "ping"}
	matrixBindings = []string{"bearer", "DPoP", "mTLS"}
	matrixDetails  = []string{"details", "none"}
	matrixMethods  = []string{"client_secret_post", "client_secret_basic", "private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"}
	matrixEnds     = []string{"approved", "denied", "withdrawn", "taken back", "expired"}
)

// countMatrix is pinned, so that a value lost from a list is noticed.
const countMatrix = 2 * 3 * 2 * 5 * 5

// matrixErrors are what the client says of each end.
var matrixErrors = map[string]error{"approved": nil, "denied": client.ErrDenied, "withdrawn": client.ErrWithdrawn,
	"taken back": client.ErrWithdrawn, "expired": client.ErrExpired}

// matrixLife is the life of requests that nobody answers. The clock of the service is put forward by it once, for all of
// them; proofs and assertions of a client whose clock stays behind by that are still good.
const matrixLife = 20 * time.Second

// matrix is one service over TLS, where every cell is an agent of its own.
type matrix struct {
	*certified
	issued, own tls.Certificate // the agents': from the authority, and self-signed
	key         *ecdsa.PrivateKey
	pings       *httptest.Server
	mu          sync.Mutex
	receivers   map[string]http.Handler // by client_id
	told        map[string]int          // pings by client_id
	results     map[string]int          // cases by end
}

// cell is one agent: how it is told, what its tokens are bound to, whether it asks with details, and how it shows who
// it is.
type cell struct {
	mode, binding, details, method string

	once bool // its polls cannot be repeated
	*matrix
	client *client.Client
	wire   http.RoundTripper
	polls  chan struct{} // answers to polls
}

func (c *cell) String() string {
	return strings.Join([]string{c.mode, c.binding, c.details, c.method}, ",")
}

// id is the name as a client_id.
func (c *cell) id() string { return strings.ReplaceAll(c.String(), ",", "-") }

// TestMatrix is our own client against the binary over TLS, in every way to be told, bound, asked and authenticated, each
// brought to every end that a request can have.
func TestMatrix(t *testing.T) {
	row(t, "REQ-008", "REQ-009", "REQ-039", "REQ-067", "REQ-068", "REQ-207", "REQ-209", "REQ-210", "REQ-239")
	t.Parallel()
	m := newMatrix(t)
	cells := m.cells()
	t.Run("before the end", func(t *testing.T) {
		for _, c := range cells {
			t.Run(c.String(), func(t *testing.T) {
				t.Parallel()
				c.client = c.register(t)
				for _, end := range matrixEnds {
					if end != "expired" {
						t.Run(end, func(t *testing.T) { c.come(t, end) })
					}
				}
			})
		}
	})
	if t.Failed() {
		return
	}
	m.expire(t, cells)
	count := 0
	for _, end := range matrixEnds {
		count += m.results[end]
		t.Logf("%3d %s", m.results[end], end)
	}
	if count != countMatrix {
		t.Errorf("%d cases, want %d", count, countMatrix)
	}
}

func newMatrix(t *testing.T) *matrix {
	t.Helper()
	authority := credentials(t, &x509.Certificate{Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true}, curveKey(t), nil)
	m := &matrix{receivers: map[string]http.Handler{}, told: map[string]int{}, results: map[string]int{}, key: curveKey(t)}
	m.issued = credentials(t, &x509.Certificate{DNSNames: []string{"agent.example"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, curveKey(t), &authority)
	m.own = credentials(t, &x509.Certificate{Subject: pkix.Name{CommonName: "agent"}}, curveKey(t), nil)
	m.certified = startCertified(t, authority, m.own)
	m.pings = httptest.NewServer(http.HandlerFunc(m.receive))
	t.Cleanup(m.pings.Close)
	return m
}

func (m *matrix) cells() (all []*cell) {
	for _, mode := range matrixModes {
		for _, binding := range matrixBindings {
			for _, details := range matrixDetails {
				for _, method := range matrixMethods {
					all = append(all, &cell{mode: mode, binding: binding, details: details, method: method,
						matrix: m, polls: make(chan struct{}, 100)})
				}
			}
		}
	}
	return all
}

// receive hands a ping to the client whose name the path is.
func (m *matrix) receive(w http.ResponseWriter, r *http.Request) {
	id := strings.TrimPrefix(r.URL.Path, "/")
	m.mu.Lock()
	h := m.receivers[id]
	m.told[id]++
	m.mu.Unlock()
	if h == nil {
		http.NotFound(w, r)
		return
	}
	h.ServeHTTP(w, r)
}

// RoundTrip lets the test see when a poll has been answered.
func (c *cell) RoundTrip(r *http.Request) (*http.Response, error) {
	if c.once {
		r = r.Clone(r.Context())
		r.Header.Del("Idempotency-Key")
	}
	resp, err := c.wire.RoundTrip(r)
	if strings.HasSuffix(r.URL.Path, "/token") {
		c.polls <- struct{}{}
	}
	return resp, err
}

// certificate is what the agent shows, or nil.
func (c *cell) certificate() *tls.Certificate {
	switch {
	case c.method == "tls_client_auth":
		return &c.issued
	case c.method == "self_signed_tls_client_auth" || c.binding == "mTLS":
		return &c.own
	}
	return nil
}

// register makes the agent known to the service and returns its client.
func (c *cell) register(t *testing.T) *client.Client {
	t.Helper()
	secret := rand.Text()
	metadata := map[string]any{"client_id": c.id(), "client_name": "Travel Bot", "token_endpoint_auth_method": c.method,
		"authorization_details_types": []string{"payment_initiation"}, "dpop_bound_access_tokens": c.binding == "DPoP",
		"tls_client_certificate_bound_access_tokens": c.binding == "mTLS"}
	pair := c.certificate()
	c.wire = c.certified.client(pair).Transport
	config := client.Config{Issuer: c.issuer, ID: c.id(), Certificate: pair != nil, HTTP: &http.Client{Transport: c}}
	switch c.method {
	case "private_key_jwt":
		metadata["jwks"] = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: c.key.Public(), KeyID: "k"}}}
		config.Key = &client.Key{Signer: c.key, ID: "k"}
	case "tls_client_auth":
		metadata["tls_client_auth_san_dns"] = "agent.example"
	case "self_signed_tls_client_auth":
		metadata["jwks"] = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: c.own.Leaf.PublicKey, Certificates: []*x509.Certificate{c.own.Leaf}}}}
	default:
		metadata["client_secret"] = secret
		config.Secret, config.Basic = secret, c.method == "client_secret_basic"
	}
	if c.binding == "DPoP" {
		config.DPoP = c.key
	}
	if c.mode == "ping" {
		metadata["backchannel_token_delivery_mode"] = "ping"
		metadata["backchannel_client_notification_endpoint"] = c.pings.URL + "/" + c.id()
		config.Ping = true
	}
	return c.connect(t, metadata, config)
}

func (c *cell) connect(t *testing.T, metadata map[string]any, config client.Config) *client.Client {
	t.Helper()
	raw, err := json.Marshal(metadata)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := newAdminClient(c.data)
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.call(t.Context(), "POST", "/agents", newAgent{Metadata: raw, AcceptSecret: true, SameName: true}, &madeAgent{}); err != nil {
		t.Fatal(err)
	}
	made, err := client.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.receivers[c.id()] = made.Pings()
	return made
}

// waited is how a request ended.
type waited struct {
	token *client.Token
	err   error
}

// wait asks and waits. It returns when a ping client has had the answer to its first poll: from then on only a ping can
// make it come again in time.
func (c *cell) wait(ctx context.Context, ask client.Ask) (*client.Waiting, <-chan waited, error) {
	w, err := c.client.Ask(ctx, ask)
	if err != nil {
		return nil, nil, err
	}
	for len(c.polls) > 0 { // of the request before
		<-c.polls
	}
	done := make(chan waited, 1)
	go func() {
		token, err := c.client.Wait(ctx, w)
		done <- waited{token, err}
	}()
	if c.mode == "ping" {
		<-c.polls
	}
	return w, done, nil
}

// come brings a request to one of the ends that do not need the clock.
func (c *cell) come(t *testing.T, end string) {
	ctx, cancel := context.WithTimeout(t.Context(), startTime)
	defer cancel()
	var got waited
	if end == "taken back" {
		got = c.takeBack(ctx, t)
	} else {
		w, done, err := c.wait(ctx, c.ask())
		if err != nil {
			t.Fatal(err)
		}
		c.act(t, end, w)
		got = <-done
		if got.err == nil {
			c.look(t, got.token)
		}
	}
	c.judge(t, end, got.err)
}

// act is what happens while the agent waits.
func (c *cell) act(t *testing.T, end string, w *client.Waiting) {
	t.Helper()
	if end != "withdrawn" {
		must(t, http.StatusNoContent)(devDecide(t.Context(), c.certified.client(nil), c.pages, w.Handle, end == "approved"))
		return
	}
	if err := c.client.Cancel(t.Context(), w); err != nil {
		t.Fatal(err)
	}
}

// takeBack withdraws what is approved and not yet collected.
func (c *cell) takeBack(ctx context.Context, t *testing.T) (got waited) {
	t.Helper()
	w, err := c.client.Ask(ctx, c.ask())
	if err != nil {
		t.Fatal(err)
	}
	c.act(t, "approved", w)
	c.act(t, "withdrawn", w)
	got.token, got.err = c.client.Wait(ctx, w)
	return got
}

func (c *cell) ask() client.Ask {
	a := client.Ask{Hint: "ann", Message: "TEAL-7"}
	if c.details == "details" {
		a.Details = json.RawMessage(pay)
	}
	return a
}

// look is what an API sees of a token. The client has verified its signature.
func (c *cell) look(t *testing.T, token *client.Token) {
	t.Helper()
	want := map[string]string{}
	kind := "Bearer"
	switch c.binding {
	case "DPoP":
		sum, err := (&jose.JSONWebKey{Key: c.key.Public()}).Thumbprint(crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		want["jkt"], kind = base64.RawURLEncoding.EncodeToString(sum), "DPoP"
	case "mTLS":
		want["x5t#S256"] = digest(c.certificate().Leaf.Raw)
	}
	if cnf := confirmed(t, token.AccessToken); token.TokenType != kind || !maps.Equal(cnf, want) {
		t.Errorf("%s, cnf %v, want %v", token.TokenType, cnf, want)
	}
	if token.Claims.Subject != "u_ann" || token.Disclosure == nil || string(token.Details) != string(c.ask().Details) {
		t.Errorf("claims %+v, disclosure %+v, details %s", token.Claims, token.Disclosure, token.Details)
	}
}

// judge counts a case whose end is the right one.
func (c *cell) judge(t *testing.T, end string, err error) {
	t.Helper()
	if want := matrixErrors[end]; !errors.Is(err, want) || want == nil && err != nil {
		t.Errorf("%s: %v, want %v", end, err, want)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.results[end]++
}

// expire lets a request of every agent run out.
func (m *matrix) expire(t *testing.T, cells []*cell) {
	ctx, cancel := context.WithTimeout(t.Context(), startTime)
	defer cancel()
	var asking sync.WaitGroup
	ends := make([]<-chan waited, len(cells))
	for i, c := range cells {
		asking.Go(func() {
			ask := c.ask()
			ask.Life = matrixLife
			var err error
			if _, ends[i], err = c.wait(ctx, ask); err != nil {
				t.Errorf("%s: %v", c, err)
			}
		})
	}
	asking.Wait()
	if t.Failed() {
		return
	}
	m.advance(t, matrixLife)
	for i, c := range cells {
		c.judge(t, "expired", (<-ends[i]).err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range cells {
		if n := m.told[c.id()]; (n >= len(matrixEnds)-1) != (c.mode == "ping") { // what was taken back was not waited for
			t.Errorf("%s: %d pings", c, n)
		}
	}
}

func (m *matrix) advance(t *testing.T, by time.Duration) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", m.pages+"/dev/clock", strings.NewReader(fmt.Sprintf(`{"advance": %q}`, by)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	must(t, http.StatusOK)(do(m.client(nil), req))
}
