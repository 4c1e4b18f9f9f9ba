package channels

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestBreaker walks a provider through failures, the pause, one call that finds out, and back.
func TestBreaker(t *testing.T) {
	p, now := newProvider(Limits{}), noon
	fail := func(err error) time.Duration {
		t.Helper()
		if _, err := p.begin(now); err != nil {
			t.Fatalf("begin: %v", err)
		}
		return p.answered(err, now)
	}
	for i := range breakAfter - 1 {
		if pause := fail(io.ErrUnexpectedEOF); pause != 0 {
			t.Fatalf("left alone for %s after %d failures", pause, i+1)
		}
	}
	fail(nil) // one success, and it counts anew
	for range breakAfter - 1 {
		fail(ErrBusy)
	}
	fail(ErrGone) // an address is gone: the provider works
	for range breakAfter - 1 {
		fail(ErrFault)
	}
	if pause := fail(ErrBusy); pause != downFirst {
		t.Fatalf("left alone for %s, want %s", pause, downFirst)
	}
	if _, err := p.begin(now); !errors.Is(err, errDown) {
		t.Errorf("begin: %v, want %v", err, errDown)
	}
	if pause := p.answered(ErrBusy, now); pause != 0 {
		t.Errorf("a call that was under way makes it %s longer", pause)
	}

	now = now.Add(downFirst)
	if _, err := p.begin(now); err != nil {
		t.Fatalf("the call that finds out: %v", err)
	}
	if until := p.until(now); !until.Equal(now.Add(probeTime)) {
		t.Errorf("the others wait until %s, want %s", until, now.Add(probeTime))
	}
	if pause := p.answered(ErrBusy, now); pause != 2*downFirst {
		t.Errorf("left alone for %s, want %s", pause, 2*downFirst)
	}
	for range 10 {
		now = p.until(now)
		if pause := fail(&BusyError{After: time.Hour}); pause > downMost {
			t.Fatalf("left alone for %s", pause)
		}
	}
	now = p.until(now)
	fail(nil)
	if until := p.until(now); !until.IsZero() {
		t.Errorf("left alone until %s after a success", until)
	}
}

// TestBreakerHeedsRetryAfter: a provider that says how long is left alone that long.
func TestBreakerHeedsRetryAfter(t *testing.T) {
	p := newProvider(Limits{})
	var pause time.Duration
	for range breakAfter {
		pause = p.answered(fmt.Errorf("send: %w", &BusyError{After: 20 * time.Second}), noon)
	}
	if pause != 20*time.Second {
		t.Errorf("left alone for %s, want 20s", pause)
	}
}

// TestBreakerIgnoresWhatNeverLeft: refusals of our own neither open the breaker nor close it, and the next call may find out.
func TestBreakerIgnoresWhatNeverLeft(t *testing.T) {
	ours := []error{Uncalled(ErrRejected), Uncalled(ErrGone), Uncalled(fmt.Errorf("store: %w", ErrBusy)),
		&CapError{After: time.Hour}, fmt.Errorf("by sms: %w", Uncalled(ErrFault))}
	p := newProvider(Limits{})
	for range breakAfter {
		for _, err := range ours {
			p.answered(err, noon)
		}
	}
	if p.failures != 0 || !p.until(noon).IsZero() {
		t.Errorf("%d failures, left alone until %s", p.failures, p.until(noon))
	}
	for range breakAfter {
		p.answered(ErrBusy, noon)
	}
	down := p.until(noon)
	later := down.Add(time.Millisecond)
	if _, err := p.begin(later); err != nil {
		t.Fatal(err)
	}
	for _, err := range ours {
		p.answered(err, later)
	}
	if p.failures != breakAfter {
		t.Errorf("%d failures are left, want %d", p.failures, breakAfter)
	}
	if until := p.until(later); !until.IsZero() {
		t.Errorf("the others wait until %s for a call that was never made", until)
	}
}

// TestInFlight: so many calls and no more; the others wait and lose nothing.
func TestInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(Limits{InFlight: 3})
		var running, most, done atomic.Int32
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if _, err := p.enter(t.Context(), time.Now); err != nil {
					t.Error(err)
					return
				}
				defer p.leave()
				for n := running.Add(1); n > most.Load(); {
					most.Store(n)
				}
				time.Sleep(time.Second) // in the bubble
				running.Add(-1)
				done.Add(1)
			})
		}
		all.Wait()
		if most.Load() != 3 || done.Load() != 20 {
			t.Errorf("%d at once and %d in all, want 3 and 20", most.Load(), done.Load())
		}
	})
}

// TestRate: a burst of one second, then evenly apart; what would wait too long is left to the bus.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(Limits{PerSecond: 10, InFlight: 1000})
		began := time.Now()
		for range 40 {
			if _, err := p.enter(t.Context(), time.Now); err != nil {
				t.Fatal(err)
			}
			p.leave()
		}
		if took := time.Since(began); took < 2800*time.Millisecond || took > 3100*time.Millisecond {
			t.Errorf("40 calls at 10 a second took %s, want about 3 s", took)
		}
		var refused atomic.Int32
		var all sync.WaitGroup
		for range 700 {
			all.Go(func() {
				if _, err := p.enter(t.Context(), time.Now); err != nil {
					refused.Add(1)
					return
				}
				p.leave()
			})
		}
		all.Wait()
		if n := refused.Load(); n < 90 || n > 110 {
			t.Errorf("%d of 700 calls were left to the bus, want about 100", n)
		}
	})
}
