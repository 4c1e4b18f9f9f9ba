package sms

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"assent/approvals"
	"assent/channels"
)

// replyParts is in how many parts a message may travel that says all there is to approve.
const replyParts = 3

// draft is a message as it will leave.
type draft struct {
	text   string
	parts  int
	offers bool // it says how to deny by reply
	whole  bool // and how to approve, beside everything that the disclosure says
}

// offering is the templates of messages that may be answered. Beside the words of [words] they know {action}, {about},
// {check}, {yes} and {no}. One that may be approved is who asks what, what is known of them and a code to compare if there are
// any, and how to answer.
type offering struct {
	ask, about, check, answer string // to approve or deny
	deny, denyReminder        string // to deny only
}

var offerWords = map[string]offering{
	approvals.English: {
		ask:          "{name}: {agent} asks: {action}.",
		about:        " {about}.",
		check:        " Check code {check}.",
		answer:       " Reply {yes} to approve or {no} to deny, by {by}. Or open {url}",
		deny:         "{name}: {agent} asks for your OK. Ref {ref}, by {by}. Review: {url} Or reply {no} to deny.",
		denyReminder: "{name}: still waiting for your decision. Ref {ref}, by {by}. Review: {url} Or reply {no} to deny.",
	},
	approvals.Korean: {
		ask:          "[{name}] {agent}의 요청\n{action}",
		about:        "\n{about}",
		check:        "\n확인 번호: {check}",
		answer:       "\n{by}까지 답장으로 결정해 주세요. 승인: {yes} 거절: {no}\n{url}",
		deny:         "[{name}] {agent}의 승인 요청 {ref} ({by}까지)\n{url}\n거절 답장: {no}",
		denyReminder: "[{name}] 아직 기다리고 있어요 {ref} ({by}까지)\n{url}\n거절 답장: {no}",
	},
}

// approve is the template of a message that says all of s.
func (o offering) approve(s inSentence) string {
	template := o.ask
	if s.about != "" {
		template += o.about
	}
	if s.check != "" {
		template += o.check
	}
	return template + o.answer
}

// replyWords are our answers to what people send.
var replyWords = map[string]map[string]string{
	approvals.English: {
		"help":          "{name}: to decide, reply with letter and number exactly as our message says, or open its link.",
		"wrong":         "{name}: that fits no message of ours. Reply with letter and number exactly as it says, or open its link.",
		"approved":      "{name}: {ref} is approved.",
		"denied":        "{name}: {ref} is denied.",
		"page":          "{name}: {ref} can only be decided on its page. Open the link in our message.",
		"late":          "{name}: it is too late to approve {ref}. Nothing was approved.",
		"was approved":  "{name}: {ref} was approved before. Your reply changed nothing.",
		"was redeemed":  "{name}: {ref} was approved before. Your reply changed nothing.",
		"was denied":    "{name}: {ref} was denied before. Your reply changed nothing.",
		"was cancelled": "{name}: {ref} was withdrawn before. Your reply changed nothing.",
		"was failed":    "{name}: {ref} has ended. Your reply changed nothing.",
		"was expired":   "{name}: {ref} has expired. Your reply changed nothing.",
	},
	approvals.Korean: {
		"help":          "[{name}] 결정하려면 문자에 적힌 글자와 숫자를 그대로 답장하거나 링크를 열어 주세요.",
		"wrong":         "[{name}] 맞는 요청이 없어요. 문자에 적힌 글자와 숫자를 그대로 답장하거나 링크를 열어 주세요.",
		"approved":      "[{name}] {ref} 승인했어요.",
		"denied":        "[{name}] {ref} 거절했어요.",
		"page":          "[{name}] {ref} 결정은 문자에 있는 링크를 열어서 해 주세요.",
		"late":          "[{name}] {ref} 승인하기에는 늦었어요. 승인되지 않았어요.",
		"was approved":  "[{name}] {ref} 이미 승인했어요. 이번 답장으로 바뀐 것은 없어요.",
		"was redeemed":  "[{name}] {ref} 이미 승인했어요. 이번 답장으로 바뀐 것은 없어요.",
		"was denied":    "[{name}] {ref} 이미 거절했어요. 이번 답장으로 바뀐 것은 없어요.",
		"was cancelled": "[{name}] {ref} 이미 취소된 요청이에요. 이번 답장으로 바뀐 것은 없어요.",
		"was failed":    "[{name}] {ref} 이미 끝난 요청이에요. 이번 답장으로 바뀐 것은 없어요.",
		"was expired":   "[{name}] {ref} 시간이 지난 요청이에요. 이번 답장으로 바뀐 것은 없어요.",
	},
}

// offer writes a message that may be answered with that code; fits is false if none can be written.
func (w writer) offer(m channels.Message, country, code string) (d draft, fits bool) {
	templates := offerWords[approvals.Locale(m.Locale)]
	values := w.values(m)
	values["yes"], values["no"] = "A "+code, "D "+code
	if shown, whole := said(m.Shown); whole && m.Shown.Locale == m.Locale {
		values["action"], values["agent"] = shown.action, shown.agent
		values["about"], values["check"] = shown.about, shown.check
		if d, fits := offered(templates.approve(shown), values, country, max(w.most, replyParts)); fits {
			d.whole = true
			return d, true
		}
	}
	values["agent"] = plain(m.Agent)
	template := templates.deny
	if m.Kind == channels.KindReminder {
		template = templates.denyReminder
	}
	return offered(template, values, country, w.most)
}

func offered(template string, values map[string]string, country string, most int) (d draft, fits bool) {
	text, complete := fill(template, values)
	if !complete || country == korea && !carriesKorean(text) {
		return draft{}, false
	}
	d = draft{text: text, parts: partsIn(country, text), offers: true}
	return d, d.parts <= most
}

// inSentence is what a disclosure comes to that one sentence and two names can say.
type inSentence struct{ action, agent, about, check string }

// said takes a disclosure apart if a message can say all of it: a sentence, who asks and what is known of them, and a code to
// compare. Every other fact must stand in the sentence, at a place of its own, and the agent's and the payee's words must be
// plain ones. Roles that are not known here, reasons to look closer and an agent's own words among them, are for the page.
func said(d *approvals.Disclosure) (s inSentence, whole bool) {
	if d == nil {
		return s, false
	}
	s.action = d.Action()
	rest := s.action
	for _, f := range d.Facts {
		switch f.Role {
		case approvals.RoleAction:
		case approvals.RoleAgent:
			s.agent = plain(f.Text)
		case approvals.RoleAbout:
			if !harmless(f.Text) {
				return s, false
			}
			s.about = join(s.about, f.Label+": "+f.Text)
		case approvals.RoleCode:
			if s.check = plain(f.Text); s.check == "" {
				return s, false
			}
		case approvals.RoleAmount, approvals.RoleFact:
			if f.Role == approvals.RoleFact && plain(f.Text) == "" || !cutOut(&rest, f.Text) {
				return s, false
			}
		default:
			return s, false
		}
	}
	return s, s.action != "" && s.agent != ""
}

// gap marks where a fact stood.
const gap = "\x00"

// cutOut takes a fact's words out of a sentence, if they stand there as words of their own.
func cutOut(sentence *string, words string) bool {
	before, after, found := strings.Cut(*sentence, words)
	last, _ := utf8.DecodeLastRuneInString(before)
	first, _ := utf8.DecodeRuneInString(after)
	if !found || words == "" || wordy(last) || wordy(first) && !unicode.Is(unicode.Hangul, first) { // to which Korean adds its particles
		return false
	}
	*sentence = before + gap + after
	return true
}

func wordy(c rune) bool { return unicode.IsLetter(c) || unicode.IsDigit(c) }

func join(before, more string) string {
	if before == "" {
		return more
	}
	return before + ", " + more
}

// longestAbout is how many characters of what is known of an agent a text message has room for.
const longestAbout = 48

// harmless reports whether a text of ours, a date or a name that an operator has given, holds nothing that phones make a link
// of.
func harmless(text string) bool {
	return utf8.RuneCountInString(text) <= longestAbout && !strings.ContainsFunc(text, func(c rune) bool {
		return !wordy(c) && !strings.ContainsRune(" -&'(),", c)
	})
}
