package approvals

import (
	"errors"
	"slices"
	"testing"
	"time"

	"assent/ciba/rowtest"
)

var noon = time.Date(2027, 3, 14, 12, 0, 0, 0, time.UTC)

// inState returns a request of Ann's that stands in s, opened at noon and open for five minutes.
func inState(s State) *Request {
	return &Request{ID: "r", State: s, Agent: "bot", Subject: "ann", Approvers: []PersonID{"ann"}, Rule: SubjectOnce,
		Level: LevelSession, CreatedAt: noon, DecideBy: noon.Add(290 * time.Second), ExpiresAt: noon.Add(300 * time.Second)}
}

// Every pair of states: what the table allows happens with exactly one audit record, everything else is refused and
// leaves nothing. A new state breaks this test until it is placed.
func TestEveryPairOfStates(t *testing.T) {
	rowtest.Row(t, "REQ-287", "REQ-291")
	allowed := map[[2]State]bool{
		{Pending, Approved}: true, {Pending, Denied}: true, {Pending, Expired}: true, {Pending, Cancelled}: true,
		{Pending, Failed}: true, {Approved, Redeemed}: true, {Approved, Expired}: true, {Approved, Cancelled}: true,
	}
	for _, from := range States() {
		for _, to := range States() {
			r := inState(from)
			err := r.move(to, noon, Actor{Kind: "service"}, nil)
			if want := allowed[[2]State{from, to}]; (err == nil) != want {
				t.Errorf("%s to %s: %v, allowed %v", from, to, err, want)
			}
			events := r.TakeEvents()
			switch {
			case err != nil && (r.State != from || len(events) != 0 || !errors.Is(err, ErrDecided)):
				t.Errorf("%s to %s: refused, but left %s, %d events, %v", from, to, r.State, len(events), err)
			case err == nil && (len(events) != 1 || events[0].Kind != string(to) || r.State != to):
				t.Errorf("%s to %s: %d events", from, to, len(events))
			case err == nil && to.Final() != !r.EndedAt.IsZero():
				t.Errorf("%s to %s: final %v, ended %v", from, to, to.Final(), r.EndedAt)
			}
		}
	}
}

func TestFinalStates(t *testing.T) {
	for _, s := range States() {
		if want := s != Pending && s != Approved; s.Final() != want {
			t.Errorf("%s.Final() = %v", s, s.Final())
		}
	}
}

func TestApprove(t *testing.T) {
	ann := Decision{By: "ann", Level: LevelSession}
	tests := []struct {
		name string
		from State
		by   Decision
		at   time.Duration
		want error
	}{
		{name: "in time", from: Pending, by: ann},
		{name: "stronger sign-in than needed", from: Pending, by: Decision{By: "ann", Level: LevelPasskey}},
		{name: "REQ-274 somebody else", from: Pending, by: Decision{By: "bob", Level: LevelPasskey}, want: ErrWrongPerson},
		{name: "REQ-272 only the link", from: Pending, by: Decision{By: "ann", Level: LevelLink}, want: ErrLevel},
		{name: "REQ-195 last moment that counts", from: Pending, by: ann, at: 290*time.Second - 1},
		{name: "REQ-195 the closing seconds", from: Pending, by: ann, at: 290 * time.Second, want: ErrTooLate},
		{name: "REQ-193 expired, not yet swept", from: Pending, by: ann, at: 300 * time.Second, want: ErrExpired},
		{name: "REQ-275 denied before", from: Denied, by: ann, want: ErrDenied},
		{name: "approved before", from: Approved, by: ann, want: ErrDecided},
		{name: "withdrawn", from: Cancelled, by: ann, want: ErrWithdrawn},
		{name: "redeemed", from: Redeemed, by: ann, want: ErrRedeemed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rowtest.Row(t, tt.name)
			r := inState(tt.from)
			err := r.Approve(tt.by, noon.Add(tt.at))
			if !errors.Is(err, tt.want) {
				t.Fatalf("Approve: %v, want %v", err, tt.want)
			}
			if want := tt.from; tt.want != nil && (r.State != want || len(r.Decisions) > 0 || len(r.TakeEvents()) > 0) {
				t.Errorf("refused, but left %s with %d decisions", r.State, len(r.Decisions))
			}
			if tt.want == nil && (r.State != Approved || !r.Decisions[0].Approve) {
				t.Errorf("state %s, decisions %+v", r.State, r.Decisions)
			}
		})
	}
}

// Saying no is possible until the end, on any sign-in.
func TestDeny(t *testing.T) {
	rowtest.Row(t, "REQ-270")
	r := inState(Pending)
	if err := r.Deny(Decision{By: "ann", Level: LevelLink, Note: "not today"}, noon.Add(299*time.Second)); err != nil {
		t.Fatal(err)
	}
	if r.State != Denied || r.Decisions[0].Approve || r.Decisions[0].Note != "not today" {
		t.Errorf("%s %+v", r.State, r.Decisions)
	}
	if err := inState(Pending).Deny(Decision{By: "bob"}, noon); !errors.Is(err, ErrWrongPerson) {
		t.Errorf("somebody else: %v", err)
	}
	if err := inState(Pending).Deny(Decision{By: "ann"}, noon.Add(300*time.Second)); !errors.Is(err, ErrExpired) {
		t.Errorf("too late: %v", err)
	}
}

func TestRedeemOnce(t *testing.T) {
	rowtest.Row(t, "REQ-193")
	r := inState(Approved)
	if err := r.Redeem(noon); err != nil {
		t.Fatal(err)
	}
	if err := r.Redeem(noon); !errors.Is(err, ErrRedeemed) {
		t.Errorf("second: %v", err)
	}
	for from, want := range map[State]error{Pending: ErrPending, Denied: ErrDenied, Cancelled: ErrWithdrawn, Failed: ErrFailed} {
		if err := inState(from).Redeem(noon); !errors.Is(err, want) {
			t.Errorf("from %s: %v, want %v", from, err, want)
		}
	}
	if err := inState(Approved).Redeem(noon.Add(time.Hour)); !errors.Is(err, ErrExpired) {
		t.Errorf("approved, but late: %v (REQ-193)", err)
	}
}

// The desk's one due step of a request is replaced by each transition, so the store never holds a stale one.
func TestStepFollowsState(t *testing.T) {
	r := inState(Pending)
	r.schedule(Step{Name: StepExpire, At: r.ExpiresAt, Of: "r"})
	if w := r.TakeWrites(); len(w) != 1 || w[0].Kind != "due.expire" || r.Step == nil {
		t.Fatalf("first step: %+v", w)
	}
	if err := r.Deny(Decision{By: "ann"}, noon); err != nil {
		t.Fatal(err)
	}
	w := r.TakeWrites()
	if len(w) != 2 || !w[0].Gone || w[0].Kind != "due.expire" || w[1].Kind != "due.retire" {
		t.Fatalf("after denial: %+v", w)
	}
	if r.Step.At != noon.Add(HandleLife) {
		t.Errorf("retire at %v", r.Step.At)
	}
	r.schedule(Step{})
	if w := r.TakeWrites(); len(w) != 1 || !w[0].Gone || r.Step != nil {
		t.Errorf("cleared: %+v", w)
	}
}

// An outcome that the agent waits for leaves the door's step in the same transaction, at once; nothing else does.
func TestOutcomesWakeTheDoor(t *testing.T) {
	news := map[[2]State]bool{{Pending, Approved}: true, {Pending, Denied}: true, {Pending, Expired}: true,
		{Pending, Cancelled}: true, {Pending, Failed}: true, {Approved, Cancelled}: true}
	for from, all := range next {
		for _, to := range all {
			for _, wake := range []string{"tell", ""} {
				r := inState(from)
				r.Wake = wake
				if err := r.move(to, noon, Actor{Kind: "service"}, nil); err != nil {
					t.Fatal(err)
				}
				step := Step{Name: "tell", At: noon, Of: "r"}.Put()
				left := slices.ContainsFunc(r.TakeWrites(), func(w Write) bool { return w.Kind == step.Kind && w.Key == step.Key })
				if want := wake != "" && news[[2]State{from, to}]; left != want {
					t.Errorf("%s to %s with wake %q: step %v, want %v", from, to, wake, left, want)
				}
			}
		}
	}
}

// Steps of the far future stay behind those of today.
func TestFarStepsAreNotDue(t *testing.T) {
	today, far := Step{At: noon, Of: "r"}, Step{At: noon.AddDate(500, 0, 0), Of: "r"}
	if far.key() <= today.key() {
		t.Errorf("%s sorts before %s", far.key(), today.key())
	}
}

func TestIDs(t *testing.T) {
	seen := map[ID]bool{}
	var ids []ID
	for i := range 2000 {
		id := NewID(noon.Add(time.Duration(i) * time.Millisecond))
		if len(id) != 26 || seen[id] {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
		ids = append(ids, id)
	}
	if !slices.IsSorted(ids) {
		t.Error("ids of later milliseconds sort before earlier ones")
	}
	if ref := ids[0].Ref(); len(ref) != 5 || ref[2] != '-' || ref != ids[0].Ref() {
		t.Errorf("ref %q", ref)
	}
}

func TestLevels(t *testing.T) {
	for _, l := range []Level{LevelLink, LevelSession, LevelPasskey} {
		if got := LevelOf(l.ACR()); got != l {
			t.Errorf("LevelOf(%q) = %v", l.ACR(), got)
		}
	}
	if LevelOf("urn:other") != LevelNone || LevelOf("") != LevelNone {
		t.Error("an unknown acr has a level")
	}
}
