package upstream_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"context"

	"assent/approvals"
	"assent/approvals/keys"
	"assent/store"
	"assent/webapp/upstream"
	"assent/webapp/upstream/upstreamtest"
)

var start = time.Date(2026, 3, 2, 13, 26, 0, 0, time.UTC)

// bound is what one browser alone has; other is another browser's.
const (
	bound = "browser"
	other = "other browser"
)

// house is a keeper over a real store, and a provider.
type house struct {
	*upstream.Keeper
	t        *testing.T
	store    store.Store
	config   upstream.Config
	provider *upstreamtest.Provider
	logged   *bytes.Buffer

	mu    sync.Mutex
	now   time.Time
	since map[approvals.PersonID]time.Time
}

func (h *house) clock() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *house) advance(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newHouse(t *testing.T, change ...func(*upstream.Settings)) *house {
	t.Helper()
	h := &house{t: t, now: start, logged: &bytes.Buffer{}, since: map[approvals.PersonID]time.Time{}}
	db, err := store.Open(t.Context(), "bolt:"+filepath.Join(t.TempDir(), "assent.db"), h.clock)
	check(t, err)
	t.Cleanup(func() { check(t, db.Close()) })
	root, err := keys.New(bytes.Repeat([]byte{7}, keys.Size))
	check(t, err)
	h.store, h.provider = db, upstreamtest.New(t, h.clock)
	h.provider.SignIn(upstreamtest.User{"sub": "a-1"})
	s := upstream.Settings{Name: "corp", Issuer: h.provider.Issuer, ClientID: h.provider.ClientID, Secret: h.provider.Secret}
	for _, c := range change {
		c(&s)
	}
	h.config = upstream.Config{Records: db, Root: root, Now: h.clock, Log: slog.New(slog.NewTextHandler(h.logged, nil)),
		HTTP: h.provider.Client(), Origin: "https://ap.example.com", Providers: []upstream.Settings{s},
		Since: func(_ context.Context, p approvals.PersonID) (time.Time, error) { return h.since[p], nil }}
	h.restart()
	return h
}

// restart makes a new keeper over the same store, as after a crash.
func (h *house) restart() {
	h.t.Helper()
	k, err := upstream.New(h.config)
	check(h.t, err)
	h.Keeper = k
}

// query sets out and returns the query with which the provider sends the browser back.
func (h *house) query(w upstream.Wish) string {
	t := h.t
	t.Helper()
	to, err := h.Begin(t.Context(), "corp", bound, "ko", w)
	check(t, err)
	resp, err := h.provider.Client().Get(to)
	check(t, err)
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	back, err := url.Parse(resp.Header.Get("Location"))
	check(t, err)
	if got := back.Scheme + "://" + back.Host + back.Path; got != "https://ap.example.com/signin/corp/back" {
		t.Fatalf("sent back to %s: %s", got, text)
	}
	return back.RawQuery
}

func (h *house) answer(w upstream.Wish) upstream.Back {
	h.t.Helper()
	b, err := upstream.ParseBack(h.query(w))
	check(h.t, err)
	return b
}

func (h *house) connect(p approvals.PersonID) error {
	h.t.Helper()
	return h.Connect(h.t.Context(), "corp", bound, p, "session", h.answer(upstream.Wish{Person: p, By: "session"}))
}

// signIn goes the whole way and commits.
func (h *house) signIn(w upstream.Wish) (upstream.Proof, error) {
	h.t.Helper()
	return h.use(bound, h.answer(w))
}

func (h *house) use(browser string, b upstream.Back) (upstream.Proof, error) {
	proof, err := h.SignIn(h.t.Context(), "corp", browser, b)
	if err == nil {
		err = h.Commit(h.t.Context(), proof)
	}
	return proof, err
}

// why is what the log says of the last refusal.
func (h *house) why() string {
	lines := strings.Split(strings.TrimSpace(h.logged.String()), "\n")
	_, why, _ := strings.Cut(lines[len(lines)-1], "why=")
	return why
}

func text(s string) *string { return &s }

// Everything that an answer can do wrong is refused with its own word, which is all that the log and the counters say.
func TestRefusals(t *testing.T) {
	set := func(name string, value any) func(map[string]any) {
		return func(c map[string]any) { c[name] = value }
	}
	drop := func(name string) func(map[string]any) { return func(c map[string]any) { delete(c, name) } }
	at := func(d time.Duration) int64 { return start.Add(d).Unix() }
	broken := func(path string, status int) upstreamtest.Faults {
		return upstreamtest.Faults{Status: map[string]int{path: status}}
	}
	tests := []struct {
		name   string
		faults upstreamtest.Faults
		want   error
		why    string
	}{
		{"nonce", upstreamtest.Faults{Claims: set("nonce", "x")}, upstream.ErrRefused, "nonce"},
		{"no nonce", upstreamtest.Faults{Claims: drop("nonce")}, upstream.ErrRefused, "nonce"},
		{"audience", upstreamtest.Faults{Claims: set("aud", "somebody")}, upstream.ErrRefused, "claims"},
		{"no audience", upstreamtest.Faults{Claims: drop("aud")}, upstream.ErrRefused, "claims"},
		{"audiences without azp", upstreamtest.Faults{Claims: set("aud", []string{"assent", "somebody"})}, upstream.ErrRefused, "azp"},
		{"azp", upstreamtest.Faults{Claims: set("azp", "somebody")}, upstream.ErrRefused, "azp"},
		{"issuer", upstreamtest.Faults{Claims: set("iss", "https://evil.example")}, upstream.ErrRefused, "claims"},
		{"expired", upstreamtest.Faults{Claims: set("exp", at(-2*time.Minute))}, upstream.ErrRefused, "expired"},
		{"no exp", upstreamtest.Faults{Claims: drop("exp")}, upstream.ErrRefused, "expired"},
		{"from before", upstreamtest.Faults{Claims: set("iat", at(-2*time.Minute))}, upstream.ErrRefused, "iat"},
		{"no iat", upstreamtest.Faults{Claims: drop("iat")}, upstream.ErrRefused, "iat"},
		{"from the future", upstreamtest.Faults{Claims: set("iat", at(2*time.Minute))}, upstream.ErrRefused, "iat"},
		{"not yet", upstreamtest.Faults{Claims: set("nbf", at(time.Hour))}, upstream.ErrRefused, "claims"},
		{"at_hash", upstreamtest.Faults{Claims: set("at_hash", "AAAAAAAAAAAAAAAAAAAAAA")}, upstream.ErrRefused, "at_hash"},
		{"other access token", upstreamtest.Faults{Token: set("access_token", "x")}, upstream.ErrRefused, "at_hash"},
		{"no subject", upstreamtest.Faults{Claims: drop("sub")}, upstream.ErrRefused, "sub"},
		{"long subject", upstreamtest.Faults{Claims: set("sub", strings.Repeat("a", 256))}, upstream.ErrRefused, "sub"},
		{"subject is no text", upstreamtest.Faults{Claims: set("sub", 7)}, upstream.ErrRefused, "claims"},
		{"auth_time in the future", upstreamtest.Faults{Claims: set("auth_time", at(time.Hour))}, upstream.ErrRefused, "auth_time"},
		{"auth_time is no time", upstreamtest.Faults{Claims: set("auth_time", -1)}, upstream.ErrRefused, "token"},
		{"alg none", upstreamtest.Faults{Alg: "none"}, upstream.ErrRefused, "alg"},
		{"alg HS256", upstreamtest.Faults{Alg: "HS256"}, upstream.ErrRefused, "alg"},
		{"access token as ID token", upstreamtest.Faults{Typ: "at+jwt"}, upstream.ErrRefused, "type"},
		{"logout token as ID token", upstreamtest.Faults{Typ: "logout+jwt"}, upstream.ErrRefused, "type"},
		{"signature", upstreamtest.Faults{Foreign: true}, upstream.ErrRefused, "signature"},
		{"no ID token", upstreamtest.Faults{Token: drop("id_token")}, upstream.ErrRefused, "token"},
		{"huge ID token", upstreamtest.Faults{Token: set("id_token", strings.Repeat("a", 33<<10))}, upstream.ErrRefused, "token"},
		{"no access token", upstreamtest.Faults{Token: drop("access_token")}, upstream.ErrDown, "token"},

		{"mix-up", upstreamtest.Faults{Iss: text("https://evil.example")}, upstream.ErrRefused, "issuer"},
		{"iss left out", upstreamtest.Faults{Iss: text("")}, upstream.ErrRefused, "issuer"},
		{"given up", upstreamtest.Faults{Error: "access_denied"}, upstream.ErrCancelled, "cancelled"},
		{"unavailable", upstreamtest.Faults{Error: "temporarily_unavailable"}, upstream.ErrDown, "unavailable"},
		{"unmet", upstreamtest.Faults{Error: "unmet_authentication_requirements"}, upstream.ErrWeak, "acr"},
		{"some error", upstreamtest.Faults{Error: "provider_invented_this"}, upstream.ErrRefused, "error"},

		{"token endpoint broken", broken("/token", 500), upstream.ErrDown, "token"},
		{"token endpoint busy", broken("/token", 429), upstream.ErrDown, "token"},
		{"token endpoint elsewhere", broken("/token", 302), upstream.ErrRefused, "code"},
		{"token endpoint slow", upstreamtest.Faults{Slow: map[string]bool{"/token": true}}, upstream.ErrDown, "token"},
		{"keys broken", broken("/jwks", 500), upstream.ErrDown, "keys"},
		{"keys slow", upstreamtest.Faults{Slow: map[string]bool{"/jwks": true}}, upstream.ErrDown, "keys"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			_, err := h.Begin(t.Context(), "corp", bound, "en", upstream.Wish{}) // discovery, before things break
			check(t, err)
			h.provider.Break(tt.faults)
			_, err = h.signIn(upstream.Wish{})
			if !errors.Is(err, tt.want) || h.why() != tt.why {
				t.Errorf("got %v because of %q, want %v because of %q", err, h.why(), tt.want, tt.why)
			}
			if got := h.Counts()[upstream.Outcome{Provider: "corp", What: tt.why}]; got != 1 {
				t.Errorf("counted %d times", got)
			}
			for _, words := range []string{"provider says", "a-1", "invented"} {
				if strings.Contains(err.Error()+h.logged.String(), words) {
					t.Errorf("%q of the provider is in an error or the log: %v\n%s", words, err, h.logged)
				}
			}
			h.provider.Break(upstreamtest.Faults{})
			if _, err = h.signIn(upstream.Wish{}); !errors.Is(err, upstream.ErrNotConnected) {
				t.Errorf("healed: %v", err)
			}
		})
	}
}
