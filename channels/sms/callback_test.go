package sms_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/approvals"
	"assent/channels"
	"assent/channels/sms"
	"assent/channels/sms/twiliosim"
)

// send brings a message and returns the provider's name of it.
func (h *house) send(t *testing.T, m channels.Message) string {
	t.Helper()
	d, err := h.Send(t.Context(), to(phone), m)
	if err != nil {
		t.Fatal(err)
	}
	return d.Provider
}

// TestReports: each of the provider's words, as the desk hears of it.
func TestReports(t *testing.T) {
	tests := []struct {
		word string
		want approvals.Status
		code string
	}{
		{"accepted", approvals.StatusAccepted, ""},
		{"queued", approvals.StatusAccepted, ""},
		{"sending", approvals.StatusAccepted, ""},
		{"sent", approvals.StatusSent, ""},
		{"delivered", approvals.StatusDelivered, ""},
		{"read", approvals.StatusOpened, ""},
		{"undelivered 30003", approvals.StatusFailed, "30003"},
		{"failed 30008", approvals.StatusFailed, "30008"},
		{"failed", approvals.StatusFailed, "failed"},
		{"canceled", approvals.StatusFailed, "failed"},
		{"a-new-word", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.word, func(t *testing.T) {
			h := newHouse(t)
			m := h.message(1)
			sid := h.send(t, m)
			if status, err := h.twilio.Report(t.Context(), sid, tt.word); err != nil || status != http.StatusNoContent {
				t.Fatalf("callback answered %d, %v", status, err)
			}
			var want []channels.Receipt
			if tt.want != "" {
				want = []channels.Receipt{{Message: m.ID, Provider: sid, Status: tt.want, Code: tt.code}}
			}
			if diff := cmp.Diff(want, h.received()); diff != "" {
				t.Error(diff)
			}
			h.silent(t, m, nil)
		})
	}
}

// TestReportBeforeAnswer: the provider may report before it has answered the call.
func TestReportBeforeAnswer(t *testing.T) {
	h := newHouse(t)
	h.twilio.Behave(twiliosim.Behaviour{Early: []string{"delivered", "sent"}, Late: []string{"delivered"}})
	m := h.message(1)
	sid := h.send(t, m)
	h.twilio.Close() // waits for the late one
	var got []approvals.Status
	for _, r := range h.received() {
		if r.Message != m.ID || r.Provider != sid {
			t.Errorf("receipt %+v, want one of %s", r, m.ID)
		}
		got = append(got, r.Status)
	}
	if diff := cmp.Diff([]approvals.Status{"delivered", "sent", "delivered"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestReportNotKept: what could not be kept is answered 503, and the provider calls again as our URL asks it to.
func TestReportNotKept(t *testing.T) {
	h := newHouse(t)
	sid := h.send(t, h.message(1))
	h.refuseReceipts(fmt.Errorf("receipt: %w", approvals.ErrUnavailable))
	if status, _ := h.twilio.Report(t.Context(), sid, "delivered"); status != http.StatusServiceUnavailable {
		t.Errorf("answered %d, want 503", status)
	}
	for _, useless := range []error{approvals.ErrNotFound, approvals.ErrInvalid} {
		h.refuseReceipts(fmt.Errorf("receipt: %w", useless))
		if status, _ := h.twilio.Report(t.Context(), sid, "delivered"); status != http.StatusNoContent {
			t.Errorf("%v: answered %d, want 204: there is no use in calling again", useless, status)
		}
	}
	if n := strings.Count(h.log.String(), "not kept"); n != 4 {
		t.Errorf("%d calls were not kept, want the first and three more", n)
	}
}

// TestStopNotKept: a STOP that could not be kept is not acknowledged.
func TestStopNotKept(t *testing.T) {
	h := newHouse(t, func(c *sms.Config) { c.Records = brokenRecords{c.Records} })
	if status, _ := h.twilio.Inbound(t.Context(), phone, "STOP"); status != http.StatusServiceUnavailable {
		t.Errorf("answered %d, want 503", status)
	}
}

// TestDeadNumber: after the provider has said that nobody has the number, the next message is refused here, as gone.
func TestDeadNumber(t *testing.T) {
	for code, dead := range map[string]bool{"30005": true, "30006": true, "30004": false, "30003": false, "30007": false} {
		h := newHouse(t)
		h.set(noon)
		sid := h.send(t, h.message(1))
		h.twilio.Report(t.Context(), sid, "undelivered "+code)
		d, err := h.Send(t.Context(), to(phone), h.message(2))
		if got := classOf(err) == channels.ErrGone; got != dead {
			t.Errorf("%s: next message: %v, code %q", code, err, d.Code)
		}
		h.set(noon.Add(31 * 24 * time.Hour))
		if _, err := h.Send(t.Context(), to(phone), h.message(3)); err != nil {
			t.Errorf("%s: a month later: %v", code, err)
		}
	}
}

// TestFilteredAlerts: a carrier that filters our texts is a thing for whoever runs the service.
func TestFilteredAlerts(t *testing.T) {
	h := newHouse(t)
	sid := h.send(t, h.message(1))
	h.twilio.Report(t.Context(), sid, "undelivered 30007")
	if !strings.Contains(h.log.String(), "level=ERROR") || !strings.Contains(h.log.String(), "30007") {
		t.Errorf("nobody is told: %s", h.log)
	}
}

// TestForged: nothing counts that the provider has not signed for our public URL, or that could be read in two ways.
func TestForged(t *testing.T) {
	h := newHouse(t)
	m := h.message(1)
	sid := h.send(t, m)
	query := "?" + url.Values{"message": {m.ID}}.Encode()
	good := url.Values{"MessageSid": {sid}, "MessageStatus": {"delivered"}, "AccountSid": {account}, "To": {phone}}
	tests := []struct {
		name   string
		change func(r *http.Request, body *string)
		want   int
	}{
		{"as it should be", func(*http.Request, *string) {}, 204},
		{"fragment signed as well", func(r *http.Request, _ *string) {
			r.Header.Set("X-Twilio-Signature", twiliosim.Sign(token, h.cfg.CallbackURL+query+"#rc=3&rp=5xx,ct,rt", good))
		}, 204},
		{"other Host", func(r *http.Request, _ *string) { r.Host = "evil.example" }, 204},
		{"forwarded for another host", func(r *http.Request, _ *string) { r.Header.Set("X-Forwarded-Host", "evil.example") }, 204},
		{"no signature", func(r *http.Request, _ *string) { r.Header.Del("X-Twilio-Signature") }, 403},
		{"two signatures", func(r *http.Request, _ *string) {
			r.Header.Add("X-Twilio-Signature", r.Header.Get("X-Twilio-Signature"))
		}, 403},
		{"other token", func(r *http.Request, _ *string) {
			r.Header.Set("X-Twilio-Signature", twiliosim.Sign("other", h.cfg.CallbackURL+query, good))
		}, 403},
		{"signed for another host", func(r *http.Request, _ *string) {
			r.Host = "evil.example"
			r.Header.Set("X-Twilio-Signature", twiliosim.Sign(token, "http://evil.example/sms/status"+query, good))
		}, 403},
		{"other message", func(r *http.Request, _ *string) { r.URL.RawQuery = "message=other%2Fsms%2F1" }, 403},
		{"other status", func(_ *http.Request, body *string) { *body = strings.Replace(*body, "delivered", "failed", 1) }, 403},
		{"repeated field", func(_ *http.Request, body *string) { *body += "&MessageStatus=failed" }, 400},
		{"repeated field, first one forged", func(_ *http.Request, body *string) { *body = "MessageStatus=failed&" + *body }, 400},
		{"too large", func(_ *http.Request, body *string) { *body += "&x=" + strings.Repeat("x", 20<<10) }, 400},
		{"too many fields", func(_ *http.Request, body *string) { *body += strings.Repeat("&a=", 200) }, 400},
		{"bad escape", func(_ *http.Request, body *string) { *body += "&x=%zz" }, 400},
		{"JSON", func(r *http.Request, _ *string) { r.Header.Set("Content-Type", "application/json") }, 400},
		{"GET", func(r *http.Request, _ *string) { r.Method = "GET" }, 400},
		{"long query", func(r *http.Request, _ *string) { r.URL.RawQuery += strings.Repeat("x", 400) }, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := len(h.received())
			body := good.Encode()
			r := httptest.NewRequest("POST", "http://inside:8460/sms/status"+query, nil)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("X-Twilio-Signature", twiliosim.Sign(token, h.cfg.CallbackURL+query, good))
			tt.change(r, &body)
			r.Body = http.NoBody
			if r.Method == "POST" {
				r.Body = readCloser{strings.NewReader(body)}
			}
			w := httptest.NewRecorder()
			h.Status().ServeHTTP(w, r)
			if w.Code != tt.want {
				t.Errorf("answered %d, want %d: %s", w.Code, tt.want, w.Body)
			}
			if took := len(h.received()) > before; took != (tt.want == 204) {
				t.Errorf("answered %d and took %v", w.Code, took)
			}
		})
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

// TestSignedAndWrong: a call with a right signature that makes no sense is refused all the same.
func TestSignedAndWrong(t *testing.T) {
	h := newHouse(t)
	for name, tt := range map[string]struct {
		query string
		form  url.Values
		want  int
	}{
		"other account":  {"?message=a%2Fsms%2F1", url.Values{"MessageSid": {"SM0123456789"}, "MessageStatus": {"sent"}, "AccountSid": {"ACother"}}, 403},
		"no message":     {"", url.Values{"MessageSid": {"SM0123456789"}, "MessageStatus": {"sent"}, "AccountSid": {account}}, 400},
		"two messages":   {"?message=a&message=b", url.Values{"MessageSid": {"SM0123456789"}, "MessageStatus": {"sent"}, "AccountSid": {account}}, 400},
		"no SID":         {"?message=a", url.Values{"MessageStatus": {"sent"}, "AccountSid": {account}}, 400},
		"SID with slash": {"?message=a", url.Values{"MessageSid": {"SM/../../../etc"}, "MessageStatus": {"sent"}, "AccountSid": {account}}, 400},
	} {
		r := httptest.NewRequest("POST", "/sms/status"+tt.query, strings.NewReader(tt.form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("X-Twilio-Signature", twiliosim.Sign(token, h.cfg.CallbackURL+tt.query, tt.form))
		w := httptest.NewRecorder()
		h.Status().ServeHTTP(w, r)
		if w.Code != tt.want || len(h.received()) != 0 {
			t.Errorf("%s: answered %d, want %d", name, w.Code, tt.want)
		}
	}
}

// TestRCS: callbacks of the richer channel write numbers with its name, and mean the same.
func TestRCS(t *testing.T) {
	h := newHouse(t)
	form := url.Values{"MessageSid": {"SM00000000000001"}, "AccountSid": {account}, "From": {"rcs:" + phone}, "To": {"rcs:agent"},
		"Body": {"STOP"}}
	r := httptest.NewRequest("POST", "/sms/inbound", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8")
	r.Header.Set("X-Twilio-Signature", twiliosim.Sign(token, h.cfg.InboundURL, form))
	w := httptest.NewRecorder()
	h.Inbound().ServeHTTP(w, r)
	if w.Code != 200 || !strings.Contains(w.Body.String(), "<Response/>") {
		t.Errorf("answered %d %s", w.Code, w.Body)
	}
	if d, _ := h.Send(t.Context(), to(phone), h.message(1)); d.Code != "opted_out" {
		t.Errorf("after STOP: %q", d.Code)
	}
	if takes, err := h.Reaches(t.Context(), phone); takes || err != nil {
		t.Errorf("after STOP the number is a way in: %v", err)
	}
	if takes, err := h.Reaches(t.Context(), "+4930123457"); !takes || err != nil {
		t.Errorf("a number that has said nothing is none: %v", err)
	}
}

// TestStopRepeated: a STOP that comes again after START, as a repeat of the same message, changes nothing.
func TestStopRepeated(t *testing.T) {
	h := newHouse(t)
	inbound := func(sid, body string) {
		t.Helper()
		order := fmt.Sprintf(`{"sid":%q,"from":%q,"body":%q}`, sid, phone, body)
		resp, err := http.Post(h.api.URL+"/control/inbound", "application/json", strings.NewReader(order))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var answer bytes.Buffer
		answer.ReadFrom(resp.Body)
		if !strings.Contains(answer.String(), `"answer":200`) {
			t.Fatalf("%s: %s", body, &answer)
		}
	}
	inbound("SM00000000000001", "STOP")
	inbound("SM00000000000002", "START")
	inbound("SM00000000000001", "STOP")
	h.twilio.Inbound(t.Context(), phone, "START") // the simulator took the repeat at its word
	inbound("SM00000000000001", "HELP")
	if _, err := h.Send(t.Context(), to(phone), h.message(1)); err != nil {
		t.Errorf("Send: %v", err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestCallbacksSideBySide: many at once, some repeated, none lost.
func TestCallbacksSideBySide(t *testing.T) {
	h := newHouse(t)
	sid := h.send(t, h.message(1))
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			if status, err := h.twilio.Report(t.Context(), sid, "delivered"); err != nil || status != http.StatusNoContent {
				t.Errorf("answered %d, %v", status, err)
			}
			if status, err := h.twilio.Inbound(t.Context(), phone, "STOP"); err != nil || status != http.StatusOK {
				t.Errorf("inbound answered %d, %v", status, err)
			}
		})
	}
	all.Wait()
	if n := len(h.received()); n != 32 {
		t.Errorf("%d receipts, want 32", n)
	}
}

// FuzzCallback: whatever comes, with or without a right signature, ends in an answer, and nothing is taken unsigned.
func FuzzCallback(f *testing.F) {
	f.Add("message=a%2Fsms%2F1", "MessageSid=SM0123456789&MessageStatus=sent&AccountSid="+account, true)
	f.Add("message=a", "From=%2B4915799987431&Body=STOP&MessageSid=SM0123456789&AccountSid="+account, true)
	f.Add("", "a=1&a=2", false)
	f.Add("%zz", "%zz", true)
	f.Add("message=a&message=b", "MessageStatus=delivered;x", true)
	h := newHouse(f)
	f.Fuzz(func(t *testing.T, query, body string, sign bool) {
		before := len(h.received())
		for public, serve := range map[string]http.Handler{h.cfg.CallbackURL: h.Status(), h.cfg.InboundURL: h.Inbound()} {
			r := httptest.NewRequest("POST", "/", readCloser{strings.NewReader(body)})
			r.URL.RawQuery = query
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if sign {
				form, _ := url.ParseQuery(body)
				if query != "" {
					public += "?" + query
				}
				r.Header.Set("X-Twilio-Signature", twiliosim.Sign(token, public, form))
			}
			w := httptest.NewRecorder()
			serve.ServeHTTP(w, r)
			switch w.Code {
			case 200, 204, 400, 403:
			default:
				t.Errorf("answered %d", w.Code)
			}
		}
		if got := h.received(); !sign && len(got) > before {
			t.Error("taken without a signature")
		}
	})
}
