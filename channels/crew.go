package channels

import (
	"context"
	"sync"
	"time"
)

// crew are the workers that whoever has planned a message hands it to, as it is: for each channel as many as calls may run,
// and only while [Dispatcher.Run] runs, which waits for them. What finds nobody free goes by the bus, where it can wait, and
// where other processes find it. Its zero value is ready and takes nothing.
type crew struct {
	mu      sync.Mutex // so that nobody begins once close has begun to wait
	closing chan struct{}
	working sync.WaitGroup
}

func (c *crew) open() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closing = make(chan struct{})
}

// close waits for what has begun.
func (c *crew) close() {
	c.mu.Lock()
	close(c.closing)
	c.closing = nil
	c.mu.Unlock()
	c.working.Wait()
}

// handTime is how long a sweep waits for a free worker. Once that was in vain nobody waits, until a call has come to an end.
const handTime = 100 * time.Millisecond

// hand gives t to a free worker of its channel, for whom it waits if patient. If there is one, t is no longer the caller's.
func (d *Dispatcher) hand(ctx context.Context, t *turn, patient bool) bool {
	p := d.provider(t.next.Channel)
	select {
	case p.hand <- t:
		return true
	default:
	}
	closing, hired := d.hire(p, t)
	if hired || closing == nil || !patient || p.stands() {
		return hired
	}
	patience := time.NewTimer(handTime)
	defer patience.Stop()
	select {
	case p.hand <- t:
		return true
	case <-patience.C:
		p.waitedInVain()
	case <-closing:
	case <-ctx.Done():
	}
	return false
}

// hire starts one more worker, who begins with t, unless all places are taken. closing is nil if nobody may work.
func (d *Dispatcher) hire(p *provider, t *turn) (closing chan struct{}, hired bool) {
	c := &d.crew
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing == nil || p.hired == p.limits.InFlight {
		return c.closing, false
	}
	p.hired++
	closing = c.closing
	c.working.Go(func() {
		for next := t; ; {
			d.work(next)
			select {
			case next = <-p.hand:
			case <-closing:
				c.mu.Lock()
				p.hired--
				c.mu.Unlock()
				return
			}
		}
	})
	return closing, true
}

// workTime is what one message may take, all told: the providers' own times are far below.
const workTime = 2 * time.Minute

// work does what was planned. What fails is tried again by the bus, like every job. What has begun is brought to its end, so
// nobody's context but its own counts.
func (d *Dispatcher) work(t *turn) {
	ctx, cancel := context.WithTimeout(context.Background(), workTime)
	defer cancel()
	planned := *t
	err := d.proceed(ctx, t, t.next.Channel)
	if err == nil {
		return
	}
	d.Log.WarnContext(ctx, "message is left to the bus", "err", err)
	if err := d.wake(ctx, &planned, time.Time{}); err != nil {
		d.Log.WarnContext(ctx, "message is left to the sweep", "err", err)
	}
}
