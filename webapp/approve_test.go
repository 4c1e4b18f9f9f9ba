package webapp

import (
	"net/http"
	"testing"

	"assent/approvals"
)

func TestApproveByLinkInDevMode(t *testing.T) {
	w := newWorld(t, true)
	r := w.ask("ann", payment)
	b := w.browser()
	landing := b.get("/r/" + w.handle(r)).want(http.StatusOK, r.ID.Ref(), "You have an approval request")
	landing.lacks("Example Travel", "480")
	ask := b.follow(b.press(landing, "/r/"))
	ask.want(http.StatusOK, "Pay 480.00 EUR to Example Travel", "Approve 480.00 EUR", "Check that your agent shows H3-91")
	b.follow(b.press(ask, "/approve")).want(http.StatusOK, "Approved at 14:26 CET. Travel Bot may now do this once.")

	got := w.read(r)
	if got.State != approvals.Approved {
		t.Fatalf("state %s", got.State)
	}
	d := got.Decisions[0]
	if d.By != "ann" || d.Level != approvals.LevelLink || len(d.AMR) != 0 || d.Via != "page" || d.Device != "Chrome (Android)" {
		t.Errorf("decision %+v", d)
	}
	if d.Digest != ask.byID("disclosure-digest") || d.Disclosure != ask.byID("disclosure-canonical") {
		t.Error("the decision is not bound to what was on the page")
	}
}
