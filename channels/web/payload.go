package web

import (
	"encoding/json"
	"fmt"
	"time"

	"assent/channels"
)

// declarative marks a payload that a browser may show without any script of ours, as iOS does.
const declarative = 8030

// payload is what a browser decrypts: a declarative push message, which our service worker reads as well. It says what
// [channels.Message] says and nothing else: with its summary, as only this browser can read it.
type payload struct {
	WebPush      int    `json:"web_push,omitempty"`
	Notification note   `json:"notification"`
	Proof        string `json:"proof,omitempty"` // of a test: the service worker hands it back
}

// note has the members of a notification as browsers name them. There are no actions: none could show the details.
type note struct {
	Title     string `json:"title"`
	Body      string `json:"body"`
	Lang      string `json:"lang"`
	Tag       string `json:"tag"`
	Navigate  string `json:"navigate"`
	Timestamp int64  `json:"timestamp"` // milliseconds
	Renotify  bool   `json:"renotify,omitempty"`
	Silent    bool   `json:"silent,omitempty"`
	Stay      bool   `json:"requireInteraction,omitempty"`
}

// longestSummary is how many characters of a sentence a notification has room for.
const longestSummary = 120

func shortened(sentence string) string {
	if r := []rune(sentence); len(r) > longestSummary {
		return string(r[:longestSummary-1]) + "…"
	}
	return sentence
}

// payloadOf renders a message. What replaces another one makes itself heard again, but for the quiet word that nothing
// is left to do. A test goes through our service worker wherever there is one, because that is what it tests.
func payloadOf(m channels.Message, pagesURL, proof string, now time.Time) ([]byte, error) {
	closed := m.Kind == channels.KindClosed
	body := m.Text
	if m.Summary != "" { // encrypted for this one browser
		body = shortened(m.Summary) + " · " + m.Text
	}
	p := payload{WebPush: declarative, Proof: proof, Notification: note{Title: m.Title, Body: body, Lang: m.Locale,
		Tag: m.Tag, Navigate: m.URL, Timestamp: now.UnixMilli(), Renotify: !closed && m.Tag != "", Silent: closed,
		Stay: m.Kind == channels.KindRequest || m.Kind == channels.KindReminder}}
	if m.URL == "" {
		p.Notification.Navigate = pagesURL + "/"
	}
	if proof != "" {
		p.WebPush = 0
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode payload: %w", err)
	}
	return raw, nil
}
