package webapp

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"

	"assent/approvals"
	"assent/approvals/keys"
)

// mayLookUp slows down whoever tries links from one address. Dev mode answers loopback only, and its tools are fast.
func (h *Handler) mayLookUp(v *visit) bool { return h.Dev || h.lookup.allow(network(v.RemoteAddr)) }

var handleShape = regexp.MustCompile(`^[A-Za-z0-9_-]{12}$`)

// link finds what a message's link stands for. The handle grants nothing: it only says which request to ask about, so
// unknown ones are slow to guess and useless to find.
func (h *Handler) link(v *visit) (approvals.Link, *approvals.Request, error) {
	if !h.mayLookUp(v) {
		return approvals.Link{}, nil, errTooMany
	}
	handle := v.PathValue("handle")
	if !handleShape.MatchString(handle) {
		return approvals.Link{}, nil, errDeadLink
	}
	l, err := approvals.FindLink(v.Context(), h.Records, h.Root.Name(keys.LabelLookup, handle))
	if errors.Is(err, approvals.ErrNotFound) {
		return l, nil, errDeadLink
	}
	if err != nil {
		return l, nil, fmt.Errorf("follow link: %w", err)
	}
	r, err := h.Desk.Request(v.Context(), l.Request)
	if errors.Is(err, approvals.ErrNotFound) {
		return l, nil, errEndedLink
	}
	if err != nil {
		return l, nil, fmt.Errorf("follow link: %w", err)
	}
	if r.StateAt(h.Now()).Final() {
		return l, nil, errEndedLink
	}
	if !v.asked && v.who == nil {
		v.lang = approvals.Locale(r.Locale)
	}
	return l, r, nil
}

// landingView is the page of a link. It says no more than the message did: robots and shoulders read it too.
type landingView struct {
	Action string
	Ref    string
	Ends   string
}

// landing shows that something waits, and nothing about it.
func (h *Handler) landing(v *visit) (answer, error) {
	_, r, err := h.link(v)
	if err != nil {
		return answer{}, err
	}
	return answer{page: "landing", data: landingView{Action: v.path(v.URL.Path), Ref: r.ID.Ref(),
		Ends: moment(r.DecideBy, h.Now(), r.Zone, v.lang)}}, nil
}

// follow leads from the link to the request, by way of sign-in. In dev mode the link itself signs in, as weakly as
// [approvals.LevelLink] says.
func (h *Handler) follow(v *visit) (answer, error) {
	if _, err := form(v); err != nil {
		return answer{}, err
	}
	l, r, err := h.link(v)
	if err != nil {
		return answer{}, err
	}
	to := "/requests/" + string(r.ID)
	if v.who != nil && (v.who.Person == l.Person || !h.Dev) {
		return answer{to: v.path(to)}, nil
	}
	if !h.Dev {
		return answer{to: v.path("/signin?next=" + url.QueryEscape(to))}, nil
	}
	p, err := h.Directory.Person(v.Context(), l.Person)
	if err != nil {
		return answer{}, fmt.Errorf("follow link: %w", err)
	}
	if p.Disabled {
		return answer{}, errEndedLink
	}
	cookie, writes := h.begin(v, p, approvals.LevelLink)
	if err := h.Records.Apply(v.Context(), writes...); err != nil {
		return answer{}, fmt.Errorf("follow link: %w", err)
	}
	answered := answer{to: v.path(to)}
	answered.cookies = append(answered.cookies, cookie)
	return answered, nil
}
