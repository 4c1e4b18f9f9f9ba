package webapp

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"assent/approvals"
	"assent/ciba/rowtest"
)

// choose opens the page on which less is chosen, from its link, and submits it with other values; "" unticks a box.
func (b *browserOf) choose(r *approvals.Request, typed ...string) *page {
	b.w.t.Helper()
	ask := b.open(r)
	at := ""
	for _, a := range ask.all("a") {
		if attr(a, "id") == "narrow" {
			at = attr(a, "href")
		}
	}
	if at == "" {
		b.w.t.Fatalf("no way to change anything in\n%s", ask.words())
	}
	f := b.get(at).want(http.StatusOK).form("/narrow")
	for i := 0; i+1 < len(typed); i += 2 {
		if typed[i+1] == "" {
			f.fields.Del(typed[i])
			continue
		}
		f.fields.Set(typed[i], typed[i+1])
	}
	return b.post(f.action, f.fields)
}

// REQ-102: less is approved in two steps and without script, and the page of the result says so.
func TestApproveLess(t *testing.T) {
	rowtest.Row(t, "REQ-102")
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	b := w.signedIn("ann")
	before := w.read(r).Rev
	b.get("/requests/"+string(r.ID)+"/narrow").want(http.StatusOK, "Nothing is approved yet.")
	less := b.choose(r, "amount-0", " 300.00 ").want(http.StatusOK, "Pay 300.00 EUR to Example Travel", "Asked for480.00 EUR",
		"Approve 300.00 EUR", "You changed this. Only what you read here is approved.", "Check that your agent shows H3-91")
	if got := w.read(r); got.Rev != before || got.State != approvals.Pending {
		t.Fatalf("choosing changed the request: revision %d, %s", got.Rev, got.State)
	}
	if b.open(r).form("/approve").fields.Get("digest") == less.form("/approve").fields.Get("digest") {
		t.Fatal("both pages have one digest")
	}
	done := b.follow(b.press(less, "/approve")).want(http.StatusOK, "Approved at 14:26 CET.", "Pay 300.00 EUR to Example Travel", "Asked for480.00 EUR")
	got := w.read(r)
	const granted = `{"creditorAccount":{"iban":"DE02120300000000202051"},"creditorName":"Example Travel","instructedAmount":` +
		`{"amount":"300.00","currency":"EUR"},"remittanceInformationUnstructured":"Flight and hotel, 4 nights","type":"payment_initiation"}`
	if string(got.Granted[0].Raw) != granted {
		t.Errorf("granted %s", got.Granted[0].Raw)
	}
	d := got.Decisions[0]
	if d.Digest != less.byID("disclosure-digest") || d.Disclosure != less.byID("disclosure-canonical") ||
		d.Disclosure != done.byID("disclosure-canonical") {
		t.Error("the decision is not bound to what was on the page")
	}
}

// Whole objects, values of a list and time can be taken away, each alone and together.
func TestApproveLessOfSeveral(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	stand := func(a *approvals.Ask) { a.Scope, a.Standing = []string{"openid", "offline_access"}, true }
	const share = `[{"type":"document_access","identifier":"doc-1","actions":["read","share","delete"]}]`
	tests := []struct {
		name, details string
		change        func(*approvals.Ask)
		typed         []string
		words         string
		granted       []string
		until         time.Duration // from the end of approving; 0: not at all
	}{
		{"part", two, nil, []string{"part-0", ""}, "Left outPay 480.00 EUR to Example Travel", []string{"document_access"}, 0},
		{"parts and list", two, nil, []string{"value-1-share", "", "amount-0", "1"}, "Asked forRead, Share", []string{`"1.00"`, `["read"]`}, 0},
		{"list", share, nil, []string{"value-0-delete", "", "value-0-share", ""}, "Approve: Read", []string{`["read"]`}, 0},
		{"once", share, stand, []string{"lasts", "once"}, "The agent has to ask you again each time", []string{`["read","share","delete"]`}, 0},
		{"week", share, stand, []string{"lasts", "week"}, "Asked forUntil 1 April 2026", []string{`["read","share","delete"]`}, 7 * 24 * time.Hour},
		{"list and day", share, stand, []string{"lasts", "day", "value-0-read", ""}, "Approve: Share, Delete", []string{`["share","delete"]`}, 24 * time.Hour},
		{"grouped", strings.ReplaceAll(payment, "480.00", "4800000.00"), nil, []string{"amount-0", "1,200,000.5"}, "1,200,000.50 EUR", []string{`"1200000.50"`}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			change := func(a *approvals.Ask) {
				if tt.change != nil {
					tt.change(a)
				}
			}
			r := w.ask("ann", tt.details, change)
			less := b.choose(r, tt.typed...).want(http.StatusOK, tt.words)
			b.follow(b.press(less, "/approve")).want(http.StatusOK, "Approved at")
			got := w.read(r)
			if got.State != approvals.Approved || len(got.Granted) != len(tt.granted) {
				t.Fatalf("%v, granted %v", got.State, got.Granted)
			}
			for i, part := range tt.granted {
				if !strings.Contains(string(got.Granted[i].Raw), part) {
					t.Errorf("granted %s, want %s", got.Granted[i].Raw, part)
				}
			}
			want := time.Time{}
			if tt.until > 0 {
				want = got.DecideBy.Add(tt.until)
			}
			if !got.Until.Equal(want) {
				t.Errorf("may come back until %v, want %v", got.Until, want)
			}
		})
	}
}

// What is no choice is said at its place, with what was typed, and nothing is approved by it.
func TestChoiceRefused(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	r := w.ask("ann", two)
	for _, tt := range []struct {
		name  string
		typed []string
		words string
	}{
		{"nothing", nil, "You have not changed anything yet."},
		{"the same", []string{"amount-0", "480"}, "You have not changed anything yet."},
		{"more", []string{"amount-0", "480.01"}, "Type an amount in digits, of at most 480.00 EUR."},
		{"no number", []string{"amount-0", "all <b>"}, "Type an amount in digits, of at most 480.00 EUR."},
		{"no amount", []string{"amount-0", " "}, "Type an amount in digits, of at most 480.00 EUR."},
		{"no part", []string{"part-0", "", "part-1", ""}, "Keep at least one part."},
		{"empty list", []string{"value-1-read", "", "value-1-share", ""}, "Keep at least one of each list."},
	} {
		p := b.choose(r, tt.typed...).want(http.StatusUnprocessableEntity, tt.words)
		if f := p.form("/narrow").fields; len(tt.typed) > 0 && tt.typed[1] != "" && f.Get(tt.typed[0]) != tt.typed[1] {
			t.Errorf("%s: %q is lost", tt.name, tt.typed[1])
		}
		if p.hasForm("/approve") {
			t.Errorf("%s: can be approved", tt.name)
		}
	}
	f := b.get("/requests/" + string(r.ID) + "/narrow").form("/narrow")
	for name, change := range map[string]func(url.Values){
		"unknown field": func(v url.Values) { v.Set("amount-7", "1") },
		"time":          func(v url.Values) { v.Set("lasts", "once") },
	} {
		v := url.Values{}
		for k := range f.fields {
			v.Set(k, f.fields.Get(k))
		}
		change(v)
		if p := b.post(f.action, v); p.status < 400 || p.hasForm("/approve") {
			t.Errorf("%s: %d", name, p.status)
		}
	}
	f.fields.Set("token", "x")
	b.post(f.action, f.fields).want(http.StatusForbidden)
	stranger := w.signedIn("min")
	stranger.get("/requests/"+string(r.ID)+"/narrow").want(http.StatusForbidden, "다른 사람에게 온 요청이에요").lacks("480")
	if got := w.read(r); got.State != approvals.Pending || len(got.Decisions) > 0 {
		t.Error(got.State)
	}
}

// The approving form is bound to its choice: another choice, none, or one that is not allowed approves nothing.
func TestChoiceAltered(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	r := w.ask("ann", payment)
	f := b.choose(r, "amount-0", "300.00").form("/approve")
	for name, tt := range map[string]struct {
		choice string
		status int
	}{
		"more":        {`{"parts":{"0":{"amount":"300.01"}}}`, http.StatusConflict},
		"wider":       {`{"parts":{"0":{"amount":"480.01"}}}`, http.StatusConflict},
		"none":        {"", http.StatusConflict},
		"another":     {`{"parts":{"1":{"leave":true}}}`, http.StatusConflict},
		"not ours":    {`{"x":1}`, http.StatusBadRequest},
		"not JSON":    {"{", http.StatusBadRequest},
		"twice":       {`{"parts":{"0":{"amount":"1","amount":"300.00"}}}`, http.StatusBadRequest},
		"oversized":   {`{"lasts":"` + strings.Repeat("x", 9000) + `"}`, http.StatusBadRequest},
		"time of one": {`{"lasts":"once","parts":{"0":{"amount":"300.00"}}}`, http.StatusConflict},
	} {
		altered := url.Values{}
		for k := range f.fields {
			altered.Set(k, f.fields.Get(k))
		}
		altered.Set("choice", tt.choice)
		p := b.post(f.action, altered)
		if p.status != tt.status || tt.status == http.StatusConflict && !strings.Contains(p.words(), "This request changed. Please read it again.") {
			t.Errorf("%s: %d %s", name, p.status, p.words())
		}
	}
	if got := w.read(r); got.State != approvals.Pending {
		t.Fatal(got.State)
	}
	b.post(f.action, f.fields).want(http.StatusSeeOther)
	b.get("/requests/" + string(r.ID) + "/narrow").want(http.StatusSeeOther) // decided: nothing is left to choose
}

// What cannot be narrowed offers nothing of the kind.
func TestNothingToTakeAway(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	for _, details := range []string{tool, `[]`, `[{"type":"document_access","identifier":"d","actions":["read"]}]`} {
		r := w.ask("ann", details)
		b.open(r).want(http.StatusOK).lacks("Change before approving")
		b.get("/requests/" + string(r.ID) + "/narrow").want(http.StatusSeeOther)
	}
}

// No is as easy on the page of less, and its live part shows what was decided elsewhere.
func TestNarrowedPageLives(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	r := w.ask("ann", payment)
	less := b.choose(r, "amount-0", "300.00")
	at, seen := "", ""
	for _, n := range less.all("div") {
		if attr(n, "id") == "live" {
			at, seen = attr(n, "data-live"), attr(n, "data-seen")
		}
	}
	b.get(at + "&once=1&seen=" + url.QueryEscape(seen)).want(http.StatusNoContent)
	b.get(at+"&once=1").want(http.StatusOK, "Approve 300.00 EUR")
	b.get(strings.Replace(at, "choice=", "choice=x", 1) + "&once=1").want(http.StatusBadRequest)
	b.follow(b.press(less, "/deny")).want(http.StatusOK, "Denied. Travel Bot was told no.")
	if d := w.read(r).Decisions[0]; d.Digest != less.byID("disclosure-digest") {
		t.Error("the no is not bound to what was on the page")
	}
	b.get(at+"&once=1").want(http.StatusOK, "Denied. Travel Bot was told no.")
}

// Reporting works from the page of less as well, and keeps what was on the screen.
func TestReportFromTheNarrowedPage(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	r := w.ask("ann", payment)
	less := b.choose(r, "amount-0", "300.00")
	b.follow(b.press(less, "/report")).want(http.StatusOK, "Denied and reported.")
	if d := w.read(r).Decisions[0]; !d.Reported || d.Digest != less.byID("disclosure-digest") {
		t.Errorf("%+v", d)
	}
}

// A passkey confirms what is granted: its yes to all is no yes to less, and the other way round.
func TestConfirmLess(t *testing.T) {
	w := newNamedWorld(t)
	b, d := w.withPasskey("ann")
	w.advance(time.Minute)
	r := w.ask("ann", payment, high)
	full, less := b.open(r), b.choose(r, "amount-0", "300.00").want(http.StatusOK, "To approve, you confirm with your passkey.")
	signed := func(p *page) (ticket, credential string) {
		o := b.begun(p, "/approve")
		raw, err := json.Marshal(o)
		check(t, err)
		credential, err = d.Get(raw)
		check(t, err)
		return o.Ticket, credential
	}
	for _, pair := range [][2]*page{{full, less}, {less, full}} {
		f := pair[1].form("/approve")
		ticket, credential := signed(pair[0])
		f.fields.Set("ticket", ticket)
		f.fields.Set("credential", credential)
		b.post(f.action, f.fields).want(http.StatusUnprocessableEntity, "That passkey was not accepted.")
	}
	// The same page with another granted digest than the one that was signed: only the choice differs.
	f := less.form("/approve")
	ticket, credential := signed(less)
	f.fields.Set("ticket", ticket)
	f.fields.Set("credential", credential)
	f.fields.Set("choice", `{"parts":{"0":{"amount":"300.01"}}}`)
	b.post(f.action, f.fields).want(http.StatusUnprocessableEntity, "That passkey was not accepted.")
	if got := w.read(r); got.State != approvals.Pending {
		t.Fatal(got.State)
	}
	b.press(less, "/approve").want(http.StatusUnprocessableEntity, "Nothing was approved: this needs your passkey", "Approve 300.00 EUR")
	b.follow(b.use(less, "/approve", d.Get)).want(http.StatusOK, "Approved at 14:27 CET.", "Pay 300.00 EUR")
	if got := w.read(r); got.Decisions[0].Level.ACR() != "phr" || !strings.Contains(string(got.Granted[0].Raw), "300.00") {
		t.Errorf("%+v", got.Decisions[0])
	}
}

// A note that is too long is said on the same page, and hidden characters of one are shown as marks.
func TestNoteFromTheNarrowedPage(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("min")
	r := w.ask("min", payment)
	less := b.choose(r, "amount-0", "300.00")
	again := b.press(less, "/deny", "note", strings.Repeat("가", 281)).want(http.StatusUnprocessableEntity,
		"메모가 너무 길어요. 280자까지 써 주세요.", "300.00 EUR 승인")
	b.follow(b.press(again, "/deny", "note", "너무 비싸요.\u202e")).want(http.StatusOK, "너무 비싸요.⟨U+202E⟩")
}
