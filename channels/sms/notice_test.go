package sms

import (
	"testing"

	"assent/approvals"
	"assent/channels"
)

// TestNoticeFits: what start accepts is what is sent: every notice has a text in every language, in one part and through
// Korean carriers. An address of the pages that leaves no room for one is refused.
func TestNoticeFits(t *testing.T) {
	briefs := 0
	for _, locale := range []string{approvals.English, approvals.Korean} {
		for _, brief := range channels.Briefs(locale) {
			briefs++
			m := channels.Message{Kind: channels.KindNotice, Locale: locale, Brief: brief, URL: "https://approve.example.com/settings"}
			if text, parts, err := testWriter(1).write(m, korea); err != nil || parts != 1 {
				t.Errorf("%q: %q in %d parts, %v", brief, text, parts, err)
			}
		}
	}
	if briefs != 20 {
		t.Errorf("%d texts, want ten in two languages", briefs)
	}
}
