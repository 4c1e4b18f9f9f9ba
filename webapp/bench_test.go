package webapp

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"assent/approvals"
)

// BenchmarkRequestPage is what the server does for a first view: cookie, session, disclosure, digest, template.
func BenchmarkRequestPage(b *testing.B) {
	w := startWorld(b, false, true)
	r := w.ask("ann", payment)
	cookie, writes := w.pages.begin(&visit{}, &approvals.Person{ID: "ann"}, approvals.LevelSession, "otp")
	check(b, w.store.Apply(b.Context(), writes...))
	for b.Loop() {
		req := httptest.NewRequestWithContext(b.Context(), "GET", "/requests/"+string(r.ID), nil)
		req.AddCookie(cookie)
		rec := httptest.NewRecorder()
		w.pages.ServeHTTP(rec, req)
		if rec.Code != http.StatusOK {
			b.Fatal(rec.Code)
		}
	}
}
