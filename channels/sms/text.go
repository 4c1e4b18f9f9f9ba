package sms

import (
	"fmt"
	"strings"
	"unicode"

	"assent/approvals"
	"assent/channels"
)

// carrierPrefix is what Korean carriers put before a message from abroad. It takes room of the first part.
const carrierPrefix = "[국제발신]\n"

// korea is where that is so.
const korea = "KR"

// wording is the templates of one language for one kind of message, the best first. Whatever does not fit is passed over
// for the next one.
type wording []string

// words of a template: {name} of the service, {agent}, {ref}, {by}, {url}, {short} (the URL without its scheme), {code},
// {brief} (what happened) and {host} (of the pages, which ties the code to them when a browser fills it in).
var words = map[string]map[channels.Kind]wording{
	approvals.English: {
		channels.KindRequest: {
			"{name}: {agent} asks for your OK. Ref {ref}, by {by}. Review: {url} Not expected? Open it and deny.",
			"{name}: {agent} asks for your OK. Ref {ref}, by {by}. Review: {url}",
			"{name}: request {ref} needs your decision by {by}. Review: {url}",
			"Request {ref}, by {by}: {url}",
		},
		channels.KindReminder: {
			"{name}: still waiting for your decision. Ref {ref}, by {by}. Review: {url}",
			"Still waiting: {ref}, by {by}: {url}",
		},
		channels.KindCode: {
			"{name} code: {code}. Never share it; our staff never ask.\n@{host} #{code}",
			"{name} code: {code}. Never share it; our staff never ask.",
			"Code: {code}. Never share it.",
		},
		channels.KindNotice: {
			"{name}: {brief} Not you? {url}",
			"{brief} Not you? {url}",
		},
		channels.KindTest: {"{name}: this is a test. Messages arrive here. Nothing to do."},
	},
	approvals.Korean: {
		channels.KindRequest: {
			"[{name}] {agent}의 승인 요청 {ref} ({by}까지)\n{url}",
			"[{name}] 승인 요청 {ref} ({by}까지)\n{url}",
			"[{name}] 승인 요청 {ref} ({by}까지)\n{short}",
			"승인 요청 {ref} ({by}까지)\n{short}",
			"승인 요청 {ref}\n{short}",
		},
		channels.KindReminder: {
			"[{name}] 아직 기다리고 있어요 {ref} ({by}까지)\n{url}",
			"[{name}] 아직 기다리고 있어요 {ref} ({by}까지)\n{short}",
			"아직 기다려요 {ref}\n{short}",
		},
		channels.KindCode: {
			"[{name}] 인증번호 {code}\n아무에게도 알려주지 마세요.\n@{host} #{code}",
			"[{name}] 인증번호 {code}\n아무에게도 알려주지 마세요.",
			"인증번호 {code}\n아무에게도 알려주지 마세요.",
		},
		channels.KindNotice: {
			"[{name}] {brief} 직접 하지 않았다면 확인해 주세요.\n{url}",
			"[{name}] {brief} 본인이 아니면\n{short}",
			"{brief}\n{short}",
		},
		channels.KindTest: {"[{name}] 테스트 메시지예요. 알림이 잘 도착했어요."},
	},
}

// Names is what the service is called in its messages.
type Names struct {
	EN, KO string
}

func (n Names) in(locale string) string {
	if locale == approvals.Korean {
		return n.KO
	}
	return n.EN
}

// writer writes messages.
type writer struct {
	names Names
	host  string // of the pages; empty: codes name no host
	most  int    // parts
}

// write returns the best text that fits into the parts and that the carriers of a country bring unharmed.
func (w writer) write(m channels.Message, country string) (text string, parts int, err error) {
	values := w.values(m)
	for _, template := range words[approvals.Locale(m.Locale)][m.Kind] {
		text, complete := fill(template, values)
		if !complete || country == korea && !carriesKorean(text) {
			continue
		}
		if parts := partsIn(country, text); parts <= w.most {
			return text, parts, nil
		}
	}
	return "", 0, fmt.Errorf("write message: no text fits into %d parts", w.most)
}

// partsIn counts the prefix of carriers as well. A text in the GSM alphabet has room for it in any case.
func partsIn(country, text string) int {
	if _, gsm := septets(text); country == korea && !gsm {
		text = carrierPrefix + text
	}
	return Parts(text)
}

func (w writer) values(m channels.Message) map[string]string {
	short := m.URL
	if _, rest, found := strings.Cut(m.URL, "://"); found {
		short = rest
	}
	return map[string]string{"name": w.names.in(m.Locale), "agent": plain(m.Agent), "ref": m.Ref, "by": m.By, "url": m.URL,
		"short": short, "code": m.Code, "brief": m.Brief, "host": w.host}
}

// fill puts values into a template; complete is false if one of them is missing.
func fill(template string, values map[string]string) (text string, complete bool) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(template, "{")
		b.WriteString(before)
		if !found {
			return b.String(), true
		}
		word, after, _ := strings.Cut(rest, "}")
		if values[word] == "" {
			return "", false
		}
		b.WriteString(values[word])
		template = after
	}
}

// longestAgent is how many characters of an agent's name a text message has room for.
const longestAgent = 32

// plain returns a name that can be nothing but a name, or "": agents choose theirs, and in a text message phones make a
// link or a number to call out of anything that looks like one.
func plain(name string) string {
	digits, length := 0, 0
	for _, c := range name {
		length++
		switch {
		case unicode.IsDigit(c):
			digits++
		case !unicode.IsLetter(c) && !strings.ContainsRune(" -&'()", c):
			return ""
		}
	}
	if length > longestAgent || digits > 4 {
		return ""
	}
	return name
}
