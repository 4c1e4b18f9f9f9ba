package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"assent/approvals"
	"assent/channels"
	"assent/channels/channeltest"
	"assent/channels/web/pushsim"
)

// TestContract: what every channel must fulfil, against a push service that decrypts.
func TestContract(t *testing.T) {
	channeltest.Run(t, func(t *testing.T) channeltest.Provider {
		w := newWorld(t)
		to := w.enrol("ann", w.browser())
		answers := map[channeltest.Mood]pushsim.Answer{
			channeltest.Busy:   {Status: http.StatusServiceUnavailable},
			channeltest.Later:  {Status: http.StatusTooManyRequests, RetryAfter: channeltest.LaterBy},
			channeltest.Reject: {Status: http.StatusRequestEntityTooLarge},
			channeltest.Fault:  {Status: http.StatusForbidden},
			channeltest.Hang:   {Hang: true},
			channeltest.Break:  {Break: true},
		}
		p := channeltest.Provider{Channel: w.web, To: to, Has: func(m channels.Message) (n int) {
			for _, got := range w.sim.Outbox() {
				if got.Topic == topic(m.Tag) && strings.Contains(string(got.Payload), m.Text) {
					n++
				}
			}
			return n
		}, Set: func(m channeltest.Mood) { w.sim.Set(answers[m]) }}
		for mood := range answers {
			p.Moods = append(p.Moods, mood)
		}
		return p
	})
}

// TestAnswers: every answer of a push service (RFC 8030, 5 and 8.4).
func TestAnswers(t *testing.T) {
	tests := []struct {
		status  int
		want    error
		unknown bool // none of the errors of package channels
		gone    bool
	}{
		{status: 201}, {status: 200}, {status: 202}, {status: 204},
		{status: 301, want: channels.ErrFault}, {status: 307, want: channels.ErrFault},
		{status: 400, want: channels.ErrFault}, {status: 401, want: channels.ErrFault},
		{status: 403, want: channels.ErrFault},
		{status: 404, want: channels.ErrGone, gone: true}, {status: 410, want: channels.ErrGone, gone: true},
		{status: 413, want: channels.ErrRejected},
		{status: 429, want: channels.ErrBusy},
		{status: 500, unknown: true}, {status: 502, unknown: true}, {status: 504, unknown: true}, {status: 503, want: channels.ErrBusy},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.status), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			to := w.enrol("ann", w.browser())
			w.sim.Set(pushsim.Answer{Status: tt.status})
			report, err := w.web.Send(t.Context(), to, channeltest.Message(1))
			if !tt.unknown && (!errors.Is(err, tt.want) || err != nil && tt.want == nil) {
				t.Errorf("Send: %v, want %v", err, tt.want)
			}
			if tt.unknown && (err == nil || errors.Is(err, channels.ErrBusy) || channels.RetryAfter(err) == 0) {
				t.Errorf("Send: %v, want an error that leaves it open, and a rest", err)
			}
			if err != nil && report.Code != fmt.Sprint(tt.status) {
				t.Errorf("Code is %q", report.Code)
			}
			if told := len(w.person("ann").Addresses) == 1; told == tt.gone {
				t.Errorf("still an address: %t", told)
			}
			kept, err := w.store.Scan(t.Context(), kindSubscription, "", 10)
			if check(t, err); len(kept) == 0 != tt.gone {
				t.Errorf("%d subscriptions kept", len(kept))
			}
		})
	}
}

// TestHeaders: what a message asks of the push service, which has checked token and encryption by itself.
func TestHeaders(t *testing.T) {
	w := newWorld(t)
	to := w.enrol("ann", w.browser())
	m := channeltest.Message(1)
	m.Expires = w.now().Add(90*time.Second + 300*time.Millisecond)
	_, err := w.web.Send(t.Context(), to, m)
	check(t, err)
	got, text := w.last()
	if got.TTL < 89*time.Second || got.TTL > 90*time.Second || got.Urgency != "high" || len(got.Topic) != 32 ||
		got.Contact != contact || got.Size != headSize+1024+16 {
		t.Errorf("message is %+v", got)
	}
	if text.WebPush != 8030 || text.Proof != "" {
		t.Errorf("not a declarative message: %+v", text)
	}
	want := map[string]any{"title": m.Title, "body": m.Text, "lang": "en", "tag": m.Tag, "navigate": m.URL,
		"renotify":           true,
		"requireInteraction": true}
	delete(text.Notification, "timestamp")
	if fmt.Sprint(text.Notification) != fmt.Sprint(want) {
		t.Errorf("notification is %v, want %v", text.Notification, want)
	}

	m.Expires = w.now().Add(300 * time.Millisecond)
	_, err = w.web.Send(t.Context(), to, m)
	check(t, err)
	if got, _ := w.last(); got.TTL != time.Second {
		t.Errorf("TTL at the very end is %s, want 1s: none means now or never", got.TTL)
	}
	m.Expires = w.now()
	if _, err = w.web.Send(t.Context(), to, m); !errors.Is(err, channels.ErrRejected) {
		t.Errorf("Send of what is over: %v", err)
	}
}

// TestRetract: the quiet word takes the same topic and tag, even when the request is over.
func TestRetract(t *testing.T) {
	w := newWorld(t)
	to := w.enrol("ann", w.browser())
	m := channeltest.Message(1)
	_, err := w.web.Send(t.Context(), to, m)
	check(t, err)
	sent, _ := w.last()
	m.Kind, m.Text, m.URL, m.Expires = channels.KindClosed, "K7-42 is closed. Nothing to do.", "",
		w.now().Add(-time.Minute)
	check(t, w.web.Retract(t.Context(), to, m))
	got, text := w.last()
	if got.Topic != sent.Topic || got.Urgency != "normal" || got.TTL != closedLife || !w.sim.Outbox()[1].Replaced {
		t.Errorf("message is %+v", got)
	}
	n := text.Notification
	if n["tag"] != m.Tag || n["silent"] != true || n["renotify"] != nil ||
		n["navigate"] != "https://approve.example.com/" {
		t.Errorf("notification is %v", n)
	}
}

// Apple's browsers show every message, so none is sent to say that there is nothing to do.
func TestNoClosingForApple(t *testing.T) {
	w := newWorld(t)
	m := channeltest.Message(1)
	m.Kind = channels.KindClosed
	if _, err := w.web.life(&subscription{origin: "https://web.push.apple.com"}, m); err == nil {
		t.Error("closing message for Apple")
	}
	if _, err := w.web.life(&subscription{origin: "https://fcm.googleapis.com"}, m); err != nil {
		t.Errorf("closing message for Chrome: %v", err)
	}
}

// A redirect is an answer, not a way.
func TestNoRedirects(t *testing.T) {
	w := newWorld(t)
	var led atomic.Int64
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { led.Add(1) }))
	defer trap.Close()
	leads := httptest.NewTLSServer(http.RedirectHandler(trap.URL, http.StatusPermanentRedirect))
	defer leads.Close()
	s := w.browser()
	s.Endpoint = leads.URL + "/push/x"
	if err := w.web.Subscribe(t.Context(), "ann", "Firefox (Linux)", s.JSON()); !errors.Is(err, channels.ErrFault) {
		t.Errorf("Subscribe: %v", err)
	}
	if n := led.Load(); n != 0 {
		t.Errorf("followed %d times", n)
	}
}

// A one-time code never goes to a browser: it may be the one that asks for it.
func TestNoCodes(t *testing.T) {
	w := newWorld(t)
	to := w.enrol("ann", w.browser())
	m := channels.Message{Kind: channels.KindCode, Tag: "t", Code: "123456", Expires: w.now().Add(time.Minute)}
	if _, err := w.web.Send(t.Context(), to, m); !errors.Is(err, channels.ErrRejected) {
		t.Errorf("Send: %v", err)
	}
	if n := len(w.sim.Outbox()); n != 1 {
		t.Errorf("%d messages, want the test's alone", n)
	}
}

// One token serves all messages to a push service for hours, and never longer than it lives.
func TestTokens(t *testing.T) {
	w := newWorld(t)
	to := w.enrol("ann", w.browser())
	for range 5 {
		w.wait(tokenReuse / 4)
		m := channeltest.Message(1)
		m.Expires = w.now().Add(time.Minute)
		_, err := w.web.Send(t.Context(), to, m)
		check(t, err)
	}
	if calls, tokens := w.sim.Calls(); calls != 6 || tokens != 2 {
		t.Errorf("%d messages with %d tokens, want 6 with 2", calls, tokens)
	}
}

// The key outlives a restart, and lies sealed.
func TestKeyIsKept(t *testing.T) {
	w := newWorld(t)
	before := w.web.Key()
	check(t, w.store.Close())
	w.open()
	if w.web.Key() != before {
		t.Error("another key after a restart: every browser would have to subscribe again")
	}
	if rec, err := w.store.Get(t.Context(), kindKey, keyName); err != nil || strings.Contains(string(rec.Value),
		"PRIVATE") {
		t.Errorf("record: %v", err)
	}
}

// What cannot be connected to has certainly not got the message.
func TestNotConnected(t *testing.T) {
	w := newWorld(t)
	to := w.enrol("ann", w.browser())
	w.server.Close()
	m := channeltest.Message(1)
	_, err := w.web.Send(t.Context(), to, m)
	if !errors.Is(err, channels.ErrBusy) || strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("Send: %v", err)
	}
}

func TestUnknownAddress(t *testing.T) {
	w := newWorld(t)
	to := w.enrol("ann", w.browser())
	for _, value := range []string{"", "x", to.Value + "x", strings.Repeat("x", 200), strings.Split(to.Value, ".")[0]} {
		_, err := w.web.Send(t.Context(), approvals.Address{Channel: Name, Value: value}, channeltest.Message(1))
		if !errors.Is(err, channels.ErrGone) {
			t.Errorf("Send to %q: %v", value, err)
		}
	}
	if len(w.person("ann").Addresses) != 1 {
		t.Error("the real address is forgotten")
	}
}

func TestCheckContact(t *testing.T) {
	for _, good := range []string{"mailto:push@example.com", "https://example.com/contact"} {
		if err := CheckContact(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "push@example.com", "mailto:", "mailto:mailto:a@example.com", "mailto:push@localhost",
		"mailto:Push <push@example.com>", "http://example.com", "https://localhost/", "https://127.0.0.1/",
		"https://[::1]/", "https://printer.local",
		"mailto:a@b.test", "https://" + strings.Repeat("x", 300) + ".com"} {
		if err := CheckContact(bad); !errors.Is(err, approvals.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
