package approvals

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"
)

// PromptLimits keep agents from wearing a person out. A member that is zero lifts its limit.
type PromptLimits struct {
	PerMinute int           // new requests for one person, of all agents
	Open      int           // pending requests of one agent for one person
	Denials   int           // by one person to one agent, within Window, that start a cool-down
	Window    time.Duration //
	CoolDown  time.Duration // doubles each time, up to a day
	Join      time.Duration // how long the messages about a request speak for an equal one as well
}

// DefaultPromptLimits are 5 new requests a minute, 3 pending ones of each agent, 15 minutes of rest after 2 denials
// within 10, and one message for equal requests within 10 minutes.
func DefaultPromptLimits() PromptLimits {
	return PromptLimits{PerMinute: 5, Open: 3, Denials: 2, Window: 10 * time.Minute, CoolDown: 15 * time.Minute,
		Join: 10 * time.Minute}
}

// coolMost is the longest cool-down, and how long a past one is held against an agent.
const coolMost = 24 * time.Hour

// prompts is what this process has put before whom lately. Like openings it is a guard in memory, not an account: it
// begins anew at each start, and several processes count apart.
type prompts struct {
	mu     sync.Mutex
	people map[PersonID]*attention
	takes  int // since the last tidy
}

// attention is what one person has been asked.
type attention struct {
	recent []time.Time // new requests of the last minute
	agents map[AgentID]*asking
}

// asking is one agent and one person.
type asking struct {
	open    []prompt
	denials []time.Time
	cool    time.Time // no new request before
	length  time.Duration
}

// prompt is one pending request.
type prompt struct {
	id    ID
	equal [sha256.Size]byte
	at    time.Time
	until time.Time // it is over then, whether or not this process hears of it
	joins bool
}

// equality is the same for requests that say the same to the person: who asks and what for. What the person's past says of
// them is left out, because it may have changed in between.
func equality(r *Request, shown Disclosure) (sum [sha256.Size]byte) {
	h := sha256.New()
	add := func(text string) {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(text)))
		h.Write(size[:])
		h.Write([]byte(text))
	}
	add(string(r.Agent))
	add(shown.Type)
	for _, f := range shown.Facts {
		if f.Role == RoleRisk || f.Role == RoleAbout {
			continue
		}
		add(f.Label)
		add(f.Text)
	}
	h.Sum(sum[:0])
	return sum
}

// take counts one more request, unless it is one too many. joins is the request whose messages speak for this one as well.
func (p *prompts) take(r *Request, equal [sha256.Size]byte, limits PromptLimits, now time.Time) (joins ID, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tidy(now)
	who := p.of(r.Subject)
	with := who.with(r.Agent)
	who.forget(now)
	with.forget(limits, now)
	switch {
	case now.Before(with.cool):
		return "", fmt.Errorf("%s cools down after denials: %w", r.Agent, ErrTooOften)
	case limits.PerMinute > 0 && len(who.recent) >= limits.PerMinute:
		return "", fmt.Errorf("%d new requests in a minute: %w", limits.PerMinute, ErrTooOften)
	case limits.Open > 0 && len(with.open) >= limits.Open:
		return "", fmt.Errorf("%s has %d pending requests for one person: %w", r.Agent, limits.Open, ErrTooOften)
	}
	for _, other := range with.open {
		if joins == "" && !other.joins && other.equal == equal && now.Sub(other.at) < limits.Join {
			joins = other.id
		}
	}
	who.recent = append(who.recent, now)
	with.open = append(with.open, prompt{r.ID, equal, now, r.ExpiresAt, joins != ""})
	return joins, nil
}

// give takes a request back that was never written.
func (p *prompts) give(r *Request, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	who := p.of(r.Subject)
	who.with(r.Agent).close(r.ID)
	if i := slices.Index(who.recent, at); i >= 0 {
		who.recent = slices.Delete(who.recent, i, i+1)
	}
}

// end counts one pending request less, and denials.
func (p *prompts) end(r *Request, limits PromptLimits, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	who := p.people[r.Subject]
	if who == nil && r.State != Denied {
		return
	}
	with := p.of(r.Subject).with(r.Agent)
	with.close(r.ID)
	if r.State == Denied && limits.Denials > 0 {
		with.deny(limits, now)
	}
}

// pending lists what this process takes for pending, so that whoever refuses because of it can make sure.
func (p *prompts) pending(who PersonID, agent AgentID) (ids []ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, open := range p.of(who).with(agent).open {
		ids = append(ids, open.id)
	}
	return ids
}

// joined lists the pending requests of the same pair that another one speaks for.
func (p *prompts) joined(r *Request) (ids []ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	who := p.people[r.Subject]
	if who == nil || who.agents[r.Agent] == nil {
		return nil
	}
	for _, open := range who.agents[r.Agent].open {
		if open.joins && open.id != r.ID {
			ids = append(ids, open.id)
		}
	}
	return ids
}

// drop forgets a request that is no longer pending.
func (p *prompts) drop(who PersonID, agent AgentID, id ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of(who).with(agent).close(id)
}

// coolUntil is until when the pair cools down.
func (p *prompts) coolUntil(who PersonID, agent AgentID) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.people[who]; a != nil && a.agents[agent] != nil {
		return a.agents[agent].cool
	}
	return time.Time{}
}

// cooling is until when each person cools down from one agent.
func (p *prompts) cooling(agent AgentID, now time.Time) map[PersonID]time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[PersonID]time.Time{}
	for who, a := range p.people {
		if with := a.agents[agent]; with != nil && now.Before(with.cool) {
			out[who] = with.cool
		}
	}
	return out
}

func (p *prompts) of(id PersonID) *attention {
	if p.people == nil {
		p.people = map[PersonID]*attention{}
	}
	a := p.people[id]
	if a == nil {
		a = &attention{agents: map[AgentID]*asking{}}
		p.people[id] = a
	}
	return a
}

// tidyEvery is how many requests at least come between two looks at what can be forgotten.
const tidyEvery = 4096

// tidy forgets everybody about whom nothing is left to remember. It looks at no more people than requests have come since
// the last time, so that what it costs each request does not grow with their number.
func (p *prompts) tidy(now time.Time) {
	if p.takes++; p.takes < max(tidyEvery, len(p.people)) {
		return
	}
	p.takes = 0
	for id, who := range p.people {
		who.forget(now)
		for agent, with := range who.agents {
			with.forget(PromptLimits{Window: coolMost}, now)
			if len(with.open)+len(with.denials) == 0 && with.length == 0 {
				delete(who.agents, agent)
			}
		}
		if len(who.recent)+len(who.agents) == 0 {
			delete(p.people, id)
		}
	}
}

func (a *attention) with(agent AgentID) *asking {
	if a.agents[agent] == nil {
		a.agents[agent] = &asking{}
	}
	return a.agents[agent]
}

func (a *attention) forget(now time.Time) {
	a.recent = slices.DeleteFunc(a.recent, func(at time.Time) bool { return now.Sub(at) >= time.Minute })
}

func (w *asking) forget(limits PromptLimits, now time.Time) {
	w.open = slices.DeleteFunc(w.open, func(o prompt) bool { return !now.Before(o.until) })
	w.denials = slices.DeleteFunc(w.denials, func(at time.Time) bool { return now.Sub(at) >= limits.Window })
	if !now.Before(w.cool.Add(coolMost)) {
		w.length = 0
	}
}

func (w *asking) close(id ID) {
	w.open = slices.DeleteFunc(w.open, func(o prompt) bool { return o.id == id })
}

// deny counts a denial; enough of them start a cool-down twice as long as the one before.
func (w *asking) deny(limits PromptLimits, now time.Time) {
	w.forget(limits, now)
	w.denials = append(w.denials, now)
	if len(w.denials) < limits.Denials {
		return
	}
	w.denials = nil
	w.length = min(max(limits.CoolDown, 2*w.length), max(coolMost, limits.CoolDown))
	w.cool = now.Add(w.length)
}
