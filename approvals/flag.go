package approvals

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// FlagReason says why an agent is flagged for operators; a closed set.
type FlagReason string

// Reasons of flags.
const (
	FlagReported FlagReason = "reported"   // a person has reported a request as suspicious
	FlagCode     FlagReason = "wrong_code" // a person could not tell the code that the agent claims to have shown
)

// flagReasons are all of them.
var flagReasons = []FlagReason{FlagReported, FlagCode}

// kind is the record kind of flags of one reason. The key is the agent's id, a slash, and the person's: one person counts
// once, however often.
func (why FlagReason) kind() string { return "flag." + string(why) }

// Flag is a mark on an agent that an operator has to look into. It stays until [Desk.Clear].
type Flag struct {
	V       int        `json:"v"`
	Agent   AgentID    `json:"-"` // in the key, as are the next two
	Person  PersonID   `json:"-"`
	Why     FlagReason `json:"-"`
	Request ID         `json:"request"` // the last one that it was about
	At      time.Time  `json:"at"`
}

// Put is the write that keeps f, for the transaction of the request that it is about.
func (f Flag) Put() Write {
	f.V, f.At = 1, f.At.UTC()
	value, _ := json.Marshal(f) // strings and a time: cannot fail
	return PutAny(f.Why.kind(), flagKey(f.Agent, f.Person), value, time.Time{})
}

func flagKey(agent AgentID, who PersonID) string { return string(agent) + "/" + string(who) }

// Flags is how many people an agent is flagged for.
type Flags struct {
	Reports    int `json:"reports"`     // who have reported it
	WrongCodes int `json:"wrong_codes"` // who could not tell its code
}

// flagsPage is how many records are read at a time.
const flagsPage = 500

// Flagged counts the flags of every agent that has one.
func (d *Desk) Flagged(ctx context.Context) (map[AgentID]Flags, error) {
	out := map[AgentID]Flags{}
	for _, why := range flagReasons {
		for after := ""; ; {
			found, err := d.records.ScanAfter(ctx, why.kind(), after, flagsPage)
			if err != nil {
				return nil, fmt.Errorf("list flags: %w", err)
			}
			for _, rec := range found {
				agent, _, _ := strings.Cut(rec.Key, "/")
				flags := out[AgentID(agent)]
				if why == FlagReported {
					flags.Reports++
				} else {
					flags.WrongCodes++
				}
				out[AgentID(agent)], after = flags, rec.Key
			}
			if len(found) < flagsPage {
				break
			}
		}
	}
	return out, nil
}

// FlagsOf returns the flags of an agent, at most limit of each reason: who it is flagged for, and the request that each is
// about.
func (d *Desk) FlagsOf(ctx context.Context, agent AgentID, limit int) ([]Flag, error) {
	var out []Flag
	for _, why := range flagReasons {
		found, err := d.records.Scan(ctx, why.kind(), flagKey(agent, ""), limit)
		if err != nil {
			return nil, fmt.Errorf("list flags of %s: %w", agent, err)
		}
		for _, rec := range found {
			f := Flag{Agent: agent, Why: why}
			if err := json.Unmarshal(rec.Value, &f); err != nil {
				return nil, fmt.Errorf("read flag: %w", err)
			}
			_, who, _ := strings.Cut(rec.Key, "/")
			f.Person = PersonID(who)
			out = append(out, f)
		}
	}
	return out, nil
}

// Reported tells whether reports of an agent stand that no operator has looked into.
func (d *Desk) Reported(ctx context.Context, agent AgentID) (bool, error) {
	found, err := d.records.Scan(ctx, FlagReported.kind(), flagKey(agent, ""), 1)
	if err != nil {
		return false, fmt.Errorf("look for reports of %s: %w", agent, err)
	}
	return len(found) > 0, nil
}

// suspendAfter is how many people have to report an agent before it may ask nobody any more.
const suspendAfter = 2

// Report denies a request that the person takes for a fraud, blocks its agent for that person and flags it, in one
// transaction. What else the agent has of the person is withdrawn then, and an agent that enough people have reported
// is disabled; a step that commits with the decision sees to both if this process does not.
func (d *Desk) Report(ctx context.Context, id ID, a Answer) (*Request, error) {
	r, err := d.Request(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("report %s: %w", id, err)
	}
	at := d.now()
	step := pairStep(a.By, r.Agent, at)
	flag := Flag{Agent: r.Agent, Person: a.By, Why: FlagReported, Request: id, At: at}
	for try := 1; ; try++ {
		p, err := d.readPair(ctx, a.By, r.Agent)
		if err != nil {
			return nil, err
		}
		p.ReportedAt = at.UTC()
		denied, err := d.deny(ctx, id, a, true, p.write(), flag.Put(), step.Put())
		if errors.Is(err, ErrConflict) && try < pairTries {
			continue
		}
		d.tellPair(a.By, r.Agent)
		if err != nil {
			return nil, err
		}
		d.reports.Add(1)
		d.log.WarnContext(ctx, "agent reported as suspicious", "request", denied)
		if err := d.settle(context.WithoutCancel(ctx), step); err != nil {
			d.log.ErrorContext(ctx, "report not carried out yet, leaving it to the sweep", "request", denied, "err", err)
		}
		return denied, nil
	}
}

// Reports is how many requests this process has seen reported, and how many agents it has suspended for that.
func (d *Desk) Reports() (reports, suspended uint64) { return d.reports.Load(), d.suspended.Load() }

// weigh disables an agent that enough people have reported, and withdraws what it has.
func (d *Desk) weigh(ctx context.Context, agent AgentID) error {
	for try := 1; ; try++ {
		found, err := d.records.Scan(ctx, FlagReported.kind(), flagKey(agent, ""), suspendAfter)
		if err != nil || len(found) < suspendAfter {
			return err
		}
		err = d.suspend(ctx, agent, found)
		if errors.Is(err, ErrConflict) && try < pairTries {
			continue // an operator may have cleared it: count again
		}
		if err != nil {
			return err
		}
		break
	}
	return d.endAll(ctx, Query{Agent: agent}, NotEligible, Revocation{By: Actor{Kind: "service"}, Why: RevokedIneligible})
}

// suspend disables an agent as long as the flags stand that speak against it.
func (d *Desk) suspend(ctx context.Context, agent AgentID, flags []Record) error {
	var standing []Write
	for _, rec := range flags {
		standing = append(standing, Expect(rec.Kind, rec.Key, rec.Revision))
	}
	changed, err := d.tryAgent(ctx, agent, func(a *Agent) bool {
		if a.Disabled {
			return false
		}
		a.Disabled, a.DisabledWhy = true, DisabledReported
		return true
	}, standing...)
	if changed {
		d.suspended.Add(1)
		d.log.WarnContext(ctx, "agent suspended until an operator clears it", "agent", agent, "reported_by_at_least", suspendAfter)
	}
	return err
}

// changeAgent changes an agent's record unless change says that there is nothing to change, or there is no such agent.
func (d *Desk) changeAgent(ctx context.Context, id AgentID, change func(*Agent) bool) (changed bool, err error) {
	for try := 1; ; try++ {
		changed, err = d.tryAgent(ctx, id, change)
		if !errors.Is(err, ErrConflict) || try == pairTries {
			return changed, err
		}
	}
}

// tryAgent is one try of changeAgent, together with the given record writes.
func (d *Desk) tryAgent(ctx context.Context, id AgentID, change func(*Agent) bool, also ...Write) (changed bool, err error) {
	found, err := d.directory.Agent(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	next := *found
	if !change(&next) {
		return false, nil
	}
	err = d.directory.SaveAgent(ctx, &next, also...)
	return err == nil, err
}

// Clear is for an operator who has looked into the flags of an agent: they are lifted, the people who reported it are
// asked again, unless they have disconnected it as well, and an agent that was suspended for reports may ask. It returns how
// many reports there were. What is flagged meanwhile stays so. An agent that is gone may have left flags; without any it is
// [ErrNotFound]. It can be done again from any point.
func (d *Desk) Clear(ctx context.Context, agent AgentID) (reports int, err error) {
	ctx = context.WithoutCancel(ctx)
	lifted := 0
	for _, why := range flagReasons {
		n, err := d.lift(ctx, agent, why)
		if err != nil {
			return reports, fmt.Errorf("clear %s: %w", agent, err)
		}
		if lifted += n; why == FlagReported {
			reports = n
		}
	}
	if _, err := d.directory.Agent(ctx, agent); lifted == 0 && err != nil {
		return 0, fmt.Errorf("client_id %s: %w", agent, err)
	}
	_, err = d.changeAgent(ctx, agent, func(a *Agent) bool {
		if a.DisabledWhy != DisabledReported {
			return false
		}
		a.Disabled, a.DisabledWhy = false, ""
		return true
	})
	if err == nil {
		err = d.weigh(ctx, agent) // those who reported it meanwhile may be enough
	}
	return reports, err
}

// lift takes the flags of one reason away, each together with the block that it came with.
func (d *Desk) lift(ctx context.Context, agent AgentID, why FlagReason) (n int, err error) {
	prefix := flagKey(agent, "")
	for after := prefix; ; {
		found, err := d.records.ScanAfter(ctx, why.kind(), after, flagsPage)
		if err != nil {
			return n, err
		}
		for _, rec := range found {
			if !strings.HasPrefix(rec.Key, prefix) {
				return n, nil
			}
			gone, err := d.liftOne(ctx, agent, why, rec)
			if err != nil {
				return n, err
			}
			if after = rec.Key; gone {
				n++
			}
		}
		if len(found) < flagsPage {
			return n, nil
		}
	}
}

// liftOne leaves a flag that was put again since it was read: nobody has looked into that one.
func (d *Desk) liftOne(ctx context.Context, agent AgentID, why FlagReason, rec Record) (gone bool, err error) {
	_, who, _ := strings.Cut(rec.Key, "/")
	drop := Delete(rec.Kind, rec.Key, rec.Revision)
	if why == FlagReported { // the block and its flag are written together, so this revision is of this block
		err = d.changePair(ctx, PersonID(who), agent, func(p *Pair) { p.ReportedAt = time.Time{} }, drop)
	} else {
		err = d.records.Apply(ctx, drop)
	}
	if errors.Is(err, ErrConflict) {
		return false, nil
	}
	return err == nil, err
}
