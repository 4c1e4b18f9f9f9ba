package main

import (
	"context"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/approvals"
	"assent/store"
)

// ownPool gives every caller connections that nobody shares.
func ownPool(timeout time.Duration) *http.Client {
	return &http.Client{Transport: &http.Transport{}, Timeout: timeout}
}

// audit counts the audit records of a stopped service's request by kind, after a full check of its store.
type audit struct{ db store.Store }

func openAudit(t *testing.T, data string) audit {
	t.Helper()
	db, err := store.Open(t.Context(), "bolt:"+filepath.Join(data, "assent.db"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := db.Check(t.Context()); err != nil {
		t.Error(err)
	}
	return audit{db}
}

func (a audit) kinds(t *testing.T, handle string) map[approvals.State]int {
	t.Helper()
	id, _, _ := strings.Cut(handle, ".")
	events, err := a.db.Events(t.Context(), approvals.ID(id))
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[approvals.State]int{}
	for _, e := range events {
		kinds[approvals.State(e.Kind)]++
	}
	return kinds
}

// A hundred agents on a hundred connections redeem one approval: one gets the tokens (REQ-198).
func TestRaceRedeem(t *testing.T) {
	t.Parallel()
	row(t, "REQ-198")
	const rivals = 100
	rounds := 5
	if *long {
		rounds = 100
	}
	data := newData(t)
	p := restartDev(t, data)
	pools := make([]*agentHTTP, rivals)
	for i := range pools {
		pools[i] = bot(p.issuer)
		pools[i].http = ownPool(startTime)
		must(t, 400)(pools[i].poll(t.Context(), "nobody", nil)) // the connection stands before the race
	}
	var handles []string
	for range rounds {
		id := must(t, 200)(pools[0].ask(t.Context(), nil, nil)).member("auth_req_id")
		must(t, 204)(devDecide(t.Context(), pools[0].http, p.pages, id, true))
		raceRedeem(t, pools, id)
		handles = append(handles, id)
	}
	if err := p.stop(); err != nil {
		t.Fatalf("stop: %v\n%s", err, p.log())
	}
	trail := openAudit(t, data)
	for _, id := range handles {
		if kinds := trail.kinds(t, id); kinds[approvals.Redeemed] != 1 || kinds[approvals.Approved] != 1 {
			t.Errorf("%s: audit records %v", id, kinds)
		}
	}
	t.Logf("%d rounds of %d redemptions", rounds, rivals)
}

func raceRedeem(t *testing.T, pools []*agentHTTP, id string) {
	t.Helper()
	answers := make(chan wireAnswer, len(pools))
	start := make(chan struct{})
	var running sync.WaitGroup
	for _, agent := range pools {
		running.Go(func() {
			<-start
			a, err := agent.poll(t.Context(), id, nil)
			if err != nil {
				t.Error(err)
			}
			answers <- a
		})
	}
	close(start)
	running.Wait()
	close(answers)
	won := 0
	for a := range answers {
		switch {
		case a.status == http.StatusOK:
			won++
		case a.status != http.StatusBadRequest || a.member("error") != "invalid_grant":
			t.Errorf("loser: %d %s", a.status, a.body)
		}
	}
	if won != 1 {
		t.Errorf("%s was redeemed %d times", id, won)
	}
}

// duel is Ann with two browsers that disagree, and the agent that asked her.
type duel struct {
	t       *testing.T
	data    string
	process *process
	agent   *agentHTTP
	devices map[string]*browser // by the button they press
}

// Approve against deny on two browsers: one decision is made, the loser's page shows it, and the agent is told the same.
// In every tenth round the service is killed meanwhile.
func TestRaceDecide(t *testing.T) {
	t.Parallel()
	rounds := 100
	if *long {
		rounds = 1000
	}
	d := newDuel(t)
	wins, kills := map[string]int{}, 0
	var handles []string
	for n := range rounds {
		id := d.ask()
		kill := n%10 == 9
		if kill {
			kills++
		}
		wins[d.fight(id, kill)]++
		handles = append(handles, id)
		if t.Failed() {
			t.Fatalf("in round %d", n+1)
		}
	}
	if err := d.process.stop(); err != nil {
		t.Fatalf("stop: %v\n%s", err, d.process.log())
	}
	trail := openAudit(t, d.data)
	for _, id := range handles {
		kinds := trail.kinds(t, id)
		if kinds[approvals.Approved]+kinds[approvals.Denied] != 1 || kinds[approvals.Redeemed] != kinds[approvals.Approved] {
			t.Errorf("%s: audit records %v", id, kinds)
		}
	}
	t.Logf("%d rounds, %d kills: %v", rounds, kills, wins)
}

func newDuel(t *testing.T) *duel {
	d := &duel{t: t, data: newData(t), devices: map[string]*browser{}}
	d.start()
	d.ask()
	for _, button := range []string{"/approve", "/deny"} {
		b := newBrowser()
		b.http.Transport = &http.Transport{}
		if err := b.openOnPhone(t.Context(), d.process.pages, "u_ann", startTime); err != nil {
			t.Fatal(err)
		}
		d.devices[button] = b
	}
	return d
}

func (d *duel) start() {
	d.t.Helper()
	d.process = restartDev(d.t, d.data)
	d.agent = bot(d.process.issuer)
	d.agent.http = ownPool(startTime)
}

func (d *duel) ask() string {
	d.t.Helper()
	return must(d.t, http.StatusOK)(d.agent.ask(d.t.Context(), nil, nil)).member("auth_req_id")
}

// show opens the request on a device and returns what its page says.
func (d *duel) show(b *browser, id string) string {
	d.t.Helper()
	id, _, _ = strings.Cut(id, ".")
	if err := b.open(d.t.Context(), d.process.pages+"/requests/"+id); err != nil {
		d.t.Fatal(err)
	}
	return b.page.verdict()
}

// fight lets both devices press at once and returns the verdict that everybody agrees on.
func (d *duel) fight(id string, kill bool) string {
	d.t.Helper()
	for button, b := range d.devices {
		if got := d.show(b, id); got != "open" {
			d.t.Fatalf("before %s the page says %q: %s", button, got, b.page.visible())
		}
	}
	seen := d.press(kill)
	if kill {
		d.process.kill()
		d.start()
		seen = d.afterKill(id)
	}
	if seen["/approve"] != seen["/deny"] || seen["/deny"] != "approved" && seen["/deny"] != "denied" {
		for button, b := range d.devices {
			d.t.Errorf("%s: after %s the page says %s: %s", id, button, seen[button], b.page.visible())
		}
	}
	verdict := seen["/deny"]
	d.collect(id, verdict)
	return verdict
}

// press returns what each device shows after its press; after a kill there may be nothing.
func (d *duel) press(kill bool) map[string]string {
	ctx := context.Background()
	var mu sync.Mutex
	seen := map[string]string{}
	start := make(chan struct{})
	var running sync.WaitGroup
	for button, b := range d.devices {
		running.Go(func() {
			<-start
			err := b.press(ctx, button, nil)
			if err != nil && !kill {
				d.t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				seen[button] = b.page.verdict()
			}
		})
	}
	close(start)
	if kill {
		<-time.After(time.Duration(rand.IntN(8)) * time.Millisecond)
		d.process.kill()
	}
	running.Wait()
	return seen
}

// afterKill looks again on both devices. If neither press was taken, the one who denies presses once more.
func (d *duel) afterKill(id string) map[string]string {
	d.t.Helper()
	if b := d.devices["/deny"]; d.show(b, id) == "open" {
		if err := b.press(d.t.Context(), "/deny", nil); err != nil {
			d.t.Fatal(err)
		}
	}
	seen := map[string]string{}
	for button, b := range d.devices {
		seen[button] = d.show(b, id)
	}
	return seen
}

// collect expects that the agent is told what the pages show.
func (d *duel) collect(id, verdict string) {
	d.t.Helper()
	a, err := d.agent.poll(d.t.Context(), id, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	told := map[string]string{"": "approved", "access_denied": "denied"}[a.member("error")]
	if told != verdict {
		d.t.Errorf("%s: the pages say %s, the agent heard %d %s", id, verdict, a.status, a.body)
	}
}
