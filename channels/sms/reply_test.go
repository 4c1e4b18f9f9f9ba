package sms_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/approvals"
	"assent/channels"
	"assent/channels/sms"
	"assent/channels/sms/twiliosim"
)

// talk is a ladder whose people may decide by reply, about payments that take no more than a link.
type talk struct{ *ladder }

func newTalk(t *testing.T, change ...func(*sms.Config)) talk {
	t.Helper()
	l := newLadder(t)
	l.cfg.Decide = func(ctx context.Context, r channels.Reply) (approvals.State, error) {
		return l.Dispatcher.Decide(ctx, r)
	}
	l.cfg.Waits = func(ctx context.Context, id approvals.ID) bool { return l.Dispatcher.Waits(ctx, id) }
	for _, c := range change {
		c(&l.cfg)
	}
	l.restart(t)
	l.Channels["sms"] = l.Channel
	levels, err := approvals.NewLevels(approvals.BuiltinTypes(), []approvals.LevelRule{
		{Type: "payment_initiation", Needs: approvals.LevelLink}})
	if err != nil {
		t.Fatal(err)
	}
	l.desk.Levels = levels
	known := talk{l}
	known.approvedBefore(t)
	return known
}

// approvedBefore makes agent and payee known: what asks for a closer look is for the page.
func (l talk) approvedBefore(t *testing.T, payee ...string) {
	t.Helper()
	r := l.open(t, "", payee...)
	answer := approvals.Answer{By: "ann", Level: approvals.LevelSession, Digest: r.Disclosures[0].Digest(), Locale: r.Locale}
	if _, err := l.desk.Approve(t.Context(), r.ID, answer); err != nil {
		t.Fatal(err)
	}
}

// open opens a request to pay, with further members.
func (l talk) open(t *testing.T, more string, payee ...string) *approvals.Request {
	t.Helper()
	ann, err := l.Directory.Person(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	bot, err := l.Directory.Agent(t.Context(), "bot")
	if err != nil {
		t.Fatal(err)
	}
	to := append(payee, `"creditorName":"Example Travel"`)[0]
	raw := `[{"type":"payment_initiation","instructedAmount":{"currency":"EUR","amount":"480.00"},` + to + more + `}]`
	details, err := approvals.BuiltinTypes().Parse([]byte(raw), func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := l.desk.Open(t.Context(), approvals.Ask{Agent: bot, Subject: ann, Scope: []string{"openid"}, Details: details,
		Binding: "H3-91", Life: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// pays opens a request and returns it with the text message that tells of it.
func (l talk) pays(t *testing.T, more string, payee ...string) (approvals.ID, string) {
	t.Helper()
	r := l.open(t, more, payee...)
	before := len(l.twilio.Messages())
	if _, err := l.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := l.twilio.Messages()
	if len(got) != before+1 {
		t.Fatalf("%d messages left, want 1", len(got)-before)
	}
	return r.ID, got[before].Body
}

var offered = regexp.MustCompile(`\b[AD] ([0-9]{4})\b`)

func codeIn(t *testing.T, text string) string {
	t.Helper()
	found := offered.FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no code in %q", text)
	}
	return found[1]
}

// says is an inbound message; it returns what was answered, or "".
func (l talk) says(t *testing.T, from, body string) string {
	t.Helper()
	before := len(l.twilio.Messages())
	if status, err := l.twilio.Inbound(t.Context(), from, body); err != nil || status != 200 {
		t.Fatalf("inbound %q: %d, %v", body, status, err)
	}
	answers := l.twilio.Messages()[before:]
	if len(answers) == 0 {
		return ""
	}
	return answers[0].Body
}

func (l talk) state(t *testing.T, id approvals.ID) approvals.State {
	t.Helper()
	r, err := l.desk.Request(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return r.StateAt(l.now())
}

// TestReplyDecides: a message that says all there is to approve can be answered, and the decision is about exactly that.
func TestReplyDecides(t *testing.T) {
	for word, want := range map[string]approvals.State{"A %s": approvals.Approved, " a%s. ": approvals.Approved,
		"D %s": approvals.Denied, "d-%s": approvals.Denied} {
		t.Run(word, func(t *testing.T) {
			l := newTalk(t)
			id, text := l.pays(t, "")
			code := codeIn(t, text)
			for _, must := range []string{"Pay 480.00 EUR to Example Travel", "Travel Bot", "Acting for you since", "H3-91", "A " + code, "D " + code, pages + "/r/"} {
				if !strings.Contains(text, must) {
					t.Errorf("text has no %q: %q", must, text)
				}
			}
			r, err := l.desk.Request(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			answer := l.says(t, phone, fmt.Sprintf(word, code))
			if got := l.state(t, id); got != want || !strings.Contains(answer, id.Ref()) {
				t.Fatalf("request is %s, want %s; answered %q", got, want, answer)
			}
			shown := r.Disclosures[0].Digest()
			if r, err = l.desk.Request(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			d := r.Decisions[0]
			if d.By != "ann" || d.Via != "sms" || d.Level != approvals.LevelLink || !slices.Equal(d.AMR, []string{"sms"}) ||
				d.Digest != shown || d.Disclosure == "" || !d.AuthTime.IsZero() {
				t.Errorf("decision is %+v", d)
			}
		})
	}
}

// TestReplyOnlyToWhatIsSaid: what does not stand in the message, or takes a sign-in, is approved on the page only; it can be
// denied by reply all the same.
func TestReplyOnlyToWhatIsSaid(t *testing.T) {
	tests := map[string]struct {
		more   string
		change func(t *testing.T, l talk)
	}{
		"a payee that is new":    {more: `,"creditorName":"Another Travel"`},
		"the agent's own words":  {more: `,"remittanceInformationUnstructured":"Invoice 7"`},
		"an account":             {more: `,"creditorAccount":{"iban":"DE02120300000000202051"}`},
		"where":                  {more: `,"locations":["https://pay.example.com"]`},
		"a payee like a link":    {more: `,"creditorName":"pay.example.com"`},
		"a payee like a number":  {more: `,"creditorName":"Call 0301234567"`},
		"a payee with two lines": {more: `,"creditorName":"Example Travel\u2028Reply A 1234"`},
		"a long payee":           {more: `,"creditorName":"` + strings.Repeat("Travel ", 8) + `"`},
		"an agent like a link": {change: func(t *testing.T, l talk) {
			bot, err := l.Directory.Agent(t.Context(), "bot")
			if err != nil {
				t.Fatal(err)
			}
			changed := *bot
			changed.Name = "evil.example"
			if err := l.Directory.SaveAgent(t.Context(), &changed); err != nil {
				t.Fatal(err)
			}
		}},
		"a sign-in": {change: func(_ *testing.T, l talk) { l.desk.Levels = approvals.Levels{} }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := newTalk(t)
			if tt.change != nil {
				tt.change(t, l)
			}
			more := tt.more
			if strings.Contains(more, "creditorName") { // the last of two would be refused
				more = ""
				tt.more = strings.TrimPrefix(tt.more, ",")
			}
			if more != tt.more && name != "a payee that is new" {
				l.approvedBefore(t, tt.more)
			}
			id, text := l.paysAs(t, more, tt.more)
			if strings.Contains(text, "480.00") || strings.Contains(text, "Reply A") {
				t.Fatalf("text offers to approve: %q", text)
			}
			if !strings.Contains(text, "to deny") { // no room: the page is there
				return
			}
			code := codeIn(t, text)
			if answer := l.says(t, phone, "A "+code); l.state(t, id) != approvals.Pending || !strings.Contains(answer, "page") {
				t.Errorf("request is %s; answered %q", l.state(t, id), answer)
			}
			if answer := l.says(t, phone, "D "+code); l.state(t, id) != approvals.Denied {
				t.Errorf("request is %s; answered %q", l.state(t, id), answer)
			}
		})
	}
}

// paysAs is pays with another payee, if payee names one.
func (l talk) paysAs(t *testing.T, more, payee string) (approvals.ID, string) {
	t.Helper()
	if !strings.HasPrefix(payee, `"creditorName"`) {
		return l.pays(t, more)
	}
	return l.pays(t, "", payee)
}

// TestReplyRefused: wrong codes, other numbers, and replies that come too late, change nothing and tell nothing.
func TestReplyRefused(t *testing.T) {
	const stranger = "+4915799987499"
	tests := map[string]struct {
		do     func(t *testing.T, l talk, id approvals.ID, code string) (answer string)
		answer string // part of it
		want   approvals.State
	}{
		"wrong code": {func(t *testing.T, l talk, _ approvals.ID, code string) string {
			return l.says(t, phone, "A "+other(code))
		}, "fits no message", approvals.Pending},
		"another number": {func(t *testing.T, l talk, _ approvals.ID, code string) string {
			return l.says(t, stranger, "A "+code)
		}, "exactly as our message says", approvals.Pending},
		"words": {func(t *testing.T, l talk, _ approvals.ID, code string) string {
			return l.says(t, phone, "ok go ahead")
		}, "exactly as our message says", approvals.Pending},
		"both": {func(t *testing.T, l talk, _ approvals.ID, code string) string {
			return l.says(t, phone, "A "+code+" or D "+code)
		}, "exactly as our message says", approvals.Pending},
		"words of a stranger": {func(t *testing.T, l talk, _ approvals.ID, code string) string {
			return l.says(t, stranger, "who is this") + "-"
		}, "-", approvals.Pending},
		"yes": {func(t *testing.T, l talk, _ approvals.ID, code string) string {
			return l.says(t, phone, "YES") + "-"
		}, "-", approvals.Pending},
		"help is the provider's": {func(t *testing.T, l talk, _ approvals.ID, code string) string {
			return l.says(t, phone, "HELP") + "-"
		}, "-", approvals.Pending},
		"stop is nobody's decision": {func(t *testing.T, l talk, _ approvals.ID, code string) string {
			return l.says(t, phone, "STOP") + "-"
		}, "-", approvals.Pending},
		"too late to approve": {func(t *testing.T, l talk, id approvals.ID, code string) string {
			l.set(noon.Add(9*time.Minute + 55*time.Second))
			return l.says(t, phone, "A "+code)
		}, "too late", approvals.Pending},
		"expired": {func(t *testing.T, l talk, id approvals.ID, code string) string {
			l.set(noon.Add(11 * time.Minute))
			return l.says(t, phone, "A "+code)
		}, "expired", approvals.Expired},
		"after the page": {func(t *testing.T, l talk, id approvals.ID, code string) string {
			if _, err := l.desk.Deny(t.Context(), id, approvals.Answer{By: "ann", Level: approvals.LevelSession}); err != nil {
				t.Fatal(err)
			}
			return l.says(t, phone, "A "+code)
		}, "was denied before", approvals.Denied},
		"withdrawn": {func(t *testing.T, l talk, id approvals.ID, code string) string {
			if _, err := l.desk.Cancel(t.Context(), id, approvals.Actor{Kind: "agent", ID: "bot"}, approvals.WithdrawnByAgent); err != nil {
				t.Fatal(err)
			}
			return l.says(t, phone, "A "+code)
		}, "withdrawn", approvals.Cancelled},
		"another number by now": {func(t *testing.T, l talk, id approvals.ID, code string) string {
			l.person(t, func(p *approvals.Person) { p.Addresses[0].Value = stranger })
			return l.says(t, phone, "A "+code)
		}, "fits no message", approvals.Pending},
		"signed out everywhere since": {func(t *testing.T, l talk, id approvals.ID, code string) string {
			l.person(t, func(p *approvals.Person) { p.SignedOutAt = l.now() })
			return l.says(t, phone, "A "+code)
		}, "fits no message", approvals.Pending},
		"disabled": {func(t *testing.T, l talk, id approvals.ID, code string) string {
			l.person(t, func(p *approvals.Person) { p.Disabled = true })
			return l.says(t, phone, "D "+code)
		}, "fits no message", approvals.Pending},
		"the other word after the first": {func(t *testing.T, l talk, id approvals.ID, code string) string {
			l.says(t, phone, "D "+code)
			return l.says(t, phone, "A "+code)
		}, "was denied before", approvals.Denied},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := newTalk(t)
			id, text := l.pays(t, "")
			answer := tt.do(t, l, id, codeIn(t, text))
			if got := l.state(t, id); got != tt.want || !strings.Contains(answer, tt.answer) || tt.answer == "-" && answer != "-" {
				t.Errorf("request is %s, want %s; answered %q, want %q", got, tt.want, answer, tt.answer)
			}
		})
	}
}

// TestReplyKorean: the same in Korean, where particles follow the payee and carriers bring 2,350 syllables only.
func TestReplyKorean(t *testing.T) {
	const number = "+821012345678"
	l := newTalk(t)
	l.person(t, func(p *approvals.Person) { p.Locale, p.Zone, p.Addresses[0].Value = "ko", "Asia/Seoul", number })
	l.approvedBefore(t, `"creditorName":"나라상사"`)
	l.approvedBefore(t, `"creditorName":"똠방각하 펲시콜라"`)
	id, text := l.pays(t, "", `"creditorName":"나라상사"`)
	for _, must := range []string{"나라상사에 480.00 EUR 결제", "Travel Bot", "H3-91", "승인: A ", "거절: D "} {
		if !strings.Contains(text, must) {
			t.Errorf("text has no %q: %q", must, text)
		}
	}
	if parts := sms.Parts("[국제발신]\n" + text); parts > 3 {
		t.Errorf("%d parts: %q", parts, text)
	}
	answer := l.says(t, number, "A "+codeIn(t, text))
	if got := l.state(t, id); got != approvals.Approved || !strings.Contains(answer, "승인했어요") {
		t.Errorf("request is %s; answered %q", got, answer)
	}
	if id, text := l.pays(t, "", `"creditorName":"똠방각하 펲시콜라"`); strings.Contains(text, "승인: A") {
		t.Errorf("a payee that carriers spoil, in %s: %q", id, text)
	}
}

// other is a code that is not this one.
func other(code string) string {
	if code[3] == '9' {
		return code[:3] + "0"
	}
	return code[:3] + string(code[3]+1)
}

func (l talk) person(t *testing.T, change func(*approvals.Person)) {
	t.Helper()
	p, err := l.Directory.Person(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	changed := *p
	changed.Addresses = slices.Clone(p.Addresses)
	change(&changed)
	if err := l.Directory.SavePerson(t.Context(), &changed); err != nil {
		t.Fatal(err)
	}
}

// TestReplyGuesses: five wrong codes in an hour, over restarts and side by side, and the right one counts for nothing until
// the hour is over. Right ones use nothing up.
func TestReplyGuesses(t *testing.T) {
	l := newTalk(t)
	for range 8 {
		id, text := l.pays(t, "")
		if l.says(t, phone, "D "+codeIn(t, text)); l.state(t, id) != approvals.Denied {
			t.Fatal("a right code is not taken")
		}
		l.set(l.now().Add(time.Minute))
	}
	id, text := l.pays(t, "")
	code := codeIn(t, text)
	var all sync.WaitGroup
	for i := range 60 {
		guess := fmt.Sprintf("A %04d", i)
		if guess == "A "+code {
			continue
		}
		if i == 2 {
			l.restart(t)
			l.Channels["sms"] = l.Channel
		}
		all.Go(func() { l.twilio.Inbound(t.Context(), phone, guess) })
		if i < 3 {
			all.Wait()
		}
	}
	all.Wait()
	if answer := l.says(t, phone, "A "+code); answer != "" || l.state(t, id) != approvals.Pending {
		t.Errorf("the right code after too many: %q, request is %s", answer, l.state(t, id))
	}
	if !strings.Contains(l.log.String(), "too many wrong codes") {
		t.Error("nobody is told of it")
	}
	for _, secret := range []string{phone, "A " + code, " " + code} {
		if strings.Contains(l.log.String(), secret) {
			t.Errorf("log has %q", secret)
		}
	}
	l.set(l.now().Add(time.Hour + time.Second))
	id, text = l.pays(t, "")
	if l.says(t, phone, "A "+codeIn(t, text)); l.state(t, id) != approvals.Approved {
		t.Errorf("an hour later the request is %s", l.state(t, id))
	}
}

// TestReplyAnswersAreBounded: nobody gets more answers than messages, all numbers together no more than a share of the day,
// and a number that has said STOP gets none.
func TestReplyAnswersAreBounded(t *testing.T) {
	l := newTalk(t, func(c *sms.Config) { c.Caps = sms.Caps{Burst: 3, Day: 10, DayParts: 200} })
	_, text := l.pays(t, "")
	answers := 0
	for range 10 {
		if l.says(t, phone, "hello") != "" {
			answers++
		}
	}
	if answers != 3 {
		t.Errorf("%d answers in a row, want 3", answers)
	}
	for i := range 40 {
		if l.says(t, fmt.Sprintf("+49157999%05d", i), "A "+codeIn(t, text)) != "" {
			answers++
		}
	}
	if answers != 10 { // a twentieth of 200
		t.Errorf("%d answers to everybody, want 10", answers)
	}
}

// TestReplyRepeated: the provider brings the same message again; it decides once, and is answered once.
func TestReplyRepeated(t *testing.T) {
	l := newTalk(t)
	id, text := l.pays(t, "")
	before := len(l.twilio.Messages())
	for range 3 {
		form := url.Values{"MessageSid": {"SM00000000000001"}, "AccountSid": {account}, "From": {phone}, "Body": {"D " + codeIn(t, text)}}
		r := httptest.NewRequest("POST", "/sms/inbound", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("X-Twilio-Signature", twiliosim.Sign(token, l.cfg.InboundURL, form))
		w := httptest.NewRecorder()
		l.Inbound().ServeHTTP(w, r)
		if w.Code != 200 {
			t.Fatalf("answered %d", w.Code)
		}
		if strings.Contains(w.Body.String(), "<Message>") {
			before++
		}
	}
	if n := before - len(l.twilio.Messages()); n != 1 {
		t.Errorf("%d answers, want 1", n)
	}
	if r, err := l.desk.Request(t.Context(), id); err != nil || len(r.Decisions) != 1 || r.State != approvals.Denied {
		t.Errorf("request is %+v, %v", r, err)
	}
}

// TestReplyUnsigned: a reply that the provider has not signed is nobody's.
func TestReplyUnsigned(t *testing.T) {
	l := newTalk(t)
	id, text := l.pays(t, "")
	form := url.Values{"MessageSid": {"SM00000000000001"}, "AccountSid": {account}, "From": {phone}, "Body": {"A " + codeIn(t, text)}}
	for _, signature := range []string{"", "x", twiliosim.Sign("another token 0123456789", l.cfg.InboundURL, form),
		twiliosim.Sign(token, l.cfg.CallbackURL, form)} {
		r := httptest.NewRequest("POST", "/sms/inbound", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("X-Twilio-Signature", signature)
		w := httptest.NewRecorder()
		l.Inbound().ServeHTTP(w, r)
		if w.Code != 403 || l.state(t, id) != approvals.Pending {
			t.Errorf("signature %q: answered %d, request is %s", signature, w.Code, l.state(t, id))
		}
	}
}

// TestReplyNotKept: what the store does not take is not decided twice and not lost: the provider brings it again.
func TestReplyNotKept(t *testing.T) {
	l := newTalk(t)
	id, text := l.pays(t, "")
	whole := l.cfg.Records
	l.cfg.Records = brokenRecords{whole}
	l.restart(t)
	if status, err := l.twilio.Inbound(t.Context(), phone, "A "+codeIn(t, text)); err != nil || status != 503 {
		t.Fatalf("answered %d, %v, want 503", status, err)
	}
	if got := l.state(t, id); got != approvals.Pending {
		t.Errorf("request is %s though the try could not be counted", got)
	}
	l.cfg.Records = whole
	l.restart(t)
	if l.says(t, phone, "A "+codeIn(t, text)); l.state(t, id) != approvals.Approved {
		t.Errorf("request is %s", l.state(t, id))
	}
}

// TestRepliesOff: without the switch messages offer nothing, and nothing decides.
func TestRepliesOff(t *testing.T) {
	l := newTalk(t, func(c *sms.Config) { c.Decide, c.Waits = nil, nil })
	id, text := l.pays(t, "")
	if strings.Contains(strings.ToLower(text), "reply") || strings.Contains(text, "480.00") {
		t.Errorf("text is %q", text)
	}
	m := channels.Message{ID: string(id) + "/sms/1"}
	code := l.cfg.Root.Reply(m.ID)
	if answer := l.says(t, phone, "A "+code); answer != "" || l.state(t, id) != approvals.Pending {
		t.Errorf("answered %q, request is %s", answer, l.state(t, id))
	}
}

// FuzzReply: whatever a person writes, it decides only in the two forms, and never in a word that carriers act on.
func FuzzReply(f *testing.F) {
	for _, body := range []string{"A 4821", "D 4821", "a4821", "A  4821", "A 48211", "YES", "STOP 4821", "A 4821 D 4821", "A\u00a04821",
		"\u0410 4821", "A ４８２１", strings.Repeat("A", 100), "A 4821\x00", "A 4821\nD 4821"} {
		f.Add(body)
	}
	strict := regexp.MustCompile(`^\s*[AaDd][ .:-]{0,2}[0-9]{4}[.!]?\s*$`)
	f.Fuzz(func(t *testing.T, body string) {
		approve, code, ok := sms.ParseReply(body)
		if ok && (len(code) != 4 || strings.Trim(code, "0123456789") != "" || approve == strings.Contains(strings.ToUpper(body), "D")) {
			t.Errorf("%q reads as %t %q", body, approve, code)
		}
		if ok && !strict.MatchString(strings.TrimSpace(body)) {
			t.Errorf("%q is no reply", body)
		}
	})
}
