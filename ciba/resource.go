package ciba

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"assent/approvals"
)

// Token is what an access token says to the resource that it is shown to.
type Token struct {
	Subject  approvals.PersonID // on whose behalf; empty: on the client's own account, and nobody has approved anything
	ClientID approvals.AgentID
	Scope    string
	Details  []json.RawMessage // authorization_details, as granted
	Request  string            // txn
}

// Resource is a resource beside this door, as any other would be: it knows the published keys and nothing else.
type Resource struct {
	Handler  *Handler
	Audience string
}

// Show returns the access token that a request carries: signed by a published key, alive, meant for this resource, and
// held by whom it is bound to (RFC 9068 section 4, REQ-258). When there is none it has answered already (RFC 6750 section
// 3), and returns nil.
func (p Resource) Show(w http.ResponseWriter, r *http.Request) *Token {
	claims, err := p.Handler.presented(&call{w: w, r: r, at: p.Handler.Now()})
	if err == nil && !slices.Contains(claims.Audience, p.Audience) {
		scheme, _ := carried(r.Header)
		err = badToken(scheme)
	}
	if err != nil {
		f := faultOf(err)
		w.Header()["Content-Type"] = jsonType
		w.Header()["Cache-Control"] = noStore
		f.headers(w.Header())
		w.WriteHeader(f.status)
		_, _ = w.Write(f.body()) // the client is gone: nobody to tell
		return nil
	}
	if claims.isAlone() {
		claims.Subject = ""
	}
	return &Token{Subject: approvals.PersonID(claims.Subject), ClientID: approvals.AgentID(claims.ClientID),
		Scope: strings.TrimSpace(claims.Scope), Details: claims.Details, Request: claims.Txn}
}
