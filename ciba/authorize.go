package ciba

import (
	"encoding/json"
	"errors"
	"time"

	"assent/approvals"
)

// interval is the number of seconds between polls that we ask for.
const interval = 2

// acknowledgement is the answer of CIBA section 7.3, without any other member (REQ-164).
type acknowledgement struct {
	AuthReqID string `json:"auth_req_id"`
	ExpiresIn int    `json:"expires_in"`
	Interval  int    `json:"interval"`
}

// asking is one backchannel authentication request on its way through [asking.read].
type asking struct {
	*call
	h    *Handler
	hint hint
	ask  approvals.Ask
	once *once  // what an Idempotency-Key means, or nil
	kept []byte // the answer to an earlier request with that key

	burns  []burn // what the request uses up
	signed string // the request object that it came in, or ""
	token  string // client_notification_token of a ping client
}

// authorize answers CIBA section 7: the request is durable before the answer leaves, and no message to the person is
// waited for (REQ-165, 166).
func (h *Handler) authorize(c *call) ([]byte, error) {
	a := &asking{call: c, h: h}
	if err := a.read(); err != nil {
		return nil, err
	}
	if a.kept != nil {
		return a.kept, nil
	}
	if a.ask.Subject == nil {
		return a.openDecoy()
	}
	return a.open()
}

// read is REQ-083: the order in which a request is judged. The first fault is the answer, and nothing of a refused
// request is stored (REQ-084).
func (a *asking) read() error {
	for _, step := range [...]func(*asking) error{
		(*asking).readForm,     // transport, encoding
		(*asking).authenticate, // who asks
		(*asking).mayAsk,       // registered for the CIBA grant
		(*asking).noneTwice,    // duplicate parameters
		(*asking).countUnknown, // and unknown ones
		(*asking).showKey,      // DPoP proof
		(*asking).signedOnly,   // where a profile wants that
		(*asking).readRequest,  // request object, nothing outside it
		(*asking).required,     // required parameters, one hint
		(*asking).readHint,     //
		(*asking).readScope,    //
		(*asking).readAudience, // resource
		(*asking).readDetails,  // authorization_details
		(*asking).readStanding, // offline_access
		(*asking).readLife,     // requested_expiry
		(*asking).readACR,      // acr_values
		(*asking).readBinding,  // binding_message
		(*asking).saysWhat,     // where a profile wants that
		(*asking).readCode,     // user_code
		(*asking).readContext,  // request_context
		(*asking).readToken,    // client_notification_token
		(*asking).readOnce,     // Idempotency-Key: a repeat is answered from here
		(*asking).unused,       // jti of request object and login_hint_token
		(*asking).findPerson,   // whom the hint means
		(*asking).checkCode,    // user_code of that person
		(*asking).freshCode,    // binding_message that the person types
	} {
		if err := step(a); err != nil || a.kept != nil {
			return err
		}
	}
	return nil
}

func (a *asking) readForm() (err error) {
	a.form, err = readParams(a.w, a.r, false)
	return err
}

func (a *asking) authenticate() error { return a.h.authenticate(a.call) }

func (a *asking) mayAsk() error {
	if !a.client.mayUse(GrantCIBA) {
		return errUnauthorized
	}
	return nil
}

func (a *asking) noneTwice() error { return a.form.noneTwice() }

func (p *params) noneTwice() error {
	if p.twice {
		return errTwice
	}
	return nil
}

func (a *asking) required() error {
	hints := a.form.count("login_hint") + a.form.count("login_hint_token") + a.form.count("id_token_hint")
	switch {
	case a.form.get("scope") == "":
		return badRequest("The scope parameter is required.")
	case hints != 1:
		return badRequest("Exactly one hint is required.")
	}
	return nil
}

func (a *asking) readScope() (err error) {
	a.ask.Scope, err = askedScope(a.form.get("scope"), a.agent, a.client.PureOAuth)
	return err
}

func (a *asking) readAudience() (err error) {
	a.ask.Audience, err = a.h.askedAudience(a.form, a.agent)
	return err
}

func (a *asking) readDetails() (err error) {
	a.ask.Details, err = parseDetails(a.h.Desk.Renderer.Types, a.form.get("authorization_details"), a.agent.MayAsk)
	if err == nil && !a.h.Desk.Approvable(a.ask.Details) {
		return errUnapprovable
	}
	if len(a.ask.Audience) == 0 {
		a.ask.Audience = a.h.fromLocations(a.ask.Details, a.agent)
	}
	return err
}

func (a *asking) readLife() (err error) {
	a.ask.Life, err = askedLife(a.form.get("requested_expiry"))
	return err
}

// readACR asks for the first level in the agent's list that can be reached here; who can reach one also reaches those
// below it (REQ-129). A client may insist that there is one (REQ-131).
func (a *asking) readACR() (err error) {
	if a.ask.ACR, err = askedACR(a.form.get("acr_values")); err != nil {
		return err
	}
	for _, acr := range a.ask.ACR {
		if level := approvals.LevelOf(acr); level > approvals.LevelNone && level <= a.h.reach {
			a.ask.Level = level
			return nil
		}
	}
	if a.client.EnforceACR && len(a.ask.ACR) > 0 {
		return errNoACR
	}
	return nil
}

func (a *asking) readBinding() (err error) {
	if a.client.enters() {
		return a.readEntered()
	}
	a.ask.Binding, err = askedBinding(a.form.get("binding_message"))
	return err
}

// findPerson leaves the subject nil when a blind client means nobody.
func (a *asking) findPerson() (err error) {
	a.ask.Subject, err = a.resolve()
	if errors.Is(err, errUnknownUser) && a.client.blind() {
		return nil
	}
	return err
}

// open hands the request to the desk.
func (a *asking) open() ([]byte, error) {
	a.ask.Agent, a.ask.SelfRegistered = a.agent, a.client.Registration != nil
	var body []byte
	a.ask.Also = func(r *approvals.Request, secret string) (writes []approvals.Write, err error) {
		a.id = r.ID
		body, writes, err = a.acknowledge(r.ID, secret, r.ExpiresAt.Sub(r.CreatedAt))
		writes = append(writes, a.promised(r.ID, r.ExpiresAt)...)
		writes = append(writes, a.evidence(r)...)
		return append(writes, a.errandOf(r, secret)...), err
	}
	_, _, err := a.h.Desk.Open(a.r.Context(), a.ask)
	switch {
	case errors.Is(err, approvals.ErrConflict):
		return a.overtaken(err)
	case a.client.blind() && (errors.Is(err, approvals.ErrNotEligible) || errors.Is(err, approvals.ErrTooOften) ||
		errors.Is(err, approvals.ErrShutOut)):
		return a.openDecoy() // nobody is asked, and that tells as little as when there is nobody
	case errors.Is(err, approvals.ErrNotEligible):
		return nil, errUnknownUser // disabled since the hint was looked up
	case err != nil:
		return nil, err
	}
	return body, nil
}

// acknowledge makes the answer, and the writes that commit with what it acknowledges.
func (a *asking) acknowledge(id approvals.ID, secret string, life time.Duration) ([]byte, []approvals.Write, error) {
	body, err := json.Marshal(acknowledgement{string(id) + "." + secret, int(life / time.Second), interval})
	if err != nil {
		return nil, nil, err
	}
	writes := a.burnt()
	if a.once != nil {
		writes = append(writes, a.once.put(body, a.at.Add(askedLifetime)))
	}
	return body, writes, nil
}

// overtaken answers when another request took the Idempotency-Key or the request object a moment ago.
func (a *asking) overtaken(conflict error) ([]byte, error) {
	if a.once != nil {
		body, err := a.once.find(a.r.Context())
		if !errors.Is(err, approvals.ErrNotFound) {
			return body, err
		}
	}
	if err := a.unused(); err != nil {
		return nil, err
	}
	return nil, conflict
}
