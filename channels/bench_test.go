package channels_test

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"assent/approvals"
	"assent/approvals/stream"
)

// BenchmarkDrain measures how fast requests that already wait are brought to where nothing is left to do: relay, event,
// plan, and for a person with a channel its job, claim, call and outcome, all on a real store.
func BenchmarkDrain(b *testing.B) {
	for name, who := range map[string]approvals.PersonID{"inbox": "ben", "channel": "ann"} {
		b.Run(name, func(b *testing.B) {
			h := newHouse(b)
			h.fill(b, who, b.N)
			b.ResetTimer()
			h.connect(b, stream.Config{Dir: filepath.Join(b.TempDir(), "jetstream")})
			h.settled(b)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}

// fill opens n requests side by side, so that commits group.
func (h *house) fill(b *testing.B, who approvals.PersonID, n int) {
	b.Helper()
	slots := make(chan struct{}, 256)
	var all sync.WaitGroup
	for range n {
		slots <- struct{}{}
		all.Go(func() {
			h.ask(b, who)
			<-slots
		})
	}
	all.Wait()
}

// settled waits until no step is due now.
func (h *house) settled(b *testing.B) {
	b.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		steps, err := approvals.Due(b.Context(), h.Store, approvals.StepDeliver, h.clock.Now(), 1)
		if err != nil {
			b.Fatal(err)
		}
		if len(steps) == 0 {
			return
		}
	}
}
