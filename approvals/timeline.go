package approvals

import (
	"slices"
	"strconv"
	"time"
)

// Stage names one thing that can happen to a request; a closed set.
type Stage string

// Stages, in the order of a request's life.
const (
	StageQueued      Stage = "queued"       // the agent has asked
	StageHeld        Stage = "held"         // a message is kept back; Why says what is waited for
	StageClaimed     Stage = "claimed"      // a worker has taken a message, and calls the provider
	StageAccepted    Stage = "accepted"     // the provider has it
	StageSent        Stage = "sent"         // the provider has passed it on
	StageDelivered   Stage = "delivered"    // it is on the device
	StageRead        Stage = "read"         // somebody has looked at the message
	StageSendFailed  Stage = "send_failed"  // the message will not arrive
	StageSendUnknown Stage = "send_unknown" // nobody knows whether the provider has it
	StageRetracted   Stage = "retracted"    // closed on the device after the request had ended
	StageSignedIn    Stage = "signed_in"
	StageOpened      Stage = "opened"  // the page came before the person's eyes
	StageRefused     Stage = "refused" // an answer that did not count
	StageResend      Stage = "resend"  // an operator wants the person to be told once more
	StageApproved    Stage = "approved"
	StageDenied      Stage = "denied"
	StageCodeWrong   Stage = "code_wrong"   // the person typed another code than the agent shows
	StagePinged      Stage = "pinged"       // the agent has taken note that there is a result
	StagePingFailed  Stage = "ping_failed"  // it has not
	StagePingUnknown Stage = "ping_unknown" // nobody knows whether it has
	StageRedeemed    Stage = "redeemed"     // the agent has collected the tokens
	StageRevoked     Stage = "revoked"      // tokens were ended before their time
	StageWithdrawn   Stage = "withdrawn"
	StageExpired     Stage = "expired"
	StageUnreachable Stage = "unreachable" // it could not be put before anybody
)

// ChannelPing is the channel of the reports about telling the agent, among those about telling the person.
const ChannelPing = "ping"

// Entry is one line of a timeline: what happened, when, and who did it.
type Entry struct {
	At        time.Time         `json:"at"`
	Stage     Stage             `json:"stage"`
	By        Actor             `json:"by"`
	Channel   string            `json:"channel,omitempty"`
	Attempt   int               `json:"attempt,omitempty"`
	Code      string            `json:"code,omitempty"`     // the provider's, or why the request ended
	Why       string            `json:"why,omitempty"`      // why this step was taken
	Provider  string            `json:"provider,omitempty"` // the provider's message id
	Duplicate bool              `json:"possible_duplicate,omitempty"`
	Record    uint64            `json:"record,omitempty"` // number of the audit record that says so
	Facts     map[string]string `json:"facts,omitempty"`  // of that record
}

// Facts of audit records that a timeline reads.
const (
	factStatus   = "status"
	factAttempt  = "attempt"
	factCode     = "code"
	factReason   = "reason"
	factSignedIn = "signed_in_at"
	factNeeds    = "needs" // acr that approving takes
)

// stages are the stages of transitions and of other audit records that are one line each.
var stages = map[string]Stage{
	string(Pending): StageQueued, string(Approved): StageApproved, string(Denied): StageDenied,
	string(Expired): StageExpired, string(Cancelled): StageWithdrawn, string(Failed): StageUnreachable,
	string(Redeemed): StageRedeemed, KindCodeWrong: StageCodeWrong, KindOpened: StageOpened, KindResend: StageResend,
	KindRefused: StageRefused,
	KindRevoked: StageRevoked,
}

// reportStages are the stages of reports about messages to the person, pingStages those of calls of the agent.
var (
	reportStages = map[Status]Stage{StatusHeld: StageHeld, StatusUnknown: StageSendUnknown,
		StatusAccepted: StageAccepted, StatusSent: StageSent, StatusFailed: StageSendFailed,
		StatusDelivered: StageDelivered, StatusOpened: StageRead, StatusRetracted: StageRetracted}
	pingStages = map[Status]Stage{StatusAccepted: StagePinged, StatusFailed: StagePingFailed,
		StatusUnknown: StagePingUnknown}
)

// Timeline tells the story of a request from its audit records, oldest first, and the reports that it holds. r may be
// nil when only its records are left: then the lines lack what only reports know. It reads nothing but its arguments.
func Timeline(r *Request, events []Event) []Entry {
	t := teller{}
	if r != nil {
		t.reports = r.Deliveries
	}
	for _, e := range events {
		t.tell(e)
	}
	slices.SortStableFunc(t.line, func(a, b Entry) int { return a.At.Compare(b.At) }) // reports may come late
	return t.line
}

// teller goes through the records of one request.
type teller struct {
	line     []Entry
	reports  []Delivery // in the order of their records, each of which came with one
	asked    time.Time
	signedIn time.Time
}

func (t *teller) tell(e Event) {
	if e.Kind == string(Pending) {
		t.asked = e.At
	}
	if e.Kind == KindDelivery {
		t.report(e)
		return
	}
	t.signIn(e)
	stage, known := stages[e.Kind]
	if !known {
		stage = Stage(e.Kind) // a later release has written it
	}
	t.line = append(t.line, Entry{At: e.At, Stage: stage, By: e.By, Code: e.Facts[factReason], Record: e.N,
		Facts: e.Facts})
}

// signIn adds the sign-in that an act rests on, once, unless the person was signed in already when the agent asked.
func (t *teller) signIn(e Event) {
	at, err := time.Parse(time.RFC3339Nano, e.Facts[factSignedIn])
	if err != nil || at.Before(t.asked) || at.Equal(t.signedIn) {
		return
	}
	t.signedIn = at
	t.line = append(t.line, Entry{At: at, Stage: StageSignedIn, By: e.By, Record: e.N})
}

// report adds what a channel has reported and, before an outcome, the claim that it is the outcome of.
func (t *teller) report(e Event) {
	d := t.next(e)
	of := reportStages
	if d.Channel == ChannelPing {
		of = pingStages
	}
	entry := Entry{At: e.At, Stage: of[d.Status], By: e.By, Channel: d.Channel, Attempt: d.Attempt, Code: d.Code,
		Why: d.Why, Provider: d.Provider, Duplicate: d.Duplicate, Record: e.N}
	if !d.Claimed.IsZero() {
		t.line = append(t.line, Entry{At: d.Claimed.UTC(), Stage: StageClaimed, By: Actor{Kind: "service"},
			Channel: d.Channel, Attempt: d.Attempt, Why: d.Why, Duplicate: d.Duplicate, Record: e.N})
		entry.Why, entry.Duplicate = "", false // said with the claim
	}
	t.line = append(t.line, entry)
}

// next returns the report that came with a record, or what the record itself says of it.
func (t *teller) next(e Event) Delivery {
	attempt, _ := strconv.Atoi(e.Facts[factAttempt])
	said := Delivery{Channel: e.By.ID, Attempt: attempt, Status: Status(e.Facts[factStatus]), Code: e.Facts[factCode]}
	if len(t.reports) == 0 {
		return said
	}
	d := t.reports[0]
	t.reports = t.reports[1:]
	if d.Channel != said.Channel || d.Attempt != said.Attempt || d.Status != said.Status {
		return said
	}
	return d
}
