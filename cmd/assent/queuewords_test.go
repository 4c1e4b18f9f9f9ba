package main

import (
	"testing"
	"time"

	"assent/approvals"
	"assent/channels"
	"assent/ciba"
)

// TestStanding: whatever a request waits for is said in plain words, and what nobody can do anything about by waiting is
// called stuck.
func TestStanding(t *testing.T) {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	at := func(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }
	wait := func(channel, reason string, minutes int) channels.Next {
		return channels.Next{Do: channels.Wait, Channel: channel, At: at(minutes), Reason: reason}
	}
	held := func(reason string, minutes int) channels.Next {
		n := wait("sms", reason, minutes)
		n.Held = true
		return n
	}
	ping := func(status approvals.Status, code string) func(*approvals.Request) {
		return func(r *approvals.Request) {
			r.State = approvals.Approved
			r.Deliveries = append(r.Deliveries, approvals.Delivery{Channel: approvals.ChannelPing, Status: status, Code: code})
		}
	}
	ended := func(state approvals.State, why approvals.Reason) func(*approvals.Request) {
		return func(r *approvals.Request) { r.State, r.Reason = state, why }
	}
	tests := []struct {
		name  string
		r     func(*approvals.Request)
		o     channels.Outlook
		want  string
		stuck bool
	}{
		{"no channel", nil, channels.Outlook{Next: channels.Next{Do: channels.Nothing, Reason: "inbox only"}},
			"no channel is configured; the request lies in the inbox", true},
		{"no address", nil, channels.Outlook{Channels: 1, Next: channels.Next{Do: channels.Nothing, Reason: "inbox only"}},
			"the person has no address that can be written to; the request lies in the inbox", true},
		{"due", nil, channels.Outlook{Channels: 1, Addresses: 1, Next: channels.Next{Do: channels.Send, Channel: "sms"}, Due: noon},
			"the next message is due", false},
		{"due, and no worker comes", nil, channels.Outlook{Channels: 1, Addresses: 1, Due: at(-2), Next: channels.Next{Do: channels.Send, Channel: "sms"}},
			"the next message is due", true},
		{"in flight", nil, channels.Outlook{Channels: 1, Addresses: 1, Under: true, Next: wait("", "in flight", 1)},
			"a message is on its way to the provider", false},
		{"told", nil, channels.Outlook{Channels: 1, Addresses: 1, Told: true, Next: wait("", "told", 5)},
			"the person has been told; waiting for a decision", false},
		{"told, and more will come", nil, channels.Outlook{Channels: 1, Addresses: 2, Told: true, Next: wait("sms", "next address", 1)},
			"next message by sms at 2026-11-22T12:01:00Z: next address", false},
		{"provider was busy", nil, channels.Outlook{Channels: 1, Addresses: 1, Next: wait("sms", "provider was busy", 1)},
			"next message by sms at 2026-11-22T12:01:00Z: provider was busy", true},
		{"circuit open", nil, channels.Outlook{Channels: 1, Addresses: 1, Next: wait("sms", "next address", 1), Down: map[string]time.Time{"sms": at(1)}},
			"the provider of sms fails again and again and is left alone until 2026-11-22T12:01:00Z", true},
		{"quiet hours", nil, channels.Outlook{Channels: 1, Addresses: 1, Next: held(channels.WhyQuiet, 2)},
			"kept back until 2026-11-22T12:02:00Z: the person's quiet hours", true},
		{"quiet hours to the end", nil, channels.Outlook{Channels: 1, Addresses: 1, Next: held(channels.WhyQuiet, 5)},
			"nothing is sent before the end: the person's quiet hours", true},
		{"too many messages", nil, channels.Outlook{Channels: 1, Addresses: 1, Next: held(channels.WhyRoom, 2)},
			"kept back until 2026-11-22T12:02:00Z: the person has had as many messages as they may have for now", true},
		{"denied repeatedly", nil, channels.Outlook{Channels: 1, Addresses: 1, Next: held(channels.WhyCool, 2)},
			"kept back until 2026-11-22T12:02:00Z: the person has denied this agent repeatedly", true},
		{"joined", nil, channels.Outlook{Channels: 1, Addresses: 1, Next: held(channels.WhyJoined, 1)},
			"kept back until 2026-11-22T12:01:00Z: an equal request has been announced, and that message speaks for this one", true},
		{"about to fail", nil, channels.Outlook{Channels: 1, Addresses: 1, Next: channels.Next{Do: channels.Fail, Reason: "ladder exhausted"}},
			"nobody can be reached; the request is about to fail", true},
		{"opened", func(r *approvals.Request) { r.OpenedAt = noon }, channels.Outlook{}, "the page is open; waiting for the person to decide", false},
		{"too late", func(r *approvals.Request) { r.DecideBy = noon }, channels.Outlook{Channels: 1, Addresses: 1},
			"too late to approve; the person can only say no", false},
		{"approved", ended(approvals.Approved, ""), channels.Outlook{}, "approved; waiting for the agent to collect", false},
		{"approved and pinged", ping(approvals.StatusAccepted, "204"), channels.Outlook{}, "approved; the agent has been told and has not collected", false},
		{"ping failed", ping(approvals.StatusFailed, "503"), channels.Outlook{},
			"approved; the agent has not taken the ping: the agent's endpoint answered 503 Service Unavailable (503)", true},
		{"withdrawn", ended(approvals.Cancelled, approvals.WithdrawnByOperator), channels.Outlook{}, "withdrawn by an operator", false},
		{"unreachable", ended(approvals.Failed, approvals.Unreachable), channels.Outlook{}, "no message got through to the person", false},
		{"expired", func(r *approvals.Request) { r.ExpiresAt = noon }, channels.Outlook{}, "its time is over", false},
		{"denied", ended(approvals.Denied, ""), channels.Outlook{}, "the person has said no", false},
		{"redeemed", ended(approvals.Redeemed, ""), channels.Outlook{}, "the agent has collected its tokens", false},
	}
	for _, tt := range tests {
		r := &approvals.Request{State: approvals.Pending, CreatedAt: noon, DecideBy: at(4), ExpiresAt: at(5)}
		if tt.r != nil {
			tt.r(r)
		}
		if got := standingOf(r, tt.o, (&service{}).explain, noon); got.Words != tt.want || got.Stuck != tt.stuck {
			t.Errorf("%s: %q, stuck %t; want %q, %t", tt.name, got.Words, got.Stuck, tt.want, tt.stuck)
		}
	}
}

// TestStandingOfPings: an agent that was not told hears again by itself, or after a replay, or never.
func TestStandingOfPings(t *testing.T) {
	next := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		ping ciba.PingOutlook
		want string
		at   time.Time
	}{
		{ciba.PingOutlook{Next: next}, "not told; again at 2026-11-22T12:00:00Z", next},
		{ciba.PingOutlook{GivenUp: true}, "not told; given up until somebody replays it", time.Time{}},
		{ciba.PingOutlook{}, "not told; it is not sent again", time.Time{}},
	}
	for _, tt := range tests {
		if got := (standing{Words: "not told"}).then(tt.ping); got.Words != tt.want || !got.At.Equal(tt.at) {
			t.Errorf("%+v: %+v, want %q at %s", tt.ping, got, tt.want, tt.at)
		}
	}
}

// TestSay: a line of the timeline as an operator reads it, with codes explained by the package that they come from.
func TestSay(t *testing.T) {
	entry := func(stage approvals.Stage, channel, code, why string) approvals.Entry {
		return approvals.Entry{Stage: stage, Channel: channel, Attempt: 1, Code: code, Why: why}
	}
	provider := entry(approvals.StageAccepted, "sms", "", "")
	provider.Provider, provider.Duplicate = "SM1\x1b[2J", true
	tests := []struct {
		e    approvals.Entry
		want string
	}{
		{entry(approvals.StageSendFailed, "sms", "30003", ""), "message 1 by sms failed: the phone is switched off or out of reach (30003)"},
		{entry(approvals.StageSendFailed, "push", "gone", ""), "message 1 by push failed: the provider says that the address is no more (gone)"},
		{entry(approvals.StageSendFailed, "push", "CODE_OF_ITS_OWN", ""), "message 1 by push failed: CODE_OF_ITS_OWN"},
		{entry(approvals.StageSendFailed, "push", "", ""), "message 1 by push failed: no reason is known"},
		{entry(approvals.StageSendUnknown, "sms", "no_answer", ""),
			"message 1 by sms without an answer of the provider: perhaps sent: the provider did not answer in time; the message may have left (no_answer)"},
		{entry(approvals.StagePingFailed, approvals.ChannelPing, "404", ""), "ping 1 failed: the agent's endpoint answered 404 Not Found (404)"},
		{entry(approvals.StagePinged, approvals.ChannelPing, "204", ""), "ping 1 taken by the agent"},
		{entry(approvals.StageHeld, "sms", "", channels.WhyQuiet), "message 1 by sms kept back: the person's quiet hours"},
		{entry(approvals.StageClaimed, "sms", "", "next address"), "message 1 by sms taken by a worker: next address"},
		{provider, "message 1 by sms accepted by the provider as SM1?[2J, possibly for the second time"},
		{approvals.Entry{Stage: approvals.StageRevoked, Facts: map[string]string{"why": "reuse"}}, "ended tokens: reuse"},
		{approvals.Entry{Stage: approvals.StageApproved, Facts: map[string]string{"acr": "urn:assent:acr:link", "simulated": "true"}},
			"approved (urn:assent:acr:link, simulated)"},
		{approvals.Entry{Stage: approvals.StageUnreachable, Code: "quiet_hours"}, "the person's quiet hours last longer than the request"},
		{approvals.Entry{Stage: "of a later release"}, "of a later release"},
	}
	for _, tt := range tests {
		if got := say(tt.e, (&service{}).explain); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.e.Stage, got, tt.want)
		}
	}
}

// TestExplainEachChannel: an operator reads words for the codes of every channel, and of the dispatcher.
func TestExplainEachChannel(t *testing.T) {
	s := &service{}
	for channel, codes := range map[string][]string{
		"sms":   {"30003", "opted_out", "http_502", "capped", "late"},
		"push":  {"UNREGISTERED", "INVALID_TOKEN", "http_503", "no_access_token", "busy"},
		"web":   {"410", "unsubscribed", "502", "gone"},
		"phone": {"rejected"},
	} {
		for _, code := range codes {
			if words := s.explain(channel, code); words == "" {
				t.Errorf("%s: no words for %s", channel, code)
			}
		}
	}
}
