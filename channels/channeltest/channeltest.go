package channeltest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
	"assent/channels"
)

// Provider is a channel under test together with the simulated provider behind it.
type Provider struct {
	Channel channels.Channel
	To      approvals.Address            // an address that the provider knows
	Set     func(Mood)                   // how the provider answers from now on
	Has     func(m channels.Message) int // how many copies of the message the provider has
	Moods   []Mood                       // beside Accept: what the provider can be told
}

// refusals are the moods with one right error.
var refusals = map[Mood]error{Busy: channels.ErrBusy, Later: channels.ErrBusy, Reject: channels.ErrRejected,
	Gone: channels.ErrGone, Fault: channels.ErrFault}

// Run is the contract of a [channels.Channel]. open returns a new provider for each part.
func Run(t *testing.T, open func(t *testing.T) Provider) {
	t.Run("accepted means that the provider has it", func(t *testing.T) { accepted(t, open(t)) })
	t.Run("refusals wrap one of the errors", func(t *testing.T) { refused(t, open(t)) })
	t.Run("a provider that hangs is unknown once ctx ends", func(t *testing.T) { hangs(t, open(t)) })
	t.Run("an answer that breaks off is unknown, and not tried again", func(t *testing.T) { breaks(t, open(t)) })
	t.Run("a context that has ended sends nothing", func(t *testing.T) { ended(t, open(t)) })
	t.Run("many at once", func(t *testing.T) { concurrent(t, open(t)) })
	t.Run("taking back bears repeats", func(t *testing.T) { retracts(t, open(t)) })
}

// Message returns a message as the dispatcher would make it; n tells them apart.
func Message(n int) channels.Message {
	id := approvals.ID(fmt.Sprintf("request%d", n))
	return channels.Message{Kind: channels.KindRequest, ID: string(id) + "/test/1", Request: id, Ref: id.Ref(),
		Locale: approvals.English, Title: "Approval request from Travel Bot", Text: id.Ref() + " · decide by 14:32",
		Agent: "Travel Bot", By: "14:32", URL: "https://approve.example.com/r/7Kq2mX9wTzB4", Tag: fmt.Sprintf("tag%d", n),
		Expires: time.Now().Add(5 * time.Minute)}
}

func accepted(t *testing.T, p Provider) {
	m := Message(1)
	if _, err := p.Channel.Send(t.Context(), p.To, m); err != nil {
		t.Fatalf("Send: %v", err)
	}
	if n := p.Has(m); n != 1 {
		t.Errorf("provider has %d copies, want 1", n)
	}
	if p.Channel.Name() != p.To.Channel {
		t.Errorf("Name is %q, its addresses say %q", p.Channel.Name(), p.To.Channel)
	}
}

func refused(t *testing.T, p Provider) {
	for i, mood := range p.Moods {
		want := refusals[mood]
		if want == nil {
			continue
		}
		p.Set(mood)
		m := Message(i)
		_, err := p.Channel.Send(t.Context(), p.To, m)
		if !errors.Is(err, want) {
			t.Errorf("%s: Send: %v, want %v", mood, err, want)
			continue
		}
		if n := p.Has(m); n != 0 {
			t.Errorf("%s: provider has %d copies, want 0", mood, n)
		}
		if after := channels.RetryAfter(err); mood == Later && after != LaterBy {
			t.Errorf("%s: RetryAfter is %s, want %s", mood, after, LaterBy)
		}
		silent(t, err, p.To, m)
	}
}

// silent checks that an error keeps address, link and text to itself.
func silent(t *testing.T, err error, to approvals.Address, m channels.Message) {
	t.Helper()
	if err == nil {
		return
	}
	for _, secret := range []string{to.Value, m.URL, m.Text, m.Title} {
		if secret != "" && strings.Contains(err.Error(), secret) {
			t.Errorf("error %q tells what it must not", err)
		}
	}
}

func hangs(t *testing.T, p Provider) {
	if !has(p.Moods, Hang) {
		t.Skip("this provider cannot hang")
	}
	p.Set(Hang)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	m := Message(1)
	_, err := p.Channel.Send(ctx, p.To, m)
	unknown(t, err)
	silent(t, err, p.To, m)
}

func breaks(t *testing.T, p Provider) {
	if !has(p.Moods, Break) {
		t.Skip("this provider cannot break off")
	}
	p.Set(Break)
	m := Message(1)
	_, err := p.Channel.Send(t.Context(), p.To, m)
	unknown(t, err)
	silent(t, err, p.To, m)
	if n := p.Has(m); n > 1 {
		t.Errorf("provider has %d copies, want at most 1: Send must not try again by itself", n)
	}
}

func ended(t *testing.T, p Provider) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m := Message(1)
	if _, err := p.Channel.Send(ctx, p.To, m); err == nil {
		t.Error("Send succeeds in a context that has ended")
	}
	if n := p.Has(m); n != 0 {
		t.Errorf("provider has %d copies, want 0", n)
	}
}

// unknown checks for an error that is none of the four.
func unknown(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Error("Send succeeds, want an error")
	}
	for mood, known := range refusals {
		if errors.Is(err, known) {
			t.Errorf("Send: %v, which claims to know: %s", err, mood)
		}
	}
}

func concurrent(t *testing.T, p Provider) {
	const n = 32
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if _, err := p.Channel.Send(t.Context(), p.To, Message(i)); err != nil {
				t.Errorf("Send: %v", err)
			}
		})
	}
	all.Wait()
	for i := range n {
		if copies := p.Has(Message(i)); copies != 1 {
			t.Errorf("provider has %d copies of message %d, want 1", copies, i)
		}
	}
}

func retracts(t *testing.T, p Provider) {
	r, able := p.Channel.(channels.Retracter)
	if !able {
		t.Skip("this channel cannot take back")
	}
	m := Message(1)
	report, err := p.Channel.Send(t.Context(), p.To, m)
	if err != nil {
		t.Fatal(err)
	}
	closed := m
	closed.Kind, closed.URL, closed.Text = channels.KindClosed, "", m.Ref+" is closed. Nothing to do."
	if report.Provider != "" {
		closed.Closes = []string{report.Provider}
	}
	for range 2 {
		if err := r.Retract(t.Context(), p.To, closed); err != nil {
			t.Errorf("Retract: %v", err)
		}
	}
}

func has(moods []Mood, mood Mood) bool {
	for _, m := range moods {
		if m == mood {
			return true
		}
	}
	return false
}

// Root returns a root key that is the same in every test.
func Root(t testing.TB) *keys.Root {
	t.Helper()
	root, err := keys.New(make([]byte, keys.Size))
	if err != nil {
		t.Fatal(err)
	}
	return root
}
