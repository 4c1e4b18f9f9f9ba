package web

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
	"assent/channels/channeltest"
	"assent/channels/web/pushsim"
	"assent/store"
)

// world is a channel with a real store behind it and a push service before it.
type world struct {
	t      *testing.T
	dsn    string
	store  store.Store
	people *approvals.Directory
	root   *keys.Root
	web    *Channel
	sim    *pushsim.Service
	server *httptest.Server
	logged bytes.Buffer

	mu    sync.Mutex
	ahead time.Duration
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.ahead)
}

func (w *world) wait(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead += d
}

const contact = "mailto:push@example.com"

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dsn: "bolt:" + filepath.Join(t.TempDir(), "assent.db"), root: channeltest.Root(t)}
	w.sim = pushsim.New("", w.now)
	w.server = httptest.NewTLSServer(w.sim)
	t.Cleanup(w.server.Close)
	w.open()
	t.Cleanup(func() { w.store.Close() })
	for _, p := range []approvals.Person{{ID: "ann", Name: "Ann", Locale: "en"}, {ID: "min", Name: "민", Locale: "ko"}} {
		check(t, w.people.SavePerson(t.Context(), &p))
	}
	return w
}

// open starts the channel over what is stored.
func (w *world) open() {
	w.t.Helper()
	var err error
	w.store, err = store.Open(w.t.Context(), w.dsn, w.now)
	check(w.t, err)
	w.people = approvals.NewDirectory(w.store, approvals.NewHub(), 0, w.now)
	w.web, err = New(w.t.Context(), w.parts())
	check(w.t, err)
}

func (w *world) parts() Parts {
	client := *w.server.Client()
	client.Timeout = 5 * time.Second
	return Parts{Records: w.store, Directory: w.people, Root: w.root, HTTP: &client, Contact: contact,
		PagesURL: "https://approve.example.com", Rules: Rules{Loopback: true}, Now: w.now,
		Log: slog.New(slog.NewTextHandler(&w.logged, nil))}
}

// browser is a subscription at the push service.
func (w *world) browser() pushsim.Subscription {
	w.t.Helper()
	s, err := w.sim.Subscribe(w.server.URL, w.web.Key())
	check(w.t, err)
	return s
}

// shown is a payload as the service worker reads it.
type shown struct {
	WebPush      int            `json:"web_push"`
	Notification map[string]any `json:"notification"`
	Proof        string         `json:"proof"`
}

// last is what the push service took last.
func (w *world) last() (pushsim.Message, shown) {
	w.t.Helper()
	all := w.sim.Outbox()
	if len(all) == 0 {
		w.t.Fatalf("push service has nothing; it refused %q", w.sim.Refused())
	}
	m := all[len(all)-1]
	var s shown
	check(w.t, json.Unmarshal(m.Payload, &s))
	return m, s
}

// enrol makes a browser an address of a person.
func (w *world) enrol(who approvals.PersonID, s pushsim.Subscription) approvals.Address {
	w.t.Helper()
	check(w.t, w.web.Subscribe(w.t.Context(), who, "Firefox (Linux)", s.JSON()))
	_, test := w.last()
	check(w.t, w.web.Arrived(w.t.Context(), who, test.Proof, ""))
	return w.person(who).Addresses[0]
}

func (w *world) person(who approvals.PersonID) *approvals.Person {
	w.t.Helper()
	p, err := w.people.Person(w.t.Context(), who)
	check(w.t, err)
	return p
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var _ http.Handler = (*pushsim.Service)(nil)
