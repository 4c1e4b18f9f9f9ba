package channels

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Limits are how hard one provider is worked by this process.
type Limits struct {
	InFlight  int // calls side by side; 0 is [InFlight]
	PerSecond int // calls that begin in a second, evenly apart after a burst of one second; 0 is no limit
}

// Numbers of the circuit breaker.
const (
	breakAfter = 5                // failures in a row
	downFirst  = 5 * time.Second  // then twice as long each time
	downMost   = 30 * time.Second // so that a request of five minutes lives to see the provider come back
	probeTime  = 10 * time.Second // how long the others wait for the one call that finds out
	rateWait   = time.Minute      // longer waits for the rate are left to the bus
)

// errDown says that a provider is left alone: [Plan] knows until when.
var errDown = errors.New("provider is left alone")

// provider stands in front of one channel: it bounds how many calls run and how many begin, and leaves a provider alone
// that fails again and again. It is in memory: each process finds out for itself.
type provider struct {
	limits Limits
	slots  chan struct{}
	hand   chan *turn // to a worker of the [crew] who is free
	hired  int        // such workers, free or not; the crew's lock guards it

	mu       sync.Mutex
	next     time.Time // no call begins before, by the rate
	failures int       // in a row
	pause    time.Duration
	down     time.Time // left alone until then
	probe    time.Time // one call finds out whether it is back; the others wait until then
	vain     bool      // somebody has waited for a free worker since the last answer, and there was none
	counts   map[Outcome]uint64
}

func newProvider(l Limits) *provider {
	if l.InFlight <= 0 {
		l.InFlight = InFlight
	}
	return &provider{limits: l, slots: make(chan struct{}, l.InFlight), hand: make(chan *turn), counts: map[Outcome]uint64{}}
}

// provider returns what stands in front of a channel.
func (d *Dispatcher) provider(channel string) *provider {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.providers == nil {
		d.providers = map[string]*provider{}
	}
	p := d.providers[channel]
	if p == nil {
		p = newProvider(d.Limits[channel])
		d.providers[channel] = p
	}
	return p
}

// until is when a call may be tried; zero: now.
func (p *provider) until(now time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shut(now)
}

// shut is until for those who hold mu.
func (p *provider) shut(now time.Time) time.Time {
	if until := latest(p.down, p.probe); until.After(now) {
		return until
	}
	return time.Time{}
}

// enter waits until a call may begin: this is the back-pressure that keeps jobs in their queue. waited reports whether
// time has passed, so that the plan may be an old one. Whoever enters calls leave.
func (p *provider) enter(ctx context.Context, now func() time.Time) (waited bool, err error) {
	select {
	case p.slots <- struct{}{}:
	default:
		waited = true
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			return false, fmt.Errorf("wait for provider: %w", ctx.Err())
		}
	}
	wait, err := p.begin(now())
	if err == nil && wait > 0 {
		waited, err = true, sleep(ctx, wait)
	}
	if err != nil {
		p.leave()
		return false, err
	}
	return waited, nil
}

func (p *provider) leave() { <-p.slots }

// begin takes the next place of the rate and returns how far it is away. After a failure only one call may find out
// whether the provider is back.
func (p *provider) begin(now time.Time) (time.Duration, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.shut(now).IsZero() {
		return 0, errDown
	}
	wait := time.Duration(0)
	if p.limits.PerSecond > 0 {
		at := latest(p.next, now.Add(-time.Second))
		if wait = max(at.Sub(now), 0); wait > rateWait {
			return 0, fmt.Errorf("%d calls a second are taken for more than %s", p.limits.PerSecond, rateWait)
		}
		p.next = at.Add(time.Second / time.Duration(p.limits.PerSecond))
	}
	if p.failures >= breakAfter {
		p.probe = now.Add(wait + probeTime)
	}
	return wait, nil
}

// stands reports whether waiting for a free worker was in vain lately.
func (p *provider) stands() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.vain
}

func (p *provider) waitedInVain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.vain = true
}

// answered keeps the outcome of a call and returns for how long the provider is left alone from now on; 0: not at all.
func (p *provider) answered(err error, now time.Time) (pause time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := outcomeOf(err)
	p.counts[o]++
	p.probe, p.vain = time.Time{}, false
	if errors.Is(err, ErrUncalled) || o == Capped {
		return 0
	}
	if o == Accepted || o == Gone || o == Rejected { // it works
		p.failures, p.pause, p.down = 0, 0, time.Time{}
		return 0
	}
	if p.failures++; p.failures < breakAfter || now.Before(p.down) { // those that were under way prove nothing new
		return 0
	}
	p.pause = min(max(2*p.pause, downFirst, RetryAfter(err)), downMost)
	p.down = now.Add(p.pause)
	return p.pause
}

// sleep waits in real time: providers know no other.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("wait for provider: %w", ctx.Err())
	case <-t.C:
		return nil
	}
}

// ProviderState is how one provider does, as this process sees it.
type ProviderState struct {
	Channel  string
	InFlight int                // calls under way or about to begin
	Down     bool               // left alone for now
	Calls    map[Outcome]uint64 // since the start, by outcome
}

// Providers reports on every provider that was called, for metrics.
func (d *Dispatcher) Providers() (out []ProviderState) {
	for name := range d.Channels {
		p := d.provider(name)
		p.mu.Lock()
		s := ProviderState{Channel: name, InFlight: len(p.slots), Down: !p.shut(d.Now()).IsZero(), Calls: map[Outcome]uint64{}}
		for o, n := range p.counts {
			s.Calls[o] = n
		}
		p.mu.Unlock()
		out = append(out, s)
	}
	return out
}
