package webapp

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"assent/approvals"
	"assent/webapp/upstream"
	"assent/webapp/upstream/upstreamtest"
)

// scene is one screen, as a person comes upon it: in a service of its own, over HTTP, in a real browser.
type scene struct {
	name    string
	heading string // key of the text that the heading holds; of a request, its sentence comes after it
	has     string // selectors of controls that must be seen, separated by " | "
	play    func(s *stage)
}

// stage is what a scene plays on: a person who is signed in over HTTP, and a tab that is not yet.
type stage struct {
	*chromium
	w    *world
	lang string
	who  approvals.PersonID
	b    *browserOf
}

// newStage sets the stage for somebody who speaks a language.
func newStage(t *testing.T, lang string) *stage {
	t.Helper()
	return stageOn(t, newChromium(t), lang)
}

// stageOn is newStage in a tab that is there.
func stageOn(t *testing.T, tab *chromium, lang string) *stage {
	t.Helper()
	w, who := newBrowserWorld(t), approvals.PersonID("ann")
	if lang == approvals.Korean {
		who = "min"
	}
	return &stage{tab, w, lang, who, w.signedIn(who)}
}

// everyScene plays every scene in both languages, each language in a tab of its own; sampled: every other scene, in one of
// them.
func everyScene(t *testing.T, sampled bool, look func(t *testing.T, s *stage, i int)) {
	for n, lang := range []string{approvals.English, approvals.Korean} {
		t.Run(lang, func(t *testing.T) {
			t.Parallel()
			tab := newChromium(t)
			tab.before(hurry)
			for i, sc := range scenes {
				if sampled && i%4 != 2*n {
					continue
				}
				t.Run(sc.name, func(t *testing.T) {
					tab.again(t)
					s := stageOn(t, tab, lang)
					sc.play(s)
					look(t, s, i)
				})
			}
		})
	}
}

// visit opens one of our pages, in the language of the stage.
func (s *stage) visit(path string) {
	s.t.Helper()
	s.open(s.w.server.URL + path + "?lang=" + s.lang)
}

// signIn gives the tab the sign-in of the stage.
func (s *stage) signIn() { s.t.Helper(); s.carry(s.b) }

// signOut leaves the browser bound, and nobody signed in.
func (s *stage) signOut() {
	s.t.Helper()
	s.b.press(s.b.get("/"), "/signout")
	s.carry(s.b)
}

// see opens a request, signed in.
func (s *stage) see(r *approvals.Request) {
	s.t.Helper()
	s.signIn()
	s.visit("/requests/" + string(r.ID))
	s.until("armed", "!document.querySelector('form[data-arm] button:disabled')")
}

func (s *stage) ask(details string, change ...func(*approvals.Ask)) *approvals.Request {
	s.t.Helper()
	return s.w.ask(s.who, details, change...)
}

// set types over a field, also over a hidden one, as whoever tampers with a form does.
func (s *stage) set(selector, value string) {
	s.t.Helper()
	evaluate[bool](s.chromium, fmt.Sprintf("document.querySelector(%q).value = %q, true", selector, value))
}

// answered waits until the page of a form's answer is there.
func (s *stage) answered(selector string) {
	s.t.Helper()
	s.until(selector, fmt.Sprintf("document.readyState === 'complete' && !!document.querySelector(%q)", selector))
}

// elsewhere decides over HTTP, in another browser of the person.
func (s *stage) elsewhere(r *approvals.Request, verb string) {
	s.t.Helper()
	other := s.w.signedIn(s.who)
	other.header.Set("User-Agent", "Mozilla/5.0 (iPhone) Safari/604.1")
	other.press(other.get("/requests/"+string(r.ID)), verb).want(http.StatusSeeOther)
}

// deciding opens a request and presses a button.
func deciding(button string) func(*stage) {
	return func(s *stage) {
		s.see(s.ask(payment))
		s.click(button)
		s.answered("[data-stage=done]")
	}
}

// ended opens a request of a life after some seconds.
func ended(life, after time.Duration) func(*stage) {
	return func(s *stage) {
		r := s.ask(payment, func(a *approvals.Ask) { a.Life = life })
		s.w.advance(after)
		s.see(r)
	}
}

// change opens the page on which less is chosen, by its link.
func (s *stage) change(r *approvals.Request) {
	s.t.Helper()
	s.see(r)
	s.click("#narrow")
	s.answered("form#choice")
}

// guess types a code and presses Approve.
func (s *stage) guess(code string) {
	s.t.Helper()
	s.set("#code", code)
	s.click("#approve button")
}

func weakly(a *approvals.Ask) { a.Binding = "" }

// bar is what every open request has.
const bar = "#deny button.no | #approve button.yes | .note summary | .evidence summary"

// frame is what every page has, and signed what it has for who is signed in.
const (
	frame  = "a.brand | a.lang"
	signed = "footer form button | footer a"
)

var scenes = []scene{
	{"landing", "landing.title", "main form button", func(s *stage) { s.visit("/r/" + s.w.handle(s.ask(payment))) }},
	{"invitation", "invited.title", "main form button", func(s *stage) { s.invited() }},
	{"invitation, code told", "code.title", "#code | main form button", func(s *stage) {
		s.w.canSend = false
		s.invited()
		s.click("main form button")
		s.answered("#code")
	}},
	{"sign-in, unknown browser", "signin.title", "form[data-passkey] button", func(s *stage) { s.visit("/signin") }},
	{"sign-in", "signin.title", "form[data-passkey] button | form[action^='/signin?'] button", func(s *stage) {
		s.signOut()
		s.visit("/signin")
	}},
	{"sign-in, no channel", "signin.title", "form[data-passkey] button", func(s *stage) {
		s.signOut()
		s.w.canSend = false
		s.visit("/signin")
	}},
	{"sign-out, no way back", "signout.title", "main a.button | main form button.no", func(s *stage) {
		s.w.canSend = false
		s.signIn()
		s.visit("/")
		s.click("footer form button")
		s.answered("[name=sure]")
	}},
	{"code", "code.title", "#code | main form button.yes | main form button.plain", func(s *stage) { s.coded() }},
	{"code, wrong", "code.title", "#code | main form button.yes | [role=alert]", func(s *stage) {
		s.coded()
		s.set("#code", "000000")
		s.click("main form button.yes")
		s.answered("[role=alert]")
	}},
	{"inbox, empty", "inbox.title", signed + " | .ways a", func(s *stage) { s.signIn(); s.visit("/") }},
	{"inbox", "inbox.title", signed + " | a.card.row | .ended a.row", func(s *stage) {
		first := s.ask(payment)
		s.elsewhere(first, "/approve")
		s.elsewhere(s.ask(tool), "/deny")
		s.ask(payment)
		s.ask(two)
		s.ask(tool)
		s.signIn()
		s.visit("/")
	}},
	{"payment", "ask.title", bar, func(s *stage) { s.see(s.ask(payment)) }},
	{"hostile tool call", "ask.title", bar, func(s *stage) { s.see(s.ask(tool, weakly)) }},
	{"two objects", "ask.title", bar, func(s *stage) {
		s.see(s.ask(two, func(a *approvals.Ask) { a.Scope = []string{"openid", "profile"} }))
	}},
	{"scopes", "ask.title", bar, func(s *stage) { s.see(s.ask(`[]`)) }},
	{"long words", "ask.title", bar + " | .long summary", func(s *stage) {
		s.see(s.ask(strings.Replace(tool, "customers", strings.Repeat("customers 고객 ", 40), 1)))
	}},
	{"same code twice", "ask.title", bar, func(s *stage) { s.ask(payment); s.see(s.ask(payment)) }},
	{"by passkey", "ask.title", bar, func(s *stage) {
		s.keyed()
		s.see(s.ask(payment, high))
	}},
	{"no passkey", "ask.title", bar + " | .bar a", func(s *stage) { s.see(s.ask(payment, high)) }},
	{"weakly signed in", "ask.title", bar, func(s *stage) {
		s.visit("/r/" + s.w.handle(s.ask(payment)))
		s.click("main form button")
		s.answered("[data-stage=open]")
		s.until("armed", "!document.querySelector('form[data-arm] button:disabled')")
	}},
	{"code to type", "ask.title", bar + " | #code", func(s *stage) { s.see(s.ask(payment, typed("42"))) }},
	{"code to type, or passkey", "ask.title", bar + " | #code | button[form=instead]", func(s *stage) {
		s.keyed()
		s.see(s.ask(payment, typed("4829")))
	}},
	{"code to type, passkey needed", "ask.title", bar, func(s *stage) {
		s.keyed()
		s.see(s.ask(payment, typed("42"), high))
	}},
	{"wrong code", "ask.title", bar + " | #code | [role=alert]", func(s *stage) {
		s.see(s.ask(payment, typed("42")))
		s.guess("24")
		s.answered("#code[aria-invalid]")
		s.until("armed", "!document.querySelector('form[data-arm] button:disabled')")
	}},
	{"three wrong codes", "result.tries", ".onward a", func(s *stage) {
		s.see(s.ask(payment, typed("42")))
		for range 3 {
			s.guess("24")
			s.until("answer", "!document.querySelector('#code') || document.querySelector('#code').value === ''")
			s.until("armed", "!document.querySelector('form[data-arm] button:disabled')")
		}
		s.answered("[data-stage=done]")
	}},
	{"less, to choose of several", "narrow.title", "input[type=checkbox] | input[type=radio] | .bar button.yes", func(s *stage) {
		s.change(s.ask(`[{"type":"document_access","identifier":"doc-7781","actions":["read","share","delete"]},`+
			`{"type":"document_access","identifier":"doc-7782","actions":["read"]}]`, func(a *approvals.Ask) { a.Standing = true }))
	}},
	{"less of several, to approve", "ask.title", bar, func(s *stage) {
		s.change(s.ask(two))
		s.set("#amount-0", "300.00")
		evaluate[bool](s.chromium, "document.querySelector('[name=value-1-share]').checked = false, true")
		s.click(".bar button.yes")
		s.answered("[data-stage=open]")
		s.until("armed", "!document.querySelector('form[data-arm] button:disabled')")
	}},
	{"less, approved", "result.approved", ".undo button | .onward a", func(s *stage) {
		s.change(s.ask(payment))
		s.set("#amount-0", "300.00")
		s.click(".bar button.yes")
		s.answered("[data-stage=open]")
		s.until("armed", "!document.querySelector('form[data-arm] button:disabled')")
		s.click("#approve button")
		s.answered("[data-stage=done]")
	}},
	{"changed", "ask.title", bar + " | [role=alert]", func(s *stage) {
		s.see(s.ask(payment))
		s.set("#approve [name=digest]", strings.Repeat("A", 43))
		s.click("#approve button")
		s.answered("[role=alert]:not([hidden])")
		s.until("armed", "!document.querySelector('form[data-arm] button:disabled')")
	}},
	{"note too long", "ask.title", bar + " | [role=alert] | #note", func(s *stage) {
		s.see(s.ask(payment))
		s.set("#note", strings.Repeat("no ", 100))
		s.click("#deny button")
		s.answered("[role=alert]:not([hidden])")
		s.until("armed", "!document.querySelector('form[data-arm] button:disabled')")
	}},
	{"less, to choose", "narrow.title", ".narrow a.button | .narrow button.yes | .narrow input", func(s *stage) {
		s.see(s.ask(two))
		s.click("#narrow")
		s.answered("#choice")
	}},
	{"less, to approve", "ask.title", "#deny button.no | #approve button.yes", func(s *stage) {
		s.see(s.ask(payment))
		s.click("#narrow")
		s.answered("#choice")
		s.set(".sum", "120.00")
		s.click(".narrow button.yes")
		s.answered("[data-stage=open]")
		s.until("armed", "!document.querySelector('form[data-arm] button:disabled')")
	}},
	{"less, mistyped", "narrow.title", ".narrow .sum | [role=alert]", func(s *stage) {
		s.see(s.ask(payment))
		s.click("#narrow")
		s.answered("#choice")
		s.set(".sum", "9999")
		s.click(".narrow button.yes")
		s.answered("[aria-invalid]")
	}},
	{"approved", "result.approved", ".undo button | .evidence summary | .onward a", deciding("#approve button")},
	{"denied", "result.denied", ".evidence summary | .onward a", deciding("#deny button")},
	{"approved elsewhere", "result.alreadyApproved", ".undo button | .onward a", func(s *stage) {
		r := s.ask(payment)
		s.elsewhere(r, "/approve")
		s.see(r)
	}},
	{"withdrawn by agent", "result.cancelled", ".onward a", func(s *stage) {
		r := s.ask(payment)
		_, err := s.w.desk.Cancel(s.t.Context(), r.ID, approvals.Actor{Kind: "agent"}, approvals.WithdrawnByAgent)
		check(s.t, err)
		s.see(r)
	}},
	{"taken back", "result.withdrawn", ".onward a", func(s *stage) {
		deciding("#approve button")(s)
		s.click(".undo button")
		s.until("withdrawn", "!document.querySelector('.undo')")
		s.answered("[data-stage=done]")
	}},
	{"not reached", "result.failed", ".onward a", func(s *stage) {
		r := s.ask(payment)
		_, err := s.w.desk.Fail(s.t.Context(), r.ID, approvals.Unreachable)
		check(s.t, err)
		s.see(r)
	}},
	{"late", "result.expired", ".undo button.no | .onward a", ended(20*time.Second, 17*time.Second)},
	{"expired", "result.expired", ".onward a", ended(20*time.Second, 21*time.Second)},
	{"lapsed", "result.lapsed", ".onward a", func(s *stage) {
		r := s.ask(payment, func(a *approvals.Ask) { a.Life = 20 * time.Second })
		s.elsewhere(r, "/approve")
		s.w.advance(21 * time.Second)
		s.see(r)
	}},
	{"history, filtered", "history.title", "#agent | #outcome | #from | #to | main form button", func(s *stage) {
		s.elsewhere(s.ask(payment), "/approve")
		s.signIn()
		s.open(s.w.server.URL + "/history?outcome=denied&lang=" + s.lang)
	}},
	{"accounts, none", "accounts.title", ".keys a.button", func(s *stage) { s.provider(); s.signIn(); s.visit("/accounts") }},
	{"accounts", "accounts.title", ".keys button", func(s *stage) {
		s.b.follow(s.b.press(s.abroad(), "/back"))
		s.signIn()
		s.visit("/accounts")
	}},
	{"account, to connect", "back.connect", "main form button.yes | main a.button", func(s *stage) {
		at := s.abroad().at
		s.signIn()
		s.open(s.w.server.URL + at)
	}},
	{"sign-in elsewhere", "signin.title", "form[data-passkey] button | main a.button", func(s *stage) {
		s.provider()
		s.visit("/signin")
	}},
	{"devices, none", "devices.title", "main form button.yes | main a.button", func(s *stage) { s.signIn(); s.visit("/devices") }},
	{"devices", "devices.title", "main form button.yes | .devices button", func(s *stage) {
		s.b.call("POST", "/me/devices", phone)
		s.w.browser().call("POST", "/me/devices/phone-1/confirm", `{"code":"code of phone-1"}`).want(http.StatusNoContent)
		s.signIn()
		s.visit("/devices")
	}},
	{"device code", "devices.title", "svg.qr | .evidence summary", func(s *stage) {
		s.signIn()
		s.visit("/devices")
		s.click("main form[action^='/devices'] button.yes")
		s.answered("svg.qr")
	}},
	{"settings", "settings.title", "#from | #zone | main form button.yes | .keys button", func(s *stage) {
		s.w.pages.Reach = ladder{s.w}
		s.w.change(s.who, func(p *approvals.Person) {
			p.Phone, p.Muted = "+4930123456", []string{"push"}
			p.Addresses = []approvals.Address{{Channel: "web", Value: "browser.1", VerifiedAt: start},
				{Channel: "push", Value: "device.1", VerifiedAt: start}}
		})
		s.signIn()
		s.visit("/settings")
	}},
	{"settings, inbox only", "settings.title", "#from | #zone | main form button.yes", func(s *stage) { s.signIn(); s.visit("/settings") }},
	{"sessions, one", "sessions.title", "main a.button", func(s *stage) { s.signIn(); s.visit("/sessions") }},
	{"sessions", "sessions.title", ".keys button | main form button.no", func(s *stage) {
		s.w.signedIn(s.who)
		s.signIn()
		s.visit("/sessions")
	}},
	{"passkeys, none", "passkeys.title", "#name | form[data-passkey=create] button", func(s *stage) { s.signIn(); s.visit("/passkeys") }},
	{"passkeys", "passkeys.title", "#name | form[data-passkey=create] button | .keys button", func(s *stage) { s.keyed() }},
	{"passkeys, the last way in", "passkeys.title", "#name | form[data-passkey=create] button", func(s *stage) {
		s.w.canSend = false
		s.keyed()
	}},
	{"inbox, by agent", "inbox.title", signed + " | a.card.row | .group summary | .group form button", func(s *stage) {
		s.ask(payment)
		s.ask(reading, s.w.from("mail-bot", "Mail Bot"))
		s.ask(two)
		s.signIn()
		s.visit("/")
		s.click(".group summary")
	}},
	{"denied at once", "denied.title", ".ended a.row | main a.button", func(s *stage) {
		s.elsewhere(s.ask(payment), "/approve")
		s.ask(payment)
		s.ask(tool)
		s.signIn()
		s.visit("/")
		s.click(".group summary")
		s.click(".group form button")
		s.answered("h1[role=status]")
	}},
	{"report", "ask.title", bar + " | #report form button", func(s *stage) {
		s.see(s.ask(payment))
		s.click("#report summary")
	}},
	{"reported", "result.reported", ".evidence summary | .onward a", func(s *stage) {
		s.see(s.ask(payment))
		s.click("#report summary")
		s.click("#report button")
		s.answered("[data-stage=done]")
	}},
	{"shut out", "result.shutOut", ".onward a", func(s *stage) {
		r := s.ask(payment)
		check(s.t, s.w.desk.Disconnect(s.t.Context(), s.who, "travel-bot"))
		s.see(r)
	}},
	{"collected", "result.approved", ".onward a | .hint a", func(s *stage) {
		s.ask(payment)
		var secret string
		r := s.ask(payment, func(a *approvals.Ask) {
			a.Also = func(_ *approvals.Request, sec string) ([]approvals.Write, error) { secret = sec; return nil, nil }
		})
		s.see(r)
		s.click("#approve button")
		s.answered("[data-stage=done]")
		s.w.redeemed(r, secret)
		s.visit("/requests/" + string(r.ID))
	}},
	{"agents, none", "agents.title", signed, func(s *stage) { s.signIn(); s.visit("/agents") }},
	{"agents", "agents.title", signed + " | .agents a", func(s *stage) {
		s.elsewhere(s.ask(payment), "/approve")
		s.ask(reading, s.w.from("mail-bot", "Mail Bot"))
		check(s.t, s.w.desk.Pause(s.t.Context(), s.who, "mail-bot", s.w.clock().Add(time.Hour)))
		s.signIn()
		s.visit("/agents")
	}},
	{"agent", "agent.name", "form[action*='/pause'] button | .note form button | .keys button | main a.button", func(s *stage) {
		s.w.stands(s.who)
		s.about()
		s.click(".note summary")
	}},
	{"agent, paused", "agent.name", "form[action*='/resume'] button | [role=status]", func(s *stage) {
		s.ask(payment)
		s.about()
		s.click("form[action*='/pause'] button")
		s.answered("form[action*='/resume']")
	}},
	{"agent, disconnected", "agent.name", "form[action*='/reconnect'] button | [role=status]", func(s *stage) {
		s.ask(payment)
		s.about()
		s.click(".note summary")
		s.click(".note button")
		s.answered("form[action*='/reconnect']")
	}},
	{"history, none", "history.title", signed + " | .filter summary", func(s *stage) { s.signIn(); s.visit("/history") }},
	{"history", "history.title", "#agent | #outcome | #from | #to | .filter button | .ended a", func(s *stage) {
		s.elsewhere(s.ask(payment), "/approve")
		s.elsewhere(s.ask(payment), "/report")
		s.signIn()
		s.visit("/history")
		s.click(".filter summary")
	}},
	{"as it was shown", "history.one", ".evidence summary | .onward a", func(s *stage) {
		r := s.ask(payment)
		s.elsewhere(r, "/approve")
		s.signIn()
		s.visit("/history/" + string(r.ID))
		s.click(".evidence summary")
	}},
	{"never decided", "history.one", ".evidence summary | [class=alert]", func(s *stage) {
		r := s.ask(tool)
		s.w.advance(time.Hour)
		s.signIn()
		s.visit("/history/" + string(r.ID))
	}},
	{"details deleted", "history.gone", ".onward a", func(s *stage) {
		r := s.ask(payment)
		s.elsewhere(r, "/approve")
		for range 2 {
			s.w.advance(s.w.desk.Terms.History + 48*time.Hour)
			_, err := s.w.desk.Sweep(s.t.Context())
			check(s.t, err)
		}
		s.b = s.w.signedIn(s.who)
		s.signIn()
		s.visit("/history/" + string(r.ID))
	}},
	{"dead link", "deadLink.title", "main a.button", func(s *stage) { s.visit("/r/AAAAAAAAAAAA") }},
	{"dead invitation", "deadInvitation.title", "main a.button", func(s *stage) { s.visit("/i/" + newSecret()) }},
	{"wrong person", "wrongPerson.title", "main form button | main a.button", func(s *stage) {
		s.signIn()
		other := approvals.PersonID("min")
		if s.who == other {
			other = "ann"
		}
		s.visit("/requests/" + string(s.w.ask(other, payment).ID))
	}},
	{"from another site", "crossSite.title", "main a.button", func(s *stage) {
		s.signIn()
		r := s.ask(payment)
		s.foreign("/requests/" + string(r.ID) + "/deny?lang=" + s.lang)
		s.answered("main a.button")
	}},
	{"stale", "stale.title", "main a.button", func(s *stage) {
		s.see(s.ask(payment))
		s.set("#deny [name=token]", "forged")
		s.click("#deny button")
		s.answered("article.door")
	}},
	{"bad form", "badForm.title", "main a.button", func(s *stage) {
		s.see(s.ask(payment))
		evaluate[bool](s.chromium, "document.querySelector('#deny [name=digest]').name = 'amount', true")
		s.click("#deny button")
		s.answered("article.door")
	}},
	{"too many tries", "tooMany.title", "main a.button", func(s *stage) {
		s.w.pages.Dev = false // where guessing is slow
		for range 70 {
			s.b.get("/r/AAAAAAAAAAAA")
		}
		s.visit("/r/AAAAAAAAAAAA")
	}},
	{"offline", "away.title", "main a.button", func(s *stage) { s.visit("/offline") }},
	{"no such page", "noPage.title", "main a.button", func(s *stage) { s.visit("/nothing") }},
	{"result unknown", "unknown.title", "main a.button", func(s *stage) {
		s.signIn()
		check(s.t, s.w.store.Close())
		s.visit("/")
	}},
	{"our fault", "internal.title", "main a.button", func(s *stage) {
		s.w.drawer.fail = fmt.Errorf("drawer is stuck")
		s.signIn()
		s.visit("/devices")
	}},
}

// provider is one elsewhere with which people may sign in.
func (s *stage) provider() *upstreamtest.Provider {
	s.t.Helper()
	p := upstreamtest.New(s.t, s.w.clock)
	p.SignIn(upstreamtest.User{"sub": "a-1", "preferred_username": "ann@corp"})
	s.w.elsewhere(p.Client(), upstream.Settings{Name: "corp", EN: "Example ID", KO: "예시 아이디", Issuer: p.Issuer,
		ClientID: p.ClientID, Secret: p.Secret})
	return p
}

// abroad is the page to which a provider sends back whoever connects an account.
func (s *stage) abroad() *page {
	s.t.Helper()
	p := s.provider()
	name := map[string]string{approvals.English: "Example ID", approvals.Korean: "예시 아이디"}[s.lang]
	page := s.b.get("/accounts?lang=" + s.lang)
	return s.b.abroad(p, s.b.get(page.link(say(s.lang, "accounts.connectOne", name))))
}

// about is at the page of the bot.
func (s *stage) about() {
	s.t.Helper()
	s.signIn()
	s.visit("/agents/travel-bot")
}

func (s *stage) invited() {
	s.t.Helper()
	inv, err := s.w.pages.Invite(s.t.Context(), s.who)
	check(s.t, err)
	s.open(inv.URL + "?lang=" + s.lang)
}

// coded is at the page of the one-time code.
func (s *stage) coded() {
	s.t.Helper()
	s.signOut()
	s.visit("/signin")
	s.click("form[action^='/signin?'] button")
	s.answered("#code")
}

// keyed is at the page of passkeys, with one.
func (s *stage) keyed() {
	s.t.Helper()
	s.signIn()
	s.visit("/passkeys")
	s.click("form[data-passkey=create] button")
	s.answered(".keys")
}

// foreign posts a form from another site.
func (s *stage) foreign(path string) {
	s.t.Helper()
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<form method=post action="%s%s"></form>`, s.w.server.URL, path)
	}))
	s.t.Cleanup(site.Close)
	s.open(site.URL)
	evaluate[bool](s.chromium, "document.forms[0].submit(), true")
}
