package push_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"assent/approvals"
	"assent/channels"
	"assent/channels/channeltest"
	"assent/channels/push/fcmsim"
)

// message is message n, good for five minutes on the house's clock.
func (h *house) message(n int) channels.Message {
	m := channeltest.Message(n)
	m.Expires = h.now().Add(5 * time.Minute)
	return m
}

// last is what the provider got last.
func (h *house) last(t testing.TB) fcmsim.Message {
	t.Helper()
	sent := h.fcm.Sent()
	if len(sent) == 0 {
		t.Fatal("nothing was sent")
	}
	return sent[len(sent)-1].Message
}

// TestMessage: an alert and an opaque id, for both kinds of devices, as long as it is worth something.
func TestMessage(t *testing.T) {
	h := newHouse(t)
	to := h.enrolled(t, "ann", canary+"phone")
	h.set(time.Now().Truncate(time.Second))
	m := h.message(1)
	d, err := h.Send(t.Context(), to, m)
	if err != nil {
		t.Fatal(err)
	}
	got := h.last(t)
	if d.Provider == "" || !strings.HasSuffix(h.fcm.Sent()[1].Name, "/"+d.Provider) {
		t.Errorf("provider's name %q", d.Provider)
	}
	if got.Notification.Title != m.Title || got.Notification.Body != m.Text || got.APNS.Payload.APS.Alert.Body != m.Text {
		t.Errorf("alert %+v", got)
	}
	if fmt.Sprint(got.Data) != "map[id:7Kq2mX9wTzB4 kind:request]" {
		t.Errorf("data %v", got.Data)
	}
	if a := got.Android; a.Priority != "high" || a.TTL != "300s" || a.CollapseKey != m.Tag || a.Notification.Tag != m.Tag || !a.Notification.Sound {
		t.Errorf("android %+v", a)
	}
	want := map[string]string{"apns-push-type": "alert", "apns-priority": "10", "apns-collapse-id": m.Tag,
		"apns-expiration": fmt.Sprint(m.Expires.Unix())}
	if fmt.Sprint(got.APNS.Headers) != fmt.Sprint(want) || got.APNS.Payload.APS.Sound != "default" {
		t.Errorf("apns %+v", got.APNS)
	}
	raw, _ := json.Marshal(got)
	for what, secret := range map[string]string{"request": string(m.Request), "host": "approve.example.com"} {
		if strings.Contains(string(raw), secret) {
			t.Errorf("%s stands in the message: %s", what, raw)
		}
	}
}

// TestRetract: the closing message takes the place of the others and is quiet, also after the end.
func TestRetract(t *testing.T) {
	h := newHouse(t)
	to := h.enrolled(t, "ann", canary+"phone")
	m := h.message(1)
	m.Kind, m.URL, m.Text = channels.KindClosed, "", "K7-42 is closed. Nothing to do."
	h.set(m.Expires.Add(time.Minute))
	if err := h.Retract(t.Context(), to, m); err != nil {
		t.Fatal(err)
	}
	got := h.last(t)
	if a := got.Android; a.Priority != "normal" || a.TTL != "3600s" || a.CollapseKey != m.Tag || a.Notification.Tag != m.Tag ||
		a.Notification.Sound || a.Notification.Priority != "PRIORITY_MIN" {
		t.Errorf("android %+v", a)
	}
	if p := got.APNS; p.Headers["apns-collapse-id"] != m.Tag || p.Headers["apns-priority"] != "5" || p.Payload.APS.Sound != "" ||
		p.Payload.APS.Level != "passive" {
		t.Errorf("apns %+v", p)
	}
	if got.Data["kind"] != "closed" || got.Data["id"] != m.Tag {
		t.Errorf("data %v", got.Data)
	}
}

// TestLife: the remaining life within the bounds of the provider; a message without any is not sent.
func TestLife(t *testing.T) {
	h := newHouse(t)
	to := h.enrolled(t, "ann", canary+"phone")
	h.set(time.Now())
	for left, want := range map[time.Duration]string{0: "", -time.Hour: "", 500 * time.Millisecond: "", time.Second: "1s",
		7 * 24 * time.Hour: "604800s", 60 * 24 * time.Hour: "2419200s"} {
		m := h.message(1)
		m.Expires = h.now().Add(left)
		before := h.fcm.Calls()
		d, err := h.Send(t.Context(), to, m)
		switch {
		case want == "" && (classOf(err) != channels.ErrRejected || d.Code != "too_late" || h.fcm.Calls() != before):
			t.Errorf("%s left: %v, code %q", left, err, d.Code)
		case want != "" && (err != nil || h.last(t).Android.TTL != want):
			t.Errorf("%s left: %v, ttl %s, want %s", left, err, h.last(t).Android.TTL, want)
		}
	}
}

// TestNoCodes: a device is added from a session, so it must not be able to start the next one.
func TestNoCodes(t *testing.T) {
	h := newHouse(t)
	to := h.enrolled(t, "ann", canary+"phone")
	m, before := h.message(1), h.fcm.Calls()
	m.Kind, m.Code = channels.KindCode, "123456"
	if d, err := h.Send(t.Context(), to, m); classOf(err) != channels.ErrRejected || d.Code != "code" || h.fcm.Calls() != before {
		t.Errorf("Send: %v, code %q, %d calls", err, d.Code, h.fcm.Calls()-before)
	}
}

// TestLanguages: the test that a device gets is in its person's language.
func TestLanguages(t *testing.T) {
	h := newHouse(t)
	for person, title := range map[approvals.PersonID]string{"ann": "Test message", "minji": "테스트 메시지"} {
		h.enrolled(t, person, canary+string(person))
		if got := h.last(t).Notification.Title; got != title {
			t.Errorf("%s: %q, want %q", person, got, title)
		}
	}
}
