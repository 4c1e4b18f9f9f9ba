package approvals_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/approvals"
)

// TestStanding is REQ-248 and what goes with it: who may come back without asking, until when, and that the person reads
// so before deciding.
func TestStanding(t *testing.T) {
	const read = `[{"type":"document_access","identifier":"doc-7","actions":["read"]}]`
	const pay = `[{"type":"payment_initiation","instructedAmount":{"currency":"EUR","amount":"1.00"},"creditorName":"Example Travel"}]`
	const day = 24 * time.Hour
	tests := []struct {
		name    string
		details string
		asked   bool
		terms   func(*approvals.Terms)
		want    time.Duration // 0: no coming back
	}{
		{name: "not asked for", details: read},
		{name: "asked for", details: read, asked: true, want: 30 * day},
		{name: "scopes only", asked: true, want: 30 * day},
		{name: "done once", details: pay, asked: true},
		{name: "one of two done once", details: read[:len(read)-1] + "," + pay[1:], asked: true},
		{name: "not in this house", details: read, asked: true, terms: func(t *approvals.Terms) { t.Standing = 0 }},
		{name: "forgotten earlier", details: read, asked: true, terms: func(t *approvals.Terms) { t.History = day }, want: day},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newOffice(t)
			if tt.terms != nil {
				tt.terms(&o.Terms)
			}
			agent, err := o.dir.Agent(t.Context(), "bot")
			if err != nil {
				t.Fatal(err)
			}
			ann, err := o.dir.Person(t.Context(), "ann")
			if err != nil {
				t.Fatal(err)
			}
			var details approvals.Details
			if tt.details != "" {
				if details, err = o.Renderer.Types.Parse([]byte(tt.details), everything); err != nil {
					t.Fatal(err)
				}
			}
			r, _, err := o.Open(t.Context(), approvals.Ask{Agent: agent, Subject: ann, Scope: []string{"openid"},
				Details: details, Standing: tt.asked})
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == 0 != r.Until.IsZero() || tt.want > 0 && !r.Until.Equal(opening.Add(tt.want)) {
				t.Errorf("until %s, want %s", r.Until, tt.want)
			}
			if said := strings.Contains(string(r.Disclosures[0].Canonical()), "come back"); said != (tt.want > 0) {
				t.Errorf("the disclosure says so: %v", said)
			}
		})
	}
}

// TestRenew: writes go through while the approval stands, and not a moment longer.
func TestRenew(t *testing.T) {
	tests := []struct {
		name string
		act  func(o *office, r *approvals.Request)
		want error
	}{
		{name: "stands", act: func(*office, *approvals.Request) {}},
		{name: "its day", act: func(o *office, r *approvals.Request) { o.wait(r.Until.Sub(o.now())) }, want: approvals.ErrExpired},
		{name: "revoked", act: func(o *office, r *approvals.Request) {
			if _, err := o.Revoke(o.t.Context(), r.ID, approvals.Revocation{Why: approvals.RevokedByAgent}); err != nil {
				o.t.Error(err)
			}
		}, want: approvals.ErrWithdrawn},
		{name: "person disabled", act: func(o *office, _ *approvals.Request) {
			p, err := o.dir.Person(o.t.Context(), "ann")
			if err != nil {
				o.t.Fatal(err)
			}
			next := *p
			next.Disabled = true
			o.save(&next)
		}, want: approvals.ErrNotEligible},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newOffice(t)
			agent, err := o.dir.Agent(t.Context(), "bot")
			if err != nil {
				t.Fatal(err)
			}
			ann, err := o.dir.Person(t.Context(), "ann")
			if err != nil {
				t.Fatal(err)
			}
			r, secret, err := o.Open(t.Context(), approvals.Ask{Agent: agent, Subject: ann, Scope: []string{"openid"}, Standing: true})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := o.Renew(t.Context(), r.ID); !errors.Is(err, approvals.ErrPending) {
				t.Errorf("before the decision: %v", err)
			}
			if _, err := o.Approve(t.Context(), r.ID, o.answer(r)); err != nil {
				t.Fatal(err)
			}
			if _, err := o.Redeem(t.Context(), "bot", r.ID, secret); err != nil {
				t.Fatal(err)
			}
			tt.act(o, r)
			_, err = o.Renew(t.Context(), r.ID, approvals.PutNew("test", "renewed", []byte("{}"), time.Time{}))
			if !errors.Is(err, tt.want) {
				t.Errorf("Renew: %v, want %v", err, tt.want)
			}
			if _, err := o.store.Get(t.Context(), "test", "renewed"); (err == nil) != (tt.want == nil) {
				t.Errorf("written: %v", err)
			}
		})
	}
}

// TestRevokeAll: when a person or an agent is disabled, nobody comes back on what was approved; what has ended is left.
func TestRevokeAll(t *testing.T) {
	for _, q := range []approvals.Query{{Agent: "bot", Limit: 1}, {Person: "ann", Limit: 1}} {
		o := newOffice(t)
		var redeemed []approvals.ID
		for _, standing := range []bool{true, false, true} {
			redeemed = append(redeemed, o.redeemed(t, standing))
		}
		v := approvals.Revocation{By: approvals.Actor{Kind: "operator"}, Why: approvals.RevokedIneligible}
		for _, want := range []int{2, 0} {
			if n, err := o.RevokeAll(t.Context(), q, v); n != want || err != nil {
				t.Errorf("%+v: %d, %v, want %d", q, n, err, want)
			}
		}
		for i, id := range redeemed {
			r, err := o.Request(t.Context(), id)
			if err != nil || r.RevokedAt.IsZero() != (i == 1) {
				t.Errorf("request %d: revoked at %s, %v", i, r.RevokedAt, err)
			}
		}
		if n, err := o.RevokeAll(t.Context(), approvals.Query{Agent: "other"}, v); n != 0 || err != nil {
			t.Errorf("another agent's: %d, %v", n, err)
		}
	}
}

// redeemed opens a request, has it approved and collects.
func (o *office) redeemed(t *testing.T, standing bool) approvals.ID {
	t.Helper()
	agent, err := o.dir.Agent(t.Context(), "bot")
	if err != nil {
		t.Fatal(err)
	}
	ann, err := o.dir.Person(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	r, secret, err := o.Open(t.Context(), approvals.Ask{Agent: agent, Subject: ann, Scope: []string{"openid"}, Standing: standing})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Approve(t.Context(), r.ID, o.answer(r)); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Redeem(t.Context(), "bot", r.ID, secret); err != nil {
		t.Fatal(err)
	}
	return r.ID
}

// TestTakeBackWhileCollecting: whoever comes first, the agent cannot come back on what the person has taken back.
func TestTakeBackWhileCollecting(t *testing.T) {
	o := newOffice(t)
	agent, err := o.dir.Agent(t.Context(), "bot")
	if err != nil {
		t.Fatal(err)
	}
	ann, err := o.dir.Person(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		r, secret, err := o.Open(t.Context(), approvals.Ask{Agent: agent, Subject: ann, Scope: []string{"openid"}, Standing: true})
		if err != nil {
			t.Fatal(err)
		}
		if r, err = o.Approve(t.Context(), r.ID, o.answer(r)); err != nil {
			t.Fatal(err)
		}
		var collected error
		var both sync.WaitGroup
		both.Go(func() { _, collected = o.Redeem(t.Context(), "bot", r.ID, secret) })
		both.Go(func() { _, err = o.TakeBack(t.Context(), r.ID, "ann") })
		both.Wait()
		if err != nil {
			t.Fatal(err)
		}
		if r, err = o.Request(t.Context(), r.ID); err != nil {
			t.Fatal(err)
		}
		if collected == nil && r.RevokedAt.IsZero() || collected != nil && r.State != approvals.Cancelled {
			t.Fatalf("collected %v, then %s, revoked at %s", collected, r.State, r.RevokedAt)
		}
	}
}
