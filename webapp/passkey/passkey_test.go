package passkey_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
	"assent/store"
	"assent/webapp/passkey"
	"assent/webapp/passkey/passkeytest"
)

const site = "https://ap.example.com"

var ann, minsu = passkey.Owner{Person: "ann", Name: "Ann"}, passkey.Owner{Person: "min", Name: "민"}

// house is a keeper over a real store, with a clock that tests move.
type house struct {
	*passkey.Keeper
	t      *testing.T
	now    time.Time
	since  time.Time // signed out everywhere
	logged bytes.Buffer
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, now: time.Date(2026, 3, 2, 13, 26, 0, 0, time.UTC)}
	clock := func() time.Time { return h.now }
	db, err := store.Open(t.Context(), "bolt:"+filepath.Join(t.TempDir(), "assent.db"), clock)
	check(t, err)
	t.Cleanup(func() { check(t, db.Close()) })
	root, err := keys.New(bytes.Repeat([]byte{7}, keys.Size))
	check(t, err)
	h.Keeper, err = passkey.New(passkey.Config{Records: db, Root: root, Now: clock, Origin: site, Name: "Assent",
		Since: func(context.Context, approvals.PersonID) (time.Time, error) { return h.since, nil },
		Log:   slog.New(slog.NewTextHandler(&h.logged, nil))})
	check(t, err)
	return h
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func device() *passkeytest.Authenticator { return &passkeytest.Authenticator{Origin: site} }

func encoded(t testing.TB, o passkey.Options) []byte {
	t.Helper()
	raw, err := json.Marshal(o)
	check(t, err)
	return raw
}

func (h *house) add(o passkey.Owner, d *passkeytest.Authenticator) (passkey.Credential, error) {
	h.t.Helper()
	options, err := h.BeginAdd(h.t.Context(), o, "sign-in")
	if err != nil {
		return passkey.Credential{}, err
	}
	made, err := d.Create(encoded(h.t, options))
	if err != nil {
		return passkey.Credential{}, err
	}
	return h.Add(h.t.Context(), o, "sign-in", passkey.Addition{Answer: passkey.Answer{Ticket: options.Ticket, Credential: made}})
}

func (h *house) added(o passkey.Owner, d *passkeytest.Authenticator) passkey.Credential {
	h.t.Helper()
	c, err := h.add(o, d)
	check(h.t, err)
	return c
}

var matter = passkey.Matter{Verb: "approve", Disclosure: "digest of words", Granted: "digest of details"}

// confirmed is the answer of a device to the options of a confirmation.
func (h *house) confirmed(d *passkeytest.Authenticator, m passkey.Matter) passkey.Answer {
	h.t.Helper()
	options, err := h.BeginConfirm(h.t.Context(), "ann", "sign-in", m)
	check(h.t, err)
	signed, err := d.Get(encoded(h.t, options))
	check(h.t, err)
	return passkey.Answer{Ticket: options.Ticket, Credential: signed}
}

// What is asked of browsers: a discoverable credential, verification of the user, no attestation, and none that the
// person has already.
func TestOptions(t *testing.T) {
	h := newHouse(t)
	d := device()
	have := h.added(ann, d)
	options, err := h.BeginAdd(t.Context(), ann, "sign-in")
	check(t, err)
	raw := string(encoded(t, options))
	for _, want := range []string{`"residentKey":"required"`, `"requireResidentKey":true`, `"userVerification":"required"`,
		`"attestation":"none"`, `"id":"ap.example.com"`, have.Key(), `"alg":-7`} {
		if !strings.Contains(raw, want) {
			t.Errorf("options for a new passkey lack %s: %s", want, raw)
		}
	}
	if strings.Contains(raw, `"id":"ann"`) {
		t.Error("the handle says who the person is")
	}
	if _, err := d.Create([]byte(raw)); err == nil {
		t.Error("the same device made a second passkey")
	}
	in, err := h.BeginSignIn("browser")
	check(t, err)
	raw = string(encoded(t, in))
	if !strings.Contains(raw, `"userVerification":"required"`) || strings.Contains(raw, "allowCredentials") {
		t.Errorf("options for sign-in: %s", raw)
	}
}

func TestSignIn(t *testing.T) {
	h := newHouse(t)
	d := device()
	h.added(minsu, device())
	h.added(ann, d)
	h.now = h.now.Add(time.Hour)
	options, err := h.BeginSignIn("browser")
	check(t, err)
	signed, err := d.Get(encoded(t, options))
	check(t, err)
	a := passkey.Answer{Ticket: options.Ticket, Credential: signed}
	if _, err := h.SignIn(t.Context(), "another browser", a); !errors.Is(err, passkey.ErrRefused) {
		t.Errorf("on another browser: %v", err)
	}
	proof, err := h.SignIn(t.Context(), "browser", a)
	check(t, err)
	if proof.Person != "ann" || !proof.At.Equal(h.now) || strings.Join(proof.AMR, " ") != "pop hwk user mfa" {
		t.Errorf("proof %+v", proof)
	}
	check(t, h.Commit(t.Context(), proof))
	list, err := h.List(t.Context(), "ann")
	check(t, err)
	if len(list) != 1 || !list[0].UsedAt.Equal(h.now) {
		t.Errorf("passkeys %+v", list)
	}
	if proof, err = h.SignIn(t.Context(), "browser", a); err == nil {
		err = h.Commit(t.Context(), proof)
	}
	if !errors.Is(err, passkey.ErrRefused) {
		t.Errorf("used twice: %v", err)
	}
}

// An assertion confirms exactly what it was asked for: this verb, these words, these details, this person, this sign-in,
// within five minutes, once.
func TestConfirmation(t *testing.T) {
	other := func(change func(*passkey.Matter)) passkey.Matter { m := matter; change(&m); return m }
	tests := []struct {
		name   string
		who    approvals.PersonID
		bound  string
		matter passkey.Matter
		wait   time.Duration
		want   error
	}{
		{name: "as asked"},
		{name: "another verb", matter: other(func(m *passkey.Matter) { m.Verb = "deny" }), want: passkey.ErrRefused},
		{name: "another request", matter: other(func(m *passkey.Matter) { m.Disclosure = "x" }), want: passkey.ErrRefused},
		{name: "other details", matter: other(func(m *passkey.Matter) { m.Granted = "x" }), want: passkey.ErrRefused},
		{name: "another sign-in", bound: "other", want: passkey.ErrRefused},
		{name: "another person", who: "min", want: passkey.ErrUnknown},
		{name: "just in time", wait: passkey.Life - time.Second},
		{name: "too late", wait: passkey.Life, want: passkey.ErrOver},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			d := device()
			h.added(ann, d)
			h.added(minsu, device())
			a := h.confirmed(d, matter)
			if tt.who == "" {
				tt.who = "ann"
			}
			if tt.bound == "" {
				tt.bound = "sign-in"
			}
			if tt.matter == (passkey.Matter{}) {
				tt.matter = matter
			}
			h.now = h.now.Add(tt.wait)
			proof, err := h.Confirm(t.Context(), tt.who, tt.bound, tt.matter, a)
			if !errors.Is(err, tt.want) {
				t.Fatalf("Confirm: %v, want %v", err, tt.want)
			}
			if err == nil && proof.Person != "ann" {
				t.Errorf("proof %+v", proof)
			}
		})
	}
}

// A challenge of one ceremony is worth nothing in another.
func TestPurposesAreApart(t *testing.T) {
	h := newHouse(t)
	d := device()
	h.added(ann, d)
	a := h.confirmed(d, matter)
	if _, err := h.SignIn(t.Context(), "sign-in", a); !errors.Is(err, passkey.ErrRefused) {
		t.Errorf("signed in with a confirmation: %v", err)
	}
	options, err := h.BeginSignIn("sign-in")
	check(t, err)
	signed, err := d.Get(encoded(t, options))
	check(t, err)
	_, err = h.Confirm(t.Context(), "ann", "sign-in", matter, passkey.Answer{Ticket: options.Ticket, Credential: signed})
	if !errors.Is(err, passkey.ErrRefused) {
		t.Errorf("confirmed with a sign-in: %v", err)
	}
}

// What a dishonest browser or device can say is refused, at registration and afterwards.
func TestDishonest(t *testing.T) {
	tests := []struct {
		name   string
		change func(*passkeytest.Authenticator)
		want   error
	}{
		{"user not verified", func(d *passkeytest.Authenticator) { d.Unverified = true }, passkey.ErrUnverified},
		{"look-alike site", func(d *passkeytest.Authenticator) { d.Origin = "https://ap.example.com.evil.example" }, passkey.ErrRefused},
		{"subdomain", func(d *passkeytest.Authenticator) { d.Origin = "https://x.ap.example.com" }, passkey.ErrRefused},
		{"other port", func(d *passkeytest.Authenticator) { d.Origin = site + ":8443" }, passkey.ErrRefused},
		{"plain HTTP", func(d *passkeytest.Authenticator) { d.Origin = "http://ap.example.com" }, passkey.ErrRefused},
		{"in a frame", func(d *passkeytest.Authenticator) { d.CrossFrame = true }, passkey.ErrRefused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			bad, d := device(), device()
			tt.change(bad)
			if _, err := h.add(ann, bad); !errors.Is(err, tt.want) {
				t.Errorf("adding: %v, want %v", err, tt.want)
			}
			h.added(ann, d)
			tt.change(d)
			if _, err := h.Confirm(t.Context(), "ann", "sign-in", matter, h.confirmed(d, matter)); !errors.Is(err, tt.want) {
				t.Errorf("confirming: %v, want %v", err, tt.want)
			}
		})
	}
}

// A passkey that was made for another relying party is none of ours.
func TestRelyingParty(t *testing.T) {
	h := newHouse(t)
	h.added(ann, device())
	foreign := device()
	options, err := h.BeginAdd(t.Context(), minsu, "sign-in")
	check(t, err)
	_, err = foreign.Create(bytes.Replace(encoded(t, options), []byte(`"id":"ap.example.com"`), []byte(`"id":"example.com"`), 1))
	check(t, err)
	options, err = h.BeginSignIn("browser")
	check(t, err)
	signed, err := foreign.Get(bytes.Replace(encoded(t, options), []byte(`"rpId":"ap.example.com"`), []byte(`"rpId":"example.com"`), 1))
	check(t, err)
	_, err = h.SignIn(t.Context(), "browser", passkey.Answer{Ticket: options.Ticket, Credential: signed})
	if !errors.Is(err, passkey.ErrUnknown) {
		t.Errorf("foreign passkey: %v", err)
	}
}

// A counter that goes back, or stands still, gives a copy away. Keys without a counter say 0 for ever.
func TestCounter(t *testing.T) {
	h := newHouse(t)
	d := device()
	d.Counts = true
	h.added(ann, d)
	for range 2 {
		proof, err := h.Confirm(t.Context(), "ann", "sign-in", matter, h.confirmed(d, matter))
		check(t, err)
		check(t, h.Commit(t.Context(), proof))
	}
	d.Rewind()
	if _, err := h.Confirm(t.Context(), "ann", "sign-in", matter, h.confirmed(d, matter)); !errors.Is(err, passkey.ErrCloned) {
		t.Errorf("counter went back: %v", err)
	}
	if !strings.Contains(h.logged.String(), "passkey counter went back") {
		t.Error("nothing in the log")
	}
	synced := device()
	synced.Synced = true
	h.added(minsu, synced)
	options, err := h.BeginConfirm(t.Context(), "min", "s", matter)
	check(t, err)
	signed, err := synced.Get(encoded(t, options))
	check(t, err)
	proof, err := h.Confirm(t.Context(), "min", "s", matter, passkey.Answer{Ticket: options.Ticket, Credential: signed})
	if err != nil || proof.AMR[1] != "swk" {
		t.Errorf("synced passkey: %+v, %v", proof, err)
	}
}

// Of twenty who hand in one assertion side by side, one wins.
func TestOnce(t *testing.T) {
	h := newHouse(t)
	d := device()
	h.added(ann, d)
	a := h.confirmed(d, matter)
	results := make([]error, 20)
	var all sync.WaitGroup
	for i := range results {
		all.Go(func() {
			proof, err := h.Confirm(t.Context(), "ann", "sign-in", matter, a)
			if err == nil {
				err = h.Commit(t.Context(), proof)
			}
			results[i] = err
		})
	}
	all.Wait()
	won := 0
	for _, err := range results {
		if err == nil {
			won++
		} else if !errors.Is(err, passkey.ErrRefused) {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d won", won)
	}
}

func TestLimitAndLast(t *testing.T) {
	h := newHouse(t)
	var last passkey.Credential
	for range passkey.Max {
		last = h.added(ann, device())
	}
	if _, err := h.add(ann, device()); !errors.Is(err, passkey.ErrLimit) {
		t.Errorf("one too many: %v", err)
	}
	list, err := h.List(t.Context(), "ann")
	check(t, err)
	for _, c := range list[:passkey.Max-1] {
		check(t, h.Remove(t.Context(), "ann", c.Key(), false))
	}
	for key, want := range map[string]error{last.Key(): passkey.ErrLast, list[0].Key(): passkey.ErrUnknown, "?": passkey.ErrUnknown} {
		if err := h.Remove(t.Context(), "ann", key, false); !errors.Is(err, want) {
			t.Errorf("remove: %v, want %v", err, want)
		}
	}
	if err := h.Remove(t.Context(), "min", last.Key(), true); !errors.Is(err, passkey.ErrUnknown) {
		t.Errorf("somebody else's: %v", err)
	}
	check(t, h.Remove(t.Context(), "ann", last.Key(), true))
	if _, err := h.BeginConfirm(t.Context(), "ann", "s", matter); !errors.Is(err, passkey.ErrUnknown) {
		t.Errorf("without any: %v", err)
	}
}

// A removed passkey signs nobody in, even if its challenge was made before.
func TestRemovedMeanwhile(t *testing.T) {
	h := newHouse(t)
	d := device()
	c := h.added(ann, d)
	a := h.confirmed(d, matter)
	proof, err := h.Confirm(t.Context(), "ann", "sign-in", matter, a)
	check(t, err)
	check(t, h.Remove(t.Context(), "ann", c.Key(), true))
	if err := h.Commit(t.Context(), proof); !errors.Is(err, passkey.ErrRefused) {
		t.Errorf("committed: %v", err)
	}
	if _, err := h.Confirm(t.Context(), "ann", "sign-in", matter, a); !errors.Is(err, passkey.ErrUnknown) {
		t.Errorf("confirmed: %v", err)
	}
}

// Being signed out everywhere ends the passkeys too. The person adds new ones, on the same device as well.
func TestSignedOutEverywhere(t *testing.T) {
	h := newHouse(t)
	d := device()
	old := h.added(ann, d)
	a := h.confirmed(d, matter)
	h.since = h.now
	if _, err := h.Confirm(t.Context(), "ann", "sign-in", matter, a); !errors.Is(err, passkey.ErrRefused) {
		t.Errorf("confirmed: %v", err)
	}
	h.now = h.now.Add(time.Second)
	h.added(ann, d)
	list, err := h.List(t.Context(), "ann")
	check(t, err)
	if len(list) != 1 || list[0].Key() == old.Key() {
		t.Errorf("passkeys %+v", list)
	}
}

func TestHeld(t *testing.T) {
	h := newHouse(t)
	d := device()
	options, err := h.BeginAdd(t.Context(), ann, "s")
	check(t, err)
	made, err := d.Create(encoded(t, options))
	check(t, err)
	a := passkey.Addition{Answer: passkey.Answer{Ticket: options.Ticket, Credential: made}, Name: " Phone ", Hold: 12 * time.Hour}
	c, err := h.Add(t.Context(), ann, "s", a)
	if err != nil || c.Name != "Phone" {
		t.Fatalf("%+v, %v", c, err)
	}
	if _, err := h.Add(t.Context(), ann, "s", a); !errors.Is(err, passkey.ErrRefused) {
		t.Errorf("added twice: %v", err)
	}
	for _, held := range []bool{true, false} {
		proof, err := h.Confirm(t.Context(), "ann", "sign-in", matter, h.confirmed(d, matter))
		if err != nil || proof.Held != held {
			t.Errorf("held %v, %v; want %v", proof.Held, err, held)
		}
		h.now = h.now.Add(12 * time.Hour)
	}
	for _, name := range []string{strings.Repeat("x", 61), "a\u202eb"} {
		if _, err := h.Add(t.Context(), ann, "s", passkey.Addition{Name: name}); !errors.Is(err, approvals.ErrInvalid) {
			t.Errorf("name of %d: %v", len(name), err)
		}
	}
}

func TestPossible(t *testing.T) {
	for origin, want := range map[string]bool{site: true, "http://localhost:8080": true, "https://192.0.2.1": false,
		"https://[2001:db8::1]:8443": false, "": false, "https://": false} {
		if got := passkey.Possible(origin); got != want {
			t.Errorf("%q: %v", origin, got)
		}
		if _, err := passkey.New(passkey.Config{Origin: origin, Name: "Assent"}); (err == nil) != want {
			t.Errorf("%q: %v", origin, err)
		}
	}
}

// Bytes of a browser never do more than be refused.
func FuzzAnswers(f *testing.F) {
	f.Add("", "{}")
	f.Add(strings.Repeat("A", 32), `{"id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"e30","authenticatorData":"AA","signature":"AA","attestationObject":"oA"}}`)
	f.Add("x", fmt.Sprintf(`{"id":%q}`, strings.Repeat("A", 4096)))
	f.Fuzz(func(t *testing.T, ticket, credential string) {
		h := newHouse(t)
		options, err := h.BeginSignIn("b")
		check(t, err)
		for _, with := range []string{ticket, options.Ticket} {
			a := passkey.Answer{Ticket: with, Credential: credential}
			if _, err := h.SignIn(t.Context(), "b", a); err == nil {
				t.Error("signed in")
			}
			if _, err := h.Add(t.Context(), ann, "b", passkey.Addition{Answer: a}); err == nil {
				t.Error("added")
			}
		}
	})
}
