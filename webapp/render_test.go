package webapp

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"assent/approvals"
	"assent/ciba/rowtest"
)

const tool = `[{"type":"tool_call","tool":"delete_rows\u202e","server":"https://db.example.com",` +
	`"arguments":{"table":"customers","where":"<b>1=1</b>"},"reason":"Please\u200b hurry"}]`

var two = payment[:len(payment)-1] +
	`,{"type":"document_access","identifier":"doc-7781","name":"Offer","actions":["read","share"]}]`

// fixtures are requests in every state that a page can show.
func (w *world) fixtures() map[string]*approvals.Request {
	t := w.t
	decide := func(r *approvals.Request, yes bool) *approvals.Request {
		shown, err := w.desk.Show(r, r.Locale)
		check(t, err)
		a := approvals.Answer{By: r.Subject, Digest: shown.Digest(), Locale: r.Locale, Level: approvals.LevelSession,
			Via: "dev"}
		if yes {
			r, err = w.desk.Approve(t.Context(), r.ID, a)
		} else {
			a.Note = "No <i>thanks</i>"
			r, err = w.desk.Deny(t.Context(), r.ID, a)
		}
		check(t, err)
		return r
	}
	end := func(r *approvals.Request, err error) *approvals.Request { check(t, err); return r }
	ctx := t.Context()
	out := map[string]*approvals.Request{}
	for _, who := range []approvals.PersonID{"ann", "min"} {
		of := func(name string, r *approvals.Request) { out[name+" of "+string(who)] = r }
		of("payment", w.ask(who, payment))
		of("tool", w.ask(who, tool, func(a *approvals.Ask) { a.Binding = "" }))
		of("two", w.ask(who, two, func(a *approvals.Ask) { a.Scope = []string{"openid", "profile"} }))
		of("scopes", w.ask(who, `[]`))
		of("generic", w.ask(who, `[{"type":"rocket_launch","to":"<b>Moon</b>\u202egnp","fuel":0.1,"":{"amount":1}}]`))
		of("standing", w.ask(who, `[{"type":"document_access","identifier":"doc-1","actions":["read","share"]}]`,
			func(a *approvals.Ask) { a.Standing = true }))
		of("enter", w.ask(who, payment, func(a *approvals.Ask) { a.Binding, a.Enter = "42", true }))
		tried := w.ask(who, payment, func(a *approvals.Ask) { a.Binding, a.Enter = "42", true })
		for range 3 {
			shown, err := w.desk.Show(tried, tried.Locale)
			check(t, err)
			_, _ = w.desk.Approve(ctx, tried.ID, approvals.Answer{By: who, Digest: shown.Digest(), Locale: tried.Locale,
				Level: approvals.LevelSession, Via: "page", Code: "24"})
		}
		of("tried", w.read(tried))
		of("approved", decide(w.ask(who, payment), true))
		of("denied", decide(w.ask(who, payment), false))
		cancelled := w.ask(who, payment)
		of("cancelled", end(w.desk.Cancel(ctx, cancelled.ID, approvals.Actor{Kind: "agent"}, approvals.WithdrawnByAgent)))
		withdrawn := decide(w.ask(who, payment), true)
		of("withdrawn", end(w.desk.Cancel(ctx, withdrawn.ID, approvals.Actor{Kind: "person"}, approvals.WithdrawnByPerson)))
		failed := w.ask(who, payment)
		of("failed", end(w.desk.Fail(ctx, failed.ID, approvals.Unreachable)))
		for name, life := range map[string]time.Duration{"late": 20 * time.Second, "expired": 10 * time.Second} {
			of(name, w.ask(who, payment, func(a *approvals.Ask) { a.Life = life }))
		}
		of("lapsed", decide(w.ask(who, payment, func(a *approvals.Ask) { a.Life = 10 * time.Second }), true))
	}
	w.advance(17 * time.Second)
	return out
}

// screens renders every page with every fixture in both languages.
func (w *world) screens() []*page {
	t := w.t
	t.Helper()
	requests := w.fixtures()
	var out []*page
	render := func(v *visit, name, page string, data any) {
		t.Helper()
		var b bytes.Buffer
		if err := w.pages.pages.render(&b, page, v, data); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out = append(out, parsed(t, name+" in "+v.lang, b.String()))
	}
	for _, lang := range []string{"en", "ko"} {
		v := func(who approvals.PersonID, level approvals.Level) *visit {
			req := httptest.NewRequestWithContext(t.Context(), "GET", "/inbox?lang="+lang, nil)
			made := &visit{Request: req, h: w.pages, lang: lang, asked: true}
			if who != "" {
				p, err := w.people.Person(t.Context(), who)
				check(t, err)
				made.who = &session{Person: who, person: p, Level: level, AuthTime: start, key: "k"}
			}
			return made
		}
		for name, r := range requests {
			visit := v(r.Subject, approvals.LevelSession)
			view, err := w.pages.view(visit, r)
			check(t, err)
			render(visit, name, "request", view)
			kept, err := w.pages.storedOf(visit, r)
			check(t, err)
			render(visit, "kept "+name, "stored", kept)
		}
		for _, alert := range []string{"", "alert.changed", "alert.noteTooLong", "passkey.refused", "alert.confirm"} {
			visit := v("ann", approvals.LevelLink)
			view, err := w.pages.view(visit, requests["payment of ann"])
			check(t, err)
			view.Alert, view.Note = alert, "</textarea>"
			render(visit, "weakly signed in, alert "+alert, "request", view)
			typed, err := w.pages.view(v("ann", approvals.LevelSession), requests["enter of ann"])
			check(t, err)
			typed.Instead = alert != ""
			for _, wrong := range []string{"", "ask.codeWrong", "ask.codeWrongLast", "ask.codeShape"} {
				if typed.Wrong, typed.Alert, typed.Blame = wrong != "", wrong, []any{2}; wrong == "ask.codeWrongLast" {
					typed.Blame = nil
				}
				render(visit, "to be typed, "+wrong+alert, "request", typed)
			}
			less, err := w.pages.viewOf(visit, requests["two of ann"], approvals.Choice{Parts: map[int]approvals.Part{
				0: {Amount: "1.50"}, 1: {Keep: []string{"read"}}}})
			check(t, err)
			less.Alert = alert
			render(visit, "less, alert "+alert, "request", less)
			view.StepUp, view.Key, view.NoKey = false, alert != "", alert == ""
			render(visit, "by passkey, alert "+alert, "request", view)
		}
		for _, r := range []string{"payment of ann", "two of min", "standing of ann"} {
			visit := v(requests[r].Subject, approvals.LevelSession)
			room, err := w.desk.Renderer.Room(requests[r], lang)
			check(t, err)
			for _, values := range []url.Values{nil, {"amount-0": {"<b>"}, "lasts": {"day"}}} {
				for _, field := range []string{"", "choice", "parts", "parts[0].amount", "parts[0].keep"} {
					view := w.pages.narrowView(visit, requests[r], room, values)
					if field != "" {
						view.blame(field)
					}
					render(visit, "change "+r+", wrong "+field, "narrow", view)
				}
			}
		}
		for _, who := range []approvals.PersonID{"ann", "min"} {
			view, err := w.pages.inboxOf(v(who, approvals.LevelSession))
			check(t, err)
			render(v(who, approvals.LevelSession), "inbox of "+string(who), "inbox", view)
			past, err := w.pages.historyOf(v(who, approvals.LevelSession), historyQuery{})
			check(t, err)
			render(v(who, approvals.LevelSession), "history of "+string(who), "history", past)
		}
		render(v("ann", approvals.LevelSession), "empty inbox", "inbox", &inboxView{})
		for _, sends := range []bool{true, false} {
			render(v("", 0), "invited", "invited", invitedView{"/i/x", sends})
			for _, known := range []bool{true, false} {
				render(v("", 0), "signin", "signin", signinView{Action: "/signin", Next: "/", Known: known, Sends: sends,
					More: known, Passkey: sends})
			}
			for _, problem := range []string{"", "code.wrong", "code.wrongLast", "code.shape", "code.over", "code.spent"} {
				render(v("", 0), "code"+problem, "code", codeView{"/a", "/b", "/", sends, problem, 3, sends})
			}
		}
		qr, err := qrOf("https://ap.example.com/devices#7Kq2mX9wTzB4." + newSecret())
		check(t, err)
		for name, view := range map[string]*devicesView{"none": {}, "code": {QR: qr, Link: "https://ap.example.com/devices#x",
			Ends: "14:36 CET"}, "some": {Token: "t", Devices: []deviceRow{{"a", "Ann's <phone>", "14:26 CET"}, {"b", "B", "2 Mar"}}}} {
			render(v("ann", approvals.LevelSession), "devices, "+name, "devices", view)
		}
		agent := agentRow{"a", "Bot <i>", "B", "agent.isPaused", "15:26 CET", "3", "1", "100+", ""}
		stands := []standingRow{{"06eaxeh2803ger1q8stgtqy2cg", "Read “x”", "1 Apr 15:26 CEST"}}
		for name, view := range map[string]*agentView{"paused": {agentRow: agent, Paused: true, Standing: stands, More: true, Done: "agent.done.paused"},
			"both": {agentRow: agent, Disconnected: true, Reported: true, Types: []string{"x"}}, "off": {agentRow: agent, Disconnected: true, Last: "2 Mar"},
			"gone": {agentRow: agentRow{Name: "x", Mark: "agent.isGone"}, Gone: true}} {
			render(v("ann", approvals.LevelSession), "agent, "+name, "agent", view)
		}
		for _, view := range []*agentsView{{}, {Rows: []agentRow{agent}, Older: "/agents?before=x"}} {
			render(v("ann", approvals.LevelSession), "agents", "agents", view)
		}
		for left := range 2 {
			render(v("ann", approvals.LevelSession), "denied", "denied", &deniedView{"Bot", []item{{ID: "x", State: "denied"}}, 1, left})
		}
		row := passkeyRow{"a", "Ann's <phone>", "14:26 CET", "", "3 Mar 02:26 CET"}
		for _, view := range []*passkeysView{{Token: "t", Suggest: "Chrome (Android)", Room: true}, {Rows: []passkeyRow{row}, Alone: true},
			{Rows: []passkeyRow{row, {"b", "B", "2 Mar", "3 Mar", ""}}, Room: true, Problem: "passkey.refused"}} {
			render(v("ann", approvals.LevelSession), "passkeys", "passkeys", view)
		}
		ways := []wayRow{{ID: "a", Name: "+49 … 456", Added: "14:26 CET", Down: true, Remove: true},
			{ID: "b", Name: "Ann's <phone>", Added: "2 Mar 14:26 CET", Up: true, Remove: true}}
		for _, problem := range []string{"", "settings.conflict", "settings.onlyWay", "settings.zoneWrong", "settings.quietWrong"} {
			render(v("ann", approvals.LevelSession), "settings "+problem, "settings", &settingsView{Ways: ways, Token: "t", Rev: "3",
				Channels: []channelRow{{"sms", "Text messages", false}, {"push", "App notifications", true}}, From: "22:00", To: "07:00",
				Zone: "Europe/Berlin", Locale: "en", Summary: problem != "", Devices: problem == "", Problem: problem})
		}
		render(v("ann", approvals.LevelSession), "settings of nobody", "settings", &settingsView{Zone: "UTC", Locale: "ko"})
		here := sessionRow{ID: "a", Device: "Chrome (Android)", How: "sessions.invitation", Since: "14:26 CET", Used: "14:26 CET", Here: true}
		render(v("ann", approvals.LevelSession), "one session", "sessions", &sessionsView{Rows: []sessionRow{here}})
		rows := []sessionRow{here}
		for _, how := range []string{"sessions.code", "sessions.passkey", "sessions.link"} {
			rows = append(rows, sessionRow{ID: "b", Device: "<Safari>", How: how, Since: "2 Mar 13:26 CET", Used: "14:20 CET"})
		}
		render(v("ann", approvals.LevelSession), "sessions", "sessions", &sessionsView{Rows: rows, Token: "t", Others: true})
		render(v("", 0), "landing", "landing", landingView{"/r/x", "K7-42", "14:32 CET"})
		for _, p := range problems {
			for _, who := range []approvals.PersonID{"", "ann"} {
				render(v(who, 1), p.text, "problem", problemView{Text: p.text, Again: "/", Switch: "/"})
			}
		}
		render(v("", 0), "internal", "problem", problemView{Text: "internal"})
	}
	return out
}

func parsed(t testing.TB, at, body string) *page {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(body))
	check(t, err)
	return &page{t, http.StatusOK, nil, body, at, doc}
}

var unfilled = regexp.MustCompile(`%!|%\[|%[sd]|&lt;no value|<no value|\bnil\b`)

// Every page, in every state and language, comes out whole, small, and without anything inline, which the content
// security policy would refuse.
func TestScreens(t *testing.T) {
	w := newWorld(t, false)
	for _, p := range w.screens() {
		if bad := unfilled.FindString(bodyOf(p.body)); bad != "" {
			t.Errorf("%s: %q", p.at, bad)
		}
		if n := len(p.all("h1")); n != 1 {
			t.Errorf("%s: %d headings", p.at, n)
		}
		if titles := p.all("title"); len(titles) != 1 || strings.TrimSpace(textOf(titles[0])) == "" {
			t.Errorf("%s: no title", p.at)
		}
		if size := zipped([]byte(p.body)); size > 10<<10 {
			t.Errorf("%s: %d bytes", p.at, size)
		}
		p.wellFormed()
		for _, want := range results {
			for lang, words := range map[string]string{"en": want.en, "ko": want.ko} {
				if p.at == want.name+" of ann in "+lang {
					p.want(http.StatusOK, words)
				}
			}
		}
	}
}

// wellFormed checks ids, forms and that nothing is inline.
func (p *page) wellFormed() {
	p.t.Helper()
	seen := map[string]bool{}
	for n := range p.doc.Descendants() {
		if id := attr(n, "id"); id != "" && seen[id] {
			p.t.Errorf("%s: id %s twice", p.at, id)
		} else {
			seen[id] = true
		}
		for _, a := range n.Attr {
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
				p.t.Errorf("%s: inline %s", p.at, a.Key)
			}
		}
		if n.Data == "style" || n.Data == "script" && attr(n, "src") == "" {
			p.t.Errorf("%s: inline %s", p.at, n.Data)
		}
		if n.Data == "form" && (attr(n, "method") != "post" && attr(n, "action") != "/history" || !strings.HasPrefix(attr(n, "action"), "/")) {
			p.t.Errorf("%s: form %s %s", p.at, attr(n, "method"), attr(n, "action"))
		}
	}
}

// bodyOf leaves out the texts that the layout hands to script with their placeholders.
func bodyOf(s string) string {
	_, after, _ := strings.Cut(s, `<a class="skip"`)
	return after
}

var evidence = regexp.MustCompile(`(?s)<details class="evidence">.*?</details>`)

// Whatever a disclosure says is on the page: each label and each text.
func TestEveryFactIsOnThePage(t *testing.T) {
	rowtest.Row(t, "REQ-101", "REQ-269")
	w := newWorld(t, false)
	for name, r := range w.fixtures() {
		for _, lang := range []string{"en", "ko"} {
			p, err := w.people.Person(t.Context(), r.Subject)
			check(t, err)
			req := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
			who := &session{Person: p.ID, person: p, Level: approvals.LevelSession}
			v := &visit{Request: req, h: w.pages, lang: lang, who: who}
			view, err := w.pages.view(v, r)
			check(t, err)
			out, err := w.pages.pages.fragment("request-main", v, view)
			check(t, err)
			page := parsed(t, name, evidence.ReplaceAllString(string(out), "")) // whose bytes hold every fact anyway
			shown, err := w.desk.Show(r, lang)
			check(t, err)
			for _, f := range shown.Facts {
				if !strings.Contains(textOf(page.doc), f.Text) {
					t.Errorf("%s in %s: no %q", name, lang, f.Text)
				}
				labelled := []approvals.Role{approvals.RoleFact, approvals.RoleAbout, approvals.RoleRisk}
				if slices.Contains(labelled, f.Role) && !strings.Contains(textOf(page.doc), f.Label) {
					t.Errorf("%s in %s: no label %q", name, lang, f.Label)
				}
			}
			if view.Stage == "open" && !strings.Contains(textOf(page.doc), shown.Button) {
				t.Errorf("%s in %s: no button %q", name, lang, shown.Button)
			}
		}
	}
}

// results are what the pages say to somebody who did not decide there.
var results = []struct{ name, en, ko string }{
	{"approved", "Already approved on another device at 14:26 CET.", "14:26 CET에 다른 기기\u2060에서 이미 승인했어요."},
	{"denied", "Already denied on another device at 14:26 CET.", "14:26 CET에 다른 기기\u2060에서 이미 거절했어요."},
	{"cancelled", "Withdrawn. Nothing for you to do.", "취소된 요청이에요. 할 일이 없어요."},
	{"withdrawn", "You took it back.", "승인을 취소했어요."},
	{"failed", "We could not reach you in time.", "제때 알려 드리지 못했어요."},
	{"late", "Time ran out. Nothing was approved.", "시간이 지났어요. 승인하지 않았어요."},
	{"expired", "Time ran out. Nothing was approved.", "시간이 지났어요. 승인하지 않았어요."},
	{"lapsed", "Approved, but the agent did not collect it in time.", "승인했지만 에이전트가 제때 가져가지 않았어요."},
}

func TestMoment(t *testing.T) {
	at := time.Date(2026, 3, 2, 23, 30, 0, 0, time.UTC)
	for _, tt := range []struct{ zone, lang, want string }{
		{"Europe/Berlin", "en", "3 Mar 00:30 CET"}, {"Asia/Seoul", "ko", "3월 3일 08:30 KST"}, {"UTC", "en", "23:30 UTC"},
		{"Asia/Dubai", "en", "3 Mar 03:30 UTC+04"}, {"nowhere", "en", "23:30 UTC"},
	} {
		if got := moment(at, start, tt.zone, tt.lang); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.zone, got, tt.want)
		}
	}
}

func TestRemaining(t *testing.T) {
	for _, tt := range []struct {
		seconds int
		en, ko  string
	}{
		{0, "0 s", "0초"}, {59, "59 s", "59초"}, {60, "1 min", "1분"}, {250, "4 min 10 s", "4분 10초"},
		{3600, "1 h", "1시간"}, {3661, "1 h 1 min", "1시간 1분"}, {7 * 86400, "7 d", "7일"}, {90061, "1 d 1 h", "1일 1시간"},
	} {
		if en, ko := remaining("en", tt.seconds), remaining("ko", tt.seconds); en != tt.en || ko != tt.ko {
			t.Errorf("%d: %q %q, want %q %q", tt.seconds, en, ko, tt.en, tt.ko)
		}
	}
}

func TestWholeAndFirst(t *testing.T) {
	s := &screen{}
	for label, want := range map[string]string{"Approve 480.00 EUR": "Approve|480.00 EUR", "480.00 EUR 승인": "480.00 EUR|승인",
		"1,200,000원 승인": "1,200,000원|승인", "Approve 2 IDs": "Approve|2|IDs", "2 things": "2|things"} {
		if got := strings.Join(s.Whole(label), "|"); got != want {
			t.Errorf("%q: %q, want %q", label, got, want)
		}
	}
	for text, want := range map[string]sentences{"Denied. Bot was told no.": {"Denied.", "Bot was told no."},
		"Already denied on A at 14:26 CET.": {Lead: "Already denied on A at 14:26 CET."}} {
		if got := s.First(text); got != want {
			t.Errorf("%q: %+v", text, got)
		}
	}
}
