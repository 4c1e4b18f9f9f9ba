package stream

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// A server inside this process may take so long to read its folder, and then so long to come back if it was too slow.
const (
	startTime = 30 * time.Second
	stopTime  = 10 * time.Second

	// syncEvery may be long: what JetStream loses, the due steps in the store bring back. A short one fires while a
	// stream is still being made on a slow machine, which the server does not expect.
	syncEvery = 10 * time.Second
)

// errGaveUp and errSlow are how a server does not start: it says why, or nothing for too long.
var (
	errGaveUp = errors.New("start bus")
	errSlow   = errors.New("start bus: not ready in time")
)

// embed starts a server inside this process. A folder that it says it cannot use is put aside and replaced by an empty
// one: all that is lost is time, because the store holds every unfinished step. A server that is only slow has said
// nothing against its folder, which then stays as it is.
func embed(dir string, within time.Duration, log *slog.Logger) (*server.Server, error) {
	srv, err := start(dir, within, log)
	if !errors.Is(err, errGaveUp) {
		return srv, err
	}
	log.Error("jetstream folder is unusable, starting with an empty one", "err", err)
	aside := dir + ".broken"
	if err := errors.Join(os.RemoveAll(aside), os.Rename(dir, aside)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("put broken jetstream folder aside: %w", err)
	}
	return start(dir, within, log)
}

func start(dir string, within time.Duration, log *slog.Logger) (*server.Server, error) {
	srv, err := server.NewServer(&server.Options{ServerName: "assent", DontListen: true, NoSigs: true,
		JetStream: true, StoreDir: dir, SyncInterval: syncEvery, MaxPayload: 1 << 20,
		JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 4 << 30})
	if err != nil {
		return nil, fmt.Errorf("make bus: %w", err)
	}
	bridge := &logBridge{log: log, fatal: make(chan error, 1)}
	srv.SetLoggerV2(bridge, false, false, false)
	started := make(chan struct{})
	go func() {
		srv.Start()
		close(started)
	}()
	if err := ready(srv, within, bridge.fatal); err != nil {
		stop(srv, started)
		return nil, err
	}
	return srv, nil
}

// stop ends a server that did not start. One that is stuck in its folder ends with the process.
func stop(srv *server.Server, started <-chan struct{}) {
	select {
	case <-started:
		srv.Shutdown()
		srv.WaitForShutdown()
	case <-time.After(stopTime):
	}
}

// ready waits for the server, or for the message with which it gives up: Start itself returns nothing.
func ready(srv *server.Server, within time.Duration, fatal <-chan error) error {
	for end := time.Now().Add(within); time.Now().Before(end); {
		select {
		case err := <-fatal:
			return err
		default:
		}
		if srv.ReadyForConnections(50 * time.Millisecond) {
			return nil
		}
	}
	return fmt.Errorf("%w: %s", errSlow, within)
}

// logBridge brings the server's log lines into ours. Notices are details of a part that nobody installed on purpose.
type logBridge struct {
	log   *slog.Logger
	fatal chan error
}

func (l *logBridge) Noticef(format string, v ...any) {
	l.log.Debug("bus", "says", fmt.Sprintf(format, v...))
}
func (l *logBridge) Warnf(format string, v ...any) {
	l.log.Warn("bus", "says", fmt.Sprintf(format, v...))
}
func (l *logBridge) Errorf(format string, v ...any) {
	l.log.Error("bus", "says", fmt.Sprintf(format, v...))
}
func (l *logBridge) Debugf(string, ...any) {}
func (l *logBridge) Tracef(string, ...any) {}

// Fatalf keeps the reason and lets the process live.
func (l *logBridge) Fatalf(format string, v ...any) {
	select {
	case l.fatal <- fmt.Errorf("%w: %s", errGaveUp, fmt.Sprintf(format, v...)):
	default:
	}
}
