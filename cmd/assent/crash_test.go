package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"assent/approvals"
	"assent/channels"
	"assent/store"
)

var long = flag.Bool("long", false, "run the long loops: a thousand kills")

// customers is how many people with an agent each keep the service busy.
const customers = 48

// leastRate is how many acknowledged operations a second the service must be under for a kill to count.
const leastRate = 500

// TestCrash kills a busy service again and again and looks for what it had acknowledged: through its own doors after
// each restart, in its store at the end.
func TestCrash(t *testing.T) {
	row(t, "REQ-166", "REQ-291")
	kills := 15
	switch {
	case *long:
		kills = 1000
	case testing.Short():
		kills = 5
	case demanded():
		kills = 50
	}
	c := newCrash(t)
	c.peace() // browsers sign in
	for n := range kills {
		c.life(time.Duration(100+rand.IntN(250)) * time.Millisecond)
		if t.Failed() {
			t.Fatalf("after kill %d of %d", n+1, kills)
		}
		if n%100 == 99 {
			t.Logf("%d kills, %d operations acknowledged", n+1, c.journal.lines.Load())
		}
	}
	c.peace()
	c.report(kills)
}

// crash is the whole run.
type crash struct {
	t       *testing.T
	data    string
	args    []string // of the service, beside the usual ones
	journal *journal
	people  []*customer

	loads   time.Duration        // how long the service was under load
	under   int64                // what it acknowledged meanwhile
	started []time.Time          // of each life
	slowest time.Duration        // start after a kill
	open    map[approvals.ID]int // claims that were open at a kill
	dead    atomic.Bool          // the service has been killed, so errors are no surprise
	strange struct{ lost, double atomic.Int64 }
}

func newCrash(t *testing.T) *crash {
	c := &crash{t: t, data: newData(t), journal: newJournal(t), open: map[approvals.ID]int{}}
	var people []string
	for n := range customers {
		name := fmt.Sprintf("c%02d", n)
		people = append(people, fmt.Sprintf(`{"sub":"u_%s","login_hints":["%s"],"name":"Customer","locale":"en","zone":"UTC"}`, name, name))
		c.people = append(c.people, newCustomer(c, name, n))
	}
	c.fixtures(strings.Join(people, ","))
	return c
}

// fixtures replaces the people of the usual fixtures.
func (c *crash) fixtures(people string) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal([]byte(fixtures), &all); err != nil {
		c.t.Fatal(err)
	}
	all["people"] = json.RawMessage("[" + people + "]")
	raw, err := json.Marshal(all)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.data, "..", "fixtures.json"), raw, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// life starts the service, keeps it busy, kills it, and notes which messages were under way.
func (c *crash) life(load time.Duration) {
	p := c.start()
	killed := make(chan struct{})
	time.AfterFunc(load, func() {
		c.dead.Store(true)
		p.kill()
		close(killed)
	})
	began, before := time.Now(), c.journal.lines.Load()
	c.all(func(who *customer) error { return who.live(p) })
	c.loads += time.Since(began)
	c.under += c.journal.lines.Load() - before
	<-killed
	c.look()
}

func (c *crash) start() *process {
	c.dead.Store(false)
	began := time.Now()
	c.started = append(c.started, began)
	p := restartDev(c.t, c.data, c.args...)
	c.slowest = max(c.slowest, time.Since(began))
	return p
}

// all lets every customer work until the service is gone or their work is done.
func (c *crash) all(work func(*customer) error) {
	var busy sync.WaitGroup
	for _, who := range c.people {
		busy.Go(func() {
			if err := work(who); err != nil && !c.dead.Load() {
				c.t.Errorf("customer %s: %v", who.name, err)
			}
		})
	}
	busy.Wait()
}

// peace is a life that nobody kills: every customer brings the matter at hand, or a first one, to its end.
func (c *crash) peace() {
	p := c.start()
	c.all(func(who *customer) error { return who.finish(p) })
	if err := p.stop(); err != nil {
		c.t.Errorf("stop: %v\n%s", err, p.log())
	}
}

// look counts the claims that the killed process had open.
func (c *crash) look() {
	ctx := c.t.Context()
	db := c.store()
	defer db.Close()
	for after := ""; ; {
		page, err := db.ScanAfter(ctx, "claim", after, 1000)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, rec := range page {
			id := approvals.ID(strings.TrimPrefix(rec.Key, approvals.StepDeliver+"-"))
			c.open[id] = max(c.open[id], openClaims(c.t, rec)) // an open claim stays open for some lives
			after = rec.Key
		}
		if len(page) < 1000 {
			return
		}
	}
}

func openClaims(t *testing.T, rec approvals.Record) (n int) {
	t.Helper()
	var sheet struct{ Tries []channels.Try }
	if err := json.Unmarshal(rec.Value, &sheet); err != nil {
		t.Fatal(err)
	}
	for _, try := range sheet.Tries {
		if try.Outcome == channels.Open {
			n++
		}
	}
	return n
}

func (c *crash) store() store.Store {
	c.t.Helper()
	db, err := store.Open(c.t.Context(), "bolt:"+filepath.Join(c.data, "assent.db"), time.Now)
	if err != nil {
		c.t.Fatal(err)
	}
	return db
}

// report compares the journal with the store and the messages, and prints the figures.
func (c *crash) report(kills int) {
	db := c.store()
	defer db.Close()
	if err := db.Check(c.t.Context()); err != nil {
		c.t.Error(err)
	}
	entries := c.journal.read(c.t)
	trails := c.trails(db)
	told := c.told(entries, trails)
	late, lateAcross, messages := c.messages(trails)
	rate := float64(c.under) / c.loads.Seconds()
	open := 0
	for _, n := range c.open {
		open += n
	}
	c.t.Logf("%d acknowledged operations (%s), %.0f a second, %d kills, slowest start %v",
		len(entries), told, rate, kills, c.slowest.Round(time.Millisecond))
	c.t.Logf("acknowledged requests or decisions lost: %d, double redemptions: %d", c.strange.lost.Load(), c.strange.double.Load())
	c.t.Logf("%d messages, %d claims open at a kill; messages after a decision: %d with the claim made before it, %d across a kill",
		messages, open, late, lateAcross)
	if c.strange.lost.Load()+c.strange.double.Load() > 0 {
		c.t.Error("something acknowledged was lost, or redeemed twice")
	}
	if *long && rate < leastRate {
		c.t.Errorf("%.0f acknowledged operations a second are too few", rate)
	}
}

// trail is what the store says about one request.
type trail struct {
	approved, denied, redeemed int
	decided                    time.Time
}

// trails reads the audit records of every request that the agent ever made, and looks that none was made twice.
func (c *crash) trails(db store.Store) map[approvals.ID]trail {
	ctx := c.t.Context()
	out, made := map[approvals.ID]trail{}, map[string]approvals.ID{}
	for q := (approvals.Query{Agent: "bot", Limit: 1000}); ; {
		page, err := db.List(ctx, q)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, r := range page {
			if other, twice := made[r.Binding]; twice {
				c.t.Errorf("request %s was made again as %s", other, r.ID)
			}
			made[r.Binding], q.Before = r.ID, r.ID
			out[r.ID] = c.trail(db, r.ID)
		}
		if len(page) < q.Limit {
			return out
		}
	}
}

func (c *crash) trail(db store.Store, id approvals.ID) (out trail) {
	events, err := db.Events(c.t.Context(), id)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, e := range events {
		switch approvals.State(e.Kind) {
		case approvals.Approved:
			out.approved++
			out.decided = e.At
		case approvals.Denied:
			out.denied++
			out.decided = e.At
		case approvals.Redeemed:
			out.redeemed++
		}
	}
	if out.approved+out.denied > 1 || out.redeemed > out.approved {
		c.t.Errorf("request %s: approved %d, denied %d, redeemed %d times", id, out.approved, out.denied, out.redeemed)
	}
	return out
}

// told looks for everything in the journal and returns how many there were of each kind.
func (c *crash) told(entries []entry, trails map[approvals.ID]trail) string {
	counts, redeemed := map[string]int{}, map[string]int{}
	for _, e := range entries {
		counts[e.Op]++
		id, _, _ := strings.Cut(e.ID, ".")
		stored, found := trails[approvals.ID(id)]
		kept := found
		switch e.Op {
		case opApprove:
			kept = stored.approved == 1
		case opDeny:
			kept = stored.denied == 1
		case opRedeem:
			redeemed[e.ID]++
			kept = stored.redeemed == 1
		}
		if !kept {
			c.lost("%s of %s was acknowledged and is not in the store", e.Op, id)
		}
	}
	for id, n := range redeemed {
		if n > 1 {
			c.double("%s was redeemed %d times", id, n)
		}
	}
	var words []string
	for op, n := range counts {
		words = append(words, fmt.Sprintf("%s %d", op, n))
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}

func (c *crash) lost(format string, args ...any) {
	c.strange.lost.Add(1)
	c.t.Errorf("lost: "+format, args...)
}

func (c *crash) double(format string, args ...any) {
	c.strange.double.Add(1)
	c.t.Errorf("double: "+format, args...)
}

// messages looks at everything that was ever sent. No message is sent twice; after a decision at most the one comes that
// was under way, and after a kill at most one for each claim that was open then.
func (c *crash) messages(trails map[approvals.ID]trail) (late, lateAcross, all int) {
	sent, after, across := map[string]bool{}, map[approvals.ID]int{}, map[approvals.ID]int{}
	for _, m := range readLines[outboxLine](c.t, filepath.Join(c.data, outboxFile)) {
		if m.Kind == channels.KindClosed {
			continue
		}
		all++
		if sent[m.ID] {
			c.t.Errorf("message %s was sent twice", m.ID)
		}
		sent[m.ID] = true
		decided := trails[m.Request].decided
		switch {
		case decided.IsZero() || !m.At.After(decided):
		case c.lifeOf(m.At) > c.lifeOf(decided):
			lateAcross++
			across[m.Request]++
		default:
			late++
			after[m.Request]++
		}
	}
	for id, n := range across {
		if n > c.open[id] {
			c.t.Errorf("request %s: %d messages after the decision and a kill, %d claims were open", id, n, c.open[id])
		}
	}
	for id, n := range after {
		if n > 1 {
			c.t.Errorf("request %s: %d messages after the decision", id, n)
		}
	}
	return late, lateAcross, all
}

// lifeOf is the number of the process that ran at that time.
func (c *crash) lifeOf(at time.Time) int {
	n, _ := slices.BinarySearchFunc(c.started, at, func(started, at time.Time) int { return started.Compare(at) })
	return n
}

// errOdd is an answer that no state of the request explains; no kill excuses it.
var errOdd = errors.New("odd answer")

func odd(doing string, a wireAnswer) error {
	return fmt.Errorf("%w to %s: %d %s", errOdd, doing, a.status, a.body)
}
