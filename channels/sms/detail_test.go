package sms

import (
	"strings"
	"testing"

	"assent/approvals"
	"assent/channels"
)

// TestNoDetails: a text message never says what is asked, whatever the person wants: everybody on the way can read it.
func TestNoDetails(t *testing.T) {
	for _, locale := range []string{approvals.English, approvals.Korean} {
		for _, kind := range []channels.Kind{channels.KindRequest, channels.KindReminder} {
			m := testMessage(kind, locale)
			m.Summary = "480.00"
			if text, _, err := testWriter(3).write(m, "DE"); err != nil || strings.Contains(text, m.Summary) {
				t.Errorf("%s in %s: %q, %v", kind, locale, text, err)
			}
		}
	}
}
