package webapp

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"assent/approvals"
	"assent/webapp/passkey"
)

// directly is how soon after an invitation was accepted a passkey still counts as made on it.
const directly = time.Hour

// freshFor is how long a sign-in, or a confirmation by passkey, counts as one of just now.
const freshFor = 10 * time.Minute

// formPasskeys is what the forms of the page are tied to, in the place of a request.
const formPasskeys approvals.ID = "passkeys"

// passkeysView is the page of a person's own passkeys.
type passkeysView struct {
	Rows    []passkeyRow
	Token   string
	Suggest string // name for a new one: this device
	Room    bool   // for one more
	Again   string // where to sign in anew before one is added; "" when that is not needed
	Alone   bool   // the only one is the only way in, and stays
	Stale   bool   // removing one takes a new sign-in
	Problem string // key
}

type passkeyRow struct {
	Key   string
	Name  string
	Added string
	Used  string // "" when never
	Held  string // until when it is too new; "" when it is not
}

// mayKeep returns [errSignIn] unless the person signed in well enough to change how they sign in.
func (v *visit) mayKeep() error {
	if v.who == nil || v.who.Level < approvals.LevelSession {
		return errSignIn
	}
	return nil
}

// listPasskeys shows what the person has.
func (h *Handler) listPasskeys(v *visit) (answer, error) { return h.showPasskeys(v, nil) }

func (h *Handler) showPasskeys(v *visit, problem error) (answer, error) {
	if err := v.mayKeep(); err != nil {
		return answer{}, err
	}
	list, err := h.passkeys.List(v.Context(), v.who.Person)
	if err != nil {
		return answer{}, err
	}
	another, _, err := h.otherWayIn(v.Context(), v.who.person, byPasskey)
	if err != nil {
		return answer{}, err
	}
	view := &passkeysView{Token: h.formToken(v.who, formPasskeys), Suggest: device(v.UserAgent()),
		Room: len(list) < passkey.Max, Alone: len(list) == 1 && !another,
		Stale: v.isFresh() != nil}
	switch err := h.mayAdd(v); {
	case errors.Is(err, errNotFresh):
		view.Again = v.path("/signin?fresh=1&next=" + url.QueryEscape(v.path("/passkeys")))
	case err != nil:
		return answer{}, err
	}
	for _, c := range list {
		view.Rows = append(view.Rows, h.passkeyRow(v, c))
	}
	if problem == nil {
		return answer{page: "passkeys", data: view}, nil
	}
	view.Problem = passkeyProblem(problem)
	return answer{status: http.StatusUnprocessableEntity, page: "passkeys", data: view}, nil
}

func (h *Handler) passkeyRow(v *visit, c passkey.Credential) passkeyRow {
	now, zone := h.Now(), v.who.person.Zone
	row := passkeyRow{Key: c.Key(), Name: c.Name, Added: moment(c.CreatedAt, now, zone, v.lang)}
	if row.Name == "" {
		row.Name = say(v.lang, "passkey.unnamed")
	}
	if !c.UsedAt.IsZero() {
		row.Used = moment(c.UsedAt, now, zone, v.lang)
	}
	if now.Before(c.HeldUntil) {
		row.Held = moment(c.HeldUntil, now, zone, v.lang)
	}
	return row
}

// keeping reads a form of the page and checks that it was made for this sign-in.
func (h *Handler) keeping(v *visit, fields ...string) (url.Values, error) {
	values, err := form(v, append(fields, "token")...)
	if err != nil {
		return nil, err
	}
	if err := v.mayKeep(); err != nil {
		return nil, err
	}
	want := h.formToken(v.who, formPasskeys)
	if subtle.ConstantTimeCompare([]byte(values.Get("token")), []byte(want)) != 1 {
		return nil, errStale
	}
	return values, nil
}

func (v *visit) owner() passkey.Owner {
	return passkey.Owner{Person: v.who.Person, Name: v.who.person.Name}
}

// beginPasskey hands the script what the browser needs to make a passkey.
func (h *Handler) beginPasskey(v *visit) (answer, error) {
	if _, err := h.keeping(v); err != nil {
		return answer{}, err
	}
	if err := h.mayAdd(v); err != nil {
		return answer{}, err
	}
	options, err := h.passkeys.BeginAdd(v.Context(), v.owner(), v.who.ID)
	if err != nil {
		return answer{}, err
	}
	return answer{json: options}, nil
}

// isFresh returns [errNotFresh] unless the person has shown just now that it is them.
func (v *visit) isFresh() error {
	last := v.who.provedAt()
	if v.who.Confirmed.After(last) {
		last = v.who.Confirmed
	}
	if v.h.Now().Sub(last) > freshFor {
		return errNotFresh
	}
	return nil
}

// mayAdd returns [errNotFresh] unless the person may add a passkey as they are signed in: whoever has copied a cookie makes
// no way in of their own with it. An invitation leads there, and who reads on for a while comes from it all the same; who
// could not sign in anew at all has nothing better to show.
func (h *Handler) mayAdd(v *visit) error {
	if v.isFresh() == nil || v.who.Invited && h.Now().Sub(v.who.AuthTime) <= directly {
		return nil
	}
	another, _, err := h.otherWayIn(v.Context(), v.who.person, byInvitation)
	if err == nil && another {
		err = errNotFresh
	}
	return err
}

// holdOf is how long a passkey that is added now is kept from what takes one: whoever got hold of a phone number, or of a
// cookie, does not get that with it. Only the very first one that a person ever makes is good at once, and only straight
// from the invitation: otherwise nobody could start. After a recovery there is no such exception, as whoever talked an
// operator into it would be the one to profit.
func (h *Handler) holdOf(v *visit) (time.Duration, error) {
	if !v.who.Invited || !v.who.person.SignedOutAt.IsZero() || h.Now().Sub(v.who.AuthTime) > directly {
		return h.Hold, nil
	}
	first, err := h.passkeys.Never(v.Context(), v.who.Person)
	if err != nil || !first {
		return h.Hold, err
	}
	return 0, nil
}

// addPasskey keeps what the browser made.
func (h *Handler) addPasskey(v *visit) (answer, error) {
	values, err := h.keeping(v, "name", "ticket", "credential")
	if err != nil {
		return answer{}, err
	}
	if err := h.mayAdd(v); err != nil {
		return answer{}, err
	}
	a := passkey.Addition{Answer: passkeyAnswer(values), Name: values.Get("name")}
	if a.Hold, err = h.holdOf(v); err != nil {
		return answer{}, err
	}
	told := h.notice(v, approvals.NoticePasskey, v.device())
	if _, err = h.passkeys.Add(v.Context(), v.owner(), v.who.ID, a, told); err == nil {
		h.Hub.Signal(approvals.TopicDue)
	}
	return h.kept(v, err)
}

// notice tells whoever is signed in of a change of their account, once it is made with what it is about; then the sender
// signals [approvals.TopicDue].
func (h *Handler) notice(v *visit, what, where string) approvals.Write {
	return approvals.NewNotice(approvals.Notice{Person: v.who.Person, What: what, Where: where}, h.Now())
}

// removePasskey forgets one, for whoever has signed in just now.
func (h *Handler) removePasskey(v *visit) (answer, error) {
	values, err := h.keeping(v, "key")
	if err != nil {
		return answer{}, err
	}
	if err := v.isFresh(); err != nil {
		return answer{}, err
	}
	another, stays, err := h.otherWayIn(v.Context(), v.who.person, byPasskey)
	if err != nil {
		return answer{}, err
	}
	list, err := h.passkeys.List(v.Context(), v.who.Person)
	if err != nil {
		return answer{}, err
	}
	name := ""
	if at := slices.IndexFunc(list, func(c passkey.Credential) bool { return c.Key() == values.Get("key") }); at >= 0 {
		name = list[at].Name
	}
	told := h.notice(v, approvals.NoticePasskeyGone, name)
	err = h.passkeys.Remove(v.Context(), v.who.Person, values.Get("key"), another, append(stays, told)...)
	if err == nil {
		h.Hub.Signal(approvals.TopicDue)
	}
	if errors.Is(err, passkey.ErrUnknown) {
		err = nil // removed twice
	}
	return h.kept(v, err)
}

func (h *Handler) kept(v *visit, err error) (answer, error) {
	switch {
	case err == nil:
		h.touch(v)
		return answer{to: v.path("/passkeys")}, nil
	case errors.Is(err, approvals.ErrInvalid):
		return answer{}, fmt.Errorf("%w: %w", errForm, err) // the page's own input takes no such name
	case passkeyProblem(err) != "":
		return h.showPasskeys(v, err)
	}
	return answer{}, err
}
