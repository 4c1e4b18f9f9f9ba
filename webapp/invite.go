package webapp

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
)

// invitationLife is how long an invitation waits to be accepted.
const invitationLife = 72 * time.Hour

// kindInvited points from a person to the one open invitation, so that a new one ends the old one.
const kindInvited = "invited"

// Invitation is what an operator hands over to a person, to bind one browser.
type Invitation struct {
	URL     string    // opens once
	Code    string    // six digits, told by another way than the URL; not asked for when ByCode is set
	ByCode  bool      // the person's own channel will carry a code of its own
	Expires time.Time // if nobody accepts it before
}

// Invite makes an invitation for a person and ends an earlier one that is still open. The URL holds 256 bits that are
// stored only as a keyed hash.
func (h *Handler) Invite(ctx context.Context, person approvals.PersonID) (Invitation, error) {
	p, err := h.Directory.Person(ctx, person)
	if err != nil {
		return Invitation{}, fmt.Errorf("invite: %w", err)
	}
	if p.Disabled {
		return Invitation{}, fmt.Errorf("invite: %w", approvals.ErrNotEligible)
	}
	token, ends := newSecret(), h.Now().Add(invitationLife)
	c := &challenge{V: 1, Person: person, Told: newSecret(), Ends: ends}
	for range inviteRounds {
		if err = h.invite(ctx, h.invitationKey(token), c); !errors.Is(err, approvals.ErrConflict) {
			break
		}
	}
	if err != nil {
		return Invitation{}, fmt.Errorf("invite: %w", err)
	}
	return Invitation{URL: h.origin + "/i/" + token, Code: h.toldCode(c.Told), ByCode: h.CanSend(p), Expires: ends}, nil
}

// inviteRounds is how often Invite begins again when others invite or accept at the same moment.
const inviteRounds = 20

// invite writes an invitation in the place of the one that is open, or fails with [approvals.ErrConflict]. Both the
// pointer and what it points to go by revision: a pointer that was deleted and made anew counts from 1 again.
func (h *Handler) invite(ctx context.Context, key string, c *challenge) error {
	value, pointer := c.encode(), []byte(key)
	made := approvals.PutNew(kindInvitation, key, value, c.Ends)
	open, err := h.Records.Get(ctx, kindInvited, string(c.Person))
	if errors.Is(err, approvals.ErrNotFound) {
		return h.Records.Apply(ctx, made, approvals.PutNew(kindInvited, string(c.Person), pointer, c.Ends))
	}
	if err != nil {
		return err
	}
	old, err := h.Records.Get(ctx, kindInvitation, string(open.Value))
	if errors.Is(err, approvals.ErrNotFound) {
		return approvals.ErrConflict // accepted or expired between the two reads
	}
	if err != nil {
		return err
	}
	return h.Records.Apply(ctx, made, approvals.Replace(open, pointer, c.Ends),
		approvals.Delete(kindInvitation, string(open.Value), old.Revision))
}

func (h *Handler) invitationKey(token string) string {
	return h.Root.Name(keys.LabelLookup, "invitation", token)
}

// invitation reads the open invitation of a visit's path, and the person it is for. Unknown, spent, dead and expired
// ones are one [errDeadInvitation].
func (h *Handler) invitation(v *visit) (key string, c *challenge, p *approvals.Person, err error) {
	if !h.mayLookUp(v) {
		return "", nil, nil, errTooMany
	}
	token := v.PathValue("token")
	if raw, err := base64.RawURLEncoding.Strict().DecodeString(token); err != nil || len(raw) != secretSize {
		return "", nil, nil, errDeadInvitation
	}
	key = h.invitationKey(token)
	c, err = h.waiting(v.Context(), kindInvitation, key)
	if errors.Is(err, errNoCode) {
		return "", nil, nil, errDeadInvitation
	}
	if err != nil {
		return "", nil, nil, err
	}
	p, err = h.Directory.Person(v.Context(), c.Person)
	if errors.Is(err, approvals.ErrNotFound) || err == nil && (p.Disabled || c.left() <= 0) {
		return "", nil, nil, errDeadInvitation
	}
	if err != nil {
		return "", nil, nil, fmt.Errorf("read person of invitation: %w", err)
	}
	v.speak(p)
	return key, c, p, nil
}

// invitedView is the page before an invitation is accepted. It names nobody: links are opened by robots too.
type invitedView struct {
	Action string
	Sends  bool
}

// invited shows what accepting means.
func (h *Handler) invited(v *visit) (answer, error) {
	_, _, p, err := h.invitation(v)
	if err != nil {
		return answer{}, err
	}
	return answer{page: "invited", data: invitedView{Action: v.path(v.URL.Path), Sends: h.CanSend(p)}}, nil
}

// accept asks for a code: one over the person's channel if there is one, otherwise the one that the operator told.
func (h *Handler) accept(v *visit) (answer, error) {
	if _, err := form(v); err != nil {
		return answer{}, err
	}
	_, c, p, err := h.invitation(v)
	if err != nil {
		return answer{}, err
	}
	c.Sent, c.SentUntil = "", time.Time{}
	var writes []approvals.Write
	if h.CanSend(p) {
		code, sending, err := h.send(v.Context(), p, v.lang)
		if err != nil {
			return answer{}, err
		}
		c.Sent, c.SentUntil, writes = code.ID, code.Expires, sending
	}
	writes = append(writes, approvals.Replace(c.rec, c.encode(), c.Ends))
	if err := h.Records.Apply(v.Context(), writes...); err != nil && !errors.Is(err, approvals.ErrConflict) {
		return answer{}, fmt.Errorf("accept invitation: %w", err)
	}
	h.Hub.Signal(approvals.TopicDue)
	return answer{to: v.path(v.URL.Path + "/code")}, nil
}

// invitedCode asks for the six digits.
func (h *Handler) invitedCode(v *visit) (answer, error) {
	_, c, p, err := h.invitation(v)
	if err != nil {
		return answer{}, err
	}
	return h.askInvited(v, c, p, nil), nil
}

func (h *Handler) askInvited(v *visit, c *challenge, p *approvals.Person, problem error) answer {
	base := "/i/" + v.PathValue("token")
	if h.CanSend(p) && c.Sent == "" {
		return answer{to: v.path(base)}
	}
	view := codeView{Action: v.path(base + "/code"), Told: c.Sent == "", Left: c.left()}
	if c.Sent != "" {
		view.Resend = v.path(base)
	}
	return view.answer(problem)
}

// first is where an accepted invitation leads: a new browser is the moment for a passkey.
func (h *Handler) first() string {
	switch {
	case h.passkeys != nil:
		return "/passkeys"
	case h.Upstream != nil:
		return "/accounts"
	}
	return "/"
}

// acceptCode binds the browser and signs in, once the digits are right. The invitation is spent with it.
func (h *Handler) acceptCode(v *visit) (answer, error) {
	values, err := form(v, "code")
	if err != nil {
		return answer{}, err
	}
	key, c, p, err := h.invitation(v)
	if errors.Is(err, errDeadInvitation) && v.who != nil {
		return answer{to: v.path("/")}, nil // sent twice: the first one did it
	}
	if err != nil {
		return answer{}, err
	}
	if h.CanSend(p) && c.Sent == "" {
		return answer{to: v.path("/i/" + v.PathValue("token"))}, nil
	}
	var cookies []*http.Cookie
	latest, err := h.guess(v.Context(), kindInvitation, key, values.Get("code"), func(c *challenge) []approvals.Write {
		signedIn, writes := h.start(v, p, session{Level: approvals.LevelSession, AMR: []string{"otp"}, Invited: true})
		isBound, bound := h.bind(c.Person)
		cookies = []*http.Cookie{signedIn, isBound}
		if old := h.named(v.Request, cookieBrowser); old != "" {
			writes = append(writes, approvals.Delete(kindBrowser, old, approvals.AnyRevision))
		}
		return append(writes, bound, approvals.Delete(kindInvited, string(c.Person), approvals.AnyRevision))
	})
	switch {
	case err == nil:
		return answer{to: v.path(h.first()), cookies: cookies}, nil
	case errors.Is(err, errSpent), errors.Is(err, errNoCode):
		return answer{}, errDeadInvitation
	case codeProblem(err) == "":
		return answer{}, err
	case latest != nil:
		c = latest
	}
	return h.askInvited(v, c, p, err), nil
}
