package push_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/approvals"
	"assent/channels"
	"assent/channels/channeltest"
	"assent/channels/push"
	"assent/channels/push/fcmsim"
	"assent/store"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// canary is in every registration token, and must be in no log and no error.
const canary = "c4nary-5ecre7-"

// house is a channel on a real store, with the provider it talks to.
type house struct {
	*push.Channel
	cfg   push.Config
	store store.Store
	dir   *approvals.Directory
	fcm   *fcmsim.Server
	api   *httptest.Server
	log   *lockedBuffer

	mu    sync.Mutex
	at    time.Time // zero: the real time
	dials int
}

func newHouse(t testing.TB, change ...func(*push.Config)) *house {
	t.Helper()
	h := &house{log: &lockedBuffer{}}
	var err error
	if h.store, err = store.Open(context.Background(), "bolt:"+filepath.Join(t.TempDir(), "assent.db"), h.now); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.store.Close() })
	hub := approvals.NewHub()
	h.dir = approvals.NewDirectory(h.store, hub, 0, h.now)
	for _, p := range []approvals.Person{{ID: "ann", Name: "Ann", Locale: "en"}, {ID: "minji", Name: "Minji", Locale: "ko"}} {
		if err := h.dir.SavePerson(t.Context(), &p); err != nil {
			t.Fatal(err)
		}
	}
	if h.fcm, err = fcmsim.New("assent-test", h.now); err != nil {
		t.Fatal(err)
	}
	h.api = httptest.NewUnstartedServer(h.fcm)
	h.api.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if s == http.StateNew {
			h.dials++
		}
	}
	h.api.Start()
	t.Cleanup(h.api.Close)
	t.Cleanup(h.fcm.Close)
	calls := &http.Transport{MaxIdleConnsPerHost: channels.InFlight}
	t.Cleanup(calls.CloseIdleConnections)
	h.cfg = push.Config{Account: h.fcm.Account(h.api.URL), BaseURL: h.api.URL + "/v1", Records: h.store, Directory: h.dir,
		Root: channeltest.Root(t), HTTP: &http.Client{Transport: calls}, Now: h.now,
		Log: slog.New(slog.NewTextHandler(h.log, nil))}
	for _, c := range change {
		c(&h.cfg)
	}
	if h.Channel, err = push.New(t.Context(), h.cfg); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.at.IsZero() {
		return time.Now()
	}
	return h.at
}

// set makes the clock stand at a time.
func (h *house) set(at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at = at
}

func (h *house) connections() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dials
}

// enrolled registers a device of a person, lets its test come back, and returns its address.
func (h *house) enrolled(t testing.TB, person approvals.PersonID, token string) approvals.Address {
	t.Helper()
	w, err := h.Register(t.Context(), person, push.Registration{Token: token, Name: "Phone", Platform: "android"})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Confirm(t.Context(), w.ID, h.code(t, token)); err != nil {
		t.Fatal(err)
	}
	return h.addresses(t, person)[0]
}

// code is what the latest test has brought to a device.
func (h *house) code(t testing.TB, token string) string {
	t.Helper()
	sent := h.fcm.Sent()
	for i := len(sent) - 1; i >= 0; i-- {
		if m := sent[i].Message; m.Token == token && m.Data["kind"] == "test" {
			return m.Data["id"]
		}
	}
	t.Fatal("no test came to the device")
	return ""
}

func (h *house) addresses(t testing.TB, person approvals.PersonID) []approvals.Address {
	t.Helper()
	p, err := h.dir.Person(t.Context(), person)
	if err != nil {
		t.Fatal(err)
	}
	return p.Addresses
}

// signOut signs a person out everywhere, now.
func (h *house) signOut(t testing.TB, person approvals.PersonID) {
	t.Helper()
	p, err := h.dir.Person(t.Context(), person)
	if err != nil {
		t.Fatal(err)
	}
	changed := *p
	changed.SignedOutAt = h.now()
	if err := h.dir.SavePerson(t.Context(), &changed); err != nil {
		t.Fatal(err)
	}
}

// count is how many copies of a message the provider has.
func (h *house) count(m channels.Message) (n int) {
	for _, s := range h.fcm.Sent() {
		if s.Message.Android.CollapseKey == m.Tag && s.Message.Data["kind"] == string(m.Kind) {
			n++
		}
	}
	return n
}

// silent checks that neither log nor error tells what only person and provider may know.
func (h *house) silent(t testing.TB, m channels.Message, errs ...error) {
	t.Helper()
	said := h.log.String()
	for _, err := range errs {
		if err != nil {
			said += err.Error()
		}
	}
	for what, secret := range map[string]string{"token": canary, "link": m.URL, "ref": m.Ref, "access token": "ya29.",
		"key": "PRIVATE", "provider's words": "simulated: "} {
		if secret != "" && strings.Contains(said, secret) {
			t.Errorf("%s stands in a log or an error: %s", what, said)
		}
	}
}

// lockedBuffer is a buffer that goroutines may share.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
