package sms

import (
	"strings"
	"testing"
	"time"

	"assent/approvals"
)

// TestTheOne: a code that fits several messages means the one that waits, or the latest; two that wait are one too many.
func TestTheOne(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	fit := func(ids ...approvals.ID) (offers []offer) {
		for i, id := range ids {
			offers = append(offers, offer{Request: id, Sent: at.Add(time.Duration(i) * time.Minute)})
		}
		return offers
	}
	tests := []struct {
		name  string
		fits  []offer
		waits string // the letters of those that wait
		want  approvals.ID
	}{
		{name: "none"},
		{"one that waits", fit("a"), "a", "a"},
		{"one that has ended", fit("a"), "", "a"},
		{"the older one waits", fit("a", "b"), "a", "a"},
		{"the later one waits", fit("a", "b", "c"), "c", "c"},
		{"both wait", fit("a", "b", "c"), "ac", ""},
		{"both have ended", fit("a", "b"), "", "b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			waits := func(id approvals.ID) bool { return strings.Contains(tt.waits, string(id)) }
			if got, found := theOne(tt.fits, waits); found != (tt.want != "") || found && got.Request != tt.want {
				t.Errorf("theOne is %q, %t; want %q", got.Request, found, tt.want)
			}
		})
	}
}
