package sms_test

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
	"assent/channels/sms"
	"assent/channels/sms/twiliosim"
	"assent/store"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	account = "AC0123456789abcdef0123456789abcdef"
	token   = "5ecre7canary5ecre7canary00000000"
	service = "MG0123456789abcdef0123456789abcdef"
	phone   = "+4915799987431"
	pages   = "https://ap.example.com"
)

// house is a channel on a real store, with the provider it talks to and the public side the provider talks to.
type house struct {
	*sms.Channel
	cfg    sms.Config
	store  store.Store
	twilio *twiliosim.Server
	api    *httptest.Server
	public *httptest.Server
	log    *lockedBuffer
	dials  *counter

	mu       sync.Mutex
	at       time.Time // zero: the real time
	receipts []channels.Receipt
	fail     error
	next     func(context.Context, channels.Receipt) error // nil: receipts are kept here
}

// counter counts new connections.
type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) state(state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == http.StateNew {
		c.n++
	}
}

func (c *counter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func newHouse(t testing.TB, change ...func(*sms.Config)) *house {
	t.Helper()
	h := &house{log: &lockedBuffer{}, dials: &counter{}}
	var err error
	if h.store, err = store.Open(context.Background(), "bolt:"+filepath.Join(t.TempDir(), "assent.db"), h.now); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.store.Close() })

	mux := http.NewServeMux()
	h.public = httptest.NewServer(mux)
	t.Cleanup(h.public.Close)
	callbacks := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(callbacks.CloseIdleConnections)
	h.twilio = twiliosim.New(account, token, callbacks, h.now)
	t.Cleanup(h.twilio.Close)
	h.twilio.DeliverInbound(h.public.URL + "/sms/inbound")
	h.api = httptest.NewUnstartedServer(h.twilio)
	h.api.Config.ConnState = func(_ net.Conn, s http.ConnState) { h.dials.state(s) }
	h.api.Start()
	t.Cleanup(h.api.Close)
	t.Cleanup(h.twilio.Close)

	calls := &http.Transport{MaxIdleConnsPerHost: channels.InFlight}
	t.Cleanup(calls.CloseIdleConnections)
	countries, err := sms.ParseCountries([]string{"DE", "KR", "US"})
	if err != nil {
		t.Fatal(err)
	}
	h.cfg = sms.Config{Account: account, Token: token, Service: service, BaseURL: h.api.URL,
		CallbackURL: h.public.URL + "/sms/status", InboundURL: h.public.URL + "/sms/inbound", PagesURL: pages,
		Names: sms.Names{EN: "Acme Approvals", KO: "승인함"}, MostParts: 1, Countries: countries,
		Caps: sms.Caps{Burst: 1000, Day: 1000, DayParts: 10_000}, Records: h.store, Root: channeltest.Root(t),
		Receipt: h.receipt, HTTP: &http.Client{Transport: calls}, Now: h.now,
		Log: slog.New(slog.NewTextHandler(h.log, nil))}
	for _, c := range change {
		c(&h.cfg)
	}
	h.restart(t)
	mux.Handle("/sms/status", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.Status().ServeHTTP(w, r) }))
	mux.Handle("/sms/inbound", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.Inbound().ServeHTTP(w, r) }))
	return h
}

// restart makes everything that lives in memory anew, as a process does when it starts.
func (h *house) restart(t testing.TB) {
	t.Helper()
	c, err := sms.New(h.cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.Channel = c
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

// setReceipt hands receipts on.
func (h *house) setReceipt(next func(context.Context, channels.Receipt) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next = next
}

// receipt stands for the dispatcher.
func (h *house) receipt(ctx context.Context, r channels.Receipt) error {
	h.mu.Lock()
	next := h.next
	h.mu.Unlock()
	if next != nil {
		return next(ctx, r)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fail != nil {
		return h.fail
	}
	h.receipts = append(h.receipts, r)
	return nil
}

func (h *house) received() []channels.Receipt {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]channels.Receipt(nil), h.receipts...)
}

// refuseReceipts makes the dispatcher answer with err.
func (h *house) refuseReceipts(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fail = err
}

// message is message n, good for a while on the house's clock.
func (h *house) message(n int) channels.Message {
	m := channeltest.Message(n)
	m.Expires = h.now().Add(5 * time.Minute)
	return m
}

func to(number string) approvals.Address { return approvals.Address{Channel: "sms", Value: number} }

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

// count is how many copies of a message the provider has.
func (h *house) count(m channels.Message) (n int) {
	for _, have := range h.twilio.Messages() {
		if strings.Contains(have.Body, m.Ref) && strings.Contains(have.Callback, "message="+strings.ReplaceAll(m.ID, "/", "%2F")) {
			n++
		}
	}
	return n
}

// brokenRecords is a store that reads and does not write.
type brokenRecords struct{ approvals.Records }

func (brokenRecords) Apply(context.Context, ...approvals.Write) error {
	return approvals.ErrUnavailable
}
