package twiliosim_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"assent/channels/sms/twiliosim"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	account = "AC0123456789abcdef0123456789abcdef"
	token   = "0123456789abcdef"
)

func newServer(t *testing.T) (*twiliosim.Server, *httptest.Server) {
	t.Helper()
	calls := &http.Transport{}
	s := twiliosim.New(account, token, &http.Client{Transport: calls}, time.Now)
	h := httptest.NewServer(s)
	t.Cleanup(func() { s.Close(); h.Close(); calls.CloseIdleConnections() })
	return s, h
}

// create hands a message in as the vendor's pages say, and returns status and body.
func create(t *testing.T, h *httptest.Server, user, pass string, form url.Values) (int, map[string]any) {
	t.Helper()
	at := h.URL + "/2010-04-01/Accounts/" + account + "/Messages.json"
	r, err := http.NewRequestWithContext(t.Context(), "POST", at, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(user, pass)
	resp, err := h.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, _ := io.ReadAll(resp.Body)
	var body map[string]any
	if err := json.Unmarshal(raw, &body); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return resp.StatusCode, body
}

func message(to string) url.Values {
	return url.Values{"To": {to}, "From": {"+15005550006"}, "Body": {"hello"}}
}

// TestSign is the example of the vendor's own library.
func TestSign(t *testing.T) {
	form := url.Values{"Digits": {"1234"}, "CallSid": {"CA1234567890ABCDE"}, "To": {"+18005551212"}, "Caller": {"+14158675309"},
		"From": {"+14158675309"}, "ReasonConferenceEnded": {"test"}, "Reason": {"Participant"}}
	got := twiliosim.Sign("12345", "https://mycompany.com/myapp.php?foo=1&bar=2", form)
	if want := "vOEb5UThFn24KEfnOFLQY2AE5FY="; got != want {
		t.Errorf("signature %s, want %s", got, want)
	}
}

// TestRefusals: what the API refuses by itself, and the vendor's numbers for tests.
func TestRefusals(t *testing.T) {
	_, h := newServer(t)
	without := func(field string) url.Values {
		form := message("+4930123456")
		form.Del(field)
		return form
	}
	long := message("+4930123456")
	long.Set("Body", strings.Repeat("x", 1601))
	stale := message("+4930123456")
	stale.Set("ValidityPeriod", "36001")
	busy := message("+4930123456")
	busy.Set("From", "+15005550008")
	for name, tt := range map[string]struct {
		form         url.Values
		status, code int
	}{
		"no receiver": {without("To"), 400, 21604}, "no text": {without("Body"), 400, 21602}, "no sender": {without("From"), 400, 21603},
		"too long": {long, 400, 21617}, "validity": {stale, 400, 20001}, "queue full": {busy, 400, 21611},
		"invalid": {message("+15005550001"), 400, 21211}, "no route": {message("+15005550002"), 400, 21612},
		"region": {message("+15005550003"), 400, 21408}, "stopped": {message("+15005550004"), 400, 21610},
		"no mobile": {message("+15005550009"), 400, 21614},
	} {
		status, body := create(t, h, account, token, tt.form)
		if code, _ := body["code"].(float64); status != tt.status || int(code) != tt.code {
			t.Errorf("%s: %d, %v, want %d and %d", name, status, body["code"], tt.status, tt.code)
		}
	}
	if status, body := create(t, h, account, "wrong", message("+4930123456")); status != 401 || body["code"] != 20003.0 {
		t.Errorf("wrong token: %d, %v", status, body)
	}
	if status, body := create(t, h, account, token, message("+4930123456")); status != 201 || body["status"] != "queued" {
		t.Errorf("good one: %d, %v", status, body)
	}
}

// TestStop: a number that has said STOP gets nothing until START.
func TestStop(t *testing.T) {
	s, h := newServer(t)
	for _, tt := range []struct {
		word string
		want int
	}{{"Stop", 400}, {"HELP", 400}, {"start", 201}} {
		s.Inbound(t.Context(), "+4930123456", tt.word)
		if status, _ := create(t, h, account, token, message("+4930123456")); status != tt.want {
			t.Errorf("after %s: %d, want %d", tt.word, status, tt.want)
		}
	}
}

// TestOverrides: a callback that fails is repeated as the URL says, and no more often.
func TestOverrides(t *testing.T) {
	s, h := newServer(t)
	var calls atomic.Int32
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		status, _ := strconv.Atoi(r.URL.Query().Get("answer"))
		w.WriteHeader(status)
	}))
	t.Cleanup(receiver.Close)
	for callback, want := range map[string]int32{"?answer=503": 1, "?answer=503#rc=3&rp=5xx,ct,rt": 4, "?answer=403#rc=3&rp=5xx": 1,
		"?answer=204#rc=3&rp=all": 1} {
		form := message("+4930123456")
		form.Set("StatusCallback", receiver.URL+"/"+callback)
		_, body := create(t, h, account, token, form)
		sid, _ := body["sid"].(string)
		calls.Store(0)
		if _, err := s.Report(t.Context(), sid, "delivered"); err != nil {
			t.Errorf("%s: %v", callback, err)
		}
		if n := calls.Load(); n != want {
			t.Errorf("%s: called %d times, want %d", callback, n, want)
		}
	}
}

// TestControl: other processes give the same orders, and wrong ones are refused.
func TestControl(t *testing.T) {
	s, h := newServer(t)
	order := func(what, kind, body string) int {
		t.Helper()
		resp, err := h.Client().Post(h.URL+"/control/"+what, kind, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if status := order("behave", "application/json", `{"to":"+4930123456","status":429,"code":20429,"after":7}`); status != 200 {
		t.Errorf("behave: %d", status)
	}
	if status, body := create(t, h, account, token, message("+4930123456")); status != 429 || body["code"] != 20429.0 {
		t.Errorf("told to be busy: %d, %v", status, body)
	}
	if status, _ := create(t, h, account, token, message("+4930123457")); status != 201 {
		t.Errorf("other number: %d", status)
	}
	for name, status := range map[string]int{
		"form": order("behave", "application/x-www-form-urlencoded", "status=429"), "no JSON": order("behave", "application/json", "{"),
		"unknown member": order("behave", "application/json", `{"stauts":429}`),
	} {
		if status != 400 {
			t.Errorf("%s: %d, want 400", name, status)
		}
	}
	if status := order("report", "application/json", `{"sid":"SMnone","status":"sent"}`); status != 409 {
		t.Errorf("report on nothing: %d, want 409", status)
	}
	if n := len(s.Messages()); n != 1 {
		t.Errorf("%d messages, want 1", n)
	}
}
