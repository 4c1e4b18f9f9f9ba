package webapp

import (
	"fmt"
	"slices"
	"strings"

	"assent/approvals"
)

// How much the inbox shows.
const (
	maxWaiting = 100
	maxRead    = 1000 // to find the most urgent in; as many as a store gives at once
	maxEnded   = 20
)

// inboxView is the page of everything that waits for one person, and of what ended lately.
type inboxView struct {
	Waiting []item  // by time left
	Groups  []group // the same, those of one agent together
	Total   int     // of what waits, shown or not
	More    string  // how many are not shown; "" when all are
	Ended   []item
	Live    live
	Offer   *pushView
}

// group is what waits of one agent. Where that is more than one, all can be denied at once; nothing else can.
type group struct {
	ID    string // of the agent
	Agent string
	Items []item
	IDs   string // of the requests that the form denies, with spaces
	Token string
}

// groups puts the requests of one agent together, where the most urgent of them stands.
func (h *Handler) groups(v *visit, waiting []item) []group {
	var out []group
	at := map[string]int{}
	for _, it := range waiting {
		i, there := at[it.AgentID]
		if !there {
			i = len(out)
			at[it.AgentID] = i
			out = append(out, group{ID: it.AgentID, Agent: it.Agent, Token: h.formToken(v.who, formAgent(it.AgentID))})
		}
		out[i].Items = append(out[i].Items, it)
		out[i].IDs = strings.TrimSpace(out[i].IDs + " " + it.ID)
	}
	for _, g := range out {
		for i := range g.Items {
			g.Items[i].Grouped = len(g.Items) > 1
		}
	}
	return out
}

// item is one line of the inbox.
type item struct {
	ID      string
	Ref     string
	AgentID string
	Agent   string
	Action  string
	Ends    string
	Left    int
	State   string // the outcome; its word is the text "state." + State
	Grouped bool   // the heading above it names the agent
}

// stateReported is shown in the place of denied, where the person reported the request too.
const stateReported approvals.State = "reported"

// inbox shows what waits, by time left, then what ended, newest first.
func (h *Handler) inbox(v *visit) (answer, error) {
	if v.who == nil {
		return answer{to: v.path("/signin")}, nil
	}
	view, err := h.inboxOf(v)
	if err != nil {
		return answer{}, err
	}
	return answer{page: "inbox", data: view}, nil
}

func (h *Handler) inboxOf(v *visit) (*inboxView, error) {
	now := h.Now()
	waiting, err := h.Desk.List(v.Context(), approvals.Query{Person: v.who.Person,
		States: []approvals.State{approvals.Pending}, Limit: maxRead})
	if err != nil {
		return nil, fmt.Errorf("list waiting: %w", err)
	}
	notPending := slices.DeleteFunc(approvals.States(), func(s approvals.State) bool { return s == approvals.Pending })
	ended, err := h.Desk.List(v.Context(), approvals.Query{Person: v.who.Person, States: notPending, Limit: maxEnded})
	if err != nil {
		return nil, fmt.Errorf("list ended: %w", err)
	}
	full := len(waiting) == maxRead
	over := func(r *approvals.Request) bool { return !now.Before(r.DecideBy) }
	for _, r := range waiting {
		if over(r) { // the sweep has not come by yet
			ended = append(ended, r)
		}
	}
	waiting = slices.DeleteFunc(waiting, over)
	slices.SortStableFunc(waiting, func(a, b *approvals.Request) int { return a.DecideBy.Compare(b.DecideBy) })
	slices.SortStableFunc(ended, func(a, b *approvals.Request) int { return strings.Compare(string(b.ID), string(a.ID)) })

	view := &inboxView{Total: len(waiting), Offer: h.offer(v, ended...)}
	if more := len(waiting) - maxWaiting; more > 0 {
		view.More, waiting = fmt.Sprint(more), waiting[:maxWaiting]
		if full {
			view.More += "+"
		}
	}
	if view.Waiting, err = h.items(v, waiting); err != nil {
		return nil, err
	}
	view.Groups = h.groups(v, view.Waiting)
	if view.Ended, err = h.items(v, ended[:min(len(ended), maxEnded)]); err != nil {
		return nil, err
	}
	view.Live = live{URL: v.path("/live?inbox=1"), Seen: view.version(v.lang)}
	return view, nil
}

func (h *Handler) items(v *visit, requests []*approvals.Request) ([]item, error) {
	now := h.Now()
	items := make([]item, 0, len(requests))
	for _, r := range requests {
		shown, err := h.shownOrStored(r, v.lang)
		if err != nil {
			return nil, err
		}
		state := r.StateAt(now)
		switch {
		case state == approvals.Pending && !now.Before(r.DecideBy):
			state = approvals.Expired
		case r.Reported():
			state = stateReported
		}
		items = append(items, item{ID: string(r.ID), Ref: r.ID.Ref(), AgentID: string(r.Agent), Agent: approvals.Visible(r.AgentName),
			Action: shown.Action(), Ends: moment(r.DecideBy, now, r.Zone, v.lang),
			Left: int(max(0, r.DecideBy.Sub(now)).Seconds()), State: string(state)})
	}
	return items, nil
}

func (view *inboxView) version(lang string) string {
	parts := []string{lang, view.More}
	for _, list := range [][]item{view.Waiting, view.Ended} {
		parts = append(parts, "|")
		for _, it := range list {
			parts = append(parts, it.ID, it.State)
		}
	}
	return fingerprint(parts...)
}

// shownOrStored is a request in the visitor's language or, when its type has gone since, in that of its first disclosure.
func (h *Handler) shownOrStored(r *approvals.Request, lang string) (approvals.Disclosure, error) {
	shown, err := h.Desk.Show(r, lang)
	if err != nil && len(r.Disclosures) > 0 {
		return r.Disclosures[0], nil
	}
	if err != nil {
		return shown, fmt.Errorf("show request: %w", err)
	}
	return shown, nil
}

// waitingBeside is the most urgent of the requests that wait beside r, or nil.
func (h *Handler) waitingBeside(v *visit, r *approvals.Request) (*item, error) {
	waiting, err := h.Desk.List(v.Context(), approvals.Query{Person: v.who.Person,
		States: []approvals.State{approvals.Pending}, Limit: maxWaiting})
	if err != nil {
		return nil, fmt.Errorf("list waiting: %w", err)
	}
	now := h.Now()
	waiting = slices.DeleteFunc(waiting, func(o *approvals.Request) bool { return o.ID == r.ID || !now.Before(o.DecideBy) })
	if len(waiting) == 0 {
		return nil, nil
	}
	first := slices.MinFunc(waiting, func(a, b *approvals.Request) int { return a.DecideBy.Compare(b.DecideBy) })
	items, err := h.items(v, []*approvals.Request{first})
	if err != nil {
		return nil, err
	}
	return &items[0], nil
}
