package ciba

import (
	"errors"
	"hash/maphash"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"assent/approvals"
)

// Limits is how much of something one minute may bring before it is put off with 429 until the minute is over. 0 means
// no limit, as in dev mode.
type Limits struct {
	Failures int // failed authentications as one client from one address; ten times as many from it as anybody (REQ-072)
	People   int // people that one client asks for (REQ-267)
	Unknown  int // hints of one client that name nobody (REQ-267)
}

// DefaultLimits are 50 failures, 200 people and 20 unknown hints a minute.
func DefaultLimits() Limits { return Limits{50, 200, 20} }

// anybody is how many times more failures one address may have than one client from it.
const anybody = 10

// limitWindow is the minute that limits are about.
const limitWindow = time.Minute

// maxTallied bounds the memory of a tally.
const maxTallied = 10_000

var (
	errFailing = &fault{status: http.StatusTooManyRequests, code: "temporarily_unavailable",
		text: "Client authentication has failed too often from this address."}
	errSweeping = &fault{status: http.StatusTooManyRequests, code: "temporarily_unavailable",
		text: "The client asks for too many people."}
)

// gauges are the tallies of a handler.
type gauges struct {
	failures failures
	asked    tally // persons by client
	people   tally // how many of them
	unknown  tally
	strange  atomic.Uint64 // parameters that nobody knows (REQ-081)
}

// tally counts by key within a minute of its own, which begins with the first thing counted.
type tally struct {
	ends atomic.Int64 // of the minute, in nanoseconds since 1970; most of the time nothing was counted
	mu   sync.Mutex
	of   map[string]int
}

// theRest is what all keys are that a tally has no room for. No client and no address has such a name.
const theRest = "\n"

// over returns how many seconds of the minute are left when key has reached limit, and 0 when it has not.
func (t *tally) over(key string, limit int, at time.Time) int {
	if limit == 0 || t.spent(at) {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	left := time.Duration(t.ends.Load() - at.UnixNano())
	if t.of[t.name(key)] < limit || left <= 0 {
		return 0
	}
	return int((left + time.Second - 1) / time.Second)
}

// add counts one more of each key and returns how many the first one has now. Beyond its memory a tally counts all new
// keys as one: who floods it gains no room for anything, and what comes only then is not free.
func (t *tally) add(at time.Time, keys ...string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.spent(at) {
		t.of = map[string]int{}
		t.ends.Store(at.Add(limitWindow).UnixNano())
	}
	for _, key := range keys {
		t.of[t.name(key)]++
	}
	return max(t.of[keys[0]], 1)
}

// name is the key that counts for this one.
func (t *tally) name(key string) string {
	if _, known := t.of[key]; known || len(t.of) < maxTallied {
		return key
	}
	return theRest
}

func (t *tally) spent(at time.Time) bool { return at.UnixNano() >= t.ends.Load() }

// failures are tallied apart by address, so that neither locks nor a flood from some are felt by all.
type failures struct {
	seed   maphash.Seed
	shards [16]tally
}

func (f *failures) of(from string) *tally {
	return &f.shards[maphash.String(f.seed, from)%uint64(len(f.shards))]
}

// authenticate decides who calls, unless the same has been tried too often from the same address (REQ-072). Whoever
// calls from elsewhere is not touched, so nobody can lock a client out.
func (h *Handler) authenticate(c *call) (err error) {
	from := addressOf(c.r.RemoteAddr)
	if wait := h.failing(c, from); wait > 0 {
		return errFailing.after(wait)
	}
	c.caller, err = h.clients.authenticate(c.r, c.form, c.at)
	if h.Limits.Failures > 0 && (err == errClient || err == errClientBasic) {
		h.gauges.failures.of(from).add(c.at, from, from+" "+claimedClient(c))
	}
	return err
}

// failing looks at the client's name only where there have been failures before.
func (h *Handler) failing(c *call, from string) (wait int) {
	failures, limit := h.gauges.failures.of(from), h.Limits.Failures
	if failures.over(from, limit, c.at) == 0 {
		return 0
	}
	return max(failures.over(from, anybody*limit, c.at), failures.over(from+" "+claimedClient(c), limit, c.at))
}

// claimedClient is who the caller says to be. All names that no client can have are one.
func claimedClient(c *call) string {
	id := c.form.get("client_id")
	if offered, err := offer(c.r.Header, c.form); err == nil && offered != nil {
		id = offered.id
	}
	if len(id) > maxClientID {
		return ""
	}
	return id
}

// addressOf is the network that counts as one source: an address, or what one host owns in IPv6.
func addressOf(remote string) string {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return "" // all who have no address are one
	}
	addr, bits := ap.Addr().Unmap(), 32
	if addr.Is6() {
		bits = 64
	}
	network, _ := addr.Prefix(bits) // both lengths fit their family
	return network.String()
}

// resolve finds whom the hint means. A client that asks for very many people, or again and again for nobody, is put
// off: it may be trying what approval it can get, or who exists (REQ-267). Blind clients learn nothing by it: people
// and nobody count alike.
func (a *asking) resolve() (*approvals.Person, error) {
	g, limits, client := &a.h.gauges, a.h.Limits, string(a.agent.ID)
	if wait := max(g.unknown.over(client, limits.Unknown, a.at), g.people.over(client, limits.People, a.at)); wait > 0 {
		return nil, errSweeping.after(wait)
	}
	p, err := a.h.person(a.r.Context(), a.hint)
	if errors.Is(err, errUnknownUser) && !a.client.blind() {
		g.unknown.add(a.at, client)
		return nil, err
	}
	if err == nil || errors.Is(err, errUnknownUser) {
		a.countPerson(client)
	}
	return p, err
}

// countPerson counts each hint of a client once.
func (a *asking) countPerson(client string) {
	if a.h.Limits.People > 0 && a.h.gauges.asked.add(a.at, client+" "+strings.Join(a.hint.names, " ")) == 1 {
		a.h.gauges.people.add(a.at, client)
	}
}

// countUnknown counts parameters that are neither ours nor credentials, so that operators can see a client that
// misspells one (REQ-081).
func (a *asking) countUnknown() error {
	for _, p := range a.form.list {
		if !slices.Contains(askParams, p.name) && !slices.Contains(credentials, p.name) &&
			p.name != "request" && p.name != "request_uri" {
			a.h.gauges.strange.Add(1)
		}
	}
	return nil
}

// UnknownParameters is how many parameters of backchannel requests nobody knew.
func (h *Handler) UnknownParameters() uint64 { return h.gauges.strange.Load() }
