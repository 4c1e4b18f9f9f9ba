package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
	"assent/store"
	"assent/webapp/passkey"
	"assent/webapp/passkey/passkeytest"
)

// signedBy makes the proof of a decision by a new passkey of the same person.
func signedBy(t *testing.T, origin string, m passkey.Matter) json.RawMessage {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	db, err := store.Open(t.Context(), "bolt:"+filepath.Join(t.TempDir(), "assent.db"), time.Now)
	must(err)
	t.Cleanup(func() { db.Close() })
	root, err := keys.New(bytes.Repeat([]byte{7}, keys.Size))
	must(err)
	keeper, err := passkey.New(passkey.Config{Records: db, Root: root, Now: time.Now, Origin: origin, Name: "Assent",
		Since: func(context.Context, approvals.PersonID) (time.Time, error) { return time.Time{}, nil },
		Log:   slog.New(slog.DiscardHandler)})
	must(err)
	device, ann := &passkeytest.Authenticator{Origin: origin}, passkey.Owner{Person: "ann", Name: "Ann"}
	answer := func(o passkey.Options, sign func([]byte) (string, error)) passkey.Answer {
		raw, err := json.Marshal(o)
		must(err)
		signed, err := sign(raw)
		must(err)
		return passkey.Answer{Ticket: o.Ticket, Credential: signed}
	}
	adding, err := keeper.BeginAdd(t.Context(), ann, "sign-in")
	must(err)
	_, err = keeper.Add(t.Context(), ann, "sign-in", passkey.Addition{Answer: answer(adding, device.Create)})
	must(err)
	confirming, err := keeper.BeginConfirm(t.Context(), "ann", "sign-in", m)
	must(err)
	proof, err := keeper.Confirm(t.Context(), "ann", "sign-in", m, answer(confirming, device.Get))
	must(err)
	return proof.Evidence
}

// TestProves: what an operator reads as proven was signed over these very words and this grant, on our pages, by the key that
// the audit record knows. Whoever can write to the store and has a key of their own can make evidence that is right in itself,
// and does not get past the audit record with it.
func TestProves(t *testing.T) {
	const origin = "https://ap.example.com"
	m := passkey.Matter{Verb: "approve", Disclosure: "digest of the words", Granted: "digest of the grant"}
	own, foreign := signedBy(t, origin, m), signedBy(t, origin, m)
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	made := approvals.Decision{Approve: true, At: at, Digest: m.Disclosure, Proof: own}
	record := approvals.Event{Kind: "approved", At: at, Facts: map[string]string{approvals.FactProof: made.ProofDigest()}}
	tests := []struct {
		name    string
		change  func(d *approvals.Decision, e *approvals.Event)
		granted string
		pages   string
		want    bool
		site    string // that it was signed on, if those are not our pages now
	}{
		{name: "as it was made", want: true},
		{name: "by another key", change: func(d *approvals.Decision, _ *approvals.Event) { d.Proof = foreign }},
		{name: "by another key, before audit records named any", want: true,
			change: func(d *approvals.Decision, e *approvals.Event) { d.Proof, e.Facts = foreign, nil }},
		{name: "by another key, at another moment", change: func(d *approvals.Decision, _ *approvals.Event) {
			d.Proof, d.At = foreign, at.Add(time.Second)
		}},
		{name: "a denial", change: func(d *approvals.Decision, _ *approvals.Event) { d.Approve = false }},
		{name: "other words", change: func(d *approvals.Decision, _ *approvals.Event) { d.Digest = "other" }},
		{name: "another grant", granted: "other"},
		{name: "the pages have moved", pages: "https://ap.example.org", want: true, site: origin},
		{name: "on other pages, before audit records named any", pages: "https://ap.example.org",
			change: func(_ *approvals.Decision, e *approvals.Event) { e.Facts = nil }},
		{name: "on other pages, by another key", pages: "https://ap.example.org",
			change: func(d *approvals.Decision, _ *approvals.Event) { d.Proof = foreign }},
		{name: "no evidence", change: func(d *approvals.Decision, _ *approvals.Event) { d.Proof = json.RawMessage(`{}`) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, e := made, record
			if tt.change != nil {
				tt.change(&d, &e)
			}
			granted, s := m.Granted, &service{cfg: Config{PagesURL: origin}}
			if tt.granted != "" {
				granted = tt.granted
			}
			if tt.pages != "" {
				s.cfg.PagesURL = tt.pages
			}
			got, site := s.proves(d, granted, []approvals.Event{e})
			if on := cmp.Or(tt.site, s.cfg.PagesURL); got != tt.want || got && site != on {
				t.Errorf("proves: %v on %q, want %v on %q", got, site, tt.want, on)
			}
		})
	}
}
