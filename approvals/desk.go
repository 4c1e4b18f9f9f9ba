package approvals

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"
)

// Terms are the times a desk works with.
type Terms struct {
	DefaultLife time.Duration // of a request whose agent names none
	MinLife     time.Duration
	MaxLife     time.Duration
	History     time.Duration // how long facts and decisions stay after the end
	MaxOpen     int           // pending requests of one agent
	Standing    time.Duration // how long an agent may come back on one approval; 0: never
}

// DefaultTerms are 300 s, 10 s, 7 days, 400 days, 10,000 requests and 30 days.
func DefaultTerms() Terms {
	const day = 24 * time.Hour
	return Terms{300 * time.Second, 10 * time.Second, 7 * day, 400 * day, 10_000, 30 * day}
}

// Life is how long a request lives for which an agent asks this much; 0 is the default (REQ-133).
func (t Terms) Life(asked time.Duration) time.Duration {
	if asked == 0 {
		asked = t.DefaultLife
	}
	return min(max(asked, t.MinLife), t.MaxLife)
}

// Desk is where everybody goes: agents ask and collect, people decide, channels report, time runs out. Nothing else
// changes a request.
type Desk struct {
	Renderer Renderer
	Terms    Terms
	Levels   Levels       // what approving takes; the types' own levels unless set
	Ceiling  Level        // no request needs more than this to be approved; dev mode lowers it
	Reach    Level        // the most that anybody can show here; a request that needs more is refused
	Prompts  PromptLimits // none unless set

	store     Store
	records   Records
	directory *Directory
	hub       *Hub
	hash      func(secret string) []byte
	now       func() time.Time
	log       *slog.Logger
	requests  *cache[*Request]
	pairs     *cache[Pair]
	habits    *habits
	openings  openings
	prompts   prompts

	reports, suspended atomic.Uint64 // for operators to watch
}

// DeskParts is what a desk works with. All members are required but Fresh.
type DeskParts struct {
	Store     Store
	Records   Records // for the due steps
	Directory *Directory
	Hub       *Hub
	Hash      func(secret string) []byte // keyed hash of a handle's secret
	Now       func() time.Time
	Log       *slog.Logger
	Fresh     time.Duration // as in NewDirectory
}

// NewDesk returns a desk with the built-in types and [DefaultTerms].
func NewDesk(p DeskParts) *Desk {
	d := &Desk{Renderer: Renderer{Types: BuiltinTypes()}, Terms: DefaultTerms(), Ceiling: LevelPasskey, Reach: LevelPasskey,
		store: p.Store, records: p.Records, directory: p.Directory, hub: p.Hub, hash: p.Hash, now: p.Now, log: p.Log,
		requests: newCache[*Request](50_000, p.Fresh, p.Now), pairs: newCache[Pair](100_000, p.Fresh, p.Now), openings: openings{since: p.Now(), of: map[AgentID]int{}}}
	p.Hub.OnDeliver(d.requests.drop) // request ids are topics
	p.Hub.OnDeliver(d.forgetPair)
	d.habits = newHabits(p)
	return d
}

// Ask is what an agent wants. The door has authenticated the agent and resolved the person.
type Ask struct {
	Agent    *Agent
	Subject  *Person
	Scope    []string
	Audience []string
	Details  Details
	Binding  string
	Enter    bool // Binding is a code that the person types: it is kept by its hash and shown nowhere
	ACR      []string
	Level    Level         // at least this one is needed to approve; what the details demand may be more
	Life     time.Duration // 0: the default; outside the terms it is clamped (REQ-133)
	Standing bool          // the agent wants to come back without asking again, where [Desk.MayStand] lets it
	Door     json.RawMessage

	SelfRegistered bool // nobody has checked who the agent is, which the person reads

	Wake string // name of the due step that every outcome leaves for the door, at once; empty: none

	// Also makes record writes that commit with the request, once its id and secret are known. May be nil.
	Also func(r *Request, secret string) ([]Write, error)
}

// MayStand reports whether an agent may come back on an approval of these details. What is done once may not be had
// again (REQ-248).
func (d *Desk) MayStand(details Details) bool {
	once := func(detail Detail) bool { typ, _ := d.Renderer.Types.of(detail); return typ.Once }
	return d.Terms.Standing > 0 && !slices.ContainsFunc(details, once)
}

// Room returns [ErrTooMany] when the agent could not open another request now.
func (d *Desk) Room(agent AgentID) error { return d.openings.room(agent, d.Terms.MaxOpen) }

// Open writes a new pending request and returns it with its secret, which is stored nowhere. An agent that the person has
// paused or blocked gets [ErrShutOut], and one that asks too often [ErrTooOften].
func (d *Desk) Open(ctx context.Context, a Ask) (r *Request, secret string, err error) {
	at := d.now()
	in, err := d.admit(ctx, a, at)
	if err != nil {
		return nil, "", err
	}
	r, secret = d.draft(a, in.level, at)
	if err := d.consider(ctx, a, r, in.paid); err != nil {
		return nil, "", err
	}
	shown, err := d.word(r, a, in)
	if err != nil {
		return nil, "", err
	}
	if err := follow(r, a, secret); err != nil {
		return nil, "", err
	}
	if err := d.count(ctx, r, shown); err != nil {
		return nil, "", err
	}
	if err := d.store.Create(context.WithoutCancel(ctx), r); err != nil { // as in update: what is made must be told
		d.openings.give(r)
		d.prompts.give(r, at)
		return nil, "", fmt.Errorf("open request: %w", err)
	}
	d.tell(r)
	return r, secret, d.recheck(ctx, r)
}

// admitted is what an ask that may be put before its person was read as, once for all that follows.
type admitted struct {
	objects []map[string]any
	paid    []*payment
	level   Level
}

// admit reads an ask and says whether it may be put before its person at that moment.
func (d *Desk) admit(ctx context.Context, a Ask, at time.Time) (in admitted, err error) {
	if a.Agent.Disabled || a.Subject.Disabled {
		return in, ErrNotEligible
	}
	if in.objects, err = a.Details.objects(); err != nil {
		return in, err
	}
	in.paid = d.Renderer.Types.payments(a.Details, in.objects)
	if in.level, err = d.takes(a, in.paid); err != nil {
		return in, err
	}
	pair, err := d.Pair(ctx, a.Subject.ID, a.Agent.ID)
	if err != nil {
		return in, err
	}
	return in, pair.asks(at)
}

// draft makes the request of an ask, and its secret.
func (d *Desk) draft(a Ask, level Level, at time.Time) (r *Request, secret string) {
	life := d.Terms.Life(a.Life)
	salt, random := make([]byte, 16), make([]byte, 32)
	rand.Read(salt)
	rand.Read(random)
	secret = base64.RawURLEncoding.EncodeToString(random)
	r = &Request{V: 1, ID: NewID(at), State: Pending, Agent: a.Agent.ID, AgentName: a.Agent.Name, Operator: a.Agent.Operator,
		Subject: a.Subject.ID, Approvers: []PersonID{a.Subject.ID}, Rule: SubjectOnce,
		Scope: a.Scope, Audience: a.Audience, Requested: a.Details, Binding: a.Binding, ACR: a.ACR, Wake: a.Wake,
		Level:  level,
		Locale: Locale(a.Subject.Locale), Zone: zone(a.Subject.Zone), Salt: salt,
		SecretHash: d.hash(secret), Door: a.Door,
		CreatedAt: at, DecideBy: at.Add(life - min(10*time.Second, life/5)), ExpiresAt: at.Add(life)}
	if a.Standing && d.MayStand(a.Details) {
		r.Until = at.Add(min(d.Terms.Standing, d.Terms.History)) // what is forgotten cannot be come back on
	}
	return r, secret
}

// word makes what the person reads of r, and notes it in the audit record. A code that the person types is not in it.
func (d *Desk) word(r *Request, a Ask, in admitted) (shown Disclosure, err error) {
	if a.Enter {
		r.Binding = ""
		if err := d.enter(r, a.Binding); err != nil {
			return shown, err
		}
	}
	if shown, err = d.Renderer.disclose(r, in.objects, r.Locale); err != nil {
		return shown, err
	}
	r.Disclosures = []Disclosure{shown}
	r.record(string(Pending), r.CreatedAt, Actor{"agent", string(r.Agent)},
		map[string]string{"digest": shown.Digest(), factNeeds: r.Level.ACR()})
	return shown, nil
}

// follow leaves what has to come after r: its end, its messages, and what the door wants to keep.
func follow(r *Request, a Ask, secret string) error {
	r.schedule(Step{Name: StepExpire, At: r.ExpiresAt, Of: string(r.ID)})
	r.Also(Step{Name: StepDeliver, At: r.CreatedAt, Of: string(r.ID)}.Put())
	if a.Also == nil {
		return nil
	}
	writes, err := a.Also(r, secret)
	if err != nil {
		return err
	}
	r.Also(writes...)
	return nil
}

// count counts r for its person and its agent, or refuses it with [ErrTooOften] or [ErrTooMany].
func (d *Desk) count(ctx context.Context, r *Request, shown Disclosure) (err error) {
	if r.Joins, err = d.prompt(ctx, r, shown); err != nil {
		return err
	}
	if err := d.openings.take(r.Agent, d.Terms.MaxOpen); err != nil {
		d.prompts.give(r, r.CreatedAt)
		return err
	}
	return nil
}

// Approvable reports whether anybody here can be asked to approve these details: what no type is known for takes a passkey,
// and there may be none.
func (d *Desk) Approvable(details Details) bool {
	unknown := func(one Detail) bool { return one.Generic }
	return min(generic.Level, d.Ceiling) <= d.Reach || !slices.ContainsFunc(details, unknown)
}

// takes is the level that an approval takes: that of the details and of what they spend, and never less than the agent wants
// (REQ-129). What goes beyond the details, a scope or coming back, takes a sign-in, whatever an operator has lowered. What
// takes more than anybody can show here is [ErrLevel].
func (d *Desk) takes(a Ask, paid []*payment) (level Level, err error) {
	level = max(d.Levels.of(d.Renderer.Types, a.Details, paid), a.Level)
	beyond := func(scope string) bool { return scope != "openid" }
	if len(a.Details) == 0 || a.Standing || slices.ContainsFunc(a.Scope, beyond) {
		level = max(level, LevelSession)
	}
	if level = min(level, d.Ceiling); level > d.Reach {
		return level, fmt.Errorf("open a request that takes %s: %w", level.ACR(), ErrLevel)
	}
	return level, nil
}

// prompt counts r as one more that its person is asked, or refuses it with [ErrTooOften]. What this process takes for
// pending may have ended in another one, so before refusing it looks.
func (d *Desk) prompt(ctx context.Context, r *Request, shown Disclosure) (joins ID, err error) {
	if d.Prompts == (PromptLimits{}) {
		return "", nil
	}
	equal := equality(r, shown)
	if joins, err = d.prompts.take(r, equal, d.Prompts, r.CreatedAt); err == nil {
		return joins, nil
	}
	for _, id := range d.prompts.pending(r.Subject, r.Agent) {
		other, err := d.Request(ctx, id)
		if err == nil && other.StateAt(r.CreatedAt) != Pending { // one that is not there yet is being written
			d.prompts.drop(r.Subject, r.Agent, id)
		}
	}
	return d.prompts.take(r, equal, d.Prompts, r.CreatedAt)
}

// CoolUntil is until when a person is left alone by an agent after denials; zero if there were none.
func (d *Desk) CoolUntil(who PersonID, agent AgentID) time.Time {
	return d.prompts.coolUntil(who, agent)
}

// Cooling returns whom an agent has to leave alone after denials, and until when, as far as this process knows.
func (d *Desk) Cooling(agent AgentID) map[PersonID]time.Time {
	return d.prompts.cooling(agent, d.now())
}

// Joined lists the pending requests of r's agent for r's person that the messages of another one speak for, as far as this
// process knows.
func (d *Desk) Joined(r *Request) []ID { return d.prompts.joined(r) }

// recheck takes a request back whose person or agent was disabled, or whose agent was paused or blocked, while it was
// being written: whoever does that withdraws what is pending, and may have looked a moment too early.
func (d *Desk) recheck(ctx context.Context, r *Request) error {
	_, err := d.eligible(ctx, r)
	if err == nil {
		if pair, unread := d.Pair(ctx, r.Subject, r.Agent); unread == nil {
			err = pair.asks(d.now())
		}
	}
	why, gone := endOf(err)
	if !gone {
		return nil // a failed read changes nothing: redemption asks again
	}
	if _, cancelErr := d.Cancel(ctx, r.ID, Actor{Kind: "service"}, why); cancelErr != nil {
		d.log.ErrorContext(ctx, "take back a request that may not be asked", "request", r, "err", cancelErr)
	}
	return err
}

func zone(name string) string {
	if name == "" {
		return "UTC"
	}
	return name
}

// tell brings the cache up to date and wakes everybody who waits for r.
func (d *Desk) tell(r *Request, more ...string) {
	if r.Forgotten() {
		d.requests.drop(string(r.ID))
	} else {
		d.remember(r)
	}
	d.hub.Signal(append(more, string(r.ID), TopicPerson(r.Subject), TopicOutbox)...)
}

// Request returns the request as this process knows it, usually from memory. It is shared: do not change it.
func (d *Desk) Request(ctx context.Context, id ID) (*Request, error) {
	return d.requests.get(string(id), func() (*Request, error) { return d.store.Request(ctx, id) })
}

// AsOf returns the request with at least n audit records written. A handler of event n uses it: the event can arrive
// before this process's memory has caught up with the commit it tells of. The result is shared: do not change it.
func (d *Desk) AsOf(ctx context.Context, id ID, n uint64) (*Request, error) {
	r, err := d.Request(ctx, id)
	if err != nil || r.Events >= n {
		return r, err
	}
	if r, err = d.store.Request(ctx, id); err == nil {
		d.remember(r)
	}
	return r, err
}

// List returns requests, newest first, from the store.
func (d *Desk) List(ctx context.Context, q Query) ([]*Request, error) { return d.store.List(ctx, q) }

// Look returns the agent's own request to whoever holds its secret. Unknown, foreign and wrong are one [ErrNotFound].
func (d *Desk) Look(ctx context.Context, agent AgentID, id ID, secret string) (*Request, error) {
	r, err := d.Request(ctx, id)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(d.hash(secret), r.SecretHash) != 1 || r.Agent != agent {
		return nil, ErrNotFound
	}
	return r, nil
}

// update runs one change through the store and tells everybody.
func (d *Desk) update(ctx context.Context, doing string, id ID, change func(*Request) error) (*Request, error) {
	// A caller who goes away must not take the answer along: the change may be made all the same, and then memory and
	// waiters have to hear of it.
	var before State
	r, err := d.store.Update(context.WithoutCancel(ctx), id, func(r *Request) error {
		before = r.State
		return change(r)
	})
	if err != nil {
		d.catchUp(ctx, id, err)
		return nil, fmt.Errorf("%s %s: %w", doing, id, err)
	}
	if r.Kept() {
		return r, nil // no news of it
	}
	if before == Pending && r.State != Pending {
		d.openings.give(r)
		if d.Prompts != (PromptLimits{}) {
			d.prompts.end(r, d.Prompts, d.now())
		}
	}
	d.tell(r, d.learn(before, r)...)
	return r, nil
}

// learn keeps what is remembered of the person's decisions up to date. It returns the topics by which other processes
// hear that there is something new.
func (d *Desk) learn(before State, r *Request) []string {
	switch {
	case r.Forgotten():
		d.habits.drop(r.Subject)
	case before == Pending && (r.State == Approved || r.State == Denied):
		d.habits.decided(d.Renderer.Types, r)
	case before == Approved && r.State != Approved && r.State != Redeemed:
		d.habits.drop(r.Subject) // an approval that came to nothing is none
	default:
		return nil
	}
	return []string{topicHabits + string(r.Subject)}
}

// catchUp brings memory up to date after a refusal: whoever was faster may not have told yet, and the one who came second
// must not go on reading what was before.
func (d *Desk) catchUp(ctx context.Context, id ID, refusal error) {
	if errors.Is(refusal, ErrUnavailable) || errors.Is(refusal, ErrNotFound) {
		return
	}
	if r, err := d.store.Request(ctx, id); err == nil {
		d.remember(r)
	}
}

// remember keeps r unless memory holds a later revision.
func (d *Desk) remember(r *Request) {
	d.requests.set(string(r.ID), r, func(old *Request) bool { return old.Rev > r.Rev })
}

// Answer is a person's decision as a page or a simulator hands it in.
type Answer struct {
	By        PersonID
	Digest    string // of the disclosure on the screen
	Locale    string // its language
	Level     Level  // how the person is signed in
	AMR       []string
	AuthTime  time.Time
	Via       string
	Device    string
	Note      string // at most 280 characters, for the agent
	Choice    Choice // what is taken away before approving; the disclosure on the screen was the narrowed one
	Code      string // that the person typed, where the request takes one
	Confirmed bool   // a passkey confirmed these very words
	Simulated bool
	Also      []Write // commit with an approval: what proves it is spent with it
	Proof     json.RawMessage
}

// maxNote is the longest note, in code points.
const maxNote = 280

// Show returns the disclosure of r in a language: the stored one, or the same facts in the other language. Once less was
// approved than was asked, it is that of what was approved.
func (d *Desk) Show(r *Request, locale string) (Disclosure, error) {
	if c := r.Choice(); !c.Empty() {
		return d.Renderer.DiscloseNarrowed(r, c, locale)
	}
	for _, shown := range r.Disclosures {
		if shown.Locale == Locale(locale) {
			return shown, nil
		}
	}
	return d.Renderer.Disclose(r, locale)
}

// Approve decides yes. What was on the screen must be what the request says now, or it is [ErrChanged]. A request whose
// agent the person has blocked meanwhile is withdrawn: [ErrDecided]. A code that the person has to type must be right, or
// it is [ErrCode], which is written as well: it is one try less. What does not count leaves an audit record ([KindRefused]).
func (d *Desk) Approve(ctx context.Context, id ID, a Answer) (*Request, error) {
	r, err := d.approve(ctx, id, a)
	if err != nil {
		d.noteRefusal(ctx, id, a.By, err)
	}
	return r, err
}

func (d *Desk) approve(ctx context.Context, id ID, a Answer) (*Request, error) {
	if err := d.unblocked(ctx, id); err != nil {
		return nil, fmt.Errorf("approve %s: %w", id, err)
	}
	at := d.now()
	var missed error
	r, err := d.update(ctx, "approve", id, func(r *Request) error {
		missed = nil
		if err := r.decidable(a.By, at); err != nil { // before the digest: what is shown of an approval may be less
			return err
		}
		decision, err := d.decision(r, a)
		if err == nil {
			err = r.approvable(decision, at)
		}
		if err != nil {
			return err
		}
		if err = d.typed(r, a); errors.Is(err, ErrCode) {
			err = r.miss(a, at)
			missed = r.missed()
			return err
		}
		if err != nil {
			return err
		}
		r.Also(a.Also...)
		return d.grant(r, decision, a.Choice, at)
	})
	if err == nil && missed != nil {
		return nil, fmt.Errorf("approve %s: %w", id, missed)
	}
	return r, err
}

// grant approves, with what is granted: all that was asked, or what a choice leaves of it.
func (d *Desk) grant(r *Request, decision Decision, c Choice, at time.Time) error {
	if c.Empty() {
		return r.Approve(decision, at)
	}
	n, err := d.Renderer.Narrow(r, c)
	if err != nil {
		return err
	}
	decision.Choice = c.String()
	if err := r.Approve(decision, at); err != nil {
		return err
	}
	if r.State == Approved {
		r.limit(n)
	}
	return nil
}

// Deny decides no. An empty digest is accepted: saying no needs no proof of what was read.
func (d *Desk) Deny(ctx context.Context, id ID, a Answer) (*Request, error) {
	return d.deny(ctx, id, a, false)
}

func (d *Desk) deny(ctx context.Context, id ID, a Answer, reported bool, also ...Write) (*Request, error) {
	if n := len([]rune(a.Note)); n > maxNote {
		return nil, invalid("note", "must not be longer than %d characters", maxNote)
	}
	at := d.now()
	return d.update(ctx, "deny", id, func(r *Request) error {
		decision, err := d.decision(r, a)
		if errors.Is(err, ErrChanged) || errors.Is(err, ErrInvalid) {
			decision.Digest, decision.Disclosure, err = "", "", nil
		}
		if err != nil {
			return err
		}
		decision.Reported = reported
		r.Also(also...)
		return r.Deny(decision, at)
	})
}

func (d *Desk) decision(r *Request, a Answer) (Decision, error) {
	out := Decision{By: a.By, Level: a.Level, AMR: a.AMR, AuthTime: a.AuthTime, Via: a.Via, Device: a.Device,
		Locale: Locale(a.Locale), Note: a.Note, Simulated: a.Simulated, Proof: a.Proof}
	shown, err := d.onScreen(r, a)
	if err != nil {
		return out, err
	}
	if shown.Digest() != a.Digest {
		return out, ErrChanged
	}
	out.Digest, out.Disclosure = a.Digest, string(shown.Canonical())
	return out, nil
}

// onScreen is what the answer is about.
func (d *Desk) onScreen(r *Request, a Answer) (Disclosure, error) {
	if a.Choice.Empty() {
		return d.Show(r, a.Locale)
	}
	return d.Renderer.DiscloseNarrowed(r, a.Choice, a.Locale)
}

// Opened notes that the person, who is signed in since that time, has opened the page by a human step.
func (d *Desk) Opened(ctx context.Context, id ID, by PersonID, signedIn time.Time) error {
	r, err := d.Request(ctx, id)
	if err != nil || !r.OpenedAt.IsZero() || r.State != Pending {
		return err
	}
	at := d.now()
	_, err = d.update(ctx, "open", id, func(r *Request) error {
		r.Open(by, signedIn, at)
		return nil
	})
	return err
}

// Record adds a channel's report, with record writes that commit with it.
func (d *Desk) Record(ctx context.Context, id ID, report Delivery, also ...Write) (*Request, error) {
	return d.update(ctx, "record delivery of", id, func(r *Request) error {
		r.Also(also...)
		return r.Record(report)
	})
}

// Hold makes record writes on condition that the request still waits for a decision that can be yes, in one transaction:
// a claim made through it never comes after a decision. Otherwise it is [ErrDecided] or [ErrTooLate] and nothing is
// written.
func (d *Desk) Hold(ctx context.Context, id ID, also ...Write) (*Request, error) {
	at := d.now()
	return d.update(ctx, "hold", id, func(r *Request) error {
		switch s := r.StateAt(at); {
		case s != Pending:
			return fmt.Errorf("%w: %w", ErrDecided, s.refusal())
		case !at.Before(r.DecideBy):
			return ErrTooLate
		}
		r.Also(also...)
		r.Keep()
		return nil
	})
}

// Cancel withdraws a request, pending or approved, as long as nothing has been redeemed.
func (d *Desk) Cancel(ctx context.Context, id ID, by Actor, why Reason) (*Request, error) {
	at := d.now()
	return d.update(ctx, "cancel", id, func(r *Request) error { return r.Cancel(by, why, at) })
}

// CancelAll withdraws every pending request that q selects and returns how many: what happens when a person or an agent
// is disabled (REQ-036).
func (d *Desk) CancelAll(ctx context.Context, q Query, by Actor, why Reason) (int, error) {
	return d.cancelIn(ctx, Pending, q, by, why)
}

// cancelIn withdraws what q selects in one state.
func (d *Desk) cancelIn(ctx context.Context, state State, q Query, by Actor, why Reason) (int, error) {
	q.States = []State{state}
	done := 0
	for {
		page, err := d.store.List(ctx, q)
		if err != nil || len(page) == 0 {
			return done, err
		}
		for _, r := range page {
			_, err := d.Cancel(ctx, r.ID, by, why)
			switch {
			case err == nil:
				done++
			case !errors.Is(err, ErrDecided): // decided in between: nothing to withdraw
				return done, err
			}
			q.Before = r.ID
		}
	}
}

// Fail ends a request that could not be put before anybody.
func (d *Desk) Fail(ctx context.Context, id ID, why Reason, also ...Write) (*Request, error) {
	at := d.now()
	return d.update(ctx, "fail", id, func(r *Request) error {
		r.Also(also...)
		return r.Fail(why, at)
	})
}
