package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"assent/approvals"

	"github.com/nats-io/nats.go/jetstream"
)

// work starts a worker that passes on the keys of its jobs.
func work(t testing.TB, b *Bus, channel string) <-chan string {
	t.Helper()
	keys := make(chan string, 100)
	runs(t, func(ctx context.Context) error {
		return b.Work(ctx, channel, 4, func(_ context.Context, key string, payload []byte) error {
			keys <- key + " " + string(payload)
			return nil
		})
	})
	return keys
}

func TestJobs(t *testing.T) {
	tests := []struct {
		name string
		send func(ctx context.Context, b *Bus) error
		want []string
	}{
		{"now", func(ctx context.Context, b *Bus) error {
			return b.Send(ctx, "phone", "k1", "id1", time.Time{}, []byte("a"))
		}, []string{"k1 a"}},
		{"one id is one job", func(ctx context.Context, b *Bus) error {
			return errors.Join(b.Send(ctx, "phone", "k1", "id1", time.Time{}, []byte("a")),
				b.Send(ctx, "phone", "k1", "id1", time.Time{}, []byte("b")))
		}, []string{"k1 a"}},
		{"scheduled", func(ctx context.Context, b *Bus) error {
			return b.Send(ctx, "phone", "k1", "", time.Now().Add(300*time.Millisecond), []byte("a"))
		}, []string{"k1 a"}},
		{"a later schedule replaces the one before", func(ctx context.Context, b *Bus) error {
			return errors.Join(b.Send(ctx, "phone", "k1", "", time.Now().Add(200*time.Millisecond), []byte("a")),
				b.Send(ctx, "phone", "k1", "", time.Now().Add(400*time.Millisecond), []byte("b")))
		}, []string{"k1 b"}},
		{"too far ahead is left to the store", func(ctx context.Context, b *Bus) error {
			return errors.Join(b.Send(ctx, "phone", "k1", "", time.Now().Add(ScheduleAhead+time.Minute), []byte("a")),
				b.Send(ctx, "phone", "k2", "id2", time.Time{}, []byte("b")))
		}, []string{"k2 b"}},
		{"each channel has its own queue", func(ctx context.Context, b *Bus) error {
			return errors.Join(b.Send(ctx, "mail", "k1", "id1", time.Time{}, []byte("a")),
				b.Send(ctx, "phone", "k2", "id2", time.Time{}, []byte("b")))
		}, []string{"k2 b"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := embedded(t)
			jobs := work(t, b, "phone")
			if err := tt.send(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			for _, want := range tt.want {
				if got := next(t, jobs); got != want {
					t.Errorf("job is %q, want %q", got, want)
				}
			}
			if err := b.Send(t.Context(), "phone", "last", "last", time.Time{}, nil); err != nil {
				t.Fatal(err)
			}
			if got := next(t, jobs); got != "last " {
				t.Errorf("further job %q", got)
			}
		})
	}
}

func TestScheduleIsNotEarly(t *testing.T) {
	b := embedded(t)
	jobs := work(t, b, "phone")
	at := time.Now().Add(250 * time.Millisecond)
	if err := b.Send(t.Context(), "phone", "k", "", at, nil); err != nil {
		t.Fatal(err)
	}
	next(t, jobs)
	if early := time.Until(at); early > 0 {
		t.Errorf("fired %s early", early)
	}
}

func TestSendRefusesWhatIsNoToken(t *testing.T) {
	b := embedded(t)
	for _, bad := range []string{"", "a.b", "*", ">", "a b", "é", string(make([]byte, 200))} {
		if err := b.Send(t.Context(), "phone", bad, "id", time.Time{}, nil); !errors.Is(err, approvals.ErrInvalid) {
			t.Errorf("Send with key %q: %v, want ErrInvalid", bad, err)
		}
		if err := b.Work(t.Context(), bad, 1, nil); !errors.Is(err, approvals.ErrInvalid) {
			t.Errorf("Work on %q: %v, want ErrInvalid", bad, err)
		}
	}
}

// TestHandlerAnswers: nil once, ErrDrop once, any other error until it passes.
func TestHandlerAnswers(t *testing.T) {
	b := embedded(t)
	calls := make(chan string, 100)
	tries := 0
	runs(t, func(ctx context.Context) error {
		return b.Work(ctx, "phone", 1, func(_ context.Context, key string, _ []byte) error {
			calls <- key
			switch key {
			case "drop":
				return fmt.Errorf("no use: %w", approvals.ErrDrop)
			case "retry":
				if tries++; tries < 3 {
					return errors.New("not now")
				}
			}
			return nil
		})
	})
	for _, key := range []string{"fine", "drop", "retry"} {
		if err := b.Send(t.Context(), "phone", key, key, time.Time{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]int{}
	for range 5 {
		got[next(t, calls)]++
	}
	if got["fine"] != 1 || got["drop"] != 1 || got["retry"] != 3 {
		t.Errorf("handler was called %v", got)
	}
	until(t, func() bool {
		d, err := b.Depths(t.Context())
		return err == nil && d[1].Messages == 0
	})
}

// A job that fails every time is told of, once, and leaves the queue; the others go their way.
func TestDeadJobs(t *testing.T) {
	b := embedded(t)
	b.jobTries = 2
	dead := make(chan DeadJob, 10)
	failed := false
	runs(t, func(ctx context.Context) error {
		return b.Dead(ctx, func(_ context.Context, j DeadJob) error {
			if !failed { // a telling that fails is repeated
				failed = true
				return errors.New("not now")
			}
			dead <- j
			return nil
		})
	})
	fine := make(chan string, 10)
	runs(t, func(ctx context.Context) error {
		return b.Work(ctx, "phone", 4, func(_ context.Context, key string, _ []byte) error {
			if key == "bad" {
				return errors.New("never")
			}
			fine <- key
			return nil
		})
	})
	for _, key := range []string{"bad", "good"} {
		if err := b.Send(t.Context(), "phone", key, key, time.Time{}, []byte("about "+key)); err != nil {
			t.Fatal(err)
		}
	}
	if got := next(t, fine); got != "good" {
		t.Errorf("done: %s", got)
	}
	if got := next(t, dead); got.Channel != "phone" || got.Key != "bad" || string(got.Payload) != "about bad" || got.Tries != 2 {
		t.Errorf("dead: %+v", got)
	}
	until(t, func() bool {
		d, err := b.Depths(t.Context())
		return err == nil && d[1].Messages == 0
	})
}

// until asks again and again; each question is a round trip to the server.
func until(t testing.TB, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}

// TestStopHandsOverNothingTwice: what was prefetched when a consumer stops is worked off, so that the next process does not
// wait for AckWait.
func TestStopHandsOverNothingTwice(t *testing.T) {
	b, out := embedded(t), outbox(2000)
	runs(t, func(ctx context.Context) error { return b.Relay(ctx, out, approvals.NewHub()) })
	seen := make(chan uint64, 4000)
	handle := func(_ context.Context, e approvals.Event) error {
		seen <- e.N
		return nil
	}
	counts := map[uint64]int{}
	for len(counts) < 2000 {
		stop := runs(t, func(ctx context.Context) error { return b.Consume(ctx, "reader", handle) })
		for range min(200, 2000-len(counts)) {
			counts[next(t, seen)]++
		}
		stop()
		for len(seen) > 0 {
			counts[<-seen]++
		}
	}
	for n, c := range counts {
		if c != 1 {
			t.Errorf("event %d was handled %d times", n, c)
		}
	}
}

// TestRelayKeepsWhatTheBusRefuses: a full stream (503, code 10077) is back-pressure; nothing is lost when there is room.
func TestRelayKeepsWhatTheBusRefuses(t *testing.T) {
	b, out := embedded(t), outbox(50)
	small := b.streams()[0]
	small.Discard, small.MaxMsgs = jetstream.DiscardNew, 10
	if _, err := b.js.UpdateStream(t.Context(), small); err != nil {
		t.Fatal(err)
	}
	n, err := b.relay(t.Context(), out)
	var refused *jetstream.APIError
	if n != 10 || !errors.As(err, &refused) || refused.ErrorCode != 10077 {
		t.Fatalf("relay: %d, %v; want 10 and code 10077", n, err)
	}
	if err := b.ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err = b.relay(t.Context(), out); n != 40 || err != nil {
		t.Errorf("relay: %d, %v; want the other 40", n, err)
	}
}

// TestRelayRepeatsAreOne: the acknowledgement was lost, so the same event goes again.
func TestRelayRepeatsAreOne(t *testing.T) {
	b := embedded(t)
	for range 3 {
		if n, err := b.relay(t.Context(), outbox(5)); n != 5 || err != nil {
			t.Fatalf("relay: %d, %v; want 5", n, err)
		}
	}
	d, err := b.Depths(t.Context())
	if err != nil || d[0].Messages != 5 {
		t.Errorf("stream holds %+v, %v; want 5 messages", d, err)
	}
}

// TestStreamDeletedUnderUs: an operator deletes the streams of a running service.
func TestStreamDeletedUnderUs(t *testing.T) {
	b := embedded(t)
	jobs := work(t, b, "phone")
	send := func(id string) {
		t.Helper()
		if err := b.Send(t.Context(), "phone", id, id, time.Time{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	send("one")
	next(t, jobs)
	for _, c := range b.streams() {
		if err := b.js.DeleteStream(t.Context(), c.Name); err != nil {
			t.Fatal(err)
		}
	}
	send("two")
	if got := next(t, jobs); got != "two " {
		t.Errorf("job is %q, want two", got)
	}
	if _, err := b.relay(t.Context(), outbox(1)); err != nil {
		t.Errorf("relay: %v", err)
	}
}

// TestStartOnFolderThatIsNone: where the folder should be lies a file. It is put aside.
func TestStartOnFolderThatIsNone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "jetstream")
	if err := os.WriteFile(dir, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := opened(t, Config{Dir: dir})
	if err := b.Send(t.Context(), "phone", "k", "id", time.Time{}, nil); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir + ".broken"); err != nil {
		t.Errorf("what was there is not put aside: %v", err)
	}
}

// TestRestartKeepsJobs: what was sent before an orderly restart is there after it.
func TestRestartKeepsJobs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "jetstream")
	b, err := Open(t.Context(), Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(100 * time.Millisecond)
	if err := errors.Join(b.Send(t.Context(), "phone", "now", "id", time.Time{}, nil),
		b.Send(t.Context(), "phone", "later", "", at, nil), b.Close()); err != nil {
		t.Fatal(err)
	}
	jobs := work(t, opened(t, Config{Dir: dir}), "phone")
	got := map[string]bool{next(t, jobs): true, next(t, jobs): true}
	if !got["now "] || !got["later "] {
		t.Errorf("jobs are %v, want now and later", got)
	}
}

// TestExternalBusComesLate: the server elsewhere starts after us, and later forgets everything in a restart.
func TestExternalBusComesLate(t *testing.T) {
	port := freePort(t)
	b := opened(t, Config{URL: fmt.Sprintf("nats://127.0.0.1:%d", port)})
	if err := b.Healthy(); !errors.Is(err, ErrDown) {
		t.Errorf("Healthy without a server: %v, want ErrDown", err)
	}
	if err := b.Send(t.Context(), "phone", "k", "id", time.Time{}, nil); err == nil {
		t.Error("Send without a server succeeds")
	}
	out := outbox(10)
	got := make(chan approvals.Event, 100)
	runs(t, func(ctx context.Context) error { return b.Relay(ctx, out, approvals.NewHub()) })
	runs(t, func(ctx context.Context) error {
		return b.Consume(ctx, "reader", func(_ context.Context, e approvals.Event) error {
			got <- e
			return nil
		})
	})
	for range 2 {
		stop := serve(t, port)
		for range 10 {
			next(t, got)
		}
		stop()
		out.add(10)
	}
}

// freePort returns a port that nobody listens on.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestSignalsCross: two nodes on one server hear each other and not themselves.
func TestSignalsCross(t *testing.T) {
	url := external(t)
	here, there := approvals.NewHub(), approvals.NewHub()
	one, two := opened(t, Config{URL: url}), opened(t, Config{URL: url})
	dropped := make(chan string, 100)
	here.OnDeliver(func(topic string) { dropped <- "here " + topic })
	there.OnDeliver(func(topic string) { dropped <- "there " + topic })
	runs(t, func(ctx context.Context) error { return one.Mirror(ctx, here) })
	runs(t, func(ctx context.Context) error { return two.Mirror(ctx, there) })

	arrives := func(from *approvals.Hub, to *approvals.Hub, topic string) {
		t.Helper()
		w := to.Watch(topic)
		defer w.Close()
		for end := time.Now().Add(patience); time.Now().Before(end); { // the other side may not have subscribed yet
			from.Signal(topic)
			select {
			case <-w.C:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
		t.Fatalf("%s does not arrive", topic)
	}
	arrives(here, there, "a")
	arrives(there, here, "b")
	for len(dropped) > 0 {
		if got := <-dropped; got != "there a" && got != "here b" {
			t.Errorf("delivered %s", got)
		}
	}
}

func TestSignalsAreGathered(t *testing.T) {
	o := &outgoing{seen: map[string]bool{}, wake: make(chan struct{}, 1)}
	for i := range signalBuffer + 100 {
		o.add([]string{"same", fmt.Sprint(i)})
	}
	if n := len(o.take()); n != signalBuffer {
		t.Errorf("%d topics wait, want %d", n, signalBuffer)
	}
	if n := len(o.take()); n != 0 {
		t.Errorf("%d topics wait after all were taken", n)
	}
}

func TestHealthy(t *testing.T) {
	b := embedded(t)
	if err := b.Healthy(); err != nil {
		t.Error(err)
	}
	b.Close()
	if err := b.Healthy(); !errors.Is(err, ErrDown) {
		t.Errorf("Healthy after Close: %v, want ErrDown", err)
	}
}

func BenchmarkRelay(b *testing.B) {
	bus, out := embedded(b), outbox(b.N)
	b.ResetTimer()
	runs(b, func(ctx context.Context) error { return bus.Relay(ctx, out, approvals.NewHub()) })
	next(b, out.empty)
}
