package webapp

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"time"

	"assent/approvals"
)

// How much of the history one page shows, how often it reads on for a page that a filter leaves empty, and how many of the
// latest requests say which agents there are.
const (
	historyRows   = 20
	historyReads  = 10
	historyAskers = 100
)

// outcomes are what the history can be narrowed to, and the states that they stand for.
var outcomes = map[string][]approvals.State{
	"":          slices.DeleteFunc(approvals.States(), func(s approvals.State) bool { return s == approvals.Pending }),
	"approved":  {approvals.Approved, approvals.Redeemed},
	"denied":    {approvals.Denied},
	"reported":  {approvals.Denied},
	"expired":   {approvals.Expired},
	"cancelled": {approvals.Cancelled},
	"failed":    {approvals.Failed},
}

// outcomeOrder is the order in which a person may choose them.
var outcomeOrder = []string{"approved", "denied", "reported", "expired", "cancelled", "failed"}

// historyQuery is what a person looks for; every member may be empty.
type historyQuery struct {
	Agent   string
	Outcome string
	From    string // the first day, and the last one, where the person is
	To      string
	Before  string // cursor: requests before this one

	from, until time.Time
}

var agentID = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,255}$`)

// historyAsked reads a query strictly: what our pages do not write is refused.
func historyAsked(values url.Values, zone string) (q historyQuery, err error) {
	place, err := time.LoadLocation(zone)
	if err != nil {
		place = time.UTC
	}
	for name, into := range map[string]*string{"agent": &q.Agent, "outcome": &q.Outcome, "from": &q.From, "to": &q.To,
		"before": &q.Before} {
		if len(values[name]) > 1 {
			return q, fmt.Errorf("%s twice: %w", name, errForm)
		}
		*into = values.Get(name)
	}
	_, known := outcomes[q.Outcome]
	if !known || q.Agent != "" && !agentID.MatchString(q.Agent) || q.Before != "" && !requestID.MatchString(q.Before) {
		return q, fmt.Errorf("filter: %w", errForm)
	}
	for _, day := range []struct {
		text string
		days int
		into *time.Time
	}{{q.From, 0, &q.from}, {q.To, 1, &q.until}} {
		if day.text == "" {
			continue
		}
		at, err := time.ParseInLocation(time.DateOnly, day.text, place)
		if err != nil || at.Year() < 2000 || at.Year() > 2200 {
			return q, fmt.Errorf("day: %w", errForm)
		}
		*day.into = at.AddDate(0, 0, day.days)
	}
	return q, nil
}

// path is the page that goes on before a request, with the same filters.
func (q historyQuery) path(before approvals.ID) string {
	values := url.Values{"before": {string(before)}}
	for name, value := range map[string]string{"agent": q.Agent, "outcome": q.Outcome, "from": q.From, "to": q.To} {
		if value != "" {
			values.Set(name, value)
		}
	}
	return "/history?" + values.Encode()
}

// shows reports whether a request is one that the person looks for; the store has seen to agent and states.
func (q historyQuery) shows(r *approvals.Request) bool {
	return q.Outcome != "reported" || r.Reported()
}

// historyView is the page of what has ended.
type historyView struct {
	Query    historyQuery
	Lang     string // to keep in the form; "" when it was not chosen
	Agents   []option
	Outcomes []option
	Rows     []historyRow
	Older    string
	Filtered bool
}

type option struct {
	Value  string
	Text   string
	Chosen bool
}

type historyRow struct {
	item
	At string
}

// Line is the row as a line of a list.
func (r historyRow) Line() item { return r.item }

// history lists what has ended, newest first.
func (h *Handler) history(v *visit) (answer, error) {
	q, err := historyAsked(v.URL.Query(), v.who.person.Zone)
	if err != nil {
		return answer{}, err
	}
	view, err := h.historyOf(v, q)
	if err != nil {
		return answer{}, err
	}
	return answer{page: "history", data: view}, nil
}

func (h *Handler) historyOf(v *visit, q historyQuery) (*historyView, error) {
	view := &historyView{Query: q, Filtered: q.Agent+q.Outcome+q.From+q.To != ""}
	if v.asked {
		view.Lang = v.lang
	}
	found, next, err := h.find(v, q)
	if err != nil {
		return nil, err
	}
	items, err := h.items(v, found)
	if err != nil {
		return nil, err
	}
	for i, r := range found {
		view.Rows = append(view.Rows, historyRow{items[i], dated(r.CreatedAt, r.Zone, v.lang)})
	}
	if next != "" {
		view.Older = v.path(q.path(next))
	}
	for _, name := range outcomeOrder {
		word := "state." + name
		view.Outcomes = append(view.Outcomes, option{name, say(v.lang, word), name == q.Outcome})
	}
	view.Agents, err = h.askers(v, found, q.Agent)
	return view, err
}

// find reads one page, and where the next one begins; "" when there is none.
func (h *Handler) find(v *visit, q historyQuery) (found []*approvals.Request, next approvals.ID, err error) {
	at := approvals.Query{Person: v.who.Person, Agent: approvals.AgentID(q.Agent), States: outcomes[q.Outcome],
		Before: approvals.ID(q.Before), Limit: historyRows + 1}
	if last := approvals.FirstID(q.until); !q.until.IsZero() && (at.Before == "" || last < at.Before) {
		at.Before = last
	}
	for range historyReads {
		list, err := h.Desk.List(v.Context(), at)
		if err != nil {
			return nil, "", fmt.Errorf("list history: %w", err)
		}
		for _, r := range list {
			switch {
			case r.CreatedAt.Before(q.from):
				return found, "", nil
			case !q.shows(r):
			case len(found) == historyRows:
				return found, at.Before, nil
			default:
				found = append(found, r)
			}
			at.Before = r.ID
		}
		if len(list) < at.Limit {
			return found, "", nil
		}
	}
	return found, at.Before, nil
}

// askers are the agents that can be chosen from: those of the rows and of the latest requests, those that the person has
// said something about, and the chosen one, in the order of their names. More would mean to read all that there is.
func (h *Handler) askers(v *visit, rows []*approvals.Request, chosen string) (out []option, err error) {
	latest, err := h.Desk.List(v.Context(), approvals.Query{Person: v.who.Person, Limit: historyAskers})
	if err != nil {
		return nil, fmt.Errorf("list requests: %w", err)
	}
	pairs, err := h.Desk.Pairs(v.Context(), v.who.Person, maxPairs)
	if err != nil {
		return nil, err
	}
	names := map[approvals.AgentID]string{}
	for _, p := range pairs {
		names[p.Agent] = string(p.Agent)
	}
	for _, r := range slices.Concat(rows, latest) {
		names[r.Agent] = r.AgentName
	}
	for id, name := range names {
		row, _, err := h.agentRow(v, id, &record{name: name}, approvals.Pair{}, false)
		if err != nil {
			return nil, err
		}
		out = append(out, option{row.ID, row.Name, row.ID == chosen})
	}
	if _, known := names[approvals.AgentID(chosen)]; chosen != "" && !known {
		out = append(out, option{chosen, chosen, true}) // perhaps nobody that this person knows: not named
	}
	slices.SortFunc(out, func(a, b option) int { return cmp.Or(cmp.Compare(a.Text, b.Text), cmp.Compare(a.Value, b.Value)) })
	return out, nil
}

// dated writes a moment with everything that it takes to find it again.
func dated(at time.Time, zone, lang string) string {
	loc, err := time.LoadLocation(zone)
	if err != nil {
		loc = time.UTC
	}
	if lang == approvals.Korean {
		return at.In(loc).Format("2006년 1월 2일 15:04:05 MST")
	}
	return at.In(loc).Format("2 Jan 2006 15:04:05 MST")
}

// stored shows one request as it was shown when it was decided.
func (h *Handler) stored(v *visit) (answer, error) {
	r, err := h.asked(v)
	if errors.Is(err, approvals.ErrNotFound) {
		return h.forgotten(v, err)
	}
	if err != nil {
		return answer{}, err
	}
	if r.StateAt(h.Now()) == approvals.Pending {
		return answer{to: v.path("/requests/" + string(r.ID))}, nil
	}
	view, err := h.storedOf(v, r)
	if err != nil {
		return answer{}, err
	}
	return answer{page: "stored", data: view}, nil
}

// forgottenView is what is left of a request whose details are deleted: the audit trail.
type forgottenView struct {
	ID    string
	Lines []forgottenLine
}

type forgottenLine struct {
	Word   string // key
	At     string
	Digest string // "" when the record holds none
}

// eventWords are the audit records that say something to the person.
var eventWords = map[string]string{string(approvals.Pending): "history.asked", string(approvals.Approved): "state.approved",
	string(approvals.Denied): "state.denied", string(approvals.Expired): "state.expired",
	string(approvals.Cancelled): "state.cancelled", string(approvals.Failed): "state.failed",
	string(approvals.Redeemed): "history.collected", approvals.KindRevoked: "history.revoked"}

// forgotten says that the details are gone, to whom the request was for. For everybody else it was never there.
func (h *Handler) forgotten(v *visit, missing error) (answer, error) {
	if h.Trail == nil {
		return answer{}, missing
	}
	id := approvals.ID(v.PathValue("id"))
	events, err := h.Trail.Events(v.Context(), id)
	if err != nil {
		return answer{}, fmt.Errorf("read audit trail: %w", err)
	}
	if len(events) == 0 || events[0].Subject != v.who.Person {
		return answer{}, missing
	}
	view := &forgottenView{ID: string(id)}
	for _, e := range events {
		if word, known := eventWords[e.Kind]; known {
			view.Lines = append(view.Lines, forgottenLine{word, dated(e.At, v.who.person.Zone, v.lang), e.Facts["digest"]})
		}
	}
	return answer{page: "forgotten", data: view}, nil
}
