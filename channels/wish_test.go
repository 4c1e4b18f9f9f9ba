package channels

import (
	"testing"
	"time"
)

// TestPlanWish: one message for one wish, at whatever address can be written to first, and never past what keeps any
// message back.
func TestPlanWish(t *testing.T) {
	five := func(ladder ...string) Task { return life(5*time.Minute, ladder...) }
	wish := func(second int) func(*Task) {
		return func(t *Task) { t.Resend = noon.Add(time.Duration(second) * time.Second) }
	}
	tests := []struct {
		name   string
		task   Task
		second int
		want   string
	}{
		{"told", five("push", "sms").tried("push", 0, Accepted).with(wish(10)), 10, "send push 2"},
		{"nobody told yet", five("push").with(wish(0)), 0, "send push 1"},
		{"every address is used up", five("push").tried("push", 0, Rejected).with(wish(10)), 10, "send push 2"},
		{"the page is open", five("push").tried("push", 0, Accepted).with(func(t *Task) { t.Opened = true }).with(wish(10)), 10,
			"send push 2"},
		{"in flight", five("push").tried("push", 0, Open).with(wish(10)), 10, "wait 20"},
		{"the provider is down: the next one", five("push", "sms").with(down("push", 60)).with(wish(10)), 10, "send sms 1"},
		{"every provider is down", five("push", "sms").with(down("push", 60)).with(down("sms", 50)).with(wish(10)), 10, "wait 50"},
		{"answered", five("push", "sms").tried("push", 0, Accepted).tried("push", 10, Accepted).with(wish(10)), 11, "wait 70"},
		{"answered, though in vain", five("push", "sms").tried("push", 0, Accepted).tried("push", 10, Rejected).with(wish(10)), 11,
			"wait 60"},
		{"too late to send", five("push").tried("push", 0, Accepted).with(wish(280)), 290, "wait 300"},
		{"ended", five("r:push").tried("push", 0, Accepted).with(wish(10)).with(func(t *Task) { t.Ended = true }), 11,
			"retract push 1"},
		{"no address any more", five().tried("push", 0, Gone).with(wish(10)), 10, "fail"},
		{"cooling down", five("push").with(wish(0)).with(func(t *Task) { t.Gates.Cool = noon.Add(time.Minute) }), 0, "wait 60"},
		{"no room", five("push").with(wish(0)).with(func(t *Task) { t.Gates.Room = noon.Add(time.Minute) }), 0, "wait 60"},
	}
	for _, tt := range tests {
		if got := say(Plan(tt.task, noon.Add(time.Duration(tt.second)*time.Second))); got != tt.want {
			t.Errorf("%s: Plan says %q, want %q", tt.name, got, tt.want)
		}
	}
}
