package approvals_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"assent/approvals"
	"assent/ciba/rowtest"
)

// open asks Ann on behalf of the bot.
func (o *office) open(change ...func(*approvals.Ask)) (*approvals.Request, string, error) {
	o.t.Helper()
	agent, err := o.dir.Agent(o.t.Context(), "bot")
	if err != nil {
		o.t.Fatal(err)
	}
	ann, err := o.dir.Person(o.t.Context(), "ann")
	if err != nil {
		o.t.Fatal(err)
	}
	a := approvals.Ask{Agent: agent, Subject: ann, Scope: []string{"openid"}}
	for _, c := range change {
		c(&a)
	}
	return o.Open(o.t.Context(), a)
}

// another makes Bob or another agent a part of what is asked.
func (o *office) another(who approvals.PersonID, agent approvals.AgentID) func(*approvals.Ask) {
	return func(a *approvals.Ask) {
		o.t.Helper()
		var err1, err2 error
		a.Subject, err1 = o.dir.Person(o.t.Context(), who)
		a.Agent, err2 = o.dir.Agent(o.t.Context(), agent)
		if err := errors.Join(err1, err2); err != nil {
			o.t.Fatal(err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestPair is REQ-266: what a person has said about an agent holds for this pair, until it is taken back or over.
func TestPair(t *testing.T) {
	rowtest.Row(t, "REQ-266")
	tests := []struct {
		name string
		act  func(o *office) error
		want error
	}{
		{name: "nothing said", act: func(*office) error { return nil }},
		{name: "paused", act: (*office).pause, want: approvals.ErrShutOut},
		{name: "pause over", act: func(o *office) error { defer o.wait(time.Hour); return o.pause() }},
		{name: "pause almost over", act: func(o *office) error { defer o.wait(time.Hour - 1); return o.pause() }, want: approvals.ErrShutOut},
		{name: "resumed", act: func(o *office) error { return errors.Join(o.pause(), o.Resume(o.t.Context(), "ann", "bot")) }},
		{name: "resumed without a pause", act: func(o *office) error { return o.Resume(o.t.Context(), "ann", "bot") }},
		{name: "disconnected", act: (*office).disconnect, want: approvals.ErrShutOut},
		{name: "disconnected for ever", act: func(o *office) error { defer o.wait(1000 * time.Hour); return o.disconnect() }, want: approvals.ErrShutOut},
		{name: "disconnected, pause resumed", act: func(o *office) error {
			return errors.Join(o.pause(), o.disconnect(), o.Resume(o.t.Context(), "ann", "bot"))
		}, want: approvals.ErrShutOut},
		{name: "reconnected", act: func(o *office) error { return errors.Join(o.disconnect(), o.Reconnect(o.t.Context(), "ann", "bot")) }},
		{name: "reconnected, still paused", act: func(o *office) error {
			return errors.Join(o.pause(), o.disconnect(), o.Reconnect(o.t.Context(), "ann", "bot"))
		}, want: approvals.ErrShutOut},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newOffice(t)
			o.saveAgent(&approvals.Agent{ID: "other", Name: "Other"})
			must(t, tt.act(o))
			if _, _, err := o.open(); !errors.Is(err, tt.want) {
				t.Errorf("Open: %v, want %v", err, tt.want)
			}
			for _, pair := range []struct {
				who   approvals.PersonID
				agent approvals.AgentID
			}{{"bob", "bot"}, {"ann", "other"}} {
				if _, _, err := o.open(o.another(pair.who, pair.agent)); err != nil {
					t.Errorf("%s and %s: %v", pair.who, pair.agent, err)
				}
			}
		})
	}
}

func (o *office) pause() error {
	return o.Pause(o.t.Context(), "ann", "bot", o.now().Add(time.Hour))
}

func (o *office) disconnect() error { return o.Disconnect(o.t.Context(), "ann", "bot") }

// had is what an agent has of Ann at some moment, one of each kind, and what the same things of others are.
type had struct {
	pending, approved, standing  approvals.ID
	secret                       string // of approved
	theirs                       approvals.ID
	denied, redeemedOnce, others approvals.ID
}

func (o *office) have() had {
	t := o.t
	t.Helper()
	o.saveAgent(&approvals.Agent{ID: "other", Name: "Other"})
	var h had
	open := func(change ...func(*approvals.Ask)) (approvals.ID, string) {
		r, secret, err := o.open(change...)
		must(t, err)
		return r.ID, secret
	}
	h.pending, _ = open()
	h.approved, h.secret = open()
	r, err := o.Request(t.Context(), h.approved)
	must(t, err)
	_, err = o.Approve(t.Context(), h.approved, o.answer(r))
	must(t, err)
	h.standing, h.redeemedOnce = o.redeemed(t, true), o.redeemed(t, false)
	h.denied, _ = open()
	r, err = o.Request(t.Context(), h.denied)
	must(t, err)
	_, err = o.Deny(t.Context(), h.denied, o.answer(r))
	must(t, err)
	h.theirs, _ = open(o.another("bob", "bot"))
	h.others, _ = open(o.another("ann", "other"))
	return h
}

// over checks that nothing of the pair is left and that nobody else's is touched.
func (h had) over(o *office) {
	t := o.t
	t.Helper()
	for id, want := range map[approvals.ID]approvals.State{h.pending: approvals.Cancelled, h.approved: approvals.Cancelled,
		h.denied: approvals.Denied, h.standing: approvals.Redeemed, h.redeemedOnce: approvals.Redeemed,
		h.theirs: approvals.Pending, h.others: approvals.Pending} {
		r, err := o.store.Request(t.Context(), id)
		must(t, err)
		if r.State != want || want == approvals.Cancelled && r.Reason != approvals.ShutOut {
			t.Errorf("%s is %s (%s), want %s", id, r.State, r.Reason, want)
		}
		if revoked := !r.RevokedAt.IsZero(); revoked != (id == h.standing) {
			t.Errorf("%s revoked: %v", id, revoked)
		}
	}
	if _, err := o.Redeem(t.Context(), "bot", h.approved, h.secret); !errors.Is(err, approvals.ErrWithdrawn) {
		t.Errorf("redeem after the block: %v", err)
	}
	if _, err := o.Renew(t.Context(), h.standing); !errors.Is(err, approvals.ErrWithdrawn) {
		t.Errorf("come back after the block: %v", err)
	}
	if _, _, err := o.open(); !errors.Is(err, approvals.ErrShutOut) {
		t.Errorf("ask after the block: %v", err)
	}
	steps, err := approvals.Due(t.Context(), o.store, approvals.StepPair, o.now(), 10)
	if len(steps) > 0 || err != nil {
		t.Errorf("steps are left: %v, %v", steps, err)
	}
}

// TestDisconnect: everything that the agent has of this person ends, and nothing else does. Again is no error.
func TestDisconnect(t *testing.T) {
	o := newOffice(t)
	h := o.have()
	for range 2 {
		must(t, o.disconnect())
		h.over(o)
	}
	must(t, o.Reconnect(t.Context(), "ann", "bot"))
	if _, _, err := o.open(); err != nil {
		t.Errorf("ask after connecting again: %v", err)
	}
	if _, err := o.Redeem(t.Context(), "bot", h.approved, h.secret); !errors.Is(err, approvals.ErrWithdrawn) {
		t.Errorf("what was withdrawn came back: %v", err)
	}
}

// TestBlockedAtTheDoor: between the block and the end of the work nothing leaves: neither tokens nor renewals.
func TestBlockedAtTheDoor(t *testing.T) {
	o := newOffice(t)
	h := o.have()
	b := o.beside(brittle{writes: 1})
	if err := b.Disconnect(t.Context(), "ann", "bot"); !errors.Is(err, approvals.ErrUnavailable) {
		t.Fatalf("the store did not fail: %v", err)
	}
	if _, err := b.Renew(t.Context(), h.standing); !errors.Is(err, approvals.ErrWithdrawn) {
		t.Errorf("come back: %v", err)
	}
	again := o.beside(brittle{writes: 1000})
	if _, err := again.Redeem(t.Context(), "bot", h.approved, h.secret); !errors.Is(err, approvals.ErrWithdrawn) {
		t.Errorf("redeem: %v", err)
	}
	if r, err := o.store.Request(t.Context(), h.approved); err != nil || r.Reason != approvals.ShutOut {
		t.Errorf("after the redemption: %s (%s), %v", r.State, r.Reason, err)
	}
}

// TestDisconnectCrash: whatever write is the last one before a crash, the next start brings the rest to its end; and
// before the first one nothing has happened.
func TestDisconnectCrash(t *testing.T) {
	for last := range 6 {
		t.Run(fmt.Sprint(last), func(t *testing.T) {
			o := newOffice(t)
			h := o.have()
			err := o.beside(brittle{writes: int64(last)}).Disconnect(t.Context(), "ann", "bot")
			if last == 5 {
				must(t, err) // the block, three ends, and the step that is done
			} else if !errors.Is(err, approvals.ErrUnavailable) {
				t.Fatalf("the store did not fail: %v", err)
			}
			o.Desk = o.beside(brittle{writes: 1000}) // a new start
			if last == 0 {
				if _, _, err := o.open(); err != nil {
					t.Errorf("nothing was written, and yet: %v", err)
				}
				return
			}
			_, err = o.Sweep(t.Context())
			must(t, err)
			h.over(o)
		})
	}
}

// TestBlockedAtTheClick: a yes that comes after the block is none, wherever the work that the block brings has got to.
func TestBlockedAtTheClick(t *testing.T) {
	o := newOffice(t)
	h := o.have()
	b := o.beside(brittle{writes: 1})
	if err := b.Disconnect(t.Context(), "ann", "bot"); !errors.Is(err, approvals.ErrUnavailable) {
		t.Fatalf("the store did not fail: %v", err)
	}
	o.Desk = o.beside(brittle{writes: 1000})
	r, err := o.Request(t.Context(), h.pending)
	must(t, err)
	if _, err := o.Approve(t.Context(), h.pending, o.answer(r)); !errors.Is(err, approvals.ErrDecided) {
		t.Errorf("Approve: %v", err)
	}
	if r, err = o.store.Request(t.Context(), h.pending); err != nil || r.State != approvals.Cancelled || r.Reason != approvals.ShutOut {
		t.Errorf("%s (%s), %v", r.State, r.Reason, err)
	}
}

// brittle is how many writes a store makes before it fails; reads do not count.
type brittle struct{ writes int64 }

type brittleStore struct {
	approvals.Store
	approvals.Records
	left  atomic.Int64
	reads atomic.Int64
}

func (b *brittleStore) may() error {
	if b.left.Add(-1) < 0 {
		return approvals.ErrUnavailable
	}
	return nil
}

func (b *brittleStore) Create(ctx context.Context, r *approvals.Request) error {
	return errors.Join(b.may(), b.Store.Create(ctx, r))
}

func (b *brittleStore) Update(ctx context.Context, id approvals.ID, change func(*approvals.Request) error) (*approvals.Request, error) {
	if err := b.may(); err != nil {
		return nil, err
	}
	return b.Store.Update(ctx, id, change)
}

func (b *brittleStore) Apply(ctx context.Context, writes ...approvals.Write) error {
	if err := b.may(); err != nil {
		return err
	}
	return b.Records.Apply(ctx, writes...)
}

func (b *brittleStore) Get(ctx context.Context, kind, key string) (approvals.Record, error) {
	b.reads.Add(1)
	return b.Records.Get(ctx, kind, key)
}

// beside is another desk over the same store, as after a new start.
func (o *office) beside(b brittle) *approvals.Desk {
	desk, _ := o.counted(b)
	return desk
}

func (o *office) counted(b brittle) (*approvals.Desk, *brittleStore) {
	through := &brittleStore{Store: o.store, Records: o.store}
	through.left.Store(b.writes)
	o.dir = approvals.NewDirectory(through, o.hub, 0, o.now)
	return approvals.NewDesk(approvals.DeskParts{Store: through, Records: through, Directory: o.dir, Hub: o.hub,
		Hash: hash, Now: o.now, Log: slog.New(slog.DiscardHandler)}), through
}

// TestOpenReadsNoPair: once this process knows the pair, asking reads no record, and it never writes one.
func TestOpenReadsNoPair(t *testing.T) {
	o := newOffice(t)
	desk, through := o.counted(brittle{writes: 1000})
	o.Desk = desk
	_, _, err := o.open()
	must(t, err)
	before := through.reads.Load()
	_, _, err = o.open()
	must(t, err)
	if n := through.reads.Load() - before; n != 0 {
		t.Errorf("%d records read", n)
	}
	if found, err := o.store.Scan(t.Context(), approvals.KindPair, "", 10); len(found) > 0 || err != nil {
		t.Errorf("pairs were written: %v, %v", found, err)
	}
}

// TestDisconnectRace: nothing that is asked for while the person disconnects the agent stays.
func TestDisconnectRace(t *testing.T) {
	o := newOffice(t)
	if _, _, err := o.open(); err != nil { // warm
		t.Fatal(err)
	}
	var asking sync.WaitGroup
	begin := make(chan struct{})
	for range 16 {
		asking.Go(func() {
			<-begin
			for range 4 {
				if _, _, err := o.open(); err != nil && !errors.Is(err, approvals.ErrShutOut) {
					t.Errorf("Open: %v", err)
				}
			}
		})
	}
	asking.Go(func() {
		<-begin
		if err := o.disconnect(); err != nil {
			t.Error(err)
		}
	})
	close(begin)
	asking.Wait()
	left, err := o.store.List(t.Context(), approvals.Query{Person: "ann", States: []approvals.State{approvals.Pending}})
	if len(left) > 0 || err != nil {
		t.Errorf("%d requests are left, %v", len(left), err)
	}
}

// TestPairElsewhere: what another process writes is heard of through the hub.
func TestPairElsewhere(t *testing.T) {
	o := newOffice(t)
	if _, _, err := o.open(); err != nil {
		t.Fatal(err)
	}
	hub := approvals.NewHub()
	hub.Mirror(func(topics []string) { o.hub.Deliver(topics...) })
	other := approvals.NewDesk(approvals.DeskParts{Store: o.store, Records: o.store, Directory: o.dir, Hub: hub,
		Hash: hash, Now: o.now, Log: slog.New(slog.DiscardHandler)})
	must(t, other.Pause(t.Context(), "ann", "bot", o.now().Add(time.Hour)))
	if _, _, err := o.open(); !errors.Is(err, approvals.ErrShutOut) {
		t.Errorf("Open: %v", err)
	}
}

// TestPairConcurrently: what is said at the same time is all kept.
func TestPairConcurrently(t *testing.T) {
	o := newOffice(t)
	var saying sync.WaitGroup
	for _, say := range []func() error{o.pause, o.disconnect} {
		saying.Go(func() {
			if err := say(); err != nil {
				t.Error(err)
			}
		})
	}
	saying.Wait()
	p, err := o.Pair(t.Context(), "ann", "bot")
	if err != nil || !p.Paused(o.now()) || !p.Blocked() {
		t.Errorf("%+v, %v", p, err)
	}
	list, err := o.Pairs(t.Context(), "ann", 10)
	if err != nil || len(list) != 1 || list[0] != p {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestFirstID lies between the ids of before and those from then on.
func TestFirstID(t *testing.T) {
	at := opening
	if first := approvals.FirstID(at); approvals.NewID(at.Add(-time.Millisecond)) >= first || approvals.NewID(at) < first {
		t.Errorf("%s is out of place", first)
	}
}
