package main

import (
	"context"
	"embed"
	"encoding/json"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"assent/approvals"
	"assent/channels"
)

//go:embed dev
var devFiles embed.FS

var phonePage = template.Must(template.ParseFS(devFiles, "dev/phone.html"))

// phone is the simulated phone of dev mode: a channel that delivers into this process, and a page that shows what lies
// on the lock screen. It behaves like a push service: a message with a tag replaces the older one of that tag.
type phone struct {
	now func() time.Time

	mu       sync.Mutex
	messages map[string][]phoneMessage // by person, newest first
}

type phoneMessage struct {
	channels.Message
	At time.Time
}

// maxPhoneMessages is how many messages a simulated phone keeps.
const maxPhoneMessages = 200

func newPhone(now func() time.Time) *phone {
	return &phone{now: now, messages: map[string][]phoneMessage{}}
}

// Name is the channel's name in deliveries and addresses.
func (p *phone) Name() string { return "phone" }

// Send puts a message on the lock screen.
func (p *phone) Send(_ context.Context, to approvals.Address, m channels.Message) (approvals.Delivery, error) {
	p.put(to.Value, m)
	return approvals.Delivery{Channel: p.Name(), Status: "accepted", At: p.now()}, nil
}

// Retract replaces what was sent with the quiet word that nothing is left to do.
func (p *phone) Retract(_ context.Context, to approvals.Address, m channels.Message) error {
	p.put(to.Value, m)
	return nil
}

func (p *phone) put(person string, m channels.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := slices.DeleteFunc(p.messages[person], func(old phoneMessage) bool { return m.Tag != "" && old.Tag == m.Tag })
	list = slices.Insert(list, 0, phoneMessage{m, p.now()})
	p.messages[person] = list[:min(len(list), maxPhoneMessages)]
}

func (p *phone) of(person string) []phoneMessage {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.messages[person])
}

// serve shows one person's phone: a page for people, JSON for programs that ask for it.
func (p *phone) serve(w http.ResponseWriter, r *http.Request) {
	person := r.PathValue("sub")
	messages := p.of(person)
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(messages)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	phonePage.Execute(w, map[string]any{"Person": person, "Messages": messages, "Now": p.now()})
}
