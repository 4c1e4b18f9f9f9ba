package ciba

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"assent/approvals"
)

// StepPing is the name of the due step that an outcome leaves for the pings of its request.
const StepPing = "ping"

// Record kinds of pings.
const (
	kindPing = "ciba.ping"         // the errand of a request, until it is done or the handle ends
	kindDead = "ciba.ping.givenup" // errands that were given up, for operators
)

// Times of pings.
const (
	pingTime     = 5 * time.Second  // one call, all told (REQ-219)
	pingLease    = 15 * time.Second // from the claim of a call to the write of its outcome
	pingFirst    = time.Second      // the longest pause before the first repeat
	pingSlowest  = 10 * time.Minute // and before any other
	pingPatience = time.Hour        // from the first call to the last
	pingAtMost   = 40               // calls
)

// errand is one result that an agent must be told of. It is changed by compare-and-set only, and in one transaction with
// its due step, so that of two workers who find it one calls.
type errand struct {
	V       int       `json:"v"`
	Sealed  []byte    `json:"sealed"`        // the notice
	Next    time.Time `json:"next,omitzero"` // time of the due step; zero: none, or the one that the outcome has left
	From    time.Time `json:"from,omitzero"` // of the first call since the last replay
	Calls   int       `json:"calls,omitempty"`
	Before  int       `json:"before,omitempty"`   // calls before the last replay
	Until   time.Time `json:"until,omitzero"`     // lease of the call under way; zero: there is none
	Doubt   bool      `json:"doubt,omitempty"`    // a call ended without an answer: it may have arrived
	GivenUp bool      `json:"given_up,omitempty"` // kept for a replay

	read    approvals.Record
	expires time.Time
}

// readErrand returns [approvals.ErrNotFound] when there is nothing to tell, or nothing any more.
func readErrand(ctx context.Context, records approvals.Records, id approvals.ID) (errand, error) {
	rec, err := records.Get(ctx, kindPing, string(id))
	if errors.Is(err, approvals.ErrNotFound) {
		return errand{}, err
	}
	e := errand{read: rec, expires: rec.Expires}
	if err == nil {
		err = json.Unmarshal(rec.Value, &e)
	}
	if err != nil {
		return errand{}, fmt.Errorf("read errand: %w", err)
	}
	return e, nil
}

func (e errand) write() approvals.Write {
	value, _ := json.Marshal(e) // bytes, numbers and times: cannot fail
	return approvals.Replace(e.read, value, e.expires)
}

// pingDo is what comes next for an errand.
type pingDo int

const (
	pingWait   pingDo = iota // until errand.Next
	pingCall                 // now
	pingSettle               // the lease of a call is over: nobody knows what became of it
	pingForget               // nothing is to be told any more
	pingGiveUp               // it took too long
	pingRest                 // it was given up: a replay may come
)

// plan says what comes next. It reads nothing but its arguments. Outcomes that the agent has collected need no ping
// (REQ-216), and once the handle has ended there is nothing to collect.
func (e errand) plan(r *approvals.Request, now time.Time) pingDo {
	state := r.StateAt(now)
	switch {
	case state == approvals.Redeemed, len(r.SecretHash) == 0, !now.Before(handleEnd(r)):
		return pingForget
	case !e.Until.IsZero() && now.Before(e.Until):
		return pingWait
	case !e.Until.IsZero():
		return pingSettle
	case e.GivenUp:
		return pingRest
	case now.Before(e.Next):
		return pingWait
	case e.tries() >= pingAtMost, !e.From.IsZero() && now.After(e.From.Add(pingPatience)):
		return pingGiveUp
	}
	return pingCall
}

// tries is how often this patience has been tried.
func (e errand) tries() int { return e.Calls - e.Before }

// handleEnd is when the desk retires the handle of r.
func handleEnd(r *approvals.Request) time.Time {
	if r.EndedAt.IsZero() {
		return r.ExpiresAt.Add(approvals.HandleLife)
	}
	return r.EndedAt.Add(approvals.HandleLife)
}

// claim begins a call.
func (e *errand) claim(now time.Time) {
	if e.From.IsZero() {
		e.From = now
	}
	e.Calls++
	e.Until = now.Add(pingLease)
}

// settle ends a call whose agent is to be told again, not before the given pause, and reports whether there will be
// time for that: within the hour, and before the handle ends.
func (e *errand) settle(r *approvals.Request, pause time.Duration, now time.Time) (at time.Time, more bool) {
	e.Until = time.Time{}
	at = now.Add(pause + jitter(e.tries()))
	return at, e.tries() < pingAtMost && !at.After(e.From.Add(pingPatience)) && at.Before(handleEnd(r))
}

// jitter is a pause of full jitter: anything up to a bound that doubles with each try.
func jitter(tries int) time.Duration { return rand.N(longest(tries)) }

func longest(tries int) time.Duration { return min(pingFirst<<min(max(tries-1, 0), 20), pingSlowest) }
