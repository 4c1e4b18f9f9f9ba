package approvals

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash/maphash"
	"math/big"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds of what is remembered of one person, and of how many people.
const (
	habitWindow = 100    // latest decisions that are read from the store
	habitNames  = 512    // agents or payees: beyond that it is read anew
	habitPeople = 10_000 // people in memory
	usualOf     = 20     // latest amounts of a currency that make the usual one
)

// habits is what this process remembers of what people have decided, to compare new requests with. It is read once for
// each person, from the latest decisions in the store, and goes along with each decision. It is read again once another
// process has decided or the history has lost a decision, and not for its age: people are asked hours apart, and the
// reading costs more than all the rest of a request. When read, what lies further back than habitWindow decisions is as if
// it had not been.
type habits struct {
	list func(context.Context, Query) ([]*Request, error)

	seed   maphash.Seed
	shards [32]habitShard
}

type habitShard struct {
	mu     sync.Mutex
	people map[PersonID]*habit
}

// habit is one person's. Whoever comes while it is read waits for that one reading, and nobody else does.
type habit struct {
	mu     sync.Mutex
	read   bool                  // from the store
	agents map[AgentID]time.Time // decided about, and when first approved; zero: never
	payees map[payeeHash]bool    // who was paid
	spent  map[string][]spending // by currency, latest last
}

type payeeHash [sha256.Size / 2]byte

func (p *payment) hash() payeeHash {
	sum := sha256.Sum256([]byte(p.payee))
	return payeeHash(sum[:])
}

func (h payeeHash) String() string { return base64.RawURLEncoding.EncodeToString(h[:]) }

// spending is what one approved request spends in one currency.
type spending struct {
	request ID
	minor   *big.Int
}

func newHabits(p DeskParts) *habits {
	h := &habits{list: p.Store.List, seed: maphash.MakeSeed()}
	for i := range h.shards {
		h.shards[i].people = map[PersonID]*habit{}
	}
	p.Hub.OnDeliver(h.forget)
	return h
}

// topicHabits and a person wake nobody: they tell other processes that the person's past is another one.
const topicHabits = "habits."

func (h *habits) forget(topic string) {
	if who, ok := strings.CutPrefix(topic, topicHabits); ok {
		h.drop(PersonID(who))
	}
}

func (h *habits) shard(who PersonID) *habitShard {
	return &h.shards[maphash.String(h.seed, string(who))%uint64(len(h.shards))]
}

func (h *habits) drop(who PersonID) {
	s := h.shard(who)
	s.mu.Lock()
	delete(s.people, who)
	s.mu.Unlock()
}

// of returns the person's habit, which may not have been read yet. Room is made by forgetting anybody.
func (h *habits) of(who PersonID) *habit {
	s := h.shard(who)
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.people[who]
	if one != nil {
		return one
	}
	if len(s.people) >= habitPeople/len(h.shards) {
		for victim := range s.people {
			delete(s.people, victim)
			break
		}
	}
	one = &habit{}
	s.people[who] = one
	return one
}

// compare lets f look at the person's habit, reading the store only when memory has none.
func (h *habits) compare(ctx context.Context, types Types, who PersonID, f func(*habit)) error {
	one := h.of(who)
	one.mu.Lock()
	defer one.mu.Unlock()
	if !one.read {
		if err := one.load(ctx, h.list, types, who); err != nil {
			return err
		}
	}
	f(one)
	return nil
}

// decided adds a decision that was just committed, or forgets the person when one no longer stands.
func (h *habits) decided(types Types, r *Request) {
	s := h.shard(r.Subject)
	s.mu.Lock()
	one := s.people[r.Subject]
	s.mu.Unlock()
	if one == nil {
		return // the next one to ask reads it
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	if !one.read {
		return
	}
	one.learn(types, r)
	one.read = max(len(one.agents), len(one.payees)) <= habitNames
}

// load reads the latest decisions: one bounded list.
func (one *habit) load(ctx context.Context, list func(context.Context, Query) ([]*Request, error), types Types,
	who PersonID) error {
	past, err := list(ctx, Query{Person: who, States: []State{Approved, Redeemed, Denied}, Limit: habitWindow})
	if err != nil {
		return fmt.Errorf("read what %s has decided: %w", who, err)
	}
	one.agents, one.payees, one.spent = map[AgentID]time.Time{}, map[payeeHash]bool{}, map[string][]spending{}
	for _, r := range slices.Backward(past) { // oldest first
		one.learn(types, r)
	}
	one.read = true
	return nil
}

// learn adds one decided request. To add it twice changes nothing.
func (one *habit) learn(types Types, r *Request) {
	since := one.agents[r.Agent]
	for _, d := range r.Decisions {
		if first := r.Since; d.Approve {
			if first.IsZero() { // else an earlier approval is known, also when it is no longer in the store
				first = d.At
			}
			if since.IsZero() || first.Before(since) {
				since = first
			}
		}
	}
	one.agents[r.Agent] = since
	if r.State == Denied {
		return
	}
	objects, err := r.Granted.objects()
	if err != nil {
		return // it was read before, when it came
	}
	paid := types.payments(r.Granted, objects)
	for _, p := range paid {
		if p != nil {
			one.payees[p.hash()] = true
		}
	}
	for currency, minor := range totals(paid) {
		one.spend(currency, spending{r.ID, minor})
	}
}

func (one *habit) spend(currency string, s spending) {
	list := one.spent[currency]
	if slices.ContainsFunc(list, func(o spending) bool { return o.request == s.request }) {
		return
	}
	if list = append(list, s); len(list) > usualOf {
		list = list[1:]
	}
	one.spent[currency] = list
}

// usual is the median of the latest amounts in a currency; nil when there are too few to speak of.
func (one *habit) usual(currency string) *big.Int {
	list := one.spent[currency]
	if len(list) < usualFrom {
		return nil
	}
	sorted := make([]*big.Int, len(list))
	for i, s := range list {
		sorted[i] = s.minor
	}
	slices.SortFunc(sorted, (*big.Int).Cmp)
	middle := new(big.Int).Add(sorted[(len(sorted)-1)/2], sorted[len(sorted)/2])
	return middle.Rsh(middle, 1)
}
