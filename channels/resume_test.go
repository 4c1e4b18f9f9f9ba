package channels_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"assent/approvals"
)

// A process that starts takes back what was sent for a request that has ended, though its step is far from due and the
// event that told of the end is lost.
func TestResumeAfterLostEvent(t *testing.T) {
	h := newHouse(t)
	r := h.ask(t, "ann")
	if _, err := h.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, h.phone, have(1))
	h.deny(t, r)
	h.build()
	if _, err := h.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if retracted(h.phone.Items()) {
		t.Fatal("the step was due, so this test says nothing")
	}
	if _, err := h.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !retracted(h.phone.Items()) {
		t.Error("the message lies on the phone after its request has ended")
	}
	if n, err := h.Resume(t.Context()); n != 0 || err != nil {
		t.Errorf("a second look still finds %d steps, %v", n, err)
	}
}

// TestSweepPastUnreadableSteps: more steps than one page holds cannot be read. Whoever comes after them is told all the
// same, and no error hides that nothing else is wrong.
func TestSweepPastUnreadableSteps(t *testing.T) {
	for _, n := range []int{1, 501} {
		h := newHouse(t)
		for i := range n {
			w := approvals.Step{Name: approvals.StepDeliver, At: h.clock.Now().Add(-time.Hour), Of: fmt.Sprint(i)}.Put()
			w.Value = []byte(`{"name":`)
			if err := h.Apply(t.Context(), w); err != nil {
				t.Fatal(err)
			}
		}
		h.ask(t, "ann")
		for _, sweep := range []func(context.Context) (int, error){h.Sweep, h.Resume} {
			if taken, err := sweep(t.Context()); taken != 1 || err != nil {
				t.Errorf("sweep past %d unreadable steps: took %d, %v; want 1", n, taken, err)
			}
		}
		if calls := h.phone.Calls(); calls != 1 {
			t.Errorf("Send was called %d times past %d unreadable steps, want once", calls, n)
		}
	}
}
