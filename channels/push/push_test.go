package push_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/approvals"
	"assent/channels"
	"assent/channels/channeltest"
	"assent/channels/push"
	"assent/channels/push/fcmsim"
)

// TestContract: the channel is one like all others.
func TestContract(t *testing.T) {
	moods := map[channeltest.Mood]fcmsim.Behaviour{
		channeltest.Accept: {},
		channeltest.Busy:   {Status: 503, Code: "UNAVAILABLE"},
		channeltest.Later:  {Status: 429, Code: "QUOTA_EXCEEDED", After: int(channeltest.LaterBy / time.Second)},
		channeltest.Reject: {Status: 400, Code: "INVALID_ARGUMENT", Field: "message.android"},
		channeltest.Fault:  {Status: 401, Code: "THIRD_PARTY_AUTH_ERROR"},
		channeltest.Hang:   {Hang: true},
		channeltest.Break:  {Break: true},
		channeltest.Gone:   {Status: 404, Code: "UNREGISTERED"},
	}
	channeltest.Run(t, func(t *testing.T) channeltest.Provider {
		h := newHouse(t)
		p := channeltest.Provider{Channel: h.Channel, To: h.enrolled(t, "ann", canary+"contract"), Has: h.count,
			Set: func(m channeltest.Mood) { h.fcm.Behave(moods[m]) }}
		for mood := range moods {
			if mood != channeltest.Gone { // the device would be forgotten for the moods after it
				p.Moods = append(p.Moods, mood)
			}
		}
		p.Moods = append(p.Moods, channeltest.Gone)
		return p
	})
}

// TestAnswers: every class of answer, by code and by HTTP status. Each is one call, whatever the SDK would do.
func TestAnswers(t *testing.T) {
	unknown := errors.New("unknown")
	tests := []struct {
		name string
		b    fcmsim.Behaviour
		want error
		code string
	}{
		{"unregistered", fcmsim.Answers["unregistered"], channels.ErrGone, "UNREGISTERED"},
		{"sender mismatch", fcmsim.Answers["sender-mismatch"], channels.ErrGone, "SENDER_ID_MISMATCH"},
		{"invalid token", fcmsim.Answers["invalid-token"], channels.ErrGone, "INVALID_TOKEN"},
		{"invalid argument", fcmsim.Answers["invalid"], channels.ErrRejected, "INVALID_ARGUMENT"},
		{"third-party auth", fcmsim.Answers["third-party"], channels.ErrFault, "THIRD_PARTY_AUTH_ERROR"},
		{"quota", fcmsim.Answers["quota"], channels.ErrBusy, "QUOTA_EXCEEDED"},
		{"unavailable", fcmsim.Answers["unavailable"], channels.ErrBusy, "UNAVAILABLE"},
		{"unavailable for a while", fcmsim.Behaviour{Status: 503, Code: "UNAVAILABLE", After: 90}, channels.ErrBusy, "UNAVAILABLE"},
		{"internal", fcmsim.Answers["internal"], channels.ErrBusy, "INTERNAL"},
		{"bad gateway page", fcmsim.Answers["gateway"], unknown, "http_502"},
		{"server error page", fcmsim.Behaviour{Status: 500, HTML: true}, unknown, "http_500"},
		{"unavailable page", fcmsim.Behaviour{Status: 503, HTML: true}, channels.ErrBusy, "http_503"},
		{"too many, as a page", fcmsim.Behaviour{Status: 429, HTML: true}, channels.ErrBusy, "http_429"},
		{"gateway timeout", fcmsim.Behaviour{Status: 504, HTML: true}, unknown, "http_504"},
		{"access token refused", fcmsim.Behaviour{Status: 401}, channels.ErrFault, "http_401"},
		{"API is off", fcmsim.Behaviour{Status: 403}, channels.ErrFault, "http_403"},
		{"no such project", fcmsim.Behaviour{Status: 404, HTML: true}, channels.ErrFault, "http_404"},
		{"too large", fcmsim.Behaviour{Status: 413, HTML: true}, channels.ErrRejected, "http_413"},
		{"unknown code", fcmsim.Behaviour{Status: 400, Code: "NEW"}, channels.ErrRejected, "http_400"},
		{"redirect", fcmsim.Behaviour{Status: 302, HTML: true}, channels.ErrFault, "http_302"},
		{"answer breaks off", fcmsim.Behaviour{Break: true}, unknown, "bad_answer"},
		{"yes as a page", fcmsim.Behaviour{Status: 200, HTML: true}, unknown, "bad_answer"},
	}
	h := newHouse(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			to := h.enrolled(t, "ann", canary+strings.NewReplacer(" ", "-", ",", "").Replace(tt.name))
			h.set(h.now().Add(time.Hour)) // tests are counted
			h.fcm.Behave(tt.b)
			defer h.fcm.Behave(fcmsim.Behaviour{})
			before, alerts := h.fcm.Calls(), strings.Count(h.log.String(), "level=ERROR")
			m := h.message(1)
			d, err := h.Send(t.Context(), to, m)
			if got := classOf(err); err == nil || got != tt.want && (got != nil || tt.want != unknown) {
				t.Errorf("Send: %v, want %v", err, tt.want)
			}
			if d.Code != tt.code || push.Explain(d.Code) == "" {
				t.Errorf("code %q (%s), want %q", d.Code, push.Explain(d.Code), tt.code)
			}
			if calls := h.fcm.Calls() - before; calls != 1 {
				t.Errorf("%d calls, want 1", calls)
			}
			if after := channels.RetryAfter(err); errors.Is(err, channels.ErrBusy) && after != time.Duration(tt.b.After)*time.Second {
				t.Errorf("RetryAfter %s, want %d s", after, tt.b.After)
			}
			if alert := strings.Count(h.log.String(), "level=ERROR") > alerts; alert != (tt.want == channels.ErrFault) {
				t.Errorf("alert %v: %s", alert, h.log)
			}
			if forgotten := len(h.addresses(t, "ann")) == 0; forgotten != (tt.want == channels.ErrGone) {
				t.Errorf("device forgotten: %v", forgotten)
			}
			h.silent(t, m, err)
			for _, a := range h.addresses(t, "ann") {
				key, _, _ := strings.Cut(a.Value, ".")
				if err := h.Remove(t.Context(), "ann", key); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// classOf returns which error of package channels err is, or nil.
func classOf(err error) error {
	for _, class := range []error{channels.ErrGone, channels.ErrRejected, channels.ErrBusy, channels.ErrFault} {
		if errors.Is(err, class) {
			return class
		}
	}
	return nil
}

// TestNotConnected: a call that never reached the provider certainly sent nothing.
func TestNotConnected(t *testing.T) {
	h := newHouse(t)
	to := h.enrolled(t, "ann", canary+"phone")
	h.api.Close()
	h.cfg.HTTP.CloseIdleConnections() // what is written to one that is about to close may have arrived
	d, err := h.Send(t.Context(), to, h.message(1))
	if !errors.Is(err, channels.ErrBusy) || d.Code != "not_connected" {
		t.Errorf("Send: %v, code %q, want ErrBusy", err, d.Code)
	}
	h.silent(t, h.message(1), err)
}

// TestTimeout: after the request was written nobody knows.
func TestTimeout(t *testing.T) {
	h := newHouse(t)
	to := h.enrolled(t, "ann", canary+"phone")
	h.fcm.Behave(fcmsim.Behaviour{Slow: time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	d, err := h.Send(ctx, to, h.message(1))
	if err == nil || classOf(err) != nil || d.Code != "no_answer" {
		t.Errorf("Send: %v, code %q, want an error of no class", err, d.Code)
	}
}

// TestAccessToken: one is asked for and kept; one that the provider no longer takes is asked for anew.
func TestAccessToken(t *testing.T) {
	h := newHouse(t)
	to := h.enrolled(t, "ann", canary+"phone")
	send := func() error { _, err := h.Send(t.Context(), to, h.message(1)); return err }
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := send(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := h.fcm.TokensAsked(); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
	h.fcm.EndTokens()
	if err := send(); !errors.Is(err, channels.ErrFault) {
		t.Errorf("with a token that ended: %v", err)
	}
	if err := send(); err != nil || h.fcm.TokensAsked() != 2 {
		t.Errorf("after it: %v, asked %d times", err, h.fcm.TokensAsked())
	}
	h.set(time.Now().Add(56 * time.Minute))
	if err := send(); err != nil || h.fcm.TokensAsked() != 3 {
		t.Errorf("near the end of a token: %v, asked %d times", err, h.fcm.TokensAsked())
	}
}

// TestAccessTokenRefused: without one nothing was sent, and the endpoint is not asked by every message.
func TestAccessTokenRefused(t *testing.T) {
	for status, want := range map[int]error{400: channels.ErrFault, 401: channels.ErrFault, 429: channels.ErrBusy,
		500: channels.ErrBusy, 503: channels.ErrBusy} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			h := newHouse(t)
			to := h.enrolled(t, "ann", canary+"phone")
			h.set(time.Now().Add(2 * time.Hour))
			h.fcm.RefuseTokens(status)
			before := h.fcm.Calls()
			for range 3 {
				_, err := h.Send(t.Context(), to, h.message(1))
				if !errors.Is(err, want) {
					t.Errorf("Send: %v, want %v", err, want)
				}
				h.silent(t, h.message(1), err)
			}
			if n := h.fcm.TokensAsked(); n != 2 {
				t.Errorf("asked %d times, want once more", n-1)
			}
			if n := h.fcm.Calls() - before; n != 0 {
				t.Errorf("%d messages left", n)
			}
		})
	}
}

// TestBusyRenewal: while the endpoint has no time for a renewal the token that still lasts is used; when it is over nothing
// leaves, and when the endpoint is back there is a new one. A refusal of the account ends it at once.
func TestBusyRenewal(t *testing.T) {
	h := newHouse(t)
	to := h.enrolled(t, "ann", canary+"phone")
	start := time.Now()
	at := func(after time.Duration, status int) error {
		h.fcm.RefuseTokens(status)
		h.set(start.Add(after))
		_, err := h.Send(t.Context(), to, h.message(1))
		return err
	}
	for _, step := range []struct {
		after  time.Duration
		status int
		want   error
	}{
		{56 * time.Minute, 503, nil}, {57 * time.Minute, 503, nil}, {61 * time.Minute, 503, channels.ErrBusy},
		{62 * time.Minute, 0, nil}, {118 * time.Minute, 503, nil}, {119 * time.Minute, 401, channels.ErrFault},
		{120 * time.Minute, 0, nil},
	} {
		if err := at(step.after, step.status); !errors.Is(err, step.want) {
			t.Errorf("after %s, endpoint says %d: %v, want %v", step.after, step.status, err, step.want)
		}
	}
}

// TestConnectionsAreReused: 50 pages of a broken gateway cost no further connection.
func TestConnectionsAreReused(t *testing.T) {
	h := newHouse(t)
	to := h.enrolled(t, "ann", canary+"phone")
	h.fcm.Behave(fcmsim.Behaviour{Status: 502, HTML: true})
	before := h.connections()
	for i := range 50 {
		h.Send(t.Context(), to, h.message(i))
	}
	if n := h.connections() - before; n != 0 {
		t.Errorf("%d new connections", n)
	}
}

// TestHugeAnswer: an answer without end is cut, and says only its status.
func TestHugeAnswer(t *testing.T) {
	h := newHouse(t)
	to := h.enrolled(t, "ann", canary+"phone")
	h.cfg.HTTP.Transport = endless{h.cfg.HTTP.Transport}
	c, err := push.New(t.Context(), h.cfg)
	if err != nil {
		t.Fatal(err)
	}
	d, err := c.Send(t.Context(), to, h.message(1))
	if err == nil || errors.Is(err, channels.ErrBusy) || d.Code != "http_502" {
		t.Errorf("Send: %v, code %q", err, d.Code)
	}
}

// endless answers messages without end.
type endless struct{ http.RoundTripper }

func (e endless) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(r.URL.Path, ":send") {
		return e.RoundTripper.RoundTrip(r)
	}
	return &http.Response{StatusCode: 502, Header: http.Header{}, Body: io.NopCloser(zeros{})}, nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestNewRefuses: what is wrong with a configuration is said at start, without what stands in it.
func TestNewRefuses(t *testing.T) {
	h := newHouse(t)
	for want, change := range map[string]func(*push.Config){
		"must be the JSON":     func(c *push.Config) { c.Account = []byte("PRIVATE") },
		"private_key must":     func(c *push.Config) { c.Account = []byte(`{"type":"service_account","client_email":"a"}`) },
		"client_email":         func(c *push.Config) { c.Account = []byte(`{"type":"service_account"}`) },
		"type must be":         func(c *push.Config) { c.Account = []byte(`{"type":"external_account"}`) },
		"token_uri must be":    func(c *push.Config) { c.BaseURL = "" },
		"provider URL must be": func(c *push.Config) { c.BaseURL = "fcm" },
		"project id must":      func(c *push.Config) { c.Project = "../x" },
	} {
		cfg := h.cfg
		change(&cfg)
		if _, err := push.New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("New: %v, want %q", err, want)
		}
	}
}

// TestForeignAddress: an address that was never a device's here is gone.
func TestForeignAddress(t *testing.T) {
	h := newHouse(t)
	for _, value := range []string{"", "x", canary + "raw-token", strings.Repeat("x", 5000)} {
		if _, err := h.Send(t.Context(), approvals.Address{Channel: push.Name, Value: value}, h.message(1)); !errors.Is(err, channels.ErrGone) {
			t.Errorf("Send: %v, want ErrGone", err)
		}
	}
}
