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
	Waiting []item
	Total   int    // of what waits, shown or not
	More    string // how many are not shown; "" when all are
	Ended   []item
	Live    live
	Offer   *pushView
	Devices bool // there is a page of devices
}

// item is one line of the inbox.
type item struct {
	ID     string
	Ref    string
	Agent  string
	Action string
	Ends   string
	Left   int
	State  string // the outcome; its word is the text "state." + State
}

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

	view := &inboxView{Total: len(waiting), Offer: h.offer(v, ended...), Devices: h.Devices != nil}
	if more := len(waiting) - maxWaiting; more > 0 {
		view.More, waiting = fmt.Sprint(more), waiting[:maxWaiting]
		if full {
			view.More += "+"
		}
	}
	if view.Waiting, err = h.items(v, waiting); err != nil {
		return nil, err
	}
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
		shown, err := h.Desk.Show(r, v.lang)
		if err != nil {
			return nil, fmt.Errorf("show request: %w", err)
		}
		state := r.StateAt(now)
		if state == approvals.Pending && !now.Before(r.DecideBy) {
			state = approvals.Expired
		}
		items = append(items, item{ID: string(r.ID), Ref: r.ID.Ref(), Agent: approvals.Visible(r.AgentName),
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
