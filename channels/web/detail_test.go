package web

import (
	"strings"
	"testing"

	"assent/channels/channeltest"
)

// TestSummary: the sentence of a request goes to a browser, encrypted for it, in front of the text and cut where a
// notification ends.
func TestSummary(t *testing.T) {
	w := newWorld(t)
	to := w.enrol("ann", w.browser())
	m := channeltest.Message(1)
	for sentence, want := range map[string]string{"": m.Text, "Pay 480.00 EUR": "Pay 480.00 EUR · " + m.Text,
		strings.Repeat("가", 500): strings.Repeat("가", longestSummary-1) + "… · " + m.Text} {
		m.Summary = sentence
		_, err := w.web.Send(t.Context(), to, m)
		check(t, err)
		if _, got := w.last(); got.Notification["body"] != want {
			t.Errorf("body is %q, want %q", got.Notification["body"], want)
		}
	}
}
