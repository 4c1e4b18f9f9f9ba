package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"assent/approvals"
	"assent/channels"
	"assent/channels/channeltest"
)

// The simulated phone is a channel like any other.
func TestPhoneContract(t *testing.T) {
	channeltest.Run(t, func(t *testing.T) channeltest.Provider {
		p, err := newPhone(filepath.Join(t.TempDir(), outboxFile), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		return channeltest.Provider{Channel: p, To: approvals.Address{Channel: "phone", Value: "ann"}, Set: func(channeltest.Mood) {},
			Has: func(m channels.Message) int {
				return len(slices.DeleteFunc(p.of("ann"), func(got phoneMessage) bool { return got.ID != m.ID }))
			}}
	})
}

// A message replaces the older one of its tag, people have screens of their own, and a restart keeps them.
func TestPhoneScreen(t *testing.T) {
	path := filepath.Join(t.TempDir(), outboxFile)
	p, err := newPhone(path, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	send := func(person, tag, title string) {
		t.Helper()
		if _, err := p.Send(context.Background(), approvals.Address{Value: person}, channels.Message{Tag: tag, Title: title}); err != nil {
			t.Fatal(err)
		}
	}
	send("ann", "1", "request")
	send("ann", "2", "another")
	send("bob", "1", "his own")
	if err := p.Retract(t.Context(), approvals.Address{Value: "ann"}, channels.Message{Tag: "1", Title: "closed"}); err != nil {
		t.Fatal(err)
	}
	torn, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	torn.WriteString(`{"Person":"ann","Ti`) // killed in the middle of a write
	torn.Close()
	again, err := newPhone(path, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for name, phone := range map[string]*phone{"before": p, "after a restart": again} {
		var titles []string
		for _, m := range phone.of("ann") {
			titles = append(titles, m.Title)
		}
		if fmt.Sprint(titles) != "[closed another]" || len(phone.of("bob")) != 1 {
			t.Errorf("%s: ann sees %v, bob %d", name, titles, len(phone.of("bob")))
		}
	}
	send("ann", "3", "after the torn line")
	if last, err := newPhone(path, time.Now); err != nil || len(last.of("ann")) != 3 {
		t.Errorf("after a torn line: %v", err)
	}
}
