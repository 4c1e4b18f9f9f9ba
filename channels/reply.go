package channels

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"assent/approvals"
)

// Reply is a decision that a person has sent back by a channel. Whoever takes it has checked that it comes by the provider,
// from that address, and that it means this one message.
type Reply struct {
	Channel string
	From    string // the address that it came from, which is also the one that the message went to
	Request approvals.ID
	Sent    time.Time // the message
	Approve bool
	Digest  string // of the disclosure that stood in the message, all of it; empty if it did not
	Locale  string // its language
}

// Decide hands a reply in at the desk, as a page would, and returns where the request stands then; beside an error of the
// desk too. A reply is as good as a link ([approvals.LevelLink]): it approves nothing that takes more.
// [approvals.ErrWrongPerson] is for an address that is not the person's any more, somebody who is disabled, and messages from
// before a person was signed out everywhere: the phone may be lost.
func (d *Dispatcher) Decide(ctx context.Context, reply Reply) (approvals.State, error) {
	r, err := d.Desk.Request(ctx, reply.Request)
	if err != nil {
		return "", fmt.Errorf("reply by %s: %w", reply.Channel, err)
	}
	p, err := d.Directory.Person(ctx, r.Subject)
	if err != nil {
		return "", fmt.Errorf("reply by %s: %w", reply.Channel, err)
	}
	if !d.reaches(p, reply) {
		return "", fmt.Errorf("reply by %s: %w", reply.Channel, approvals.ErrWrongPerson)
	}
	decide := d.Desk.Deny
	if reply.Approve {
		decide = d.Desk.Approve
	}
	// There is no AuthTime: nobody has signed in.
	decided, err := decide(ctx, r.ID, approvals.Answer{By: p.ID, Digest: reply.Digest, Locale: reply.Locale,
		Level: approvals.LevelLink, AMR: []string{reply.Channel}, Via: reply.Channel})
	if err == nil {
		return decided.State, nil
	}
	if now, lookErr := d.Desk.Request(ctx, r.ID); lookErr == nil {
		return now.StateAt(d.Now()), err
	} else if errors.Is(lookErr, approvals.ErrNotFound) {
		return "", lookErr
	}
	return "", err
}

// Waits reports whether a request still waits for a decision, as far as this process knows.
func (d *Dispatcher) Waits(ctx context.Context, id approvals.ID) bool {
	r, err := d.Desk.Request(ctx, id)
	return err == nil && r.StateAt(d.Now()) == approvals.Pending
}

// reaches reports whether a reply comes from where the person can still be reached.
func (d *Dispatcher) reaches(p *approvals.Person, reply Reply) bool {
	return !p.Disabled && reply.Sent.After(p.SignedOutAt) &&
		slices.ContainsFunc(d.Addresses(p), func(a approvals.Address) bool {
			return a.Channel == reply.Channel && a.Value == reply.From
		})
}
