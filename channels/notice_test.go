package channels_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"assent/approvals"
	"assent/channels"
)

// notify puts a notice on its way, as what it tells of does.
func (h *house) notify(t *testing.T, n approvals.Notice) {
	t.Helper()
	n.Person = "ann"
	if err := h.Store.Apply(t.Context(), approvals.NewNotice(n, h.clock.Now())); err != nil {
		t.Fatal(err)
	}
}

// TestNotice: a change of an account is told over every address but the one that was added, also over muted channels, once.
func TestNotice(t *testing.T) {
	tests := []struct {
		name        string
		notice      approvals.Notice
		muted       []string
		phone, mail int
	}{
		{"a passkey", approvals.Notice{What: approvals.NoticePasskey, Where: "Chrome (Android)"}, nil, 1, 1},
		{"muted", approvals.Notice{What: approvals.NoticePasskey}, []string{"mail"}, 1, 1},
		{"the address itself", approvals.Notice{What: approvals.NoticeBrowser,
			New: approvals.Address{Channel: "mail", Value: "ann@example.com"}}, nil, 1, 0},
		{"another one of its channel", approvals.Notice{What: approvals.NoticeDevice,
			New: approvals.Address{Channel: "mail", Value: "ann@example.org"}}, nil, 1, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			ann, err := h.directory.Person(t.Context(), "ann")
			if err != nil {
				t.Fatal(err)
			}
			changed := *ann
			changed.Muted = tt.muted
			if err := h.directory.SavePerson(t.Context(), &changed); err != nil {
				t.Fatal(err)
			}
			h.notify(t, tt.notice)
			for range 3 {
				h.sweep(t)
				h.clock.Advance(time.Minute)
			}
			phone, mail := h.phone.Items(), h.mail.Items()
			if len(phone) != tt.phone || len(mail) != tt.mail {
				t.Fatalf("%d by phone and %d by mail, want %d and %d", len(phone), len(mail), tt.phone, tt.mail)
			}
			m := phone[0].Message
			if m.Kind != channels.KindNotice || !strings.Contains(m.Text, "Not you?") || !strings.Contains(m.Text, tt.notice.Where) ||
				!strings.HasPrefix(m.URL, pagesURL+"/") {
				t.Errorf("message %+v", m)
			}
			left, err := h.Store.Scan(t.Context(), "due."+approvals.StepNotice, "", 10)
			if err != nil || len(left) > 0 {
				t.Errorf("%d steps left, %v", len(left), err)
			}
		})
	}
}

// TestNoticeOnce: processes that find one notice at one moment bring it once to each address; one that died over it at any
// step leaves it to the next.
func TestNoticeOnce(t *testing.T) {
	h := newHouse(t)
	for range 5 {
		h.notify(t, approvals.Notice{What: approvals.NoticePhone})
	}
	houses := []*house{h, h.beside(), h.beside()}
	for range 3 {
		var running sync.WaitGroup
		for _, one := range houses {
			running.Go(func() { _, _ = one.Sweep(t.Context()) }) // who comes second may fail, and the next sweep looks again
		}
		running.Wait()
		h.clock.Advance(time.Minute)
	}
	if phone, mail := len(h.phone.Items()), len(h.mail.Items()); phone != 5 || mail != 5 {
		t.Errorf("%d by phone and %d by mail, want 5 each", phone, mail)
	}
}

// TestNewNumberIsTold: whoever changes a number or takes it away, the change carries its notice and begins the hold; what
// is no new number does neither.
func TestNewNumberIsTold(t *testing.T) {
	h := newHouse(t)
	save := func(edit func(*approvals.Person)) *approvals.Person {
		t.Helper()
		ann, err := h.directory.Person(t.Context(), "ann")
		if err != nil {
			t.Fatal(err)
		}
		changed := *ann
		edit(&changed)
		if err := h.directory.SavePerson(t.Context(), &changed); err != nil {
			t.Fatal(err)
		}
		h.sweep(t)
		return &changed
	}
	if p := save(func(p *approvals.Person) { p.Name = "Anna" }); !p.ReachChangedAt.IsZero() || len(h.phone.Items()) > 0 {
		t.Error("a new name is told")
	}
	if p := save(func(p *approvals.Person) { p.Phone = "+4930123456" }); !p.ReachChangedAt.Equal(h.clock.Now()) {
		t.Errorf("changed at %s", p.ReachChangedAt)
	}
	if got := h.mail.Items(); len(got) != 1 || !strings.Contains(got[0].Message.Text, "A phone number was added") ||
		strings.Contains(got[0].Message.Text, "+49") {
		t.Errorf("told %+v", got)
	}
	h.clock.Advance(time.Minute)
	if p := save(func(p *approvals.Person) { p.Phone = "" }); !p.ReachChangedAt.Equal(h.clock.Now()) {
		t.Errorf("taken away: changed at %s", p.ReachChangedAt)
	}
	if got := h.mail.Items(); len(got) != 2 || !strings.Contains(got[1].Message.Text, "A phone number was removed") {
		t.Errorf("told %+v", got)
	}
}
