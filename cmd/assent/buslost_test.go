package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"assent/approvals"
	"assent/channels"
)

// asks opens that many requests at once.
func asks(t *testing.T, agent *agentHTTP, n int) []string {
	t.Helper()
	handles := make([]string, n)
	var running sync.WaitGroup
	for i := range handles {
		running.Go(func() {
			a, err := agent.ask(t.Context(), nil, nil)
			if err != nil || a.status != http.StatusOK {
				t.Errorf("ask: %d %s %v", a.status, a.body, err)
			}
			handles[i] = a.member("auth_req_id")
		})
	}
	running.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return handles
}

// sentOf counts what the phone was ever given about some requests.
func sentOf(t *testing.T, data string, handles []string) (told, closed int) {
	t.Helper()
	about := map[approvals.ID]map[bool]bool{}
	if _, err := os.Stat(filepath.Join(data, outboxFile)); err != nil {
		return 0, 0
	}
	for _, m := range readLines[outboxLine](t, filepath.Join(data, outboxFile)) {
		if about[m.Request] == nil {
			about[m.Request] = map[bool]bool{}
		}
		about[m.Request][m.Kind == channels.KindClosed] = true
	}
	for _, handle := range handles {
		id, _, _ := strings.Cut(handle, ".")
		if about[approvals.ID(id)][false] {
			told++
		}
		if about[approvals.ID(id)][true] {
			closed++
		}
	}
	return told, closed
}

// The bus holds nothing that the store does not know: killed at work and robbed of its JetStream folder, the service
// brings every message that waits and takes back every message whose request was decided.
func TestBusLost(t *testing.T) {
	t.Parallel()
	const some = 150
	data := newData(t)
	p := restartDev(t, data)
	agent := bot(p.issuer)
	agent.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: some}, Timeout: startTime}

	decided := asks(t, agent, some)
	within(t, "message about every request", func() bool { n, _ := sentOf(t, data, decided); return n == some })
	var deciding sync.WaitGroup
	for _, id := range decided {
		deciding.Go(func() {
			if a, err := devDecide(t.Context(), agent.http, p.pages, id, false); err != nil || a.status != http.StatusNoContent {
				t.Errorf("deny: %d %s %v", a.status, a.body, err)
			}
		})
	}
	waiting := asks(t, agent, some)
	deciding.Wait()
	p.kill()
	told, _ := sentOf(t, data, waiting)
	_, closed := sentOf(t, data, decided)
	if err := os.RemoveAll(filepath.Join(data, "jetstream")); err != nil {
		t.Fatal(err)
	}

	p = restartDev(t, data)
	agent.issuer = p.issuer
	later := asks(t, agent, 10)
	resp, err := http.Post(p.pages+"/dev/clock", "application/json", strings.NewReader(`{"advance": "30s"}`)) // leases are over
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("advance the clock: %v %v", resp, err)
	}
	resp.Body.Close()
	within(t, "message about every request that waits", func() bool { n, _ := sentOf(t, data, waiting); return n == some })
	within(t, "end of every message about what is decided", func() bool { _, n := sentOf(t, data, decided); return n == some })
	within(t, "message about new requests", func() bool { n, _ := sentOf(t, data, later); return n == len(later) })
	for _, id := range waiting {
		must(t, http.StatusNoContent)(devDecide(t.Context(), agent.http, p.pages, id, true))
	}
	t.Logf("at the kill %d of %d were told, %d of %d taken back; after it all", told, some, closed, some)
	within(t, "end of every message", func() bool { _, n := sentOf(t, data, waiting); return n == some })
}
