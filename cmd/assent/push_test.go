package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assent/channels/push/fcmsim"
)

// canaryToken is a registration token that must stand in no log.
const canaryToken = "canary-registration-token:APA91bQzx"

// pushed returns what the simulated provider of a service has sent to a device, once there are so many.
func (p *process) pushed(t *testing.T, token string, n int) (messages []fcmsim.Message) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		a := must(t, 200)(do(http.DefaultClient, mustRequest(t, "GET", p.pages+"/dev/fcm/control/messages")))
		var sent []fcmsim.Sent
		if err := json.Unmarshal(a.body, &sent); err != nil {
			t.Fatal(err)
		}
		messages = messages[:0]
		for _, s := range sent {
			if s.Message.Token == token {
				messages = append(messages, s.Message)
			}
		}
		if len(messages) >= n || time.Now().After(deadline) {
			return messages
		}
		<-time.After(20 * time.Millisecond) // the outbox is polled
	}
}

// app calls the interface for apps, without cookies.
func (p *process) app(t *testing.T, method, path string, body any) wireAnswer {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, p.pages+path, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	a, err := do(http.DefaultClient, req)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// signedIn is Ann's browser after she has opened a request on the simulated phone.
func (p *process) signedIn(t *testing.T) *browser {
	t.Helper()
	must(t, 200)(bot(p.issuer).ask(t.Context(), nil, nil))
	b := newBrowser()
	if err := b.openOnPhone(t.Context(), p.pages, "u_ann", 20*time.Second); err != nil {
		t.Fatal(err)
	}
	return b
}

// enrol adds a device as an app does that scans the code off the page.
func (p *process) enrol(t *testing.T, b *browser, token string) wireAnswer {
	t.Helper()
	if err := b.open(t.Context(), p.pages+"/devices"); err != nil {
		t.Fatal(err)
	}
	if err := b.press(t.Context(), "/devices", nil); err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(b.page.text("enrolment"), "#")
	return p.app(t, "POST", "/me/devices", map[string]string{"token": token, "platform": "android", "name": "Ann's phone",
		"enrolment": code})
}

// TestPushMessages: an app enrols by a scanned code and a test that comes back. From then on a request reaches it, with
// nothing in it but that something waits, and the decision closes it.
func TestPushMessages(t *testing.T) {
	p := restartDev(t, newData(t), "--fcm-simulator", "--log-level", "debug")
	a := p.enrol(t, p.signedIn(t), canaryToken)
	if a.status != http.StatusAccepted {
		t.Fatalf("registration answered %d %s", a.status, a.body)
	}
	test := p.pushed(t, canaryToken, 1)
	if len(test) != 1 || test[0].Data["kind"] != "test" {
		t.Fatalf("device has %+v", test)
	}
	confirm := "/me/devices/" + a.member("id") + "/confirm"
	if a := p.app(t, "POST", confirm, map[string]string{"code": test[0].Data["id"]}); a.status != http.StatusNoContent {
		t.Fatalf("confirmation answered %d %s", a.status, a.body)
	}

	agent := bot(p.issuer)
	id := must(t, 200)(agent.ask(t.Context(), nil, nil)).member("auth_req_id")
	got := p.pushed(t, canaryToken, 2)
	if len(got) != 2 {
		t.Fatalf("device has %+v", got)
	}
	m := got[1]
	raw, _ := json.Marshal(m)
	for _, detail := range []string{"480", "EUR", "Example", "payment"} {
		if bytes.Contains(raw, []byte(detail)) {
			t.Errorf("%q stands in the message: %s", detail, raw)
		}
	}
	if m.Notification.Title != "Approval request from Travel Bot" || m.Android.CollapseKey == "" ||
		m.APNS.Headers["apns-collapse-id"] != m.Android.CollapseKey {
		t.Errorf("message %s", raw)
	}
	must(t, 200)(do(http.DefaultClient, mustRequest(t, "GET", p.pages+"/r/"+m.Data["id"])))
	must(t, http.StatusNoContent)(devDecide(t.Context(), http.DefaultClient, p.pages, id, true))
	got = p.pushed(t, canaryToken, 3)
	if len(got) != 3 || got[2].Data["kind"] != "closed" || got[2].Android.CollapseKey != m.Android.CollapseKey {
		t.Fatalf("after the decision device has %+v", got)
	}
	page := must(t, 200)(do(http.DefaultClient, mustRequest(t, "GET", p.pages+"/dev/fcm")))
	if !bytes.Contains(page.body, []byte("Approval request from Travel Bot")) {
		t.Errorf("outbox page: %s", page.body)
	}
	for what, secret := range map[string]string{"token": canaryToken, "handle": m.Data["id"], "code": test[0].Data["id"],
		"text": "decide by"} {
		if strings.Contains(p.log(), secret) {
			t.Errorf("the log tells the %s", what)
		}
	}
}

// TestPushGone: a device whose app is gone is told no more, and the next address is at once.
func TestPushGone(t *testing.T) {
	p := restartDev(t, newData(t), "--fcm-simulator")
	b := p.signedIn(t)
	a := p.enrol(t, b, canaryToken)
	code := p.pushed(t, canaryToken, 1)[0].Data["id"]
	if a := p.app(t, "POST", "/me/devices/"+a.member("id")+"/confirm", map[string]string{"code": code}); a.status != 204 {
		t.Fatalf("confirmation answered %d %s", a.status, a.body)
	}
	if a := p.app(t, "POST", "/dev/fcm/control/behave", map[string]any{"status": 404, "code": "UNREGISTERED"}); a.status != 204 {
		t.Fatalf("order answered %d", a.status)
	}
	phone := func() []byte {
		return must(t, 200)(do(http.DefaultClient, mustRequest(t, "GET", p.pages+"/dev/phone/u_ann"))).body
	}
	before := bytes.Count(phone(), []byte("/r/"))
	must(t, 200)(bot(p.issuer).ask(t.Context(), nil, nil))
	for deadline := time.Now().Add(20 * time.Second); bytes.Count(phone(), []byte("/r/")) == before; {
		if time.Now().After(deadline) {
			t.Fatal("the next address was not used")
		}
		<-time.After(20 * time.Millisecond) // the phone is polled, as a person looks at it again
	}
	if err := b.open(t.Context(), p.pages+"/devices"); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.page.visible(), "No device is told yet.") {
		t.Errorf("page says %s", b.page.visible())
	}
	if a := p.enrol(t, b, "unregistered-0123456789"); a.status != http.StatusBadRequest || a.member("error") != "invalid_request" {
		t.Errorf("a token without an app answered %d %s", a.status, a.body)
	}
	if a := p.enrol(t, b, "third-party-0123456789"); a.status != http.StatusServiceUnavailable {
		t.Errorf("our own fault answered %d %s", a.status, a.body)
	}
	if a := p.enrol(t, b, "break-0123456789"); a.status != http.StatusAccepted {
		t.Errorf("a test that may have come through answered %d %s", a.status, a.body)
	}
}

// TestDoctorPush: the doctor sends a push message to a person's latest device and says in plain words what is wrong.
func TestDoctorPush(t *testing.T) {
	sim, err := fcmsim.New("assent-test", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	api := httptest.NewServer(sim)
	t.Cleanup(api.Close)
	t.Cleanup(sim.Close)
	t.Setenv(envFCMAccount, string(sim.Account(api.URL)))
	data := newData(t)
	p := restartDev(t, data, "--fcm-url", api.URL+"/v1")
	doctor := func(to string) (int, string) {
		var out, errOut bytes.Buffer
		code := run(t.Context(), []string{"doctor", "--data", data, "--send", to}, nil, &out, &errOut)
		return code, out.String() + errOut.String()
	}
	if code, said := doctor("push:u_ann"); code == exitOK || !strings.Contains(said, "person who has registered a device") {
		t.Errorf("code %d, said %q", code, said)
	}
	a := p.enrol(t, p.signedIn(t), canaryToken)
	test := sim.Sent()[0].Message
	if a := p.app(t, "POST", "/me/devices/"+a.member("id")+"/confirm", map[string]string{"code": test.Data["id"]}); a.status != 204 {
		t.Fatalf("confirmation answered %d %s", a.status, a.body)
	}
	tests := []struct {
		name string
		b    fcmsim.Behaviour
		code int
		want string
	}{
		{"arrives", fcmsim.Behaviour{}, exitOK, "by the provider, as 0:"},
		{"no key for APNs", fcmsim.Behaviour{Status: 401, Code: "THIRD_PARTY_AUTH_ERROR"}, exitFailed, "key for APNs"},
		{"API is off", fcmsim.Behaviour{Status: 403}, exitFailed, "may not send for this project"},
		{"quota", fcmsim.Behaviour{Status: 429, Code: "QUOTA_EXCEEDED"}, exitFailed, "try again later"},
		{"a proxy in between", fcmsim.Behaviour{Status: 502, HTML: true}, exitFailed, "HTTP status 502"},
		{"gone", fcmsim.Behaviour{Status: 404, Code: "UNREGISTERED"}, exitFailed, "the app was removed"},
		{"forgotten", fcmsim.Behaviour{}, exitFailed, "person who has registered a device"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sim.Behave(tt.b)
			code, said := doctor("push:u_ann")
			if code != tt.code || !strings.Contains(said, tt.want) {
				t.Errorf("code %d, said %q, want %d and %q", code, said, tt.code, tt.want)
			}
			if strings.Contains(said, canaryToken) {
				t.Errorf("said a token: %q", said)
			}
		})
	}
	for _, secret := range []string{canaryToken, "PRIVATE KEY", "ya29."} {
		if strings.Contains(p.log(), secret) {
			t.Errorf("the log tells %s", secret)
		}
	}
}

// TestPushConfigRefuses: what cannot work is said before anything is sent.
func TestPushConfigRefuses(t *testing.T) {
	folder := t.TempDir()
	wrong := filepath.Join(folder, "wrong.json")
	if err := os.WriteFile(wrong, []byte(`{"type":"external_account","private_key":"c4nary"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		env  map[string]string
		args []string
		want string
	}{
		{"simulator without dev", nil, []string{"--issuer", "https://a.example", "--fcm-simulator"}, "--fcm-simulator needs --dev"},
		{"simulator with an account", nil, []string{"--dev", "--fcm-simulator", "--fcm-account-file", wrong}, "leave --fcm-account-file"},
		{"project without account", nil, []string{"--dev", "--fcm-project", "assent-test"}, "--fcm-account-file is missing"},
		{"two accounts", map[string]string{envFCMAccount: "{}"}, []string{"--dev", "--fcm-account-file", wrong}, "not both"},
		{"provider without TLS", map[string]string{envFCMAccount: "{}"}, []string{"--issuer", "https://a.example",
			"--fcm-url", "http://127.0.0.1:1"}, "--fcm-url must be an https URL"},
		{"no file", nil, []string{"--dev", "--listen", "127.0.0.1:0", "--fcm-account-file", filepath.Join(folder, "none")}, "service account: open"},
		{"another kind of account", nil, []string{"--dev", "--listen", "127.0.0.1:0", "--fcm-account-file", wrong},
			`type must be "service_account"`},
		{"no JSON", map[string]string{envFCMAccount: "c4nary"}, []string{"--dev", "--listen", "127.0.0.1:0"}, "must be the JSON file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, said := parseConfig(t, tt.env, tt.args...)
			if code == exitOK || !strings.Contains(said, tt.want) {
				t.Errorf("code %d, said %q, want %q", code, said, tt.want)
			}
			if strings.Contains(said, "c4nary") {
				t.Errorf("said what was in the account: %q", said)
			}
		})
	}
}
