package approvals

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// AgentID is the client_id of an agent.
type AgentID string

// Agent is a piece of software that asks.
type Agent struct {
	V         int      `json:"v"`
	ID        AgentID  `json:"client_id"`
	Name      string   `json:"client_name"`        // registered by an operator; what people read
	Operator  string   `json:"operator,omitempty"` // who runs it, likewise
	Types     []string `json:"authorization_details_types,omitempty"`
	Generic   bool     `json:"generic_types,omitempty"`     // it may ask for what no type is known for
	Scopes    []string `json:"scopes,omitempty"`            // beside openid
	Audiences []string `json:"allowed_audiences,omitempty"` // none: the default audience only
	Disabled  bool     `json:"disabled,omitempty"`

	// DisabledWhy is empty for an agent that an operator has disabled, or [DisabledReported] or [DisabledDeleted].
	DisabledWhy string `json:"disabled_why,omitempty"`

	CreatedAt time.Time `json:"created_at"`

	// Client is what the agents' door keeps about this client (authentication method, keyed hash of the secret,
	// delivery mode), in the door's own encoding.
	Client json.RawMessage `json:"client,omitempty"`

	Revision uint64 `json:"-"` // of the record this came from
}

// DisabledReported is why an agent is disabled that several people have reported; [Desk.Clear] enables it again.
const DisabledReported = "reported"

// DisabledDeleted is why an agent is disabled that wanted to be deleted while reports of it stood: it is kept for the
// operator who looks into them.
const DisabledDeleted = "deleted"

// MayAsk reports whether the agent may use an authorization_details type; [TypeGeneric] is every one that is not known.
func (a *Agent) MayAsk(typ string) bool {
	if typ == TypeGeneric {
		return a.Generic
	}
	return slices.Contains(a.Types, typ)
}

// MayHave reports whether the agent may still use what it has asked for.
func (a *Agent) MayHave(d Detail) bool {
	if d.Generic {
		return a.Generic
	}
	return a.MayAsk(d.Type)
}

// Validate reports what an agent's record must fulfil before it may be stored.
func (a *Agent) Validate() error {
	switch {
	case a.ID == "" || len(a.ID) > 255:
		return invalid("client_id", "must have 1 to 255 characters")
	case strings.Trim(string(a.ID), clientIDChars) != "":
		return invalid("client_id", "must hold only letters, digits and - . _ ~")
	case a.Name == "" || len(a.Name) > 100:
		return invalid("client_name", "must have 1 to 100 bytes")
	case strings.ContainsFunc(a.Name, odd):
		return invalid("client_name", "must not hold invisible characters")
	case len(a.Operator) > 100 || a.Operator != strings.TrimSpace(a.Operator) || strings.ContainsFunc(a.Operator, odd):
		return invalid("operator", "must not be longer than 100 bytes, or hold invisible characters or spaces around it")
	}
	return nil
}

// clientIDChars are RFC 3986's unreserved characters, so that form and Basic encodings agree on every id.
const clientIDChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"

func decodeAgent(rec Record) (*Agent, error) {
	a := &Agent{Revision: rec.Revision}
	if err := json.Unmarshal(rec.Value, a); err != nil {
		return nil, fmt.Errorf("read agent: %w", err)
	}
	return a, nil
}
