package main

import (
	"sync/atomic"
	"time"
)

// clock is the service's clock. In dev mode it can be put forward, so that a test need not wait for an expiry.
type clock struct{ ahead atomic.Int64 }

// Now is the time that every rule of the service goes by.
func (c *clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// Advance puts the clock forward.
func (c *clock) Advance(d time.Duration) { c.ahead.Add(int64(d)) }
