package main

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"assent/approvals"
	"assent/channels/push/fcmsim"
	"assent/channels/sms/twiliosim"
)

// reached starts a service with simulated providers and a ladder of its own.
func reached(t *testing.T, ladder string) (p *process, data string) {
	t.Helper()
	data = newData(t)
	config := filepath.Join(data, "..", "assent.toml")
	if err := os.WriteFile(config, []byte(ladder), 0o600); err != nil {
		t.Fatal(err)
	}
	return restartDev(t, data, "--sms-simulator", "--fcm-simulator", "--config", config), data
}

// linkIn is the link of a text message.
func linkIn(body string) string {
	link, _, _ := strings.Cut(body[strings.Index(body, "http"):], " ")
	return link
}

// openRequestAt opens a message's link and goes on to the page of the request.
func (b *browser) openRequestAt(ctx context.Context, link string) error {
	if err := b.open(ctx, link); err != nil {
		return err
	}
	return b.press(ctx, b.page.url.Path, nil)
}

// carries enrols a device of Ann's, whose browser b is, and confirms it.
func (p *process) carries(t *testing.T, b *browser, token string) {
	t.Helper()
	a := p.enrol(t, b, token)
	test := p.pushed(t, token, 1)
	if a.status != http.StatusAccepted || len(test) != 1 {
		t.Fatalf("registration answered %d %s, device has %+v", a.status, a.body, test)
	}
	confirm := "/me/devices/" + a.member("id") + "/confirm"
	if a := p.app(t, "POST", confirm, map[string]string{"code": test[0].Data["id"]}); a.status != http.StatusNoContent {
		t.Fatalf("confirmation answered %d %s", a.status, a.body)
	}
}

// fcm gives the simulated provider of push messages an order.
func (p *process) fcm(t *testing.T, order fcmsim.Behaviour) {
	t.Helper()
	if a := p.app(t, "POST", "/dev/fcm/control/behave", order); a.status != http.StatusNoContent {
		t.Fatalf("order answered %d %s", a.status, a.body)
	}
}

// toldOf is what an operator sees of how a person was told.
func toldOf(t *testing.T, data, handle string) (state approvals.State, lines []string) {
	t.Helper()
	api, err := newAdminClient(data)
	if err != nil {
		t.Fatal(err)
	}
	defer api.http.CloseIdleConnections()
	var r queueStory
	if err := api.call(t.Context(), "GET", "/queue/"+requestOf(handle), nil, &r); err != nil {
		t.Fatal(err)
	}
	for _, e := range r.Timeline {
		line := e.Channel + " " + string(e.Stage)
		if e.Duplicate {
			line += " possible_duplicate"
		}
		if e.Channel != "" && e.Stage != approvals.StageSent && (e.Stage != approvals.StageClaimed || e.Duplicate) {
			lines = append(lines, line)
		}
	}
	return r.State, lines
}

// becomes waits until the person was told so, and no more.
func becomes(t *testing.T, data, handle string, want ...string) {
	t.Helper()
	var lines []string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		if _, lines = toldOf(t, data, handle); slices.Equal(lines, want) {
			return
		}
	}
	t.Fatalf("person was told\n%q, want\n%q", lines, want)
}

// TestLadderStory: push messages fail, so a text message follows after the wait; the push message comes once its provider
// is back, and once more as a reminder; the person approves on the page that the text message leads to, and what lies on
// the device is closed.
func TestLadderStory(t *testing.T) {
	ctx := t.Context()
	p, data := reached(t, "[[ladder]]\nchannel = \"push\"\nwait = 60\n[[ladder]]\nchannel = \"sms\"\nwait = 60\n")
	agent, person := bot(p.issuer), newBrowser()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%v\n%s", err, p.log())
		}
	}
	p.order(t, "behave", twiliosim.Behaviour{}) // no reports, so that it is certain what the timeline says
	must(t, 200)(agent.ask(ctx, nil, nil))
	ok(person.openRequestAt(ctx, linkIn(p.texts(t, 1)[0].Body)))
	ok(person.press(ctx, "/deny", nil))
	p.carries(t, person, canaryToken)
	if notice := p.texts(t, 2)[1]; !strings.Contains(notice.Body, "A device was added to your account") {
		t.Fatalf("of the new device the person is told %q", notice.Body)
	}

	p.fcm(t, fcmsim.Behaviour{Status: 503, Code: "UNAVAILABLE", After: 45})
	handle := must(t, 200)(agent.ask(ctx, url.Values{"requested_expiry": {"1200"}}, nil)).member("auth_req_id")
	becomes(t, data, handle, "push send_failed")
	advanceClock(t, p, 40*time.Second)
	if n := len(p.texts(t, 0)); n != 2 {
		t.Fatalf("%d text messages while the push message has its turn, want the old ones", n)
	}
	advanceClock(t, p, 25*time.Second)
	so := []string{"push send_failed", "push send_failed", "sms accepted"}
	becomes(t, data, handle, so...)
	texts := p.texts(t, 3)
	p.fcm(t, fcmsim.Behaviour{})
	advanceClock(t, p, 130*time.Second)
	so = append(so, "push accepted")
	becomes(t, data, handle, so...)
	advanceClock(t, p, 405*time.Second)
	becomes(t, data, handle, append(so, "push accepted")...)
	if got := p.pushed(t, canaryToken, 3); len(got) != 3 || got[2].Data["kind"] != "reminder" ||
		got[2].Android.CollapseKey != got[1].Android.CollapseKey {
		t.Errorf("at half time the device has %+v", got)
	}

	ok(person.openRequestAt(ctx, linkIn(texts[2].Body)))
	ok(person.press(ctx, "/approve", nil))
	must(t, 200)(agent.poll(ctx, handle, nil))
	if got := p.pushed(t, canaryToken, 4); len(got) != 4 || got[3].Data["kind"] != "closed" ||
		got[3].Android.CollapseKey != got[1].Android.CollapseKey {
		t.Errorf("after the approval the device has %+v", got)
	}
	advanceClock(t, p, time.Hour)
	if n, m := len(p.pushed(t, canaryToken, 4)), len(p.texts(t, 3)); n != 4 || m != 3 {
		t.Errorf("%d push messages and %d texts in the end, want 4 and 3", n, m)
	}
	state, lines := toldOf(t, data, handle)
	if state != approvals.Redeemed || !slices.Contains(lines, "push retracted") {
		t.Errorf("%s, %q", state, lines)
	}
}

// TestAnswersOfProviders: what a provider answers decides what comes next. A permanent error moves on at once, a transient
// one is tried again at the same address, and after silence the message goes once more: at once where nobody reports
// later, else when the time for a report is over.
func TestAnswersOfProviders(t *testing.T) {
	tests := []struct {
		name string
		sms  twiliosim.Behaviour
		fcm  fcmsim.Behaviour
		want [4][]string // at once, after 10 s, after 70 s, after 140 s
	}{
		{name: "sms permanent", sms: twiliosim.Behaviour{Status: 400, Code: 21211}, want: [4][]string{
			{"sms send_failed", "phone accepted"}, nil, nil, nil}},
		{name: "sms transient", sms: twiliosim.Behaviour{Status: 503, After: 30}, want: [4][]string{
			{"sms send_failed"}, nil, {"sms accepted"}, {"phone accepted"}}},
		{name: "sms silent", sms: twiliosim.Behaviour{Break: true}, want: [4][]string{
			{"sms send_unknown"}, nil, {"sms claimed possible_duplicate", "sms accepted"}, {"phone accepted"}}},
		{name: "push permanent", fcm: fcmsim.Behaviour{Status: 404, Code: "UNREGISTERED"}, want: [4][]string{
			{"push send_failed", "phone accepted"}, nil, nil, nil}},
		{name: "push transient", fcm: fcmsim.Behaviour{Status: 503, Code: "UNAVAILABLE", After: 30}, want: [4][]string{
			{"push send_failed"}, nil, {"push accepted"}, {"phone accepted"}}},
		{name: "push silent", fcm: fcmsim.Behaviour{Break: true}, want: [4][]string{
			{"push send_unknown", "push claimed possible_duplicate", "push send_unknown"}, nil, {"phone accepted"}, nil}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			channel, _, _ := strings.Cut(tt.name, " ")
			p, data := reached(t, "[[ladder]]\nchannel = \""+channel+"\"\nwait = 60\n[[ladder]]\nchannel = \"phone\"\nwait = 60\n")
			if channel == "push" {
				b := p.signedIn(t)
				if err := b.press(t.Context(), "/deny", nil); err != nil {
					t.Fatal(err)
				}
				p.carries(t, b, canaryToken)
			}
			p.order(t, "behave", tt.sms)
			p.fcm(t, tt.fcm)
			handle := must(t, 200)(bot(p.issuer).ask(t.Context(), url.Values{"requested_expiry": {"900"}}, nil)).member("auth_req_id")
			becomes(t, data, handle, tt.want[0]...)
			p.order(t, "behave", twiliosim.Behaviour{})
			p.fcm(t, fcmsim.Behaviour{})
			so := tt.want[0]
			for i, by := range []time.Duration{10 * time.Second, 60 * time.Second, 70 * time.Second} {
				advanceClock(t, p, by)
				so = append(so, tt.want[i+1]...)
				becomes(t, data, handle, so...)
			}
		})
	}
}
