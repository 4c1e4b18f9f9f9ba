package webapp

import (
	"testing"

	"assent/approvals"
)

// With script nobody presses a button between the provider and the page that was wanted, and the content policy lets it
// happen.
func TestUpstreamInABrowser(t *testing.T) {
	t.Parallel()
	s := newStage(t, approvals.English)
	p := s.provider()
	page := s.b.get("/accounts")
	s.b.press(s.b.abroad(p, s.b.get(page.link("Connect Example ID"))), "/back")
	s.signOut()
	s.visit("/signin")
	s.reads("Continue with Example ID")

	link := s.b.get("/signin").link("Continue with Example ID")
	answer := s.b.answerOf(p, s.b.get(link))
	s.carry(s.b)
	s.open(s.w.server.URL + answer)
	s.until("the inbox", "location.pathname === '/' && document.body.innerText.includes('Signed in as Ann')")
	if said := s.heard(); len(said) > 0 {
		t.Errorf("the browser reports %q", said)
	}
}
