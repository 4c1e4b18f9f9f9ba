package channels

import (
	"testing"
	"time"

	"assent/approvals"
)

// TestGates: what keeps a message back, for how long, and what becomes of one that would come too late.
func TestGates(t *testing.T) {
	five := func(ladder ...string) Task { return life(5*time.Minute, ladder...) }
	second := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Second) }
	gates := func(g Gates) func(*Task) { return func(t *Task) { g.Zone = "UTC"; t.Gates = g } }
	short, long := approvals.QuietHours{From: "11:00", To: "12:02"}, approvals.QuietHours{From: "11:00", To: "13:00"}
	tests := []struct {
		name   string
		task   Task
		second int
		want   string
		why    string
	}{
		{"joined: looked at again", five("push").with(gates(Gates{Joined: true})), 0, "wait 60", WhyJoined},
		{"joined until the close", five("push").with(gates(Gates{Joined: true})), 280, "wait 290", WhyJoined},
		{"no longer joined", five("push").with(gates(Gates{})), 70, "send push 1", "next address"},
		{"cooling down", five("push").with(gates(Gates{Cool: second(30)})), 0, "wait 30", WhyCool},
		{"cool", five("push").with(gates(Gates{Cool: second(30)})), 30, "send push 1", "next address"},
		{"cooling down for too long: the inbox has it", five("push").with(gates(Gates{Cool: second(290)})), 0, "nothing",
			WhyCool},
		{"too many", five("push").with(gates(Gates{Room: second(40)})), 0, "wait 40", WhyRoom},
		{"told, then too many: no reminder", five("push").tried("push", 0, Accepted).with(gates(Gates{Room: second(290)})), 150,
			"wait 300", WhyRoom},
		{"quiet until", five("push").with(gates(Gates{Quiet: short})), 0, "wait 120", WhyQuiet},
		{"quiet no more", five("push").with(gates(Gates{Quiet: short})), 120, "send push 1", "next address"},
		{"one after the other", five("push").with(gates(Gates{Cool: second(10), Quiet: short})), 0, "wait 120", WhyQuiet},
		{"quiet for too long: the agent learns it", five("push").with(gates(Gates{Quiet: long})), 0, "fail", WhyQuiet},
		{"quiet for too long, and it may break through", five("push").with(gates(Gates{Quiet: long, Break: true})), 0,
			"send push 1", "next address"},
		{"quiet, and what may break through can wait", five("push").with(gates(Gates{Quiet: short, Break: true})), 0,
			"wait 120", WhyQuiet},
		{"quiet, but loud", five("push").with(gates(Gates{Quiet: short, Loud: true})), 0, "send push 1", "next address"},
		{"quiet after the first message: not failed", five("push", "sms").tried("push", 0, Accepted).
			with(gates(Gates{Quiet: long})), 60, "wait 300", WhyQuiet},
		{"quiet while perhaps sent: not failed", five("push").tried("push", 0, Unknown).with(gates(Gates{Quiet: long})), 1,
			"wait 300", WhyQuiet},
		{"taking back is quiet", five("r:push").tried("push", 0, Accepted).with(func(t *Task) { t.Ended = true }).
			with(gates(Gates{Quiet: long})), 60, "retract push 1", "request has ended"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			next := Plan(tt.task, second(tt.second))
			if got := say(next); got != tt.want || next.Reason != tt.why {
				t.Errorf("Plan says %q because %q, want %q because %q", got, next.Reason, tt.want, tt.why)
			}
		})
	}
}
