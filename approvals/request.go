package approvals

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// ID names a request: 26 characters, time-ordered, no secret. It appears in the audit trail and as txn in tokens.
type ID string

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewID makes an id from 48 bits of milliseconds and 80 random bits, so that ids of one time lie together in a store.
func NewID(at time.Time) ID {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(at.UnixMilli())<<16)
	rand.Read(b[6:]) // never fails: crypto/rand crashes the program instead
	return ID(idEncoding.EncodeToString(b[:]))
}

// FirstID is not greater than any id that was made from that moment on, and greater than those from before its millisecond.
func FirstID(at time.Time) ID {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(at.UnixMilli())<<16)
	return ID(idEncoding.EncodeToString(b[:]))
}

// Ref is the short name that people compare and say aloud, such as "K7-42". It is not unique and grants nothing.
func (id ID) Ref() string {
	const letters = "ACDEFHJKLMNPRTUVWXY" // nothing that looks like a digit or like another letter
	sum := sha256.Sum256([]byte(id))
	return fmt.Sprintf("%c%c-%d%d", letters[int(sum[0])%len(letters)], letters[int(sum[1])%len(letters)],
		sum[2]%10, sum[3]%10)
}

// Request is the only record of something an agent wants and a person decides.
//
// It keeps apart whom the token acts as (Subject), who asks (Agent), who may decide (Approvers), what was asked
// (Requested), what was granted (Granted), what was shown (Disclosures) and what was decided (Decisions).
// A Request that came out of a [Desk] is shared: do not change it.
type Request struct {
	V      int    `json:"v"`
	ID     ID     `json:"id"`
	Rev    uint64 `json:"rev"`    // counts every write; the store's compare-and-set
	Events uint64 `json:"events"` // audit records written so far
	State  State  `json:"state"`

	Agent     AgentID    `json:"agent"`
	AgentName string     `json:"agent_name"`         // as registered when the request came
	Operator  string     `json:"operator,omitempty"` // of the agent, likewise
	Subject   PersonID   `json:"subject"`
	Approvers []PersonID `json:"approvers"`
	Rule      Rule       `json:"rule"`

	Scope     []string `json:"scope,omitempty"`
	Audience  []string `json:"audience,omitempty"` // resource indicators, RFC 8707
	Requested Details  `json:"requested,omitempty"`
	Granted   Details  `json:"granted,omitempty"`
	Binding   string   `json:"binding,omitempty"` // binding_message, shown unchanged
	ACR       []string `json:"acr,omitempty"`     // acr_values, in the agent's order of preference
	Level     Level    `json:"level"`             // the weakest sign-in that may approve

	CodeHash   []byte `json:"code_hash,omitempty"`   // keyed, of the code that the person types; gone after HandleLife
	CodeDigits int    `json:"code_digits,omitempty"` // how many it has; 0: none is typed
	CodeTries  int    `json:"code_tries,omitempty"`  // wrong ones so far

	Locale string `json:"locale"` // of the first disclosure
	Zone   string `json:"zone"`   // IANA name
	Salt   []byte `json:"salt"`   // in every disclosure, so that a digest says nothing once the facts are erased

	// What the person's own past decisions said when the request came.
	Since time.Time `json:"agent_since,omitzero"` // when they first approved something of this agent
	Risks []Risk    `json:"risks,omitempty"`

	// Joins is a request that said the same and was pending when this one came: as long as it is, its messages speak for
	// this one as well. Each is decided for itself.
	Joins ID `json:"joins,omitempty"`

	SecretHash []byte          `json:"secret_hash,omitempty"` // keyed hash of the handle's secret; gone after HandleLife
	Door       json.RawMessage `json:"door,omitempty"`        // what the door must remember; gone after HandleLife
	Wake       string          `json:"wake,omitempty"`        // name of the step that tells the door of the outcome

	CreatedAt time.Time `json:"created_at"`
	DecideBy  time.Time `json:"decide_by"`  // approval closes; what pages and messages show
	ExpiresAt time.Time `json:"expires_at"` // denial and redemption close
	EndedAt   time.Time `json:"ended_at,omitzero"`
	OpenedAt  time.Time `json:"opened_at,omitzero"`
	Until     time.Time `json:"approved_until,omitzero"` // the agent may come back without asking; zero: it may not

	UntilAsked time.Time `json:"asked_until,omitzero"` // what Until was, if the person has shortened it

	RevokedAt   time.Time `json:"revoked_at,omitzero"`         // nothing that was issued is good since then
	SomeRevoked time.Time `json:"some_revoked_until,omitzero"` // until then the door has to ask for each token

	Disclosures []Disclosure `json:"disclosures,omitempty"`
	Decisions   []Decision   `json:"decisions,omitempty"`
	Deliveries  []Delivery   `json:"deliveries,omitempty"`
	Reason      Reason       `json:"reason,omitempty"` // why it was cancelled or failed
	Remark      string       `json:"remark,omitempty"` // of the operator who withdrew it, for other operators

	Refusals int       `json:"refusals,omitempty"` // answers that did not count, as far as noted
	ResendAt time.Time `json:"resend_at,omitzero"` // when an operator last wanted the person to be told once more

	due       *Step // replaces Step when the request is written
	Step      *Step `json:"step,omitempty"` // the desk's next due step
	events    []Event
	writes    []Write
	forgotten bool
	kept      bool
}

// Reason says why a request was cancelled, failed, or denied without a decision; a closed set.
type Reason string

// Reasons of a cancelled or failed request.
const (
	WithdrawnByPerson   Reason = "withdrawn_by_person"
	WithdrawnByAgent    Reason = "withdrawn_by_agent"
	WithdrawnByOperator Reason = "withdrawn_by_operator"
	ShutOut             Reason = "shut_out"     // the person takes nothing from the agent now
	NotEligible         Reason = "not_eligible" // person or agent disabled before redemption
	Unreachable         Reason = "unreachable"  // the ladder is exhausted and no channel accepted
	QuietTime           Reason = "quiet_hours"  // the person's quiet hours last longer than the request
)

// Decision is one person's answer and the evidence for it.
type Decision struct {
	By         PersonID  `json:"by"`
	Approve    bool      `json:"approve"`
	At         time.Time `json:"at"`
	Level      Level     `json:"level"`
	AMR        []string  `json:"amr,omitempty"` // RFC 8176
	AuthTime   time.Time `json:"auth_time"`     // when the person signed in on the deciding device
	Via        string    `json:"via"`           // "page", the channel of a reply such as "sms", or "dev" for the decisions of dev mode
	Device     string    `json:"device,omitempty"`
	Locale     string    `json:"locale"`           // language of the disclosure
	Digest     string    `json:"digest"`           // of the disclosure that was on the screen
	Disclosure string    `json:"disclosure"`       // its canonical bytes
	Choice     string    `json:"choice,omitempty"` // what an approval takes away, as [Choice.String] writes it
	Note       string    `json:"note,omitempty"`
	Reported   bool      `json:"reported,omitempty"`  // denied as suspicious
	Simulated  bool      `json:"simulated,omitempty"` // no person pressed anything

	// Proof is what the page's door keeps to prove the decision by itself, such as an assertion of a passkey; its form is
	// for the door to say. It goes with the facts.
	Proof json.RawMessage `json:"proof,omitempty"`
}

// Rule says when decisions are enough.
type Rule string

// SubjectOnce is the rule of every request so far: the subject approves, once.
const SubjectOnce Rule = "subject_once"

func (rule Rule) met(r *Request) bool {
	return slices.ContainsFunc(r.Decisions, func(d Decision) bool { return d.Approve && d.By == r.Subject })
}

// Delivery is one report about one attempt to reach the person.
type Delivery struct {
	Channel   string    `json:"channel"`
	Attempt   int       `json:"attempt"` // 1 for the first message of the channel
	Status    Status    `json:"status"`
	Code      string    `json:"code,omitempty"`     // the provider's code, from its closed set
	Why       string    `json:"why,omitempty"`      // why this step was taken, in the planner's fixed words
	Provider  string    `json:"provider,omitempty"` // the provider's message id
	At        time.Time `json:"at"`
	Claimed   time.Time `json:"claimed_at,omitzero"` // when a worker took the message; the call itself came right after
	Duplicate bool      `json:"possible_duplicate,omitempty"`
}

// maxDeliveries bounds what a runaway ladder or a chatty provider can put into one request.
const maxDeliveries = 64

// Record adds a channel's report. It is data, not a state, but it leaves an audit record. A report that says nothing new
// about its attempt changes nothing and is no error: whatever commits with it is written all the same.
func (r *Request) Record(d Delivery) error {
	if !r.news(d) {
		return nil
	}
	if len(r.Deliveries) >= maxDeliveries {
		return fmt.Errorf("record delivery: more than %d reports: %w", maxDeliveries, ErrDrop)
	}
	r.Deliveries = slices.Concat(r.Deliveries, []Delivery{d}) // append would double the room: memory keeps thousands of them
	r.record(KindDelivery, d.At, Actor{Kind: "channel", ID: d.Channel},
		map[string]string{"status": string(d.Status), "attempt": fmt.Sprint(d.Attempt), "code": d.Code})
	return nil
}

// Open notes that a human step opened the page, and since when that person is signed in. Only the first one counts.
func (r *Request) Open(by PersonID, signedIn, at time.Time) {
	if r.OpenedAt.IsZero() && r.StateAt(at) == Pending {
		r.OpenedAt = at
		r.record(KindOpened, at, Actor{"person", string(by)}, withSignIn(nil, signedIn))
	}
}

// Approve appends an approval and moves the request once its rule is met. d.Digest must be the digest of one of
// r.Disclosures; the desk sees to that.
func (r *Request) Approve(d Decision, at time.Time) error {
	if err := r.approvable(d, at); err != nil {
		return err
	}
	d.Approve, d.At = true, at
	r.Decisions = append(r.Decisions, d)
	if !r.Rule.met(r) {
		return nil
	}
	r.Granted = r.Requested
	return r.move(Approved, at, Actor{"person", string(d.By)}, d.facts())
}

func (r *Request) approvable(d Decision, at time.Time) error {
	if err := r.decidable(d.By, at); err != nil {
		return err
	}
	if !at.Before(r.DecideBy) {
		return ErrTooLate
	}
	if d.Level < r.Level {
		return fmt.Errorf("approve with %s, needs %s: %w", d.Level.ACR(), r.Level.ACR(), ErrLevel)
	}
	return nil
}

// Deny ends the request; one no is enough, and it needs no more than being signed in as an approver.
func (r *Request) Deny(d Decision, at time.Time) error {
	if err := r.decidable(d.By, at); err != nil {
		return err
	}
	d.Approve, d.At = false, at
	r.Decisions = append(r.Decisions, d)
	return r.move(Denied, at, Actor{"person", string(d.By)}, d.facts())
}

func (r *Request) decidable(by PersonID, at time.Time) error {
	if !slices.Contains(r.Approvers, by) {
		return ErrWrongPerson
	}
	if s := r.StateAt(at); s != Pending {
		return fmt.Errorf("%w: %w", ErrDecided, s.refusal())
	}
	return nil
}

func (d Decision) facts() map[string]string {
	facts := map[string]string{"acr": d.Level.ACR(), "digest": d.Digest, "via": d.Via}
	if d.Simulated {
		facts["simulated"] = "true"
	}
	if d.Choice != "" {
		facts["narrowed"] = "true"
	}
	if d.Reported {
		facts["reported"] = "true"
	}
	if len(d.Proof) > 0 {
		facts[FactProof] = d.ProofDigest()
	}
	return withSignIn(facts, d.AuthTime)
}

// FactProof is the audit fact that ties a decision to its proof, and so to the key that signed: whoever can replace both
// in the store does not reach what has gone out.
const FactProof = "proof"

// ProofDigest is the SHA-256 of the proof, in base64url.
func (d Decision) ProofDigest() string {
	sum := sha256.Sum256(d.Proof)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// withSignIn adds since when the person is signed in, for the timeline.
func withSignIn(facts map[string]string, at time.Time) map[string]string {
	if at.IsZero() {
		return facts
	}
	if facts == nil {
		facts = map[string]string{}
	}
	facts[factSignedIn] = at.UTC().Format(time.RFC3339Nano)
	return facts
}

// Cancel withdraws a request before it is redeemed.
func (r *Request) Cancel(by Actor, why Reason, at time.Time) error {
	if s := r.StateAt(at); s.Final() {
		return fmt.Errorf("%w: %w", ErrDecided, s.refusal())
	}
	r.Reason = why
	return r.move(Cancelled, at, by, map[string]string{"reason": string(why)})
}

// Fail ends a pending request that could not be put before anybody.
func (r *Request) Fail(why Reason, at time.Time) error {
	if s := r.StateAt(at); s != Pending {
		return fmt.Errorf("%w: %w", ErrDecided, s.refusal())
	}
	r.Reason = why
	return r.move(Failed, at, Actor{Kind: "service"}, map[string]string{"reason": string(why)})
}

// Expire ends a request whose time is over; pending and approved ones alike (REQ-193).
func (r *Request) Expire(at time.Time) error {
	if at.Before(r.ExpiresAt) {
		return ErrPending
	}
	return r.move(Expired, at, Actor{Kind: "service"}, nil)
}

// Redeem spends an approval. The second caller gets [ErrRedeemed].
func (r *Request) Redeem(at time.Time) error {
	if s := r.StateAt(at); s != Approved {
		return s.refusal()
	}
	return r.move(Redeemed, at, Actor{"agent", string(r.Agent)}, nil)
}

// Reported reports whether a person denied the request as suspicious. Wrong codes deny one without any decision.
func (r *Request) Reported() bool {
	n := len(r.Decisions)
	return r.State == Denied && n > 0 && r.Decisions[n-1].Reported
}

// StateAt is the state as anybody must see it at that moment: past ExpiresAt a request that was not redeemed is
// expired, whether or not the sweep has come by.
func (r *Request) StateAt(at time.Time) State {
	if !r.State.Final() && !at.Before(r.ExpiresAt) {
		return Expired
	}
	return r.State
}

// Also adds record writes that commit together with the request, or not at all.
func (r *Request) Also(w ...Write) { r.writes = append(r.writes, w...) }

// Clone returns a copy that a store may let a change loose on while others read r. Lists are shared up to their end, so a
// change appends to a list or replaces it, and never writes into one. What waits to be written stays behind.
func (r *Request) Clone() *Request {
	c := *r
	c.due, c.events, c.writes, c.forgotten, c.kept = nil, nil, nil, false, false
	c.Approvers, c.ACR = slices.Clip(c.Approvers), slices.Clip(c.ACR)
	c.Scope, c.Audience = slices.Clip(c.Scope), slices.Clip(c.Audience)
	c.Requested, c.Granted = slices.Clip(c.Requested), slices.Clip(c.Granted)
	c.CodeHash, c.Salt = slices.Clip(c.CodeHash), slices.Clip(c.Salt)
	c.SecretHash, c.Door = slices.Clip(c.SecretHash), slices.Clip(c.Door)
	c.Risks, c.Disclosures = slices.Clip(c.Risks), slices.Clip(c.Disclosures)
	c.Decisions, c.Deliveries = slices.Clip(c.Decisions), slices.Clip(c.Deliveries)
	return &c
}

// Keep makes the store leave the request and its Rev as they are: the record writes of the change are made on condition
// that it still says what the change has read.
func (r *Request) Keep() { r.kept = true }

// Kept reports whether Keep was called.
func (r *Request) Kept() bool { return r.kept }

// Forget makes the store delete the request instead of writing it. Its audit records stay.
func (r *Request) Forget() { r.forgotten = true }

// Forgotten reports whether Forget was called.
func (r *Request) Forgotten() bool { return r.forgotten }

// TakeEvents drains the audit records of the change; the store calls it as it saves.
func (r *Request) TakeEvents() []Event {
	events := r.events
	r.events = nil
	return events
}

// TakeWrites drains the record writes of the change; the store calls it as it saves.
func (r *Request) TakeWrites() []Write {
	writes := r.writes
	if r.due != nil {
		if r.Step != nil {
			writes = append(writes, r.Step.Done())
		}
		if r.due.Name != "" {
			r.Step = r.due
			writes = append(writes, r.due.Put())
		} else {
			r.Step = nil
		}
	}
	r.writes, r.due = nil, nil
	return writes
}

// schedule replaces the desk's next due step of this request; a step without a name clears it.
func (r *Request) schedule(s Step) { r.due = &s }

// LogValue keeps everything but ids and state out of logs.
func (r *Request) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", string(r.ID)), slog.String("state", string(r.State)),
		slog.String("agent", string(r.Agent)))
}
