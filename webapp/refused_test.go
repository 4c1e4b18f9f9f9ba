package webapp

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"assent/approvals"
)

// Whatever does not count leaves the request as it is, and an audit record that says who gave which answer, and why it did
// not count (ux 8 #2, #7).
func TestWhatDoesNotCountIsAudited(t *testing.T) {
	with := func(f formOf, field, value string) url.Values {
		out := url.Values{}
		for k := range f.fields {
			out.Set(k, f.fields.Get(k))
		}
		out.Set(field, value)
		return out
	}
	foreign := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Sec-Fetch-Site": {"cross-site"}}
	strong := func(a *approvals.Ask) { a.Level = approvals.LevelPasskey }
	tests := []struct {
		name   string
		change []func(*approvals.Ask)
		act    func(w *world, b *browserOf, f formOf)
		want   approvals.Refusal
	}{
		{"altered digest", nil, func(_ *world, b *browserOf, f formOf) {
			b.post(f.action, with(f, "digest", strings.Repeat("A", 43))).want(http.StatusConflict)
		}, approvals.RefusedChanged},
		{"another site", nil, func(_ *world, b *browserOf, f formOf) {
			b.send("POST", f.action, f.fields.Encode(), foreign).want(http.StatusForbidden)
		}, approvals.RefusedSite},
		{"a form of another sign-in", nil, func(w *world, _ *browserOf, f formOf) {
			w.signedIn("ann").post(f.action, f.fields).want(http.StatusForbidden)
		}, approvals.RefusedForm},
		{"too late", nil, func(w *world, b *browserOf, f formOf) {
			w.advance(295 * time.Second)
			b.post(f.action, f.fields).want(http.StatusSeeOther)
		}, approvals.RefusedLate},
		{"a passkey that is none", []func(*approvals.Ask){strong}, func(_ *world, b *browserOf, f formOf) {
			b.post(f.action, with(f, "credential", "{}")).want(http.StatusUnprocessableEntity)
		}, approvals.RefusedPasskey},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newNamedWorld(t)
			r := w.ask("ann", payment, tt.change...)
			b, _ := w.withPasskey("ann")
			tt.act(w, b, b.get("/requests/"+string(r.ID)).form("/approve"))
			events, err := w.store.Events(t.Context(), r.ID)
			check(t, err)
			last := events[len(events)-1]
			if last.Kind != approvals.KindRefused || last.By.ID != "ann" || last.Facts["reason"] != string(tt.want) {
				t.Errorf("audit record %+v, want %s", last, tt.want)
			}
			if got := w.read(r); got.State != approvals.Pending || len(got.Decisions) != 0 {
				t.Errorf("%s with %d decisions", got.State, len(got.Decisions))
			}
		})
	}
}

// A form that other sites make up for somebody who may not decide is no reason to write anything.
func TestForeignFormOfAStranger(t *testing.T) {
	w := newWorld(t, false)
	r := w.ask("ann", payment)
	foreign := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Sec-Fetch-Site": {"cross-site"}}
	for _, b := range []*browserOf{w.browser(), w.signedIn("min")} {
		b.send("POST", fmt.Sprintf("/requests/%s/approve", r.ID), "token=x", foreign).want(http.StatusForbidden)
	}
	if got := w.read(r); got.Events != 1 {
		t.Errorf("%d records", got.Events)
	}
}
