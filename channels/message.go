package channels

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
)

// Kind is what a message is for.
type Kind string

// Kinds of messages.
const (
	KindRequest  Kind = "request"
	KindReminder Kind = "reminder"
	KindClosed   Kind = "closed"
	KindCode     Kind = "code"
	KindNotice   Kind = "notice" // about no request: somebody's account was changed
	KindTest     Kind = "test"   // about no request: somebody checks that messages arrive
)

// Message is what a channel brings. It says that something waits and never what, but for Summary: lock screens are public.
type Message struct {
	Kind    Kind
	ID      string // names the message for ever: for idempotency keys, and for the [Receipt] that comes back
	Request approvals.ID
	Ref     string // "K7-42"
	Locale  string // "en" or "ko"
	Title   string
	Text    string
	Summary string    // of a request: its sentence, for a channel that nobody on the way can read; "" unless the person wants it
	Brief   string    // of a notice: what happened, for channels with templates of their own
	Agent   string    // who asks, as the operator has registered it; for channels with templates of their own
	By      string    // decide by: the time on the person's wall, with the day if it is not today
	URL     string    // of a request and a reminder: opens it; grants nothing
	Tag     string    // the same for all messages of a request: a later one replaces an earlier one
	Code    string    // of a code: the six digits, which Text also says
	Closes  []string  // of a retraction: how the provider names the messages that it closes, as far as that is known
	Expires time.Time // worthless from here on

	// Answer says that the person may deny by answering, and Shown what approving means: an answer may approve if all of it
	// stands in the message. Only channels that are [Answerable] get them, and Shown only if the request takes no sign-in.
	Answer bool
	Shown  *approvals.Disclosure

	Counted time.Time // when its claim has counted it, see [Counter]; zero: Send counts it
}

// LogValue keeps texts, links and codes out of logs.
func (m Message) LogValue() slog.Value {
	return slog.GroupValue(slog.String("kind", string(m.Kind)), slog.String("request", string(m.Request)))
}

// phrases are the texts of one language, in the detail level that lock screens may show.
type phrases struct {
	title, request, reminder, reminderBy, closed, codeTitle, code string

	testTitle, test string

	day string // layout of a time on another day
}

var texts = map[string]phrases{
	approvals.English: {
		title:      "Approval request from %s",
		request:    "%s · decide by %s",
		reminder:   "Still waiting: %s, %d min left",
		reminderBy: "Still waiting: %s, decide by %s",
		closed:     "%s is closed. Nothing to do.",
		codeTitle:  "Sign-in code",
		code:       "Your code: %s. Never share it; our staff never ask.",
		testTitle:  "Test message",
		test:       "Messages arrive here. Nothing to do.",
		day:        "2 Jan 15:04",
	},
	approvals.Korean: {
		title:      "%s의 승인 요청",
		request:    "%s · %s까지 결정해 주세요",
		reminder:   "아직 기다리고 있어요: %s, %d분 남았어요",
		reminderBy: "아직 기다리고 있어요: %s, %s까지 결정해 주세요",
		closed:     "%s 처리가 끝났어요. 할 일이 없어요.",
		codeTitle:  "로그인 인증번호",
		code:       "인증번호 %s\n아무에게도 알려주지 마세요.",
		testTitle:  "테스트 메시지",
		test:       "알림이 잘 도착했어요. 할 일이 없어요.",
		day:        "1월 2일 15:04",
	},
}

// handle is the secret part of a message's link. It is derived whenever it is needed, so that it lies on no bus.
func handle(root *keys.Root, id approvals.ID, channel string, attempt int) string {
	return root.Handle("link", string(id), channel, fmt.Sprint(attempt))
}

// linkName is under what name the link of a handle is kept, see [approvals.FindLink].
func linkName(root *keys.Root, handle string) string { return root.Name(keys.LabelLookup, handle) }

// requestMessage renders a message about a request, as of now.
func requestMessage(root *keys.Root, pagesURL string, r *approvals.Request, n Next, now time.Time) Message {
	say := texts[r.Locale]
	agent := approvals.Visible(r.AgentName)
	m := Message{Kind: n.Kind, ID: messageID(string(r.ID), n), Request: r.ID, Ref: r.ID.Ref(), Locale: r.Locale,
		Title: fmt.Sprintf(say.title, agent), Agent: agent, By: clock(r.DecideBy, now, r.Zone, say.day),
		Tag: root.Handle("tag", string(r.ID)), Expires: r.DecideBy}
	switch n.Kind {
	case KindClosed:
		m.Text, m.Closes = fmt.Sprintf(say.closed, m.Ref), accepted(r, n.Channel)
		return m
	case KindReminder:
		m.Text = say.remind(m.Ref, r, now)
	default:
		m.Text = fmt.Sprintf(say.request, m.Ref, m.By)
	}
	m.URL = pagesURL + "/r/" + handle(root, r.ID, n.Channel, n.Attempt)
	return m
}

// messageID names a message for ever; see [readMessageID].
func messageID(of string, n Next) string { return fmt.Sprintf("%s/%s/%d", of, n.Channel, n.Attempt) }

// accepted lists the provider's names of what it has of r.
func accepted(r *approvals.Request, channel string) (ids []string) {
	for _, d := range r.Deliveries {
		if d.Channel == channel && d.Provider != "" && !slices.Contains(ids, d.Provider) {
			ids = append(ids, d.Provider)
		}
	}
	return ids
}

// TestMessage renders a message by which somebody checks that a channel works. id names it for ever.
func TestMessage(id, locale string, expires time.Time) Message {
	locale = approvals.Locale(locale)
	say := texts[locale]
	return Message{Kind: KindTest, ID: id, Locale: locale, Title: say.testTitle, Text: say.test, Tag: id, Expires: expires}
}

// remind says what is left: minutes as long as people count in them, else until when.
func (p phrases) remind(ref string, r *approvals.Request, now time.Time) string {
	left := r.DecideBy.Sub(now)
	if left > 90*time.Minute {
		return fmt.Sprintf(p.reminderBy, ref, clock(r.DecideBy, now, r.Zone, p.day))
	}
	return fmt.Sprintf(p.reminder, ref, int(math.Ceil(left.Minutes())))
}

// codeMessage renders a one-time code.
func codeMessage(root *keys.Root, c approvals.Code, n Next) Message {
	locale := approvals.Locale(c.Locale)
	digits := root.Code(c.ID)
	return Message{Kind: KindCode, ID: messageID(c.ID, n), Locale: locale,
		Title: texts[locale].codeTitle, Text: fmt.Sprintf(texts[locale].code, digits),
		Tag: root.Handle("tag", c.ID), Code: digits, Expires: c.Expires}
}

// clock writes a time as the person's wall shows it, with the day if it is not today.
func clock(at, now time.Time, zone, day string) string {
	where, err := time.LoadLocation(zone)
	if err != nil {
		where = time.UTC
	}
	at, now = at.In(where), now.In(where)
	if at.YearDay() == now.YearDay() && at.Year() == now.Year() {
		return at.Format("15:04")
	}
	return at.Format(day)
}
