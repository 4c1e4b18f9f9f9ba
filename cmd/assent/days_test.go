package main

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assent/channels"
)

// messagesOf returns what lies in the phone's file, as soon as it is as much as is wanted.
func messagesOf(t *testing.T, data string, want int) (all []outboxLine) {
	t.Helper()
	path := filepath.Join(data, outboxFile)
	within(t, "message", func() bool {
		if _, err := os.Stat(path); err != nil {
			return false
		}
		all = readLines[outboxLine](t, path)
		return len(all) >= want
	})
	return all
}

// TestReminderAfterTwoRestarts: a request of three days is stopped once and killed once, and reminds on the second
// day.
func TestReminderAfterTwoRestarts(t *testing.T) {
	data := newData(t)
	p := restartDev(t, data)
	agent := bot(p.issuer)
	must(t, http.StatusOK)(agent.ask(t.Context(), url.Values{"requested_expiry": {"259200"}}, nil))
	messagesOf(t, data, 1)
	if err := p.stop(); err != nil { // not killed: the clock of the next process begins anew, and with it a claim's lease
		t.Fatal(err)
	}

	p = restartDev(t, data)
	advanceClock(t, p, 20*time.Hour)
	p.kill()

	p = restartDev(t, data)
	advanceClock(t, p, 35*time.Hour)
	if n := len(messagesOf(t, data, 1)); n != 1 {
		t.Fatalf("%d messages on the first day, want one", n)
	}
	advanceClock(t, p, 2*time.Hour)
	if m := messagesOf(t, data, 2)[1]; m.Kind != channels.KindReminder {
		t.Errorf("on the second day came a message of kind %s, want a reminder", m.Kind)
	}
	advanceClock(t, p, 30*time.Hour)
	if n := len(messagesOf(t, data, 2)); n != 2 {
		t.Errorf("%d messages on the third day, want two", n)
	}
}

// TestProviderDownReachesTheAgent: nobody can be told for the whole life, and the agent learns it before its end.
func TestProviderDownReachesTheAgent(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{"busy", "fault", "reject", "gone"} {
		t.Run(answer, func(t *testing.T) {
			p := newDev(t)
			devPost(t, p, "/dev/provider", `{"answer":"`+answer+`"}`)
			agent := bot(p.issuer)
			handle := must(t, http.StatusOK)(agent.ask(t.Context(), url.Values{"requested_expiry": {"120"}}, nil)).member("auth_req_id")
			state := func() wireAnswer {
				return must(t, http.StatusOK)(agent.send(t.Context(), "/requests/status", url.Values{"auth_req_id": {handle}}, nil))
			}
			for passed := 0; state().member("state") == "pending" && passed < 110; passed += 5 {
				advanceClock(t, p, 5*time.Second)
				<-time.After(20 * time.Millisecond) // for what goes over the bus
			}
			if a := state(); a.member("state") != "failed" || a.member("reason") != "" {
				t.Fatalf("%s, want it failed; why is for operators", a.body)
			}
			a := must(t, http.StatusBadRequest)(agent.poll(t.Context(), handle, nil))
			if a.member("error") != "transaction_failed" {
				t.Errorf("%s, want transaction_failed", a.body)
			}
		})
	}
}

// TestProviderMetrics: an operator sees which provider fails, how, and that it is left alone.
func TestProviderMetrics(t *testing.T) {
	p := restartDev(t, newData(t), "--admin-listen", "127.0.0.1:0")
	devPost(t, p, "/dev/provider", `{"answer":"busy"}`)
	agent := bot(p.issuer)
	for range 5 {
		must(t, http.StatusOK)(agent.ask(t.Context(), nil, nil))
	}
	within(t, "count of failures", func() bool {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+p.metrics+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		a := must(t, http.StatusOK)(do(http.DefaultClient, req))
		return strings.Contains(string(a.body), `approvals_channel_calls_total{channel="phone",outcome="busy"} 5`) &&
			strings.Contains(string(a.body), `approvals_channel_down{channel="phone"} 1`)
	})
}
