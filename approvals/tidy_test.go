package approvals

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"
)

// TestTidyInProportion: whom nothing is left to remember about is forgotten, and looking for them costs each request the
// same, however many people there are.
func TestTidyInProportion(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	p := &prompts{}
	ask := func(who PersonID, at time.Time, life time.Duration) {
		t.Helper()
		r := &Request{ID: "r", Subject: who, Agent: "bot", ExpiresAt: at.Add(life)}
		if _, err := p.take(r, [sha256.Size]byte{}, PromptLimits{}, at); err != nil {
			t.Fatal(err)
		}
	}
	const crowd = 3 * tidyEvery
	for i := range crowd {
		ask(PersonID(fmt.Sprint("p", i)), now, 24*time.Hour)
	}
	for range tidyEvery + 1 { // a look at a crowd that is all awake
		now = now.Add(time.Second)
		ask("ann", now, time.Minute)
	}
	now = now.Add(24 * time.Hour)
	asked := 0
	for ; len(p.people) > crowd && asked <= crowd; asked++ {
		now = now.Add(time.Second)
		ask("ann", now, time.Minute)
	}
	if len(p.people) != 1 || asked < crowd-1 {
		t.Errorf("%d people are left after %d requests, want one after about as many as there were people", len(p.people), asked)
	}
}
