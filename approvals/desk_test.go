package approvals_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"assent/approvals"
	"assent/ciba/rowtest"
	"assent/store/bolt"
)

// office is a desk over a real store, with Ann who is asked and a bot that asks. Its clock stands until it is moved.
type office struct {
	*approvals.Desk
	t     *testing.T
	store *bolt.Store
	dir   *approvals.Directory
	hub   *approvals.Hub
	ahead atomic.Int64
}

var opening = time.Date(2027, 3, 14, 12, 0, 0, 0, time.UTC)

func (o *office) now() time.Time           { return opening.Add(time.Duration(o.ahead.Load())) }
func (o *office) wait(d time.Duration)     { o.ahead.Add(int64(d)) }
func hash(secret string) []byte            { sum := sha256.Sum256([]byte("key" + secret)); return sum[:] }
func everything(string) bool               { return true }
func sameRev(a, b *approvals.Request) bool { return a.Rev == b.Rev }

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, hub: approvals.NewHub()}
	var err error
	if o.store, err = bolt.Open(filepath.Join(t.TempDir(), "assent.db"), bolt.Options{Now: o.now}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.store.Close() })
	o.dir = approvals.NewDirectory(o.store, o.hub, 0, o.now)
	o.Desk = approvals.NewDesk(approvals.DeskParts{Store: o.store, Records: o.store, Directory: o.dir, Hub: o.hub,
		Hash: hash, Now: o.now, Log: slog.New(slog.DiscardHandler)})
	o.save(&approvals.Person{ID: "ann", Name: "Ann", Locale: "en", Zone: "Europe/Berlin", Hints: []string{"ann"}, Email: "ann@example.com"})
	o.save(&approvals.Person{ID: "bob", Name: "Bob", Locale: "ko"})
	o.saveAgent(&approvals.Agent{ID: "bot", Name: "Travel Bot", Types: []string{"payment_initiation", "tool_call"}})
	return o
}

func (o *office) save(p *approvals.Person) {
	o.t.Helper()
	if err := o.dir.SavePerson(o.t.Context(), p); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) saveAgent(a *approvals.Agent) {
	o.t.Helper()
	if err := o.dir.SaveAgent(o.t.Context(), a); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) ask(life time.Duration) (*approvals.Request, string) {
	o.t.Helper()
	return o.askWith(func(a *approvals.Ask) { a.Life = life })
}

// entering asks with a code that Ann has to type.
func (o *office) entering(code string) *approvals.Request {
	o.t.Helper()
	r, _ := o.askWith(func(a *approvals.Ask) { a.Binding, a.Enter = code, true })
	return r
}

func (o *office) askWith(change func(*approvals.Ask)) (*approvals.Request, string) {
	o.t.Helper()
	agent, err := o.dir.Agent(o.t.Context(), "bot")
	if err != nil {
		o.t.Fatal(err)
	}
	ann, err := o.dir.Person(o.t.Context(), "ann")
	if err != nil {
		o.t.Fatal(err)
	}
	details, err := o.Renderer.Types.Parse([]byte(`[{"type":"payment_initiation","instructedAmount":{"currency":"EUR","amount":"480.00"},
		"creditorName":"Example Travel"}]`), everything)
	if err != nil {
		o.t.Fatal(err)
	}
	a := approvals.Ask{Agent: agent, Subject: ann, Scope: []string{"openid"}, Details: details, Binding: "H3-91"}
	change(&a)
	r, secret, err := o.Open(o.t.Context(), a)
	if err != nil {
		o.t.Fatal(err)
	}
	return r, secret
}

// answer is what Ann's page would hand in, having shown r in English.
func (o *office) answer(r *approvals.Request) approvals.Answer {
	o.t.Helper()
	shown, err := o.Show(r, "en")
	if err != nil {
		o.t.Fatal(err)
	}
	return approvals.Answer{By: "ann", Digest: shown.Digest(), Locale: "en", Level: approvals.LevelSession, Via: "page", AuthTime: o.now()}
}

func (o *office) kinds(id approvals.ID) string {
	o.t.Helper()
	events, err := o.store.Events(o.t.Context(), id)
	if err != nil {
		o.t.Fatal(err)
	}
	var kinds []string
	for i, e := range events {
		if e.N != uint64(i+1) {
			o.t.Errorf("audit record %d has number %d", i+1, e.N)
		}
		kinds = append(kinds, e.Kind)
	}
	return fmt.Sprint(kinds)
}

func TestAnApproval(t *testing.T) {
	rowtest.Row(t, "REQ-287")
	o := newOffice(t)
	r, secret := o.ask(0)
	if r.State != approvals.Pending || !r.ExpiresAt.Equal(opening.Add(5*time.Minute)) || !r.DecideBy.Equal(opening.Add(290*time.Second)) {
		t.Fatalf("opened as %s until %v, decide by %v", r.State, r.ExpiresAt, r.DecideBy)
	}
	if _, err := o.Redeem(t.Context(), "bot", r.ID, secret); !errors.Is(err, approvals.ErrPending) {
		t.Errorf("redeem before the decision: %v", err)
	}
	approved, err := o.Approve(t.Context(), r.ID, o.answer(r))
	if err != nil {
		t.Fatal(err)
	}
	d := approved.Decisions[0]
	shown, _ := o.Show(approved, "en")
	if d.Digest != shown.Digest() || d.Disclosure != string(shown.Canonical()) || len(approved.Granted) != 1 {
		t.Errorf("decision %+v", d)
	}
	o.wait(time.Minute)
	if _, err := o.Redeem(t.Context(), "bot", r.ID, secret); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Redeem(t.Context(), "bot", r.ID, secret); !errors.Is(err, approvals.ErrRedeemed) {
		t.Errorf("second redemption: %v", err)
	}
	if got := o.kinds(r.ID); got != "[pending approved redeemed]" {
		t.Errorf("audit trail %s", got)
	}
}

// REQ-180: who does not hold the secret, or is another agent, learns nothing.
func TestLookTellsNothing(t *testing.T) {
	rowtest.Row(t, "REQ-180", "REQ-281")
	o := newOffice(t)
	r, secret := o.ask(0)
	for name, err := range map[string]error{
		"wrong secret":  second(o.Look(t.Context(), "bot", r.ID, secret+"x")),
		"no secret":     second(o.Look(t.Context(), "bot", r.ID, "")),
		"another agent": second(o.Look(t.Context(), "bat", r.ID, secret)),
		"unknown id":    second(o.Look(t.Context(), "bot", "nope", secret)),
	} {
		if err == nil || err.Error() != approvals.ErrNotFound.Error() && !errors.Is(err, approvals.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestWhatWasShownIsWhatIsApproved(t *testing.T) {
	o := newOffice(t)
	r, _ := o.ask(0)
	altered := o.answer(r)
	altered.Digest = "!" + altered.Digest[1:] // which no digest begins with
	if _, err := o.Approve(t.Context(), r.ID, altered); !errors.Is(err, approvals.ErrChanged) {
		t.Errorf("altered digest: %v", err)
	}
	other := o.answer(r)
	other.Locale = "ko" // the digest of the English page does not approve the Korean one
	if _, err := o.Approve(t.Context(), r.ID, other); !errors.Is(err, approvals.ErrChanged) {
		t.Errorf("digest of another language: %v", err)
	}
	korean, err := o.Show(r, "ko")
	if err != nil {
		t.Fatal(err)
	}
	other.Digest = korean.Digest()
	if got, err := o.Approve(t.Context(), r.ID, other); err != nil || got.Decisions[0].Locale != "ko" {
		t.Errorf("Korean page: %v", err)
	}
	if got := o.kinds(r.ID); got != "[pending refused refused approved]" {
		t.Errorf("audit trail %s", got)
	}
}

// Saying no needs no proof of what was read, and the note has a limit.
// What proves an approval is spent with it: both are written, or neither.
func TestApprovalCommitsItsProof(t *testing.T) {
	o := newOffice(t)
	spent := approvals.PutNew("proof", "one", []byte("{}"), time.Time{})
	first, _ := o.ask(0)
	a := o.answer(first)
	a.Also, a.Digest = []approvals.Write{spent}, "other"
	if _, err := o.Approve(t.Context(), first.ID, a); !errors.Is(err, approvals.ErrChanged) {
		t.Fatalf("approve other words: %v", err)
	}
	a.Digest = o.answer(first).Digest
	if _, err := o.Approve(t.Context(), first.ID, a); err != nil {
		t.Fatal(err)
	}
	second, _ := o.ask(0)
	a = o.answer(second)
	a.Also = []approvals.Write{spent}
	if _, err := o.Approve(t.Context(), second.ID, a); !errors.Is(err, approvals.ErrConflict) {
		t.Errorf("approve with a spent proof: %v", err)
	}
	if r, err := o.store.Request(t.Context(), second.ID); err != nil || r.State != approvals.Pending {
		t.Errorf("after the refusal: %v, %v", r.State, err)
	}
}

func TestDenyWithoutDigest(t *testing.T) {
	o := newOffice(t)
	r, secret := o.ask(0)
	long := approvals.Answer{By: "ann", Note: string(make([]rune, 281))}
	if _, err := o.Deny(t.Context(), r.ID, long); !errors.Is(err, approvals.ErrInvalid) {
		t.Errorf("long note: %v", err)
	}
	if _, err := o.Deny(t.Context(), r.ID, approvals.Answer{By: "ann", Note: "not this month"}); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Redeem(t.Context(), "bot", r.ID, secret); !errors.Is(err, approvals.ErrDenied) {
		t.Errorf("redeem: %v", err)
	}
}

// REQ-133: wishes are clamped and the truth is told.
func TestLifeIsClamped(t *testing.T) {
	rowtest.Row(t, "REQ-133")
	o := newOffice(t)
	for wish, want := range map[time.Duration]time.Duration{
		0: 300 * time.Second, time.Second: 10 * time.Second, 30 * time.Second: 30 * time.Second, 999 * time.Hour: 7 * 24 * time.Hour,
	} {
		if r, _ := o.ask(wish); r.ExpiresAt.Sub(r.CreatedAt) != want {
			t.Errorf("asked for %v, got %v", wish, r.ExpiresAt.Sub(r.CreatedAt))
		}
	}
	if r, _ := o.ask(30 * time.Second); r.ExpiresAt.Sub(r.DecideBy) != 6*time.Second {
		t.Errorf("a life of 30 s closes %v early, want 20 %%", r.ExpiresAt.Sub(r.DecideBy))
	}
}

// REQ-193, 194: time runs out, the handle answers for a day, then nothing is left but the trail.
func TestALifeToItsEnd(t *testing.T) {
	rowtest.Row(t, "REQ-193", "REQ-194", "REQ-291")
	o := newOffice(t)
	r, secret := o.ask(time.Minute)
	sweep := func() {
		t.Helper()
		if _, err := o.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	o.wait(time.Minute)
	if _, err := o.Redeem(t.Context(), "bot", r.ID, secret); !errors.Is(err, approvals.ErrExpired) {
		t.Errorf("expired, not swept: %v", err)
	}
	sweep()
	if got, _ := o.Request(t.Context(), r.ID); got.State != approvals.Expired {
		t.Fatalf("after the sweep: %s", got.State)
	}
	o.wait(approvals.HandleLife - time.Second)
	sweep()
	if _, err := o.Redeem(t.Context(), "bot", r.ID, secret); !errors.Is(err, approvals.ErrExpired) {
		t.Errorf("within a day: %v", err)
	}
	o.wait(2 * time.Second)
	sweep()
	if _, err := o.Redeem(t.Context(), "bot", r.ID, secret); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("after a day: %v", err)
	}
	if got, err := o.Request(t.Context(), r.ID); err != nil || len(got.SecretHash) != 0 || len(got.Disclosures) != 1 {
		t.Errorf("retired: %v %+v", err, got)
	}
	o.wait(o.Terms.History)
	sweep()
	if _, err := o.Request(t.Context(), r.ID); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("purged: %v", err)
	}
	if got := o.kinds(r.ID); got != "[pending expired]" {
		t.Errorf("audit trail %s", got)
	}
	for _, name := range []string{approvals.StepExpire, approvals.StepRetire, approvals.StepPurge} {
		if left, _ := approvals.Due(t.Context(), o.store, name, o.now().Add(10000*time.Hour), 10); len(left) > 0 {
			t.Errorf("step %s is left: %v", name, left)
		}
	}
}

// One row that cannot be read keeps nothing else from happening.
func TestSweepGoesOn(t *testing.T) {
	o := newOffice(t)
	broken := approvals.PutAny("due."+approvals.StepExpire, "0000000000000001/x", []byte("{"), time.Time{})
	if err := o.store.Apply(t.Context(), broken); err != nil {
		t.Fatal(err)
	}
	r, _ := o.ask(time.Minute)
	o.wait(time.Minute)
	if n, err := o.Sweep(t.Context()); n != 1 || err == nil {
		t.Errorf("swept %d, %v: want the good one done and the bad one named", n, err)
	}
	if got, _ := o.Request(t.Context(), r.ID); got.State != approvals.Expired {
		t.Errorf("state %s", got.State)
	}
}

// REQ-200: person or agent disabled between approval and redemption.
func TestEligibilityAtRedemption(t *testing.T) {
	rowtest.Row(t, "REQ-200")
	for name, spoil := range map[string]func(o *office){
		"person disabled": func(o *office) {
			p, _ := o.dir.Person(o.t.Context(), "ann")
			changed := *p
			changed.Disabled = true
			o.save(&changed)
		},
		"agent disabled": func(o *office) {
			a, _ := o.dir.Agent(o.t.Context(), "bot")
			changed := *a
			changed.Disabled = true
			o.saveAgent(&changed)
		},
		"agent removed": func(o *office) {
			a, _ := o.dir.Agent(o.t.Context(), "bot")
			if err := o.dir.RemoveAgent(o.t.Context(), a); err != nil {
				o.t.Fatal(err)
			}
		},
		"type withdrawn": func(o *office) {
			a, _ := o.dir.Agent(o.t.Context(), "bot")
			changed := *a
			changed.Types = []string{"tool_call"}
			o.saveAgent(&changed)
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			r, secret := o.ask(0)
			if _, err := o.Approve(t.Context(), r.ID, o.answer(r)); err != nil {
				t.Fatal(err)
			}
			spoil(o)
			if _, err := o.Redeem(t.Context(), "bot", r.ID, secret); !errors.Is(err, approvals.ErrNotEligible) {
				t.Errorf("Redeem: %v", err)
			}
			got, _ := o.Request(t.Context(), r.ID)
			if got.State != approvals.Cancelled || !errors.Is(got.Refusal(o.now()), approvals.ErrNotEligible) {
				t.Errorf("state %s, refusal %v: the id must be spent", got.State, got.Refusal(o.now()))
			}
		})
	}
}

// staleRecords hides changes of people from whoever reads through it, as a reader a moment too early would see them.
type staleRecords struct {
	approvals.Records
	person approvals.Record
}

func (s staleRecords) Get(ctx context.Context, kind, key string) (approvals.Record, error) {
	if kind == approvals.KindPerson && key == s.person.Key {
		return s.person, nil
	}
	return s.Records.Get(ctx, kind, key)
}

// REQ-200: a person disabled between the question and the commit is not redeemed for.
func TestDisabledWhileRedeeming(t *testing.T) {
	rowtest.Row(t, "REQ-200")
	o := newOffice(t)
	r, secret := o.ask(0)
	if _, err := o.Approve(t.Context(), r.ID, o.answer(r)); err != nil {
		t.Fatal(err)
	}
	before, err := o.store.Get(t.Context(), approvals.KindPerson, "ann")
	if err != nil {
		t.Fatal(err)
	}
	p, _ := o.dir.Person(t.Context(), "ann")
	changed := *p
	changed.Disabled = true
	o.save(&changed)
	early := approvals.NewDirectory(staleRecords{o.store, before}, o.hub, 0, o.now)
	desk := approvals.NewDesk(approvals.DeskParts{Store: o.store, Records: o.store, Directory: early, Hub: o.hub,
		Hash: hash, Now: o.now, Log: slog.New(slog.DiscardHandler)})
	if _, err := desk.Redeem(t.Context(), "bot", r.ID, secret); !errors.Is(err, approvals.ErrConflict) {
		t.Errorf("Redeem: %v", err)
	}
	if got, _ := o.store.Request(t.Context(), r.ID); got.State != approvals.Approved {
		t.Errorf("state %s", got.State)
	}
}

// REQ-198, 275: whatever races, one decision counts and one redemption happens.
func TestRaces(t *testing.T) {
	rowtest.Row(t, "REQ-198", "REQ-275")
	o := newOffice(t)
	for range 20 {
		r, secret := o.ask(0)
		answer := o.answer(r)
		var wg sync.WaitGroup
		var decided, redeemed atomic.Int32
		for i := range 20 {
			wg.Go(func() {
				decide := o.Approve
				if i%2 == 1 {
					decide = o.Deny
				}
				if _, err := decide(context.Background(), r.ID, answer); err == nil {
					decided.Add(1)
				}
			})
		}
		wg.Wait()
		for range 20 {
			wg.Go(func() {
				if _, err := o.Redeem(context.Background(), "bot", r.ID, secret); err == nil {
					redeemed.Add(1)
				}
			})
		}
		wg.Wait()
		final, _ := o.Request(t.Context(), r.ID)
		want := int32(1)
		if final.State == approvals.Denied {
			want = 0
		}
		if decided.Load() != 1 || redeemed.Load() != want {
			t.Fatalf("%d decisions, %d redemptions, ended %s", decided.Load(), redeemed.Load(), final.State)
		}
		stored, err := o.store.Request(t.Context(), r.ID)
		if err != nil || !sameRev(stored, final) {
			t.Fatalf("memory has revision %d, the store %d (%v)", final.Rev, stored.Rev, err)
		}
	}
}

func TestCancel(t *testing.T) {
	o := newOffice(t)
	r, secret := o.ask(0)
	if _, err := o.Approve(t.Context(), r.ID, o.answer(r)); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Cancel(t.Context(), r.ID, approvals.Actor{Kind: "person", ID: "ann"}, approvals.WithdrawnByPerson); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Redeem(t.Context(), "bot", r.ID, secret); !errors.Is(err, approvals.ErrWithdrawn) {
		t.Errorf("redeem after withdrawal: %v", err)
	}
	for range 3 {
		o.ask(0)
	}
	if n, err := o.CancelAll(t.Context(), approvals.Query{Agent: "bot", Limit: 2}, approvals.Actor{Kind: "operator"}, approvals.NotEligible); n != 3 || err != nil {
		t.Errorf("withdrew %d, %v", n, err)
	}
}

// Whoever is disabled while a request is being written is not asked, even if the one who disables looked too early.
func TestDisabledWhileAsking(t *testing.T) {
	o := newOffice(t)
	agent, _ := o.dir.Agent(t.Context(), "bot")
	before, _ := o.dir.Person(t.Context(), "ann") // what the door read
	after := *before
	after.Disabled = true
	o.save(&after)
	r, _, err := o.Open(t.Context(), approvals.Ask{Agent: agent, Subject: before})
	if !errors.Is(err, approvals.ErrNotEligible) {
		t.Fatalf("Open: %v", err)
	}
	if got, _ := o.Request(t.Context(), r.ID); got.State != approvals.Cancelled || got.Reason != approvals.NotEligible {
		t.Errorf("left %s, %s", got.State, got.Reason)
	}
}

// One agent's pending requests are bounded, and whatever ends them makes room, once.
func TestOpenRequestsAreBounded(t *testing.T) {
	o := newOffice(t)
	o.Terms.MaxOpen = 3
	agent, _ := o.dir.Agent(t.Context(), "bot")
	ann, _ := o.dir.Person(t.Context(), "ann")
	full := func() {
		t.Helper()
		if _, _, err := o.Open(t.Context(), approvals.Ask{Agent: agent, Subject: ann}); !errors.Is(err, approvals.ErrTooMany) {
			t.Fatalf("one too many: %v", err)
		}
		if err := o.Room("bot"); !errors.Is(err, approvals.ErrTooMany) {
			t.Fatalf("room: %v", err)
		}
		if err := o.Room("other"); err != nil {
			t.Fatalf("room for another: %v", err)
		}
	}
	first, _ := o.ask(time.Minute)
	second, _ := o.ask(time.Hour)
	third, _ := o.ask(time.Hour)
	full()
	if _, err := o.Approve(t.Context(), second.ID, o.answer(second)); err != nil {
		t.Fatal(err)
	}
	o.ask(time.Hour)
	full()
	o.wait(time.Minute)
	if _, err := o.Sweep(t.Context()); err != nil { // the first one expires
		t.Fatal(err)
	}
	if got, _ := o.Request(t.Context(), first.ID); got.State != approvals.Expired {
		t.Fatal(got.State)
	}
	o.ask(time.Hour)
	full()
	o.wait(time.Second)
	o.Desk = approvals.NewDesk(approvals.DeskParts{Store: o.store, Records: o.store, Directory: o.dir, Hub: o.hub,
		Hash: hash, Now: o.now, Log: slog.New(slog.DiscardHandler)})
	o.Terms.MaxOpen = 3
	for range 3 { // what was pending before a restart is not counted, and its end makes no room
		o.ask(time.Hour)
	}
	if _, err := o.Deny(t.Context(), third.ID, o.answer(third)); err != nil {
		t.Fatal(err)
	}
	full()
}

// A waiter is woken by every change, after it can be read.
func TestChangesWakeWaiters(t *testing.T) {
	o := newOffice(t)
	r, _ := o.ask(0)
	w := o.hub.Watch(string(r.ID))
	defer w.Close()
	go o.Approve(context.Background(), r.ID, o.answer(r))
	<-w.C
	if got, _ := o.Request(t.Context(), r.ID); got.State != approvals.Approved {
		t.Errorf("woken, but read %s", got.State)
	}
}

func TestDirectory(t *testing.T) {
	rowtest.Row(t, "REQ-104")
	o := newOffice(t)
	ctx := t.Context()
	find := func(names ...string) approvals.PersonID {
		p, err := o.dir.Find(ctx, names...)
		if errors.Is(err, approvals.ErrNotFound) {
			return ""
		}
		if err != nil {
			t.Fatal(err)
		}
		return p.ID
	}
	for _, name := range []string{approvals.Name("hint", "ann"), approvals.Name("email", "Ann@Example.COM"), approvals.Name("sub", "ann")} {
		if got := find(name); got != "ann" {
			t.Errorf("%s finds %q", name, got)
		}
	}
	if got := find(approvals.Name("hint", "ann"), approvals.Name("sub", "bob")); got != "" {
		t.Errorf("two people answer to it, found %q (REQ-104)", got)
	}
	if err := o.dir.SavePerson(ctx, &approvals.Person{ID: "eve", Name: "Eve", Email: "ANN@example.com"}); !errors.Is(err, approvals.ErrTaken) {
		t.Errorf("second owner of an address: %v", err)
	}
	if err := o.dir.SavePerson(ctx, &approvals.Person{ID: "ann", Name: "Another Ann"}); !errors.Is(err, approvals.ErrConflict) && !errors.Is(err, approvals.ErrTaken) {
		t.Errorf("sub used again: %v", err)
	}
	p, _ := o.dir.Person(ctx, "ann")
	moved := *p
	moved.Email, moved.Hints = "ann@example.org", nil
	o.save(&moved)
	if find(approvals.Name("email", "ann@example.com")) != "" || find(approvals.Name("hint", "ann")) != "" || find(approvals.Name("email", "ann@example.org")) != "ann" {
		t.Error("old identifiers still find, or the new one does not")
	}
	stale := *p
	stale.Name = "Anna"
	if err := o.dir.SavePerson(ctx, &stale); !errors.Is(err, approvals.ErrConflict) {
		t.Errorf("write over a change: %v", err)
	}
	if people, err := o.dir.People(ctx, "", 10); err != nil || len(people) != 2 {
		t.Errorf("%d people, %v", len(people), err)
	}
}

// What an edge keeps of an address commits with the person, or not at all.
func TestSavePersonWithRecords(t *testing.T) {
	o := newOffice(t)
	ctx := t.Context()
	p, err := o.dir.Person(ctx, "ann")
	if err != nil {
		t.Fatal(err)
	}
	first, second := *p, *p
	first.Name = "Anna"
	if err := o.dir.SavePerson(ctx, &first, approvals.PutNew("kept", "a", nil, time.Time{})); err != nil {
		t.Fatal(err)
	}
	if _, err := o.store.Get(ctx, "kept", "a"); err != nil {
		t.Errorf("record beside the person: %v", err)
	}
	if err := o.dir.SavePerson(ctx, &second, approvals.PutNew("kept", "b", nil, time.Time{})); !errors.Is(err, approvals.ErrConflict) {
		t.Errorf("over a change: %v", err)
	}
	if _, err := o.store.Get(ctx, "kept", "b"); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("record without its person: %v", err)
	}
}

// slowStore keeps whoever has made a change from hearing of it.
type slowStore struct {
	approvals.Store
	made, tell chan struct{}
}

func (s slowStore) Update(ctx context.Context, id approvals.ID, change func(*approvals.Request) error) (*approvals.Request, error) {
	r, err := s.Store.Update(ctx, id, change)
	if err == nil {
		close(s.made)
		<-s.tell
	}
	return r, err
}

// Whoever comes second sees the first one's decision, even before the first one has heard of it.
func TestLoserSeesWinner(t *testing.T) {
	o := newOffice(t)
	slow := slowStore{o.store, make(chan struct{}), make(chan struct{})}
	desk := approvals.NewDesk(approvals.DeskParts{Store: slow, Records: o.store, Directory: o.dir, Hub: o.hub, Hash: hash,
		Now: o.now, Log: slog.New(slog.DiscardHandler)})
	r, _ := o.ask(time.Minute)
	if _, err := desk.Request(t.Context(), r.ID); err != nil { // it is in memory, pending
		t.Fatal(err)
	}
	answer, won := o.answer(r), make(chan error)
	go func() {
		_, err := desk.Approve(t.Context(), r.ID, answer)
		won <- err
	}()
	<-slow.made
	if _, err := desk.Deny(t.Context(), r.ID, answer); !errors.Is(err, approvals.ErrDecided) {
		t.Errorf("second decision: %v", err)
	}
	if now, err := desk.Request(t.Context(), r.ID); err != nil || now.State != approvals.Approved {
		t.Errorf("after it the loser sees %v, %v", now, err)
	}
	close(slow.tell)
	if err := <-won; err != nil {
		t.Error(err)
	}
}

// BenchmarkOpen opens requests of one agent to one person: side by side and without a past, and one by one, hours apart,
// to a person who has decided a hundred.
func BenchmarkOpen(b *testing.B) {
	b.Run("at once", func(b *testing.B) {
		desk, ask := benchDesk(b, time.Now)
		b.ReportAllocs()
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, _, err := desk.Open(context.Background(), ask); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("hours apart", func(b *testing.B) {
		at := time.Now()
		desk, ask := benchDesk(b, func() time.Time { return at })
		for range 100 {
			r, _, err := desk.Open(b.Context(), ask)
			if err == nil {
				_, err = desk.Deny(b.Context(), r.ID, approvals.Answer{By: "ann", Level: approvals.LevelSession})
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		b.ReportAllocs()
		for b.Loop() {
			at = at.Add(time.Hour)
			if _, _, err := desk.Open(b.Context(), ask); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// benchDesk is a desk as the service wires it, with Ann and a bot that wants to pay.
func benchDesk(b *testing.B, now func() time.Time) (*approvals.Desk, approvals.Ask) {
	b.Helper()
	s, err := bolt.Open(filepath.Join(b.TempDir(), "assent.db"), bolt.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	hub := approvals.NewHub()
	dir := approvals.NewDirectory(s, hub, time.Minute, now)
	desk := approvals.NewDesk(approvals.DeskParts{Store: s, Records: s, Hub: hub, Directory: dir,
		Hash: hash, Now: now, Log: slog.New(slog.DiscardHandler), Fresh: time.Minute})
	details, err := desk.Renderer.Types.Parse([]byte(`[{"type":"payment_initiation","instructedAmount":{"currency":"EUR","amount":"480.00"},
		"creditorName":"Example Travel"}]`), everything)
	if err != nil {
		b.Fatal(err)
	}
	ask := approvals.Ask{Agent: &approvals.Agent{ID: "bot", Name: "Travel Bot"}, Subject: &approvals.Person{ID: "ann", Name: "Ann"}, Details: details}
	if err := errors.Join(dir.SaveAgent(b.Context(), ask.Agent), dir.SavePerson(b.Context(), ask.Subject)); err != nil {
		b.Fatal(err)
	}
	desk.Terms.MaxOpen = 1 << 30
	return desk, ask
}

// less is what Ann's page would hand in after a choice.
func (o *office) less(r *approvals.Request, c approvals.Choice) approvals.Answer {
	o.t.Helper()
	shown, err := o.Renderer.DiscloseNarrowed(r, c, "en")
	if err != nil {
		o.t.Fatal(err)
	}
	a := o.answer(r)
	a.Digest, a.Choice = shown.Digest(), c
	return a
}

// REQ-102: what is granted is what the narrowed page said, and nothing else is approved by it.
func TestApproveLess(t *testing.T) {
	rowtest.Row(t, "REQ-102")
	o := newOffice(t)
	r, secret := o.ask(0)
	lower := func(amount string) approvals.Choice {
		return approvals.Choice{Parts: map[int]approvals.Part{0: {Amount: amount}}}
	}
	good := o.less(r, lower("300.00"))
	for name, bad := range map[string]func(*approvals.Answer){
		"digest of the full page": func(a *approvals.Answer) { a.Digest = o.answer(r).Digest },
		"another amount":          func(a *approvals.Answer) { a.Choice = lower("301.00") },
		"no choice":               func(a *approvals.Answer) { a.Choice = approvals.Choice{} },
		"wider":                   func(a *approvals.Answer) { a.Choice = lower("480.01") },
		"another language":        func(a *approvals.Answer) { a.Locale = "ko" },
		"another person":          func(a *approvals.Answer) { a.By = "bob" },
		"too weak":                func(a *approvals.Answer) { a.Level = approvals.LevelLink },
	} {
		a := good
		bad(&a)
		if got, err := o.Approve(t.Context(), r.ID, a); err == nil {
			t.Errorf("%s: %s", name, got.State)
		}
	}
	approved, err := o.Approve(t.Context(), r.ID, good)
	if err != nil {
		t.Fatal(err)
	}
	const granted = `{"creditorName":"Example Travel","instructedAmount":{"amount":"300.00","currency":"EUR"},"type":"payment_initiation"}`
	shown, err := o.Show(approved, "en")
	if err != nil || shown.Digest() != good.Digest {
		t.Errorf("the page of the decided request is another one: %v", err)
	}
	d := approved.Decisions[0]
	if string(approved.Granted[0].Raw) != granted || d.Disclosure != string(shown.Canonical()) || d.Choice != good.Choice.String() {
		t.Errorf("granted %s, decision %+v", approved.Granted[0].Raw, d)
	}
	if _, err := o.Approve(t.Context(), r.ID, o.answer(r)); !errors.Is(err, approvals.ErrDecided) {
		t.Errorf("approved again: %v", err)
	}
	spent, err := o.Redeem(t.Context(), "bot", r.ID, secret)
	if err != nil || string(spent.Granted[0].Raw) != granted || string(spent.Requested[0].Raw) == granted {
		t.Errorf("redeemed %v of %v, %v", spent.Granted, spent.Requested, err)
	}
	events, err := o.store.Events(t.Context(), r.ID)
	at := slices.IndexFunc(events, func(e approvals.Event) bool { return e.Kind == "approved" })
	if err != nil || at < 0 || events[at].Facts["narrowed"] != "true" || events[at].Facts["digest"] != good.Digest {
		t.Errorf("%+v, %v", events, err)
	}
}

// A no from the narrowed page keeps what was on the screen, and one with a choice that means nothing is still a no.
func TestDenyFromTheNarrowedPage(t *testing.T) {
	o := newOffice(t)
	for _, amount := range []string{"300.00", "300.001"} {
		r, _ := o.ask(0)
		a := o.answer(r)
		a.Choice = approvals.Choice{Parts: map[int]approvals.Part{0: {Amount: amount}}}
		if shown, err := o.Renderer.DiscloseNarrowed(r, a.Choice, "en"); err == nil {
			a.Digest = shown.Digest()
		}
		denied, err := o.Deny(t.Context(), r.ID, a)
		if err != nil || denied.State != approvals.Denied || denied.Decisions[0].Choice != "" || len(denied.Granted) > 0 ||
			(denied.Decisions[0].Digest != "") != (amount == "300.00") {
			t.Errorf("%s: %+v, %v", amount, denied, err)
		}
	}
}

// Whoever presses both buttons at once gets one of the two, whole.
func TestApproveAllAndLessRace(t *testing.T) {
	o := newOffice(t)
	for range 20 {
		r, _ := o.ask(0)
		full, less := o.answer(r), o.less(r, approvals.Choice{Parts: map[int]approvals.Part{0: {Amount: "1.00"}}})
		var all sync.WaitGroup
		for _, a := range []approvals.Answer{full, less, full, less} {
			all.Go(func() { _, _ = o.Approve(t.Context(), r.ID, a) })
		}
		all.Wait()
		got, err := o.store.Request(t.Context(), r.ID)
		if err != nil || len(got.Decisions) != 1 {
			t.Fatalf("%d decisions, %v", len(got.Decisions), err)
		}
		lowered := string(got.Granted[0].Raw) != string(got.Requested[0].Raw)
		if lowered != (got.Decisions[0].Digest == less.Digest) || lowered != (got.Decisions[0].Choice != "") {
			t.Errorf("granted %s with the digest of the other page", got.Granted[0].Raw)
		}
	}
}

// A note has at most 280 characters, however many bytes they take, and is kept as it was written.
func TestNoteLength(t *testing.T) {
	o := newOffice(t)
	for note, ok := range map[string]bool{strings.Repeat("가", 280): true, strings.Repeat("가", 281): false,
		strings.Repeat("😀", 280): true, strings.Repeat("e\u0301", 140): true, strings.Repeat("e\u0301", 141): false, "": true} {
		r, _ := o.ask(0)
		a := o.answer(r)
		a.Note = note
		denied, err := o.Deny(t.Context(), r.ID, a)
		if (err == nil) != ok || err == nil && denied.Decisions[0].Note != note {
			t.Errorf("%d code points: %v", len([]rune(note)), err)
		}
	}
}

func TestVisibleLines(t *testing.T) {
	if got := approvals.VisibleLines("Too dear.\n\u202egnp\x1b[2J\r\n예산을 넘어요."); got != "Too dear.\n⟨U+202E⟩gnp⟨U+001B⟩[2J⟨U+000D⟩\n예산을 넘어요." {
		t.Errorf("%q", got)
	}
}
