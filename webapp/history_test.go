package webapp

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"assent/approvals"
)

// byClass returns the first element of a class.
func (p *page) byClass(class string) *html.Node {
	p.t.Helper()
	for n := range p.doc.Descendants() {
		if n.Type == html.ElementNode && strings.Contains(" "+attr(n, "class")+" ", " "+class+" ") {
			return n
		}
	}
	p.t.Fatalf("%s: nothing of class %s", p.at, class)
	return nil
}

// href finds a link by its words.
func (p *page) href(words string) string {
	p.t.Helper()
	for _, n := range p.all("a") {
		if strings.TrimSpace(textOf(n)) == words {
			return attr(n, "href")
		}
	}
	p.t.Fatalf("%s: no link %q in %s", p.at, words, p.words())
	return ""
}

// TestStoredView: what was decided is shown in the language and with the words of the decision, from its bytes alone:
// also when the visitor reads another language, and when the type is gone.
func TestStoredView(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("min", payment)
	b, p := w.openPage(r)
	b.press(p, "/approve").want(http.StatusSeeOther)
	shown, err := w.desk.Show(w.read(r), "ko")
	check(t, err)
	delete(w.desk.Renderer.Types, "payment_initiation")
	b.get("/history").want(http.StatusOK, "Example Travel에 480.00 EUR 결제", "승인")
	b.get("/?lang=en").want(http.StatusOK, "Example Travel에 480.00 EUR 결제")
	for lang, words := range map[string][]string{
		"en": {"Approved", "2 Mar 2026 22:26:00 KST", "Chrome (Android)", "On this site", "Signed in: one-time code",
			"The SHA-256 of these bytes, in base64url, is the digest."},
		"ko": {"승인했어요", "2026년 3월 2일 22:26:00 KST", "Chrome (Android)", "이 사이트에서", "로그인: 일회용 인증번호"},
	} {
		page := b.get("/history/"+string(r.ID)+"?lang="+lang).want(http.StatusOK, words...)
		at := page.byClass("shown")
		if attr(at, "lang") != "ko" {
			t.Errorf("in %s: the facts are marked as %q", lang, attr(at, "lang"))
		}
		before := 0
		for _, f := range shown.Facts {
			i := strings.Index(textOf(at), f.Label)
			if i < before || !strings.Contains(textOf(at)[max(i, 0):], f.Text) {
				t.Errorf("in %s: no %q: %q, or not in its order", lang, f.Label, f.Text)
			}
			before = i
		}
		if !strings.Contains(textOf(at), shown.Button) {
			t.Errorf("in %s: no button %q", lang, shown.Button)
		}
		if textOf(page.byClass("bytes")) != string(shown.Canonical()) || textOf(page.byClass("digest")) != shown.Digest() {
			t.Errorf("in %s: other bytes or another digest", lang)
		}
	}
}

// TestStoredWithoutDecision: what nobody read or decided says so, and what waits is not history.
func TestStoredWithoutDecision(t *testing.T) {
	w := newWorld(t, false)
	denied, over, open := w.ask("ann", payment), w.ask("ann", payment, living(time.Minute)), w.ask("ann", payment)
	_, err := w.desk.Deny(t.Context(), denied.ID, approvals.Answer{By: "ann", Locale: "en", Level: approvals.LevelSession, Via: "page"})
	check(t, err)
	w.advance(2 * time.Minute)
	b := w.signedIn("ann")
	b.get("/history/"+string(denied.ID)).want(http.StatusOK, "This was denied without the details on the screen", "480.00 EUR")
	b.get("/history/"+string(over.ID)).want(http.StatusOK, "Nobody decided this.", "480.00 EUR", "Time ran out").lacks("How you were known")
	to := b.get("/history/" + string(open.ID)).want(http.StatusSeeOther).header.Get("Location")
	if to != "/requests/"+string(open.ID) {
		t.Errorf("what waits leads to %s", to)
	}
	b.get("/history").want(http.StatusOK, "Denied")
}

// TestHistoryAfterWrongCodes: a request that wrong codes denied has no decision, and is listed with the others all the same.
func TestHistoryAfterWrongCodes(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment, typed("4829"))
	b, p := w.openPage(r)
	for range 3 {
		b.press(p, "/approve", "code", "1111")
	}
	if got := w.read(r); got.State != approvals.Denied || len(got.Decisions) != 0 {
		t.Fatalf("%s, %d decisions", got.State, len(got.Decisions))
	}
	at := "/history/" + string(r.ID)
	for _, query := range []string{"", "?outcome=denied"} {
		if list := b.get("/history"+query).want(http.StatusOK, "Denied"); !strings.Contains(list.body, `href="`+at) {
			t.Errorf("%q: it is not listed in %s", query, list.words())
		}
	}
	b.get("/history?outcome=reported").want(http.StatusOK).lacks(at)
	b.get(at).want(http.StatusOK, "Nobody decided this.")
}

// TestStoredWays: the page says how a decision came in, and calls simulated only what is.
func TestStoredWays(t *testing.T) {
	const simulated, page = "Simulated: nobody pressed anything", "On this site"
	for _, tt := range []struct {
		name  string
		a     approvals.Answer
		want  []string
		lacks []string
	}{
		{"page", approvals.Answer{Level: approvals.LevelSession, AMR: []string{"otp"}, Via: "page"},
			[]string{page, "Signed in: one-time code"}, []string{simulated}},
		{"text message", approvals.Answer{Level: approvals.LevelLink, AMR: []string{"sms"}, Via: "sms"},
			[]string{"By reply to a text message", "By your phone number alone: text message from it"},
			[]string{simulated, page, "By the link alone"}},
		{"signed in by passkey", approvals.Answer{Level: approvals.LevelPasskey, AMR: []string{"pop", "user"}, Via: "page"},
			[]string{"Signed in by passkey: key on the device"}, []string{"Confirmed by passkey"}},
		{"simulator", approvals.Answer{Level: approvals.LevelSession, Via: "dev", Simulated: true}, []string{simulated}, []string{page}},
		{"nobody knows", approvals.Answer{Level: approvals.LevelSession}, nil, []string{simulated, page}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, false)
			r := w.ask("ann", payment)
			tt.a.By, tt.a.Locale = "ann", "en"
			_, err := w.desk.Deny(t.Context(), r.ID, tt.a)
			check(t, err)
			b := w.signedIn("ann")
			b.get("/history/"+string(r.ID)).want(http.StatusOK, tt.want...).lacks(tt.lacks...)
			b.get("/history/" + string(r.ID) + "?lang=ko").want(http.StatusOK).lacks("history.")
		})
	}
}

// TestStoredDiffers: bytes that were changed in the store do not pass for what was decided on.
func TestStoredDiffers(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b, p := w.openPage(r)
	b.press(p, "/approve").want(http.StatusSeeOther)
	_, err := w.store.Update(t.Context(), r.ID, func(r *approvals.Request) error {
		d := r.Decisions[0]
		d.Disclosure = strings.Replace(d.Disclosure, "480.00", "4.00", 1)
		r.Decisions = []approvals.Decision{d}
		return nil
	})
	check(t, err)
	w.hub.Deliver(string(r.ID))
	b.get("/history/"+string(r.ID)).want(http.StatusOK, "These bytes do not have this digest.")
}

// TestHistoryFilters: by agent, outcome and days where the person is; links to older ones keep the filters.
func TestHistoryFilters(t *testing.T) {
	w := newWorld(t, false)
	deny := func(r *approvals.Request) *approvals.Request {
		w.advance(time.Millisecond)
		_, err := w.desk.Deny(t.Context(), r.ID, approvals.Answer{By: "ann", Locale: "en", Level: approvals.LevelSession, Via: "page"})
		check(t, err)
		return r
	}
	mail := w.from("mail-bot", "Mail Bot")
	deny(w.ask("ann", reading, mail))
	w.advance(24 * time.Hour) // 3 March in Berlin
	for range historyRows + 1 {
		deny(w.ask("ann", payment))
	}
	w.ask("ann", payment)
	w.advance(24 * time.Hour)
	_, err := w.desk.Sweep(t.Context())
	check(t, err)
	b := w.signedIn("ann")
	for query, want := range map[string]int{
		"": historyRows, "agent=mail-bot": 1, "outcome=denied&agent=mail-bot": 1, "outcome=approved": 0, "outcome=expired": 1,
		"outcome=reported": 0, "from=2026-03-03": historyRows, "to=2026-03-02": 1, "from=2026-03-02&to=2026-03-02": 1,
		"from=2026-03-04": 0, "agent=nobody": 0, "agent=&outcome=&from=&to=": historyRows, "agent=mail-bot&from=2026-03-03": 0,
	} {
		if got := b.get("/history?" + query).want(http.StatusOK).order(); len(got) != want {
			t.Errorf("%q: %d rows, want %d", query, len(got), want)
		}
	}
	first := b.get("/history?outcome=denied&from=2026-03-01&agent=travel-bot&lang=ko")
	older, err := url.Parse(first.href("이전 기록"))
	check(t, err)
	for name, want := range map[string]string{"outcome": "denied", "from": "2026-03-01", "agent": "travel-bot", "lang": "ko"} {
		if got := older.Query().Get(name); got != want {
			t.Errorf("the link to older ones has %s=%q, want %q", name, got, want)
		}
	}
	second := b.get(older.String()).want(http.StatusOK)
	if rest := second.order(); len(rest) != 1 || strings.Contains(first.body, rest[0]) {
		t.Errorf("then come %v", rest)
	}
	second.lacks("이전 기록")
	for _, query := range []string{"outcome=pending", "agent=a/b", "agent=%00", "from=yesterday", "to=2026-02-30", "from=0001-01-01",
		"before=x", "outcome=denied&outcome=denied"} {
		b.get("/history?"+query).want(http.StatusBadRequest, "We could not read that")
	}
}

// TestHistoryReported: reports are found among denials, however many those are.
func TestHistoryReported(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	for range historyReads*(historyRows+1) + 5 {
		w.advance(time.Millisecond)
		o := w.ask("ann", reading, w.from("mail-bot", "Mail Bot"))
		_, err := w.desk.Deny(t.Context(), o.ID, approvals.Answer{By: "ann", Locale: "en", Level: approvals.LevelSession, Via: "page"})
		check(t, err)
	}
	b, p := w.openPage(r)
	b.press(p, "/report").want(http.StatusSeeOther)
	some := b.get("/history?outcome=reported").want(http.StatusOK, "Nothing so far. Older ones may fit.")
	b.get(some.href("Older")).want(http.StatusOK, "Reported", "Pay 480.00 EUR")
	b.get("/history/"+string(r.ID)).want(http.StatusOK, "Denied and reported")
}

// TestHistoryOfOthers: nobody sees what somebody else was asked.
func TestHistoryOfOthers(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b, p := w.openPage(r)
	b.press(p, "/deny").want(http.StatusSeeOther)
	w.browser().get("/history").want(http.StatusSeeOther)
	w.browser().get("/history/" + string(r.ID)).want(http.StatusSeeOther)
	min := w.signedIn("min")
	min.get("/history/"+string(r.ID)).want(http.StatusForbidden).lacks("Travel Bot", "480", "Example Travel")
	for _, query := range []string{"", "?agent=travel-bot", "?outcome=denied"} {
		if got := min.get("/history"+query).want(http.StatusOK).lacks("Travel Bot", "480").order(); len(got) > 0 {
			t.Errorf("%q: %v", query, got)
		}
	}
	before := approvals.NewID(w.clock().Add(time.Hour))
	if got := min.get("/history?before=" + string(before)).want(http.StatusOK).order(); len(got) > 0 {
		t.Errorf("with a cursor: %v", got)
	}
}

// TestHistoryForgotten: when the details are deleted, the page says so to whom they were for, with what the audit trail
// holds; for everybody else there was never anything.
func TestHistoryForgotten(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b, p := w.openPage(r)
	b.press(p, "/deny").want(http.StatusSeeOther)
	digest := w.read(r).Decisions[0].Digest
	for range 2 { // the handle goes first, then the rest
		w.advance(w.desk.Terms.History + 48*time.Hour)
		_, err := w.desk.Sweep(t.Context())
		check(t, err)
	}
	w.signedIn("ann").get("/history/"+string(r.ID)).want(http.StatusOK, "The details are deleted", "2 Mar 2026 14:26:00 CET", digest).
		lacks("480", "Example Travel", "Travel Bot")
	w.signedIn("min").get("/history/" + string(r.ID)).want(http.StatusNotFound).lacks(digest)
	w.signedIn("ann").get("/history/" + string(approvals.NewID(start))).want(http.StatusNotFound)
}
