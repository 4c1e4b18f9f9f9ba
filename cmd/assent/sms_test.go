package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assent/channels/sms/twiliosim"
)

const (
	annPhone    = "+4930123456" // of the fixtures
	twilioSID   = "AC0123456789abcdef0123456789abcdef"
	twilioToken = "0123456789abcdef0123456789abcdef"
	twilioMG    = "MG0123456789abcdef0123456789abcdef"
)

// texts returns what the simulated provider of a service has, once there are so many.
func (p *process) texts(t *testing.T, n int) (messages []twiliosim.Message) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		req, err := http.NewRequestWithContext(t.Context(), "GET", p.pages+"/dev/sms/control/messages", nil)
		if err != nil {
			t.Fatal(err)
		}
		a := must(t, 200)(do(http.DefaultClient, req))
		if err := json.Unmarshal(a.body, &messages); err != nil {
			t.Fatal(err)
		}
		if len(messages) >= n || time.Now().After(deadline) {
			return messages
		}
		<-time.After(20 * time.Millisecond) // the outbox is polled
	}
}

// order gives the simulated provider an order and returns what our service answered to what it did.
func (p *process) order(t *testing.T, what string, body any) int {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", p.pages+"/dev/sms/control/"+what, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	a := must(t, 200)(do(http.DefaultClient, req))
	var answer struct{ Answer int }
	if err := json.Unmarshal(a.body, &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Answer
}

// TestTextMessages: a request reaches the person as a text message, its link leads to the page, reports and STOP are taken
// at the public address, and after STOP the next address is used.
func TestTextMessages(t *testing.T) {
	p := restartDev(t, newData(t), "--sms-simulator", "--sms-name", "Acme Approvals", "--log-level", "debug")
	agent := bot(p.issuer)
	id := must(t, 200)(agent.ask(t.Context(), nil, nil)).member("auth_req_id")
	got := p.texts(t, 1)
	if len(got) != 1 || got[0].To != annPhone || !strings.HasPrefix(got[0].Body, "Acme Approvals: Travel Bot asks for your OK.") {
		t.Fatalf("provider has %+v", got)
	}
	link := got[0].Body[strings.Index(got[0].Body, "http"):]
	link, _, _ = strings.Cut(link, " ")
	req, err := http.NewRequestWithContext(t.Context(), "GET", link, nil)
	if err != nil {
		t.Fatal(err)
	}
	must(t, 200)(do(http.DefaultClient, req))
	if got[0].Validity < 1 || got[0].Validity > 300 {
		t.Errorf("validity %d s", got[0].Validity)
	}
	for range 2 {
		if answer := p.order(t, "report", map[string]string{"sid": got[0].SID, "status": "delivered"}); answer != 204 {
			t.Errorf("report answered %d", answer)
		}
	}
	if a := must(t, 400)(agent.poll(t.Context(), id, nil)); a.member("error") != "authorization_pending" {
		t.Errorf("a text message decided: %s", a.body)
	}
	page := must(t, 200)(do(http.DefaultClient, mustRequest(t, "GET", p.pages+"/dev/sms")))
	if !strings.Contains(string(page.body), "To &#43;4930123456") {
		t.Errorf("outbox page: %s", page.body)
	}

	if answer := p.order(t, "inbound", map[string]string{"from": annPhone, "body": "Stop"}); answer != 200 {
		t.Errorf("STOP answered %d", answer)
	}
	must(t, 200)(agent.ask(t.Context(), nil, nil))
	b := newBrowser()
	if err := b.openOnPhone(t.Context(), p.pages, "u_ann", 20*time.Second); err != nil {
		t.Error(err)
	}
	if n := len(p.texts(t, 0)); n != 1 {
		t.Errorf("%d text messages after STOP, want the one before", n)
	}
	for what, secret := range map[string]string{"number": annPhone, "handle": link[strings.LastIndex(link, "/")+1:],
		"text": "asks for your OK"} {
		if strings.Contains(p.log(), secret) {
			t.Errorf("the log tells the %s", what)
		}
	}
}

// TestReplyByText: a person approves by replying to a text message that says everything; the token says how weak that is,
// and the code stands nowhere in the log.
func TestReplyByText(t *testing.T) {
	data := newData(t)
	p := restartDev(t, data, "--sms-simulator", "--sms-replies", "--log-level", "debug")
	agent := bot(p.issuer)
	form := url.Values{"authorization_details": {`[{"type":"payment_initiation","instructedAmount":{"currency":"EUR",
		"amount":"480.00"},"creditorName":"Example Travel"}]`}}
	first := must(t, 200)(agent.ask(t.Context(), form, nil)).member("auth_req_id")
	if got := p.texts(t, 1); len(got) != 1 || strings.Contains(got[0].Body, "480.00") {
		t.Fatalf("provider has %+v, want a message that leads to the page: agent and payee are new", got)
	}
	devPost(t, p, "/dev/approve", fmt.Sprintf(`{"auth_req_id":%q,"user":"u_ann"}`, first))
	id := must(t, 200)(agent.ask(t.Context(), form, nil)).member("auth_req_id")
	got := p.texts(t, 2)
	if len(got) != 2 || !strings.Contains(got[1].Body, "Pay 480.00 EUR to Example Travel") {
		t.Fatalf("provider has %+v", got)
	}
	_, rest, _ := strings.Cut(got[1].Body, "Reply A ")
	code := rest[:min(len(rest), 4)]
	for _, wrong := range []string{"YES", "A 0000 D 0000", "hello"} {
		p.order(t, "inbound", map[string]string{"from": annPhone, "body": wrong})
	}
	if a := must(t, 400)(agent.poll(t.Context(), id, nil)); a.member("error") != "authorization_pending" {
		t.Fatalf("words decided: %s", a.body)
	}
	if answer := p.order(t, "inbound", map[string]string{"from": annPhone, "body": "A " + code}); answer != 200 {
		t.Errorf("reply answered %d", answer)
	}
	token := must(t, 200)(agent.poll(t.Context(), id, http.Header{"Prefer": {"wait=5"}})).member("access_token")
	claims := claimsIn(t, token)
	if claims["acr"] != "urn:assent:acr:link" || fmt.Sprint(claims["amr"]) != "[sms]" {
		t.Errorf("token says acr %v, amr %v", claims["acr"], claims["amr"])
	}
	if all := p.texts(t, 5); !strings.Contains(all[len(all)-1].Body, "is approved.") {
		t.Errorf("answered %q", all[len(all)-1].Body)
	}
	for _, secret := range []string{"A " + code, "A%20" + code, "A+" + code, annPhone, "Example Travel"} {
		if strings.Contains(p.log(), secret) {
			t.Errorf("the log tells %q", secret)
		}
	}
	if !strings.Contains(p.log(), "reply to a text message") {
		t.Error("the log does not say that there was a reply")
	}
}

// claimsIn reads a token that others verify.
func claimsIn(t *testing.T, token string) (claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("no JWT: %q", token)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func mustRequest(t *testing.T, method, at string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// TestForgedCallback: the public address takes nothing that the provider has not signed.
func TestForgedCallback(t *testing.T) {
	p := restartDev(t, newData(t), "--sms-simulator")
	form := url.Values{"MessageSid": {"SM0123456789"}, "MessageStatus": {"delivered"}, "From": {annPhone}, "Body": {"STOP"}}
	for _, at := range []string{"/sms/status?message=a%2Fsms%2F1", "/sms/inbound"} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", p.pages+at, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("X-Twilio-Signature", twiliosim.Sign("guessed", p.pages+at, form))
		must(t, 403)(do(http.DefaultClient, req))
	}
}

// TestDoctorSend: the doctor sends a test message through the running service and says in plain words what is wrong.
func TestDoctorSend(t *testing.T) {
	client := &http.Client{Transport: &http.Transport{}}
	sim := twiliosim.New(twilioSID, twilioToken, client, time.Now)
	api := httptest.NewServer(sim)
	t.Cleanup(api.Close)
	t.Cleanup(sim.Close)
	t.Setenv("ASSENT_TWILIO_TOKEN", twilioToken)
	data := newData(t)
	p := restartDev(t, data, "--twilio-account", twilioSID, "--twilio-service", twilioMG, "--twilio-url", api.URL,
		"--sms-countries", "DE,US", "--sms-burst", "1000", "--sms-daily", "1000")
	doctor := func(to string) (int, string) {
		var out, errOut bytes.Buffer
		code := run(t.Context(), []string{"doctor", "--data", data, "--send", to}, nil, &out, &errOut)
		return code, out.String() + errOut.String()
	}
	tests := []struct {
		name, to string
		b        twiliosim.Behaviour
		code     int
		want     string
	}{
		{"arrives", "sms:" + canaryPhone, twiliosim.Behaviour{Late: []string{"sent", "delivered"}}, exitOK, "by the provider, as SM"},
		{"does not arrive", "sms:" + canaryPhone, twiliosim.Behaviour{Late: []string{"undelivered 30003"}}, exitFailed, "switched off or out of reach"},
		{"wrong token", "sms:" + canaryPhone, twiliosim.Behaviour{Status: 401, Code: 20003}, exitFailed, "the account SID and the auth token do not belong together"},
		{"sender of somebody else", "sms:" + canaryPhone, twiliosim.Behaviour{Status: 400, Code: 21606}, exitFailed, "does not belong to this account"},
		{"trial account", "sms:" + canaryPhone, twiliosim.Behaviour{Status: 400, Code: 21608}, exitFailed, "verified in the provider's console"},
		{"region off", "sms:" + canaryPhone, twiliosim.Behaviour{Status: 400, Code: 21408}, exitFailed, "Geo permissions"},
		{"empty service", "sms:" + canaryPhone, twiliosim.Behaviour{Status: 400, Code: 21703}, exitFailed, "the Messaging Service has no sender"},
		{"a proxy in between", "sms:" + canaryPhone, twiliosim.Behaviour{Status: 502, HTML: true}, exitFailed, "HTTP status 502"},
		{"unknown code", "sms:" + canaryPhone, twiliosim.Behaviour{Status: 400, Code: 29999}, exitFailed, "29999: a code that is not known here"},
		{"country not on our list", "sms:+33612345678", twiliosim.Behaviour{}, exitFailed, "not on the list of countries"},
		{"no number", "sms:ann", twiliosim.Behaviour{}, exitFailed, "not a phone number"},
		{"no such channel", "fax:1", twiliosim.Behaviour{}, exitFailed, "phone, sms"},
		{"no address", "sms", twiliosim.Behaviour{}, exitUsage, "CHANNEL:ADDRESS"},
		{"dead number", "sms:+4930123457", twiliosim.Behaviour{Status: 400, Code: 21211}, exitFailed, "not a valid phone number"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sim.Behave(tt.b)
			code, said := doctor(tt.to)
			if code != tt.code || !strings.Contains(said, tt.want) {
				t.Errorf("code %d, said %q, want %d and %q", code, said, tt.code, tt.want)
			}
			if strings.Contains(said, canaryPhone) || strings.Contains(said, twilioToken) {
				t.Errorf("said a number or the token: %q", said)
			}
		})
	}
	for _, secret := range []string{twilioToken, canaryPhone} {
		if strings.Contains(p.log(), secret) {
			t.Errorf("the log tells %s", secret)
		}
	}
}

// TestSMSConfigRefuses: what cannot work is said before anything is sent.
func TestSMSConfigRefuses(t *testing.T) {
	tests := []struct {
		name string
		env  map[string]string
		args []string
		want string
	}{
		{"simulator without dev", nil, []string{"--issuer", "https://a.example", "--sms-simulator"}, "--sms-simulator needs --dev"},
		{"simulator with an account", nil, []string{"--dev", "--sms-simulator", "--twilio-account", twilioSID}, "leave --twilio-account out"},
		{"service without account", nil, []string{"--dev", "--twilio-service", twilioMG}, "--twilio-account is missing"},
		{"provider without TLS", nil, []string{"--issuer", "https://a.example", "--twilio-account", twilioSID,
			"--twilio-url", "http://127.0.0.1:1"}, "--twilio-url must be an https origin"},
		{"callbacks without TLS", nil, []string{"--issuer", "https://a.example", "--sms-url", "http://a.example/sms"}, "--sms-url must be"},
		{"callbacks at a pattern", nil, []string{"--dev", "--sms-url", "http://localhost/{x"}, "--sms-url must be"},
		{"callbacks at nothing", nil, []string{"--dev", "--sms-url", "http://localhost"}, "--sms-url must be"},
		{"callbacks at the agents' door", nil, []string{"--dev", "--listen", "127.0.0.1:0", "--sms-simulator",
			"--sms-url", "http://localhost/requests"}, "/requests/status belongs to agents"},
		{"no token", nil, []string{"--dev", "--listen", "127.0.0.1:0", "--twilio-account", twilioSID, "--twilio-service", twilioMG},
			"ASSENT_TWILIO_TOKEN or --twilio-token-file is missing"},
		{"no countries", map[string]string{"ASSENT_TWILIO_TOKEN": twilioToken}, []string{"--dev", "--listen", "127.0.0.1:0",
			"--twilio-account", twilioSID, "--twilio-service", twilioMG}, "--sms-countries: is missing"},
		{"no such country", map[string]string{"ASSENT_TWILIO_TOKEN": twilioToken}, []string{"--dev", "--listen", "127.0.0.1:0",
			"--twilio-account", twilioSID, "--twilio-service", twilioMG, "--sms-countries", "XX"}, `country "XX"`},
		{"replies without messages", nil, []string{"--dev", "--sms-replies"}, "--sms-replies needs text messages"},
		{"replies to a name", map[string]string{"ASSENT_TWILIO_TOKEN": twilioToken}, []string{"--dev", "--twilio-account", twilioSID,
			"--twilio-sender", "Acme", "--sms-countries", "DE", "--sms-replies"}, "a sender that can be replied to"},
		{"two senders", map[string]string{"ASSENT_TWILIO_TOKEN": twilioToken}, []string{"--dev", "--listen", "127.0.0.1:0",
			"--twilio-account", twilioSID, "--twilio-service", twilioMG, "--twilio-sender", "+15005550006"}, "not both"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if code, said := parseConfig(t, tt.env, tt.args...); code == exitOK || !strings.Contains(said, tt.want) {
				t.Errorf("code %d, said %q, want %q", code, said, tt.want)
			}
		})
	}
}

// TestSMSConfigFile: the settings stand in the file like all others, and the token in a file of its own.
func TestSMSConfigFile(t *testing.T) {
	folder := t.TempDir()
	token := filepath.Join(folder, "token")
	if err := os.WriteFile(token, []byte(twilioToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "assent.toml")
	text := fmt.Sprintf("dev = true\nlisten = \"127.0.0.1:0\"\ntwilio-account = %q\ntwilio-token-file = %q\ntwilio-sender = \"+4930123456\"\n"+
		"sms-parts = 11\n", twilioSID, token)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, said := parseConfig(t, nil, "--config", file); code != exitFailed || !strings.Contains(said, "parts of a message must be 1 to 10") {
		t.Errorf("code %d, said %q", code, said)
	}
}
