package approvals

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Locales in which a disclosure can be rendered. Unknown languages get English.
const (
	English = "en"
	Korean  = "ko"
)

// Locale picks the language of a BCP 47 tag or an Accept-Language first choice.
func Locale(tag string) string {
	if tag = strings.ToLower(tag); tag == Korean || strings.HasPrefix(tag, "ko-") {
		return Korean
	}
	return English
}

// phrase is one text in every language, so that none can be forgotten.
type phrase struct{ en, ko string }

// words speaks one language.
type words struct{ locale string }

func (w words) say(p phrase) string {
	if w.locale == Korean {
		return p.ko
	}
	return p.en
}

func (w words) sprintf(p phrase, args ...any) string { return fmt.Sprintf(w.say(p), args...) }

var (
	labelAction    = phrase{"Action", "하려는 일"}
	labelAgent     = phrase{"Agent", "에이전트"}
	labelAmount    = phrase{"Amount", "금액"}
	labelTo        = phrase{"To", "받는 곳"}
	labelAccount   = phrase{"Account", "계좌"}
	labelActions   = phrase{"Steps", "단계"}
	labelWhere     = phrase{"Where", "쓰는 곳"}
	labelReference = phrase{"Payment reference", "송금 메모"}
	labelDocument  = phrase{"Document", "문서"}
	labelCalled    = phrase{"Name given", "에이전트가 부르는 이름"}
	labelAccess    = phrase{"Access", "권한"}
	labelWhy       = phrase{"Reason given", "에이전트가 밝힌 이유"}
	labelTool      = phrase{"Tool", "도구"}
	labelServer    = phrase{"Server", "서버"}
	labelItem      = phrase{"Part %d of %d", "%[2]d개 중 %[1]d번째"}
	labelCode      = phrase{"Check code", "확인 번호"}
	labelAudience  = phrase{"Valid at", "사용처"}
	labelStanding  = phrase{"Coming back", "다시 쓰기"}
	labelAsked     = phrase{"Asked for", "원래 요청"}
	labelLeftOut   = phrase{"Left out", "뺀 것"}
	labelKind      = phrase{"Kind", "종류"}
	labelOperator  = phrase{"Operated by", "운영하는 곳"}
	labelSince     = phrase{"Acting for you since", "처음 승인한 날"}
	labelRisk      = phrase{"Look closer", "살펴볼 점"}

	sayStanding = phrase{"The agent can come back and use this without asking you again, until %s",
		"%s까지 다시 묻지 않고 계속 쓸 수 있어요"}
	sayNotStanding = phrase{"The agent has to ask you again each time", "쓸 때마다 다시 물어봐요"}
	sayEnter       = phrase{"Type the %d digits your agent shows", "에이전트 화면에 보이는 숫자 %d자리를 입력해 주세요"}
	sayUntil       = phrase{"Until %s", "%s까지"}

	sayDate = phrase{"2 January 2006, 15:04", "2006년 1월 2일 15:04"} // layouts of time.Format
	sayDay  = phrase{"2 January 2006", "2006년 1월 2일"}

	sayPay            = phrase{"Pay %[1]s to %[2]s", "%[2]s에 %[1]s 결제"}
	sayDocument       = phrase{"%[1]s “%[2]s”", "“%[2]s” %[1]s"}
	sayTool           = phrase{"Run %s", "%s 실행"}
	sayMember         = phrase{"Field %s", "항목: %s"}
	sayGeneric        = phrase{"We do not recognise this kind of request", "처음 보는 종류의 요청이에요"}
	sayArgument       = phrase{"With %s", "값: %s"}
	saySeveral        = phrase{"%d things at once", "%d가지 일을 한 번에"}
	saySignIn         = phrase{"Confirm that it is you", "본인 확인"}
	sayApproveSignIn  = phrase{"Approve sign-in", "본인 확인 승인"}
	sayApproveAccess  = phrase{"Approve access", "권한 승인"}
	sayApproveAmount  = phrase{"Approve %s", "%s 승인"}
	sayApproveVerbs   = phrase{"Approve: %s", "%s 승인"}
	sayApproveTool    = phrase{"Approve this run", "실행 승인"}
	sayApproveGeneric = phrase{"Approve this unknown request", "처음 보는 요청 승인"}
	sayApproveAll     = phrase{"Approve all %d", "%d가지 모두 승인"}
)

// documentVerbs are the actions of document_access.
var documentVerbs = map[string]phrase{
	"read":    {"Read", "읽기"},
	"comment": {"Comment on", "댓글 달기"},
	"write":   {"Change", "수정"},
	"share":   {"Share", "공유"},
	"delete":  {"Delete", "삭제"},
}

// paymentSteps are the actions of payment_initiation.
var paymentSteps = map[string]phrase{
	"initiate": {"start the payment", "결제 시작"},
	"status":   {"see its status", "상태 확인"},
	"cancel":   {"cancel it", "결제 취소"},
}

func (w words) verbs(texts map[string]phrase, list any) string {
	var out []string
	for _, v := range list.([]any) {
		out = append(out, w.say(texts[v.(string)]))
	}
	return strings.Join(out, ", ")
}

// amount writes money as the language does: "480.00 EUR", "₩1,200,000", "1,200,000원".
func (w words) amount(m Money) string {
	switch {
	case m.Currency == "KRW" && w.locale == Korean:
		return m.Decimal() + "원"
	case m.Currency == "KRW":
		return "₩" + m.Decimal()
	}
	return m.Decimal() + " " + m.Currency
}

// date writes a moment to the minute, with the name of the zone that it is meant in.
func (w words) date(at time.Time, zone string) string {
	place, err := time.LoadLocation(zone)
	if err != nil {
		place, zone = time.UTC, "UTC"
	}
	return at.In(place).Format(w.say(sayDate)) + " (" + zone + ")"
}

// day writes the day of a moment in a zone.
func (w words) day(at time.Time, zone string) string {
	place, err := time.LoadLocation(zone)
	if err != nil {
		place = time.UTC
	}
	return at.In(place).Format(w.say(sayDay))
}

// Phrase is a text of configuration in both languages, such as the meaning of a scope.
type Phrase struct{ EN, KO string }

func (w words) configured(p Phrase) string { return w.say(phrase{p.EN, p.KO}) }

// Visible shows every character that a screen would hide, move or fake as a mark such as ⟨U+202E⟩: control, format
// (bidi, zero-width, tags) and private characters, line and paragraph separators, and spaces other than U+0020. The
// rest stays exactly as it came; nothing is normalised.
func Visible(s string) string {
	if !strings.ContainsFunc(s, odd) {
		return s
	}
	var b strings.Builder
	for _, c := range s {
		if odd(c) {
			fmt.Fprintf(&b, "⟨U+%04X⟩", c)
		} else {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// VisibleLines is [Visible] for text of several lines, such as a person's note: line feeds stay.
func VisibleLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = Visible(line)
	}
	return strings.Join(lines, "\n")
}

func odd(c rune) bool {
	switch {
	case c == ' ':
		return false
	case c == '\u034f', c == '\u115f', c == '\u1160', c == '\u17b4', c == '\u17b5', c == '\u3164', c == '\uffa0', c == '\u2800':
		return true // letters and marks that draw nothing
	case c >= '\ufe00' && c <= '\ufe0f', c >= 0xe0100 && c <= 0xe01ef:
		return true // variation selectors
	}
	return unicode.In(c, unicode.C, unicode.Z) || c == unicode.ReplacementChar
}
