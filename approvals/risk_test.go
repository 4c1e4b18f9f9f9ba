package approvals_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"assent/approvals"
)

// payment is one object of a payment.
func payment(currency, amount, payee string) string {
	return fmt.Sprintf(`{"type":"payment_initiation","instructedAmount":{"currency":%q,"amount":%q},"creditorName":%q}`,
		currency, amount, payee)
}

// pays opens a request of an agent's to a person for payments.
func (o *office) pays(d *approvals.Desk, agent approvals.AgentID, who approvals.PersonID, objects ...string) *approvals.Request {
	o.t.Helper()
	a, err := o.dir.Agent(o.t.Context(), agent)
	if err != nil {
		o.t.Fatal(err)
	}
	p, err := o.dir.Person(o.t.Context(), who)
	if err != nil {
		o.t.Fatal(err)
	}
	details, err := d.Renderer.Types.Parse([]byte("["+strings.Join(objects, ",")+"]"), everything)
	if err != nil {
		o.t.Fatal(err)
	}
	r, _, err := d.Open(o.t.Context(), approvals.Ask{Agent: a, Subject: p, Scope: []string{"openid"}, Details: details})
	if err != nil {
		o.t.Fatal(err)
	}
	return r
}

// approves is what r's person says yes to, having read it in English.
func (o *office) approves(d *approvals.Desk, r *approvals.Request) {
	o.t.Helper()
	a := o.answer(r)
	a.By = r.Subject
	if _, err := d.Approve(o.t.Context(), r.ID, a); err != nil {
		o.t.Fatal(err)
	}
}

// risks are what the person reads as reasons to look closer.
func (o *office) risks(r *approvals.Request, locale string) string {
	o.t.Helper()
	shown, err := o.Show(r, locale)
	if err != nil {
		o.t.Fatal(err)
	}
	var found []string
	for _, f := range shown.Facts {
		if f.Role == approvals.RoleRisk {
			found = append(found, f.Text)
		}
	}
	return strings.Join(found, "; ")
}

// Reasons to look closer come from the person's own past decisions, and stay as they were when the request came.
func TestRisks(t *testing.T) {
	const euro, first, fresh = "EUR", "First request from this agent", "New payee"
	type past []string // amounts that Ann has approved to Shop
	tests := []struct {
		name string
		past past
		ask  []string
		want string
	}{
		{"nothing before", nil, []string{payment(euro, "480.00", "Shop")}, first + "; " + fresh},
		{"the same again", past{"EUR 10"}, []string{payment(euro, "10.00", "Shop")}, ""},
		{"another payee", past{"EUR 10"}, []string{payment(euro, "10.00", "Other Shop")}, fresh},
		{"a payee that only looks the same", past{"EUR 10"}, []string{payment(euro, "10.00", "Shop\u200b")}, fresh},
		{"another account of the payee", past{"EUR 10"}, []string{strings.Replace(payment(euro, "10.00", "Shop"), "}",
			`},"creditorAccount":{"iban":"DE02100100109307118603"}`, 1)}, fresh},
		{"two amounts say nothing", past{"EUR 10", "EUR 10"}, []string{payment(euro, "9999", "Shop")}, ""},
		{"below three times", past{"EUR 10", "EUR 10", "EUR 10"}, []string{payment(euro, "29.99", "Shop")}, ""},
		{"three times", past{"EUR 10", "EUR 10", "EUR 10"}, []string{payment(euro, "30.00", "Shop")}, "3× your usual amount"},
		{"rounded down", past{"EUR 10", "EUR 10", "EUR 10"}, []string{payment(euro, "89.99", "Shop")}, "8× your usual amount"},
		{"the median, not the mean", past{"EUR 10", "EUR 1000", "EUR 10"}, []string{payment(euro, "80", "Shop")}, "8× your usual amount"},
		{"between two", past{"EUR 10", "EUR 20", "EUR 30", "EUR 100"}, []string{payment(euro, "75", "Shop")}, "3× your usual amount"},
		{"thousands", past{"EUR 0.01", "EUR 0.01", "EUR 0.01"}, []string{payment(euro, "99999999999999999999.99", "Shop")},
			"9,999,999,999,999,999,999,999× your usual amount"},
		{"another currency", past{"EUR 10", "EUR 10", "EUR 10"}, []string{payment("KRW", "30000", "Shop")}, ""},
		{"cut into three", past{"EUR 10", "EUR 10", "EUR 10"}, []string{payment(euro, "10", "Shop"), payment(euro, "10", "Shop"),
			payment(euro, "10", "Shop")}, "3× your usual amount"},
		{"one of two payees", past{"EUR 10"}, []string{payment(euro, "10", "Shop"), payment(euro, "10", "Else")},
			"New payee · Part 2 of 2"},
		{"no payment", past{"EUR 10"}, []string{`{"type":"tool_call","tool":"deploy"}`}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newOffice(t)
			for _, amount := range tt.past {
				o.approves(o.Desk, o.pays(o.Desk, "bot", "ann", payment(euro, strings.TrimPrefix(amount, "EUR "), "Shop")))
				o.wait(time.Second)
			}
			r := o.pays(o.Desk, "bot", "ann", tt.ask...)
			if got := o.risks(r, "en"); got != tt.want {
				t.Errorf("risks %q, want %q", got, tt.want)
			}
			anew := approvals.NewDesk(o.parts(o.store, approvals.NewHub()))
			if got := o.risks(o.pays(anew, "bot", "ann", tt.ask...), "en"); got != tt.want {
				t.Errorf("after a restart %q, want %q", got, tt.want)
			}
			if got := o.risks(o.pays(o.Desk, "bot", "bob", tt.ask...), "en"); !strings.HasPrefix(got, first) || strings.Contains(got, "usual") {
				t.Errorf("Bob reads %q, who has decided nothing", got)
			}
			shown, err := o.Show(r, "ko")
			if err != nil || strings.Count(o.risks(r, "ko"), ";") != strings.Count(tt.want, ";") {
				t.Errorf("in Korean %v, %v", shown.Facts, err)
			}
		})
	}
}

// What is said of a request is true of what is left of it: of a lower amount, and of the payees that stay.
func TestRisksOfWhatIsLeft(t *testing.T) {
	o := newOffice(t)
	for range 3 {
		o.approves(o.Desk, o.pays(o.Desk, "bot", "ann", payment("EUR", "10", "Shop")))
	}
	r := o.pays(o.Desk, "bot", "ann", payment("EUR", "90", "Shop"), payment("EUR", "10", "Other"), payment("EUR", "20", "Else"))
	if got, want := o.risks(r, "en"), "12× your usual amount; New payee · Part 2 of 3; New payee · Part 3 of 3"; got != want {
		t.Errorf("all of it: %q, want %q", got, want)
	}
	for _, tt := range []struct {
		name  string
		parts map[int]approvals.Part
		want  string
	}{
		{"less", map[int]approvals.Part{0: {Amount: "40"}}, "7× your usual amount; New payee · Part 2 of 3; New payee · Part 3 of 3"},
		{"two", map[int]approvals.Part{1: {Leave: true}}, "11× your usual amount; New payee · Part 2 of 2"},
		{"one", map[int]approvals.Part{0: {Leave: true}, 1: {Leave: true}}, "New payee"},
	} {
		shown, err := o.Renderer.DiscloseNarrowed(r, approvals.Choice{Parts: tt.parts}, "en")
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, f := range shown.Facts {
			if f.Role == approvals.RoleRisk {
				found = append(found, f.Text)
			}
		}
		if got := strings.Join(found, "; "); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// parts are those of another process over a store.
func (o *office) parts(s approvals.Store, hub *approvals.Hub) approvals.DeskParts {
	return approvals.DeskParts{Store: s, Records: o.store, Directory: o.dir, Hub: hub, Hash: hash, Now: o.now,
		Log: slog.New(slog.DiscardHandler)}
}

// Who was denied is known; whom nobody answered is not; an approval that was taken back paid nobody.
func TestWhatMakesAnAgentKnown(t *testing.T) {
	const ask, first, fresh = "10.00", "First request from this agent", "New payee"
	tests := []struct {
		name string
		act  func(o *office, r *approvals.Request)
		want string
	}{
		{"pending", func(*office, *approvals.Request) {}, first + "; " + fresh},
		{"denied", func(o *office, r *approvals.Request) { o.denies(r) }, fresh},
		{"approved", func(o *office, r *approvals.Request) { o.approves(o.Desk, r) }, ""},
		{"approved and taken back", func(o *office, r *approvals.Request) {
			o.approves(o.Desk, r)
			if _, err := o.Cancel(o.t.Context(), r.ID, approvals.Actor{Kind: "person"}, approvals.WithdrawnByPerson); err != nil {
				o.t.Fatal(err)
			}
		}, first + "; " + fresh},
		{"unanswered", func(o *office, r *approvals.Request) {
			o.wait(time.Hour)
			if _, err := o.Sweep(o.t.Context()); err != nil {
				o.t.Fatal(err)
			}
		}, first + "; " + fresh},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newOffice(t)
			tt.act(o, o.pays(o.Desk, "bot", "ann", payment("EUR", ask, "Shop")))
			for name, d := range map[string]*approvals.Desk{"here": o.Desk, "read anew": approvals.NewDesk(o.parts(o.store, approvals.NewHub()))} {
				if got := o.risks(o.pays(d, "bot", "ann", payment("EUR", ask, "Shop")), "en"); got != tt.want {
					t.Errorf("%s: %q, want %q", name, got, tt.want)
				}
			}
		})
	}
}

// The day of the first approval is shown, and stays when that approval is no longer there.
func TestActingSince(t *testing.T) {
	o := newOffice(t)
	since := func(r *approvals.Request) string {
		shown, err := o.Show(r, "en")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range shown.Facts {
			if f.Role == approvals.RoleAbout {
				return f.Label + " " + f.Text
			}
		}
		return ""
	}
	first := o.pays(o.Desk, "bot", "ann", payment("EUR", "1", "Shop"))
	if got := since(first); got != "" {
		t.Errorf("the first request: %q", got)
	}
	o.approves(o.Desk, first)
	o.wait(48 * time.Hour)
	second := o.pays(o.Desk, "bot", "ann", payment("EUR", "1", "Shop"))
	o.approves(o.Desk, second)
	if _, err := o.store.Update(t.Context(), first.ID, func(r *approvals.Request) error { r.Forget(); return nil }); err != nil {
		t.Fatal(err)
	}
	anew := approvals.NewDesk(o.parts(o.store, approvals.NewHub()))
	for _, d := range []*approvals.Desk{o.Desk, anew} {
		if got := since(o.pays(d, "bot", "ann", payment("EUR", "1", "Shop"))); got != "Acting for you since 14 March 2027" {
			t.Errorf("%q", got)
		}
	}
	if got := since(o.pays(o.Desk, "bot", "bob", payment("EUR", "1", "Shop"))); got != "" {
		t.Errorf("Bob reads %q", got)
	}
}

// Who operates an agent is read as it was registered when the request came; one that registered itself is named as such.
func TestWhoOperates(t *testing.T) {
	o := newOffice(t)
	o.saveAgent(&approvals.Agent{ID: "run", Name: "Run Bot", Operator: "Example GmbH", Types: []string{"payment_initiation"}})
	r := o.wants("", func(a *approvals.Ask) {
		a.Agent, _ = o.dir.Agent(t.Context(), "run")
		a.SelfRegistered = true
	})
	for locale, want := range map[string][2]string{
		"en": {"Operated by Example GmbH", "This agent registered itself. Nobody has checked who operates it.; First request from this agent"},
		"ko": {"운영하는 곳 Example GmbH", "스스로 등록한 에이전트예요. 누가 운영하는지 확인되지 않았어요.; 처음 요청한 에이전트예요"},
	} {
		shown, err := o.Show(r, locale)
		if err != nil {
			t.Fatal(err)
		}
		if f := shown.Facts[2]; f.Role != approvals.RoleAbout || f.Label+" "+f.Text != want[0] || o.risks(r, locale) != want[1] {
			t.Errorf("%s: %v, risks %q", locale, f, o.risks(r, locale))
		}
	}
	for _, bad := range []string{strings.Repeat("x", 101), "a\u202eb", " x"} {
		if err := (&approvals.Agent{ID: "x", Name: "X", Operator: bad}).Validate(); !errors.Is(err, approvals.ErrInvalid) {
			t.Errorf("operator %q: %v", bad, err)
		}
	}
}

// Requests that say the same are joined whatever the person's past says of them meanwhile.
func TestRisksDoNotPartEqualRequests(t *testing.T) {
	o := newOffice(t)
	o.Prompts = approvals.DefaultPromptLimits()
	known := o.pays(o.Desk, "bot", "ann", payment("EUR", "1", "Shop"))
	first := o.pays(o.Desk, "bot", "ann", payment("EUR", "5", "Shop"))
	o.approves(o.Desk, known) // now agent and payee are known
	second := o.pays(o.Desk, "bot", "ann", payment("EUR", "5", "Shop"))
	if o.risks(first, "en") == o.risks(second, "en") || second.Joins != first.ID {
		t.Errorf("risks %q and %q, joins %q, want %q", o.risks(first, "en"), o.risks(second, "en"), second.Joins, first.ID)
	}
}

// counted counts the lists that are read.
type counted struct {
	approvals.Store
	lists *atomic.Int64
	slow  chan struct{} // a list waits for it, if there is one
}

func (c counted) List(ctx context.Context, q approvals.Query) ([]*approvals.Request, error) {
	c.lists.Add(1)
	if c.slow != nil {
		<-c.slow
	}
	return c.Store.List(ctx, q)
}

// A person's past is read once, however far apart requests are; after that requests and decisions read nothing. Another
// process's decision is heard of.
func TestHabitsAreReadOnce(t *testing.T) {
	o := newOffice(t)
	var lists atomic.Int64
	hub := approvals.NewHub()
	parts := o.parts(counted{Store: o.store, lists: &lists}, hub)
	parts.Fresh = time.Minute
	d := approvals.NewDesk(parts)
	for range 10 {
		o.approves(d, o.pays(d, "bot", "ann", payment("EUR", "1", "Shop")))
		o.wait(time.Hour)
	}
	if n := lists.Load(); n != 1 {
		t.Errorf("ten requests and decisions read %d lists", n)
	}
	o.hub.Mirror(func(topics []string) { hub.Deliver(topics...) }) // o.Desk is another process now
	o.approves(o.Desk, o.pays(o.Desk, "bot", "ann", payment("EUR", "1", "Else")))
	if got := o.risks(o.pays(d, "bot", "ann", payment("EUR", "1", "Else")), "en"); got != "" || lists.Load() != 2 {
		t.Errorf("after another process's decision %q, %d lists", got, lists.Load())
	}
}

// What the history no longer holds is no longer known, here and in other processes.
func TestHabitsForgetWithTheHistory(t *testing.T) {
	o := newOffice(t)
	hub := approvals.NewHub()
	other := approvals.NewDesk(o.parts(o.store, hub))
	o.hub.Mirror(func(topics []string) { hub.Deliver(topics...) })
	o.denies(o.pays(o.Desk, "bot", "ann", payment("EUR", "1", "Shop")))
	if got := o.risks(o.pays(other, "bot", "ann", payment("EUR", "1", "Shop")), "en"); got != "New payee" {
		t.Errorf("right after it %q", got)
	}
	o.wait(o.Terms.History + 24*time.Hour)
	for range 3 { // the end of the requests, then that of what is kept of them
		if _, err := o.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		o.wait(o.Terms.History + 24*time.Hour)
	}
	for name, d := range map[string]*approvals.Desk{"here": o.Desk, "there": other} {
		got := o.risks(o.pays(d, "bot", "ann", payment("EUR", "1", "Shop")), "en")
		if want := "First request from this agent; New payee"; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// Many who come for a cold person wait for one reading, and those who come for others do not wait.
func TestColdPersonIsReadOnce(t *testing.T) {
	o := newOffice(t)
	var lists atomic.Int64
	slow := make(chan struct{})
	d := approvals.NewDesk(o.parts(counted{o.store, &lists, slow}, approvals.NewHub()))
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() { o.pays(d, "bot", "ann", payment("EUR", "1", "Shop")) })
	}
	close(slow)
	all.Wait()
	if n := lists.Load(); n != 1 {
		t.Errorf("32 at once read %d lists", n)
	}
}

// Decisions and requests of one person side by side leave memory as the store has it.
func TestHabitsUnderRace(t *testing.T) {
	o := newOffice(t)
	var all sync.WaitGroup
	for i := range 5 { // with usualOf amounts in all, the order of which does not count
		all.Go(func() {
			for n := range 4 {
				r := o.pays(o.Desk, "bot", "ann", payment("EUR", fmt.Sprint(1+n), fmt.Sprint("Shop ", i)))
				o.approves(o.Desk, r)
			}
		})
	}
	all.Wait()
	anew := approvals.NewDesk(o.parts(o.store, approvals.NewHub()))
	for _, ask := range []string{payment("EUR", "9", "Shop 3"), payment("EUR", "2", "Shop 9")} {
		here, there := o.risks(o.pays(o.Desk, "bot", "ann", ask), "en"), o.risks(o.pays(anew, "bot", "ann", ask), "en")
		if here != there {
			t.Errorf("memory says %q, the store %q", here, there)
		}
	}
}

// What cannot be compared is not asked: a request without its warnings would be a lie.
func TestNoHabitsNoRequest(t *testing.T) {
	o := newOffice(t)
	d := approvals.NewDesk(o.parts(broken{o.store}, approvals.NewHub()))
	agent, _ := o.dir.Agent(t.Context(), "bot")
	ann, _ := o.dir.Person(t.Context(), "ann")
	if _, _, err := d.Open(t.Context(), approvals.Ask{Agent: agent, Subject: ann}); !errors.Is(err, approvals.ErrUnavailable) {
		t.Errorf("open: %v", err)
	}
}

type broken struct{ approvals.Store }

func (broken) List(context.Context, approvals.Query) ([]*approvals.Request, error) {
	return nil, approvals.ErrUnavailable
}
