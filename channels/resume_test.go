package channels_test

import "testing"

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
