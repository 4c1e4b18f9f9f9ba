package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"

	"assent/channels"
	"assent/ciba"
)

type serveCmd struct {
	Config
}

// Run runs the service until it is told to stop.
func (c *serveCmd) Run(ctx context.Context, root *cli, s streams) error {
	cfg := c.Config
	cfg.tables = root.tables
	if err := cfg.check(); err != nil {
		return &exitError{exitUsage, err}
	}
	relaxCollector()
	return newService(cfg, newLogger(s.err, cfg.LogLevel)).serve(ctx, nil)
}

// relaxCollector lets the heap grow to three times what is in use, unless GOGC says otherwise. Most of what is in use
// are pending requests kept for polls, which live for minutes; with Go's default a busy service spends up to a third of
// its time looking at them again and again.
func relaxCollector() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
}

// newLogger writes JSON, or text when a person is looking. Times are UTC.
func newLogger(w io.Writer, level string) *slog.Logger {
	var l slog.Level
	_ = l.UnmarshalText([]byte(level)) // the command line has checked it
	opts := &slog.HandlerOptions{Level: l, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			a.Value = slog.TimeValue(a.Value.Time().UTC())
		}
		return a
	}}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return slog.New(withName{slog.NewTextHandler(w, opts)})
		}
	}
	return slog.New(withName{slog.NewJSONHandler(w, opts)})
}

// serve opens the listeners and the service, runs both and stops in the reverse order: listeners, loops, bus, store.
// ready, which may be nil, is called with the service once it answers.
func (s *service) serve(ctx context.Context, ready func(*service)) (err error) {
	if err := s.openData(ctx); err != nil { // before the port: a second process shall hear why
		return errors.Join(err, s.close())
	}
	listener, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return errors.Join(fmt.Errorf("listen: %w", err), s.close())
	}
	defer listener.Close()
	s.cfg.Listen = listener.Addr().String()
	certified, err := s.listenMutual()
	if err != nil {
		return errors.Join(err, s.close())
	}
	if certified != nil {
		defer certified.Close()
	}
	if err := s.cfg.completeURLs(); err != nil {
		return errors.Join(&exitError{exitUsage, err}, s.close())
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	doors, err := s.listen(listener, certified)
	if err != nil {
		return err
	}
	loops, stopLoops := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLoops()
	g, failed := errgroup.WithContext(ctx)
	for _, d := range doors {
		g.Go(d.serve)
	}
	s.startLoops(g, loops)
	g.Go(func() error {
		<-failed.Done() // asked to stop, or a part has failed
		s.log.Info("stopping")
		err := s.stopDoors(doors)
		stopLoops()
		return err
	})
	s.log.Info("ready", "listen", s.cfg.Listen, "issuer", s.cfg.Issuer, "pages", s.cfg.PagesURL, "mtls", s.cfg.MTLSURL,
		"metrics", s.cfg.AdminListen, "dev", s.cfg.Dev, "profile", s.cfg.Profile)
	if ready != nil {
		ready(s)
	}
	err = g.Wait()
	s.log.Info("stopped")
	return err
}

// startLoops starts everything that works beside the listeners.
func (s *service) startLoops(g *errgroup.Group, ctx context.Context) {
	for _, loop := range []func(context.Context) error{
		func(ctx context.Context) error { return s.bus.Relay(ctx, s.store, s.hub) },
		func(ctx context.Context) error { return s.bus.Mirror(ctx, s.hub) },
		func(ctx context.Context) error {
			return s.bus.Consume(ctx, "dispatcher", s.dispatcher.Handle, channels.Kinds()...)
		},
		func(ctx context.Context) error { return s.dispatcher.Run(ctx, s.hub) },
		func(ctx context.Context) error {
			return s.bus.Consume(ctx, "notifier", s.notifier.Handle, ciba.PingKinds()...)
		},
		func(ctx context.Context) error {
			return s.bus.Work(ctx, ciba.PingChannel, channels.InFlight, s.notifier.Work)
		},
		s.notifier.Run,
		func(ctx context.Context) error { return s.bus.Dead(ctx, s.metrics.dead) },
		s.sweepLoop,
	} {
		g.Go(func() error { return ended(ctx, loop(ctx)) })
	}
	for name := range s.channels {
		g.Go(func() error { return ended(ctx, s.bus.Work(ctx, name, channels.InFlight, s.dispatcher.Work)) })
	}
}

// ended makes the end of a loop that was told to stop no error.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Times of the loops.
const (
	sweepEvery = time.Second // a request expires at most this late for those who wait; readers see it at once
	pruneEvery = time.Minute
	pruneBatch = 1000
)

// sweepLoop does what has become due, beginning with what became due while nobody was running.
func (s *service) sweepLoop(ctx context.Context) error {
	sweep, prune := time.NewTicker(sweepEvery), time.NewTicker(pruneEvery)
	defer sweep.Stop()
	defer prune.Stop()
	for {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "sweep", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-prune.C:
			if err := s.prune(ctx); err != nil && ctx.Err() == nil {
				s.log.ErrorContext(ctx, "prune", "err", err)
			}
		case <-sweep.C:
		}
	}
}

// catchUp does everything that is due by now.
func (s *service) catchUp(ctx context.Context) error {
	_, err := s.dispatcher.Sweep(ctx)
	err = errors.Join(s.sweep(ctx), err)
	_, pings := s.notifier.Sweep(ctx)
	return errors.Join(err, pings)
}

func (s *service) sweep(ctx context.Context) error {
	_, err := s.desk.Sweep(ctx)
	return err
}

func (s *service) prune(ctx context.Context) error {
	for {
		n, err := s.store.Prune(ctx, pruneBatch)
		if err != nil || n < pruneBatch {
			return err
		}
	}
}

// door is one listener with its server.
type door struct {
	name     string
	server   *http.Server
	listener net.Listener
}

func (d door) serve() error {
	if err := d.server.Serve(d.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", d.name, err)
	}
	return nil
}

// stopTime is how long answers under way may take once the service is told to stop.
const stopTime = 10 * time.Second

// stopDoors closes the listeners and waits for the answers under way, but not for ever: whoever reads a backup too
// slowly is cut off. Held polls and live pages are sent home first.
func (s *service) stopDoors(doors []door) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	s.agents.Close()
	pages := make(chan struct{})
	go func() { s.pages.Close(); close(pages) }()
	var errs []error
	for _, d := range doors {
		err := d.server.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			s.log.Warn("answers cut off", "door", d.name)
			err = d.server.Close()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", d.name, err))
		}
	}
	<-pages // with the connections gone no live page is left
	return errors.Join(errs...)
}

// Limits of every listener (design: header 5 s and 16 KiB, body 10 s, answer 10 s, idle 75 s, 60,000 connections).
const (
	headerTime     = 5 * time.Second
	bodyTime       = 10 * time.Second
	answerTime     = 10 * time.Second
	idleTime       = 75 * time.Second
	maxHeader      = 16 << 10
	maxConnections = 60_000
)

func (s *service) server(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: headerTime, ReadTimeout: bodyTime, WriteTimeout: answerTime,
		IdleTimeout: idleTime, MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn)}
}

// listenMutual takes the address for agents with certificates, if there is one: its port is part of what we publish.
func (s *service) listenMutual() (net.Listener, error) {
	if s.cfg.MTLSListen == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", s.cfg.MTLSListen)
	if err != nil {
		return nil, fmt.Errorf("listen for certificates: %w", err)
	}
	s.cfg.MTLSListen = l.Addr().String()
	return l, nil
}

// listen opens the doors: agents and people, agents with certificates, the administration socket, and metrics if
// wanted.
func (s *service) listen(public, certified net.Listener) ([]door, error) {
	doors, err := s.listenPublic(public, certified)
	if err != nil {
		return nil, err
	}

	socket, err := listenAdmin(s.cfg.Data)
	if err != nil {
		return nil, err
	}
	commands := s.server((&admin{s, s.log}).handler())
	commands.WriteTimeout = 0 // a backup takes as long as it takes
	doors = append(doors, door{"administration", commands, socket})

	if s.cfg.AdminListen != "" {
		l, err := net.Listen("tcp", s.cfg.AdminListen)
		if err != nil {
			return nil, fmt.Errorf("listen for metrics: %w", err)
		}
		observer := s.server(localOnly(s.metrics.handler()))
		observer.WriteTimeout = 0 // profiles take their time
		s.cfg.AdminListen = l.Addr().String()
		doors = append(doors, door{"metrics", observer, l})
	}
	return doors, nil
}

func (s *service) listenPublic(public, certified net.Listener) ([]door, error) {
	handler, err := s.cfg.behindProxy(s.public())
	if err != nil {
		return nil, err
	}
	public = limitConnections(public, maxConnections)
	if s.cfg.TLSCert == "" {
		return []door{{"agents and people", s.server(handler), public}}, nil
	}
	certs, err := newCertificates(s.cfg.TLSCert, s.cfg.TLSKey, s.clock.Now, s.log)
	if err != nil {
		return nil, err
	}
	doors := []door{{"agents and people", s.server(handler), tls.NewListener(public, tlsConfig(certs))}}
	if certified != nil {
		certified = tls.NewListener(limitConnections(certified, maxConnections), mutualConfig(certs))
		doors = append(doors, door{"agents with certificates", s.server(s.cfg.direct(s.certified())), certified})
	}
	return doors, nil
}

// listenAdmin opens the administration socket. The data folder is locked by now, so a socket that is there is a
// leftover of a process that was killed.
func listenAdmin(data string) (net.Listener, error) {
	path, err := adminSocket(data)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("administration socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("administration socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("administration socket: %w", err), l.Close())
	}
	return l, nil
}
