package channels

import (
	"context"
	"fmt"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
)

// timed reports whether a step is found by its time alone, and so is read again each time: there is no record beside it.
func timed(s approvals.Step) bool {
	return s.Name == approvals.StepCode || s.Name == approvals.StepNotice
}

// loadNotice reads a notice again. One that is for all addresses becomes a step for each of them, in one transaction that
// only one of those who try can make: from then on each has its own claims.
func (d *Dispatcher) loadNotice(ctx context.Context, s approvals.Step) (errand, approvals.Step, error) {
	at := s.Done()
	rec, err := d.Records.Get(ctx, at.Kind, at.Key)
	if err != nil {
		return nil, s, err
	}
	if s, err = readStep(rec); err != nil {
		return nil, s, err
	}
	n, err := approvals.NoticeOf(s)
	if err != nil {
		return nil, s, err
	}
	if n.To != "" {
		return &notice{d: d, n: n, at: s.At}, s, nil
	}
	p, err := d.Directory.Person(ctx, n.Person)
	if err != nil {
		return nil, s, err
	}
	writes := []approvals.Write{approvals.Delete(rec.Kind, rec.Key, rec.Revision)}
	for _, a := range d.Addresses(p) {
		if d.Channels[a.Channel] != nil && (a.Channel != n.New.Channel || a.Value != n.New.Value) {
			n.To = d.addressName(a)
			writes = append(writes, n.Step(s.At).Put())
		}
	}
	if err := d.Records.Apply(ctx, writes...); err != nil {
		return nil, s, fmt.Errorf("share notice out: %w", err)
	}
	return nil, s, approvals.ErrNotFound // of the first step nothing is left
}

// addressName is an address as a keyed name, as [Rung] has it.
func (d *Dispatcher) addressName(a approvals.Address) string {
	return d.Root.Name(keys.LabelLookup, "address", a.Channel, a.Value)
}

// notices looks twice: what a notice was shared out to comes behind what was looked at.
func (d *Dispatcher) notices(ctx context.Context) (int, error) {
	shared, err := d.sweep(ctx, approvals.StepNotice, d.Now())
	if err != nil || shared == 0 {
		return shared, err
	}
	sent, err := d.sweep(ctx, approvals.StepNotice, d.Now())
	return shared + sent, err
}

// prompt is what waits for no sweep: codes, for which somebody stands at a page, and notices.
func (d *Dispatcher) prompt(ctx context.Context) (int, error) {
	codes, err := d.codes(ctx)
	if err != nil {
		return codes, err
	}
	notices, err := d.notices(ctx)
	return codes + notices, err
}

// notice is the errand of one address that is told of a change. Like a code it has no timeline.
type notice struct {
	d      *Dispatcher
	n      approvals.Notice
	at     time.Time
	locale string
}

func (e *notice) person() approvals.PersonID  { return e.n.Person }
func (e *notice) first() time.Time            { return e.at }
func (e *notice) expires() time.Time          { return e.n.Expires.Add(keepSheets) }
func (e *notice) link(Next) []approvals.Write { return nil }

func (e *notice) task(_ context.Context, p *approvals.Person, _ time.Time) (Task, error) {
	if p != nil {
		e.locale = approvals.Locale(p.Locale)
	}
	return Task{Close: e.n.Expires, End: e.n.Expires, Once: true, Only: e.n.To}, nil
}

func (e *notice) hold(ctx context.Context, writes ...approvals.Write) error {
	if !e.d.Now().Before(e.n.Expires) {
		return fmt.Errorf("send notice: %w", approvals.ErrTooLate)
	}
	return e.d.Records.Apply(ctx, writes...)
}

func (e *notice) record(ctx context.Context, _ approvals.Delivery, writes ...approvals.Write) (alone bool, err error) {
	return false, e.d.Records.Apply(ctx, writes...)
}

func (e *notice) refresh(context.Context) {} // it is read from the store each time

func (e *notice) fail(context.Context, Next, ...approvals.Write) error { return nil } // the others are told all the same

// warning is the words of a notice in one language: what happened, the same with the device, and what to do.
type warning struct {
	title, tail string
	what        map[string][2]string
}

var warnings = map[string]warning{
	approvals.English: {"Your account changed", "Not you? Check where you are signed in, and tell your operator.", map[string][2]string{
		approvals.NoticePasskey: {"A passkey was added to your account.", "A passkey was added to your account on %s."},
		approvals.NoticePhone:   {"A phone number was added to your account.", "A phone number was added to your account on %s."},
		approvals.NoticeDevice:  {"A device was added to your account.", "A device was added to your account: %s."},
		approvals.NoticeBrowser: {"Notifications were turned on in a browser.", "Notifications were turned on in a browser: %s."},
		approvals.NoticeAccount: {"An account elsewhere can now sign you in.", "An account elsewhere can now sign you in: %s."},

		approvals.NoticePasskeyGone: {"A passkey was removed from your account.", "A passkey was removed from your account: %s."},
		approvals.NoticePhoneGone:   {"A phone number was removed from your account.", "A phone number was removed from your account: %s."},
		approvals.NoticeDeviceGone:  {"A device was removed from your account.", "A device was removed from your account: %s."},
		approvals.NoticeBrowserGone: {"Notifications were turned off in a browser.", "Notifications were turned off in a browser: %s."},
		approvals.NoticeAccountGone: {"An account elsewhere no longer signs you in.", "An account elsewhere no longer signs you in: %s."},
	}},
	approvals.Korean: {"계정이 바뀌었어요", "직접 하지 않았다면 로그인한 기기를 확인하고 운영자에게 알려 주세요.", map[string][2]string{
		approvals.NoticePasskey: {"계정에 패스키가 추가됐어요.", "계정에 패스키가 추가됐어요(%s)."},
		approvals.NoticePhone:   {"계정에 전화번호가 추가됐어요.", "계정에 전화번호가 추가됐어요(%s)."},
		approvals.NoticeDevice:  {"계정에 기기가 추가됐어요.", "계정에 기기가 추가됐어요(%s)."},
		approvals.NoticeBrowser: {"브라우저 알림이 켜졌어요.", "브라우저 알림이 켜졌어요(%s)."},
		approvals.NoticeAccount: {"다른 서비스 계정이 연결됐어요.", "다른 서비스 계정이 연결됐어요(%s)."},

		approvals.NoticePasskeyGone: {"계정에서 패스키가 삭제됐어요.", "계정에서 패스키가 삭제됐어요(%s)."},
		approvals.NoticePhoneGone:   {"계정에서 전화번호가 삭제됐어요.", "계정에서 전화번호가 삭제됐어요(%s)."},
		approvals.NoticeDeviceGone:  {"계정에서 기기가 삭제됐어요.", "계정에서 기기가 삭제됐어요(%s)."},
		approvals.NoticeBrowserGone: {"브라우저 알림이 꺼졌어요.", "브라우저 알림이 꺼졌어요(%s)."},
		approvals.NoticeAccountGone: {"다른 서비스 계정 연결이 해제됐어요.", "다른 서비스 계정 연결이 해제됐어요(%s)."},
	}},
}

// Briefs lists what a notice in that language may have as [Message.Brief], for who must know the longest.
func Briefs(locale string) (briefs []string) {
	for _, words := range warnings[approvals.Locale(locale)].what {
		briefs = append(briefs, words[0])
	}
	return briefs
}

// message renders the notice. It leads to what can be done about it.
func (e *notice) message(n Next, _ time.Time) Message {
	locale := approvals.Locale(e.locale)
	say := warnings[locale]
	brief := say.what[e.n.What][0]
	text := brief
	if e.n.Where != "" {
		text = fmt.Sprintf(say.what[e.n.What][1], approvals.Visible(e.n.Where))
	}
	at := "/sessions"
	switch e.n.What {
	case approvals.NoticePasskey, approvals.NoticePasskeyGone:
		at = "/passkeys"
	case approvals.NoticeAccount, approvals.NoticeAccountGone:
		at = "/accounts"
	case approvals.NoticePhone, approvals.NoticeDevice, approvals.NoticeBrowser,
		approvals.NoticePhoneGone, approvals.NoticeDeviceGone, approvals.NoticeBrowserGone:
		at = "/settings"
	}
	return Message{Kind: KindNotice, ID: messageID(e.n.ID, n), Locale: locale, Title: say.title, Text: text + " " + say.tail,
		Brief: brief, URL: e.d.PagesURL + at, Tag: e.d.Root.Handle("tag", e.n.ID), Expires: e.n.Expires}
}
