package ciba

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"assent/approvals"
)

// timers is a bus that keeps time and loses nothing, for tests with a clock of their own.
type timers struct {
	mu    sync.Mutex
	work  func(ctx context.Context, key string, payload []byte) error
	later map[string]*time.Timer
	fail  error
}

// Send keeps one job for each key.
func (b *timers) Send(_ context.Context, channel, key, id string, at time.Time, payload []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return b.fail
	}
	if old := b.later[key]; old != nil {
		old.Stop()
	}
	b.later[key] = time.AfterFunc(time.Until(at), func() { _ = b.work(context.Background(), key, payload) })
	return nil
}

// lose forgets every job that waits.
func (b *timers) lose() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, t := range b.later {
		t.Stop()
		delete(b.later, key)
	}
}

// script is an endpoint that answers the n-th call as its n-th entry says, and every further one like the last.
type script struct {
	t     *testing.T
	mu    sync.Mutex
	says  []string // status, and after a space Retry-After; "hang", "cut" or "" for a call that must not come
	at    []time.Time
	calls []string
}

// RoundTrip answers in the process, so that time can be faked.
func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.at, s.calls = append(s.at, time.Now()), append(s.calls, r.URL.String()+" "+r.Header.Get("Authorization")+" "+string(body))
	says := s.says[min(len(s.at), len(s.says))-1]
	s.mu.Unlock()
	switch says {
	case "hang":
		<-r.Context().Done()
		return nil, r.Context().Err()
	case "cut":
		return nil, io.ErrUnexpectedEOF
	}
	status, retry, _ := strings.Cut(says, " ")
	resp := &http.Response{Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(make([]byte, 4<<10))), Request: r}
	fmt.Sscan(status, &resp.StatusCode)
	if retry != "" {
		resp.Header.Set("Retry-After", retry)
	}
	resp.Header.Set("Location", "https://elsewhere.example/")
	return resp, nil
}

func (s *script) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.at)
}

const deskEndpoint = "https://desk.example/hooks/ciba"

// timed is a pinger whose endpoint follows a script, in a bubble of fake time.
func timed(t *testing.T, says ...string) (*pinger, *script, *timers) {
	t.Helper()
	s, bus := &script{t: t, says: says}, &timers{later: map[string]*time.Timer{}}
	p := newIdlePinger(t, deskEndpoint, bus, func(parts *NotifierParts) { parts.HTTP = &http.Client{Transport: s} })
	bus.work = func(ctx context.Context, key string, payload []byte) error { return p.notifier.Work(ctx, key, payload) }
	t.Cleanup(bus.lose)
	return p, s, bus
}

// events hands every committed event to the notifier and waits until nothing moves.
func (p *pinger) events(t testing.TB) {
	t.Helper()
	all, err := p.store.Unsent(t.Context(), 0, 1000)
	must(t, err)
	for _, e := range all {
		must(t, p.notifier.Handle(t.Context(), e))
		must(t, p.store.Sent(t.Context(), e.Seq))
	}
	synctest.Wait()
}

func reports(t testing.TB, p *pinger, handle string) (list []string) {
	t.Helper()
	r, err := p.Desk.Request(t.Context(), idOf(handle))
	must(t, err)
	for i, d := range r.Deliveries {
		if d.Channel != PingChannel || d.Attempt != i+1 {
			t.Errorf("report %d: %+v", i, d)
		}
		text := string(d.Status) + " " + d.Code
		if d.Duplicate {
			text += " again"
		}
		list = append(list, text)
	}
	return list
}

// What each answer of an endpoint leads to.
func TestPingAnswers(t *testing.T) {
	tests := []struct {
		name  string
		says  []string
		want  []string // the timeline
		least time.Duration
	}{
		{"REQ-213 no content", []string{"204"}, []string{"accepted 204"}, 0},
		{"REQ-213 a body", []string{"200"}, []string{"accepted 200"}, 0},
		{"REQ-213 any other 2xx", []string{"202"}, []string{"accepted 202"}, 0},
		{"REQ-214 a redirect", []string{"301"}, []string{"failed 301"}, 0},
		{"REQ-214 a redirect that keeps the method", []string{"307"}, []string{"failed 307"}, 0},
		{"REQ-214 not modified", []string{"304"}, []string{"failed 304"}, 0},
		{"REQ-215 unauthorized", []string{"401"}, []string{"failed 401"}, 0},
		{"REQ-215 forbidden", []string{"403"}, []string{"failed 403"}, 0},
		{"REQ-215 not found", []string{"404"}, []string{"failed 404"}, 0},
		{"REQ-215 gone", []string{"410"}, []string{"failed 410"}, 0},
		{"REQ-216 a fault, twice", []string{"500", "500", "204"}, []string{"failed 500", "failed 500", "accepted 204"}, 0},
		{"REQ-216 too many", []string{"429", "204"}, []string{"failed 429", "accepted 204"}, 0},
		{"REQ-216 too slow to send", []string{"408", "204"}, []string{"failed 408", "accepted 204"}, 0},
		{"REQ-216 Retry-After", []string{"429 120", "204"}, []string{"failed 429", "accepted 204"}, 2 * time.Minute},
		{"REQ-216 Retry-After, a date", []string{"503 Sat, 01 Jan 2000 00:10:00 GMT", "200"}, []string{"failed 503", "accepted 200"},
			10*time.Minute - time.Second},
		{"REQ-216 Retry-After, nonsense", []string{"503 soon", "200"}, []string{"failed 503", "accepted 200"}, 0},
		{"REQ-216 no connection", []string{"cut", "204"}, []string{"unknown unreachable", "accepted 204 again"}, 0},
		{"REQ-219 no answer in time", []string{"hang", "204"}, []string{"unknown timeout", "accepted 204 again"}, pingTime},
		{"REQ-215 a fault, then gone", []string{"502", "410"}, []string{"failed 502", "failed 410"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			row(t, tt.name, "REQ-140", "REQ-217")
			synctest.Test(t, func(t *testing.T) {
				p, endpoint, _ := timed(t, tt.says...)
				handle := p.ask(t, "requested_expiry", "3600")
				p.approve(t, handle)
				began := time.Now()
				p.events(t)
				time.Sleep(20 * time.Minute)
				synctest.Wait()
				if got := reports(t, p, handle); fmt.Sprint(got) != fmt.Sprint(tt.want) || endpoint.count() != len(tt.want) {
					t.Errorf("timeline %q, want %q; %d calls", got, tt.want, endpoint.count())
				}
				for _, call := range endpoint.calls {
					if want := deskEndpoint + " Bearer " + pingToken + ` {"auth_req_id":"` + handle + `"}`; call != want {
						t.Errorf("called %s, want %s", call, want)
					}
				}
				if last := endpoint.at[len(endpoint.at)-1].Sub(began); last < tt.least || last > tt.least+20*time.Second {
					t.Errorf("last call after %v, want %v", last, tt.least)
				}
				if !p.erased(t, handle) {
					t.Error("something is left (REQ-140)")
				}
				if a := p.post("/token", tk(handle)); a.status != 200 {
					t.Errorf("REQ-217 token: %d %s", a.status, a.raw)
				}
				p.events(t)
			})
		})
	}
}

// An endpoint that never answers well costs neither the decision nor the client's right to collect; the ping is given up
// after an hour, kept for a replay, and gone once collected: REQ-216, 217.
func TestPingGivenUp(t *testing.T) {
	row(t, "REQ-216", "REQ-217")
	for _, says := range []string{"500", "hang", "cut", "429 700"} {
		t.Run(says, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, endpoint, _ := timed(t, says)
				handle := p.ask(t, "requested_expiry", "86400")
				p.approve(t, handle)
				began := time.Now()
				p.events(t)
				time.Sleep(3 * time.Hour)
				synctest.Wait()
				last := endpoint.at[endpoint.count()-1].Sub(began)
				t.Logf("%d calls, the last after %v", endpoint.count(), last)
				if n := endpoint.count(); n < 4 || n > pingAtMost || last > pingPatience+pingTime || len(reports(t, p, handle)) != n {
					t.Errorf("%d calls, %d reports, last after %v", n, len(reports(t, p, handle)), last)
				}
				list, err := p.notifier.Abandoned(t.Context(), "", 10)
				must(t, err)
				if len(list) != 1 || list[0].Request != idOf(handle) || list[0].Agent != "travel" || list[0].Calls != endpoint.count() {
					t.Fatalf("given up: %+v", list)
				}
				if len(p.steps(t)) != 0 {
					t.Errorf("steps are left: %v", p.steps(t))
				}
				_, err = p.notifier.Sweep(t.Context())
				must(t, err)
				calls := endpoint.count()
				endpoint.says = []string{"500", "204"}
				endpoint.says = append(make([]string, calls), endpoint.says...)
				must(t, p.notifier.Replay(t.Context(), idOf(handle)))
				time.Sleep(time.Minute)
				synctest.Wait()
				got := reports(t, p, handle)
				if endpoint.count() != calls+2 || !strings.HasPrefix(got[len(got)-1], "accepted 204") || !p.erased(t, handle) {
					t.Errorf("replayed: %d further calls, %q", endpoint.count()-calls, got[len(got)-1])
				}
				if err := p.notifier.Replay(t.Context(), idOf(handle)); !errors.Is(err, approvals.ErrNotFound) {
					t.Errorf("replay of what was told: %v", err)
				}
				if list, _ := p.notifier.Abandoned(t.Context(), "", 10); len(list) != 0 {
					t.Errorf("still listed: %+v", list)
				}
				if a := p.post("/token", tk(handle)); a.status != 200 {
					t.Errorf("REQ-217 token: %d %s", a.status, a.raw)
				}
			})
		})
	}
}

// A wish to be called later than there is patience for ends it at once.
func TestPingPatienceIsOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, endpoint, _ := timed(t, "503 7200")
		handle := p.ask(t)
		p.deny(t, handle, "")
		p.events(t)
		list, err := p.notifier.Abandoned(t.Context(), "", 10)
		must(t, err)
		if endpoint.count() != 1 || len(list) != 1 {
			t.Errorf("%d calls, given up %v", endpoint.count(), list)
		}
		time.Sleep(approvals.HandleLife + time.Hour) // what was sealed ends with the handle
		if list, _ := p.notifier.Abandoned(t.Context(), "", 10); len(list) != 0 || !p.erased(t, handle) {
			t.Errorf("after the end of the handle: %v", list)
		}
	})
}

// REQ-216: what the agent has collected by a poll needs no ping any more.
func TestPingStopsAtRedemption(t *testing.T) {
	row(t, "REQ-216")
	synctest.Test(t, func(t *testing.T) {
		p, endpoint, bus := timed(t, "500")
		handle := p.ask(t)
		p.approve(t, handle)
		p.events(t)
		if a := p.post("/token", tk(handle)); a.status != 200 {
			t.Fatalf("token: %d %s", a.status, a.raw)
		}
		calls := endpoint.count()
		if _, err := readErrand(t.Context(), p.store, idOf(handle)); !errors.Is(err, approvals.ErrNotFound) {
			t.Errorf("what was sealed has outlived the redemption: %v", err)
		}
		time.Sleep(time.Hour)
		_, err := p.notifier.Sweep(t.Context())
		must(t, err)
		synctest.Wait()
		if endpoint.count() != calls || !p.erased(t, handle) {
			t.Errorf("%d calls after the redemption, erased %v", endpoint.count()-calls, p.erased(t, handle))
		}

		quick := p.ask(t) // redeemed before anybody heard of the approval
		p.approve(t, quick)
		if a := p.post("/token", tk(quick)); a.status != 200 {
			t.Fatalf("token: %d %s", a.status, a.raw)
		}
		bus.lose()
		_, err = p.notifier.Sweep(t.Context())
		must(t, err)
		synctest.Wait()
		if endpoint.count() != calls || !p.erased(t, quick) {
			t.Errorf("%d calls after a quick redemption, erased %v", endpoint.count()-calls, p.erased(t, quick))
		}
	})
}

// REQ-210: nobody answers. The sweep that expires the request leaves the step; operators may switch this ping off.
func TestPingOnExpiry(t *testing.T) {
	row(t, "REQ-210")
	for _, quiet := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p, endpoint, _ := timed(t, "204")
			p.parts.QuietExpiry = quiet
			p.restart(t)
			handle := p.ask(t)
			time.Sleep(301 * time.Second)
			_, err := p.Desk.Sweep(t.Context())
			must(t, err)
			p.events(t)
			if a := p.post("/token", tk(handle)); a.code() != "expired_token" {
				t.Errorf("token: %s", a.raw)
			}
			if want := map[bool]int{false: 1, true: 0}[quiet]; endpoint.count() != want || !p.erased(t, handle) {
				t.Errorf("quiet %v: %d calls, erased %v", quiet, endpoint.count(), p.erased(t, handle))
			}
		})
	}
}

// An approval that is withdrawn while its ping has not got through is one result with it; one whose ping has arrived needs
// no other, since that one carried no outcome.
func TestPingAndWithdrawal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, endpoint, _ := timed(t, "500", "204", "204")
		handle := p.ask(t)
		p.approve(t, handle)
		p.events(t)
		_, err := p.Desk.Cancel(t.Context(), idOf(handle), approvals.Actor{Kind: "person", ID: "p-ann"}, approvals.WithdrawnByPerson)
		must(t, err)
		p.events(t)
		time.Sleep(time.Minute)
		synctest.Wait()
		if endpoint.count() != 2 || !p.erased(t, handle) {
			t.Errorf("withdrawn meanwhile: %d calls, steps %v", endpoint.count(), p.steps(t))
		}
		told := p.ask(t)
		p.approve(t, told)
		p.events(t)
		_, err = p.Desk.Cancel(t.Context(), idOf(told), approvals.Actor{Kind: "person", ID: "p-ann"}, approvals.WithdrawnByPerson)
		must(t, err)
		p.events(t)
		if endpoint.count() != 3 || !p.erased(t, told) {
			t.Errorf("withdrawn after the ping: %d calls, steps %v", endpoint.count(), p.steps(t))
		}
		if a := p.post("/token", tk(told)); a.code() != "access_denied" {
			t.Errorf("token: %s", a.raw)
		}
	})
}

// A redemption while a call is under way: the answer of that call is still in the timeline.
func TestPingAndRedemptionAtOnce(t *testing.T) {
	for _, key := range []string{"", "k"} {
		synctest.Test(t, func(t *testing.T) {
			p, endpoint, _ := timed(t, "hang")
			handle := p.ask(t)
			p.approve(t, handle)
			p.events(t)
			if a := p.post("/token", tk(handle), keyHeader, key); a.status != 200 {
				t.Fatalf("token: %d %s", a.status, a.raw)
			}
			time.Sleep(time.Minute)
			_, err := p.notifier.Sweep(t.Context())
			must(t, err)
			synctest.Wait()
			if got := reports(t, p, handle); fmt.Sprint(got) != "[unknown timeout]" || endpoint.count() != 1 || !p.erased(t, handle) {
				t.Errorf("timeline %q, %d calls, steps %v", got, endpoint.count(), p.steps(t))
			}
		})
	}
}

// REQ-218: whatever comes twice, from the bus, from the sweep, at two nodes at once, the agent is called once.
func TestPingOnce(t *testing.T) {
	row(t, "REQ-218")
	synctest.Test(t, func(t *testing.T) {
		p, endpoint, _ := timed(t, "204")
		other := NewNotifier(p.parts)
		t.Cleanup(other.lanes.close)
		handle := p.ask(t)
		p.approve(t, handle)
		all, err := p.store.Unsent(t.Context(), 0, 100)
		must(t, err)
		for range 5 {
			for _, e := range all {
				for _, n := range []*Notifier{p.notifier, other} {
					must(t, n.Handle(t.Context(), e))
					must(t, n.Work(t.Context(), string(e.Request), nil))
					_, err := n.Sweep(t.Context())
					must(t, err)
				}
			}
		}
		synctest.Wait()
		for _, n := range []*Notifier{p.notifier, other} {
			must(t, n.Work(t.Context(), string(idOf(handle)), nil))
			_, err := n.Sweep(t.Context()) // who came without knowing the step leaves it to this
			must(t, err)
		}
		synctest.Wait()
		if endpoint.count() != 1 || !p.erased(t, handle) {
			t.Errorf("%d calls, steps %v", endpoint.count(), p.steps(t))
		}
	})
}

// REQ-218: a process that dies while it calls leaves a claim. Once its lease is over the outcome is unknown, and the one
// repeat says so.
func TestPingAfterCrash(t *testing.T) {
	row(t, "REQ-218")
	synctest.Test(t, func(t *testing.T) {
		p, endpoint, bus := timed(t, "204")
		handle := p.ask(t)
		p.approve(t, handle)
		x, err := p.notifier.look(t.Context(), p.steps(t)[0])
		must(t, err)
		x.claim(x.now)
		must(t, p.store.Apply(t.Context(), x.leave(x.Until)...)) // and then nothing more
		p.events(t)
		bus.lose()
		if endpoint.count() != 0 {
			t.Fatalf("%d calls under somebody else's claim", endpoint.count())
		}
		p.restart(t)
		time.Sleep(pingLease)
		_, err = p.notifier.Resume(t.Context())
		must(t, err)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		want := []string{"unknown lost", "accepted 204 again"}
		if got := reports(t, p, handle); fmt.Sprint(got) != fmt.Sprint(want) || endpoint.count() != 1 || !p.erased(t, handle) {
			t.Errorf("timeline %q, %d calls", got, endpoint.count())
		}
	})
}

// A bus that takes nothing, or has lost everything, costs time only.
func TestPingWithoutBus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, endpoint, bus := timed(t, "500", "204")
		bus.fail = errors.New("bus is down")
		handle := p.ask(t)
		p.approve(t, handle) // and no event comes
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.notifier.Run(ctx) }()
		time.Sleep(2 * pingSweepEvery)
		synctest.Wait()
		if endpoint.count() != 2 || !p.erased(t, handle) {
			t.Errorf("%d calls", endpoint.count())
		}
		stop()
		must(t, <-done)
		late := p.ask(t)
		p.approve(t, late)
		p.events(t) // the notifier has stopped: the step waits for the next process
		if endpoint.count() != 2 || len(p.steps(t)) != 1 {
			t.Errorf("after the stop: %d calls, %d steps", endpoint.count(), len(p.steps(t)))
		}
	})
}

// A new process puts what is due later back on the bus.
func TestPingResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, endpoint, bus := timed(t, "503 600", "204")
		handle := p.ask(t)
		p.deny(t, handle, "")
		p.events(t)
		bus.lose()
		p.restart(t)
		_, err := p.notifier.Resume(t.Context())
		must(t, err)
		time.Sleep(601 * time.Second)
		synctest.Wait()
		if endpoint.count() != 2 || !p.erased(t, handle) {
			t.Errorf("%d calls", endpoint.count())
		}
	})
}

// Whoever may not be told any more is not: REQ-036, 037.
func TestPingGoesWhereItIsRegistered(t *testing.T) {
	row(t, "REQ-036", "REQ-037")
	tests := []struct {
		name   string
		change func(p *pinger, a *approvals.Agent)
		want   string // "" : no call
	}{
		{"disabled (REQ-036)", func(p *pinger, a *approvals.Agent) { a.Disabled = true }, ""},
		{"moved (REQ-037)", func(p *pinger, a *approvals.Agent) {
			change(p.t, a, func(c *Client) { c.NotifyURL = "https://new.example/" })
		},
			"https://new.example/"},
		{"polls from now on (REQ-037)", func(p *pinger, a *approvals.Agent) { change(p.t, a, func(c *Client) { c.DeliveryMode = ModePoll }) },
			deskEndpoint},
		{"no endpoint", func(p *pinger, a *approvals.Agent) { change(p.t, a, func(c *Client) { c.NotifyURL = "" }) }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, endpoint, _ := timed(t, "204")
				handle := p.ask(t)
				found, err := p.Directory.Agent(t.Context(), "travel")
				must(t, err)
				a := *found
				tt.change(p, &a)
				must(t, p.Directory.SaveAgent(t.Context(), &a))
				p.deny(t, handle, "")
				p.events(t)
				called := ""
				if endpoint.count() > 0 {
					called, _, _ = strings.Cut(endpoint.calls[0], " ")
				}
				if called != tt.want || !p.erased(t, handle) {
					t.Errorf("called %q, want %q", called, tt.want)
				}
			})
		})
	}
}

func change(t testing.TB, a *approvals.Agent, with func(*Client)) {
	t.Helper()
	c, err := ClientOf(a)
	must(t, err)
	with(c)
	must(t, c.Keep(a))
}

// REQ-215: operators hear of an endpoint that refuses five in a row.
func TestPingAlert(t *testing.T) {
	row(t, "REQ-215")
	synctest.Test(t, func(t *testing.T) {
		p, _, _ := timed(t, "401", "401", "204", "401", "401", "401", "401", "500", "401", "204")
		for range 8 {
			if strings.Contains(p.logs.String(), "refuses every ping") {
				t.Fatal("too early")
			}
			p.deny(t, p.ask(t), "")
			p.events(t)
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		if !strings.Contains(p.logs.String(), `"msg":"notification endpoint refuses every ping","agent":"travel","in_a_row":5`) {
			t.Error("operators have not heard of it")
		}
	})
}

// The pauses between calls: anything up to a bound that doubles (REQ-216).
func TestPingPauses(t *testing.T) {
	row(t, "REQ-216")
	want := []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600}
	for i, bound := range want {
		if got := longest(i + 1); got != bound*time.Second {
			t.Errorf("before try %d at most %v, want %v", i+2, got, bound*time.Second)
		}
		low, high := bound*time.Second, time.Duration(0)
		for range 200 {
			d := jitter(i + 1)
			low, high = min(low, d), max(high, d)
		}
		if low > bound*time.Second/10 || high < bound*time.Second*9/10 || high >= bound*time.Second {
			t.Errorf("try %d: pauses from %v to %v are no full jitter", i+2, low, high)
		}
	}
	if longest(1<<30) != pingSlowest {
		t.Error("far tries overflow")
	}
}
