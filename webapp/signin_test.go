package webapp

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/approvals"
	"assent/ciba/rowtest"
)

func TestInvitationBindsABrowser(t *testing.T) {
	rowtest.Row(t, "REQ-290")
	for _, byCode := range []bool{true, false} {
		t.Run(fmt.Sprintf("channel=%v", byCode), func(t *testing.T) {
			w := newWorld(t, false)
			w.canSend = byCode
			inv, err := w.pages.Invite(t.Context(), "ann")
			check(t, err)
			if inv.ByCode != byCode || !inv.Expires.Equal(start.Add(72*time.Hour)) || len(inv.Code) != 6 {
				t.Fatalf("invitation %+v", inv)
			}
			b := w.browser()
			door := b.get(inv.URL).want(http.StatusOK, "You are invited").lacks("Ann")
			ask := b.follow(b.press(door, "/i/")).want(http.StatusOK, "Enter your code")
			code := inv.Code
			if byCode {
				if code = w.code("ann"); code == inv.Code {
					t.Fatal("the told code is the sent one")
				}
				b.press(ask, "/code", "code", inv.Code).want(http.StatusUnprocessableEntity, "4 tries left.")
			}
			done := b.press(ask, "/code", "code", code[:3]+" "+code[3:])
			if done.status != http.StatusSeeOther || done.header.Get("Location") != "/" {
				t.Fatalf("%d to %s: %s", done.status, done.header.Get("Location"), done.words())
			}
			b.get("/").want(http.StatusOK, "Your inbox", "Nothing is waiting.", "Signed in as Ann")
			b.press(ask, "/code", "code", code).want(http.StatusSeeOther) // sent twice
			w.browser().get(inv.URL).want(http.StatusNotFound, "This invitation no longer works")
		})
	}
}

func TestCookies(t *testing.T) {
	for _, dev := range []bool{false, true} {
		w := newWorld(t, dev)
		inv, err := w.pages.Invite(t.Context(), "ann")
		check(t, err)
		b := w.browser()
		done := b.press(b.follow(b.press(b.get(inv.URL), "/i/")), "/code", "code", w.code("ann")).want(http.StatusSeeOther)
		got := done.header.Values("Set-Cookie")
		if len(got) != 2 {
			t.Fatalf("%d cookies", len(got))
		}
		for _, c := range got {
			for _, want := range []string{"Path=/", "HttpOnly", "SameSite=Lax", "Max-Age="} {
				if !strings.Contains(c, want) {
					t.Errorf("cookie lacks %s: %s", want, c)
				}
			}
			if secure := strings.HasPrefix(c, "__Host-") && strings.Contains(c, "Secure"); secure == dev {
				t.Errorf("dev %v: %s", dev, c)
			}
			if strings.Contains(c, "Domain") {
				t.Errorf("cookie names a domain: %s", c)
			}
		}
	}
}

func TestInvitationDies(t *testing.T) {
	wrong := func(code string) string { return string('0'+(code[0]-'0'+1)%10) + code[1:] }
	t.Run("after five wrong codes", func(t *testing.T) {
		w := newWorld(t, false)
		w.canSend = false
		inv, err := w.pages.Invite(t.Context(), "ann")
		check(t, err)
		b := w.browser()
		p := b.follow(b.press(b.get(inv.URL), "/i/"))
		for left := 4; left > 0; left-- {
			b.press(p, "/code", "code", wrong(inv.Code)).want(http.StatusUnprocessableEntity,
				fmt.Sprintf("That code does not match. %d %s left.", left, map[bool]string{true: "try", false: "tries"}[left == 1]))
			b.press(p, "/code", "code", "12ab").want(http.StatusUnprocessableEntity, "A code has six digits.")
		}
		b.press(p, "/code", "code", wrong(inv.Code)).want(http.StatusNotFound, "This invitation no longer works")
		b.press(p, "/code", "code", inv.Code).want(http.StatusNotFound, "This invitation no longer works")
		b.get(inv.URL).want(http.StatusNotFound)
	})
	t.Run("after three days", func(t *testing.T) {
		w := newWorld(t, false)
		inv, err := w.pages.Invite(t.Context(), "ann")
		check(t, err)
		w.advance(72*time.Hour + time.Second)
		w.browser().get(inv.URL).want(http.StatusNotFound)
	})
	t.Run("when a new one is made", func(t *testing.T) {
		w := newWorld(t, false)
		old, err := w.pages.Invite(t.Context(), "ann")
		check(t, err)
		inv, err := w.pages.Invite(t.Context(), "ann")
		check(t, err)
		w.browser().get(old.URL).want(http.StatusNotFound)
		w.browser().get(inv.URL).want(http.StatusOK)
	})
	t.Run("when others are made side by side", func(t *testing.T) {
		w := newWorld(t, false)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := w.pages.Invite(t.Context(), "ann"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		open, err := w.store.Scan(t.Context(), kindInvitation, "", 10)
		if check(t, err); len(open) != 1 {
			t.Errorf("%d invitations are open", len(open))
		}
	})
	t.Run("when the person is disabled", func(t *testing.T) {
		w := newWorld(t, false)
		inv, err := w.pages.Invite(t.Context(), "ann")
		check(t, err)
		w.disable("ann")
		w.browser().get(inv.URL).want(http.StatusNotFound)
		if _, err := w.pages.Invite(t.Context(), "ann"); !errors.Is(err, approvals.ErrNotEligible) {
			t.Errorf("a disabled person is invited: %v", err)
		}
	})
	t.Run("of somebody unknown or malformed", func(t *testing.T) {
		w := newWorld(t, false)
		w.browser().get("/i/" + newSecret()).want(http.StatusNotFound)
		w.browser().get("/i/short").want(http.StatusNotFound)
		if _, err := w.pages.Invite(t.Context(), "nobody"); err == nil {
			t.Error("nobody is invited")
		}
	})
}

func (w *world) disable(id approvals.PersonID) {
	w.t.Helper()
	p, err := w.people.Person(w.t.Context(), id)
	check(w.t, err)
	gone := *p
	gone.Disabled = true
	check(w.t, w.people.SavePerson(w.t.Context(), &gone))
}

// A sign-out everywhere ends sessions, bound browsers and live pages on every device, of this person alone. Only a new
// invitation leads in again.
func TestSignedOutEverywhere(t *testing.T) {
	w := newWorld(t, false)
	phone, laptop, other := w.signedIn("ann"), w.signedIn("ann"), w.signedIn("min")
	laptop.press(laptop.get("/"), "/signout") // bound, and not signed in
	at, _ := phone.get("/").live()
	s := phone.stream(at, "")
	defer s.stop()
	s.want("clock")
	s.want("show")

	w.signOut("ann", start)
	s.want("end")
	if _, more := s.next(); more {
		t.Error("the stream goes on")
	}
	phone.get(at).want(http.StatusUnauthorized)
	for _, b := range []*browserOf{phone, laptop} {
		b.visit("/").want(http.StatusOK, "This browser is not known yet")
		b.post("/signin", url.Values{"next": {"/"}})
		b.follow(b.post("/signin/code", url.Values{"next": {"/"}, "code": {"123456"}})).want(http.StatusOK,
			"This browser is not known yet")
	}
	steps, err := approvals.Due(t.Context(), w.store, approvals.StepCode, w.clock(), 10)
	if check(t, err); len(steps) > 0 {
		t.Error("a code was sent to a browser that is bound no more")
	}
	other.get("/").want(http.StatusOK, "민님으로 로그인했어요")

	w.advance(11 * time.Minute)
	b := w.signedIn("ann")
	b.get("/").want(http.StatusOK, "Signed in as Ann")
	b.press(b.get("/"), "/signout")
	b.visit("/").want(http.StatusOK, "Text me a code")
	phone.visit("/").want(http.StatusOK, "This browser is not known yet")
}

// What does not say when it began, began before any sign-out.
func TestBindingWithoutTime(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	b.press(b.get("/"), "/signout")
	recs, err := w.store.Scan(t.Context(), kindBrowser, "", 10)
	check(t, err)
	check(t, w.store.Apply(t.Context(), approvals.Replace(recs[0], []byte(`{"v":1,"person":"ann"}`), recs[0].Expires)))
	b.visit("/").want(http.StatusOK, "Text me a code")
	w.signOut("ann", start.Add(-time.Hour))
	b.visit("/").want(http.StatusOK, "This browser is not known yet")
}

func (w *world) signOut(id approvals.PersonID, at time.Time) {
	w.t.Helper()
	p, err := w.people.Person(w.t.Context(), id)
	check(w.t, err)
	out := *p
	out.SignedOutAt = at
	check(w.t, w.people.SavePerson(w.t.Context(), &out))
}

func TestSignInByCode(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b := w.signedIn("ann")
	b.press(b.get("/"), "/signout").want(http.StatusSeeOther)
	landing := b.get("/r/" + w.handle(r)).want(http.StatusOK)
	door := b.follow(b.press(landing, "/r/")).want(http.StatusOK, "Sign in", "Text me a code")
	w.advance(time.Minute)
	ask := b.follow(b.press(door, "/signin")).want(http.StatusOK, "We sent six digits to you.")
	code := w.code("ann")
	p := b.follow(b.press(ask, "/signin/code", "code", code)).want(http.StatusOK, "Pay 480.00 EUR to Example Travel")
	b.follow(b.press(p, "/approve")).want(http.StatusOK, "Approved at 14:27 CET.")
	if d := w.read(r).Decisions[0]; !d.AuthTime.Equal(start.Add(time.Minute)) || d.Level != approvals.LevelSession {
		t.Errorf("signed in at %v with %v", d.AuthTime, d.Level)
	}
	b.press(ask, "/signin/code", "code", code).want(http.StatusSeeOther) // one use: back to a page that goes on
	b.press(b.get("/"), "/signout")
	b.follow(b.press(ask, "/signin/code", "code", code)).want(http.StatusOK, "Text me a code")
}

// Whoever could not sign in again is told so before signing out, and signs out all the same when they say it twice.
func TestSignOutForGood(t *testing.T) {
	w := newWorld(t, false)
	w.canSend = false
	b := w.signedIn("ann")
	ask := b.press(b.get("/"), "/signout").want(http.StatusOK, "Sign out?", "You will need a new invitation")
	b.get("/").want(http.StatusOK, "Signed in as Ann")
	b.follow(b.press(ask, "/signout")).want(http.StatusOK, "Sign in", "We cannot send you a code.").lacks("Signed in as")

	named := newNamedWorld(t)
	named.canSend = false
	keyed, _ := named.withPasskey("ann")
	keyed.press(keyed.get("/"), "/signout").want(http.StatusSeeOther)
}

func TestSignInCodeLimits(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	b.press(b.get("/"), "/signout")
	w.advance(11 * time.Minute)
	door := b.get("/signin")

	ask := b.follow(b.press(door, "/signin"))
	first := w.code("ann")
	bad := "000000"
	if first == bad {
		bad = "111111"
	}
	for range 4 {
		b.press(ask, "/signin/code", "code", bad).want(http.StatusUnprocessableEntity, "That code does not match.")
	}
	b.press(ask, "/signin/code", "code", bad).want(http.StatusUnprocessableEntity, "Too many tries.")
	b.press(ask, "/signin/code", "code", first).want(http.StatusUnprocessableEntity, "Too many tries.")

	b.press(ask, "/signin").want(http.StatusSeeOther)
	second := w.code("ann")
	w.advance(5 * time.Minute)
	b.follow(b.press(ask, "/signin/code", "code", second)).want(http.StatusOK, "Text me a code") // too old

	b.press(door, "/signin").want(http.StatusSeeOther)
	fourth := b.press(door, "/signin").want(http.StatusTooManyRequests, "Too many tries")
	if fourth.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	w.advance(6 * time.Minute)
	b.press(door, "/signin").want(http.StatusSeeOther)
	b.follow(b.press(ask, "/signin/code", "code", w.code("ann"))).want(http.StatusOK, "Your inbox")
}

// Fifteen wrong tries in a day are all there are, also for whoever gives up each code before its last try.
func TestGuessingForDays(t *testing.T) {
	for _, tries := range []int{codeTries, codeTries - 1} {
		w := newWorld(t, false)
		b := w.signedIn("ann")
		b.press(b.get("/"), "/signout")
		missed := 0
		for missed < missedLimit {
			w.advance(11 * time.Minute)
			b.post("/signin", url.Values{"next": {"/"}}).want(http.StatusSeeOther)
			bad := "000000"
			if w.code("ann") == bad {
				bad = "111111"
			}
			for i := 0; i < tries && missed < missedLimit; i++ {
				b.post("/signin/code", url.Values{"code": {bad}}).want(http.StatusUnprocessableEntity)
				missed++
			}
		}
		b.post("/signin/code", url.Values{"code": {"123456"}})
		for range 3 {
			w.advance(7 * time.Hour)
			b.post("/signin", url.Values{"next": {"/"}}).want(http.StatusTooManyRequests, "We send no more codes for 24 hours.")
		}
		w.advance(3 * time.Hour)
		b.post("/signin", url.Values{"next": {"/"}}).want(http.StatusSeeOther)
		b.post("/signin/code", url.Values{"code": {w.code("ann")}}).want(http.StatusSeeOther)
		b.get("/").want(http.StatusOK)
	}
}

// Guesses side by side are judged one after the other: five wrong ones are all there are.
func TestGuessesSideBySide(t *testing.T) {
	w := newWorld(t, false)
	w.canSend = false
	inv, err := w.pages.Invite(t.Context(), "ann")
	check(t, err)
	b := w.browser()
	p := b.follow(b.press(b.get(inv.URL), "/i/"))
	f := p.form("/code")
	var wg sync.WaitGroup
	var mu sync.Mutex
	judged := 0
	for i := range 20 {
		wg.Go(func() {
			code := fmt.Sprintf("%06d", i)
			if code == inv.Code {
				return
			}
			got := w.browser().post(f.action, url.Values{"code": {code}})
			mu.Lock()
			defer mu.Unlock()
			if got.status == http.StatusUnprocessableEntity {
				judged++
			}
			if got.status == http.StatusSeeOther {
				t.Error("a wrong code signed in")
			}
		})
	}
	wg.Wait()
	if judged > codeTries {
		t.Errorf("%d guesses were judged", judged)
	}
	b.press(p, "/code", "code", inv.Code).want(http.StatusNotFound)
}

func TestUnboundBrowserCannotSignIn(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b := w.browser()
	p := b.follow(b.press(b.get("/r/"+w.handle(r)), "/r/")).want(http.StatusOK, "This browser is not known yet")
	if p.hasForm("/signin") {
		t.Error("a code is offered")
	}
	b.post("/signin", url.Values{"next": {"/"}}).want(http.StatusSeeOther)
	b.post("/signin/code", url.Values{"next": {"/"}, "code": {"123456"}}).want(http.StatusSeeOther)
	steps, err := approvals.Due(t.Context(), w.store, approvals.StepCode, w.clock(), 10)
	if check(t, err); len(steps) > 0 {
		t.Error("a code was sent")
	}
}

func TestSignInWithoutChannel(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	b.press(b.get("/"), "/signout")
	w.canSend = false
	b.get("/signin").want(http.StatusOK, "Ask your operator for a new invitation")
	b.post("/signin", url.Values{"next": {"/"}}).want(http.StatusSeeOther)
}

func TestSessionEnds(t *testing.T) {
	out := func(t *testing.T, b *browserOf) {
		t.Helper()
		if p := b.get("/"); p.status != http.StatusSeeOther || p.header.Get("Location") != "/signin" {
			t.Errorf("still signed in: %d %s", p.status, p.header.Get("Location"))
		}
	}
	t.Run("after a day of nothing, however often the page reloads", func(t *testing.T) {
		w := newWorld(t, false)
		b := w.signedIn("ann")
		for range 23 {
			w.advance(time.Hour)
			b.get("/").want(http.StatusOK)
		}
		w.advance(time.Hour)
		out(t, b)
	})
	t.Run("after a day in which pages were only opened", func(t *testing.T) {
		w := newWorld(t, false)
		b := w.signedIn("ann")
		w.advance(23 * time.Hour)
		r := w.ask("ann", payment)
		at := "/requests/" + string(r.ID)
		token := b.get(at).form("/deny").fields.Get("token")
		b.post(at+"/opened", url.Values{"token": {token}}).want(http.StatusNoContent)
		w.advance(time.Hour)
		out(t, b)
	})
	t.Run("only after two weeks without a channel to sign in again", func(t *testing.T) {
		w := newWorld(t, false)
		w.canSend = false
		b := w.signedIn("ann")
		for range 2 {
			w.advance(13 * 24 * time.Hour)
			r := w.ask("ann", payment)
			b.press(b.get("/requests/"+string(r.ID)), "/deny").want(http.StatusSeeOther)
		}
		w.advance(4*24*time.Hour - time.Second)
		b.get("/").want(http.StatusOK)
		w.advance(time.Second)
		out(t, b)
		idle := w.signedIn("ann")
		w.advance(14*24*time.Hour - time.Second)
		idle.get("/").want(http.StatusOK)
		w.canSend = true // a channel that came later
		out(t, idle)
	})
	t.Run("after a week whatever happens", func(t *testing.T) {
		w := newWorld(t, false)
		b := w.signedIn("ann")
		for range 13 {
			w.advance(12*time.Hour + 30*time.Minute)
			r := w.ask("ann", payment)
			b.press(b.get("/requests/"+string(r.ID)), "/deny").want(http.StatusSeeOther)
		}
		w.advance(12 * time.Hour)
		out(t, b)
	})
	t.Run("when the person is disabled", func(t *testing.T) {
		w := newWorld(t, false)
		b := w.signedIn("ann")
		w.disable("ann")
		out(t, b)
	})
	t.Run("at sign-out, also for whoever kept the cookie", func(t *testing.T) {
		w := newWorld(t, false)
		b := w.signedIn("ann")
		at, _ := url.Parse(w.server.URL)
		kept := b.client.Jar.Cookies(at)
		b.press(b.get("/"), "/signout").want(http.StatusSeeOther)
		out(t, b)
		thief := w.browser()
		thief.client.Jar.SetCookies(at, kept)
		out(t, thief)
	})
	t.Run("of the browser before a new sign-in", func(t *testing.T) {
		w := newWorld(t, true)
		first, second := w.ask("ann", payment), w.ask("min", payment)
		b := w.browser()
		b.press(b.get("/r/"+w.handle(first)), "/r/")
		at, _ := url.Parse(w.server.URL)
		before := b.client.Jar.Cookies(at)
		b.press(b.get("/r/"+w.handle(second)), "/r/")
		if after := b.client.Jar.Cookies(at); before[0].Value == after[0].Value {
			t.Error("the cookie was not rotated")
		}
		old := w.browser()
		old.client.Jar.SetCookies(at, before)
		out(t, old)
	})
}

func TestRestartKeepsSessions(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b, p := w.openPage(r)
	cookies := b.header.Clone()
	at, _ := url.Parse(w.server.URL)
	for _, c := range b.client.Jar.Cookies(at) {
		cookies.Add("Cookie", c.Name+"="+c.Value)
	}
	w.close()
	w.open(false)
	again := w.browser()
	again.header = http.Header{"User-Agent": cookies["User-Agent"], "Cookie": {strings.Join(cookies["Cookie"], "; ")}}
	again.follow(again.press(p, "/approve")).want(http.StatusOK, "Approved at 14:26 CET.")
}

// What the store holds signs nobody in and opens no invitation.
func TestNoSecretsInTheStore(t *testing.T) {
	w := newWorld(t, false)
	inv, err := w.pages.Invite(t.Context(), "ann")
	check(t, err)
	b := w.browser()
	p := b.follow(b.press(b.get(inv.URL), "/i/"))
	code := w.code("ann")
	secrets := []string{inv.Code, code, inv.URL[strings.LastIndex(inv.URL, "/")+1:]}
	search := func() {
		t.Helper()
		for _, kind := range []string{kindSession, kindBrowser, kindSignin, kindInvitation, kindInvited, kindCodes} {
			recs, err := w.store.Scan(t.Context(), kind, "", 100)
			check(t, err)
			for _, rec := range recs {
				for _, s := range secrets {
					if strings.Contains(rec.Key+string(rec.Value), s) {
						t.Errorf("%s holds a secret", kind)
					}
				}
			}
		}
	}
	search()
	b.press(p, "/code", "code", code).want(http.StatusSeeOther)
	at, _ := url.Parse(w.server.URL)
	for _, c := range b.client.Jar.Cookies(at) {
		secrets = append(secrets, c.Value)
	}
	search()
	if logged := w.logged.String(); strings.Contains(logged, code) || strings.Contains(logged, secrets[2]) {
		t.Error("the log holds a secret")
	}
}

func TestNextStaysHome(t *testing.T) {
	for next, want := range map[string]string{
		"/requests/06eaxeh282yq38evhrbah0p708":         "/requests/06eaxeh282yq38evhrbah0p708",
		"https://evil.example/":                        "/",
		"//evil.example/requests/":                     "/",
		"/requests/06eaxeh282yq38evhrbah0p708/approve": "/",
		"/\\evil.example":                              "/",
		"":                                             "/",
	} {
		if got := ownPath(next); got != want {
			t.Errorf("%q leads to %q, want %q", next, got, want)
		}
	}
}
