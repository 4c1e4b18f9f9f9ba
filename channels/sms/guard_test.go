package sms_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"assent/channels"
	"assent/channels/channeltest"
	"assent/channels/sms"
	"assent/channels/sms/twiliosim"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// TestRefusedAtHome: what the provider never hears of.
func TestRefusedAtHome(t *testing.T) {
	tests := []struct {
		name, number string
		change       func(*channels.Message)
		code         string
	}{
		{"no plus", "4915799987431", nil, "no_number"},
		{"too short", "+4912", nil, "no_number"},
		{"not digits", "+49157999874x1", nil, "no_number"},
		{"country that is not on the list", "+33612345678", nil, "country_off"},
		{"neighbour in the same plan", "+18765550100", nil, "country_off"},
		{"satellite", "+881612345678", nil, "country_off"},
		{"too late", phone, func(m *channels.Message) { m.Expires = noon }, "too_late"},
		{"too long", phone, func(m *channels.Message) { m.URL += strings.Repeat("x", 200) }, "text_too_long"},
		{"kind without words", phone, func(m *channels.Message) { m.Kind = channels.KindClosed }, "text_too_long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			h.set(noon)
			m := h.message(1)
			if tt.change != nil {
				tt.change(&m)
			}
			d, err := h.Send(t.Context(), to(tt.number), m)
			if !errors.Is(err, channels.ErrRejected) || d.Code != tt.code {
				t.Errorf("Send: %v, code %q, want ErrRejected and %q", err, d.Code, tt.code)
			}
			if n := h.twilio.Calls(); n != 0 {
				t.Errorf("provider was called %d times", n)
			}
			h.silent(t, m, err)
		})
	}
}

// TestNumberCaps: three in ten minutes and ten a day, over restarts; other numbers have their own.
func TestNumberCaps(t *testing.T) {
	h := newHouse(t, func(c *sms.Config) { c.Caps = sms.DefaultCaps() })
	send := func(number string) string {
		t.Helper()
		d, err := h.Send(t.Context(), to(number), h.message(1))
		if err != nil && !errors.Is(err, channels.ErrCapped) {
			t.Fatal(err)
		}
		return d.Code
	}
	h.set(noon)
	for i := range 3 {
		if code := send(phone); code != "" {
			t.Fatalf("message %d: %s", i+1, code)
		}
	}
	h.restart(t)
	if code := send(phone); code != "number_cap" {
		t.Errorf("fourth in ten minutes, after a restart: %q", code)
	}
	if code := send("+4915799987432"); code != "" {
		t.Errorf("other number: %q", code)
	}
	sent := 3
	for at := noon; at.Before(noon.Add(23 * time.Hour)); at = at.Add(10 * time.Minute) {
		h.set(at.Add(10 * time.Minute))
		if send(phone) == "" {
			sent++
		}
	}
	if sent != 10 {
		t.Errorf("%d messages in a day, want 10", sent)
	}
	h.set(noon.Add(24*time.Hour + time.Second))
	if code := send(phone); code != "" {
		t.Errorf("next day: %q", code)
	}
}

// TestCodesCountApart: requests keep no code from a person, nor codes a request, and each cap says how long it lasts.
func TestCodesCountApart(t *testing.T) {
	h := newHouse(t, func(c *sms.Config) { c.Caps = sms.DefaultCaps() })
	h.set(noon)
	code := channels.Message{Kind: channels.KindCode, ID: "code1/sms/1", Locale: "en", Code: "123456",
		Expires: noon.Add(5 * time.Minute)}
	for i := range 3 {
		for _, m := range []channels.Message{h.message(i), code} {
			if _, err := h.Send(t.Context(), to(phone), m); err != nil {
				t.Fatalf("%s %d: %v", m.Kind, i+1, err)
			}
		}
	}
	h.set(noon.Add(time.Minute))
	for _, m := range []channels.Message{h.message(4), code} {
		_, err := h.Send(t.Context(), to(phone), m)
		if !errors.Is(err, channels.ErrCapped) || channels.RetryAfter(err) != 9*time.Minute {
			t.Errorf("fourth %s: %v, again after %s; want 9 minutes", m.Kind, err, channels.RetryAfter(err))
		}
	}
	if n := h.twilio.Calls(); n != 6 {
		t.Errorf("provider was called %d times, want 6", n)
	}
}

// TestNotSentNotCounted: what certainly did not leave costs nothing; what perhaps did is counted.
func TestNotSentNotCounted(t *testing.T) {
	tests := map[string]struct {
		b     twiliosim.Behaviour
		costs bool
	}{
		"busy":    {twiliosim.Behaviour{Status: 429, Code: 20429}, false},
		"refused": {twiliosim.Behaviour{Status: 400, Code: 21612}, false},
		"fault":   {twiliosim.Behaviour{Status: 401, Code: 20003}, false},
		"unknown": {twiliosim.Behaviour{Break: true}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, func(c *sms.Config) { c.Caps = sms.Caps{Burst: 1, Day: 1, DayParts: 1} })
			h.set(noon)
			h.twilio.Behave(tt.b)
			h.Send(t.Context(), to(phone), h.message(1))
			h.twilio.Behave(twiliosim.Behaviour{})
			_, err := h.Send(t.Context(), to(phone), h.message(2))
			if blocked := err != nil; blocked != tt.costs {
				t.Errorf("next message: %v", err)
			}
		})
	}
}

// TestDayBreaker: when the day's parts are used up nothing leaves before the next day, and that is said once. A tenth is
// kept for one-time codes.
func TestDayBreaker(t *testing.T) {
	h := newHouse(t, func(c *sms.Config) { c.Caps.DayParts = 120 })
	h.set(noon)
	sent := map[channels.Kind]int{}
	for i := range 150 {
		if i == 60 {
			h.restart(t) // what a process has in hand when it dies counts as spent: at most a fiftieth
		}
		m := h.message(i)
		if i >= 130 {
			m = channels.Message{Kind: channels.KindCode, ID: fmt.Sprintf("code%d/sms/1", i), Locale: "en", Code: "123456",
				Expires: noon.Add(5 * time.Minute)}
		}
		d, err := h.Send(t.Context(), to(fmt.Sprintf("+49157999%05d", i)), m)
		if err == nil {
			sent[m.Kind]++
		} else if d.Code != "day_cap" || channels.RetryAfter(err) != 12*time.Hour {
			t.Fatalf("Send: %v", err)
		}
	}
	if n := sent[channels.KindRequest]; n > 108 || n < 106 {
		t.Errorf("%d parts of messages, want 108 without what the restart took", n)
	}
	if n := sent[channels.KindCode]; n != 12 {
		t.Errorf("%d codes, want the 12 that are kept for them", n)
	}
	if n := strings.Count(h.log.String(), "used up"); n != 2 {
		t.Errorf("said %d times, want once for messages and once for codes: %s", n, h.log)
	}
	h.set(noon.Add(12*time.Hour + time.Second))
	if _, err := h.Send(t.Context(), to(phone), h.message(1)); err != nil {
		t.Errorf("next day: %v", err)
	}
}

// TestCountedWithItsClaim: what a claim has counted is not counted again by the call, is taken back when the provider
// refuses, and costs nothing when the claim is not made.
func TestCountedWithItsClaim(t *testing.T) {
	tests := map[string]struct {
		commit bool
		b      twiliosim.Behaviour
		left   int // of two
	}{
		"claimed and sent":    {commit: true, left: 1},
		"claimed and refused": {commit: true, b: twiliosim.Behaviour{Status: 400, Code: 21612}, left: 2},
		"not claimed":         {left: 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, func(c *sms.Config) { c.Caps = sms.Caps{Burst: 2, Day: 2, DayParts: 2} })
			h.set(noon)
			m := h.message(0)
			count := h.Count(t.Context(), to(phone), m)
			if count.Refused != nil {
				t.Fatal(count.Refused)
			}
			if tt.commit {
				if err := h.store.Apply(t.Context(), count.Writes...); err != nil {
					t.Fatal(err)
				}
			}
			count.Done(tt.commit)
			if tt.commit {
				m.Counted = count.At
				h.twilio.Behave(tt.b)
				h.Send(t.Context(), to(phone), m)
				h.twilio.Behave(twiliosim.Behaviour{})
			}
			for i := range tt.left {
				if _, err := h.Send(t.Context(), to(phone), h.message(i+1)); err != nil {
					t.Errorf("message %d: %v", i+1, err)
				}
			}
			if _, err := h.Send(t.Context(), to(phone), h.message(3)); !errors.Is(err, channels.ErrCapped) {
				t.Errorf("one more: %v, want ErrCapped", err)
			}
		})
	}
}

// TestCapsUnderLoad: side by side, and on two nodes with one store, no more leave than may.
func TestCapsUnderLoad(t *testing.T) {
	h := newHouse(t, func(c *sms.Config) { c.Caps = sms.Caps{Burst: 5, Day: 5, DayParts: 1000} })
	other, err := sms.New(h.cfg)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			node := h.Channel
			if i%2 == 0 {
				node = other
			}
			node.Send(t.Context(), to(phone), h.message(i))
		})
	}
	all.Wait()
	if n := len(h.twilio.Messages()); n != 5 {
		t.Errorf("%d messages left, want 5", n)
	}
}

// TestStop: a number that says STOP gets nothing until it says START, over restarts; repeats of old words change nothing.
func TestStop(t *testing.T) {
	h := newHouse(t)
	h.set(noon)
	send := func() string {
		t.Helper()
		d, _ := h.Send(t.Context(), to(phone), h.message(1))
		return d.Code
	}
	hear := func(body string) {
		t.Helper()
		if status, err := h.twilio.Inbound(t.Context(), phone, body); err != nil || status != 200 {
			t.Fatalf("inbound %s: %d, %v", body, status, err)
		}
	}
	for _, words := range [][2]string{{"STOP", "START"}, {" stop ", "unstop"}, {"Cancel", "yes"}, {"QUIT", "Start"}} {
		hear(words[0])
		h.restart(t)
		h.set(h.now().Add(400 * 24 * time.Hour)) // STOP knows no end
		calls := h.twilio.Calls()
		if code := send(); code != "opted_out" || h.twilio.Calls() != calls {
			t.Errorf("after %q: %q", words[0], code)
		}
		hear("please")
		hear("HELP")
		hear("A 4821")
		if code := send(); code != "opted_out" {
			t.Errorf("after other words: %q", code)
		}
		hear(words[1])
		if code := send(); code != "" {
			t.Errorf("after %q: %q", words[1], code)
		}
	}
	if strings.Contains(h.log.String(), phone) {
		t.Errorf("log tells the number: %s", h.log)
	}
}

// TestStopSaidToProvider: an answer 21610 switches the number off as STOP does.
func TestStopSaidToProvider(t *testing.T) {
	h := newHouse(t)
	h.twilio.BehaveTo(phone, twiliosim.Behaviour{Status: 400, Code: 21610})
	for range 2 {
		if _, err := h.Send(t.Context(), to(phone), h.message(1)); !errors.Is(err, channels.ErrRejected) {
			t.Errorf("Send: %v", err)
		}
	}
	if n := h.twilio.Calls(); n != 1 {
		t.Errorf("provider was called %d times, want once", n)
	}
}

// TestRecordsTellNothing: whoever reads the store finds no number and no text.
func TestRecordsTellNothing(t *testing.T) {
	h := newHouse(t)
	if _, err := h.Send(t.Context(), to(phone), h.message(1)); err != nil {
		t.Fatal(err)
	}
	h.twilio.Inbound(t.Context(), phone, "STOP")
	for _, kind := range []string{"sms.number", "sms.day"} {
		recs, err := h.store.Scan(t.Context(), kind, "", 10)
		if err != nil || len(recs) != 1 {
			t.Fatalf("%d records of %s, %v", len(recs), kind, err)
		}
		if all := recs[0].Key + string(recs[0].Value); strings.Contains(all, phone[1:]) || strings.Contains(all, "/r/") {
			t.Errorf("record says %s", all)
		}
	}
}

// TestNotCounted: without a count nothing leaves.
func TestNotCounted(t *testing.T) {
	h := newHouse(t, func(c *sms.Config) { c.Records = brokenRecords{c.Records} })
	d, err := h.Send(t.Context(), to(phone), h.message(1))
	if !errors.Is(err, channels.ErrBusy) || d.Code != "not_counted" || h.twilio.Calls() != 0 {
		t.Errorf("Send: %v, code %q, %d calls", err, d.Code, h.twilio.Calls())
	}
}

// TestConfig: what cannot work is refused at start, without the values.
func TestConfig(t *testing.T) {
	h := newHouse(t)
	for name, change := range map[string]func(*sms.Config){
		"account":       func(c *sms.Config) { c.Account = "SK0123" },
		"token":         func(c *sms.Config) { c.Token = "with space" },
		"no sender":     func(c *sms.Config) { c.Service = "" },
		"two senders":   func(c *sms.Config) { c.Sender = "+15005550006" },
		"service":       func(c *sms.Config) { c.Service = "MG1" },
		"no countries":  func(c *sms.Config) { c.Countries = sms.Countries{} },
		"no cap":        func(c *sms.Config) { c.Caps.Day = 0 },
		"parts":         func(c *sms.Config) { c.MostParts = 0 },
		"callback":      func(c *sms.Config) { c.CallbackURL = "https://a.example/x?y=z" },
		"inbound":       func(c *sms.Config) { c.InboundURL = "/sms" },
		"provider":      func(c *sms.Config) { c.BaseURL = "api.example" },
		"pages":         func(c *sms.Config) { c.PagesURL = "" },
		"long pages":    func(c *sms.Config) { c.PagesURL = "https://" + strings.Repeat("long.", 12) + "example" },
		"name":          func(c *sms.Config) { c.Names.KO = "" },
		"name by emoji": func(c *sms.Config) { c.Names.KO = "🚀🚀🚀🚀🚀"; c.Names.EN = c.Names.KO },
	} {
		cfg := h.cfg
		change(&cfg)
		if _, err := sms.New(cfg); err == nil || strings.Contains(err.Error(), cfg.Token) {
			t.Errorf("%s: New: %v", name, err)
		}
	}
}

// TestExplain: every code that can come has words for whoever runs the service.
func TestExplain(t *testing.T) {
	for _, code := range []string{"20003", "21408", "21606", "21608", "21610", "30007", "country_off", "number_cap", "day_cap"} {
		if sms.Explain(code) == "" {
			t.Errorf("code %s has no words", code)
		}
	}
	if sms.Explain("29999") != "" || sms.Explain("x") != "" {
		t.Error("unknown codes have words")
	}
}

// BenchmarkSend sends with as many calls under way as the dispatcher allows, to numbers that all differ, so that every
// message costs its count in the store.
func BenchmarkSend(b *testing.B) {
	for name, slow := range map[string]time.Duration{"at once": 0, "after 50 ms": 50 * time.Millisecond} {
		b.Run(name, func(b *testing.B) {
			h := newHouse(b, func(c *sms.Config) { c.Caps = sms.Caps{Burst: 1 << 30, Day: 1 << 30, DayParts: 1 << 30} })
			h.twilio.Behave(twiliosim.Behaviour{Slow: slow})
			m := channeltest.Message(1)
			m.Expires = time.Now().Add(time.Hour)
			b.SetParallelism(channels.InFlight / runtime.GOMAXPROCS(0))
			var n atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := h.Send(b.Context(), to(fmt.Sprintf("+4915%08d", n.Add(1))), m); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}
