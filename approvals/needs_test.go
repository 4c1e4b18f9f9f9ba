package approvals_test

import (
	"errors"
	"testing"

	"assent/approvals"
	"assent/ciba/rowtest"
)

// wants opens a request of the bot's to Ann as an agent would want it.
func (o *office) wants(details string, change func(*approvals.Ask)) *approvals.Request {
	o.t.Helper()
	agent, err := o.dir.Agent(o.t.Context(), "bot")
	if err != nil {
		o.t.Fatal(err)
	}
	ann, err := o.dir.Person(o.t.Context(), "ann")
	if err != nil {
		o.t.Fatal(err)
	}
	a := approvals.Ask{Agent: agent, Subject: ann, Scope: []string{"openid"}, Binding: "H3-91"}
	if details != "" {
		if a.Details, err = o.Renderer.Types.Parse([]byte(details), everything); err != nil {
			o.t.Fatal(err)
		}
	}
	if change != nil {
		change(&a)
	}
	r, _, err := o.Open(o.t.Context(), a)
	if err != nil {
		o.t.Fatal(err)
	}
	return r
}

// What a request needs is what its details need by policy, and never less than its agent wants or than what goes beyond
// the details.
func TestWhatARequestNeeds(t *testing.T) {
	rowtest.Row(t, "REQ-129", "REQ-272")
	o := newOffice(t)
	var err error
	if o.Levels, err = approvals.NewLevels(o.Renderer.Types, []approvals.LevelRule{
		{Type: "payment_initiation", Currency: "EUR", Over: "1000.00", Needs: approvals.LevelPasskey},
		{Type: "tool_call", Needs: approvals.LevelLink},
	}); err != nil {
		t.Fatal(err)
	}
	const (
		small = `[{"type":"payment_initiation","instructedAmount":{"currency":"EUR","amount":"480.00"},"creditorName":"Shop"}]`
		large = `[{"type":"payment_initiation","instructedAmount":{"currency":"EUR","amount":"4800.00"},"creditorName":"Shop"}]`
		tool  = `[{"type":"tool_call","tool":"deploy"}]`
	)
	atLeast := func(l approvals.Level) func(*approvals.Ask) { return func(a *approvals.Ask) { a.Level = l } }
	tests := []struct {
		name, details string
		change        func(*approvals.Ask)
		want          approvals.Level
	}{
		{"raised by policy", large, nil, approvals.LevelPasskey},
		{"an agent cannot lower it", large, atLeast(approvals.LevelLink), approvals.LevelPasskey},
		{"below the bar", small, nil, approvals.LevelSession},
		{"an agent may raise it", small, atLeast(approvals.LevelPasskey), approvals.LevelPasskey},
		{"lowered by policy", tool, nil, approvals.LevelLink},
		{"and raised by the agent", tool, atLeast(approvals.LevelSession), approvals.LevelSession},
		{"a scope beside a lowered type", tool, func(a *approvals.Ask) { a.Scope = []string{"openid", "email"} }, approvals.LevelSession},
		{"no details", "", nil, approvals.LevelSession},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o.t = t
			r := o.wants(tt.details, tt.change)
			if r.Level != tt.want {
				t.Errorf("needs %s, want %s", r.Level.ACR(), tt.want.ACR())
			}
			events, err := o.store.Events(t.Context(), r.ID)
			if err != nil || events[0].Facts["needs"] != tt.want.ACR() {
				t.Errorf("audit record says %v, %v", events[0].Facts, err)
			}
		})
	}
}

// A request that policy has raised is not approved by a session, is denied by one, and says in its evidence what approved
// it.
func TestPolicyIsNotTalkedDown(t *testing.T) {
	rowtest.Row(t, "REQ-272")
	o := newOffice(t)
	var err error
	if o.Levels, err = approvals.NewLevels(o.Renderer.Types, []approvals.LevelRule{
		{Type: "payment_initiation", Needs: approvals.LevelPasskey}}); err != nil {
		t.Fatal(err)
	}
	r, _ := o.ask(0)
	if _, err := o.Approve(t.Context(), r.ID, o.answer(r)); !errors.Is(err, approvals.ErrLevel) {
		t.Fatalf("approve by a session: %v", err)
	}
	a := o.answer(r)
	a.Level = approvals.LevelPasskey
	got, err := o.Approve(t.Context(), r.ID, a)
	if err != nil || got.Decisions[0].Level != approvals.LevelPasskey {
		t.Errorf("approve by a passkey: %v", err)
	}
	other, _ := o.ask(0)
	if _, err := o.Deny(t.Context(), other.ID, o.answer(other)); err != nil {
		t.Errorf("deny by a session: %v", err)
	}
}
