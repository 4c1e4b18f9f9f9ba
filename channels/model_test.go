package channels

import (
	"fmt"
	"testing"
	"time"

	"assent/approvals"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// told is one message, as planner and model both say it.
type told struct {
	Second  int
	Channel string
	Kind    Kind
}

// modelled is the ladder as one would explain it to somebody, for providers that always answer alike: each address in turn,
// as often as it repeats, a wait after each message; who refuses is left at once; a reminder at half of the time, where
// the last message went; nothing at night; nothing from the close on.
func modelled(t Task, refuses map[string]bool) (out []told) {
	at, last := t.From, ""
	day := func() {
		if end := t.Gates.Quiet.Until(at, t.Gates.Zone); !end.IsZero() {
			at = end
		}
	}
	message := func(channel string, kind Kind) {
		if day(); at.Before(t.Close) {
			out = append(out, told{int(at.Sub(noon).Seconds()), channel, kind})
		}
	}
	for _, rung := range t.Ladder {
		if refuses[rung.Channel] {
			message(rung.Channel, KindRequest)
			continue
		}
		for range rung.Repeat {
			message(rung.Channel, KindRequest)
			at, last = at.Add(rung.Wait), rung.Channel
		}
	}
	if last != "" {
		at = latest(at, t.From.Add(t.End.Sub(t.From)/2))
		message(last, KindReminder)
	}
	return out
}

// planned plays the same life with the planner.
func planned(t *rapid.T, task Task, refuses map[string]bool) (out []told) {
	now := task.From
	for range 1000 {
		next := Plan(task, now)
		switch next.Do {
		case Wait:
			now = next.At
			task.Ended = !now.Before(task.End)
		case Send:
			out = append(out, told{int(now.Sub(noon).Seconds()), next.Channel, next.Kind})
			answer := Accepted
			if refuses[next.Channel] {
				answer = Rejected
			}
			task.Tries = append(task.Tries, Try{Channel: next.Channel, Attempt: next.Attempt, To: next.To, Kind: next.Kind,
				At: now, Outcome: answer, Ended: now})
		default:
			return out
		}
	}
	t.Fatalf("no end after 1000 steps: %+v", out)
	return nil
}

// TestPlanIsTheLadder compares whole lives with the model.
func TestPlanIsTheLadder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		task := life(time.Duration(rapid.IntRange(2, 48).Draw(t, "hours")) * time.Hour)
		refuses := map[string]bool{}
		for i := range rapid.IntRange(1, 4).Draw(t, "rungs") { // so few that half of the time is not over before their end
			name := fmt.Sprintf("channel%d", i)
			refuses[name] = rapid.Bool().Draw(t, "refuses")
			task.Ladder = append(task.Ladder, Rung{Channel: name, To: "to-" + name, Repeat: rapid.IntRange(1, 3).Draw(t, "repeat"),
				Wait: time.Duration(rapid.IntRange(1, 300).Draw(t, "wait")) * time.Second})
		}
		if rapid.Bool().Draw(t, "night") {
			task.Gates.Quiet, task.Gates.Zone = approvals.QuietHours{From: "12:03", To: "12:20"}, "UTC"
		}
		if diff := cmp.Diff(modelled(task, refuses), planned(t, task, refuses)); diff != "" {
			t.Fatalf("messages differ (-model +plan):\n%s", diff)
		}
	})
}
