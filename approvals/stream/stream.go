package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Streams and subjects. They are a contract between nodes of different releases: never reuse or rename one.
const (
	streamEvents = "EVENTS"
	streamSend   = "SEND"
	streamDead   = "DEAD"

	subjectEvent  = "assent.event." // + kind
	subjectSend   = "assent.send."  // + channel . key
	subjectLater  = "assent.later." // + channel . key; one schedule for each key
	subjectSignal = "assent.signal"

	// subjectDead is where the server says that a job of SEND was tried for the last time.
	subjectDead = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES." + streamSend + ".*"
)

// Limits of the streams.
const (
	maxAge      = 24 * time.Hour
	maxBytes    = 1 << 30 // of each stream
	maxDead     = 16 << 20
	maxPayload  = 64 << 10
	eventWindow = 30 * time.Second // a relayed event is repeated within seconds or not at all
	sendWindow  = 2 * time.Minute
)

// Config says where the bus is.
type Config struct {
	URL string // nats:// or tls://, comma-separated; empty: a server inside this process
	Dir string // folder of the server inside this process, which holds nothing else: a broken one is put aside

	Creds     string // file with NATS credentials
	CA        string // file with the authorities that the server's certificate must come from
	Cert, Key string // files with our client certificate
	Replicas  int    // of each stream; 0 means 1

	Now func() time.Time // the clock that times given to Send refer to; nil means time.Now
	Log *slog.Logger
}

// Bus is one connection to NATS.
type Bus struct {
	server   *server.Server // nil when it runs elsewhere
	conn     *nats.Conn
	js       jetstream.JetStream
	replicas int
	jobTries int
	now      func() time.Time
	log      *slog.Logger
}

// Open connects, starting a server inside this process if c.URL is empty, and makes the streams if they are not there.
// A server elsewhere that does not answer yet is no error: the store is the truth, and relay and consumers go on trying.
func Open(ctx context.Context, c Config) (*Bus, error) {
	b := &Bus{replicas: max(1, c.Replicas), jobTries: jobTries, now: c.Now, log: c.Log}
	if b.now == nil {
		b.now = time.Now
	}
	options := b.options()
	if c.URL == "" {
		srv, err := embed(c.Dir, startTime, c.Log)
		if err != nil {
			return nil, err
		}
		b.server, options = srv, append(options, nats.InProcessServer(srv))
	} else {
		options = append(options, remote(c)...)
	}
	if err := b.connect(ctx, c.URL, options); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *Bus) options() []nats.Option {
	return []nats.Option{nats.Name("assent"), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectBufSize(-1), // fail at once while disconnected: the outbox is our buffer
		nats.PingInterval(10 * time.Second), nats.MaxPingsOutstanding(2), nats.NoEcho(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil when we close it ourselves
				b.log.Warn("bus disconnected", "err", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { b.log.Info("bus connected again") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { b.log.Warn("bus error", "err", err) }),
	}
}

// remote are the options of a server elsewhere.
func remote(c Config) []nats.Option {
	options := []nats.Option{nats.RetryOnFailedConnect(true), nats.Timeout(2 * time.Second)}
	if c.Creds != "" {
		options = append(options, nats.UserCredentials(c.Creds))
	}
	if c.CA != "" {
		options = append(options, nats.RootCAs(c.CA))
	}
	if c.Cert != "" {
		options = append(options, nats.ClientCert(c.Cert, c.Key))
	}
	return options
}

func (b *Bus) connect(ctx context.Context, url string, options []nats.Option) (err error) {
	if b.conn, err = nats.Connect(url, options...); err != nil {
		return fmt.Errorf("connect to bus: %w", err)
	}
	b.js, err = jetstream.New(b.conn, jetstream.WithDefaultTimeout(3*time.Second),
		jetstream.WithPublishAsyncMaxPending(2*relayBatch), jetstream.WithPublishAsyncTimeout(5*time.Second))
	if err != nil {
		return fmt.Errorf("open bus: %w", err)
	}
	if !b.conn.IsConnected() {
		b.log.Warn("bus does not answer yet", "err", b.conn.LastError())
		return nil
	}
	return b.ensure(ctx)
}

// ensure makes the streams, or brings them up to this release. It is called again whenever one turns out to be gone.
func (b *Bus) ensure(ctx context.Context) error {
	for _, c := range b.streams() {
		if _, err := b.js.CreateOrUpdateStream(ctx, c); err != nil {
			return fmt.Errorf("make stream %s: %w", c.Name, err)
		}
	}
	return nil
}

// streams is the one place that says how streams are made. When full they drop their oldest: every event and job has a due
// step behind it, while refusing new ones would stop all wake-ups until the oldest is a day old. (For SEND there is no
// choice: the server refuses schedules together with "discard new".)
func (b *Bus) streams() []jetstream.StreamConfig {
	return []jetstream.StreamConfig{
		{Name: streamEvents, Subjects: []string{subjectEvent + "*"}, Retention: jetstream.LimitsPolicy,
			Storage: jetstream.FileStorage, Replicas: b.replicas, Duplicates: eventWindow,
			MaxAge: maxAge, MaxBytes: maxBytes, MaxMsgSize: maxPayload, Discard: jetstream.DiscardOld},
		{Name: streamSend, Subjects: []string{subjectSend + ">", subjectLater + ">"}, Retention: jetstream.WorkQueuePolicy,
			Storage: jetstream.FileStorage, Replicas: b.replicas, Duplicates: sendWindow,
			MaxAge: maxAge, MaxBytes: maxBytes, MaxMsgSize: maxPayload, Discard: jetstream.DiscardOld,
			AllowMsgTTL: true, AllowMsgSchedules: true},
		{Name: streamDead, Subjects: []string{subjectDead}, Retention: jetstream.LimitsPolicy,
			Storage: jetstream.FileStorage, Replicas: b.replicas,
			MaxAge: maxAge, MaxBytes: maxDead, MaxMsgSize: maxPayload, Discard: jetstream.DiscardOld},
	}
}

// Close disconnects and, if the server runs inside this process, stops it and waits for it. Relay, Consume, Work and
// Mirror must have returned.
func (b *Bus) Close() error {
	if b.conn != nil {
		b.conn.Close()
	}
	if b.server != nil {
		b.server.Shutdown()
		b.server.WaitForShutdown()
	}
	return nil
}
