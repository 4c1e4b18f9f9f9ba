package upstream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

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
	t        testing.TB
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

func newHouse(t testing.TB, change ...func(*upstream.Settings)) *house {
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

// A state counts once, for the browser that asked for it, while it is young, and for what it was made for; all that also
// after a restart.
func TestStates(t *testing.T) {
	tests := []struct {
		name string
		use  func(h *house, b upstream.Back) error
		want error
		why  string
	}{
		{"used twice", func(h *house, b upstream.Back) error {
			if _, err := h.use(bound, b); err != nil {
				return err
			}
			_, err := h.use(bound, b)
			return err
		}, upstream.ErrOver, "spent"},
		{"used twice with a restart between", func(h *house, b upstream.Back) error {
			if _, err := h.use(bound, b); err != nil {
				return err
			}
			h.restart()
			_, err := h.use(bound, b)
			return err
		}, upstream.ErrOver, "spent"},
		{"on another browser", func(h *house, b upstream.Back) error { _, err := h.use(other, b); return err }, upstream.ErrOver, "state"},
		{"without a browser", func(h *house, b upstream.Back) error { _, err := h.use("", b); return err }, upstream.ErrOver, "state"},
		{"changed", func(h *house, b upstream.Back) error {
			b.State = b.State[:40] + "A" + b.State[41:]
			_, err := h.use(bound, b)
			return err
		}, upstream.ErrOver, "state"},
		{"too late", func(h *house, b upstream.Back) error {
			h.advance(upstream.Life)
			_, err := h.use(bound, b)
			return err
		}, upstream.ErrOver, "late"},
		{"to connect with", func(h *house, b upstream.Back) error {
			return h.Connect(h.t.Context(), "corp", bound, "ann", "session", b)
		}, upstream.ErrOver, "purpose"},
		{"another one's code", func(h *house, b upstream.Back) error {
			b.Code = h.answer(upstream.Wish{}).Code // PKCE: the code was made for another verifier
			_, err := h.use(bound, b)
			return err
		}, upstream.ErrRefused, "code"},
		{"after a restart", func(h *house, b upstream.Back) error {
			h.restart()
			_, err := h.use(bound, b)
			return err
		}, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			check(t, h.connect("ann"))
			h.provider.Break(upstreamtest.Faults{Reuse: true}) // a provider that would not notice
			err := tt.use(h, h.answer(upstream.Wish{Next: "/"}))
			if !errors.Is(err, tt.want) || err != nil && h.why() != tt.why {
				t.Errorf("got %v because of %q, want %v because of %q", err, h.why(), tt.want, tt.why)
			}
		})
	}
}

// A state to connect with is for one sign-in of one person.
func TestConnectIsForOnePerson(t *testing.T) {
	h := newHouse(t)
	wish := upstream.Wish{Person: "ann", By: "session"}
	for _, who := range [][2]string{{"min", "session"}, {"ann", "another session"}} {
		err := h.Connect(t.Context(), "corp", bound, approvals.PersonID(who[0]), who[1], h.answer(wish))
		if !errors.Is(err, upstream.ErrOver) || h.why() != "purpose" {
			t.Errorf("%v: %v because of %s", who, err, h.why())
		}
	}
	if _, err := h.signIn(wish); !errors.Is(err, upstream.ErrOver) || h.why() != "purpose" {
		t.Errorf("signed in with it: %v because of %s", err, h.why())
	}
	for _, p := range []approvals.PersonID{"ann", "min"} {
		if list, err := h.List(t.Context(), p); err != nil || len(list) > 0 {
			t.Errorf("%s has %v, %v", p, list, err)
		}
	}
}

// Two answers to one state, side by side, sign in once.
func TestStateRace(t *testing.T) {
	h := newHouse(t)
	check(t, h.connect("ann"))
	h.provider.Break(upstreamtest.Faults{Reuse: true})
	b := h.answer(upstream.Wish{})
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for range cap(errs) {
		wg.Go(func() { _, err := h.use(bound, b); errs <- err })
	}
	wg.Wait()
	close(errs)
	won := 0
	for err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, upstream.ErrOver):
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d of them signed in", won)
	}
}

// An account is one person's, a person has one account at a provider, and what nobody has connected leads nowhere.
func TestAccounts(t *testing.T) {
	h := newHouse(t)
	as := func(sub string) {
		h.provider.SignIn(upstreamtest.User{"sub": sub, "email": "ann@example.com", "email_verified": true})
	}
	want := func(err, want error, what string) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	_, err := h.signIn(upstream.Wish{})
	want(err, upstream.ErrNotConnected, "nobody's account")
	want(h.connect("ann"), nil, "connect")
	want(h.connect("ann"), nil, "connect again")
	want(h.connect("min"), upstream.ErrTaken, "another's account")
	as("a-2")
	want(h.connect("ann"), upstream.ErrOther, "a second account")
	_, err = h.signIn(upstream.Wish{})
	want(err, upstream.ErrNotConnected, "an account with the same e-mail address")
	want(h.connect("min"), nil, "connect the second account")
	proof, err := h.signIn(upstream.Wish{})
	if err != nil || proof.Person != "min" {
		t.Errorf("%s, %v", proof.Person, err)
	}
	as("a-1")
	proof, err = h.signIn(upstream.Wish{Next: "/passkeys"})
	if err != nil || proof.Person != "ann" || proof.Next != "/passkeys" {
		t.Errorf("%+v, %v", proof, err)
	}

	list, err := h.List(t.Context(), "ann")
	check(t, err)
	if len(list) != 1 || list[0].Label != "ann@example.com" || !list[0].Since.Equal(start) || list[0].UsedAt.IsZero() {
		t.Fatalf("listed %+v", list)
	}
	want(h.Disconnect(t.Context(), "ann", list[0].Key, false), upstream.ErrLast, "the only way in")
	want(h.Disconnect(t.Context(), "min", list[0].Key, true), nil, "another's key")
	b := h.answer(upstream.Wish{})
	proof, err = h.SignIn(t.Context(), "corp", bound, b)
	check(t, err)
	want(h.Disconnect(t.Context(), "ann", list[0].Key, true), nil, "disconnect")
	want(h.Commit(t.Context(), proof), upstream.ErrOver, "disconnected between proof and commit")
	_, err = h.signIn(upstream.Wish{})
	want(err, upstream.ErrNotConnected, "a disconnected account")
	want(h.connect("eve"), nil, "free to connect")
}

// Being signed out everywhere ends what was connected before it: whoever has the lost phone may be signed in there.
func TestSignedOutEverywhere(t *testing.T) {
	h := newHouse(t)
	check(t, h.connect("ann"))
	h.advance(time.Minute)
	h.since["ann"] = h.clock()
	if list, err := h.List(t.Context(), "ann"); err != nil || len(list) > 0 {
		t.Errorf("listed %v, %v", list, err)
	}
	if _, err := h.signIn(upstream.Wish{}); !errors.Is(err, upstream.ErrNotConnected) {
		t.Errorf("signed in: %v", err)
	}
	h.advance(time.Minute)
	check(t, h.connect("ann"))
	if _, err := h.signIn(upstream.Wish{}); err != nil {
		t.Errorf("connected anew: %v", err)
	}
	h.advance(time.Minute)
	h.since["ann"] = h.clock()
	check(t, h.connect("min"))
	if p, err := h.signIn(upstream.Wish{}); err != nil || p.Person != "min" {
		t.Errorf("%s, %v", p.Person, err)
	}
}

// Eight people who connect one account side by side: one of them has it.
func TestConnectRace(t *testing.T) {
	h := newHouse(t)
	var wg sync.WaitGroup
	people := []approvals.PersonID{"a", "b", "c", "d", "e", "f", "g", "h"}
	backs := make([]upstream.Back, len(people))
	for i, p := range people {
		backs[i] = h.answer(upstream.Wish{Person: p, By: "session"})
	}
	for i, p := range people {
		wg.Go(func() {
			err := h.Connect(t.Context(), "corp", bound, p, "session", backs[i])
			if err != nil && !errors.Is(err, upstream.ErrTaken) && !errors.Is(err, upstream.ErrOver) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	have := 0
	for _, p := range people {
		list, err := h.List(t.Context(), p)
		check(t, err)
		have += len(list)
	}
	if have != 1 {
		t.Errorf("%d of them have it", have)
	}
}

// What a provider says of how somebody signed in feeds the level, never above a session; what was demanded and does not
// come back is refused.
func TestLevels(t *testing.T) {
	demand := func(s *upstream.Settings) { s.ACRValues = []string{"gold", "silver"} }
	aged := func(s *upstream.Settings) { s.MaxAge = time.Hour }
	strict := func(s *upstream.Settings) { s.SessionACR, s.SessionAMR = []string{"gold"}, []string{"mfa"} }
	at := func(d time.Duration) int64 { return start.Add(d).Unix() }
	tests := []struct {
		name   string
		change func(*upstream.Settings)
		wish   upstream.Wish
		user   upstreamtest.User
		want   error
		level  approvals.Level
		amr    string
		age    time.Duration
	}{
		{name: "nothing said", level: approvals.LevelSession},
		{name: "phr is no passkey of ours", user: upstreamtest.User{"acr": "phr", "amr": []string{"hwk", "user"}},
			level: approvals.LevelSession, amr: "hwk user"},
		{name: "methods that nobody has registered", user: upstreamtest.User{"amr": []string{"pwd", "house", "pwd", "<b>"}},
			level: approvals.LevelSession, amr: "pwd"},
		{name: "methods as one text", user: upstreamtest.User{"amr": "pwd"}, level: approvals.LevelSession},
		{name: "acr demanded", change: demand, user: upstreamtest.User{"acr": "silver"}, level: approvals.LevelSession},
		{name: "acr demanded, another", change: demand, user: upstreamtest.User{"acr": "bronze"}, want: upstream.ErrWeak},
		{name: "acr demanded, none", change: demand, want: upstream.ErrWeak},
		{name: "strict, acr", change: strict, user: upstreamtest.User{"acr": "gold"}, level: approvals.LevelSession},
		{name: "strict, amr", change: strict, user: upstreamtest.User{"amr": []string{"pwd", "mfa"}}, level: approvals.LevelSession,
			amr: "pwd mfa"},
		{name: "strict, neither", change: strict, user: upstreamtest.User{"acr": "silver", "amr": []string{"pwd"}},
			level: approvals.LevelLink, amr: "pwd"},
		{name: "strict, nothing", change: strict, level: approvals.LevelLink},
		{name: "auth_time", user: upstreamtest.User{"auth_time": at(-3 * time.Hour)}, level: approvals.LevelSession, age: 3 * time.Hour},
		{name: "max_age kept", change: aged, user: upstreamtest.User{"auth_time": at(-time.Hour)}, level: approvals.LevelSession,
			age: time.Hour},
		{name: "max_age not kept", change: aged, user: upstreamtest.User{"auth_time": at(-2 * time.Hour)}, want: upstream.ErrWeak},
		{name: "max_age not answered", change: aged, want: upstream.ErrWeak},
		{name: "fresh", wish: upstream.Wish{Fresh: true}, user: upstreamtest.User{"auth_time": at(0)}, level: approvals.LevelSession},
		{name: "not fresh", wish: upstream.Wish{Fresh: true}, user: upstreamtest.User{"auth_time": at(-2 * time.Minute)},
			want: upstream.ErrWeak},
		{name: "perhaps fresh", wish: upstream.Wish{Fresh: true}, want: upstream.ErrWeak},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, func(s *upstream.Settings) {
				if tt.change != nil {
					tt.change(s)
				}
			})
			good := upstreamtest.User{"sub": "a-1", "acr": "gold", "auth_time": start.Unix()}
			h.provider.SignIn(good)
			check(t, h.connect("ann"))
			user := upstreamtest.User{"sub": "a-1"}
			for name, value := range tt.user {
				user[name] = value
			}
			h.provider.SignIn(user)
			proof, err := h.signIn(tt.wish)
			if !errors.Is(err, tt.want) {
				t.Fatalf("%v, want %v", err, tt.want)
			}
			if _, said := tt.user["auth_time"]; err == nil && said == proof.AuthTime.IsZero() {
				t.Errorf("auth_time %v, said: %v", proof.AuthTime, said)
			}
			if err == nil && !proof.AuthTime.IsZero() && start.Sub(proof.AuthTime) != tt.age {
				t.Errorf("auth_time %v", proof.AuthTime)
			}
			if err == nil && (proof.Level != tt.level || strings.Join(proof.AMR, " ") != tt.amr) {
				t.Errorf("level %v, amr %v, auth_time %v", proof.Level, proof.AMR, proof.AuthTime)
			}
		})
	}
}
