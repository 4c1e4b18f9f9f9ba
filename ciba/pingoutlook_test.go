package ciba

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestPingOutlook: an operator learns when the next call is due, that there is none any more, or that one has arrived.
func TestPingOutlook(t *testing.T) {
	row(t, "REQ-216")
	synctest.Test(t, func(t *testing.T) {
		p, _, _ := timed(t, "503 30")
		handle := p.ask(t, "requested_expiry", "86400")
		look := func() PingOutlook {
			t.Helper()
			o, err := p.notifier.Outlook(t.Context(), idOf(handle))
			must(t, err)
			return o
		}
		p.approve(t, handle)
		p.events(t)
		if o := look(); !o.Next.After(time.Now().Add(29*time.Second)) || o.GivenUp {
			t.Errorf("after a refusal for 30 s: %+v", o)
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if o := look(); !o.Next.IsZero() || !o.GivenUp {
			t.Errorf("after an hour of refusals: %+v", o)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		p, _, _ := timed(t, "204")
		handle := p.ask(t)
		p.approve(t, handle)
		p.events(t)
		if o, err := p.notifier.Outlook(t.Context(), idOf(handle)); err != nil || o != (PingOutlook{}) {
			t.Errorf("after a receipt: %+v, %v", o, err)
		}
	})
}

func TestExplainPing(t *testing.T) {
	tests := map[string]string{
		"503":       "the agent's endpoint answered 503 Service Unavailable",
		"404":       "the agent's endpoint answered 404 Not Found",
		"799":       "",
		"":          "",
		codeTimeout: "the agent's endpoint did not answer in time; the ping may have arrived",
	}
	for code, want := range tests {
		if got := ExplainPing(code); got != want {
			t.Errorf("%q: %q, want %q", code, got, want)
		}
	}
	for _, code := range []string{codeEndpoint, codeTimeout, codeUnreachable, codeLate, codeLost} {
		if ExplainPing(code) == "" {
			t.Errorf("%s has no words", code)
		}
	}
}
