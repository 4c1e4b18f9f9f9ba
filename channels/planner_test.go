package channels

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"assent/approvals"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// life is a task of that length, with the channels of a ladder; "r:" before a name means that it retracts, "c:" that its
// provider reports later.
func life(length time.Duration, ladder ...string) Task {
	t := Task{From: noon, Close: noon.Add(length - min(10*time.Second, length/5)), End: noon.Add(length)}
	for _, name := range ladder {
		rung := Rung{Wait: DefaultWait}
		for len(name) > 2 && name[1] == ':' {
			rung.Retracts = rung.Retracts || name[0] == 'r'
			rung.Reports = rung.Reports || name[0] == 'c'
			name = name[2:]
		}
		rung.Channel, rung.To = name, "to-"+name
		t.Ladder = append(t.Ladder, rung)
	}
	return t
}

// tried appends a try at that second with its outcome.
func (t Task) tried(channel string, second int, o Outcome) Task {
	at := noon.Add(time.Duration(second) * time.Second)
	next := t.message(Rung{Channel: channel, To: "to-" + channel}, KindRequest)
	// The list is copied, so that tasks can be built on one another.
	t.Tries = append(slices.Clone(t.Tries), Try{Channel: channel, To: next.To, Attempt: next.Attempt, Kind: KindRequest,
		At: at, Until: at.Add(20 * time.Second), Outcome: o, Ended: at})
	return t
}

// lost marks every unknown outcome as that of a process that has died.
func lost(t *Task) {
	for i := range t.Tries {
		t.Tries[i].Lost = true
	}
}

// lostTimes appends so many tries by push that died with their process.
func (t Task) lostTimes(n int) Task {
	for i := range n {
		t = t.tried("push", 5*i, Unknown)
		t.Tries[i].Lost, t.Tries[i].Duplicate = true, i > 0
	}
	return t
}

// reminded appends a reminder by push.
func (t Task) reminded(second int, o Outcome) Task {
	t = t.tried("push", second, o)
	t.Tries[len(t.Tries)-1].Kind = KindReminder
	return t
}

// down keeps a provider down until that second.
func down(channel string, second int) func(*Task) {
	return func(t *Task) {
		for i := range t.Ladder {
			if t.Ladder[i].Channel == channel {
				t.Ladder[i].Down = noon.Add(time.Duration(second) * time.Second)
			}
		}
	}
}

func repeat(n int) func(*Task) {
	return func(t *Task) {
		for i := range t.Ladder {
			t.Ladder[i].Repeat = n
		}
	}
}

func (t Task) with(change func(*Task)) Task {
	change(&t)
	return t
}

func TestPlan(t *testing.T) {
	five := func(ladder ...string) Task { return life(5*time.Minute, ladder...) }
	ended := func(t *Task) { t.Ended = true }
	opened := func(t *Task) { t.Opened = true }
	once := func(t *Task) { t.Once = true }
	rest := func(t *Task) { t.Tries[0].Again = noon.Add(RetryAfter(Doubt(errors.New("502")))) }
	failed := func(t *Task) {
		t.Reports = append(t.Reports, approvals.Delivery{Channel: "push", Attempt: 2, Status: approvals.StatusFailed, At: noon})
	}
	tests := []struct {
		name   string
		task   Task
		second int
		want   string
	}{
		{"no outside address: the inbox waits", five(), 0, "nothing"},
		{"first address at once", five("push", "sms"), 0, "send push 1"},
		{"in flight", five("push", "sms").tried("push", 0, Open), 19, "wait 20"},
		{"lease over", five("push", "sms").tried("push", 0, Open), 20, "settle push 1"},
		{"told: next channel after the wait", five("push", "sms").tried("push", 0, Accepted), 1, "wait 60"},
		{"unopened after the wait", five("push", "sms").tried("push", 0, Accepted), 60, "send sms 1"},
		{"opened: no further channel", five("push", "sms").tried("push", 0, Accepted).with(opened), 60, "wait 150"},
		{"opened from the inbox: no message", five("push").with(opened), 0, "nothing"},
		{"opened though the first refused: no further channel", five("push", "sms").tried("push", 0, Rejected).with(opened), 1,
			"wait 300"},
		{"opened though all refused: not failed", five("push").tried("push", 0, Rejected).with(opened), 1, "wait 300"},
		{"opened though unknown: not again", five("push").tried("push", 0, Unknown).with(opened), 0, "wait 300"},
		{"opened though busy: not again", five("push").tried("push", 0, Busy).with(opened), 2, "wait 300"},
		{"reminder at half life", five("push").tried("push", 0, Accepted), 150, "send push 2 reminder"},
		{"no reminder for a short life", life(4*time.Minute, "push").tried("push", 0, Accepted), 120, "wait 240"},
		{"reminder keeps its distance", five("push", "sms").tried("push", 0, Accepted).tried("sms", 120, Accepted), 150,
			"wait 180"},
		{"refused: next at once", five("push", "sms").tried("push", 0, Rejected), 0, "send sms 1"},
		{"gone: next at once", five("push", "sms").tried("push", 0, Gone), 0, "send sms 1"},
		{"failure receipt: next at once", five("push", "sms").tried("push", 0, Accepted).with(func(t *Task) {
			t.Reports = []approvals.Delivery{{Channel: "push", Attempt: 1, Status: "failed", At: noon}}
		}), 5, "send sms 1"},
		{"busy: again soon", five("push", "sms").tried("push", 0, Busy), 0, "wait 2"},
		{"busy: again", five("push", "sms").tried("push", 0, Busy), 2, "send push 2"},
		{"busy for a minute: next", five("push", "sms").tried("push", 0, Busy).tried("push", 2, Busy).
			tried("push", 10, Busy).tried("push", 42, Busy), 60, "send sms 1"},
		{"unknown without reports: once more at once", five("push").tried("push", 0, Unknown), 0, "send push 2 again"},
		{"unknown with reports: wait for one", five("c:sms").tried("sms", 0, Unknown), 0, "wait 60"},
		{"unknown with reports: none came", five("c:sms").tried("sms", 0, Unknown), 60, "send sms 2 again"},
		{"unknown, then delivered", five("c:sms").tried("sms", 0, Unknown).with(func(t *Task) {
			t.Reports = []approvals.Delivery{{Channel: "sms", Attempt: 1, Status: "delivered"}}
		}), 60, "wait 150"},
		{"delivered, then failed: delivered", five("c:sms", "push").tried("sms", 0, Accepted).with(func(t *Task) {
			t.Reports = []approvals.Delivery{{Channel: "sms", Attempt: 1, Status: "delivered"},
				{Channel: "sms", Attempt: 1, Status: "failed", At: noon}}
		}), 5, "wait 60"},
		{"failed, then delivered: delivered", five("c:sms", "push").tried("sms", 0, Accepted).with(func(t *Task) {
			t.Reports = []approvals.Delivery{{Channel: "sms", Attempt: 1, Status: "failed", At: noon},
				{Channel: "sms", Attempt: 1, Status: "delivered"}}
		}), 5, "wait 60"},
		{"busy for as long as it says", five("push").tried("push", 0, Busy).with(func(t *Task) {
			t.Tries[0].Again = noon.Add(30 * time.Second)
		}), 10, "wait 30"},
		{"busy beyond the close: no use in waiting", five("push").tried("push", 0, Busy).with(func(t *Task) {
			t.Tries[0].Again = noon.Add(time.Hour)
		}), 10, "fail"},
		{"our fault: next at once", five("push", "sms").tried("push", 0, Fault), 0, "send sms 1"},
		{"our fault: again, once an operator may have acted", five("push").tried("push", 0, Fault), 1, "wait 60"},
		{"our fault for too long", five("push").tried("push", 0, Fault).tried("push", 60, Fault), 61, "fail"},
		{"provider is down: the next one meanwhile", five("push", "sms").with(down("push", 30)), 0, "send sms 1"},
		{"provider is down: wait for it", five("push").with(down("push", 30)), 0, "wait 30"},
		{"provider is down for the whole life", five("push").with(down("push", 300)), 0, "fail"},
		{"days of refusal: asked less than each hour", life(7*24*time.Hour, "push").tried("push", 0, Busy).tried("push", 2,
			Busy).tried("push", 9, Busy).tried("push", 9, Busy).tried("push", 9, Busy).tried("push", 9, Busy).
			tried("push", 9, Busy).tried("push", 10, Busy), 10, "wait 15130"},
		{"repeat: after the wait", five("push", "sms").with(repeat(2)).tried("push", 0, Accepted), 60, "send push 2"},
		{"repeated: the next one", five("push", "sms").with(repeat(2)).tried("push", 0, Accepted).tried("push", 60, Accepted),
			120, "send sms 1"},
		{"repeated, but opened", five("push").with(repeat(9)).tried("push", 0, Accepted).with(opened), 60, "wait 150"},
		{"a reminder that was refused", five("push").tried("push", 0, Accepted).reminded(150, Busy), 152,
			"send push 3 reminder"},
		{"a reminder that nobody knows about", five("push").tried("push", 0, Accepted).reminded(150, Unknown), 210,
			"send push 3 reminder again"},
		{"a reminder that was refused for good", five("push").tried("push", 0, Accepted).reminded(150, Rejected), 152,
			"wait 300"},
		{"lost with the process: once more", five("push").tried("push", 0, Unknown).with(lost), 41, "send push 2 again"},
		{"lost, and its repeat too: once more after a rest", five("push").lostTimes(2), 6, "wait 15"},
		{"lost, and its repeat too: the rest is over", five("push").lostTimes(2), 15, "send push 3 again"},
		{"lost three times: a longer rest", five("push").lostTimes(3), 11, "wait 50"},
		{"lost again and again: taken for told", five("push").lostTimes(lostMost + 1), 51, "wait 150"},
		{"lost again and again: the next address after the wait", five("push", "sms").lostTimes(lostMost + 1), 110,
			"send sms 1"},
		{"lost again and again: a report says that it failed", five("push", "sms").lostTimes(lostMost + 1).with(failed),
			51, "wait 110"},
		{"lost once and silent once: once more", five("push", "sms").tried("push", 0, Unknown).with(lost).
			tried("push", 20, Unknown), 80, "send push 3 again"},
		{"lost once and silent twice: not again", five("push", "sms").tried("push", 0, Unknown).with(lost).
			tried("push", 20, Unknown).tried("push", 40, Unknown), 100, "send sms 1"},
		{"unknown after an answer of a gateway: once more after a rest", five("push").tried("push", 0, Unknown).with(rest), 0,
			"wait 10"},
		{"unknown after an answer of a gateway: the rest is over", five("push").tried("push", 0, Unknown).with(rest), 10,
			"send push 2 again"},
		{"unknown twice: next after the wait", five("push", "sms").tried("push", 0, Unknown).tried("push", 0, Unknown), 0,
			"wait 60"},
		{"all refused", five("push", "sms").tried("push", 0, Rejected).tried("sms", 0, Gone), 1, "fail"},
		{"every address is gone and forgotten", five().tried("push", 0, Gone).tried("sms", 0, Gone), 1, "fail"},
		{"a code whose only address is gone", five().tried("push", 0, Gone).with(once), 1, "nothing"},
		{"gone and forgotten, but told before", five().tried("push", 0, Accepted).tried("sms", 60, Gone), 61, "wait 300"},
		{"perhaps read: not failed before the wait", five("push").tried("push", 0, Unknown).tried("push", 0, Unknown), 1,
			"wait 60"},
		{"never read: failed", five("push").tried("push", 0, Unknown).tried("push", 0, Unknown), 60, "fail"},
		{"too late to send", five("push"), 290, "nothing"},
		{"told and too late: wait for the end", five("r:push").tried("push", 0, Accepted), 290, "wait 300"},
		{"ended: take back", five("r:push", "sms").tried("push", 0, Accepted).with(ended), 70, "retract push 1"},
		{"ended: perhaps sent, take back", five("r:push").tried("push", 0, Unknown).with(ended), 70, "retract push 1"},
		{"ended: cannot take back", five("sms").tried("sms", 0, Accepted).with(ended), 70, "nothing"},
		{"ended while in flight", five("r:push").tried("push", 0, Open).with(ended), 5, "wait 20"},
		{"over without being told", five("r:push").tried("push", 0, Accepted), 300, "retract push 1"},
		{"a code goes once", five("push", "sms").tried("push", 0, Accepted).with(once), 60, "nothing"},
		{"a code that nobody takes", five("push").tried("push", 0, Rejected).with(once), 1, "nothing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := say(Plan(tt.task, noon.Add(time.Duration(tt.second)*time.Second))); got != tt.want {
				t.Errorf("Plan says %q, want %q", got, tt.want)
			}
		})
	}
}

// say is a step in few words.
func say(n Next) string {
	switch n.Do {
	case Wait:
		return fmt.Sprintf("wait %d", int(n.At.Sub(noon).Seconds()))
	case Nothing, Fail:
		return string(n.Do)
	}
	out := fmt.Sprintf("%s %s %d", n.Do, n.Channel, n.Attempt)
	if n.Kind == KindReminder {
		out += " reminder"
	}
	if n.Duplicate {
		out += " again"
	}
	return out
}

// world is everything around the planner: providers, a person and time, as chosen by rapid.
type world struct {
	t       *rapid.T
	task    Task
	now     time.Time
	decided time.Time // zero: nobody does
	opened  time.Time
	joined  time.Time // until when an equal request speaks for this one
}

// TestPlanKeepsItsPromises plays whole lives against every kind of provider and checks each step against what the package
// promises, restated here in other words than the planner's.
func TestPlanKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for range 50 {
			newWorld(t).play()
		}
	})
}

func (w *world) play() {
	for range 2000 {
		next := Plan(w.task, w.now)
		if next.Do == Nothing {
			w.rests()
			return
		}
		if next.Do == Fail {
			w.fails(next)
		}
		w.step(next)
	}
	w.t.Fatalf("no end after 2000 steps; tries: %+v", w.task.Tries)
}

func newWorld(t *rapid.T) *world {
	names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"push", "r:push", "sms", "c:sms", "r:c:web", "phone"}), 0, 4,
		func(s string) string { return s[len(s)-3:] }).Draw(t, "ladder")
	length := time.Duration(rapid.IntRange(10, 4000).Draw(t, "seconds")) * time.Second
	w := &world{t: t, task: life(length, names...), now: noon}
	for i := range w.task.Ladder {
		rung := &w.task.Ladder[i]
		rung.Wait = rapid.SampledFrom([]time.Duration{time.Second, DefaultWait, 10 * time.Minute}).Draw(t, "wait")
		rung.Repeat = rapid.SampledFrom([]int{0, 1, 2, 5}).Draw(t, "repeat")
		if rapid.IntRange(0, 3).Draw(t, "down") == 0 {
			rung.Down = noon.Add(time.Duration(rapid.IntRange(0, 600).Draw(t, "until")) * time.Second)
		}
	}
	moment := rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.Bool().Draw(t, "never") {
			return time.Time{}
		}
		return noon.Add(time.Duration(rapid.Int64Range(0, int64(length)).Draw(t, "after")))
	})
	w.decided, w.opened = moment.Draw(t, "decided"), moment.Draw(t, "opened")
	w.joined = moment.Draw(t, "joined")
	if rapid.Bool().Draw(t, "gates") {
		w.task.Gates = Gates{Cool: moment.Draw(t, "cool"), Room: moment.Draw(t, "room"), Zone: "UTC",
			Quiet: rapid.SampledFrom([]approvals.QuietHours{{}, {From: "11:00", To: "12:05"}, {From: "12:02", To: "12:30"},
				{From: "12:10", To: "11:00"}}).Draw(t, "quiet hours"),
			Break: rapid.Bool().Draw(t, "break"), Loud: rapid.Bool().Draw(t, "loud")}
	}
	w.passTo(noon)
	return w
}

// step does what the planner says, and checks that it may be done.
func (w *world) step(next Next) {
	switch next.Do {
	case Send:
		w.maySend(next)
		w.send(next)
	case Settle:
		try := w.find(next)
		if try.Outcome != Open || w.now.Before(try.Until) {
			w.t.Fatalf("settles %+v at %s", try, w.now)
		}
		try.Outcome, try.Ended, try.Lost = Unknown, w.now, true
	case Retract:
		w.retract(next)
	case Wait:
		if !next.At.After(w.now) {
			w.t.Fatalf("waits for %s at %s", next.At, w.now)
		}
		w.passTo(next.At)
	}
}

func (w *world) maySend(next Next) {
	if w.task.Ended || !w.now.Before(w.task.Close) {
		w.t.Fatalf("sends %+v after the end", next)
	}
	if next.Kind == KindRequest && w.task.Opened {
		w.t.Fatalf("sends %+v although the page is open", next)
	}
	w.mayPass(next)
	rung, _ := w.task.rung(Try{Channel: next.Channel, To: next.To})
	if w.now.Before(rung.Down) {
		w.t.Fatalf("sends %+v to a provider that is down until %s", next, rung.Down)
	}
	attempt, silent, lost, accepted := 1, 0, 0, 0
	for _, try := range overlay(w.task.Tries, w.task.Reports) {
		same := try.Channel == next.Channel && try.To == next.To
		sent := try.Outcome == Accepted || try.Outcome == Unknown
		switch {
		case try.Outcome == Open:
			w.t.Fatalf("sends %+v while %+v is under way", next, try)
		case !same && sent && w.now.Before(try.Ended.Add(w.task.waitAfter(try))):
			w.t.Fatalf("sends %+v less than a wait after %+v", next, try)
		case try.Channel == next.Channel && w.now.Before(try.Again):
			w.t.Fatalf("sends %+v although the provider of %+v wants to be left alone", next, try)
		case next.Kind == KindReminder && try.Kind == KindReminder && try.Outcome == Accepted:
			w.t.Fatal("reminds twice")
		case next.Kind == KindRequest && same && try.Kind == KindRequest && (try.Outcome == Gone || try.Outcome == Rejected ||
			try.Outcome == Failed):
			w.t.Fatalf("sends %+v although %+v", next, try)
		}
		if same && try.Outcome == Accepted && w.now.Before(try.Ended.Add(rung.Wait)) {
			w.t.Fatalf("repeats %+v less than a wait after %+v", next, try)
		}
		if same && try.Kind == next.Kind && try.Outcome == Accepted {
			accepted, silent, lost = accepted+1, 0, 0
		}
		if (same || next.Kind == KindReminder) && try.Outcome == Unknown && try.Kind == next.Kind {
			if try.Lost {
				lost++
			} else {
				silent++
			}
		}
		if try.Channel == next.Channel {
			attempt++
		}
	}
	if next.Kind == KindRequest && accepted >= max(rung.Repeat, 1) {
		w.t.Fatalf("sends %+v for the time after the %d. of %d", next, accepted, rung.Repeat)
	}
	if next.Attempt != attempt {
		w.t.Fatalf("attempt is %d, want %d", next.Attempt, attempt)
	}
	if silent > 1 || lost > lostMost || next.Duplicate != (silent+lost > 0) {
		w.t.Fatalf("sends %+v after %d unknown outcomes and %d lost ones", next, silent, lost)
	}
	half := w.task.End.Sub(w.task.From) / 2
	if next.Kind == KindReminder && (half <= 2*time.Minute || w.now.Before(noon.Add(half))) {
		w.t.Fatalf("reminds at %s of %s", w.now, 2*half)
	}
}

// mayPass checks that no gate is shut.
func (w *world) mayPass(next Next) {
	g := w.task.Gates
	end := g.Quiet.Until(w.now, g.Zone)
	switch {
	case g.Joined:
		w.t.Fatalf("sends %+v although an equal request speaks for it", next)
	case w.now.Before(g.Cool) || w.now.Before(g.Room):
		w.t.Fatalf("sends %+v through a gate that is shut: %+v", next, g)
	case !end.IsZero() && !g.Loud && (!g.Break || end.Before(w.task.Close)):
		w.t.Fatalf("sends %+v in quiet hours until %s", next, end)
	}
}

// send lets the provider answer, or lets the process die with the claim open.
func (w *world) send(next Next) {
	until := w.now.Add(SendTimeout + leaseMargin)
	try := Try{Channel: next.Channel, Attempt: next.Attempt, To: next.To, Kind: next.Kind, At: w.now, Until: until,
		Duplicate: next.Duplicate}
	w.passTo(w.now.Add(time.Duration(rapid.IntRange(0, 9999).Draw(w.t, "ms")) * time.Millisecond))
	answers := []Outcome{Accepted, Accepted, Busy, Busy, Gone, Rejected, Fault, Capped, Unknown, Open}
	if try.Outcome = rapid.SampledFrom(answers).Draw(w.t, "answer"); try.Outcome != Open {
		try.Ended = w.now
	}
	if try.Outcome == Busy && rapid.Bool().Draw(w.t, "says for how long") {
		try.Again = w.now.Add(time.Duration(rapid.IntRange(0, 300).Draw(w.t, "after")) * time.Second)
	}
	w.task.Tries = append(w.task.Tries, try)
	if try.Outcome == Gone {
		w.task.Ladder = slices.DeleteFunc(slices.Clone(w.task.Ladder), func(r Rung) bool { return r.To == try.To })
	}
	if report := rapid.SampledFrom([]string{"", "", "delivered", "failed"}).Draw(w.t, "report"); report != "" {
		w.task.Reports = append(w.task.Reports, approvals.Delivery{Channel: try.Channel, Attempt: try.Attempt,
			Status: approvals.Status(report), At: w.now})
	}
}

func (w *world) retract(next Next) {
	if !w.task.Ended {
		w.t.Fatal("takes back what has not ended")
	}
	try := w.find(next)
	if rung, found := w.task.rung(*try); !found || !rung.Retracts || try.Retracted {
		w.t.Fatalf("takes back %+v", try)
	}
	s := &sheet{Tries: w.task.Tries}
	if !s.retract(next, rapid.Bool().Draw(w.t, "retracted"), w.now) {
		w.t.Fatalf("nothing to take back at %+v", next)
	}
}

// passTo lets time pass, with what happens meanwhile.
func (w *world) passTo(at time.Time) {
	w.now = at
	passed := func(moment time.Time) bool { return !moment.IsZero() && !moment.After(at) }
	w.task.Opened = passed(w.opened)
	w.task.Gates.Joined = !w.joined.IsZero() && !passed(w.joined)
	w.task.Ended = w.task.Ended || passed(w.decided) || !at.Before(w.task.End)
}

func (w *world) find(next Next) *Try {
	s := &sheet{Tries: w.task.Tries}
	try, found := s.try(next.Channel, next.Attempt)
	if !found {
		w.t.Fatalf("speaks of a try that is not there: %+v", next)
	}
	return try
}

// rests checks that there was nothing left to do.
func (w *world) rests() {
	for _, try := range overlay(w.task.Tries, w.task.Reports) {
		rung, _ := w.task.rung(try)
		sent := try.Outcome == Accepted || try.Outcome == Unknown
		if rung.Retracts && sent && !try.Retracted && try.RetractTries < retractTries {
			w.t.Fatalf("rests with %+v on somebody's screen", try)
		}
	}
	if w.task.Opened && len(w.task.Tries) == 0 {
		return // nothing was needed
	}
	if until, _ := w.task.Gates.hold(w.now, w.task.Close); !until.Before(w.task.Close) {
		return // the inbox has it
	}
	if len(w.task.Ladder)+len(w.task.Tries) > 0 && !w.task.Ended && w.now.Before(w.task.Close) {
		w.t.Fatalf("rests for good before the end; tries: %+v", w.task.Tries)
	}
}

// fails checks that nobody was reached, and ends the request.
func (w *world) fails(next Next) {
	if next.Cause == approvals.QuietTime {
		w.failsQuietly()
		return
	}
	if len(w.task.Ladder)+len(w.task.Tries) == 0 {
		w.t.Fatal("fails a request that only has an inbox")
	}
	if w.task.Opened {
		w.t.Fatal("fails what the person is reading")
	}
	if _, told := (Task{Tries: overlay(w.task.Tries, w.task.Reports)}).told(); told {
		w.t.Fatal("fails although somebody was told")
	}
	for _, rung := range w.task.Ladder {
		if len(w.task.of(rung, KindRequest)) == 0 && rung.Down.Before(w.task.Close) && !w.busyUntilClose() {
			w.t.Fatalf("fails without having tried %+v", rung)
		}
	}
	w.task.Ended = true
}

// failsQuietly checks that quiet hours leave no time at all, and ends the request.
func (w *world) failsQuietly() {
	g := w.task.Gates
	until, why := g.hold(w.now, w.task.Close)
	if why != WhyQuiet || g.Break || g.Joined || until.Before(w.task.Close) {
		w.t.Fatalf("fails for quiet hours until %s: %+v", until, g)
	}
	for _, try := range overlay(w.task.Tries, w.task.Reports) {
		if try.Outcome == Accepted || try.Outcome == Unknown {
			w.t.Fatalf("fails for quiet hours although %+v", try)
		}
	}
	w.task.Ended = true
}

// busyUntilClose reports whether an address keeps the next ones waiting past the close.
func (w *world) busyUntilClose() bool {
	for _, try := range w.task.Tries {
		if try.Outcome != Gone && try.Outcome != Rejected && !try.Ended.Add(w.task.waitAfter(try)).Before(w.task.Close) {
			return true
		}
	}
	return false
}
