package sms_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"assent/channels"
	"assent/channels/channeltest"
	"assent/channels/sms"
	"assent/channels/sms/twiliosim"
)

// TestContract: the channel is one like all others.
func TestContract(t *testing.T) {
	moods := map[channeltest.Mood]twiliosim.Behaviour{
		channeltest.Accept: {},
		channeltest.Busy:   {Status: 503, Code: 20503},
		channeltest.Later:  {Status: 429, Code: 20429, After: int(channeltest.LaterBy / time.Second)},
		channeltest.Reject: {Status: 400, Code: 21612},
		channeltest.Gone:   {Status: 400, Code: 21211},
		channeltest.Fault:  {Status: 401, Code: 20003},
		channeltest.Hang:   {Hang: true},
		channeltest.Break:  {Break: true},
	}
	channeltest.Run(t, func(t *testing.T) channeltest.Provider {
		h := newHouse(t)
		p := channeltest.Provider{Channel: h.Channel, To: to(phone), Has: h.count,
			Set: func(m channeltest.Mood) { h.twilio.Behave(moods[m]) }}
		for mood := range moods {
			if mood != channeltest.Gone { // the number would be dead for the moods after it
				p.Moods = append(p.Moods, mood)
			}
		}
		p.Moods = append(p.Moods, channeltest.Gone)
		return p
	})
}

// TestSend: what the provider is asked for.
func TestSend(t *testing.T) {
	for name, cfg := range map[string]func(*sms.Config){
		"service": func(*sms.Config) {},
		"sender":  func(c *sms.Config) { c.Service, c.Sender = "", "+15005550006" },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, cfg)
			m := h.message(1)
			d, err := h.Send(t.Context(), to(phone), m)
			if err != nil {
				t.Fatal(err)
			}
			got, found := h.twilio.Message(d.Provider)
			if !found || got.To != phone || got.Service != h.cfg.Service || got.From != h.cfg.Sender {
				t.Errorf("provider has %+v under %q", got, d.Provider)
			}
			if got.Validity < 295 || got.Validity > 300 {
				t.Errorf("validity %d s, want the remaining life of 300 s", got.Validity)
			}
			if !strings.Contains(got.Body, m.URL) || sms.Parts(got.Body) != 1 {
				t.Errorf("body %q takes %d parts, or has no link", got.Body, sms.Parts(got.Body))
			}
		})
	}
}

// TestValidity: the remaining life within the bounds of the provider.
func TestValidity(t *testing.T) {
	h := newHouse(t)
	for left, want := range map[time.Duration]int{time.Millisecond: 1, 3 * time.Second: 3, time.Minute + time.Millisecond: 60, 7 * 24 * time.Hour: 36_000} {
		h.set(time.Now())
		m := h.message(1)
		m.Expires = h.now().Add(left)
		d, err := h.Send(t.Context(), to(phone), m)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := h.twilio.Message(d.Provider); got.Validity != want {
			t.Errorf("%s left: validity %d, want %d", left, got.Validity, want)
		}
	}
}

// TestAnswers: every class of answer, by code and by HTTP status.
func TestAnswers(t *testing.T) {
	unknown := errors.New("unknown")
	tests := []struct {
		name string
		b    twiliosim.Behaviour
		want error
		code string
	}{
		{"invalid number", twiliosim.Behaviour{Status: 400, Code: 21211}, channels.ErrGone, "21211"},
		{"not a mobile", twiliosim.Behaviour{Status: 400, Code: 21614}, channels.ErrGone, "21614"},
		{"bad format", twiliosim.Behaviour{Status: 400, Code: 21217}, channels.ErrGone, "21217"},
		{"unreachable", twiliosim.Behaviour{Status: 400, Code: 21214}, channels.ErrRejected, "21214"},
		{"region off", twiliosim.Behaviour{Status: 400, Code: 21408}, channels.ErrRejected, "21408"},
		{"opted out", twiliosim.Behaviour{Status: 400, Code: 21610}, channels.ErrRejected, "21610"},
		{"no route", twiliosim.Behaviour{Status: 400, Code: 21612}, channels.ErrRejected, "21612"},
		{"unknown code", twiliosim.Behaviour{Status: 400, Code: 29999}, channels.ErrRejected, "29999"},
		{"wrong token", twiliosim.Behaviour{Status: 401, Code: 20003}, channels.ErrFault, "20003"},
		{"not our sender", twiliosim.Behaviour{Status: 400, Code: 21606}, channels.ErrFault, "21606"},
		{"sender unknown", twiliosim.Behaviour{Status: 400, Code: 21659}, channels.ErrFault, "21659"},
		{"service is empty", twiliosim.Behaviour{Status: 400, Code: 21703}, channels.ErrFault, "21703"},
		{"service unknown", twiliosim.Behaviour{Status: 400, Code: 21705}, channels.ErrFault, "21705"},
		{"unregistered sender", twiliosim.Behaviour{Status: 400, Code: 30034}, channels.ErrFault, "30034"},
		{"suspended", twiliosim.Behaviour{Status: 400, Code: 30002}, channels.ErrFault, "30002"},
		{"forbidden without a code", twiliosim.Behaviour{Status: 403, HTML: true}, channels.ErrFault, "http_403"},
		{"redirect", twiliosim.Behaviour{Status: 302, HTML: true}, channels.ErrFault, "http_302"},
		{"too many", twiliosim.Behaviour{Status: 429, Code: 20429}, channels.ErrBusy, "20429"},
		{"too many, as a page", twiliosim.Behaviour{Status: 429, HTML: true}, channels.ErrBusy, "http_429"},
		{"server error", twiliosim.Behaviour{Status: 500, Code: 20500}, channels.ErrBusy, "20500"},
		{"bad gateway page", twiliosim.Behaviour{Status: 502, HTML: true}, unknown, "http_502"},
		{"bad gateway by the provider itself", twiliosim.Behaviour{Status: 502, Code: 20502}, channels.ErrBusy, "20502"},
		{"server error page", twiliosim.Behaviour{Status: 500, HTML: true}, unknown, "http_500"},
		{"unavailable page", twiliosim.Behaviour{Status: 503, HTML: true}, channels.ErrBusy, "http_503"},
		{"unavailable", twiliosim.Behaviour{Status: 503, Code: 20503}, channels.ErrBusy, "20503"},
		{"gateway timeout", twiliosim.Behaviour{Status: 504, HTML: true}, unknown, "http_504"},
		{"answer breaks off", twiliosim.Behaviour{Break: true}, unknown, "bad_answer"},
		{"yes as a page", twiliosim.Behaviour{Status: 200, HTML: true}, unknown, "bad_answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			h.twilio.Behave(tt.b)
			m := h.message(1)
			d, err := h.Send(t.Context(), to(phone), m)
			if got := classOf(err); err == nil || got != tt.want && (got != nil || tt.want != unknown) {
				t.Errorf("Send: %v, want %v", err, tt.want)
			}
			if d.Code != tt.code {
				t.Errorf("code %q, want %q", d.Code, tt.code)
			}
			h.silent(t, m, err)
			if alert := strings.Contains(h.log.String(), "level=ERROR"); alert != (tt.want == channels.ErrFault) {
				t.Errorf("alert %v: %s", alert, h.log)
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

// silent checks that neither log nor error tells what only person and provider may know.
func (h *house) silent(t *testing.T, m channels.Message, err error) {
	t.Helper()
	said := h.log.String()
	if err != nil {
		said += err.Error()
	}
	for what, secret := range map[string]string{"number": phone, "link": m.URL, "ref": m.Ref, "token": token,
		"provider's words": "refused: "} {
		if strings.Contains(said, secret) {
			t.Errorf("%s stands in a log or an error: %s", what, said)
		}
	}
}

// TestNotConnected: a call that never reached the provider certainly sent nothing.
func TestNotConnected(t *testing.T) {
	h := newHouse(t)
	h.api.Close()
	d, err := h.Send(t.Context(), to(phone), h.message(1))
	if !errors.Is(err, channels.ErrBusy) || d.Code != "not_connected" {
		t.Errorf("Send: %v, code %q, want ErrBusy", err, d.Code)
	}
	h.silent(t, h.message(1), err)
}

// TestTimeout: after the request was written nobody knows.
func TestTimeout(t *testing.T) {
	h := newHouse(t)
	h.twilio.Behave(twiliosim.Behaviour{Slow: time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	d, err := h.Send(ctx, to(phone), h.message(1))
	if err == nil || classOf(err) != nil || d.Code != "no_answer" {
		t.Errorf("Send: %v, code %q, want an error of no class", err, d.Code)
	}
}

// TestConnectionsAreReused: 50 pages of a broken gateway cost one connection and no goroutine.
func TestConnectionsAreReused(t *testing.T) {
	for name, b := range map[string]twiliosim.Behaviour{"page": {Status: 502, HTML: true}, "json": {Status: 400, Code: 21612},
		"accepted": {}} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.twilio.Behave(b)
			h.Send(t.Context(), to(phone), h.message(0))
			before := runtime.NumGoroutine()
			for i := range 50 {
				h.Send(t.Context(), to(phone), h.message(i))
			}
			if n := h.dials.count(); n != 1 {
				t.Errorf("%d connections, want 1", n)
			}
			if after := runtime.NumGoroutine(); after > before+2 {
				t.Errorf("%d goroutines became %d", before, after)
			}
		})
	}
}

// TestHugeAnswer: an answer without end is cut, and says only its status.
func TestHugeAnswer(t *testing.T) {
	h := newHouse(t, func(c *sms.Config) {
		c.HTTP = &http.Client{Transport: endless{}}
	})
	d, err := h.Send(t.Context(), to(phone), h.message(1))
	if err == nil || errors.Is(err, channels.ErrBusy) || d.Code != "http_502" {
		t.Errorf("Send: %v, code %q", err, d.Code)
	}
}

type endless struct{}

func (endless) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 502, Header: http.Header{}, Body: io.NopCloser(zeros{})}, nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
