package webapp

import (
	"crypto/sha256"
	"encoding/base64"
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

// open signs a person in and opens a request.
func (w *world) openPage(r *approvals.Request) (*browserOf, *page) {
	w.t.Helper()
	b := w.signedIn(r.Subject)
	return b, b.visit("/requests/" + string(r.ID))
}

func TestApproveByLinkInDevMode(t *testing.T) {
	rowtest.Row(t, "REQ-116", "REQ-269")
	w := newWorld(t, true)
	r := w.ask("ann", payment)
	b := w.browser()
	landing := b.get("/r/"+w.handle(r)).want(http.StatusOK, r.ID.Ref(), "You have an approval request")
	landing.lacks("Example Travel", "480", "Travel Bot")
	ask := b.follow(b.press(landing, "/r/"))
	ask.want(http.StatusOK, "Pay 480.00 EUR to Example Travel", "Approve 480.00 EUR", "Check that your agent shows H3-91")
	b.follow(b.press(ask, "/approve")).want(http.StatusOK, "Approved at 14:26 CET. Travel Bot may now do this once.")

	got := w.read(r)
	if got.State != approvals.Approved {
		t.Fatalf("state %s", got.State)
	}
	d := got.Decisions[0]
	if d.By != "ann" || d.Level != approvals.LevelLink || len(d.AMR) != 0 || d.Via != "page" ||
		d.Device != "Chrome (Android)" {
		t.Errorf("decision %+v", d)
	}
	if d.Digest != ask.byID("disclosure-digest") || d.Disclosure != ask.byID("disclosure-canonical") {
		t.Error("the decision is not bound to what was on the page")
	}
}

// The evidence on the page is enough to recompute the digest with any SHA-256 tool.
func TestEvidenceOnThePage(t *testing.T) {
	rowtest.Row(t, "REQ-288")
	w := newWorld(t, false)
	r := w.ask("min", strings.ReplaceAll(payment, "Example Travel", `<b>&\" 예시여행 \u202e\u0007`))
	_, p := w.openPage(r)
	sum := sha256.Sum256([]byte(p.byID("disclosure-canonical")))
	digest := base64.RawURLEncoding.EncodeToString(sum[:])
	if p.byID("disclosure-digest") != digest || p.form("/approve").fields.Get("digest") != digest {
		t.Error("digest and bytes on the page do not belong together")
	}
}

func TestApproveAndDenyWithoutScript(t *testing.T) {
	tests := []struct {
		name, action string
		typed        []string
		state        approvals.State
		words        string
		tone         string
	}{
		{"approve", "/approve", nil, approvals.Approved, "Approved at 14:26 CET. Travel Bot may now do this once.", "ok"},
		{"deny", "/deny", nil, approvals.Denied, "Denied. Travel Bot was told no.", "no"},
		{"deny with a note", "/deny", []string{"note", " Too dear.\r\nTry again. "}, approvals.Denied, "Too dear.", "no"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, false)
			r := w.ask("ann", payment)
			b, p := w.openPage(r)
			done := b.follow(b.press(p, tt.action, tt.typed...)).want(http.StatusOK, tt.words)
			if done.hasForm("/approve") || done.hasForm("/deny") {
				t.Error("a decided request still has buttons")
			}
			got := w.read(r)
			if got.State != tt.state || len(got.Decisions) != 1 {
				t.Fatalf("state %s with %d decisions", got.State, len(got.Decisions))
			}
			d := got.Decisions[0]
			if d.Level != approvals.LevelSession || len(d.AMR) != 1 || d.AMR[0] != "otp" || !d.AuthTime.Equal(start) {
				t.Errorf("evidence of sign-in %v %v %v", d.Level, d.AMR, d.AuthTime)
			}
			if len(tt.typed) > 0 && d.Note != "Too dear.\nTry again." {
				t.Errorf("note %q", d.Note)
			}
			b.follow(b.press(p, tt.action, tt.typed...)).want(http.StatusOK, tt.words) // sent twice
			if again := w.read(r); again.Events != got.Events {
				t.Error("the second press left a trace")
			}
		})
	}
}

func TestSecondDecisionSeesTheFirst(t *testing.T) {
	rowtest.Row(t, "REQ-275")
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	phone, here := w.openPage(r)
	desk := w.signedIn("ann")
	desk.header.Set("User-Agent", "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0) AppleWebKit/605.1 Version/19.0 Safari/604.1")
	w.advance(time.Second)
	there := desk.visit("/requests/" + string(r.ID))
	desk.follow(desk.press(there, "/deny")).want(http.StatusOK, "Denied. Travel Bot was told no.")
	phone.follow(phone.press(here, "/approve")).want(http.StatusOK, "Already denied on Safari (iPhone) at 14:26 CET.")
	if got := w.read(r); got.State != approvals.Denied {
		t.Errorf("state %s", got.State)
	}
	phone.get("/requests/"+string(r.ID)+"?lang=ko").want(http.StatusOK, "14:26 CET에 Safari (iPhone)\u2060에서 이미 거절했어요.")
}

func TestRaceOfTwoDevices(t *testing.T) {
	t.Parallel()
	rowtest.Row(t, "REQ-275")
	w := newWorld(t, false)
	one, two := w.signedIn("ann"), w.signedIn("ann")
	for range 100 {
		r := w.ask("ann", payment)
		at := "/requests/" + string(r.ID)
		yes, no := one.get(at), two.get(at)
		var wg sync.WaitGroup
		wg.Go(func() { one.press(yes, "/approve").want(http.StatusSeeOther) })
		wg.Go(func() { two.press(no, "/deny").want(http.StatusSeeOther) })
		wg.Wait()
		got := w.read(r)
		if len(got.Decisions) != 1 || got.State == approvals.Pending {
			t.Fatalf("%d decisions, state %s", len(got.Decisions), got.State)
		}
		outcome := "approved"
		if got.State == approvals.Denied {
			outcome = "denied"
		}
		for _, b := range []*browserOf{one, two} {
			if p := b.get(at); !strings.Contains(strings.ToLower(p.words()), outcome) {
				t.Errorf("a page does not say %s: %s", outcome, p.words())
			}
		}
	}
}

func TestAlteredForm(t *testing.T) {
	rowtest.Row(t, "REQ-273")
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b, p := w.openPage(r)
	f := p.form("/approve")
	change := func(field, value string) url.Values {
		out := url.Values{}
		for k := range f.fields {
			out.Set(k, f.fields.Get(k))
		}
		out.Set(field, value)
		return out
	}
	b.post(f.action, change("digest", strings.Repeat("A", 43))).want(http.StatusConflict,
		"This request changed. Please read it again.")
	b.post(f.action, change("locale", "ko")).want(http.StatusConflict, "This request changed.")
	b.post(f.action, change("token", "forged")).want(http.StatusForbidden, "This page is out of date")
	b.post(f.action, change("amount", "1")).want(http.StatusBadRequest)
	other := w.signedIn("ann")
	other.post(f.action, f.fields).want(http.StatusForbidden, "This page is out of date")
	if got := w.read(r); got.State != approvals.Pending || got.Events != 5 { // each try but the one that is no form of ours
		t.Errorf("state %s, %d records", got.State, got.Events)
	}
	b.press(b.post(f.action, change("digest", "x")), "/approve").want(http.StatusSeeOther) // the page came back whole
	if got := w.read(r); got.State != approvals.Approved {
		t.Errorf("state %s", got.State)
	}
}

// No is never harder than yes: a form that is out of date in what it shows still denies.
func TestDenyNeedsNoProofOfReading(t *testing.T) {
	rowtest.Row(t, "REQ-270")
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b, p := w.openPage(r)
	f := p.form("/deny")
	f.fields.Set("digest", "")
	b.post(f.action, f.fields).want(http.StatusSeeOther)
	if got := w.read(r); got.State != approvals.Denied {
		t.Errorf("state %s", got.State)
	}
}

func TestWrongPersonSeesNothing(t *testing.T) {
	rowtest.Row(t, "REQ-274", "REQ-290")
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	_, p := w.openPage(r)
	min := w.signedIn("min")
	min.header.Set("Accept-Language", "en")
	at := "/requests/" + string(r.ID)
	for _, answer := range []*page{
		min.get(at + "?lang=en"),
		min.post(at+"/approve?lang=en", p.form("/approve").fields),
		min.post(at+"/deny?lang=en", p.form("/deny").fields),
		min.post(at+"/withdraw?lang=en", url.Values{"token": {p.form("/deny").fields.Get("token")}}),
		min.post(at+"/opened?lang=en", url.Values{"token": {p.form("/deny").fields.Get("token")}}),
	} {
		answer.want(http.StatusForbidden, "This request is for someone else").lacks("480", "Example Travel", "Travel Bot")
	}
	if live := min.get("/live?request=" + string(r.ID)); live.status != http.StatusForbidden {
		t.Errorf("live: %d", live.status)
	}
	back := min.follow(min.press(min.get(at), "/signout"))
	if back.hasForm("/signout") {
		t.Error("still signed in after switching")
	}
	if got := w.read(r); got.Events != 5 || got.State != approvals.Pending { // looking leaves no record, trying does
		t.Errorf("%d records, %s", got.Events, got.State)
	}
}

func TestUnknownRequest(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	b.get("/requests/"+string(approvals.NewID(start))).want(http.StatusNotFound, "This link no longer works")
	b.get("/requests/status").want(http.StatusNotFound)
}

func TestApprovingWithTooWeakASignIn(t *testing.T) {
	rowtest.Row(t, "REQ-270", "REQ-272")
	w := newWorld(t, true)
	w.desk.Ceiling = approvals.LevelPasskey // dev mode's links, with an installation's demands
	r := w.ask("ann", payment)
	b := w.browser()
	p := b.follow(b.press(b.get("/r/"+w.handle(r)), "/r/")).want(http.StatusOK, "To approve, you sign in with a code first.")
	sent := b.press(p, "/approve").want(http.StatusSeeOther)
	if to := sent.header.Get("Location"); to != "/signin?next=%2Frequests%2F"+string(r.ID) {
		t.Errorf("approving led to %s", to)
	}
	if got := w.read(r); got.State != approvals.Pending {
		t.Fatalf("state %s", got.State)
	}
	b.follow(b.press(p, "/deny")).want(http.StatusOK, "Denied.")
}

func TestTimeRunsOut(t *testing.T) {
	rowtest.Row(t, "REQ-134", "REQ-195")
	tests := []struct {
		name  string
		wait  time.Duration
		press string
		state approvals.State
		words string
	}{
		{"approve in the last second", 289 * time.Second, "/approve", approvals.Approved, "Approved at 14:30 CET."},
		{"approve one second late", 291 * time.Second, "/approve", approvals.Pending, "Time ran out. Nothing was approved."},
		{"deny when approval is closed", 291 * time.Second, "/deny", approvals.Denied, "Denied. Travel Bot was told no."},
		{"deny at the very end", 301 * time.Second, "/deny", approvals.Pending, "Time ran out. Nothing was approved."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, false)
			r := w.ask("ann", payment)
			b, p := w.openPage(r)
			p.want(http.StatusOK, "4 min 50 s left (ends 14:30 CET)")
			w.advance(tt.wait)
			b.follow(b.press(p, tt.press)).want(http.StatusOK, tt.words)
			if got := w.read(r); got.State != tt.state {
				t.Errorf("state %s, want %s", got.State, tt.state)
			}
		})
	}
}

func TestLatePageOffersNo(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b, _ := w.openPage(r)
	w.advance(295 * time.Second)
	late := b.get("/requests/"+string(r.ID)).want(http.StatusOK, "Time ran out. Nothing was approved.",
		"You can still tell the agent no.")
	if late.hasForm("/approve") {
		t.Error("approve is still offered")
	}
	b.follow(b.press(late, "/deny")).want(http.StatusOK, "Denied.")
}

func TestWithdraw(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b, p := w.openPage(r)
	approved := b.follow(b.press(p, "/approve")).want(http.StatusOK, "You can take it back until the agent collects it.")
	b.follow(b.press(approved, "/withdraw")).want(http.StatusOK, "You took it back. Travel Bot may not do this.")
	if got := w.read(r); got.State != approvals.Cancelled || got.Reason != approvals.WithdrawnByPerson {
		t.Errorf("state %s, reason %s", got.State, got.Reason)
	}
	b.follow(b.press(approved, "/withdraw")).want(http.StatusOK, "You took it back.")
}

func TestWithdrawAfterRedemption(t *testing.T) {
	rowtest.Row(t, "REQ-122")
	w := newWorld(t, false)
	agent, _ := w.people.Agent(t.Context(), "travel-bot")
	ann, _ := w.people.Person(t.Context(), "ann")
	details, err := w.desk.Renderer.Types.Parse([]byte(payment), agent.MayAsk)
	check(t, err)
	r, secret, err := w.desk.Open(t.Context(), approvals.Ask{Agent: agent, Subject: ann, Details: details})
	check(t, err)
	b, p := w.openPage(r)
	approved := b.follow(b.press(p.want(http.StatusOK, "You were not in a conversation with this agent."), "/approve"))
	_, err = w.desk.Redeem(t.Context(), agent.ID, r.ID, secret)
	check(t, err)
	late := b.follow(b.press(approved, "/withdraw")).want(http.StatusOK, "The agent has collected it.", "This cannot be undone. You can disconnect this agent.")
	if late.hasForm("/withdraw") {
		t.Error("withdrawing is still offered")
	}
}

// TestStanding: an approval on which the agent can come back says so before and after, and can be stopped at any time.
func TestStanding(t *testing.T) {
	w := newWorld(t, false)
	agent, _ := w.people.Agent(t.Context(), "travel-bot")
	ann, _ := w.people.Person(t.Context(), "ann")
	r, secret, err := w.desk.Open(t.Context(), approvals.Ask{Agent: agent, Subject: ann, Scope: []string{"openid", "offline_access"},
		Standing: true})
	check(t, err)
	b, p := w.openPage(r)
	p.want(http.StatusOK, "come back and use this without asking you again, until ")
	const until = "Travel Bot may come back without asking until"
	approved := b.follow(b.press(p, "/approve")).want(http.StatusOK, until, "until the agent collects it").lacks("once")
	_, err = w.desk.Redeem(t.Context(), agent.ID, r.ID, secret)
	check(t, err)
	late := b.get("/requests/"+string(r.ID)).want(http.StatusOK, until, "You can take it back at any time.")
	if !late.hasForm("/withdraw") || !approved.hasForm("/withdraw") {
		t.Fatal("taking it back is not offered")
	}
	for range 2 {
		stopped := b.follow(b.press(late, "/withdraw")).want(http.StatusOK, "Stopped. Travel Bot may not come back.")
		if stopped.hasForm("/withdraw") {
			t.Error("taking it back is still offered")
		}
	}
	if got := w.read(r); got.State != approvals.Redeemed || got.RevokedAt.IsZero() || got.Events != 4 {
		t.Errorf("state %s, revoked at %s, %d records", got.State, got.RevokedAt, got.Events)
	}
}

func TestStandingIsOver(t *testing.T) {
	w := newWorld(t, false)
	agent, _ := w.people.Agent(t.Context(), "travel-bot")
	ann, _ := w.people.Person(t.Context(), "ann")
	w.desk.Terms.Standing = time.Hour
	r, secret, err := w.desk.Open(t.Context(), approvals.Ask{Agent: agent, Subject: ann, Standing: true})
	check(t, err)
	b, p := w.openPage(r)
	b.press(p, "/approve")
	_, err = w.desk.Redeem(t.Context(), agent.ID, r.ID, secret)
	check(t, err)
	w.advance(time.Hour)
	over := b.get("/requests/"+string(r.ID)).want(http.StatusOK, "Travel Bot could come back until")
	if over.hasForm("/withdraw") {
		t.Error("taking it back is offered")
	}
}

// REQ-121, 116, 122: the code is on the page as it came; one that is shown twice is marked, and none is made up.
func TestCodeOnThePage(t *testing.T) {
	rowtest.Row(t, "REQ-116", "REQ-121", "REQ-122")
	const same = "Another open request of this agent shows the same code."
	w := newWorld(t, false)
	first := w.ask("ann", payment)
	b, p := w.openPage(first)
	p.want(http.StatusOK, "Check that your agent shows H3-91").lacks(same)
	second := w.ask("ann", payment)
	other := w.ask("ann", payment, func(a *approvals.Ask) { a.Binding = "h3-91" })
	none := w.ask("ann", payment, func(a *approvals.Ask) { a.Binding = "" })
	at := func(r *approvals.Request) string { return "/requests/" + string(r.ID) }
	for _, r := range []*approvals.Request{first, second} {
		b.get(at(r)).want(http.StatusOK, "Check that your agent shows H3-91", same)
	}
	b.get(at(other)).want(http.StatusOK, "Check that your agent shows h3-91").lacks(same)
	b.get(at(none)).want(http.StatusOK, "You were not in a conversation with this agent.").lacks("Check that your agent shows", same)
	if !strings.Contains(w.logged.String(), "one code in several open requests") {
		t.Error("the log does not say so")
	}
	b.follow(b.press(b.get(at(second)), "/deny"))
	b.get(at(first)).want(http.StatusOK, "Check that your agent shows H3-91").lacks(same)
}

func TestAnswerLostAfterCommit(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b, p := w.openPage(r)
	w.lose.Store(true)
	lost := b.press(p, "/approve").want(http.StatusServiceUnavailable, "We could not confirm", "may or may not have arrived")
	if lost.header.Get("Retry-After") == "" || !strings.Contains(lost.body, `data-again="/requests/`+string(r.ID)) {
		t.Error("the page does not ask again")
	}
	lost.lacks("Approved", "Denied")
	w.lose.Store(false)
	w.hub.Deliver(string(r.ID))
	b.get("/requests/"+string(r.ID)).want(http.StatusOK, "Approved at 14:26 CET.")
}

func TestStoreGone(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b, p := w.openPage(r)
	check(t, w.store.Close())
	b.press(p, "/approve").want(http.StatusServiceUnavailable, "We could not confirm")
	b.get("/").want(http.StatusServiceUnavailable)
	b.get("/r/" + w.handle(r)).want(http.StatusServiceUnavailable)
}

func TestNoteTooLong(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b, p := w.openPage(r)
	long := strings.Repeat("é", 281)
	again := b.press(p, "/deny", "note", long).want(http.StatusUnprocessableEntity, "The note is too long.")
	if again.form("/deny").fields.Get("note") != long {
		t.Error("what was typed is lost")
	}
	b.press(again, "/deny", "note", long[2:]).want(http.StatusSeeOther)
}

func TestOpenedNeedsAHumanStep(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b, p := w.openPage(r)
	if !w.read(r).OpenedAt.IsZero() {
		t.Fatal("a GET counts as opened")
	}
	at, token := "", ""
	for _, n := range p.all("div") {
		if attr(n, "id") == "live" {
			at, token = attr(n, "data-opened"), attr(n, "data-token")
		}
	}
	b.post(at, url.Values{"token": {"x"}}).want(http.StatusForbidden)
	b.post(at, url.Values{"token": {token}}).want(http.StatusNoContent)
	if w.read(r).OpenedAt.IsZero() {
		t.Error("the beacon did not count")
	}
}

func TestHostileText(t *testing.T) {
	w := newWorld(t, false)
	long := strings.Repeat("x y ", 3000)
	r := w.ask("ann", fmt.Sprintf(`[{"type":"tool_call","tool":"rm\u202e<script>alert(1)</script>","arguments":`+
		`{"n":1234567890123456,"deep":{"a":[0.1,"</pre></textarea>\u200b\u0000",null]},"text":%q},`+
		`"reason":"\"><img src=x onerror=alert(1)> [Approve](https://evil.example)"}]`, long))
	_, p := w.openPage(r)
	p.want(http.StatusOK, "⟨U+202E⟩<script>alert(1)</script>", "⟨U+200B⟩⟨U+0000⟩", "1234567890123456", "Show all",
		"Written by the agent, not checked by us")
	if !strings.Contains(p.words(), strings.TrimSpace(long)) {
		t.Error("a long text is not on the page")
	}
	if n := len(p.all("script")); n != 1 {
		t.Errorf("%d scripts", n)
	}
	if len(p.all("img")) > 0 {
		t.Error("an image came to life")
	}
	for _, a := range p.all("a") {
		if strings.Contains(attr(a, "href"), "evil") {
			t.Error("a link came to life")
		}
	}
}

func TestDeviceNames(t *testing.T) {
	for agent, want := range map[string]string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/148.0 Safari/537.36 Edg/148.0": "Edge (Windows)",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) Version/19.0 Safari/605.1":        "Safari (Mac)",
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0":         "Firefox (Linux)",
		"curl/8.0": "", "<script>": "", "": "",
	} {
		if got := device(agent); got != want {
			t.Errorf("%q: %q, want %q", agent, got, want)
		}
	}
}
