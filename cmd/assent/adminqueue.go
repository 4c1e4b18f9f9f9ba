package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"assent/approvals"
	"assent/channels"
	"assent/webapp/passkey"
)

// The bodies of the queue's part of the administration API.
type (
	queueRow struct {
		Request   approvals.ID       `json:"request"`
		Ref       string             `json:"ref"`
		State     approvals.State    `json:"state"`
		Agent     approvals.AgentID  `json:"agent"`
		AgentName string             `json:"agent_name"`
		Person    approvals.PersonID `json:"person"`
		Types     []string           `json:"authorization_details_types,omitempty"`
		CreatedAt time.Time          `json:"created_at"`
		DecideBy  time.Time          `json:"decide_by"`
		ExpiresAt time.Time          `json:"expires_at"`
		EndedAt   time.Time          `json:"ended_at,omitzero"`
		Reason    approvals.Reason   `json:"reason,omitempty"`
		Now       standing           `json:"now"`
	}
	queuePage struct {
		Requests []queueRow   `json:"requests"`
		Next     approvals.ID `json:"next,omitempty"` // there may be more, before this one
	}
	queueStory struct {
		queueRow
		Asks     string        `json:"asks,omitempty"`  // as the person read it
		Needs    string        `json:"needs,omitempty"` // acr that approving takes
		Digest   string        `json:"digest,omitempty"`
		Remark   string        `json:"remark,omitempty"` // of the operator who withdrew it
		Timeline []timelineRow `json:"timeline"`

		Decisions []decisionRow `json:"decisions,omitempty"`
	}
	decisionRow struct {
		At      time.Time       `json:"at"`
		Approve bool            `json:"approve"`
		ACR     string          `json:"acr"`
		Digest  string          `json:"digest,omitempty"` // of what was on the screen
		Granted string          `json:"granted_digest,omitempty"`
		Proof   json.RawMessage `json:"proof,omitempty"` // an Evidence of package passkey
		Proven  *bool           `json:"proof_verified,omitempty"`
		Pages   string          `json:"proof_origin,omitempty"` // of the pages that it was signed on, if they have moved since
	}
	withdrawal struct {
		Reason string `json:"reason"` // for other operators
	}
	timelineRow struct {
		approvals.Entry
		Words string `json:"words"`
	}
)

// Bounds of what one call reads. A page of stuck requests may be short for it, and then says where to go on.
const (
	queueLimit = 1000
	queueLook  = 5000  // requests that are looked at for a page of stuck ones
	refLook    = 10000 // and for a short name, among those that are open and then among all
)

// openStates are those in which a request still waits for somebody.
var openStates = []approvals.State{approvals.Pending, approvals.Approved}

// queueQuery reads the filters.
func queueQuery(form url.Values) (q approvals.Query, stuck bool, err error) {
	q = approvals.Query{Person: approvals.PersonID(form.Get("person")), Agent: approvals.AgentID(form.Get("agent")),
		Before: approvals.ID(form.Get("before")), Limit: 50}
	for _, name := range form["state"] {
		switch state := approvals.State(name); {
		case name == "open":
			q.States = append(q.States, openStates...)
		case name == "all":
			q.States = append(q.States, approvals.States()...)
		case slices.Contains(approvals.States(), state):
			q.States = append(q.States, state)
		default:
			return q, false, &approvals.FieldError{Field: "state", Rule: "must be open, all or a state"}
		}
	}
	if text := form.Get("limit"); text != "" {
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit < 1 || q.Limit > queueLimit {
			return q, false, &approvals.FieldError{Field: "limit", Rule: fmt.Sprintf("must be 1 to %d", queueLimit)}
		}
	}
	if stuck = form.Get("stuck") == "true"; stuck {
		q.States = slices.DeleteFunc(q.States, func(s approvals.State) bool { return !slices.Contains(openStates, s) })
		if len(q.States) == 0 {
			return q, false, &approvals.FieldError{Field: "state", Rule: "must be pending or approved: nothing else is stuck"}
		}
	}
	return q, stuck, nil
}

func (a *admin) listQueue(r *http.Request) (any, error) {
	q, stuck, err := queueQuery(r.URL.Query())
	if err != nil {
		return nil, err
	}
	return a.s.queue(r.Context(), q, stuck)
}

// queue reads one page of requests.
func (s *service) queue(ctx context.Context, q approvals.Query, stuck bool) (queuePage, error) {
	page, want := queuePage{Requests: []queueRow{}}, q.Limit
	for looked := 0; looked < queueLook; {
		found, err := s.desk.List(ctx, q)
		if err != nil {
			return page, err
		}
		for _, r := range found {
			row, err := s.row(ctx, r)
			if err != nil {
				return page, err
			}
			if row.Now.Stuck || !stuck {
				page.Requests = append(page.Requests, row)
			}
			if q.Before = r.ID; len(page.Requests) == want {
				page.Next = r.ID
				return page, nil
			}
		}
		if len(found) < q.Limit {
			return page, nil
		}
		looked += len(found)
	}
	page.Next = q.Before
	return page, nil
}

// row is a request as a list shows it.
func (s *service) row(ctx context.Context, r *approvals.Request) (queueRow, error) {
	now := s.clock.Now()
	row := queueRow{Request: r.ID, Ref: r.ID.Ref(), State: r.StateAt(now), Agent: r.Agent, AgentName: r.AgentName, Person: r.Subject,
		CreatedAt: r.CreatedAt, DecideBy: r.DecideBy, ExpiresAt: r.ExpiresAt, EndedAt: r.EndedAt, Reason: r.Reason}
	for _, d := range r.Requested {
		if !slices.Contains(row.Types, d.Type) {
			row.Types = append(row.Types, d.Type)
		}
	}
	var o channels.Outlook
	if row.State == approvals.Pending {
		var err error
		if o, err = s.dispatcher.Outlook(ctx, r.ID); err != nil && !errors.Is(err, approvals.ErrNotFound) {
			return row, err
		}
	}
	row.Now = standingOf(r, o, s.explain, now)
	if row.State != approvals.Approved || !row.Now.Stuck {
		return row, nil
	}
	ping, err := s.notifier.Outlook(ctx, r.ID)
	row.Now = row.Now.then(ping)
	return row, err
}

func (a *admin) showQueue(r *http.Request) (any, error) {
	found, err := a.s.find(r.Context(), r.PathValue("request"))
	if err != nil {
		return nil, err
	}
	return a.s.story(r.Context(), found)
}

// story is all there is to know about a request that is not secret.
func (s *service) story(ctx context.Context, r *approvals.Request) (queueStory, error) {
	row, err := s.row(ctx, r)
	if err != nil {
		return queueStory{}, err
	}
	events, err := s.store.Events(ctx, r.ID)
	if err != nil {
		return queueStory{}, err
	}
	story := queueStory{queueRow: row, Needs: r.Level.ACR(), Remark: r.Remark, Timeline: []timelineRow{}}
	if len(r.Disclosures) > 0 {
		shown := r.Disclosures[0]
		story.Digest = shown.Digest()
		for _, f := range shown.Facts {
			if f.Role == approvals.RoleAction {
				story.Asks = f.Text
			}
		}
	}
	for _, d := range r.Decisions {
		row := decisionRow{At: d.At, Approve: d.Approve, ACR: d.Level.ACR(), Digest: d.Digest, Proof: d.Proof}
		if d.Approve && r.Granted != nil {
			row.Granted = r.Granted.Digest()
		}
		if len(d.Proof) > 0 {
			proven, pages := s.proves(d, row.Granted, events)
			row.Proven = &proven
			if pages != s.cfg.PagesURL {
				row.Pages = pages
			}
		}
		story.Decisions = append(story.Decisions, row)
	}
	for _, e := range approvals.Timeline(r, events) {
		story.Timeline = append(story.Timeline, timelineRow{e, say(e, s.explain)})
	}
	return story, nil
}

// proves reports whether the proof of a decision holds: a passkey signed these words and this grant on our pages, and it
// is the proof that the audit record names. Records from before that name none. origin is where it was signed: another than
// that of our pages now counts only with such a record, because what was decided elsewhere was refused then.
func (s *service) proves(d approvals.Decision, granted string, events []approvals.Event) (proven bool, origin string) {
	verb := "approve"
	if !d.Approve {
		verb = "deny"
	}
	known := map[string]bool{}
	for _, e := range events {
		if named := e.Facts[approvals.FactProof]; named != "" {
			known[named] = true
		}
	}
	named, origin := known[d.ProofDigest()], s.cfg.PagesURL
	if named {
		origin = passkey.EvidenceOrigin(d.Proof)
	}
	m := passkey.Matter{Verb: verb, Disclosure: d.Digest, Granted: granted}
	if _, err := passkey.VerifyEvidence(d.Proof, m, origin); err != nil {
		return false, ""
	}
	return named || len(known) == 0, origin
}

// resend tells the person once more, within the dispatcher's rules.
func (a *admin) resend(r *http.Request) (any, error) {
	found, err := a.s.find(r.Context(), r.PathValue("request"))
	if err != nil {
		return nil, err
	}
	o, err := a.s.dispatcher.Resend(r.Context(), found.ID, operator)
	if err != nil {
		return nil, err
	}
	return standingOf(found, o, a.s.explain, a.s.clock.Now()), nil
}

// cancelRequest withdraws a request. Operators can do no more to a decision than that.
func (a *admin) cancelRequest(r *http.Request) (any, error) {
	var body withdrawal
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	found, err := a.s.find(r.Context(), r.PathValue("request"))
	if err != nil {
		return nil, err
	}
	_, err = a.s.desk.Withdraw(r.Context(), found.ID, operator, body.Reason)
	return nil, err
}

// refShape is what [approvals.ID.Ref] makes.
var refShape = regexp.MustCompile(`^[A-Z]{2}-?[0-9]{2}$`)

// find returns the request of an id, or of a short name. Those are not unique: the name of an open request means that
// one, and only among ended ones it means the newest few.
func (s *service) find(ctx context.Context, name string) (*approvals.Request, error) {
	ref := strings.ToUpper(name)
	if !refShape.MatchString(ref) {
		r, err := s.store.Request(ctx, approvals.ID(name)) // not from memory: an operator wants what is on the disk
		if err != nil {
			return nil, fmt.Errorf("request %s: %w%s", name, err, whereToLook(err))
		}
		return r, nil
	}
	if !strings.Contains(ref, "-") {
		ref = ref[:2] + "-" + ref[2:]
	}
	for _, states := range [][]approvals.State{openStates, approvals.States()} {
		found, err := s.called(ctx, ref, states)
		if err != nil || len(found) == 1 {
			return first(found), err
		}
		if len(found) > 1 {
			return nil, &approvals.FieldError{Field: "request", Rule: "must be an id: " + ref + " is " + ids(found)}
		}
	}
	return nil, fmt.Errorf("request %s: %w%s", ref, approvals.ErrNotFound, whereToLook(approvals.ErrNotFound))
}

// whereToLook is for whoever has asked for a request that is not there.
func whereToLook(err error) string {
	if errors.Is(err, approvals.ErrNotFound) {
		return "; see assent queue list --state all"
	}
	return ""
}

func first(found []*approvals.Request) *approvals.Request {
	if len(found) == 0 {
		return nil
	}
	return found[0]
}

func ids(found []*approvals.Request) string {
	var names []string
	for _, r := range found {
		names = append(names, string(r.ID))
	}
	return strings.Join(names, ", ")
}

// called looks for a short name.
func (s *service) called(ctx context.Context, ref string, states []approvals.State) (found []*approvals.Request, err error) {
	q := approvals.Query{States: states, Limit: queueLimit}
	for looked := 0; looked < refLook; looked += queueLimit {
		page, err := s.desk.List(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, r := range page {
			if q.Before = r.ID; r.ID.Ref() == ref {
				found = append(found, r)
			}
		}
		if len(page) < queueLimit {
			break
		}
	}
	return found, nil
}
