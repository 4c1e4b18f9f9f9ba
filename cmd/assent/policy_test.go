package main

import (
	"testing"
	"time"

	"assent/approvals"
	"assent/channels"

	"github.com/google/go-cmp/cmp"
)

// TestPolicy: what an operator may leave out has a default, and dev mode lifts every limit.
func TestPolicy(t *testing.T) {
	c := Config{PromptsPerMinute: 5, PromptsOpen: 3, CoolDown: 900, PersonMessages: 20, QuietHours: "break"}
	if got := c.policy(); !cmp.Equal(got.Ladder, channels.DefaultLadder()) || got.Messages != 20 || !got.Break {
		t.Errorf("policy is %+v", got)
	}
	if got := c.prompts(); got != approvals.DefaultPromptLimits() {
		t.Errorf("limits are %+v, want the defaults %+v", got, approvals.DefaultPromptLimits())
	}
	c.Ladder = []LadderStep{{Channel: "push", Wait: 30, Repeat: 2}, {Channel: "any"}}
	want := channels.Ladder{{Who: "subject", Channel: "push", Wait: 30 * time.Second, Repeat: 2},
		{Who: "subject", Channel: "any", Wait: time.Minute, Repeat: 1}}
	if diff := cmp.Diff(want, c.ladder()); diff != "" {
		t.Errorf("ladder (-want +got):\n%s", diff)
	}
	c.Providers = []Provider{{Channel: "sms", PerSecond: 10}}
	if got := c.providerLimits()["sms"]; got != (channels.Limits{PerSecond: 10}) {
		t.Errorf("limits of a provider are %+v", got)
	}
	c.CoolDown = 0
	if got := c.prompts(); got.Denials != 0 {
		t.Errorf("without a cool-down %d denials are counted", got.Denials)
	}
	c.Dev = true
	if c.prompts() != (approvals.PromptLimits{}) || c.policy().Messages != 0 {
		t.Errorf("dev mode has limits: %+v, %+v", c.prompts(), c.policy())
	}
}

func TestQuietHoursText(t *testing.T) {
	for text, want := range map[string]bool{"": true, "22:00-07:00": true, "22:00": false, "22:00 07:00": false,
		"22:00-07:000": false} {
		if _, err := quietHours(text); (err == nil) != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestChangeHold: a hold that nobody could wait out, or that ends before it begins, is refused at the start.
func TestChangeHold(t *testing.T) {
	for hold, good := range map[Seconds]bool{0: true, 86400: true, maxChangeHold: true, -1: false, maxChangeHold + 1: false} {
		c := Config{ChangeHold: hold}
		if err := c.checkPolicy(); (err == nil) != good {
			t.Errorf("%d seconds: %v", hold, err)
		}
	}
}
