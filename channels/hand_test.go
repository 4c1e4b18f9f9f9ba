package channels

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestHand: a sweep waits for a free worker, also after a long rest. Once that was in vain nobody waits, until a call has
// come to an end; who is not patient never does.
func TestHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Dispatcher{Limits: map[string]Limits{"phone": {InFlight: 1}}, Now: time.Now}
		d.crew.open()
		defer d.crew.close()
		p := d.provider("phone")
		p.hired = 1 // and busy
		next := &turn{next: Next{Channel: "phone"}}
		hand := func(patient bool) (taken bool, waited time.Duration) {
			began := time.Now()
			taken = d.hand(t.Context(), next, patient)
			return taken, time.Since(began)
		}
		want := func(what string, patient, taken bool, waited time.Duration) {
			t.Helper()
			if got, took := hand(patient); got != taken || took != waited {
				t.Errorf("%s: taken %t after %s, want %t after %s", what, got, took, taken, waited)
			}
		}
		time.Sleep(time.Hour) // in the bubble, as below
		want("from an event", false, false, 0)
		go func() {
			time.Sleep(handTime / 2)
			<-p.hand
		}()
		want("a worker gets free", true, true, handTime/2)
		want("none gets free", true, false, handTime)
		want("nor lately", true, false, 0)
		p.answered(nil, time.Now())
		want("a call has ended", true, false, handTime)
	})
}
