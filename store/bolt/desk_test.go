package bolt_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"assent/approvals"
	"assent/store/bolt"
)

// office is a real desk on a real file, with one person and one agent.
type office struct {
	desk  *approvals.Desk
	store *bolt.Store
	ann   *approvals.Person
	bot   *approvals.Agent
	dir   *approvals.Directory

	mu sync.Mutex
	at time.Time
}

func (o *office) now() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.at
}

func (o *office) wait(d time.Duration) {
	o.mu.Lock()
	o.at = o.at.Add(d)
	o.mu.Unlock()
}

func newOffice(t *testing.T, before func() error) *office {
	t.Helper()
	o := &office{at: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}
	o.store = openWith(t, filepath.Join(t.TempDir(), "assent.db"), bolt.Options{Now: o.now, BeforeCommit: before})
	hub := approvals.NewHub()
	o.dir = approvals.NewDirectory(o.store, hub, 0, o.now)
	o.desk = approvals.NewDesk(approvals.DeskParts{Store: o.store, Records: o.store, Directory: o.dir, Hub: hub,
		Hash: func(secret string) []byte { sum := sha256.Sum256([]byte(secret)); return sum[:] },
		Now:  o.now, Log: slog.New(slog.DiscardHandler)})
	o.ann = &approvals.Person{ID: "ann", Name: "Ann", Locale: "en"}
	o.bot = &approvals.Agent{ID: "travel-bot", Name: "Travel Bot", Types: []string{"payment_initiation"}}
	if err := errors.Join(o.dir.SavePerson(t.Context(), o.ann), o.dir.SaveAgent(t.Context(), o.bot)); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *office) ask(ctx context.Context) (*approvals.Request, string, error) {
	details, err := approvals.BuiltinTypes().Parse([]byte(`[{"type":"payment_initiation","creditorName":"Example Travel",`+
		`"instructedAmount":{"currency":"EUR","amount":"480.00"}}]`), o.bot.MayAsk)
	if err != nil {
		return nil, "", err
	}
	return o.desk.Open(ctx, approvals.Ask{Agent: o.bot, Subject: o.ann, Scope: []string{"openid"}, Details: details})
}

func (o *office) approve(ctx context.Context, r *approvals.Request) error {
	_, err := o.desk.Approve(ctx, r.ID, approvals.Answer{By: "ann", Digest: r.Disclosures[0].Digest(), Locale: "en",
		Level: approvals.LevelPasskey, Via: "page"})
	return err
}

func (o *office) wantSteps(t *testing.T, name string, at time.Time, want int) {
	t.Helper()
	steps, err := approvals.Due(t.Context(), o.store, name, at, 100)
	if err != nil || len(steps) != want {
		t.Errorf("due %s: %v, %v, want %d", name, steps, err, want)
	}
}

func (o *office) sweep(t *testing.T, want int) {
	t.Helper()
	if n, err := o.desk.Sweep(t.Context()); n != want || err != nil {
		t.Errorf("Sweep: %d, %v, want %d", n, err, want)
	}
	if err := o.store.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestWholeLife follows a request through the desk, from the first word to the last trace, on the file.
func TestWholeLife(t *testing.T) {
	o := newOffice(t, nil)
	r, secret, err := o.ask(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	left, _, err := o.ask(t.Context()) // nobody will answer this one
	if err != nil {
		t.Fatal(err)
	}
	o.sweep(t, 0)
	if err := o.approve(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, err := o.desk.Redeem(t.Context(), "travel-bot", r.ID, secret); err != nil {
		t.Fatal(err)
	}
	o.wait(5 * time.Minute)
	o.sweep(t, 1) // left expires
	if got, err := o.store.Request(t.Context(), left.ID); err != nil || got.State != approvals.Expired {
		t.Errorf("the one nobody answered: %v, %v", got, err)
	}
	o.wait(approvals.HandleLife)
	o.sweep(t, 2) // both handles retire
	if _, err := o.desk.Look(t.Context(), "travel-bot", r.ID, secret); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("Look with a retired handle: %v, want %v", err, approvals.ErrNotFound)
	}
	o.wait(o.desk.Terms.History)
	o.sweep(t, 2) // both go
	if found, err := o.store.List(t.Context(), approvals.Query{}); err != nil || len(found) != 0 {
		t.Errorf("List: %v, %v, want nothing", found, err)
	}
	for _, name := range []string{approvals.StepExpire, approvals.StepRetire, approvals.StepPurge} {
		o.wantSteps(t, name, o.now().AddDate(100, 0, 0), 0)
	}
	if events, err := o.store.Events(t.Context(), r.ID); err != nil || len(events) != 3 {
		t.Errorf("trail: %v, %v, want pending, approved and redeemed", events, err)
	}
}

// TestDeskRace lets people decide both ways and agents redeem, all at once, many times over.
func TestDeskRace(t *testing.T) {
	o := newOffice(t, nil)
	for range 20 {
		r, secret, err := o.ask(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var redeemed, denied atomic.Int32
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { o.approve(t.Context(), r) })
			wg.Go(func() {
				if _, err := o.desk.Deny(t.Context(), r.ID, approvals.Answer{By: "ann"}); err == nil {
					denied.Add(1)
				}
			})
			wg.Go(func() {
				if _, err := o.desk.Redeem(t.Context(), "travel-bot", r.ID, secret); err == nil {
					redeemed.Add(1)
				}
			})
		}
		wg.Wait()
		if denied.Load() > 1 || redeemed.Load() > 1 || denied.Load()+redeemed.Load() > 1 {
			t.Fatalf("denied %d times and redeemed %d times", denied.Load(), redeemed.Load())
		}
	}
	o.sweep(t, 0)
}

// TestCallerGoesAway hangs up while the decision is being made durable: the desk knows of it all the same.
func TestCallerGoesAway(t *testing.T) {
	g, shut := newGate(), new(atomic.Bool)
	o := newOffice(t, func() error {
		if shut.Load() {
			return g.hold()
		}
		return nil
	})
	r, _, err := o.ask(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, hangUp := context.WithCancel(t.Context())
	shut.Store(true)
	answered := make(chan error, 1)
	go func() { answered <- o.approve(ctx, r) }()
	<-g.entered
	hangUp()
	shut.Store(false)
	g.leave <- nil
	if err := <-answered; err != nil {
		t.Errorf("Approve: %v", err)
	}
	if got, err := o.desk.Request(t.Context(), r.ID); err != nil || got.State != approvals.Approved {
		t.Errorf("the desk says %v, %v, want approved", got, err)
	}
}

// TestManyAsk opens requests from many goroutines through the desk and sweeps them all at their end.
func TestManyAsk(t *testing.T) {
	o := newOffice(t, nil)
	const n = 300
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { _, _, errs[i] = o.ask(t.Context()) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	o.wait(time.Hour)
	o.sweep(t, n)
	commits, writes := o.store.Stats()
	t.Logf("%d writes in %d commits", writes, commits)
}
