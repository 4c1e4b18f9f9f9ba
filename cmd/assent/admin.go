package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"assent/approvals"
	"assent/ciba"
)

// admin is the administration API on DATA/admin.sock. The socket's mode is the whole of its access control: whoever may
// open it owns the data folder anyway.
type admin struct {
	s   *service
	log *slog.Logger
}

// The bodies of the administration API.
type (
	newAgent struct {
		Metadata     json.RawMessage `json:"metadata"` // RFC 7591
		AcceptSecret bool            `json:"accept_secret"`
		SameName     bool            `json:"same_name"` // as another agent
	}
	madeAgent struct {
		ClientID     string `json:"client_id"`
		ClientSecret string `json:"client_secret,omitempty"`
	}
	agentRow struct {
		ClientID   string    `json:"client_id"`
		Name       string    `json:"client_name"`
		Operator   string    `json:"operator,omitempty"`
		AuthMethod string    `json:"token_endpoint_auth_method"`
		Types      []string  `json:"authorization_details_types"`
		Generic    bool      `json:"generic_types"` // it may ask for types that nobody has described here
		Code       string    `json:"binding_code"`  // what people do with the code that it shows: compare or enter
		Scopes     []string  `json:"scopes,omitempty"`
		Audiences  []string  `json:"allowed_audiences,omitempty"`
		Disabled   bool      `json:"disabled"`
		Why        string    `json:"disabled_why,omitempty"` // "reported": suspended, and agent clear enables it; "deleted": kept until then
		CreatedAt  time.Time `json:"created_at"`
		approvals.Flags
	}
	agentStory struct {
		agentRow
		People []leftAlone `json:"people"` // whom it may not ask
	}
	// leftAlone is a person whom an agent may not ask now.
	leftAlone struct {
		Sub            string    `json:"sub"`
		PausedUntil    time.Time `json:"paused_until,omitzero"`
		DisconnectedAt time.Time `json:"disconnected_at,omitzero"`
		ReportedAt     time.Time `json:"reported_at,omitzero"`
		CoolUntil      time.Time `json:"cool_until,omitzero"` // after denials
	}
	cleared struct {
		Reports int         `json:"reports"`          // that were lifted
		People  []leftAlone `json:"people,omitempty"` // whom it may not ask all the same
	}
	newPerson struct {
		Sub        string   `json:"sub"`
		LoginHints []string `json:"login_hints"`
		Name       string   `json:"name"`
		Locale     string   `json:"locale"`
		Zone       string   `json:"zone"`
		Phone      string   `json:"phone"`
		Email      string   `json:"email"`
		UserCode   string   `json:"user_code"`
		Quiet      string   `json:"quiet_hours"` // "22:00-07:00" in Zone
		Muted      []string `json:"muted"`       // channels
	}
	personRow struct {
		Sub       string    `json:"sub"`
		Name      string    `json:"name"`
		Locale    string    `json:"locale"`
		Zone      string    `json:"zone"`
		Quiet     string    `json:"quiet_hours,omitempty"`
		Muted     []string  `json:"muted,omitempty"`
		Disabled  bool      `json:"disabled"`
		CreatedAt time.Time `json:"created_at"`
	}
	invitation struct {
		URL     string    `json:"url"`
		Code    string    `json:"code,omitempty"` // empty: the person's own channel brings one
		Expires time.Time `json:"expires"`
	}
	disabled struct {
		Withdrawn int `json:"withdrawn"`
	}
	signedRequest struct {
		Request string `json:"request"` // a compact JWS, or its digest
	}
	adminError struct {
		Error string `json:"error"`
	}
)

func (a *admin) handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, serve := range map[string]func(*http.Request) (any, error){
		"GET /agents":                     a.listAgents,
		"POST /agents":                    a.addAgent,
		"GET /agents/{id}":                a.showAgent,
		"POST /agents/{id}/disable":       a.disableAgent,
		"POST /agents/{id}/enable":        a.enableAgent,
		"POST /agents/{id}/clear":         a.clearAgent,
		"POST /agents/{id}/rotate-secret": a.rotateSecret,
		"GET /tokens":                     a.listTokens,
		"POST /tokens":                    a.addToken,
		"DELETE /tokens/{id}":             a.revokeToken,
		"GET /people":                     a.listPeople,
		"POST /people":                    a.addPerson,
		"POST /people/{sub}/invite":       a.invite,
		"POST /people/{sub}/disable":      a.disablePerson,
		"POST /people/{sub}/enable":       a.enablePerson,
		"POST /people/{sub}/prefer":       a.prefer,
		"POST /people/{sub}/phone":        a.changeNumber,
		"POST /people/{sub}/sign-out":     a.signOut,
		"POST /keys/rotate":               a.rotateKeys,
		"GET /queue":                      a.listQueue,
		"GET /queue/{request}":            a.showQueue,
		"POST /queue/{request}/resend":    a.resend,
		"POST /queue/{request}/cancel":    a.cancelRequest,
		"GET /pings":                      a.listPings,
		"POST /pings/{id}/replay":         a.replayPing,
		"POST /doctor/send":               a.sendTest,
		"GET /requests/{id}/signed":       a.signedRequest,
		"GET /doctor":                     func(r *http.Request) (any, error) { return a.s.examine(r.Context()), nil },
	} {
		mux.HandleFunc(pattern, a.serve(serve))
	}
	mux.HandleFunc("GET /backup", a.backup)
	mux.Handle("GET /metrics", a.s.metrics.handler())
	mux.Handle("GET /debug/pprof/", a.s.metrics.handler())
	return mux
}

// serve encodes the answer, or the error in the words of the command line.
func (a *admin) serve(handle func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		out, err := handle(r)
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			w.WriteHeader(adminStatus(err))
			out = adminError{err.Error()}
		}
		a.log.InfoContext(r.Context(), "administration", "route", r.Pattern, "of", r.PathValue("id")+r.PathValue("sub")+r.PathValue("request")+madeID(out), "ok", err == nil)
		json.NewEncoder(w).Encode(out)
	}
}

// madeID is the id of what a command has made, for the log.
func madeID(out any) string {
	switch made := out.(type) {
	case madeAgent:
		return made.ClientID
	case personRow:
		return made.Sub
	case madeToken:
		return made.ID
	}
	return ""
}

func adminStatus(err error) int {
	switch {
	case errors.Is(err, approvals.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, errExists), errors.Is(err, approvals.ErrTaken), errors.Is(err, approvals.ErrConflict), errors.Is(err, approvals.ErrNotEligible),
		errors.Is(err, approvals.ErrDecided), errors.Is(err, approvals.ErrTooLate):
		return http.StatusConflict
	case errors.Is(err, approvals.ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, approvals.ErrUnavailable):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// decode reads one command body strictly.
func decode(r *http.Request, into any) error {
	dec := json.NewDecoder(io.LimitReader(r.Body, maxFile))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return &approvals.FieldError{Field: "body", Rule: "must be a JSON object with the documented members"}
	}
	return nil
}

func (a *admin) listAgents(r *http.Request) (any, error) {
	agents, err := a.s.dir.Agents(r.Context(), approvals.AgentID(r.URL.Query().Get("after")), listLimit)
	if err != nil {
		return nil, err
	}
	flags, err := a.s.desk.Flagged(r.Context())
	rows := make([]agentRow, 0, len(agents))
	for _, g := range agents {
		row, rowErr := agentRowOf(g, flags[g.ID])
		if rowErr != nil {
			return nil, rowErr
		}
		rows = append(rows, row)
	}
	return rows, err
}

func agentRowOf(g *approvals.Agent, flags approvals.Flags) (agentRow, error) {
	client, err := ciba.ClientOf(g)
	if err != nil {
		return agentRow{}, err
	}
	return agentRow{string(g.ID), g.Name, g.Operator, client.AuthMethod, g.Types, g.Generic, client.Code(),
		g.Scopes, g.Audiences, g.Disabled, g.DisabledWhy, g.CreatedAt, flags}, nil
}

func (a *admin) showAgent(r *http.Request) (any, error) {
	id := approvals.AgentID(r.PathValue("id"))
	g, err := a.s.dir.Agent(r.Context(), id)
	if err != nil {
		return nil, fmt.Errorf("client_id %s: %w", id, err)
	}
	flags, err := a.s.desk.Flagged(r.Context())
	if err != nil {
		return nil, err
	}
	row, err := agentRowOf(g, flags[id])
	if err != nil {
		return nil, err
	}
	people, err := a.s.leftAlone(r.Context(), id)
	return agentStory{row, people}, err
}

// leftAlone lists whom an agent may not ask now, by sub.
func (s *service) leftAlone(ctx context.Context, agent approvals.AgentID) ([]leftAlone, error) {
	pairs, err := s.desk.PairsOf(ctx, agent)
	if err != nil {
		return nil, err
	}
	cool, out := s.desk.Cooling(agent), []leftAlone{}
	for _, p := range pairs {
		if !p.Paused(s.clock.Now()) {
			p.PausedUntil = time.Time{}
		}
		if p.PausedUntil.IsZero() && !p.Blocked() {
			continue
		}
		out = append(out, leftAlone{string(p.Person), p.PausedUntil, p.DisconnectedAt, p.ReportedAt, cool[p.Person]})
		delete(cool, p.Person)
	}
	for who, until := range cool {
		out = append(out, leftAlone{Sub: string(who), CoolUntil: until})
	}
	slices.SortFunc(out, func(a, b leftAlone) int { return strings.Compare(a.Sub, b.Sub) })
	return out, nil
}

func (a *admin) disableAgent(r *http.Request) (any, error) {
	ctx, id := context.WithoutCancel(r.Context()), approvals.AgentID(r.PathValue("id")) // half a disabling is none
	if err := a.changeAgent(ctx, id, func(g *approvals.Agent) error { g.Disabled, g.DisabledWhy = true, ""; return nil }); err != nil {
		return nil, err
	}
	return a.endAll(ctx, approvals.Query{Agent: id})
}

// endAll ends what whoever was disabled has pending, and what agents could come back on: it does not come back with who
// is enabled again.
func (a *admin) endAll(ctx context.Context, q approvals.Query) (any, error) {
	n, err := a.s.desk.CancelAll(ctx, q, operator, approvals.NotEligible)
	if err != nil {
		return nil, err
	}
	_, err = a.s.desk.RevokeAll(ctx, q, approvals.Revocation{By: operator, Why: approvals.RevokedIneligible})
	return disabled{n}, err
}

func (a *admin) clearAgent(r *http.Request) (any, error) {
	id := approvals.AgentID(r.PathValue("id"))
	n, err := a.s.agents.Clear(r.Context(), id)
	if err != nil {
		return nil, err
	}
	people, err := a.s.leftAlone(r.Context(), id)
	return cleared{n, people}, err
}

// signedRequest exports what an agent has signed, as evidence of what it asked for (REQ-159).
func (a *admin) signedRequest(r *http.Request) (any, error) {
	text, err := a.s.agents.SignedRequest(r.Context(), approvals.ID(r.PathValue("id")))
	return signedRequest{text}, err
}

// operator is who acts over the administration socket.
var operator = approvals.Actor{Kind: "operator", ID: "admin.sock"}

// changeAgent works on a copy: what the directory hands out is shared.
func (a *admin) changeAgent(ctx context.Context, id approvals.AgentID, change func(*approvals.Agent) error) error {
	found, err := a.s.dir.Agent(ctx, id)
	if err != nil {
		return fmt.Errorf("client_id %s: %w", id, err)
	}
	agent := *found
	if err := change(&agent); err != nil {
		return err
	}
	return a.s.dir.SaveAgent(ctx, &agent)
}

func (a *admin) rotateSecret(r *http.Request) (any, error) {
	made := madeAgent{ClientID: r.PathValue("id"), ClientSecret: ciba.NewSecret()}
	err := a.changeAgent(r.Context(), approvals.AgentID(made.ClientID), func(g *approvals.Agent) error {
		return ciba.SetSecret(g, a.s.root, made.ClientSecret, time.Time{})
	})
	return made, err
}

func (a *admin) addPerson(r *http.Request) (any, error) {
	var body newPerson
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	p, err := a.s.addPerson(r.Context(), body)
	if err != nil {
		return nil, err
	}
	return rowOf(p), nil
}

func rowOf(p *approvals.Person) personRow {
	row := personRow{Sub: string(p.ID), Name: p.Name, Locale: p.Locale, Zone: p.Zone, Muted: p.Muted, Disabled: p.Disabled,
		CreatedAt: p.CreatedAt}
	if p.Quiet != (approvals.QuietHours{}) {
		row.Quiet = p.Quiet.From + "-" + p.Quiet.To
	}
	return row
}

// addPerson creates a person; an address or hint of somebody else is refused.
func (s *service) addPerson(ctx context.Context, in newPerson) (*approvals.Person, error) {
	if in.Sub == "" {
		in.Sub = "u_" + strings.ToLower(rand.Text())
	}
	p := &approvals.Person{ID: approvals.PersonID(in.Sub), Name: in.Name, Locale: approvals.Locale(in.Locale), Zone: in.Zone,
		Hints: in.LoginHints, Email: in.Email, Phone: in.Phone, Muted: in.Muted, CreatedAt: s.clock.Now()}
	var err error
	if p.Quiet, err = quietHours(in.Quiet); err != nil {
		return nil, err
	}
	if _, err := s.dir.Person(ctx, p.ID); !errors.Is(err, approvals.ErrNotFound) {
		return nil, errors.Join(err, fmt.Errorf("sub %s: %w", p.ID, errExists))
	}
	if in.UserCode != "" {
		hash, err := ciba.HashUserCode(in.UserCode)
		if err != nil {
			return nil, err
		}
		p.UserCode = hash
	}
	return p, s.dir.SavePerson(ctx, p)
}

func (a *admin) listPeople(r *http.Request) (any, error) {
	people, err := a.s.dir.People(r.Context(), approvals.PersonID(r.URL.Query().Get("after")), listLimit)
	rows := make([]personRow, len(people))
	for i, p := range people {
		rows[i] = rowOf(p)
	}
	return rows, err
}

func (a *admin) invite(r *http.Request) (any, error) {
	inv, err := a.s.pages.Invite(r.Context(), approvals.PersonID(r.PathValue("sub")))
	if err != nil {
		return nil, fmt.Errorf("sub %s: %w", r.PathValue("sub"), err)
	}
	if inv.ByCode {
		inv.Code = ""
	}
	return invitation{inv.URL, inv.Code, inv.Expires}, nil
}

func (a *admin) disablePerson(r *http.Request) (any, error) {
	ctx, id := context.WithoutCancel(r.Context()), approvals.PersonID(r.PathValue("sub"))
	if err := a.changePerson(ctx, id, func(p *approvals.Person) { p.Disabled = true }); err != nil {
		return nil, err
	}
	return a.endAll(ctx, approvals.Query{Person: id})
}

func (a *admin) enablePerson(r *http.Request) (any, error) {
	return nil, a.changePerson(r.Context(), approvals.PersonID(r.PathValue("sub")), func(p *approvals.Person) { p.Disabled = false })
}

func (a *admin) signOut(r *http.Request) (any, error) {
	at := a.s.clock.Now()
	return nil, a.changePerson(r.Context(), approvals.PersonID(r.PathValue("sub")), func(p *approvals.Person) { p.SignedOutAt = at })
}

// changePerson works on a copy: what the directory hands out is shared.
func (a *admin) changePerson(ctx context.Context, id approvals.PersonID, change func(*approvals.Person)) error {
	found, err := a.s.dir.Person(ctx, id)
	if err != nil {
		return fmt.Errorf("sub %s: %w", id, err)
	}
	person := *found
	change(&person)
	return a.s.dir.SavePerson(ctx, &person)
}

func (a *admin) rotateKeys(r *http.Request) (any, error) { return a.s.keyring.Rotate(r.Context()) }

// backup streams a consistent copy. A failure in the middle cuts the connection, so that no client takes half a copy
// for a whole one.
func (a *admin) backup(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := a.s.store.Backup(r.Context(), w); err != nil {
		a.log.ErrorContext(r.Context(), "backup", "err", err)
		panic(http.ErrAbortHandler)
	}
}
