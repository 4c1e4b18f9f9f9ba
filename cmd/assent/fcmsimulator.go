package main

import (
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"slices"

	"assent/channels/push"
	"assent/channels/push/fcmsim"
)

var fcmPage = template.Must(template.ParseFS(devFiles, "dev/fcm.html"))

// fcmSimulator is a provider of push messages in this process, on a port of its own.
type fcmSimulator struct {
	*fcmsim.Server
	api     *http.Server
	stopped chan error
}

// simulatedProject is the project of the simulator.
const simulatedProject = "assent-simulated"

// simulateFCM starts a provider and points cfg at it.
func (s *service) simulateFCM(cfg *push.Config) error {
	if cfg.Project == "" {
		cfg.Project = simulatedProject
	}
	provider, err := fcmsim.New(cfg.Project, s.clock.Now)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("simulated fcm: %w", err)
	}
	at := "http://" + listener.Addr().String()
	cfg.Account, cfg.BaseURL = provider.Account(at), at+"/v1"
	sim := &fcmSimulator{Server: provider, stopped: make(chan error, 1)}
	sim.api = s.server(sim)
	go func() { sim.stopped <- sim.api.Serve(listener) }()
	s.fcm = sim
	return nil
}

func (sim *fcmSimulator) close() error {
	sim.Server.Close()
	err := sim.api.Close()
	if stopped := <-sim.stopped; !errors.Is(stopped, http.ErrServerClosed) {
		err = errors.Join(err, stopped)
	}
	return err
}

// serve shows the outbox, newest first.
func (sim *fcmSimulator) serve(w http.ResponseWriter, _ *http.Request) {
	sent := sim.Sent()
	slices.Reverse(sent)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fcmPage.Execute(w, sent[:min(len(sent), maxPhoneMessages)])
}
