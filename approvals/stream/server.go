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

// startTime is how long a server inside this process may take to read its folder.
const startTime = 10 * time.Second

// embed starts a server inside this process. A folder that it cannot use is put aside and replaced by an empty one: all
// that is lost is time, because the store holds every unfinished step.
func embed(dir string, log *slog.Logger) (*server.Server, error) {
	srv, err := start(dir, log)
	if err == nil {
		return srv, nil
	}
	log.Error("jetstream folder is unusable, starting with an empty one", "err", err)
	aside := dir + ".broken"
	if err := errors.Join(os.RemoveAll(aside), os.Rename(dir, aside)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("put broken jetstream folder aside: %w", err)
	}
	return start(dir, log)
}

func start(dir string, log *slog.Logger) (*server.Server, error) {
	srv, err := server.NewServer(&server.Options{ServerName: "assent", DontListen: true, NoSigs: true,
		JetStream: true, StoreDir: dir, SyncInterval: time.Second, MaxPayload: 1 << 20,
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
	if err := ready(srv, bridge.fatal); err != nil {
		<-started
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, err
	}
	return srv, nil
}

// ready waits for the server, or for the message with which it gives up: Start itself returns nothing.
func ready(srv *server.Server, fatal <-chan error) error {
	for end := time.Now().Add(startTime); time.Now().Before(end); {
		select {
		case err := <-fatal:
			return err
		default:
		}
		if srv.ReadyForConnections(50 * time.Millisecond) {
			return nil
		}
	}
	return fmt.Errorf("start bus: not ready after %s", startTime)
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
	case l.fatal <- fmt.Errorf("start bus: "+format, v...):
	default:
	}
}
