package ciba

import (
	"cmp"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
)

// What people do with the binding_message of a client: they compare it with what the agent shows, or type what it shows.
const (
	codeCompare = "compare"
	codeEnter   = "enter"
)

// kindEntered is the record kind of codes that an agent has shown to a person; its names are keyed hashes.
const kindEntered = "ciba.entered"

// staleCode is how long an agent may not show a person the same code again.
const staleCode = 24 * time.Hour

var (
	errEntered   = refuse("invalid_binding_message", "The binding_message must be 2 to 6 digits that are not too simple.")
	errStaleCode = refuse("invalid_binding_message", "The binding_message was used for this person within 24 hours.")
)

// Code is what people do with the code that the client shows: compare it, or enter it (binding_code).
func (c *Client) Code() string { return cmp.Or(c.BindingCode, codeCompare) }

func (c *Client) enters() bool { return c.BindingCode == codeEnter }

// readEntered reads a code that the person types. Leaving it out would be a way around typing it, so it is required, which
// is a fault of the request and not of a message (REQ-120).
func (a *asking) readEntered() error {
	text := a.form.get("binding_message")
	if text == "" {
		return badRequest("The binding_message is required for this client: the person types it.")
	}
	if approvals.CheckCode(text) != nil {
		return errEntered
	}
	a.ask.Binding, a.ask.Enter = text, true
	return nil
}

// freshCode uses up the code for this agent and person, in the transaction of the request: an old one may still stand on a
// screen or in a chat. For a hint that means nobody it counts by the hint, so that a blind client sees no difference.
func (a *asking) freshCode() error {
	if !a.ask.Enter {
		return nil
	}
	who := append([]string{"hint"}, a.hint.names...)
	if a.ask.Subject != nil {
		who = []string{"person", string(a.ask.Subject.ID)}
	}
	name := a.h.Root.Name(keys.LabelLookup, append([]string{kindEntered, string(a.agent.ID), a.ask.Binding}, who...)...)
	a.burns = append(a.burns, burn{kindEntered, name, a.at.Add(staleCode), errStaleCode})
	return a.unused()
}
