package channels_test

import (
	"slices"
	"testing"
	"time"

	"assent/approvals"
	"assent/channels"
	"assent/channels/channeltest"
	"assent/ciba/rowtest"
)

// prefer changes Ann's preferences.
func (h *house) prefer(t testing.TB, change func(*approvals.Person)) {
	t.Helper()
	p, err := h.directory.Person(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	ann := *p
	change(&ann)
	if err := h.directory.SavePerson(t.Context(), &ann); err != nil {
		t.Fatal(err)
	}
}

// lived opens a request of that life for Ann.
func (h *house) lived(t testing.TB, life time.Duration) *approvals.Request {
	t.Helper()
	p, err := h.directory.Person(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	a, err := h.directory.Agent(t.Context(), "bot")
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := h.desk.Open(t.Context(), approvals.Ask{Agent: a, Subject: p, Scope: []string{"openid"}, Life: life})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// state is how the store knows a request.
func (h *house) state(t testing.TB, id approvals.ID) (approvals.State, approvals.Reason) {
	t.Helper()
	r, err := h.Store.Request(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return r.State, r.Reason
}

// TestQuietHoursHold: the message waits for the person's morning, and the timeline says why, once.
func TestQuietHoursHold(t *testing.T) {
	rowtest.Row(t, "REQ-268")
	h := newHouse(t) // noon in London, one o'clock in Berlin
	h.prefer(t, func(p *approvals.Person) { p.Quiet = approvals.QuietHours{From: "12:30", To: "14:00"} })
	r := h.lived(t, 3*time.Hour)
	h.sweep(t)
	h.clock.Advance(59 * time.Minute)
	h.sweep(t)
	if n := h.phone.Calls(); n != 0 {
		t.Fatalf("%d messages in quiet hours", n)
	}
	h.clock.Advance(time.Minute)
	h.sweep(t)
	want := []string{"phone held", "phone accepted"}
	if got := h.timeline(t, r.ID); !slices.Equal(got, want) {
		t.Errorf("timeline is %q, want %q", got, want)
	}
	if r, err := h.Store.Request(t.Context(), r.ID); err != nil || r.Deliveries[0].Why != channels.WhyQuiet {
		t.Errorf("held because %q, %v", r.Deliveries[0].Why, err)
	}
}

// TestQuietHoursOutliveTheRequest: the agent learns at once that nobody will be asked, unless the operator lets such
// messages through.
func TestQuietHoursOutliveTheRequest(t *testing.T) {
	h := newHouse(t)
	h.prefer(t, func(p *approvals.Person) { p.Quiet = approvals.QuietHours{From: "12:30", To: "14:00"} })
	r := h.ask(t, "ann")
	h.sweep(t)
	if state, why := h.state(t, r.ID); state != approvals.Failed || why != approvals.QuietTime {
		t.Errorf("request is %s because of %q, want failed because of %q", state, why, approvals.QuietTime)
	}
	h.Policy.Break = true
	h.ask(t, "ann")
	h.sweep(t)
	if n := h.phone.Calls(); n != 1 {
		t.Errorf("%d messages, want one that breaks through", n)
	}
}

// TestMuted: a muted channel brings no requests; when all are muted the inbox has it, and that is no failure.
func TestMuted(t *testing.T) {
	h := newHouse(t)
	h.prefer(t, func(p *approvals.Person) { p.Muted = []string{"phone"} })
	h.ask(t, "ann")
	h.sweep(t)
	if phone, mail := h.phone.Calls(), h.mail.Calls(); phone != 0 || mail != 1 {
		t.Errorf("%d messages by phone, %d by mail; phone is muted", phone, mail)
	}
	h.prefer(t, func(p *approvals.Person) { p.Muted = []string{"phone", "mail"} })
	r := h.ask(t, "ann")
	h.sweep(t)
	if state, _ := h.state(t, r.ID); state != approvals.Pending || h.mail.Calls() != 1 {
		t.Errorf("request is %s after %d messages, want it to wait in the inbox", state, h.mail.Calls())
	}
}

// TestPolicyLadder: the operator's order and waits are taken, not the defaults.
func TestPolicyLadder(t *testing.T) {
	h := newHouse(t)
	h.Policy.Ladder = channels.Ladder{{Who: channels.WhoSubject, Channel: "mail", Wait: 10 * time.Second, Repeat: 2},
		{Who: channels.WhoSubject, Channel: channels.AnyChannel, Wait: time.Minute, Repeat: 1}}
	r := h.ask(t, "ann")
	for range 3 {
		h.sweep(t)
		h.clock.Advance(10 * time.Second)
	}
	want := []string{"mail accepted", "mail accepted", "phone accepted"}
	if got := h.timeline(t, r.ID); !slices.Equal(got, want) {
		t.Errorf("timeline is %q, want %q", got, want)
	}
}

// TestJoinedNotification: equal requests are announced once and decided twice; when the first one has ended, the second
// one speaks for itself.
func TestJoinedNotification(t *testing.T) {
	h := newHouse(t)
	h.desk.Prompts = approvals.PromptLimits{Join: 10 * time.Minute}
	first := h.lived(t, time.Hour)
	h.sweep(t)
	second := h.lived(t, time.Hour)
	h.sweep(t)
	if n := h.phone.Calls(); n != 1 {
		t.Fatalf("%d messages for two equal requests, want 1", n)
	}
	if got := h.timeline(t, second.ID); !slices.Equal(got, []string{"phone held"}) {
		t.Errorf("timeline of the second is %q, want held", got)
	}
	h.deny(t, first)
	first, err := h.desk.Request(t.Context(), first.ID)
	if err != nil {
		t.Fatal(err)
	}
	e := approvals.Event{Kind: string(approvals.Denied), Request: first.ID, N: first.Events}
	if err := h.Handle(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if state, _ := h.state(t, second.ID); state != approvals.Pending {
		t.Errorf("the second request is %s, want it pending: it was never decided", state)
	}
	if got := h.timeline(t, second.ID); !slices.Equal(got, []string{"phone held", "phone accepted"}) {
		t.Errorf("timeline of the second is %q, want held, then accepted", got)
	}
}

// TestJoinedNotificationIsFoundAgain: nobody tells that the first one has ended; the second one looks by itself.
func TestJoinedNotificationIsFoundAgain(t *testing.T) {
	h := newHouse(t)
	h.desk.Prompts = approvals.PromptLimits{Join: 10 * time.Minute}
	first := h.lived(t, time.Hour)
	second := h.lived(t, time.Hour)
	h.sweep(t)
	h.deny(t, first)
	h.build() // the process dies, and with it what it knew
	h.clock.Advance(time.Minute)
	h.sweep(t)
	if got := h.timeline(t, second.ID); !slices.Equal(got, []string{"phone held", "phone accepted"}) {
		t.Errorf("timeline of the second is %q, want held, then accepted", got)
	}
}

// TestCoolDownHoldsMessages: what was pending when the person had enough of an agent is not announced any further.
func TestCoolDownHoldsMessages(t *testing.T) {
	h := newHouse(t)
	h.desk.Prompts = approvals.PromptLimits{Denials: 2, Window: 10 * time.Minute, CoolDown: 15 * time.Minute}
	r := h.lived(t, time.Hour)
	one, two := h.ask(t, "ann"), h.ask(t, "ann")
	h.sweep(t)
	h.deny(t, one)
	h.deny(t, two)
	h.clock.Advance(time.Minute)
	h.sweep(t)
	if got := h.timeline(t, r.ID); !slices.Equal(got, []string{"phone accepted", "mail held"}) {
		t.Errorf("timeline is %q, want no second channel", got)
	}
	h.clock.Advance(14 * time.Minute)
	h.sweep(t)
	if got := h.timeline(t, r.ID); !slices.Equal(got, []string{"phone accepted", "mail held", "mail accepted"}) {
		t.Errorf("timeline is %q, want the second channel after the rest", got)
	}
}

// TestRoom: one person gets so many messages in ten minutes, whatever they are about.
func TestRoom(t *testing.T) {
	h := newHouse(t)
	h.Policy.Messages = 3
	for range 5 {
		h.lived(t, time.Hour)
	}
	h.sweep(t)
	if n := h.phone.Calls(); n != 3 {
		t.Errorf("%d messages at once, want 3", n)
	}
	h.clock.Advance(10 * time.Minute)
	h.sweep(t)
	if n := h.phone.Calls() + h.mail.Calls(); n != 6 {
		t.Errorf("%d messages in all after ten minutes, want 6", n)
	}
}

// TestRoomOfWhatDidNotLeave: a message that a provider has refused was not put before anybody, and leaves room for the
// next one; what may have left does not.
func TestRoomOfWhatDidNotLeave(t *testing.T) {
	for mood, want := range map[channeltest.Mood]int{channeltest.Reject: 1, channeltest.Gone: 1, channeltest.Busy: 1,
		channeltest.Later: 1, channeltest.Fault: 1, channeltest.Accept: 0, channeltest.Break: 0} {
		t.Run(string(mood), func(t *testing.T) {
			h := newHouse(t)
			h.Policy.Messages = 1
			h.phone.Set(mood)
			h.lived(t, time.Hour)
			h.sweep(t)
			h.clock.Advance(9 * time.Minute)
			h.sweep(t)
			if n := h.mail.Calls(); n != want {
				t.Errorf("%d messages by mail, want %d", n, want)
			}
		})
	}
}

// TestRoomOfCodes: a one-time code takes no room, so one that was refused gives none back.
func TestRoomOfCodes(t *testing.T) {
	h := newHouse(t)
	h.Policy.Messages = 1
	h.ask(t, "ann")
	h.sweep(t)
	h.phone.Set(channeltest.Reject)
	h.put(t, approvals.Code{ID: "code1", Person: "ann", Expires: h.clock.Now().Add(5 * time.Minute)})
	h.sweep(t)
	before := len(h.mail.Items()) // the code's second address
	h.phone.Set(channeltest.Accept)
	h.lived(t, time.Hour)
	h.sweep(t)
	if n := len(h.phone.Items()) + len(h.mail.Items()) - before; n != 1 {
		t.Errorf("%d messages about requests, want 1", n)
	}
}

// TestCapped: a cap of ours is neither the provider's fault nor the address's. The next address is tried at once, the
// capped one when the cap is over, and if that is too late the request rests in the inbox.
func TestCapped(t *testing.T) {
	h := newHouse(t)
	h.phone.Set(channeltest.Capped)
	r := h.ask(t, "ann")
	h.sweep(t)
	if got := h.timeline(t, r.ID); !slices.Equal(got, []string{"phone failed", "mail accepted"}) {
		t.Errorf("timeline is %q, want mail at once", got)
	}
	h.prefer(t, func(p *approvals.Person) { p.Addresses = p.Addresses[:1] })
	for range 6 { // more than a breaker takes
		h.ask(t, "ann")
		h.sweep(t)
	}
	for _, p := range h.Providers() {
		if p.Down {
			t.Errorf("%s is left alone, and was not even called", p.Channel)
		}
	}
	short := h.lived(t, time.Minute)
	h.sweep(t)
	if state, why := h.state(t, short.ID); state != approvals.Pending {
		t.Errorf("request is %s because of %q, want it to rest in the inbox", state, why)
	}
	long := h.lived(t, 10*time.Minute)
	h.sweep(t)
	h.phone.Set(channeltest.Accept)
	h.clock.Advance(channeltest.CapTime - time.Second)
	h.sweep(t)
	if got := h.timeline(t, long.ID); !slices.Equal(got, []string{"phone failed"}) {
		t.Errorf("timeline is %q before the cap is over", got)
	}
	h.clock.Advance(time.Second)
	h.sweep(t)
	if got := h.timeline(t, long.ID); !slices.Equal(got, []string{"phone failed", "phone accepted"}) {
		t.Errorf("timeline is %q, want the message when the cap is over", got)
	}
}
