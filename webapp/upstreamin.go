package webapp

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
	"assent/webapp/upstream"
)

// upstreamLink is a button of the sign-in page.
type upstreamLink struct {
	URL  string
	Text string
}

// upstreamLinks are the ways in over providers, in the operator's order. They are links: the page's form-action would
// keep a form from ending up elsewhere, and setting out changes nothing.
func (h *Handler) upstreamLinks(v *visit, next string, fresh bool) (out []upstreamLink) {
	if h.Upstream == nil {
		return nil
	}
	query := url.Values{"next": {next}}
	if fresh {
		query.Set("fresh", "1")
	}
	for _, o := range h.Upstream.Offers(v.lang) {
		out = append(out, upstreamLink{v.path("/signin/" + o.Name + "?" + query.Encode()),
			say(v.lang, "signin.with", toward(v.lang, o.Title))})
	}
	return out
}

// setOut sends a browser to a provider. Nothing is stored: all that is left behind is a cookie that ties the answer to
// this browser.
func (h *Handler) setOut(v *visit) (answer, error) {
	query := v.URL.Query()
	wish := upstream.Wish{Next: ownPath(query.Get("next")), Fresh: query.Has("fresh")}
	a, err := h.leave(v, wish)
	if text := upstreamProblem(err); text != "" {
		return h.askUpstream(v, wish.Next, text)
	}
	return a, err
}

func (h *Handler) leave(v *visit, wish upstream.Wish) (answer, error) {
	if !h.mayLookUp(v) {
		return answer{}, errTooMany
	}
	bound, cookies := h.ceremony(v)
	if v.asked {
		wish.Lang = v.lang
	}
	to, err := h.Upstream.Begin(v.Context(), v.PathValue("provider"), bound, v.lang, wish)
	if err != nil {
		return answer{}, upstreamPage(err)
	}
	return answer{to: to, cookies: cookies}, nil
}

// ceremony is what ties a step of signing in to a browser on which nobody is signed in: a keyed hash of a cookie, and
// the cookie where there was none.
func (h *Handler) ceremony(v *visit) (bound string, set []*http.Cookie) {
	if bound = h.named(v.Request, cookieCeremony); bound != "" {
		return bound, nil
	}
	secret := newSecret()
	return h.Root.Name(keys.LabelCookie, cookieCeremony, secret),
		[]*http.Cookie{h.cookie(cookieCeremony, secret, 24*time.Hour)}
}

// backView is the page between a provider and us. Its form is what changes something: whoever opens the address alone
// changes nothing. Script sends the form of a sign-in by itself.
type backView struct {
	Action string
	upstream.Back
	Title    string // of the provider
	Token    string // "" for a sign-in
	Connects bool
}

// back shows what a provider's answer is good for.
func (h *Handler) back(v *visit) (answer, error) {
	if !h.mayLookUp(v) {
		return answer{}, errTooMany
	}
	b, err := upstream.ParseBack(v.URL.RawQuery)
	var wish upstream.Wish
	if err == nil {
		wish, err = h.Upstream.Look(v.Context(), v.PathValue("provider"), h.named(v.Request, cookieCeremony), b)
		v.recall(wish)
	}
	if err != nil {
		return h.notIn(v, wish, err)
	}
	view := backView{Action: v.path(v.URL.Path), Back: b, Title: h.upstreamTitle(v), Connects: wish.Connects()}
	if wish.Connects() {
		if err := v.mayKeep(); err != nil {
			return answer{}, err
		}
		view.Token = h.formToken(v.who, formAccounts)
	}
	return answer{page: "back", data: view}, nil
}

// recall turns to the language in which somebody set out.
func (v *visit) recall(w upstream.Wish) {
	if w.Lang != "" && !v.asked {
		v.lang, v.asked = approvals.Locale(w.Lang), true
	}
}

func (h *Handler) upstreamTitle(v *visit) string {
	return h.Upstream.Title(v.PathValue("provider"), v.lang)
}

// comeBack signs in, or connects an account, with what a provider answered.
func (h *Handler) comeBack(v *visit) (answer, error) {
	values, err := form(v, "code", "state", "iss", "token")
	if err != nil {
		return answer{}, err
	}
	if !h.mayLookUp(v) {
		return answer{}, errTooMany
	}
	token := values.Get("token")
	values.Del("token")
	b, err := upstream.ParseBack(values.Encode())
	if err != nil {
		return answer{}, errForm
	}
	name, bound := v.PathValue("provider"), h.named(v.Request, cookieCeremony)
	wish, err := h.Upstream.Look(v.Context(), name, bound, b)
	v.recall(wish)
	if err == nil && wish.Connects() {
		return h.connect(v, bound, b, token)
	}
	if err == nil {
		var cookie *http.Cookie
		if cookie, err = h.recogniseUpstream(v, bound, b); err == nil {
			return answer{to: v.path(ownPath(wish.Next)), cookies: cookieOf(cookie)}, nil
		}
	}
	return h.notIn(v, wish, err)
}

func cookieOf(c *http.Cookie) []*http.Cookie {
	if c == nil {
		return nil
	}
	return []*http.Cookie{c}
}

// recogniseUpstream begins the session of whoever a provider's answer is about. A better sign-in of the same person on
// this browser stays what it is, and there is no cookie.
func (h *Handler) recogniseUpstream(v *visit, bound string, b upstream.Back) (*http.Cookie, error) {
	proof, err := h.Upstream.SignIn(v.Context(), v.PathValue("provider"), bound, b)
	if err != nil {
		return nil, err
	}
	p, err := h.active(v.Context(), proof.Person, proof.At)
	if err != nil {
		return nil, fmt.Errorf("read person of account: %w", err)
	}
	if p == nil {
		return nil, upstream.ErrNotConnected // as for an account that is nobody's
	}
	if v.who != nil && v.who.Person == p.ID && v.who.Level > proof.Level && !proof.Fresh {
		return nil, h.Upstream.Commit(v.Context(), proof)
	}
	cookie, writes := h.start(v, p, session{Level: proof.Level, AMR: proof.AMR, Vouched: true, Proved: proof.AuthTime})
	if err := h.Upstream.Commit(v.Context(), proof, writes...); err != nil {
		return nil, err
	}
	return cookie, nil
}

// notIn shows what became of a sign-in elsewhere that led nowhere, with the other ways in.
func (h *Handler) notIn(v *visit, wish upstream.Wish, err error) (answer, error) {
	text := upstreamProblem(err)
	switch {
	case text == "":
		return answer{}, upstreamPage(err)
	case wish.Connects() && v.mayKeep() == nil:
		return h.showAccounts(v, text)
	case errors.Is(err, upstream.ErrOver) && v.who != nil && v.who.Level >= approvals.LevelSession:
		return answer{to: v.path(ownPath(wish.Next))}, nil // sent twice: the first one did it
	}
	return h.askUpstream(v, ownPath(wish.Next), text)
}

// askUpstream is the sign-in page with what was wrong at a provider.
func (h *Handler) askUpstream(v *visit, next, text string) (answer, error) {
	a, err := h.askSignin(v, next, text, h.upstreamTitle(v))
	if text == "upstream.down" {
		a.status = http.StatusServiceUnavailable
	}
	return a, err
}

// upstreamProblem names the text for a sign-in elsewhere that led nowhere; "" for every other error.
func upstreamProblem(err error) string {
	switch {
	case errors.Is(err, upstream.ErrDown):
		return "upstream.down"
	case errors.Is(err, upstream.ErrCancelled):
		return "upstream.cancelled"
	case errors.Is(err, upstream.ErrWeak):
		return "upstream.weak"
	case errors.Is(err, upstream.ErrOver):
		return "upstream.over"
	case errors.Is(err, upstream.ErrNotConnected):
		return "upstream.notConnected"
	case errors.Is(err, upstream.ErrTaken):
		return "upstream.taken"
	case errors.Is(err, upstream.ErrOther):
		return "upstream.other"
	case errors.Is(err, upstream.ErrLast):
		return "upstream.last"
	case errors.Is(err, upstream.ErrRefused):
		return "upstream.refused"
	}
	return ""
}

// upstreamPage makes a provider that nobody has configured a page that there is not.
func upstreamPage(err error) error {
	if errors.Is(err, upstream.ErrNoProvider) {
		return errNoPage
	}
	return err
}

// toward is a name with the Korean particle for a way that is taken: 로 after a vowel or ㄹ, 으로 after any other
// consonant, both where only the reader knows how the name ends.
func toward(lang, name string) string {
	if lang != approvals.Korean {
		return name
	}
	end := strings.TrimRightFunc(name, func(r rune) bool { return !isLetter(r) })
	last := []rune(end)
	if len(last) == 0 || !isHangul(last[len(last)-1]) {
		return name + "(으)로"
	}
	const finals, rieul = 28, 8 // of a syllable block (Unicode Standard section 3.12)
	if final := (last[len(last)-1] - firstHangul) % finals; final != 0 && final != rieul {
		return name + "으로"
	}
	return name + "로"
}
