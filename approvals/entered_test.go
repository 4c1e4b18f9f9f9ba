package approvals_test

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"assent/approvals"
	"assent/ciba/rowtest"
)

// Codes that are too simple are not worth typing; of two digits nobody can tell.
func TestCheckCode(t *testing.T) {
	for code, ok := range map[string]bool{
		"42": true, "00": true, "12": true, "99": true, "135": true, "112": true, "1213": true, "901": true, "482913": true,
		"": false, "4": false, "4829137": false, "4a": false, " 42": false, "４２": false, "-42": false,
		"000": false, "7777": false, "123": false, "987": false, "3210": false, "456789": false,
	} {
		if err := approvals.CheckCode(code); (err == nil) != ok {
			t.Errorf("%q: %v", code, err)
		} else if err != nil && code != "" && strings.Contains(err.Error(), code) && len(code) > 1 {
			t.Errorf("%q is in the error", code)
		}
	}
}

// The code decides: without it, or a passkey over these very words, nobody approves, by whatever door.
func TestApproveWithCode(t *testing.T) {
	rowtest.Row(t, "REQ-271")
	tests := []struct {
		name   string
		change func(*approvals.Answer)
		want   error
		tries  int // wrong ones that are counted
	}{
		{"right", func(a *approvals.Answer) { a.Code = "42" }, nil, 0},
		{"right, pasted", func(a *approvals.Answer) { a.Code = " 42\n" }, nil, 0},
		{"passkey instead", func(a *approvals.Answer) { a.Confirmed, a.Level = true, approvals.LevelPasskey }, nil, 0},
		{"simulated", func(a *approvals.Answer) { a.Simulated, a.Via = true, "dev" }, nil, 0},
		{"none", func(*approvals.Answer) {}, approvals.ErrInvalid, 0},
		{"from another door", func(a *approvals.Answer) { a.Via = "sms" }, approvals.ErrInvalid, 0},
		{"signed in by passkey", func(a *approvals.Answer) { a.Level = approvals.LevelPasskey }, approvals.ErrInvalid, 0},
		{"too short", func(a *approvals.Answer) { a.Code = "4" }, approvals.ErrInvalid, 0},
		{"too long", func(a *approvals.Answer) { a.Code = "421" }, approvals.ErrInvalid, 0},
		{"no digits", func(a *approvals.Answer) { a.Code = "ab" }, approvals.ErrInvalid, 0},
		{"wrong", func(a *approvals.Answer) { a.Code = "24" }, approvals.ErrCode, 1},
		{"wrong, too weak", func(a *approvals.Answer) { a.Code, a.Level = "24", approvals.LevelLink }, approvals.ErrLevel, 0},
		{"wrong, by another", func(a *approvals.Answer) { a.Code, a.By = "24", "bob" }, approvals.ErrWrongPerson, 0},
		{"wrong, on another page", func(a *approvals.Answer) { a.Code, a.Digest = "24", "x" }, approvals.ErrChanged, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newOffice(t)
			r := o.entering("42")
			a := o.answer(r)
			tt.change(&a)
			_, err := o.Approve(t.Context(), r.ID, a)
			if !errors.Is(err, tt.want) || err == nil && tt.want != nil {
				t.Fatalf("%v, want %v", err, tt.want)
			}
			got, err := o.store.Request(t.Context(), r.ID)
			if err != nil || got.CodeTries != tt.tries || (got.State == approvals.Approved) != (tt.want == nil) {
				t.Errorf("%s after %d tries, %v", got.State, got.CodeTries, err)
			}
			if _, err := o.Deny(t.Context(), r.ID, o.answer(r)); tt.want != nil && err != nil {
				t.Errorf("a no needs no code: %v", err)
			}
		})
	}
}

// TestThreeWrongCodes is REQ-271: three wrong codes deny the request, whatever comes then, and flag the agent, with a
// record of each.
func TestThreeWrongCodes(t *testing.T) {
	rowtest.Row(t, "REQ-271")
	o := newOffice(t)
	r := o.entering("4829")
	a := o.answer(r)
	for _, want := range []error{approvals.ErrCode, approvals.ErrCode, approvals.ErrDenied, approvals.ErrDenied} {
		a.Code = "9999"
		if _, err := o.Approve(t.Context(), r.ID, a); !errors.Is(err, want) {
			t.Fatalf("%v, want %v", err, want)
		}
	}
	a.Code = "4829"
	if _, err := o.Approve(t.Context(), r.ID, a); !errors.Is(err, approvals.ErrDecided) {
		t.Errorf("the right code comes too late: %v", err)
	}
	got, err := o.store.Request(t.Context(), r.ID)
	if err != nil || got.State != approvals.Denied || got.Reason != approvals.WrongCode || got.CodeTries != 3 || len(got.Decisions) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if kinds := o.kinds(r.ID); kinds != "[pending code_wrong code_wrong code_wrong denied]" {
		t.Error(kinds)
	}
	flags, err := o.Flagged(t.Context())
	if err != nil || flags["bot"].WrongCodes != 1 || flags["bot"].Reports != 0 {
		t.Errorf("%+v, %v", flags, err)
	}
}

// Guesses that are in flight side by side count each; one that is right among them is right only while tries are left.
func TestGuessesRace(t *testing.T) {
	o := newOffice(t)
	r := o.entering("42")
	a := o.answer(r)
	a.Code = "24"
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() { _, _ = o.Approve(t.Context(), r.ID, a) })
	}
	all.Wait()
	if got, err := o.store.Request(t.Context(), r.ID); err != nil || got.CodeTries != 2 || got.State != approvals.Pending {
		t.Fatalf("%s after %d tries, %v", got.State, got.CodeTries, err)
	}
	for range 20 {
		r := o.entering("42")
		var right error
		for i := range 6 {
			a := o.answer(r)
			if a.Code = "24"; i == 3 {
				a.Code = "42"
			}
			all.Go(func() {
				if _, err := o.Approve(t.Context(), r.ID, a); a.Code == "42" {
					right = err
				}
			})
		}
		all.Wait()
		got, err := o.store.Request(t.Context(), r.ID)
		if err != nil || got.CodeTries > 3 || (got.State == approvals.Approved) != (right == nil) ||
			(got.State == approvals.Denied) != (got.CodeTries == 3) {
			t.Fatalf("%s after %d tries, the right one: %v, %v", got.State, got.CodeTries, right, err)
		}
	}
}

// The code is nowhere in what is kept or shown; that one is to be typed is.
func TestCodeIsNowhere(t *testing.T) {
	o := newOffice(t)
	r := o.entering("482913")
	stored, err := o.store.Request(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	events, err := o.store.Events(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal([]any{stored, events})
	if err != nil || strings.Contains(string(text), "482913") {
		t.Errorf("the code is kept: %s, %v", text, err)
	}
	for locale, want := range map[string]string{"en": "Type the 6 digits your agent shows", "ko": "숫자 6자리"} {
		d, err := o.Show(r, locale)
		if err != nil || !strings.Contains(string(d.Canonical()), want) || strings.Contains(string(d.Canonical()), "482913") {
			t.Errorf("%s: %s, %v", locale, d.Canonical(), err)
		}
	}
	other := o.entering("482913")
	if string(other.CodeHash) == string(r.CodeHash) || len(r.CodeHash) == 0 {
		t.Error("equal codes have equal hashes")
	}
	agent, err := o.dir.Agent(t.Context(), "bot")
	must(t, err)
	ann, err := o.dir.Person(t.Context(), "ann")
	must(t, err)
	if _, _, err := o.Open(t.Context(), approvals.Ask{Agent: agent, Subject: ann, Binding: "1234", Enter: true}); !errors.Is(err, approvals.ErrInvalid) {
		t.Errorf("a run of digits: %v", err)
	}
}
