package approvals

import (
	"errors"
	"testing"
	"time"
)

// TestRevoke is REQ-287 for tokens: what ends them is on record, once, and only what was redeemed has any.
func TestRevoke(t *testing.T) {
	one := Revocation{By: Actor{"agent", "bot"}, Why: RevokedByAgent, Token: "jti", Until: noon.Add(time.Minute)}
	all := Revocation{By: Actor{Kind: "service"}, Why: RevokedReuse}
	for _, s := range States() {
		r := inState(s)
		if err := r.Revoke(all, noon); (s == Redeemed) != (err == nil) || err != nil && !errors.Is(err, ErrDecided) {
			t.Errorf("%s: %v", s, err)
		}
	}
	r := inState(Redeemed)
	if err := r.Revoke(one, noon); err != nil || !r.SomeRevoked.Equal(one.Until) || !r.RevokedAt.IsZero() {
		t.Fatalf("one: %v, until %s, all at %s", err, r.SomeRevoked, r.RevokedAt)
	}
	earlier := one
	earlier.Until = noon
	if err := r.Revoke(earlier, noon); err != nil || !r.SomeRevoked.Equal(one.Until) {
		t.Errorf("one that ends earlier: %v, until %s", err, r.SomeRevoked)
	}
	if err := r.Revoke(all, noon); err != nil || r.RevokedAt != noon || r.State != Redeemed {
		t.Errorf("all: %v, at %s, %s", err, r.RevokedAt, r.State)
	}
	for _, again := range []Revocation{one, all} {
		if err := r.Revoke(again, noon); !errors.Is(err, ErrDecided) {
			t.Errorf("after all: %v", err)
		}
	}
	events := r.TakeEvents()
	if len(events) != 3 {
		t.Fatalf("%d events", len(events))
	}
	if e := events[0]; e.Kind != KindRevoked || e.Facts["token"] != "jti" || e.Facts["why"] != "agent" || e.By.ID != "bot" {
		t.Errorf("one: %+v", e)
	}
	if e := events[2]; e.Facts["token"] != "" || e.Facts["why"] != "reuse" {
		t.Errorf("all: %+v", e)
	}
}

// TestTakeBack, from every state: an approval is withdrawn, or ends if the agent could come back on it, and nothing else
// changes.
func TestTakeBack(t *testing.T) {
	for _, s := range States() {
		for _, standing := range []bool{false, true} {
			r := inState(s)
			if standing {
				r.Until = noon.Add(time.Hour)
			}
			err := r.takeBack("ann", noon)
			var want string
			switch {
			case s == Pending || s == Approved:
				want = string(Cancelled)
			case s == Redeemed && standing:
				want = KindRevoked
			}
			events := r.TakeEvents()
			if want == "" && (!errors.Is(err, ErrDecided) || len(events) != 0 || r.State != s) {
				t.Errorf("%s, standing %v: %v, then %s with %d events", s, standing, err, r.State, len(events))
			}
			if want != "" && (err != nil || len(events) != 1 || events[0].Kind != want || events[0].By.ID != "ann") {
				t.Errorf("%s, standing %v: %v, %+v", s, standing, err, events)
			}
			if err := r.takeBack("ann", noon); !errors.Is(err, ErrDecided) {
				t.Errorf("%s, standing %v, once more: %v", s, standing, err)
			}
			if err := inState(s).takeBack("bob", noon); !errors.Is(err, ErrWrongPerson) {
				t.Errorf("%s, by somebody else: %v", s, err)
			}
		}
	}
}
