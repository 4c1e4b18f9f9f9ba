package webapp

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"assent/approvals"
)

// formAgent is what the forms about one agent are tied to, in the place of a request.
func formAgent(id string) approvals.ID { return approvals.ID("agent " + id) }

// agentForm reads a form about the agent of the path and checks that it was made for this sign-in and this agent.
func (h *Handler) agentForm(v *visit, fields ...string) (approvals.AgentID, url.Values, error) {
	values, err := form(v, append(fields, "token")...)
	if err != nil {
		return "", nil, err
	}
	if v.who == nil {
		return "", nil, errSignIn
	}
	id := v.PathValue("agent")
	if subtle.ConstantTimeCompare([]byte(values.Get("token")), []byte(h.formToken(v.who, formAgent(id)))) != 1 {
		return "", nil, errStale
	}
	h.touch(v)
	return approvals.AgentID(id), values, nil
}

var requestID = regexp.MustCompile(`^[0-9a-z]{26}$`)

// requestsOf reads the requests of a list, all of this person's and of that agent's.
func (h *Handler) requestsOf(v *visit, agent approvals.AgentID, list string) ([]*approvals.Request, error) {
	ids := strings.Split(list, " ")
	if len(ids) > maxWaiting {
		return nil, fmt.Errorf("more requests than an inbox shows: %w", errForm)
	}
	var out []*approvals.Request
	for _, id := range ids {
		if !requestID.MatchString(id) {
			return nil, fmt.Errorf("list of requests: %w", errForm)
		}
		r, err := h.requestOf(v, approvals.ID(id))
		if err != nil {
			return nil, err
		}
		if r.Agent != agent {
			return nil, fmt.Errorf("request of another agent: %w", errForm)
		}
		out = append(out, r)
	}
	return out, nil
}

// denyAll denies those requests of one agent that the person had before them and that still wait. Each is a decision of
// its own, so some may have ended before; the page that follows says of each what became of it.
func (h *Handler) denyAll(v *visit) (answer, error) {
	agent, values, err := h.agentForm(v, "requests")
	if err != nil {
		return answer{}, err
	}
	requests, err := h.requestsOf(v, agent, values.Get("requests"))
	if err != nil {
		return answer{}, err
	}
	a := v.answerOf(url.Values{"locale": {v.lang}}) // nothing was read, so there is no digest
	for _, r := range requests {
		_, err := h.Desk.Deny(v.Context(), r.ID, a)
		if err != nil && !errors.Is(err, approvals.ErrDecided) {
			h.Log.WarnContext(v.Context(), "one of several not denied", "request", r, "err", err) // the page says so
		}
	}
	return answer{to: v.path("/agents/" + url.PathEscape(string(agent)) + "/denied?requests=" +
		url.QueryEscape(values.Get("requests")))}, nil
}

// deniedView is what became of requests that were to be denied at once.
type deniedView struct {
	Agent string
	Items []item
	Done  int // denied
	Left  int // still waiting
}

// denied says of each request what it is now.
func (h *Handler) denied(v *visit) (answer, error) {
	if v.who == nil {
		return answer{}, errSignIn
	}
	requests, err := h.requestsOf(v, approvals.AgentID(v.PathValue("agent")), v.URL.Query().Get("requests"))
	if err != nil {
		return answer{}, err
	}
	view := &deniedView{Agent: approvals.Visible(requests[0].AgentName)}
	if view.Items, err = h.items(v, requests); err != nil {
		return answer{}, err
	}
	for _, it := range view.Items {
		switch approvals.State(it.State) {
		case approvals.Denied:
			view.Done++
		case approvals.Pending:
			view.Left++
		}
	}
	return answer{page: "denied", data: view}, nil
}
