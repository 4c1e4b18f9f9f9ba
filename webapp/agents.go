package webapp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"time"

	"assent/approvals"
)

// How much the pages about agents read and count.
const (
	pauseFor  = time.Hour
	monthBack = 30 * 24 * time.Hour
	maxCount  = 100  // beyond it is "100+"
	maxAsked  = 300  // requests that one page reads: what it says beyond them is "there may be more"
	maxPairs  = 1000 // agents that one person has said something about
)

// agentsView is the page of everybody who has asked a person.
type agentsView struct {
	Rows  []agentRow
	Older string // where the list goes on; "" at its end
}

// agentRow is one agent.
type agentRow struct {
	ID       string
	Name     string
	Initial  string
	Mark     string // key of what the person has said; "" for nothing
	Until    string // end of a pause
	Asked    string // in the last 30 days, as are the next two
	Approved string
	Denied   string

	last approvals.ID // its last request in the list
}

// agentView is the page of one agent.
type agentView struct {
	agentRow
	Operator string // who runs it, as registered; "" when nobody has said
	Types    []string
	Scopes   []string
	Standing []standingRow
	More     bool // older approvals may stand
	Last     string
	Token    string
	Done     string // key of what has just been done

	Paused, Disconnected, Reported bool
	Gone                           bool // operators have disabled or removed it
}

// standingRow is an approval that the agent can come back on.
type standingRow struct {
	ID     string
	Action string
	Until  string
}

// record counts what one agent has asked a person within 30 days.
type record struct {
	name                    string // as registered when it asked last
	last                    *approvals.Request
	asked, approved, denied int
}

// monthOf reads the latest requests of a person before a cursor, of one agent or of all. cut is set when there may be more,
// and short when those within 30 days may be among them.
func (h *Handler) monthOf(v *visit, agent approvals.AgentID, before approvals.ID) (of map[approvals.AgentID]*record, cut approvals.ID, short bool, err error) {
	list, err := h.Desk.List(v.Context(), approvals.Query{Person: v.who.Person, Agent: agent, Before: before, Limit: maxAsked})
	if err != nil {
		return nil, "", false, fmt.Errorf("list requests: %w", err)
	}
	of, since := map[approvals.AgentID]*record{}, h.Now().Add(-monthBack)
	for _, r := range list {
		t := of[r.Agent]
		if t == nil {
			t = &record{name: r.AgentName, last: r}
			of[r.Agent] = t
		}
		if r.CreatedAt.After(since) {
			t.add(r)
		}
	}
	if len(list) == maxAsked {
		oldest := list[len(list)-1]
		cut, short = oldest.ID, oldest.CreatedAt.After(since)
	}
	return of, cut, short, nil
}

// add counts a request by what the person decided, whatever became of it then.
func (t *record) add(r *approvals.Request) {
	t.asked++
	if n := len(r.Decisions); n > 0 && r.Decisions[n-1].Approve {
		t.approved++
	} else if n > 0 {
		t.denied++
	}
}

// many writes a count: exactly, unless it is large or not everything has been counted.
func many(n int, short bool) string {
	switch {
	case n > maxCount:
		return strconv.Itoa(maxCount) + "+"
	case short:
		return strconv.Itoa(n) + "+"
	}
	return strconv.Itoa(n)
}

// agents lists everybody who has asked the person, in the order of their last request, and then whom else the person has
// said something about.
func (h *Handler) agents(v *visit) (answer, error) {
	if v.who == nil {
		return answer{}, errSignIn
	}
	before := v.URL.Query().Get("before")
	if before != "" && !requestID.MatchString(before) {
		return answer{}, fmt.Errorf("cursor: %w", errForm)
	}
	view, err := h.agentsOf(v, approvals.ID(before))
	if err != nil {
		return answer{}, err
	}
	return answer{page: "agents", data: view}, nil
}

func (h *Handler) agentsOf(v *visit, before approvals.ID) (*agentsView, error) {
	of, cut, short, err := h.monthOf(v, "", before)
	if err != nil {
		return nil, err
	}
	pairs, err := h.Desk.Pairs(v.Context(), v.who.Person, maxPairs)
	if err != nil {
		return nil, err
	}
	said := map[approvals.AgentID]approvals.Pair{}
	for _, p := range pairs {
		said[p.Agent] = p
	}
	if before == "" && cut == "" {
		for id := range said {
			if of[id] == nil {
				of[id] = &record{name: string(id)}
			}
		}
	}
	view := &agentsView{}
	for _, id := range slices.Sorted(maps.Keys(of)) {
		listed, err := h.listedBefore(v, id, of[id], before)
		if err != nil {
			return nil, err
		}
		if listed {
			continue
		}
		row, _, err := h.agentRow(v, id, of[id], said[id], short)
		if err != nil {
			return nil, err
		}
		view.Rows = append(view.Rows, row)
	}
	slices.SortStableFunc(view.Rows, func(a, b agentRow) int { return cmp.Compare(b.last, a.last) })
	if cut != "" {
		view.Older = v.path("/agents?before=" + string(cut))
	}
	return view, nil
}

// listedBefore reports whether an agent stands on an earlier page of the list, because it has asked again since.
func (h *Handler) listedBefore(v *visit, id approvals.AgentID, t *record, before approvals.ID) (bool, error) {
	if before == "" {
		return false, nil
	}
	newest, err := h.Desk.List(v.Context(), approvals.Query{Person: v.who.Person, Agent: id, Limit: 1})
	if err != nil {
		return false, fmt.Errorf("look for a newer request: %w", err)
	}
	return len(newest) > 0 && newest[0].ID != t.last.ID, nil
}

// agentRow says who an agent is, and what is between it and the person. The agent is nil when there is none any more.
func (h *Handler) agentRow(v *visit, id approvals.AgentID, t *record, p approvals.Pair, short bool) (agentRow, *approvals.Agent, error) {
	a, err := h.Directory.Agent(v.Context(), id)
	if errors.Is(err, approvals.ErrNotFound) {
		a, err = nil, nil
	}
	if err != nil {
		return agentRow{}, nil, fmt.Errorf("read agent: %w", err)
	}
	row := agentRow{ID: string(id), Name: approvals.Visible(t.name), Asked: many(t.asked, short),
		Approved: many(t.approved, short), Denied: many(t.denied, short)}
	if a != nil {
		row.Name = approvals.Visible(a.Name)
	}
	if t.last != nil {
		row.last = t.last.ID
	}
	row.Initial = string([]rune(row.Name)[:1])
	switch now := h.Now(); {
	case !p.ReportedAt.IsZero():
		row.Mark = "agent.isReported"
	case !p.DisconnectedAt.IsZero():
		row.Mark = "agent.isDisconnected"
	case a == nil || a.Disabled:
		row.Mark = "agent.isGone"
	case p.Paused(now):
		row.Mark, row.Until = "agent.isPaused", moment(p.PausedUntil, now, v.who.person.Zone, v.lang)
	}
	return row, a, nil
}

// known returns what there is between the person and an agent. One that has never asked this person, and that they have
// said nothing about, does not exist here: [errNoPage].
func (h *Handler) known(ctx context.Context, who approvals.PersonID, id approvals.AgentID) (approvals.Pair, *approvals.Request, error) {
	p, err := h.Desk.Pair(ctx, who, id)
	if err != nil {
		return p, nil, err
	}
	last, err := h.Desk.List(ctx, approvals.Query{Person: who, Agent: id, Limit: 1})
	if err != nil {
		return p, nil, fmt.Errorf("look for a request: %w", err)
	}
	if len(last) > 0 {
		return p, last[0], nil
	}
	if p.Revision == 0 {
		return p, nil, errNoPage
	}
	return p, nil, nil
}

// agent shows one agent: what it may ask, what it has asked, and what the person can do about it.
func (h *Handler) agent(v *visit) (answer, error) {
	if v.who == nil {
		return answer{}, errSignIn
	}
	id, asked := approvals.AgentID(v.PathValue("agent")), v.URL.Query()
	view, err := h.agentOf(v, id)
	if err != nil {
		return answer{}, err
	}
	view.Done = view.done(asked.Get("done"), h.stopped(v, id, asked.Get("request")))
	return answer{page: "agent", data: view}, nil
}

func (h *Handler) agentOf(v *visit, id approvals.AgentID) (*agentView, error) {
	p, last, err := h.known(v.Context(), v.who.Person, id)
	if err != nil {
		return nil, err
	}
	of, _, short, err := h.monthOf(v, id, "")
	if err != nil {
		return nil, err
	}
	t := of[id]
	if t == nil {
		t = &record{name: string(id), last: last}
		if last != nil {
			t.name = last.AgentName
		}
	}
	row, a, err := h.agentRow(v, id, t, p, short)
	if err != nil {
		return nil, err
	}
	now := h.Now()
	view := &agentView{agentRow: row, Token: h.formToken(v.who, formAgent(string(id))), Paused: p.Paused(now),
		Disconnected: !p.DisconnectedAt.IsZero(), Reported: !p.ReportedAt.IsZero(), Gone: a == nil || a.Disabled}
	if p.Paused(now) {
		view.Until = moment(p.PausedUntil, now, v.who.person.Zone, v.lang)
	}
	if last != nil {
		view.Last = moment(last.CreatedAt, now, v.who.person.Zone, v.lang)
	}
	if a != nil {
		view.Operator = approvals.Visible(a.Operator)
		view.Types, view.Scopes = typesOf(a, v.lang), h.scopesOf(a, v.lang)
	}
	view.Standing, view.More, err = h.standing(v, id)
	return view, err
}

// typeWords are the built-in types in plain words; one that an operator has made goes by its name.
var typeWords = map[string]string{"payment_initiation": "type.payment", "document_access": "type.document",
	"tool_call": "type.tool"}

func typesOf(a *approvals.Agent, lang string) (out []string) {
	for _, name := range a.Types {
		if key, known := typeWords[name]; known {
			out = append(out, say(lang, key))
		} else {
			out = append(out, approvals.Visible(name))
		}
	}
	if a.Generic {
		out = append(out, say(lang, "type.generic"))
	}
	return out
}

func (h *Handler) scopesOf(a *approvals.Agent, lang string) (out []string) {
	for _, name := range a.Scopes {
		text := approvals.Visible(name)
		if p, known := h.Desk.Renderer.Scopes[name]; known {
			text = cmp.Or(map[string]string{approvals.English: p.EN, approvals.Korean: p.KO}[lang], text)
		}
		out = append(out, text)
	}
	return out
}

// standing lists the approvals that an agent can come back on. None lives longer than requests of the last weeks, so the
// latest ones are enough for all but the busiest.
func (h *Handler) standing(v *visit, id approvals.AgentID) (out []standingRow, more bool, err error) {
	list, err := h.Desk.List(v.Context(), approvals.Query{Person: v.who.Person, Agent: id,
		States: []approvals.State{approvals.Approved, approvals.Redeemed}, Limit: maxAsked})
	if err != nil {
		return nil, false, fmt.Errorf("list approvals: %w", err)
	}
	now := h.Now()
	for _, r := range list {
		if !r.RevokedAt.IsZero() || !now.Before(r.Until) || r.StateAt(now) == approvals.Expired {
			continue
		}
		shown, err := h.shownOrStored(r, v.lang)
		if err != nil {
			return nil, false, err
		}
		out = append(out, standingRow{string(r.ID), shown.Action(), moment(r.Until, now, r.Zone, v.lang)})
	}
	return out, len(list) == maxAsked, nil
}

// done is the key of the sentence for what a redirect says was done, if that is how things stand: a link that somebody
// made up says nothing.
func (view *agentView) done(what string, stopped bool) string {
	for name, stands := range map[string]bool{"paused": view.Paused, "resumed": !view.Paused && !view.Disconnected,
		"disconnected": view.Disconnected, "reconnected": !view.Disconnected, "stopped": stopped} {
		if what == name && stands {
			return "agent.done." + name
		}
	}
	return ""
}

// about reads a form about an agent that this person knows.
func (h *Handler) about(v *visit, fields ...string) (approvals.AgentID, url.Values, error) {
	id, values, err := h.agentForm(v, fields...)
	if err != nil {
		return "", nil, err
	}
	_, _, err = h.known(v.Context(), v.who.Person, id)
	return id, values, err
}

// tell makes a page function of what a person can say about an agent.
func (h *Handler) tell(done string, act func(context.Context, approvals.PersonID, approvals.AgentID) error) func(*visit) (answer, error) {
	return func(v *visit) (answer, error) {
		id, _, err := h.about(v)
		if err != nil {
			return answer{}, err
		}
		if err := act(v.Context(), v.who.Person, id); err != nil {
			return answer{}, err
		}
		h.Log.InfoContext(v.Context(), "a person has changed what an agent may", "agent", string(id), "to", done)
		return h.agentDone(v, id, done), nil
	}
}

func (h *Handler) agentDone(v *visit, id approvals.AgentID, done string) answer {
	return answer{to: v.path("/agents/" + url.PathEscape(string(id)) + "?done=" + done)}
}

func (h *Handler) pause(ctx context.Context, who approvals.PersonID, id approvals.AgentID) error {
	return h.Desk.Pause(ctx, who, id, h.Now().Add(pauseFor))
}

// stopStanding ends one approval that the agent could come back on.
func (h *Handler) stopStanding(v *visit) (answer, error) {
	id, values, err := h.about(v, "request")
	if err != nil {
		return answer{}, err
	}
	list, err := h.requestsOf(v, id, values.Get("request"))
	if err != nil {
		return answer{}, err
	}
	for _, r := range list {
		if _, err = h.Desk.TakeBack(v.Context(), r.ID, v.who.Person); err != nil && !errors.Is(err, approvals.ErrDecided) {
			return answer{}, err
		}
	}
	return h.agentDone(v, id, "stopped&request="+url.QueryEscape(values.Get("request"))), nil
}

// stopped reports whether an approval on which this agent could come back has ended.
func (h *Handler) stopped(v *visit, id approvals.AgentID, request string) bool {
	if !requestID.MatchString(request) {
		return false
	}
	r, err := h.requestOf(v, approvals.ID(request))
	return err == nil && r.Agent == id && !r.Until.IsZero() && (r.State == approvals.Cancelled || !r.RevokedAt.IsZero())
}

// agentRoutes adds the pages.
func (h *Handler) agentRoutes(get, post func(string, func(*visit) (answer, error))) {
	const one = "/agents/{agent}"
	get("/agents", h.agents)
	get(one, h.agent)
	post(one+"/pause", h.tell("paused", h.pause))
	post(one+"/resume", h.atSession(h.tell("resumed", h.Desk.Resume)))
	post(one+"/disconnect", h.tell("disconnected", h.Desk.Disconnect))
	post(one+"/reconnect", h.atSession(h.tell("reconnected", h.Desk.Reconnect)))
	post(one+"/stop", h.stopStanding)
	post(one+"/deny", h.denyAll)
	get(one+"/denied", h.denied)
}
