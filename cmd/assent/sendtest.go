package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"assent/approvals"
	"assent/channels"
	"assent/channels/push"
	"assent/channels/sms"
	"assent/channels/web"
)

// testMessage is the body of POST /doctor/send.
type testMessage struct {
	Channel string `json:"channel"`
	To      string `json:"to"`
	Locale  string `json:"locale"`
}

// send asks the running service to send a test message.
func (c *doctorCmd) send(ctx context.Context) ([]finding, error) {
	channel, to, found := strings.Cut(c.Send, ":")
	if !found || channel == "" || to == "" {
		return nil, &exitError{exitUsage, errors.New("--send must be CHANNEL:ADDRESS, such as sms:+4930123456")}
	}
	api, err := newAdminClient(c.Data)
	if err != nil {
		return nil, err
	}
	var findings []finding
	err = api.call(ctx, "POST", "/doctor/send", testMessage{channel, to, c.Locale}, &findings)
	return findings, err
}

func (a *admin) sendTest(r *http.Request) (any, error) {
	var body testMessage
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	return a.s.sendTest(r.Context(), body)
}

// testLife is how long a test message is worth delivering.
const testLife = 5 * time.Minute

// sendTest sends a test message and says in plain words what became of it.
func (s *service) sendTest(ctx context.Context, t testMessage) ([]finding, error) {
	channel, have := s.channels[t.Channel]
	if len(s.channels) == 0 {
		return nil, &approvals.FieldError{Field: "channel", Rule: "must be one that is configured here: there is none"}
	}
	if !have {
		return nil, &approvals.FieldError{Field: "channel", Rule: "must be one that is configured here: " +
			strings.Join(slices.Sorted(maps.Keys(s.channels)), ", ")}
	}
	to, err := s.testAddress(ctx, t)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, channels.SendTimeout)
	defer cancel()
	m := channels.TestMessage("test-"+strings.ToLower(rand.Text()), t.Locale, s.clock.Now().Add(testLife))
	d, err := channel.Send(limited, to, m)
	if err != nil {
		return []finding{{Check: t.Channel + " accepted", Problem: explain(t.Channel, d.Code, err)}}, nil
	}
	findings := []finding{{Check: t.Channel + " accepted", Note: "by the provider, as " + d.Provider}}
	if s.texts != nil && t.Channel == s.texts.Name() {
		findings = append(findings, s.watchText(ctx, d.Provider))
	}
	return findings, nil
}

// explains are the channels that have words for their codes.
var explains = map[string]func(code string) string{sms.Name: sms.Explain, push.Name: push.Explain, web.Name: web.Explain}

// explain says what a refusal means for whoever runs the service.
func explain(channel, code string, err error) string {
	words := err.Error()
	if say := explains[channel]; say != nil {
		words = code + ": " + cmp.Or(say(code), "a code that is not known here; the provider's error pages explain it")
	}
	var todo string
	switch {
	case errors.Is(err, channels.ErrFault):
		todo = "nothing leaves until the account or the configuration is mended"
	case errors.Is(err, channels.ErrGone), errors.Is(err, channels.ErrRejected):
		todo = "the same message would be refused again"
	case errors.Is(err, channels.ErrBusy):
		todo = "nothing was sent; try again later"
	default:
		todo = "it may have been sent"
	}
	return words + " (" + todo + ")"
}

// How long a test message is watched, and how often it is looked at.
const (
	watchTime  = 15 * time.Second
	watchEvery = 500 * time.Millisecond
)

// watchText follows a text message until it has arrived, or has not.
func (s *service) watchText(ctx context.Context, sid string) finding {
	f := finding{Check: "sms delivered"}
	ctx, cancel := context.WithTimeout(ctx, watchTime)
	defer cancel()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		status, code, err := s.texts.Look(ctx, sid)
		switch {
		case err != nil && ctx.Err() == nil:
			f.Problem = "the provider does not say: " + err.Error()
			return f
		case status == approvals.StatusDelivered || status == approvals.StatusOpened:
			return f
		case status == approvals.StatusFailed:
			f.Problem = code + ": " + sms.Explain(code)
			return f
		}
		select {
		case <-ctx.Done():
			f.Note = fmt.Sprintf("not known after %s; some carriers never say", watchTime)
			return f
		case <-tick.C:
		}
	}
}
