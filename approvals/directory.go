package approvals

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Record kinds of the directory.
const (
	KindPerson = "person"
	KindAgent  = "agent"
	kindName   = "name" // identifier → sub; what keeps an address with one owner
)

// Directory knows people and agents. Reads come from memory; a change drops what it changed, here and in other
// processes.
type Directory struct {
	records Records
	hub     *Hub
	people  *cache[*Person]
	agents  *cache[*Agent]
	names   *cache[PersonID]
	now     func() time.Time
}

// NewDirectory returns a directory over records. fresh is how old a value may get when other processes write too; 0
// when this process is the only one.
func NewDirectory(records Records, hub *Hub, fresh time.Duration, now func() time.Time) *Directory {
	d := &Directory{records: records, hub: hub, now: now,
		people: newCache[*Person](100_000, fresh, now),
		agents: newCache[*Agent](10_000, fresh, now),
		names:  newCache[PersonID](200_000, fresh, now)}
	hub.OnDeliver(d.forget)
	return d
}

func (d *Directory) forget(topic string) {
	rest, ok := strings.CutPrefix(topic, "record.")
	if !ok {
		return
	}
	kind, key, _ := strings.Cut(rest, ".")
	switch kind {
	case KindPerson:
		d.people.drop(key)
	case KindAgent:
		d.agents.drop(key)
	case kindName:
		d.names.drop(key)
	}
}

// Person returns [ErrNotFound] when there is none. The result is shared: do not change it.
func (d *Directory) Person(ctx context.Context, id PersonID) (*Person, error) {
	return d.people.get(string(id), func() (*Person, error) {
		rec, err := d.records.Get(ctx, KindPerson, string(id))
		if err != nil {
			return nil, err
		}
		return decodePerson(rec)
	})
}

// Reread is [Directory.Person] as the store has it now, for a change that rests on it: another process may have saved since.
func (d *Directory) Reread(ctx context.Context, id PersonID) (*Person, error) {
	d.forget(TopicRecord(KindPerson, string(id)))
	return d.Person(ctx, id)
}

// Agent returns [ErrNotFound] when there is none. The result is shared: do not change it.
func (d *Directory) Agent(ctx context.Context, id AgentID) (*Agent, error) {
	return d.agents.get(string(id), func() (*Agent, error) {
		rec, err := d.records.Get(ctx, KindAgent, string(id))
		if err != nil {
			return nil, err
		}
		return decodeAgent(rec)
	})
}

// Find returns the one active person whom all given names belong to, or [ErrNotFound]; names are made by [Name]. It
// does not tell an unknown name from a disabled person or from two people.
func (d *Directory) Find(ctx context.Context, names ...string) (*Person, error) {
	var owners []PersonID
	for _, name := range names {
		id, err := d.names.get(name, func() (PersonID, error) {
			rec, err := d.records.Get(ctx, kindName, name)
			return PersonID(rec.Value), err
		})
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !slices.Contains(owners, id) {
			owners = append(owners, id)
		}
	}
	if len(owners) != 1 {
		return nil, ErrNotFound
	}
	p, err := d.Person(ctx, owners[0])
	if err != nil {
		return nil, err
	}
	if p.Disabled {
		return nil, ErrNotFound
	}
	return p, nil
}

// SavePerson creates a person, or replaces the revision that was read. A name that belongs to somebody else is
// [ErrTaken]; a person changed in between is [ErrConflict], and is read anew by whoever tries again. also commits in the
// same transaction: what an edge keeps of one of the person's addresses. A number that is new to somebody who was there
// before sets [Person.ReachChangedAt], and is told to the person over everything else; so is a number that goes.
func (d *Directory) SavePerson(ctx context.Context, p *Person, also ...Write) error {
	if err := p.Validate(); err != nil {
		return err
	}
	p.V = 1
	var old []string
	if p.Revision > 0 {
		before, err := d.readPerson(ctx, p.ID)
		if err != nil {
			return err
		}
		old = before.names()
		switch {
		case p.Phone == before.Phone:
		case p.Phone == "":
			also = append(slices.Clone(also), p.Removed(NoticePhoneGone, "", d.now()))
		default:
			p.ReachChangedAt = d.now()
			also = append(slices.Clone(also), NewNotice(Notice{Person: p.ID, What: NoticePhone,
				New: Address{Channel: "sms", Value: p.Phone}}, d.now()))
		}
	}
	value, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("save person: %w", err)
	}
	writes := []Write{{Record: Record{Kind: KindPerson, Key: string(p.ID), Value: value, Revision: p.Revision}}}
	topics := []string{TopicRecord(KindPerson, string(p.ID)), TopicPerson(p.ID)}
	for _, name := range p.names() {
		if slices.Contains(old, name) {
			continue
		}
		switch rec, err := d.records.Get(ctx, kindName, name); {
		case err == nil && PersonID(rec.Value) != p.ID:
			return fmt.Errorf("save person: a login hint or address: %w", ErrTaken)
		case err != nil && !errors.Is(err, ErrNotFound):
			return fmt.Errorf("save person: %w", err)
		case err != nil:
			writes = append(writes, PutNew(kindName, name, []byte(p.ID), time.Time{}))
			topics = append(topics, TopicRecord(kindName, name))
		}
	}
	for _, name := range old {
		if !slices.Contains(p.names(), name) {
			writes = append(writes, Delete(kindName, name, AnyRevision))
			topics = append(topics, TopicRecord(kindName, name))
		}
	}
	if err := d.records.Apply(context.WithoutCancel(ctx), append(writes, also...)...); err != nil {
		d.forget(topics[0])
		return fmt.Errorf("save person: %w", err)
	}
	d.tell(append(topics, TopicDue))
	return nil
}

func (d *Directory) readPerson(ctx context.Context, id PersonID) (*Person, error) {
	rec, err := d.records.Get(ctx, KindPerson, string(id))
	if err != nil {
		return nil, err
	}
	return decodePerson(rec)
}

// SaveAgent creates an agent, or replaces the revision that was read, together with the given record writes.
func (d *Directory) SaveAgent(ctx context.Context, a *Agent, also ...Write) error {
	if err := a.Validate(); err != nil {
		return err
	}
	a.V = 1
	value, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("save agent: %w", err)
	}
	w := Write{Record: Record{Kind: KindAgent, Key: string(a.ID), Value: value, Revision: a.Revision}}
	return d.applyAgent(ctx, "save", a.ID, append(also, w))
}

// RemoveAgent deletes the revision of an agent that was read, together with the given record writes. Its requests stay,
// and nothing of them can be collected any more.
func (d *Directory) RemoveAgent(ctx context.Context, a *Agent, also ...Write) error {
	return d.applyAgent(ctx, "remove", a.ID, append(also, Delete(KindAgent, string(a.ID), a.Revision)))
}

func (d *Directory) applyAgent(ctx context.Context, doing string, id AgentID, writes []Write) error {
	if err := d.records.Apply(context.WithoutCancel(ctx), writes...); err != nil {
		d.forget(TopicRecord(KindAgent, string(id))) // somebody else may have been faster
		return fmt.Errorf("%s agent: %w", doing, err)
	}
	d.tell([]string{TopicRecord(KindAgent, string(id))})
	return nil
}

// tell forgets here what other processes are told to forget.
func (d *Directory) tell(topics []string) {
	for _, t := range topics {
		d.forget(t)
	}
	d.hub.Signal(topics...)
}

// People returns at most limit people in order of their id, after the given one.
func (d *Directory) People(ctx context.Context, after PersonID, limit int) ([]*Person, error) {
	return page(ctx, d.records, KindPerson, string(after), limit, decodePerson)
}

// Agents returns at most limit agents in order of their id, after the given one.
func (d *Directory) Agents(ctx context.Context, after AgentID, limit int) ([]*Agent, error) {
	return page(ctx, d.records, KindAgent, string(after), limit, decodeAgent)
}

func page[T any](ctx context.Context, records Records, kind, after string, limit int, decode func(Record) (T, error)) ([]T, error) {
	recs, err := records.ScanAfter(ctx, kind, after, limit)
	if err != nil {
		return nil, err
	}
	out := make([]T, 0, len(recs))
	for _, rec := range recs {
		v, err := decode(rec)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}
