package channels_test

import (
	"strings"
	"testing"

	"assent/approvals"
)

// TestDetail: the sentence of a request is in a message only for whoever wants it, apart from the text that every channel
// brings.
func TestDetail(t *testing.T) {
	for _, level := range []string{"", approvals.DetailMinimal, approvals.DetailSummary} {
		h := newHouse(t)
		ann, err := h.directory.Person(t.Context(), "ann")
		if err != nil {
			t.Fatal(err)
		}
		changed := *ann
		changed.Detail = level
		if err := h.directory.SavePerson(t.Context(), &changed); err != nil {
			t.Fatal(err)
		}
		r := h.ask(t, "ann")
		h.sweep(t)
		want := ""
		if level == approvals.DetailSummary {
			want = r.Disclosures[0].Action()
		}
		items := h.phone.Items()
		if len(items) != 1 || items[0].Message.Summary != want {
			t.Fatalf("%q: summary %q, want %q", level, items[0].Message.Summary, want)
		}
		if strings.Contains(items[0].Message.Text+items[0].Message.Title, r.Disclosures[0].Action()) {
			t.Errorf("%q: the text says it too", level)
		}
	}
}
