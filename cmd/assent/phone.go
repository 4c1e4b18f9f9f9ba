package main

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"os"
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
// on the lock screen. It behaves like a push service: a message with a tag replaces the older one of that tag. Everything
// it was ever given also goes into a file, a line each: scripts can follow it, and the screen outlives a restart.
type phone struct {
	outbox string // path of that file
	now    func() time.Time

	mu       sync.Mutex
	messages map[string][]phoneMessage // by person, newest first
	answer   string                    // how its provider answers, see [phone.behave]
	delay    time.Duration             // how long it takes
}

// phoneAnswers are what the simulated provider can be told to answer, and what that means to the dispatcher.
var phoneAnswers = map[string]error{"accept": nil, "busy": channels.ErrBusy, "reject": channels.ErrRejected,
	"gone": channels.ErrGone, "fault": channels.ErrFault, "hang": context.DeadlineExceeded}

// behave changes how the simulated provider answers from now on, and how long it takes: half of that before it has the
// message and half after.
func (p *phone) behave(answer string, delay time.Duration) error {
	if _, known := phoneAnswers[answer]; !known {
		return errors.New("answer must be accept, busy, reject, gone, fault or hang")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer, p.delay = answer, delay
	return nil
}

type phoneMessage struct {
	channels.Message
	At time.Time
}

// outboxFile is the phone's file in the data folder: JSON lines, oldest first.
const outboxFile = "dev-outbox.jsonl"

// outboxLine is one line of it.
type outboxLine struct {
	Person string
	phoneMessage
}

// maxPhoneMessages is how many messages a simulated phone keeps.
const maxPhoneMessages = 200

// newPhone shows what the file says was sent before. A kill may have torn its last line, which then was never on the
// screen and must not run into the next one.
func newPhone(outbox string, now func() time.Time) (*phone, error) {
	p := &phone{outbox: outbox, now: now, messages: map[string][]phoneMessage{}, answer: "accept"}
	text, err := os.ReadFile(outbox)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("phone: %w", err)
	}
	if whole := bytes.LastIndexByte(text, '\n') + 1; whole < len(text) {
		text = text[:whole]
		if err := os.Truncate(outbox, int64(whole)); err != nil {
			return nil, fmt.Errorf("phone: %w", err)
		}
	}
	for raw := range bytes.Lines(text) {
		var line outboxLine
		if err := json.Unmarshal(raw, &line); err != nil {
			return nil, fmt.Errorf("phone: read %s: %w", outboxFile, err)
		}
		p.show(line.Person, line.phoneMessage)
	}
	return p, nil
}

// Name is the channel's name in deliveries and addresses.
func (p *phone) Name() string { return "phone" }

// Send puts a message on the lock screen.
func (p *phone) Send(ctx context.Context, to approvals.Address, m channels.Message) (approvals.Delivery, error) {
	if err := p.put(ctx, to.Value, m); err != nil {
		return approvals.Delivery{}, err
	}
	return approvals.Delivery{Channel: p.Name(), Status: approvals.StatusAccepted, At: p.now()}, nil
}

// Retract replaces what was sent with the quiet word that nothing is left to do.
func (p *phone) Retract(ctx context.Context, to approvals.Address, m channels.Message) error {
	return p.put(ctx, to.Value, m)
}

func (p *phone) put(ctx context.Context, person string, m channels.Message) error {
	p.mu.Lock()
	answer, delay := p.answer, p.delay
	p.mu.Unlock()
	if err := take(ctx, delay/2); err != nil {
		return err
	}
	if err := phoneAnswers[answer]; err != nil && answer != "hang" {
		return fmt.Errorf("simulated phone: %w", err)
	}
	if err := p.lay(person, m); err != nil {
		return err
	}
	if answer == "hang" {
		<-ctx.Done()
	}
	return take(ctx, delay/2)
}

// take lets time pass, as providers do.
func take(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// lay puts a message on the screen and into the file.
func (p *phone) lay(person string, m channels.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	got := phoneMessage{m, p.now()}
	if err := p.keep(outboxLine{person, got}); err != nil {
		return fmt.Errorf("keep message in %s: %w", outboxFile, err)
	}
	p.show(person, got)
	return nil
}

// show lays a message on top, in place of an older one with its tag.
func (p *phone) show(person string, got phoneMessage) {
	list := slices.DeleteFunc(p.messages[person], func(old phoneMessage) bool { return got.Tag != "" && old.Tag == got.Tag })
	list = slices.Insert(list, 0, got)
	p.messages[person] = list[:min(len(list), maxPhoneMessages)]
}

// keep appends in one write, so that a kill leaves whole lines.
func (p *phone) keep(line outboxLine) error {
	raw, err := json.Marshal(line)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(p.outbox, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(raw, '\n'))
	return errors.Join(err, f.Close())
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
