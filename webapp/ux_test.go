package webapp

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdpinput "github.com/chromedp/cdproto/input"
	cdpnetwork "github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"

	"assent/approvals"
)

// What must hold for a person in front of a screen, by number. Tests that need no browser hold some of it beside these:
//
//	 1 robots                  TestUX01…, TestRobotsChangeNothing
//	 2 other sites, forgery    TestUX02…, TestCrossSite, TestAlteredForm, TestNobodySignedIn
//	 3 without script          TestUX03…, TestApproveAndDenyWithoutScript
//	 4 passkeys                TestUX04…, TestConfirmationReplayed, TestConfirmationRefusals
//	 5 codes that are typed    TestUX05…, TestTypeTheCode, TestTooManyTries, TestGuessesInTwoTabs
//	 6 two devices             TestUX06…
//	 7 time                    TestUX07…, TestTimeRunsOut
//	 8 decided elsewhere       TestUX08…, TestDecidedElsewhereWhileOpen
//	 9 a bad network           TestUX09…, TestAnswerLostAfterCommit, TestShell
//	10 who may not             TestUX10…, TestWrongPersonSeesNothing
//	11 hostile words           TestUX11…, TestHostileText
//	12 notifications           TestNotification of cmd/assent
//	13 every screen            TestUX13…
//	14 keyboard and eyes       TestUX14…
//	15 targets                 TestUX15…
//	16 what is spoken          TestUX16…
//	17 words                   TestCatalogueParity, TestKoreanStyle, TestCatalogueIsUsed
//	18 text messages           the tests of channels/sms
//	19 limits                  the tests of approvals and channels
//	20 small and quick         TestUX20…, TestBudget, TestScreens

// wants fails unless a request is in a state, decided so many times.
func (s *stage) wants(r *approvals.Request, state approvals.State, decisions int) {
	s.t.Helper()
	if got := s.w.read(r); got.State != state || len(got.Decisions) != decisions {
		s.t.Errorf("%s with %d decisions, want %s with %d", got.State, len(got.Decisions), state, decisions)
	}
}

// through puts a network between the browser and the service; nil is a good one.
func (s *stage) through(n between) {
	if n == nil {
		s.w.network.Store(nil)
		return
	}
	s.w.network.Store(&n)
}

func TestUX01RobotThatRunsScripts(t *testing.T) {
	t.Parallel()
	s := newStage(t, "en")
	r := s.ask(payment)
	for range 3 {
		s.visit("/r/" + s.w.handle(r))
		evaluate[bool](s.chromium, "new Promise((done) => setTimeout(() => done(true), 300))")
	}
	s.wants(r, approvals.Pending, 0)
	if got := s.w.read(r); got.Events != 1 || !got.OpenedAt.IsZero() {
		t.Errorf("%d records, opened %s", got.Events, got.OpenedAt)
	}
	if words := evaluate[string](s.chromium, "document.documentElement.outerHTML"); strings.Contains(words, "480.00") || strings.Contains(words, "Travel Bot") {
		t.Error("the link's page tells what is asked")
	}
	cookies, err := chromedp.Call(s.ctx, storage.GetCookies, storage.GetCookiesParams{})
	check(t, err)
	for _, c := range cookies.Cookies {
		if strings.Contains(c.Name, cookieSession) {
			t.Errorf("a session: %s", c.Name)
		}
	}
	if n := evaluate[int](s.chromium, "navigator.serviceWorker.getRegistrations().then((all) => all.length)"); n != 0 {
		t.Errorf("%d service workers for a robot", n)
	}
}

func TestUX02FromAnotherSite(t *testing.T) {
	t.Parallel()
	s := newStage(t, "en")
	s.signIn()
	r := s.ask(payment)
	for _, verb := range []string{"approve", "deny", "withdraw", "opened"} {
		s.foreign("/requests/" + string(r.ID) + "/" + verb)
		s.reads("This did not come from our page")
	}
	if got := s.w.read(r); got.State != approvals.Pending {
		t.Error(got.State)
	}
}

func TestUX03WithoutScript(t *testing.T) {
	t.Parallel()
	for verb, words := range map[string]string{"approve": "Approved at 14:26 CET.", "deny": "Denied. Travel Bot was told no."} {
		s := newStage(t, "en")
		r := s.ask(payment)
		_, err := chromedp.Call(s.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		check(t, err)
		s.signIn()
		s.visit("/requests/" + string(r.ID))
		var posts atomic.Int32
		s.through(func(rw http.ResponseWriter, req *http.Request, to http.Handler) {
			if req.Method == http.MethodPost {
				posts.Add(1)
			}
			to.ServeHTTP(rw, req)
		})
		s.click("#" + verb + " button")
		s.reads(words)
		if n := posts.Load(); n != 1 {
			t.Errorf("%s: %d posts", verb, n)
		}
	}
}

// Two tabs of two sign-ins press at the same moment; each then shows the one decision that was made. Over HTTP this goes
// a hundred rounds in TestRaceOfTwoDevices.
// A code that is typed: right, pasted, three times wrong, and a passkey instead.
func TestUX05TypeTheCode(t *testing.T) {
	t.Parallel()
	s := newStage(t, "en")
	s.keyed()
	right := s.ask(payment, typed("42"))
	s.see(right)
	s.guess("42")
	s.answered("[data-stage=done]")
	s.wants(right, approvals.Approved, 1)

	pasted := s.ask(payment, typed("4829"))
	s.see(pasted)
	evaluate[bool](s.chromium, "document.querySelector('#code').focus(), true")
	_, err := chromedp.Call(s.ctx, cdpinput.InsertText, cdpinput.InsertTextParams{Text: " 4829 "})
	check(t, err)
	s.click("#approve button")
	s.answered("[data-stage=done]")
	s.wants(pasted, approvals.Approved, 1)

	wrong := s.ask(payment, typed("42"))
	s.see(wrong)
	for _, words := range []string{"That code does not match. 2 tries left.", "That code does not match. 1 try left.",
		"Too many tries. The request was denied to protect you."} {
		s.until("armed", "!document.querySelector('form[data-arm] button:disabled')")
		s.guess("24")
		s.reads(words)
	}
	s.wants(wrong, approvals.Denied, 0)
	if flags, err := s.w.desk.Flagged(t.Context()); err != nil || flags["travel-bot"].WrongCodes != 1 {
		t.Errorf("flags %+v, %v", flags, err)
	}

	instead := s.ask(payment, typed("42"))
	s.see(instead)
	s.click("button[form=instead]")
	s.answered("[data-stage=done]")
	s.wants(instead, approvals.Approved, 1)
	if got := s.w.read(instead); got.CodeTries != 0 || got.Decisions[0].Level != approvals.LevelPasskey {
		t.Errorf("%d tries, %s", got.CodeTries, got.Decisions[0].Level.ACR())
	}
}

// Less is approved in two steps and within two pages, by passkey too: what it signs is what is left.
func TestApproveLessInABrowser(t *testing.T) {
	t.Parallel()
	s := newStage(t, "en")
	s.keyed()
	r := s.ask(payment, high)
	s.change(r)
	s.set("#amount-0", "300.00")
	s.click(".bar button.yes")
	s.reads("Approve 300.00 EUR")
	s.until("armed", "!document.querySelector('form[data-arm] button:disabled')")
	s.click("#approve button")
	s.reads("Travel Bot may now do this once.")
	if got := s.w.read(r); got.State != approvals.Approved || !strings.Contains(string(got.Granted[0].Raw), `"300.00"`) ||
		got.Decisions[0].Level != approvals.LevelPasskey {
		t.Errorf("%s, granted %s", got.State, got.Granted[0].Raw)
	}

	open := s.ask(payment)
	s.change(open)
	s.set("#amount-0", "300.00")
	s.click(".bar button.yes")
	s.reads("Approve 300.00 EUR")
	s.elsewhere(open, "/deny")
	s.reads("Already denied on")
}

// clickIfThere presses a button unless it has gone: the other device was so much faster that there is nothing to press.
func (s *stage) clickIfThere(selector string) {
	s.t.Helper()
	s.until(selector, fmt.Sprintf(`(() => { const b = document.querySelector(%q); return !b || !b.disabled; })()`, selector))
	evaluate[bool](s.chromium, fmt.Sprintf(`(() => { document.querySelector(%q)?.click(); return true; })()`, selector))
}

func TestUX06TwoDevices(t *testing.T) {
	t.Parallel()
	one := newStage(t, "en")
	one.w.advance(time.Second)
	two := &stage{newChromium(t), one.w, "en", one.who, one.w.signedIn(one.who)}
	for range 3 {
		r := one.ask(payment)
		one.see(r)
		two.see(r)
		var both sync.WaitGroup
		both.Go(func() { one.clickIfThere("#approve button") })
		both.Go(func() { two.clickIfThere("#deny button") })
		both.Wait()
		one.answered("[data-stage=done]")
		two.answered("[data-stage=done]")
		got := one.w.read(r)
		won, lost, outcome := one, two, "approved"
		if got.State == approvals.Denied {
			won, lost, outcome = two, one, "denied"
		}
		one.wants(r, got.State, 1)
		lost.reads("Already " + outcome + " on Chrome (Linux) at")
		if strings.Contains(evaluate[string](won.chromium, "document.body.innerText"), "Already") {
			t.Error("the winner reads that somebody else decided")
		}
	}
}

func TestUX07AtTheLastSecond(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		wait  time.Duration
		state approvals.State
		words string
	}{
		{"in time", 289 * time.Second, approvals.Approved, "Approved at 14:30 CET."},
		{"too late", 291 * time.Second, approvals.Pending, "Time ran out. Nothing was approved."},
	} {
		s := newStage(t, "en")
		r := s.ask(payment)
		s.see(r)
		s.w.advance(tt.wait)
		s.click("#approve button")
		s.reads(tt.words)
		if got := s.w.read(r); got.State != tt.state {
			t.Errorf("%s: %s", tt.name, got.State)
		}
	}
}

// A phone whose clock is wrong by an hour counts down all the same: the server says how many seconds are left.
func TestUX07WrongClock(t *testing.T) {
	t.Parallel()
	for _, hours := range []int{-1, 1} {
		s := newStage(t, "en")
		s.before(fmt.Sprintf(`(() => { const now = Date.now; const off = %d * 3600000; Date.now = () => now() + off;
			const Real = Date; window.Date = class extends Real { constructor(...a) { a.length ? super(...a) : super(now() + off); } static now() { return now() + off; } }; })()`, hours))
		r := s.ask(payment)
		s.see(r)
		if left := evaluate[string](s.chromium, "document.querySelector('[role=timer]').textContent"); !strings.HasPrefix(left, "4 min ") {
			t.Errorf("%+d h: %s", hours, left)
		}
		s.click("#approve button")
		s.reads("Approved at 14:26 CET.")
	}
}

// counted lets everything but streams pass if they are blocked, and counts streams and questions.
func counted(streams, questions *atomic.Int32, blocked bool) between {
	return func(rw http.ResponseWriter, r *http.Request, to http.Handler) {
		switch {
		case r.URL.Path != "/live":
		case r.URL.Query().Has("once"):
			questions.Add(1)
		case blocked:
			streams.Add(1)
			panic(http.ErrAbortHandler)
		default:
			streams.Add(1)
		}
		to.ServeHTTP(rw, r)
	}
}

// The buttons go when somebody decided elsewhere: by the stream at once, without a question; where no stream gets
// through, with the next question, of which there is one in ten seconds.
func TestUX08DecidedElsewhere(t *testing.T) {
	t.Parallel()
	for name, blocked := range map[string]bool{"stream": false, "poll": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, "en")
			r := s.ask(payment)
			var streams, questions atomic.Int32
			s.through(counted(&streams, &questions, blocked))
			s.see(r)
			for streams.Load() == 0 && t.Context().Err() == nil {
				<-time.After(10 * time.Millisecond)
			}
			s.elsewhere(r, "/deny")
			questions.Store(0)
			began := time.Now()
			s.until("buttons gone", "!document.querySelector('.bar')")
			t.Logf("by %s: buttons gone after %s", name, time.Since(began).Round(10*time.Millisecond))
			s.reads("Already denied on Safari (iPhone) at 14:26 CET.")
			if n := streams.Load(); !blocked && n != 1 {
				t.Errorf("%d streams", n)
			}
			if title := evaluate[string](s.chromium, "document.title"); !strings.HasPrefix(title, "Already denied") {
				t.Errorf("title %q", title)
			}
			if !evaluate[bool](s.chromium, "document.activeElement.matches('[role=status] h1')") {
				t.Error("the result is not spoken: focus is elsewhere")
			}
			if n := questions.Load(); blocked && n > 2 || !blocked && n > 0 {
				t.Errorf("%d questions", n)
			}
		})
	}
}

// A page that nobody looks at holds no stream, and shows what it missed when somebody looks again.
func TestUX08Hidden(t *testing.T) {
	t.Parallel()
	s := newStage(t, "en")
	r := s.ask(payment)
	s.see(r)
	streams := func(want int) {
		t.Helper()
		open := func() (n int) {
			s.w.pages.streams.mu.Lock()
			defer s.w.pages.streams.mu.Unlock()
			for _, k := range s.w.pages.streams.open {
				n += k
			}
			return n
		}
		for deadline := time.Now().Add(patience); open() != want; <-time.After(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d streams, want %d", open(), want)
			}
		}
	}
	look := func(away bool) {
		evaluate[bool](s.chromium, fmt.Sprintf(`(() => { Object.defineProperty(document, 'hidden', { value: %t, configurable: true });
			document.dispatchEvent(new Event('visibilitychange')); return true; })()`, away))
	}
	streams(1)
	look(true)
	streams(0)
	s.elsewhere(r, "/deny")
	if evaluate[bool](s.chromium, "!document.querySelector('.bar')") {
		t.Error("a hidden page is told")
	}
	look(false)
	s.reads("Already denied on Safari (iPhone) at 14:26 CET.")
	streams(1)
}

// Whoever taps on a notification and goes on tapping approves nothing: yes waits until the details have been on a visible
// screen for a moment. No does not wait.
func TestUX09TapThrough(t *testing.T) {
	t.Parallel()
	s := newStage(t, "en")
	s.before(`(() => { const later = window.setTimeout; window.setTimeout = (f, ms, ...a) => ms === 700 ? (window.arm = f, 1) : later(f, ms, ...a); })()`)
	r := s.ask(payment)
	s.signIn()
	s.visit("/requests/" + string(r.ID))
	if evaluate[bool](s.chromium, "document.querySelector('#deny button').disabled || !document.querySelector('#approve button').disabled") {
		t.Error("no waits, or yes does not")
	}
	s.do(chromedp.Click(chromedp.CSS("#approve button")))
	s.wants(r, approvals.Pending, 0)
	evaluate[bool](s.chromium, "new Promise((done) => setTimeout(() => { window.arm(); done(true); }, 800))")
	s.click("#approve button")
	s.reads("Approved at 14:26 CET.")
}

// slowed sets the way between the tab and the service, and whether the browser believes that there is one.
func (c *chromium) slowed(n cdpnetwork.Conditions, offline bool) {
	c.t.Helper()
	n.Offline = offline
	_, err := chromedp.Call(c.ctx, cdpnetwork.EmulateNetworkConditionsByRule,
		cdpnetwork.EmulateNetworkConditionsByRuleParams{MatchedNetworkConditions: []*cdpnetwork.Conditions{&n}})
	check(c.t, err)
	_, err = chromedp.Call(c.ctx, cdpnetwork.OverrideNetworkState, cdpnetwork.OverrideNetworkStateParams{Offline: offline,
		Latency: n.Latency, DownloadThroughput: n.DownloadThroughput, UploadThroughput: n.UploadThroughput})
	check(c.t, err)
}

// offline takes the tab's network away, and gives it back.
func (c *chromium) offline(yes bool) {
	c.t.Helper()
	c.slowed(cdpnetwork.Conditions{DownloadThroughput: -1, UploadThroughput: -1}, yes)
}

// shelled waits until the shell is kept.
func (s *stage) shelled() {
	s.t.Helper()
	s.until("shell", "navigator.serviceWorker.getRegistration('/').then((r) => !!r?.active)")
}

func TestUX09OfflineAtTheClick(t *testing.T) {
	t.Parallel()
	s := newStage(t, "en")
	r := s.ask(payment)
	s.see(r)
	var posts atomic.Int32
	s.through(func(rw http.ResponseWriter, req *http.Request, to http.Handler) {
		if strings.HasSuffix(req.URL.Path, "/approve") {
			posts.Add(1)
		}
		to.ServeHTTP(rw, req)
	})
	s.offline(true)
	s.reads("No connection. What you see may be out of date.")
	s.click("#approve button")
	s.reads("You are offline. Nothing was sent. We will not send it later by ourselves.")
	s.offline(false)
	s.until("the notice is gone", "document.querySelector('#notice').hidden")
	if n := posts.Load(); n != 0 {
		t.Errorf("%d posts", n)
	}
	s.wants(r, approvals.Pending, 0)
	s.click("#approve button")
	s.reads("Approved at 14:26 CET.")
}

// The answer to an approval is lost on the way, after the commit: the page says that it does not know, and finds out.
func TestUX09AnswerLost(t *testing.T) {
	t.Parallel()
	s := newStage(t, "en")
	r := s.ask(payment)
	s.see(r)
	s.shelled()
	var posts atomic.Int32
	var dead atomic.Bool
	s.through(func(rw http.ResponseWriter, req *http.Request, to http.Handler) {
		if strings.HasSuffix(req.URL.Path, "/approve") {
			posts.Add(1)
			dead.Store(true)
			to.ServeHTTP(httptest.NewRecorder(), req)
		}
		if dead.Load() {
			panic(http.ErrAbortHandler)
		}
		to.ServeHTTP(rw, req)
	})
	s.click("#approve button")
	s.reads("may or may not have arrived")
	s.until("a way to ask", fmt.Sprintf("document.querySelector('[data-check]').pathname === '/requests/%s'", r.ID))
	s.wants(r, approvals.Approved, 1)
	sent, records := posts.Load(), s.w.read(r).Events
	dead.Store(false)
	s.reads("Approved at 14:26 CET. Travel Bot may now do this once.")
	s.wants(r, approvals.Approved, 1)
	if n := posts.Load(); n != sent {
		t.Errorf("%d posts more after the network came back", n-sent)
	}
	if got := s.w.read(r); got.Events != records {
		t.Errorf("%d records more", got.Events-records)
	}
}

// A page that does not come is the shell's own, and becomes the real one when the network is back. Nothing about a request
// is kept.
func TestUX09PageLost(t *testing.T) {
	t.Parallel()
	s := newStage(t, "en")
	r := s.ask(payment)
	s.see(r)
	s.shelled()
	s.through(gone)
	s.visit("/requests/" + string(r.ID))
	s.reads("You are offline")
	kept := evaluate[[]string](s.chromium, `(async () => {
		const all = [];
		for (const name of await caches.keys()) {
			const cache = await caches.open(name);
			for (const request of await cache.keys()) {
				all.push(new URL(request.url).pathname, await (await cache.match(request)).text());
			}
		}
		return all;
	})()`)
	for i := 0; i < len(kept); i += 2 {
		if !strings.HasPrefix(kept[i], "/static/app.") && !strings.HasPrefix(kept[i], "/offline") {
			t.Errorf("keeps %s", kept[i])
		}
		if strings.Contains(kept[i+1], "480.00") || strings.Contains(kept[i+1], "Ann") {
			t.Errorf("%s holds somebody's data", kept[i])
		}
	}
	if len(kept) != 12 {
		t.Errorf("keeps %d things", len(kept)/2)
	}
	s.through(nil)
	s.reads("Pay 480.00 EUR")
}

func TestUX09DoubleClick(t *testing.T) {
	t.Parallel()
	s := newStage(t, "en")
	r := s.ask(payment)
	var posts atomic.Int32
	s.through(func(rw http.ResponseWriter, req *http.Request, to http.Handler) {
		if strings.HasSuffix(req.URL.Path, "/approve") {
			posts.Add(1)
		}
		to.ServeHTTP(rw, req)
	})
	s.see(r)
	s.do(chromedp.DoubleClick(chromedp.CSS("#approve button")))
	s.reads("Approved at 14:26 CET. Travel Bot may now do this once.")
	s.wants(r, approvals.Approved, 1)
	if n := posts.Load(); n != 1 {
		t.Errorf("%d posts", n)
	}
}

// Whoever comes back to a page by the Back button finds what holds now, however the browser kept it.
func TestUX09Back(t *testing.T) {
	t.Parallel()
	s := newStage(t, "en")
	r := s.ask(payment)
	s.see(r)
	s.click("a.brand")
	s.answered(".inbox")
	s.elsewhere(r, "/deny")
	s.do(chromedp.NavigateBack())
	s.reads("Already denied on Safari (iPhone) at 14:26 CET.")
	s.until("no buttons", "!document.querySelector('.bar')")
	s.click(".onward a")
	s.answered(".inbox")
	s.do(chromedp.NavigateBack())
	s.reads("Already denied")
	s.wants(r, approvals.Denied, 1)
}

// Whoever disconnects an agent withdraws what it asked, also on a page that is open; what it asks then is refused.
func TestUX10DisconnectedAgent(t *testing.T) {
	t.Parallel()
	s := newStage(t, "en")
	r := s.ask(payment)
	s.see(r)
	check(t, s.w.desk.Disconnect(t.Context(), s.who, "travel-bot"))
	s.until("no buttons", "!document.querySelector('.bar')")
	s.reads("Withdrawn, because you disconnected or reported Travel Bot.")
	s.wants(r, approvals.Cancelled, 0)
	agent, err := s.w.people.Agent(t.Context(), "travel-bot")
	check(t, err)
	person, err := s.w.people.Person(t.Context(), s.who)
	check(t, err)
	if _, _, err := s.w.desk.Open(t.Context(), approvals.Ask{Agent: agent, Subject: person, Details: r.Requested}); err == nil {
		t.Error("a disconnected agent asks again")
	}
}

// On paper is everything that was shown and the bytes that it hangs on, and nothing to press.
func TestUX14Print(t *testing.T) {
	t.Parallel()
	s := newStage(t, "en")
	deciding("#deny button")(s)
	_, err := chromedp.Call(s.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"})
	check(t, err)
	if missing := s.unseen("h1 | .facts dd | #disclosure-digest | #disclosure-canonical"); len(missing) > 0 {
		t.Errorf("not on paper: %q", missing)
	}
	if evaluate[bool](s.chromium, "document.querySelector('#disclosure-canonical').getBoundingClientRect().height < 20") {
		t.Error("the bytes are folded away")
	}
	if n := evaluate[int](s.chromium, "[...document.querySelectorAll('button, a.button')].filter((e) => e.checkVisibility()).length"); n != 0 {
		t.Errorf("%d buttons on paper", n)
	}
}

func TestUX11HostileWords(t *testing.T) {
	t.Parallel()
	s := newStage(t, "en")
	hostile := `[{"type":"tool_call","tool":"delete_rows\u202e\u200b","server":"https://db.example.com","arguments":{` +
		`"html":"<img src=x onerror=\"window.hit=1\"><script>window.hit=1</script>","link":"https://evil.example/ javascript:alert(1)",` +
		`"big":12345678901234567890,"long":"` + strings.Repeat("x", 3000) + `"},"reason":"</bdi></main><form action=/x>"}]`
	agent, err := s.w.people.Agent(t.Context(), "travel-bot")
	check(t, err)
	if _, err := s.w.desk.Renderer.Types.Parse([]byte(hostile), agent.MayAsk); err == nil {
		t.Error("a number that no float64 holds passes")
	}
	s.see(s.ask(strings.Replace(hostile, "12345678901234567890", `"12345678901234567890"`, 1)))
	for _, words := range []string{"delete_rows⟨U+202E⟩⟨U+200B⟩", `<img src=x onerror="window.hit=1">`, "12345678901234567890"} {
		s.reads(words)
	}
	if evaluate[bool](s.chromium, "!!window.hit") {
		t.Error("an agent's script runs")
	}
	if n := evaluate[int](s.chromium, "document.querySelectorAll('main :is(img, iframe, script:not([src]), form:not([action^=\"/requests/\"]), .facts a)').length"); n != 0 {
		t.Errorf("%d elements of an agent's", n)
	}
}

// Everything is reached by keyboard alone, with the focus to be seen and nothing over it, and Enter decides.
func TestUX14Keyboard(t *testing.T) {
	t.Parallel()
	s := newStage(t, "en")
	r := s.ask(payment)
	s.see(r)
	evaluate[bool](s.chromium, "document.activeElement.blur(), true")
	var seen []string
	for range 30 {
		s.do(chromedp.KeyEvent("\t"))
		at := evaluate[string](s.chromium, `(() => {
			const e = document.activeElement;
			if (e === document.body) return '';
			const box = e.getBoundingClientRect();
			const style = getComputedStyle(e);
			const top = document.elementFromPoint(box.x + box.width / 2, box.y + Math.min(box.height / 2, 20));
			const name = (e.getAttribute('aria-label') || e.innerText || e.id).trim().replace(/\s+/g, ' ');
			if (style.outlineStyle === 'none' || parseFloat(style.outlineWidth) < 2) return name + ': focus is not seen';
			if (!(e === top || e.contains(top))) return name + ': covered by ' + top?.outerHTML.slice(0, 60);
			return name;
		})()`)
		if at == "" {
			break
		}
		seen = append(seen, at)
	}
	want := []string{"Skip to content", "Assent", "한국어", "Add a note for the agent", "Evidence", "Deny", "Approve 480.00 EUR", "Sign out"}
	for _, name := range want {
		if !slices.Contains(seen, name) {
			t.Errorf("not reached: %q in %q", name, seen)
		}
	}
	for _, name := range seen {
		if strings.Contains(name, ": ") {
			t.Error(name)
		}
	}
	if t.Failed() {
		return
	}
	evaluate[bool](s.chromium, "document.querySelector('#approve button').focus(), true")
	s.do(chromedp.KeyEvent("\r"))
	s.reads("Approved at 14:26 CET.")
	s.wants(r, approvals.Approved, 1)
}

// With colours forced, what was told by colour alone is told by lines; with less motion, nothing moves.
func TestUX14ForcedColoursAndLessMotion(t *testing.T) {
	t.Parallel()
	s := newStage(t, "en")
	s.see(s.ask(payment))
	s.screen(390, 844, "light", "forced-colors", "active", "prefers-reduced-motion", "reduce")
	if bare := s.finds(`JSON.stringify([...document.querySelectorAll('button, .card, .code')].filter((e) => e.checkVisibility() && !e.matches('.plain') &&
		parseFloat(getComputedStyle(e).borderTopWidth) < 1).map((e) => e.outerHTML.slice(0, 60)))`); len(bare) > 0 {
		t.Errorf("without a line around them: %q", bare)
	}
	if moving := s.finds(`JSON.stringify([...document.querySelectorAll('*')].flatMap((e) => ['', '::before'].map((p) => [e, getComputedStyle(e, p || null)]))
		.filter(([, c]) => c.transitionDuration !== '0s' || c.animationName !== 'none').map(([e]) => e.outerHTML.slice(0, 60)))`); len(moving) > 0 {
		t.Errorf("moves: %q", moving)
	}
}

// small finds controls that are smaller than 44 by 44 pixels; links in a sentence may be.
const small = `JSON.stringify([...document.querySelectorAll('a, button, input:not([type=hidden]), textarea, select, summary')]
	.filter((e) => e.checkVisibility() && !e.closest('.skip'))
	.filter((e) => getComputedStyle(e).display !== 'inline')
	.map((e) => [e, (e.matches('[type=checkbox], [type=radio]') ? e.closest('label') : e).getBoundingClientRect()])
	.filter(([, box]) => box.width < 43.9 || box.height < 43.9)
	.map(([e, box]) => Math.round(box.width) + 'x' + Math.round(box.height) + ' ' + e.outerHTML.slice(0, 80)))`

// No is as large as yes, and both are under the thumb. That every control is large enough is checked on every screen.
func TestUX15DenyIsAsLargeAsApprove(t *testing.T) {
	t.Parallel()
	for _, lang := range []string{"en", "ko"} {
		s := newStage(t, lang)
		for _, details := range []string{payment, tool, two} {
			s.see(s.ask(details))
			type box struct{ X, Y, Width, Height float64 }
			of := func(selector string) box {
				return evaluate[box](s.chromium, fmt.Sprintf("document.querySelector(%q).getBoundingClientRect().toJSON()", selector))
			}
			no, yes := of("#deny button"), of("#approve button")
			if no.Width != yes.Width || no.Height != yes.Height || no.Y != yes.Y || no.X >= yes.X {
				t.Errorf("%s: deny %+v, approve %+v", lang, no, yes)
			}
			if no.Y < 844/2 || no.Y+no.Height > 844 || no.Height < 56 {
				t.Errorf("%s: %+v is not in the lower half of the screen", lang, no)
			}
		}
	}
}

// What is compared stands above the two buttons without scrolling, and so does a sentence for each of several objects.
// While the buttons cover something that is to be read, their edge says so.
func TestUX15FirstView(t *testing.T) {
	t.Parallel()
	for _, lang := range []string{"en", "ko"} {
		s := newStage(t, lang)
		for _, details := range []string{payment, two} {
			s.see(s.ask(details))
			s.screen(390, 844, "light")
			s.until("the edge", "!!document.querySelector('.bar.covers')")
			if hidden := s.finds(`JSON.stringify([...document.querySelectorAll('.code, .trust, .parts li')].filter((e) =>
				e.getBoundingClientRect().bottom > document.querySelector('.bar').getBoundingClientRect().top).map((e) => e.textContent))`); len(hidden) > 0 {
				t.Errorf("%s: below the first view: %q", lang, hidden)
			}
			if n := evaluate[int](s.chromium, "document.querySelectorAll('.parts li').length"); details == two && n != 2 {
				t.Errorf("%s: %d sentences for two objects", lang, n)
			}
			evaluate[bool](s.chromium, "scrollTo(0, document.body.scrollHeight), true")
			s.until("no edge", "!document.querySelector('.bar.covers')")
		}
	}
}

// Over the whole life of a request, live regions speak when two minutes, thirty seconds and nothing are left, and say
// nothing in between; the countdown is silent.
func TestUX16WhatIsSpoken(t *testing.T) {
	t.Parallel()
	s := newStage(t, "en")
	s.before("window.ahead = 0; const real = performance.now.bind(performance); performance.now = () => real() + window.ahead * 1000;")
	s.see(s.ask(payment))
	evaluate[bool](s.chromium, `(() => {
		window.spoken = [];
		new MutationObserver((all) => {
			for (const m of all) {
				const region = (m.target.closest ? m.target : m.target.parentElement)?.closest('[role=status], [role=alert], [role=log], [aria-live]:not([aria-live=off])');
				if (region) window.spoken.push(region.textContent);
			}
		}).observe(document.body, { subtree: true, childList: true, characterData: true });
		return document.querySelector('[role=timer]').getAttribute('aria-live') === null;
	})()`)
	for _, at := range []struct{ ahead, left int }{{100, 190}, {171, 119}, {200, 90}, {262, 28}, {280, 10}, {291, 0}} {
		evaluate[bool](s.chromium, fmt.Sprintf("window.ahead = %d, true", at.ahead))
		s.until(fmt.Sprint(at.left, " s left"), fmt.Sprintf(`(() => {
			const [, m, sec] = document.querySelector('[role=timer]').textContent.match(/(?:(\d+) min)? ?(?:(\d+) s)? left/);
			return Number(m || 0) * 60 + Number(sec || 0) <= %d;
		})()`, at.left))
	}
	want := []string{"2 minutes left", "30 seconds left", "Time ran out"}
	if got := evaluate[[]string](s.chromium, "window.spoken"); !slices.Equal(got, want) {
		t.Errorf("spoken: %q, want %q", got, want)
	}
}

// The first view on a slow phone: 150 ms to the service, 1.6 Mbit/s, a processor four times slower. Sizes and counts are
// held, times are told.
func TestUX20Budget(t *testing.T) {
	s := newStage(t, "en")
	s.signIn()
	s.slowed(cdpnetwork.Conditions{Latency: 150, DownloadThroughput: 1.6e6 / 8, UploadThroughput: 1.6e6 / 8}, false)
	_, err := chromedp.Call(s.ctx, emulation.SetCPUThrottlingRate, emulation.SetCPUThrottlingRateParams{Rate: 4})
	check(t, err)
	s.before(`window.paint = 0; window.shifted = 0; window.longest = 0;
		new PerformanceObserver((list) => { for (const e of list.getEntries()) window.paint = e.startTime; }).observe({ type: 'largest-contentful-paint', buffered: true });
		new PerformanceObserver((list) => { for (const e of list.getEntries()) window.shifted += e.value; }).observe({ type: 'layout-shift', buffered: true });
		new PerformanceObserver((list) => { for (const e of list.getEntries()) window.longest = Math.max(window.longest, e.duration); }).observe({ type: 'longtask', buffered: true });`)
	for name, path := range map[string]string{"landing": "/r/" + s.w.handle(s.ask(payment)), "request": "/requests/" + string(s.ask(payment).ID), "inbox": "/"} {
		s.do(chromedp.Navigate("about:blank"))
		_, err = chromedp.Call(s.ctx, cdpnetwork.ClearBrowserCache, struct{}{})
		check(t, err)
		s.visit(path)
		s.until("painted", "window.paint > 0")
		type file struct {
			Name string
			Size int
		}
		files := evaluate[[]file](s.chromium, `[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
			.filter((e) => e.initiatorType !== 'fetch' && e.initiatorType !== 'other' && e.initiatorType !== 'beacon')
			.map((e) => ({ Name: new URL(e.name).pathname, Size: e.transferSize }))`)
		total := 0
		for _, f := range files {
			total += f.Size
		}
		t.Logf("%s: %d requests, %d bytes %v; largest paint %.0f ms, longest task %.0f ms", name, len(files), total, files,
			evaluate[float64](s.chromium, "window.paint"), evaluate[float64](s.chromium, "window.longest"))
		if len(files) > 4 || total > 50<<10 {
			t.Errorf("%s: %d requests, %d bytes", name, len(files), total)
		}
		if shifted := evaluate[float64](s.chromium, "window.shifted"); shifted != 0 {
			t.Errorf("%s: the layout shifts by %f", name, shifted)
		}
	}
}
