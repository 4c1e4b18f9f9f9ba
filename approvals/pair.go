package approvals

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// KindPair is the record kind of what a person has said about an agent. The key is the person's id, a slash, which no
// such id holds, and the agent's.
const KindPair = "pair"

// StepPair is the step that is left until what a person has said about an agent is carried out: what is pending is
// withdrawn, and nobody comes back on what was approved.
const StepPair = "pair"

// Pair is one person and one agent: what that person has said about it. There is no record while there is nothing to
// say, so a request costs no write here, and none is read once this process knows.
type Pair struct {
	V      int      `json:"v"`
	Person PersonID `json:"-"` // both are in the key
	Agent  AgentID  `json:"-"`

	PausedUntil    time.Time `json:"paused_until,omitzero"`    // no new request before; those that wait stay
	DisconnectedAt time.Time `json:"disconnected_at,omitzero"` // nothing more, until the person connects again
	ReportedAt     time.Time `json:"reported_at,omitzero"`     // nothing more, until an operator has looked
	Revision       uint64    `json:"-"`
}

// Blocked reports whether the agent may have nothing of the person, new or old.
func (p Pair) Blocked() bool { return !p.DisconnectedAt.IsZero() || !p.ReportedAt.IsZero() }

// Paused reports whether new requests are refused at that moment because the person wants a rest.
func (p Pair) Paused(at time.Time) bool { return at.Before(p.PausedUntil) }

// asks says whether the agent may ask the person at that moment: nil, or [ErrShutOut].
func (p Pair) asks(at time.Time) error {
	switch {
	case p.Blocked():
		return fmt.Errorf("%s is blocked by one person: %w", p.Agent, ErrShutOut)
	case p.Paused(at):
		return fmt.Errorf("%s is paused by one person: %w", p.Agent, ErrShutOut)
	}
	return nil
}

func (p Pair) key() string { return pairKey(p.Person, p.Agent) }

func pairKey(who PersonID, agent AgentID) string { return string(who) + "/" + string(agent) }

// write is what keeps p in the place of what was read.
func (p Pair) write() Write {
	was := Record{Kind: KindPair, Key: p.key(), Revision: p.Revision}
	if p.PausedUntil.IsZero() && !p.Blocked() {
		return Delete(KindPair, was.Key, was.Revision)
	}
	p.V = 1
	value, _ := json.Marshal(p) // times: cannot fail
	return Replace(was, value, time.Time{})
}

// unchanged is the condition that nobody has said anything since p was read.
func (p Pair) unchanged() Write { return Expect(KindPair, p.key(), p.Revision) }

func decodePair(rec Record) (Pair, error) {
	var p Pair
	if err := json.Unmarshal(rec.Value, &p); err != nil {
		return p, fmt.Errorf("read pair: %w", err)
	}
	who, agent, _ := strings.Cut(rec.Key, "/")
	p.Person, p.Agent, p.Revision = PersonID(who), AgentID(agent), rec.Revision
	return p, nil
}

// Pair returns what a person has said about an agent, usually from memory; a pair without marks when that is nothing.
func (d *Desk) Pair(ctx context.Context, who PersonID, agent AgentID) (Pair, error) {
	return d.pairs.get(pairKey(who, agent), func() (Pair, error) { return d.readPair(ctx, who, agent) })
}

func (d *Desk) readPair(ctx context.Context, who PersonID, agent AgentID) (Pair, error) {
	rec, err := d.records.Get(ctx, KindPair, pairKey(who, agent))
	if errors.Is(err, ErrNotFound) {
		return Pair{Person: who, Agent: agent}, nil
	}
	if err != nil {
		return Pair{}, fmt.Errorf("read pair: %w", err)
	}
	return decodePair(rec)
}

// Pairs returns at most limit agents that a person has said something about, in order of their id.
func (d *Desk) Pairs(ctx context.Context, who PersonID, limit int) ([]Pair, error) {
	found, err := d.records.Scan(ctx, KindPair, pairKey(who, ""), limit)
	if err != nil {
		return nil, fmt.Errorf("list pairs: %w", err)
	}
	out := make([]Pair, 0, len(found))
	for _, rec := range found {
		p, err := decodePair(rec)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// pairsPage is how many records are read at a time.
const pairsPage = 500

// PairsOf returns what all people have said about an agent. It reads what they have said about any agent: it is for an
// operator's question, not for a request.
func (d *Desk) PairsOf(ctx context.Context, agent AgentID) (out []Pair, err error) {
	for after := ""; ; {
		found, err := d.records.ScanAfter(ctx, KindPair, after, pairsPage)
		if err != nil {
			return nil, fmt.Errorf("list pairs: %w", err)
		}
		for _, rec := range found {
			after = rec.Key
			p, err := decodePair(rec)
			if err != nil {
				return nil, err
			}
			if p.Agent == agent {
				out = append(out, p)
			}
		}
		if len(found) < pairsPage {
			return out, nil
		}
	}
}

// forgetPair drops what other processes say has changed.
func (d *Desk) forgetPair(topic string) {
	if key, ok := strings.CutPrefix(topic, TopicRecord(KindPair, "")); ok {
		d.pairs.drop(key)
	}
}

// tellPair forgets here what other processes are told to forget, and wakes the person's pages.
func (d *Desk) tellPair(who PersonID, agent AgentID) {
	key := pairKey(who, agent)
	d.pairs.drop(key)
	d.hub.Signal(TopicRecord(KindPair, key), TopicPerson(who))
}

// pairTries is how often a change of a pair is tried before somebody else's changes win.
const pairTries = 8

// changePair changes what a person has said about an agent, together with the given record writes.
func (d *Desk) changePair(ctx context.Context, who PersonID, agent AgentID, change func(*Pair), also ...Write) error {
	ctx = context.WithoutCancel(ctx) // what is said must be told
	for try := 1; ; try++ {
		p, err := d.readPair(ctx, who, agent)
		if err != nil {
			return err
		}
		change(&p)
		err = d.records.Apply(ctx, append([]Write{p.write()}, also...)...)
		if errors.Is(err, ErrConflict) && try < pairTries {
			continue
		}
		d.tellPair(who, agent)
		if err != nil {
			return fmt.Errorf("change pair: %w", err)
		}
		return nil
	}
}

// Pause refuses an agent's new requests for a person until then. Those that wait stay.
func (d *Desk) Pause(ctx context.Context, who PersonID, agent AgentID, until time.Time) error {
	return d.changePair(ctx, who, agent, func(p *Pair) { p.PausedUntil = until.UTC() })
}

// Resume ends a pause early.
func (d *Desk) Resume(ctx context.Context, who PersonID, agent AgentID) error {
	return d.changePair(ctx, who, agent, func(p *Pair) { p.PausedUntil = time.Time{} })
}

// Disconnect refuses everything that an agent asks of a person, withdraws what it has pending or has not collected, and
// ends what it could come back on. The block is durable first, with a step that brings the rest to its end if this
// process does not.
func (d *Desk) Disconnect(ctx context.Context, who PersonID, agent AgentID) error {
	at := d.now()
	step := pairStep(who, agent, at)
	err := d.changePair(ctx, who, agent, func(p *Pair) {
		if p.DisconnectedAt.IsZero() {
			p.DisconnectedAt = at.UTC()
		}
	}, step.Put())
	if err != nil {
		return err
	}
	return d.settle(context.WithoutCancel(ctx), step)
}

// Reconnect lets an agent that was disconnected ask again. One that was reported stays blocked until an operator has
// looked. What was withdrawn stays withdrawn.
func (d *Desk) Reconnect(ctx context.Context, who PersonID, agent AgentID) error {
	return d.changePair(ctx, who, agent, func(p *Pair) { p.DisconnectedAt = time.Time{} })
}

// pairStep has an id of its own: a key of the store has no room for a time and two long ids.
func pairStep(who PersonID, agent AgentID, at time.Time) Step {
	return Step{Name: StepPair, At: at, Of: string(NewID(at)), Data: pairKey(who, agent)}
}

// settle carries out what a person has said, as far as it still holds. It can be done again from any point.
func (d *Desk) settle(ctx context.Context, s Step) error {
	id, agent, _ := strings.Cut(s.Data, "/")
	p, err := d.readPair(ctx, PersonID(id), AgentID(agent))
	if err != nil {
		return err
	}
	if p.Blocked() {
		if err := d.shutOut(ctx, p); err != nil {
			return fmt.Errorf("withdraw what a blocked agent has: %w", err)
		}
	}
	if !p.ReportedAt.IsZero() {
		if err := d.weigh(ctx, p.Agent); err != nil {
			return fmt.Errorf("suspend a reported agent: %w", err)
		}
	}
	if err := d.records.Apply(ctx, s.Done()); err != nil {
		return fmt.Errorf("settle pair: %w", err)
	}
	return nil
}

// shutOut ends everything that the agent has of the person.
func (d *Desk) shutOut(ctx context.Context, p Pair) error {
	by := Actor{Kind: "person", ID: string(p.Person)}
	return d.endAll(ctx, Query{Person: p.Person, Agent: p.Agent}, ShutOut, Revocation{By: by, Why: RevokedByPerson})
}

// endAll ends everything that q selects: what is pending, what is not collected, and what its agent could come back on.
// What is approved in between is among the approved ones.
func (d *Desk) endAll(ctx context.Context, q Query, why Reason, v Revocation) error {
	for _, s := range []State{Pending, Approved} {
		if _, err := d.cancelIn(ctx, s, q, v.By, why); err != nil {
			return err
		}
	}
	_, err := d.RevokeAll(ctx, q, v)
	return err
}

// unblocked returns [ErrDecided] for a request whose agent the person has blocked, and withdraws it: the block was there
// first, and what it brings may not have come by yet.
func (d *Desk) unblocked(ctx context.Context, id ID) error {
	r, err := d.Request(ctx, id)
	if err != nil {
		return err
	}
	p, err := d.Pair(ctx, r.Subject, r.Agent)
	if err != nil || !p.Blocked() || r.State != Pending {
		return err
	}
	_, err = d.Cancel(ctx, id, Actor{Kind: "person", ID: string(p.Person)}, ShutOut)
	return errors.Join(ErrDecided, err)
}

// sweepPairs brings to its end what a crash has interrupted.
func (d *Desk) sweepPairs(ctx context.Context) (done int, err error) {
	steps, err := Due(ctx, d.records, StepPair, d.now(), sweepBatch)
	errs := []error{err}
	for _, s := range steps {
		if err := d.settle(ctx, s); err != nil {
			errs = append(errs, fmt.Errorf("sweep: %w", err))
			continue
		}
		done++
	}
	return done, errors.Join(errs...)
}
