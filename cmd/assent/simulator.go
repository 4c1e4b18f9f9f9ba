package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"slices"

	"assent/channels/sms"
	"assent/channels/sms/twiliosim"
)

var smsPage = template.Must(template.ParseFS(devFiles, "dev/sms.html"))

// simulator is a provider of text messages in this process, on a port of its own.
type simulator struct {
	*twiliosim.Server
	api     *http.Server
	calls   *http.Transport // of its callbacks
	stopped chan error
}

// simulateTwilio starts a provider and points cfg at it. Everything that it takes is reported as delivered.
func (s *service) simulateTwilio(cfg *sms.Config) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("simulated twilio: %w", err)
	}
	cfg.Account, cfg.Token, cfg.BaseURL = "AC"+randomHex(), randomHex(), "http://"+listener.Addr().String()
	if cfg.Sender == "" && cfg.Service == "" {
		cfg.Service = "MG" + randomHex()
	}
	sim := &simulator{calls: &http.Transport{}, stopped: make(chan error, 1)}
	sim.Server = twiliosim.New(cfg.Account, cfg.Token, &http.Client{Transport: sim.calls}, s.clock.Now)
	sim.DeliverInbound(cfg.InboundURL)
	sim.Behave(twiliosim.Behaviour{Late: []string{"sent", "delivered"}})
	sim.api = s.server(sim)
	go func() { sim.stopped <- sim.api.Serve(listener) }()
	s.twilio = sim
	return nil
}

func (sim *simulator) close() error {
	sim.Server.Close()
	err := sim.api.Close()
	if stopped := <-sim.stopped; !errors.Is(stopped, http.ErrServerClosed) {
		err = errors.Join(err, stopped)
	}
	sim.calls.CloseIdleConnections()
	return err
}

// serve shows the outbox, newest first.
func (sim *simulator) serve(w http.ResponseWriter, _ *http.Request) {
	messages := sim.Messages()
	slices.Reverse(messages)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	smsPage.Execute(w, messages[:min(len(messages), maxPhoneMessages)])
}

func randomHex() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
