package stream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"assent/approvals"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for something that must happen; it only passes when something is broken.
const patience = 20 * time.Second

// opened returns a bus that is closed when the test ends.
func opened(t testing.TB, c Config) *Bus {
	t.Helper()
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	b, err := Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// embedded returns a bus in this process with a folder of its own.
func embedded(t testing.TB) *Bus {
	t.Helper()
	return opened(t, Config{Dir: filepath.Join(t.TempDir(), "jetstream")})
}

// external starts a NATS server on a random loopback port and returns its URL.
func external(t testing.TB) string {
	t.Helper()
	port := freePort(t)
	serve(t, port)
	return fmt.Sprintf("nats://127.0.0.1:%d", port)
}

// serve starts a NATS server with an empty folder and returns what stops it.
func serve(t testing.TB, port int) (stop func()) {
	t.Helper()
	return serveWith(t, &server.Options{Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir()})
}

func serveWith(t testing.TB, o *server.Options) (stop func()) {
	t.Helper()
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	if !s.ReadyForConnections(patience) {
		t.Fatal("NATS server is not ready")
	}
	stop = sync.OnceFunc(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	t.Cleanup(stop)
	return stop
}

// runs starts one of the loops and returns what stops it; it is stopped when the test ends at the latest.
func runs(t testing.TB, loop func(ctx context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- loop(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("loop ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// next waits for a value.
func next[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}

// memory is an outbox with n events, which tells when it has become empty.
type memory struct {
	mu     sync.Mutex
	events []approvals.Event
	sent   map[uint64]bool
	seq    uint64
	empty  chan struct{}
	done   func()
}

func outbox(n int) *memory {
	m := &memory{sent: map[uint64]bool{}, empty: make(chan struct{})}
	m.done = sync.OnceFunc(func() { close(m.empty) })
	m.add(n)
	return m
}

func (m *memory) add(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range n {
		m.seq++
		m.events = append(m.events, approvals.Event{V: 1, Seq: m.seq, N: m.seq, Request: "r", Kind: "pending"})
	}
}

func (m *memory) Unsent(_ context.Context, after uint64, limit int) ([]approvals.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []approvals.Event
	for _, e := range m.events {
		if e.Seq > after && len(out) < limit {
			out = append(out, e)
		}
	}
	return out, nil
}

func (m *memory) Sent(_ context.Context, seqs ...uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range seqs {
		m.sent[s] = true
	}
	m.events = slices.DeleteFunc(m.events, func(e approvals.Event) bool { return m.sent[e.Seq] })
	if len(m.events) == 0 {
		m.done()
	}
	return nil
}

func TestRelayOrderAndNoLoss(t *testing.T) {
	const n = 10_000
	b, out := embedded(t), outbox(n)
	runs(t, func(ctx context.Context) error { return b.Relay(ctx, out, approvals.NewHub()) })
	next(t, out.empty)
	s, err := b.js.Stream(t.Context(), streamEvents)
	if err != nil {
		t.Fatal(err)
	}
	con, err := s.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	it, err := con.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer it.Stop()
	for i := 1; i <= n; i++ {
		m, err := it.Next(jetstream.NextMaxWait(patience))
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("r.%d", i); m.Headers().Get("Nats-Msg-Id") != want {
			t.Fatalf("message %d is %s, want %s", i, m.Headers().Get("Nats-Msg-Id"), want)
		}
	}
	if got := s.CachedInfo().State.Msgs; got != n {
		t.Errorf("stream holds %d messages, want %d", got, n)
	}
}

func TestConsume(t *testing.T) {
	b, out := embedded(t), outbox(300)
	got := make(chan approvals.Event, 1000)
	stop := runs(t, func(ctx context.Context) error {
		return b.Consume(ctx, "reader", func(_ context.Context, e approvals.Event) error {
			got <- e
			return nil
		}, "pending")
	})
	runs(t, func(ctx context.Context) error { return b.Relay(ctx, out, approvals.NewHub()) })
	seen := map[uint64]int{}
	for range 300 {
		seen[next(t, got).N]++
	}
	stop()
	if len(seen) != 300 || len(got) != 0 {
		t.Errorf("%d different events and %d repeats, want 300 and 0", len(seen), len(got))
	}
}

// TestStartOnBrokenFolder: a folder that the server can mend or do without it keeps, one that it gives up is put aside,
// with what is in it. Either way the bus works.
func TestStartOnBrokenFolder(t *testing.T) {
	tests := []struct {
		name     string
		spoil    func(dir string) error
		putAside bool
	}{
		{"rubbish in every file", rubbish, false},
		{"a file where a folder belongs", func(dir string) error {
			inner := filepath.Join(dir, server.JetStreamStoreDir)
			return errors.Join(os.RemoveAll(inner), os.WriteFile(inner, []byte("rubbish"), 0o600))
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := usedFolder(t)
			mark := filepath.Join(dir, "mark")
			if err := errors.Join(tt.spoil(dir), os.WriteFile(mark, nil, 0o600)); err != nil {
				t.Fatal(err)
			}
			b := opened(t, Config{Dir: dir})
			if err := b.Send(t.Context(), "phone", "k", "id2", time.Time{}, nil); err != nil {
				t.Fatal(err)
			}
			if tt.putAside {
				mark = filepath.Join(dir+".broken", "mark")
			}
			if _, err := os.Stat(mark); err != nil {
				t.Errorf("what was there is lost or at the wrong place: %v", err)
			}
		})
	}
}

// usedFolder returns the folder of a bus that was closed with one job for channel phone in it.
func usedFolder(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "jetstream")
	b, err := Open(t.Context(), Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.Send(t.Context(), "phone", "k", "id", time.Time{}, nil), b.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func rubbish(dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			err = os.WriteFile(path, []byte("rubbish"), 0o600)
		}
		return err
	})
}

// TestSlowStartLosesNothing: a server that takes too long has said nothing against its folder. The start fails, the folder
// stays where it is, and the next start finds its jobs.
func TestSlowStartLosesNothing(t *testing.T) {
	dir := usedFolder(t)
	if srv, err := embed(dir, 0, slog.New(slog.DiscardHandler)); !errors.Is(err, errSlow) {
		t.Fatalf("embed: %v, %v; want %v", srv, err, errSlow)
	}
	if _, err := os.Stat(dir + ".broken"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is put aside: %v", err)
	}
	jobs := work(t, opened(t, Config{Dir: dir}), "phone")
	if got := next(t, jobs); got != "k " {
		t.Errorf("job is %q, want k", got)
	}
}
