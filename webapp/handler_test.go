package webapp

import (
	"bytes"
	"compress/gzip"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"assent/approvals"
	"assent/ciba/rowtest"
)

func TestConfigIsChecked(t *testing.T) {
	for at, dev := range map[string]bool{
		"http://ap.example.com": false, "https://ap.example.com/path": false, "ap.example.com": false,
		"https://ap.example.com/?x": false, "ftp://ap.example.com": true, "": true, "https://\x7f": true,
	} {
		if _, err := New(Config{PagesURL: at, Dev: dev, Now: time.Now}); err == nil {
			t.Errorf("%q is taken", at)
		}
	}
}

// Robots open links, with every preview agent there is, and nothing may come of it.
func TestRobotsChangeNothing(t *testing.T) {
	rowtest.Row(t, "REQ-273", "REQ-290")
	w := newWorld(t, true)
	r := w.ask("ann", payment)
	inv, err := w.pages.Invite(t.Context(), "ann")
	check(t, err)
	before := w.everything()
	paths := []string{"/r/" + w.handle(r), inv.URL, inv.URL + "/code", "/requests/" + string(r.ID), "/", "/inbox", "/signin",
		"/signin/code", "/devices", "/me/devices", "/live?request=" + string(r.ID), "/r/" + w.handle(r) + "?lang=ko"}
	agents := []string{"facebookexternalhit/1.1", "WhatsApp/2.24", "TelegramBot (like TwitterBot)",
		"Slackbot-LinkExpanding 1.0", "kakaotalk-scrap/1.0", "Googlebot/2.1"}
	b := w.browser()
	for i := range 20 {
		b.header.Set("User-Agent", agents[i%len(agents)])
		for _, at := range paths {
			for _, method := range []string{"GET", "HEAD"} {
				p := b.send(method, at, "", nil)
				if len(p.header.Values("Set-Cookie")) > 0 {
					t.Fatalf("%s %s sets a cookie", method, at)
				}
				if method == "HEAD" && p.body != "" {
					t.Fatalf("HEAD %s has a body", at)
				}
				p.lacks("480", "Example Travel", "Travel Bot", "og:")
			}
		}
		w.advance(time.Second * 15)
		if i == 10 {
			w.advance(-150 * time.Second)
		}
	}
	if after := w.everything(); !slices.Equal(before, after) {
		t.Errorf("before %v\nafter %v", before, after)
	}
}

// everything lists requests and records with their revisions.
func (w *world) everything() []string {
	w.t.Helper()
	var out []string
	requests, err := w.store.List(w.t.Context(), approvals.Query{})
	check(w.t, err)
	for _, r := range requests {
		out = append(out, string(r.ID)+string(rune('0'+r.Rev))+string(r.State))
	}
	for _, kind := range []string{kindSession, kindSessions, kindBrowser, kindSignin, kindInvitation, kindInvited, kindCodes,
		kindEnrolment, "due.code", "link"} {
		recs, err := w.store.Scan(w.t.Context(), kind, "", 100)
		check(w.t, err)
		for _, rec := range recs {
			out = append(out, kind+rec.Key+string(rec.Value))
		}
	}
	return out
}

func TestSignedInGetsChangeNothing(t *testing.T) {
	rowtest.Row(t, "REQ-273")
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b := w.signedIn("ann")
	before := w.everything()
	w.advance(time.Minute)
	page := "/requests/" + string(r.ID)
	for _, at := range []string{"/", page, page + "/approve", "/r/" + w.handle(r), "/live?once=1", "/signin"} {
		b.get(at)
		b.send("HEAD", at, "", nil)
	}
	if after := w.everything(); !slices.Equal(before, after) {
		t.Errorf("before %v\nafter %v", before, after)
	}
}

func TestHeaders(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b, p := w.openPage(r)
	for _, p := range []*page{p, b.get("/"), b.get("/nowhere"), b.get("/r/unknown"), b.get("/signin"), b.get("/live?once=1"),
		b.post("/signin", url.Values{"x": {"y"}})} {
		for name, want := range map[string]string{
			"Content-Security-Policy": csp, "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
			"Cache-Control": "no-store", "X-Robots-Tag": "noindex",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
			"Permissions-Policy":        "camera=(), microphone=(), geolocation=(), payment=()",
			"Strict-Transport-Security": "max-age=31536000"} {
			if got := p.header.Get(name); got != want {
				t.Errorf("%s: %s is %q", p.at, name, got)
			}
		}
	}
	refused := b.get("/signout").want(http.StatusMethodNotAllowed)
	if allow := refused.header.Values("Allow"); !slices.Equal(allow, []string{"POST"}) {
		t.Errorf("Allow: %v", allow)
	}
}

func TestNoPromiseOfHTTPSWithoutIt(t *testing.T) {
	w := newWorld(t, true)
	if got := w.browser().get("/").header.Get("Strict-Transport-Security"); got != "" {
		t.Errorf("Strict-Transport-Security: %s", got)
	}
}

func TestCrossSite(t *testing.T) {
	rowtest.Row(t, "REQ-273")
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b, p := w.openPage(r)
	f := p.form("/approve")
	kind := []string{"application/x-www-form-urlencoded"}
	for _, h := range []http.Header{
		{"Content-Type": kind, "Sec-Fetch-Site": {"cross-site"}},
		{"Content-Type": kind, "Sec-Fetch-Site": {"same-site"}},
		{"Content-Type": kind, "Origin": {"https://evil.example"}},
		{"Content-Type": kind, "Origin": {"null"}},
	} {
		b.send("POST", f.action, f.fields.Encode(), h).want(http.StatusForbidden, "This did not come from our page")
		b.send("POST", "/signout", "", h).want(http.StatusForbidden)
	}
	if got := w.read(r); got.State != approvals.Pending {
		t.Fatalf("state %s", got.State)
	}
	own := http.Header{"Content-Type": kind, "Origin": {w.server.URL}}
	b.send("POST", f.action, f.fields.Encode(), own).want(http.StatusSeeOther)
}

func TestNobodySignedIn(t *testing.T) {
	rowtest.Row(t, "REQ-272")
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	_, p := w.openPage(r)
	b := w.browser()
	at := "/requests/" + string(r.ID)
	for _, got := range []*page{b.get(at), b.post(at+"/approve", p.form("/approve").fields),
		b.post(at+"/deny", p.form("/deny").fields)} {
		if got.status != http.StatusSeeOther || got.header.Get("Location") != "/signin?next="+url.QueryEscape(at) {
			t.Errorf("%s: %d to %s", got.at, got.status, got.header.Get("Location"))
		}
	}
	for _, cookie := range []string{"__Host-assent=" + newSecret(), "__Host-assent=", "__Host-assent=x; __Host-assent=y",
		"assent=" + newSecret(), "__Host-assent=" + strings.Repeat("A", 5000)} {
		b.header.Set("Cookie", cookie)
		if got := b.get(at); got.status != http.StatusSeeOther {
			t.Errorf("%.20s: %d", cookie, got.status)
		}
	}
	if w.read(r).State != approvals.Pending {
		t.Error("decided without a session")
	}
}

func TestLinks(t *testing.T) {
	w := newWorld(t, false)
	b := w.browser()
	for _, handle := range []string{"AAAAAAAAAAAA", "short", "AAAAAAAAAAAAA", "AAAAAAAAAAA!", "%00%00%00%00%00%00"} {
		b.get("/r/"+handle).want(http.StatusNotFound, "This link no longer works", "Open your inbox")
	}
	r := w.ask("min", payment)
	b.get("/r/"+w.handle(r)).want(http.StatusOK, "승인 요청이 있어요", r.ID.Ref()+" · 22:30 KST까지")
	b.get("/r/"+w.handle(r)+"?lang=en").want(http.StatusOK, "decide by 22:30 KST")
	_, err := w.desk.Cancel(t.Context(), r.ID, approvals.Actor{Kind: "agent"}, approvals.WithdrawnByAgent)
	check(t, err)
	b.get("/r/"+w.handle(r)+"?lang=en").want(http.StatusGone, "This link no longer works")
	b.post("/r/"+w.handle(r), nil).want(http.StatusGone)
}

func TestGuessingLinksIsSlow(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b := w.browser()
	for range 60 {
		b.get("/r/AAAAAAAAAAAA").want(http.StatusNotFound)
	}
	b.get("/r/AAAAAAAAAAAA").want(http.StatusTooManyRequests)
	w.advance(time.Second)
	b.get("/r/" + w.handle(r)).want(http.StatusOK)
	b.get("/r/" + w.handle(r)).want(http.StatusTooManyRequests)
}

func TestLimiterForgets(t *testing.T) {
	now := start
	l := newLimiter(2, time.Second, func() time.Time { return now })
	for i := range maxBuckets + 10 {
		l.allow(network("[2001:db8:" + strings.ToLower(string("0123456789abcdef"[i%16])) + nibbles(i/16) + "::1]:1"))
	}
	if n := len(l.buckets); n > maxBuckets {
		t.Errorf("%d buckets", n)
	}
	now = now.Add(time.Minute)
	for i := range 10 {
		if !l.allow(network("192.0.2."+nibbles(i)+":5")) && i < 2 {
			t.Error("refused too early")
		}
	}
	if !l.allow(network("[2001:db8::1]:1")) || !l.allow(network("[2001:db8::2]:1")) || l.allow(network("[2001:db8::3]:1")) {
		t.Error("an IPv6 network is not one")
	}
}

func nibbles(i int) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[i>>8&15], digits[i>>4&15], digits[i&15]})
}

func TestForms(t *testing.T) {
	tests := []struct {
		name, kind, body string
		status           int
	}{
		{"JSON", "application/json", `{"next":"/"}`, http.StatusBadRequest},
		{"no type", "", "next=/", http.StatusBadRequest},
		{"unknown field", "application/x-www-form-urlencoded", "next=/&x=1", http.StatusBadRequest},
		{"field twice", "application/x-www-form-urlencoded", "next=/&next=/", http.StatusBadRequest},
		{"bad escape", "application/x-www-form-urlencoded", "next=%zz", http.StatusBadRequest},
		{"semicolon", "application/x-www-form-urlencoded", "next=/;a=b", http.StatusBadRequest},
		{"not UTF-8", "application/x-www-form-urlencoded", "next=%ff", http.StatusBadRequest},
		{"too large", "application/x-www-form-urlencoded", "next=" + strings.Repeat("a", maxForm),
			http.StatusRequestEntityTooLarge},
		{"with charset", "application/x-www-form-urlencoded; charset=utf-8", "next=/", http.StatusSeeOther},
	}
	w := newWorld(t, false)
	b := w.browser()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, at := range []string{"/signin", "/signout"} {
				p := b.send("POST", at, tt.body, http.Header{"Content-Type": {tt.kind}})
				p.want(tt.status)
			}
		})
	}
}

func FuzzForm(f *testing.F) {
	for _, seed := range []string{"", "next=/", "next=/&next=/", "a=%ff", "a=%zz", ";", "note=%0d%0a",
		"next=" + strings.Repeat("%F0", 9)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		values, err := parseForm(raw, "next", "note")
		if err != nil {
			if !errors.Is(err, errForm) {
				t.Errorf("not a form error: %v", err)
			}
			return
		}
		for name, got := range values {
			if len(got) != 1 || name != "next" && name != "note" {
				t.Errorf("accepted %q", name)
			}
		}
		if to := ownPath(values.Get("next")); to != "/" && !ownPage.MatchString(to) {
			t.Errorf("leads to %q", to)
		}
	})
}

// Whatever a browser sends as a cookie or a code, it is a page and never a 500.
func FuzzCookie(f *testing.F) {
	f.Add("__Host-assent=x", "123456")
	f.Add("__Host-assent="+strings.Repeat("A", 43), "")
	f.Add("__Host-assent="+strings.Repeat("A", 43)+"; __Host-assent-browser="+strings.Repeat("B", 43), "12 34-56")
	f.Add("\x00;=", "\xff")
	w := startWorld(f, false, true)
	r := w.ask("ann", payment)
	f.Fuzz(func(t *testing.T, cookie, code string) {
		for _, at := range []string{"GET /", "GET /requests/" + string(r.ID), "POST /signin/code",
			"POST /i/" + strings.Repeat("A", 43) + "/code", "POST /requests/" + string(r.ID) + "/deny"} {
			method, path, _ := strings.Cut(at, " ")
			body := strings.NewReader(url.Values{"code": {code}}.Encode())
			req := httptest.NewRequestWithContext(t.Context(), method, path, body)
			req.Header = http.Header{"Cookie": {cookie}, "Content-Type": {"application/x-www-form-urlencoded"}}
			rec := httptest.NewRecorder()
			w.pages.ServeHTTP(rec, req)
			if rec.Code >= 500 {
				t.Fatalf("%s: %d", at, rec.Code)
			}
		}
		if r, err := w.store.Request(t.Context(), r.ID); err != nil || r.State != approvals.Pending {
			t.Fatalf("decided: %v", err)
		}
	})
}

func TestStaticFiles(t *testing.T) {
	w := newWorld(t, false)
	b := w.browser()
	p := b.get("/signin")
	link := regexp.MustCompile(`/static/[a-z]+\.[0-9a-f]{10}\.(css|js|svg)`)
	found := link.FindAllString(p.body, -1)
	if len(found) != 3 {
		t.Fatalf("links %v", found)
	}
	for _, at := range found {
		got := b.get(at)
		if got.status != http.StatusOK || got.header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
			t.Errorf("%s: %d %s", at, got.status, got.header.Get("Cache-Control"))
		}
	}
	b.get("/static/app.css").want(http.StatusNotFound)
	b.get("/favicon.ico").want(http.StatusOK)
	b.get("/robots.txt").want(http.StatusOK, "Disallow: /")
}

// First views stay small: people open them on trains. Pages have their limit in TestScreens.
func TestBudget(t *testing.T) {
	w := newWorld(t, false)
	for name, limit := range map[string]int{"app.css": 8 << 10, "app.js": 12 << 10, "push.js": 2 << 10, "icon.svg": 1 << 10} {
		if size := zipped(w.pages.static.files[w.pages.static.names[name]].body); size > limit {
			t.Errorf("%s: %d bytes, limit %d", name, size, limit)
		}
	}
}

func zipped(b []byte) int {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(b)
	z.Close()
	return out.Len()
}

func TestHandlerIsAHandler(t *testing.T) {
	w := newWorld(t, false)
	rec := httptest.NewRecorder()
	w.pages.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", "/signin", nil))
	if rec.Code != http.StatusOK || rec.Header().Get("Content-Language") != "en" {
		t.Errorf("%d %v", rec.Code, rec.Header())
	}
}

// A page speaks the person's language as soon as it knows the person, and the one that was chosen by hand before all.
func TestLanguage(t *testing.T) {
	w := newWorld(t, false)
	inv, err := w.pages.Invite(t.Context(), "min")
	check(t, err)
	b := w.browser()
	b.header.Set("Accept-Language", "ko-KR,ko;q=0.9,en;q=0.8")
	b.get("/signin").want(http.StatusOK, "아직 등록되지 않은 브라우저예요")
	b.header.Set("Accept-Language", "de")
	b.get("/signin").want(http.StatusOK, "This browser is not known yet")
	b.get(inv.URL).want(http.StatusOK, "초대를 받았어요", "English")
	p := b.follow(b.press(b.get(inv.URL+"?lang=en").want(http.StatusOK, "You are invited"), "/i/"))
	p.want(http.StatusOK, "Enter your code")
	done := b.press(p, "/code", "code", w.code("min")).want(http.StatusSeeOther)
	if to := done.header.Get("Location"); to != "/?lang=en" {
		t.Errorf("led to %s", to)
	}
	r := w.ask("min", payment)
	b.get("/").want(http.StatusOK, "요청함", "Example Travel에 480.00 EUR 결제")
	ask := b.get("/requests/"+string(r.ID)+"?lang=en").want(http.StatusOK, "Pay 480.00 EUR to Example Travel")
	b.follow(b.press(ask, "/approve")).want(http.StatusOK, "Approved at 22:26 KST.")
	if d := w.read(r).Decisions[0]; d.Locale != "en" {
		t.Errorf("decided in %s", d.Locale)
	}
	b.press(b.get("/"), "/signout")
	b.get("/signin").want(http.StatusOK, "문자로 인증번호 받기")
}
