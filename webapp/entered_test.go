package webapp

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/html"

	"assent/approvals"
	"assent/ciba/rowtest"
)

// typed asks with a code that the person types.
func typed(code string) func(*approvals.Ask) {
	return func(a *approvals.Ask) { a.Binding, a.Enter = code, true }
}

// field finds an input by its id.
func (p *page) field(id string) *html.Node {
	for _, in := range p.all("input") {
		if attr(in, "id") == id {
			return in
		}
	}
	return nil
}

// Test 5 of the browser list, without a browser: right, wrong, pasted; a no takes no code, and the code is on no page.
func TestTypeTheCode(t *testing.T) {
	rowtest.Row(t, "REQ-271")
	tests := []struct {
		name, code string
		words      string
		status     int
		state      approvals.State
	}{
		{"right", "42", "", http.StatusSeeOther, approvals.Approved},
		{"pasted", " 42 ", "", http.StatusSeeOther, approvals.Approved},
		{"wrong", "24", "That code does not match. 2 tries left.", http.StatusUnprocessableEntity, approvals.Pending},
		{"nothing", "", "Type the 2 digits that your agent shows, nothing else.", http.StatusUnprocessableEntity, approvals.Pending},
		{"the agent's name", "Travel Bot", "Type the 2 digits that your agent shows, nothing else.", http.StatusUnprocessableEntity, approvals.Pending},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, false)
			r := w.ask("ann", payment, typed("42"))
			b, p := w.openPage(r)
			p.want(http.StatusOK, "Type the 2 digits your agent shows").lacks("Check that your agent shows", "You were not in a conversation")
			in := p.field("code")
			if in == nil || attr(in, "inputmode") != "numeric" || attr(in, "autocomplete") != "off" || attr(in, "form") != "approve" {
				t.Fatalf("field %+v", in)
			}
			if p.form("/deny").fields.Has("code") {
				t.Error("a no takes the code")
			}
			done := b.press(p, "/approve", "code", tt.code).want(tt.status, tt.words)
			if in := done.field("code"); in != nil && (attr(in, "aria-invalid") != "true" || attr(in, "aria-describedby") != "alert" || attr(in, "value") != "") {
				t.Errorf("field %+v", in)
			}
			if got := w.read(r); got.State != tt.state {
				t.Errorf("state %s", got.State)
			}
			if tt.state == approvals.Pending {
				b.follow(b.press(done, "/deny")).want(http.StatusOK, "Denied. Travel Bot was told no.")
			}
		})
	}
}

// Three wrong codes, in whatever tabs, and the request is denied; the words say why.
func TestTooManyTries(t *testing.T) {
	for who, words := range map[approvals.PersonID][3]string{
		"ann": {"That code does not match. 2 tries left.", "That code does not match. 1 try left.", "Too many tries. The request was denied to protect you."},
		"min": {"번호가 달라요. 2번 더 입력할 수 있어요.", "번호가 달라요. 1번 더 입력할 수 있어요.", "여러 번 틀려서 안전하게 거절했어요."},
	} {
		w := newWorld(t, false)
		r := w.ask(who, payment, typed("4829"))
		b, p := w.openPage(r)
		b.press(p, "/approve", "code", "1111").want(http.StatusUnprocessableEntity, words[0])
		b.press(p, "/approve", "code", "2222").want(http.StatusUnprocessableEntity, words[1])
		b.follow(b.press(p, "/approve", "code", "3333")).want(http.StatusOK, words[2])
		b.follow(b.press(p, "/approve", "code", "4829")).want(http.StatusOK, words[2])
		if got := w.read(r); got.State != approvals.Denied || got.Reason != approvals.WrongCode || len(got.Decisions) > 0 {
			t.Errorf("%s, %s", got.State, got.Reason)
		}
	}
}

// Two tabs, two wrong guesses in flight: both count.
func TestGuessesInTwoTabs(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment, typed("42"))
	b, p := w.openPage(r)
	f := p.form("/approve")
	f.fields.Set("code", "24")
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() { b.post(f.action, f.fields) })
	}
	all.Wait()
	b.press(b.open(r), "/approve", "code", "24")
	if got := w.read(r); got.State != approvals.Denied || got.CodeTries != 3 {
		t.Errorf("%s after %d tries", got.State, got.CodeTries)
	}
}

// The code that the agent shows is on no page, in no fragment and in no log.
func TestTypedCodeIsOnNoPage(t *testing.T) {
	rowtest.Row(t, "REQ-271")
	w := newWorld(t, false)
	const canary = "482913"
	r := w.ask("ann", payment, typed(canary))
	b, p := w.openPage(r)
	less := b.choose(r, "amount-0", "300.00").want(http.StatusOK, "Type the 6 digits your agent shows")
	pages := []*page{p, less, b.get("/"), b.get("/live?once=1&request=" + string(r.ID)), b.get("/requests/" + string(r.ID) + "/narrow")}
	wrong := b.press(less, "/approve", "code", "999999").want(http.StatusUnprocessableEntity, "2 tries left", "Approve 300.00 EUR")
	done := b.follow(b.press(wrong, "/approve", "code", canary)).want(http.StatusOK, "Approved at")
	for _, p := range append(pages, wrong, done, b.get("/")) {
		p.lacks(canary)
	}
	if strings.Contains(w.logged.String(), canary) {
		t.Error("the code is in the log")
	}
	got, err := json.Marshal(w.read(r))
	if check(t, err); strings.Contains(string(got), canary) || !strings.Contains(string(got), "300.00") {
		t.Errorf("%s", got)
	}
}

// A passkey takes the place of typing, for whoever has one; a page that takes a passkey has no field.
func TestPasskeyInsteadOfTheCode(t *testing.T) {
	rowtest.Row(t, "REQ-271")
	w := newNamedWorld(t)
	b, d := w.withPasskey("ann")
	r := w.ask("ann", payment, typed("42"))
	p := b.open(r).want(http.StatusOK, "Or confirm with your passkey")
	o := b.begun(p, "/approve")
	raw, err := json.Marshal(o)
	check(t, err)
	credential, err := d.Get(raw)
	check(t, err)
	f := p.form("/approve")
	f.fields.Del("code")
	f.fields.Set("ticket", o.Ticket)
	f.fields.Set("credential", credential)
	b.follow(b.post(f.action, f.fields)).want(http.StatusOK, "Approved at")
	if got := w.read(r); got.CodeTries != 0 || got.Decisions[0].Level != approvals.LevelPasskey {
		t.Errorf("%d tries, %+v", got.CodeTries, got.Decisions[0])
	}

	r = w.ask("ann", payment, high, typed("42"))
	p = b.open(r).want(http.StatusOK, "Your passkey takes the place of typing it.", "Type the 2 digits your agent shows")
	if p.field("code") != nil {
		t.Error("there is a field beside the passkey")
	}
	b.follow(b.use(p, "/approve", d.Get)).want(http.StatusOK, "Approved at")

	r = w.ask("ann", payment, typed("42"))
	b.press(b.open(r), "/approve", "code", "42").want(http.StatusSeeOther) // and typing still does
	if got := w.read(r); got.State != approvals.Approved {
		t.Error(got.State)
	}
}

// Who has to sign in better first is not asked for the code, and loses no try.
func TestSignInBeforeTheCode(t *testing.T) {
	w := newWorld(t, true)
	w.desk.Ceiling = approvals.LevelSession
	r := w.ask("ann", payment, typed("42"))
	b := w.browser()
	p := b.follow(b.press(b.get("/r/"+w.handle(r)), "/r/")).want(http.StatusOK, "To approve, you sign in with a code first.")
	if p.field("code") != nil {
		t.Error("the field is there before the sign-in")
	}
	if at := b.press(p, "/approve").want(http.StatusSeeOther).header.Get("Location"); !strings.HasPrefix(at, "/signin") {
		t.Errorf("leads to %s", at)
	}
	if got := w.read(r); got.CodeTries != 0 {
		t.Errorf("%d tries", got.CodeTries)
	}
}
