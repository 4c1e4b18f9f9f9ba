package webapp

import (
	"net/netip"
	"sync"
	"time"
)

// limiter is a token bucket for each key, in memory and bounded. It slows down whoever guesses links, by remote address;
// the links' 72 bits are what keeps them from being found.
type limiter struct {
	burst int
	every time.Duration // one token
	now   func() time.Time

	mu      sync.Mutex
	buckets map[string]time.Time // when the bucket will be full again
}

// maxBuckets bounds the memory of a limiter: about 4 MB.
const maxBuckets = 50_000

func newLimiter(burst int, every time.Duration, now func() time.Time) *limiter {
	return &limiter{burst: burst, every: every, now: now, buckets: map[string]time.Time{}}
}

// allow takes a token from a bucket.
func (l *limiter) allow(key string) bool {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	full := l.buckets[key]
	if full.Before(now) {
		full = now
	}
	full = full.Add(l.every)
	if full.Sub(now) > time.Duration(l.burst)*l.every {
		return false
	}
	if _, known := l.buckets[key]; !known && len(l.buckets) >= maxBuckets {
		l.makeRoom(now)
	}
	l.buckets[key] = full
	return true
}

// makeRoom forgets full buckets, and any one bucket if there are none.
func (l *limiter) makeRoom(now time.Time) {
	for key, full := range l.buckets {
		if full.Before(now) {
			delete(l.buckets, key)
		}
	}
	for key := range l.buckets {
		if len(l.buckets) < maxBuckets {
			return
		}
		delete(l.buckets, key)
	}
}

// network is the key of a remote address as [net/http.Request] gives it. An IPv6 network counts as one, since a single
// host owns all of it.
func network(remote string) string {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return "" // all who have no address share one bucket
	}
	bits := 32
	addr := ap.Addr().Unmap()
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // both lengths fit their family
	return p.String()
}
