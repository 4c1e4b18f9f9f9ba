package ciba

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
)

// TestCollectDuringPing is REQ-212: what a ping tells of is there before the ping leaves, and asking at once is in time.
func TestCollectDuringPing(t *testing.T) {
	row(t, "REQ-190", "REQ-212")
	t.Parallel()
	var p *pinger
	collected := make(chan answer, 1)
	handles := make(chan string, 1)
	rec := newReceiver(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
		collected <- p.post("/token", tk(<-handles))
		w.WriteHeader(http.StatusNoContent)
	})
	p = newPinger(t, rec.URL)
	handle := p.ask(t)
	handles <- handle
	p.post("/token", tk(handle)) // the one after the ping follows at once
	p.approve(t, handle)
	rec.next(t)
	if a := <-collected; a.status != 200 {
		t.Errorf("within the ping: %d %s", a.status, a.raw)
	}
}

// TestPingIsSealed is REQ-140 and 278: what a ping needs lies in the store for as long as it is needed, and cannot be read
// there.
func TestPingIsSealed(t *testing.T) {
	row(t, "REQ-140", "REQ-278")
	p, _, _ := plainPinger(t)
	handle := p.ask(t)
	kept := p.records(t, kindPing)
	if kept == "" {
		t.Fatal("nothing is kept")
	}
	for _, secret := range []string{pingToken, handle[27:]} {
		for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))[:20]} {
			if strings.Contains(kept, form) {
				t.Errorf("%q is in %s", form, kept)
			}
		}
	}
}

// TestPingLogs is REQ-221: a log of pings knows how they went, and neither bearer nor handle.
func TestPingLogs(t *testing.T) {
	row(t, "REQ-221")
	t.Parallel()
	rec := newReceiver(t, func(w http.ResponseWriter, _ *http.Request, n int) {
		w.WriteHeader(map[bool]int{true: 500, false: 204}[n == 1])
	})
	p := newPinger(t, rec.URL+"/hooks")
	handle := p.ask(t)
	p.approve(t, handle)
	rec.next(t)
	rec.next(t)
	p.timeline(t, handle, 2)
	logs := p.logs.String()
	for _, want := range []string{`"code":"500"`, string(idOf(handle))} {
		if !strings.Contains(logs, want) {
			t.Errorf("no %s in\n%s", want, logs)
		}
	}
	for _, secret := range []string{pingToken, handle, handle[27:]} {
		if strings.Contains(logs, secret) {
			t.Errorf("%q is in\n%s", secret, logs)
		}
	}
}

// TestPingsAreApart is REQ-222: as long as one client's endpoint says nothing, others hear of their results all the same.
func TestPingsAreApart(t *testing.T) {
	row(t, "REQ-222")
	t.Parallel()
	release, called := make(chan struct{}), make(chan struct{}, 100)
	stuck := newReceiver(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		called <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	rec := newReceiver(t, nil)
	p := newPinger(t, stuck.URL)
	t.Cleanup(func() { close(release) })
	p.register(t, "second", rec.URL)
	for range 20 { // more than may be under way at once
		p.approve(t, p.ask(t))
	}
	<-called
	p.approve(t, p.ask(t, "client_id", "second"))
	rec.next(t)
}
