package webapp

import (
	"crypto/subtle"
	"net/http"
	"net/url"
	"slices"
	"unicode"

	"assent/approvals"
	"assent/webapp/upstream"
)

// formAccounts is what the forms of the page are tied to, in the place of a request.
const formAccounts approvals.ID = "accounts"

// formConnect is what the link to one provider is tied to. What stands in an address stays in logs and histories, so it is
// good for nothing else.
func formConnect(provider string) approvals.ID { return approvals.ID("connect " + provider) }

// accountsView is the page of a person's accounts elsewhere.
type accountsView struct {
	Rows    []accountRow
	Token   string
	Problem string // key
	Title   string // of the provider that the problem is about
}

// accountRow is one provider, and the person's account there if one is connected.
type accountRow struct {
	Title   string
	Connect string // "" when one is connected
	Key     string
	Label   string // as the provider has it; "" when it does not say
	Since   string
	Used    string // "" when never
	Alone   bool   // the only way in, and stays
}

// accounts shows where the person can sign in elsewhere.
func (h *Handler) accounts(v *visit) (answer, error) { return h.showAccounts(v, "") }

func (h *Handler) showAccounts(v *visit, problem string) (answer, error) {
	if err := v.mayKeep(); err != nil {
		return answer{}, err
	}
	list, err := h.Upstream.List(v.Context(), v.who.Person)
	if err != nil {
		return answer{}, err
	}
	another, _, err := h.otherWayIn(v.Context(), v.who.person, byAccount)
	if err != nil {
		return answer{}, err
	}
	view := &accountsView{Token: h.formToken(v.who, formAccounts), Problem: problem}
	for _, o := range h.Upstream.Offers(v.lang) {
		view.Rows = append(view.Rows, h.accountRow(v, o, list, !another && len(list) == 1))
	}
	if problem == "" {
		return answer{page: "accounts", data: view}, nil
	}
	view.Title = h.upstreamTitle(v)
	return answer{status: http.StatusUnprocessableEntity, page: "accounts", data: view}, nil
}

func (h *Handler) accountRow(v *visit, o upstream.Offer, list []upstream.Account, alone bool) accountRow {
	now, zone := h.Now(), v.who.person.Zone
	for _, a := range list {
		if a.Provider != o.Name {
			continue
		}
		row := accountRow{Title: o.Title, Key: a.Key, Label: approvals.Visible(a.Label), Alone: alone,
			Since: moment(a.Since, now, zone, v.lang)}
		if !a.UsedAt.IsZero() {
			row.Used = moment(a.UsedAt, now, zone, v.lang)
		}
		return row
	}
	// The token keeps other sites from making somebody set out: it is a link, so that a provider may follow it.
	return accountRow{Title: o.Title, Connect: v.path("/signin/" + o.Name + "/connect?token=" +
		url.QueryEscape(h.formToken(v.who, formConnect(o.Name))))}
}

// setOutToConnect sends a signed-in person to a provider, to come back with an account.
func (h *Handler) setOutToConnect(v *visit) (answer, error) {
	if err := v.mayKeep(); err != nil {
		return answer{}, err
	}
	if !h.mine(v, formConnect(v.PathValue("provider")), v.URL.Query().Get("token")) {
		return answer{}, errStale
	}
	if err := v.isFresh(); err != nil {
		return answer{}, err
	}
	a, err := h.leave(v, upstream.Wish{Person: v.who.Person, By: v.who.ID})
	if text := upstreamProblem(err); text != "" {
		return h.showAccounts(v, text)
	}
	return a, err
}

// mine reports whether a token was made for this sign-in and this form.
func (h *Handler) mine(v *visit, form approvals.ID, token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(h.formToken(v.who, form))) == 1
}

// connect ties the account that a provider's answer is about to the person who is signed in.
func (h *Handler) connect(v *visit, bound string, b upstream.Back, token string) (answer, error) {
	if err := v.mayKeep(); err != nil {
		return answer{}, err
	}
	if !h.mine(v, formAccounts, token) {
		return answer{}, errStale
	}
	told := h.notice(v, approvals.NoticeAccount, h.upstreamTitle(v))
	err := h.Upstream.Connect(v.Context(), v.PathValue("provider"), bound, v.who.Person, v.who.ID, b, told)
	if text := upstreamProblem(err); text != "" {
		return h.showAccounts(v, text)
	}
	if err != nil {
		return answer{}, err
	}
	h.Hub.Signal(approvals.TopicDue)
	h.touch(v)
	return answer{to: v.path("/accounts")}, nil
}

// forgetAccount forgets an account.
func (h *Handler) forgetAccount(v *visit) (answer, error) {
	values, err := form(v, "key", "token")
	if err != nil {
		return answer{}, err
	}
	if err := v.mayKeep(); err != nil {
		return answer{}, err
	}
	if !h.mine(v, formAccounts, values.Get("token")) {
		return answer{}, errStale
	}
	if err := v.isFresh(); err != nil {
		return answer{}, err
	}
	another, stays, err := h.otherWayIn(v.Context(), v.who.person, byAccount)
	if err != nil {
		return answer{}, err
	}
	list, err := h.Upstream.List(v.Context(), v.who.Person)
	if err != nil {
		return answer{}, err
	}
	at := slices.IndexFunc(list, func(a upstream.Account) bool { return a.Key == values.Get("key") })
	if at < 0 { // forgotten twice
		return answer{to: v.path("/accounts")}, nil
	}
	told := h.notice(v, approvals.NoticeAccountGone, h.Upstream.Title(list[at].Provider, v.lang))
	err = h.Upstream.Disconnect(v.Context(), v.who.Person, values.Get("key"), another, append(stays, told)...)
	if text := upstreamProblem(err); text != "" {
		return h.showAccounts(v, text)
	}
	if err != nil {
		return answer{}, err
	}
	h.Hub.Signal(approvals.TopicDue)
	h.touch(v)
	return answer{to: v.path("/accounts")}, nil
}

const firstHangul, lastHangul = '가', '힣'

func isHangul(r rune) bool { return firstHangul <= r && r <= lastHangul }

func isLetter(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
