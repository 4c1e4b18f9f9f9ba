package webapp

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"assent/approvals"
)

// ladder is a Reach over what the directory knows: text messages to the number, and every address.
type ladder struct{ w *world }

func (l ladder) Ways(_ context.Context, p *approvals.Person) (ways []Way, err error) {
	kinds := map[string]string{"sms": WayPhone, "web": WayBrowser, "push": WayDevice}
	for _, a := range p.Addresses {
		ways = append(ways, Way{Address: a, Kind: kinds[a.Channel], Key: a.Value})
	}
	if p.Phone != "" && !slices.ContainsFunc(ways, func(w Way) bool { return w.Channel == "sms" }) {
		ways = append(ways, Way{Address: approvals.Address{Channel: "sms", Value: p.Phone, VerifiedAt: start}, Kind: WayPhone,
			Name: "+49 … 456"})
	}
	return ways, nil
}

func (l ladder) Drop(ctx context.Context, person approvals.PersonID, way Way) error {
	p, err := l.w.people.Person(ctx, person)
	if err != nil {
		return err
	}
	changed := *p
	changed.Addresses = slices.DeleteFunc(slices.Clone(p.Addresses), func(a approvals.Address) bool { return a.Value == way.Key })
	return l.w.people.SavePerson(ctx, &changed)
}

// reachable gives Ann a number, a browser and a device.
func (w *world) reachable() *browserOf {
	w.t.Helper()
	w.pages.Reach = ladder{w}
	w.change("ann", func(p *approvals.Person) {
		p.Phone = "+4930123456"
		p.Addresses = []approvals.Address{{Channel: "web", Value: "browser.1", VerifiedAt: start},
			{Channel: "push", Value: "device.1", VerifiedAt: start}}
	})
	return w.signedIn("ann")
}

func (w *world) order(who approvals.PersonID) string {
	w.t.Helper()
	p, err := w.people.Person(w.t.Context(), who)
	check(w.t, err)
	ways, err := w.pages.ways(w.t.Context(), p)
	check(w.t, err)
	var out []string
	for _, way := range ways {
		out = append(out, way.Channel)
	}
	return strings.Join(out, " ")
}

// way finds a form about the way with a label: the page shows them by name only.
func (p *page) labelled(label string) url.Values {
	p.t.Helper()
	for _, form := range p.all("form") {
		for _, button := range p.all("button") {
			if inside(button, form) && attr(button, "aria-label") == label {
				out := url.Values{"": {attr(form, "action")}}
				for _, in := range p.all("input") {
					if inside(in, form) {
						out.Set(attr(in, "name"), attr(in, "value"))
					}
				}
				return out
			}
		}
	}
	p.t.Fatalf("no button %q in\n%s", label, p.words())
	return nil
}

func (b *browserOf) pressLabelled(p *page, label string) *page {
	b.w.t.Helper()
	values := p.labelled(label)
	at := values.Get("")
	values.Del("")
	return b.post(at, values)
}

// A person puts the ways into their own order with buttons, and mutes what should bring no requests.
func TestSettingsOrderAndMute(t *testing.T) {
	w := newWorld(t, false)
	b := w.reachable()
	p := b.get("/settings").want(http.StatusOK, "Notifications in a browser", "App on a device", "+49 … 456")
	p.lacks("+4930123456", "browser.1", "device.1")
	b.pressLabelled(p, "Move +49 … 456 up").want(http.StatusSeeOther)
	if got := w.order("ann"); got != "web sms push" {
		t.Fatalf("order %q", got)
	}
	b.pressLabelled(b.get("/settings"), "Move Phone up").want(http.StatusSeeOther)
	b.pressLabelled(b.get("/settings"), "Move Notifications in a browser down").want(http.StatusSeeOther)
	if got := w.order("ann"); got != "sms push web" {
		t.Errorf("order %q", got)
	}
	if got := b.get("/settings").body; strings.Contains(got, "Move Phone up") || strings.Contains(got, "Move Notifications in a browser down") {
		t.Error("the ends can be moved on")
	}
	b.pressLabelled(b.get("/settings"), "Mute: Text messages").want(http.StatusSeeOther)
	b.pressLabelled(b.get("/settings").want(http.StatusOK, "muted"), "Unmute: Text messages").want(http.StatusSeeOther)
	b.pressLabelled(b.get("/settings"), "Mute: App notifications").want(http.StatusSeeOther)
	if ann, err := w.people.Person(t.Context(), "ann"); err != nil || !slices.Equal(ann.Muted, []string{"push"}) {
		t.Errorf("muted %v, %v", ann.Muted, err)
	}
	forged := p.labelled("Mute: Text messages")
	forged.Del("")
	forged.Set("channel", "pigeon")
	forged.Set("rev", b.get("/settings").labelled("Mute: Text messages").Get("rev"))
	b.post("/settings/mute", forged).want(http.StatusBadRequest)
}

// What brings messages goes only with a sign-in of just now, and a number never if it is the only way in.
func TestSettingsRemove(t *testing.T) {
	w := newNamedWorld(t)
	b := w.reachable()
	w.pages.CanSend = func(p *approvals.Person) bool { return p.Phone != "" }
	b.pressLabelled(b.get("/settings"), "Remove Notifications in a browser").want(http.StatusSeeOther)
	b.pressLabelled(b.get("/settings"), "Remove App on a device").want(http.StatusSeeOther)
	if got := w.order("ann"); got != "sms" {
		t.Fatalf("left: %q", got)
	}
	b.pressLabelled(b.get("/settings"), "Remove +49 … 456").want(http.StatusUnprocessableEntity, "your only way in")
	w.change("ann", func(p *approvals.Person) {
		p.Addresses = append(p.Addresses, approvals.Address{Channel: "push", Value: "device.2", VerifiedAt: start})
	})
	d := newDevice()
	b.use(b.get("/passkeys"), "/passkeys", d.Create).want(http.StatusSeeOther)
	w.advance(freshFor + time.Second)
	door := b.pressLabelled(b.get("/settings"), "Remove +49 … 456").want(http.StatusSeeOther)
	if got := door.header.Get("Location"); got != "/signin?fresh=1&next=%2Fsettings" {
		t.Fatalf("to %s", got)
	}
	device := b.pressLabelled(b.get("/settings"), "Remove App on a device").want(http.StatusSeeOther)
	if got := device.header.Get("Location"); got != "/signin?fresh=1&next=%2Fsettings" || w.order("ann") != "push sms" {
		t.Fatalf("to %s, left %s", got, w.order("ann"))
	}
	b.use(b.follow(door), "/signin/passkey", d.Get).want(http.StatusSeeOther)
	b.pressLabelled(b.get("/settings"), "Remove App on a device").want(http.StatusSeeOther)
	b.pressLabelled(b.get("/settings"), "Remove +49 … 456").want(http.StatusSeeOther)
	ann, err := w.people.Person(t.Context(), "ann")
	check(t, err)
	if ann.Phone != "" || len(ann.Addresses) > 0 {
		t.Errorf("left: %d addresses", len(ann.Addresses))
	}
	if found, err := w.people.Find(t.Context(), approvals.Name("phone", "+4930123456")); err == nil {
		t.Errorf("%s is still found by the number", found.ID)
	}
}

// Quiet hours, zone, language and detail count from the answer on. What cannot be is said, and nothing is changed.
func TestSettingsSaved(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	tests := []struct {
		name           string
		from, to, zone string
		status         int
		says           string
	}{
		{"a night", "22:00", "07:00", "Asia/Seoul", http.StatusSeeOther, ""},
		{"none", "", "", "America/New_York", http.StatusSeeOther, ""},
		{"half a night", "22:00", "", "UTC", http.StatusUnprocessableEntity, "Give two different times, or none."},
		{"all day", "08:00", "08:00", "UTC", http.StatusUnprocessableEntity, "Give two different times, or none."},
		{"no time", "25:00", "07:00", "UTC", http.StatusUnprocessableEntity, "Give two different times, or none."},
		{"no zone", "22:00", "07:00", "Mars/Base", http.StatusUnprocessableEntity, "We do not know that time zone."},
		{"the host's zone", "22:00", "07:00", "Local", http.StatusUnprocessableEntity, "We do not know that time zone."},
		{"a path", "22:00", "07:00", "../../etc/passwd", http.StatusUnprocessableEntity, "We do not know that time zone."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, err := w.people.Person(t.Context(), "ann")
			check(t, err)
			b.press(b.get("/settings"), "/settings", "from", tt.from, "to", tt.to, "zone", tt.zone).want(tt.status, tt.says)
			after, err := w.people.Person(t.Context(), "ann")
			check(t, err)
			if tt.status != http.StatusSeeOther {
				if after.Revision != before.Revision {
					t.Error("changed all the same")
				}
				return
			}
			if (after.Quiet != approvals.QuietHours{From: tt.from, To: tt.to}) || after.Zone != tt.zone {
				t.Errorf("saved %+v in %s", after.Quiet, after.Zone)
			}
		})
	}
	done := b.press(b.get("/settings"), "/settings", "locale", "ko", "detail", "summary").want(http.StatusSeeOther)
	b.follow(done).want(http.StatusOK, "설정", "방해 금지 시간")
	if ann, err := w.people.Person(t.Context(), "ann"); err != nil || ann.Detail != approvals.DetailSummary || ann.Locale != "ko" {
		t.Errorf("%q in %q, %v", ann.Detail, ann.Locale, err)
	}
	f := b.get("/settings").form("/settings").fields
	for name, bad := range map[string]string{"locale": "xx", "detail": "all"} {
		wrong := url.Values{}
		for k, v := range f {
			wrong[k] = v
		}
		wrong.Set(name, bad)
		b.post("/settings", wrong).want(http.StatusBadRequest)
	}
}

// Quiet hours that a person chose hold on the day when clocks are set forward and on the day when they are set back.
func TestQuietHoursOverClockChanges(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	b.press(b.get("/settings"), "/settings", "from", "01:30", "to", "03:00", "zone", "Europe/Berlin").want(http.StatusSeeOther)
	ann, err := w.people.Person(t.Context(), "ann")
	check(t, err)
	for at, want := range map[string]string{
		"2026-03-29T00:45:00Z": "2026-03-29T01:00:00Z", // 01:45 CET; 02:00 is 03:00 CEST
		"2026-10-25T00:45:00Z": "2026-10-25T02:00:00Z", // 02:45 CEST; 03:00 is CET
	} {
		now, err := time.Parse(time.RFC3339, at)
		check(t, err)
		if got := ann.Quiet.Until(now, ann.Zone).UTC().Format(time.RFC3339); got != want {
			t.Errorf("at %s until %s, want %s", at, got, want)
		}
	}
}

// A page that is older than the settings changes nothing and says so; of two tabs that save at once one wins.
func TestSettingsChangedElsewhere(t *testing.T) {
	w := newWorld(t, false)
	b := w.reachable()
	old := b.get("/settings")
	w.change("ann", func(p *approvals.Person) { p.Muted = []string{"sms"} })
	b.press(old, "/settings", "zone", "UTC").want(http.StatusConflict, "This was changed elsewhere.")
	b.pressLabelled(old, "Move +49 … 456 up").want(http.StatusConflict)
	b.pressLabelled(old, "Mute: App notifications").want(http.StatusConflict)
	b.pressLabelled(old, "Remove App on a device").want(http.StatusConflict)
	if got := w.order("ann"); got != "web push sms" {
		t.Errorf("order %q", got)
	}
	p := b.get("/settings")
	var mu sync.Mutex
	won := map[string]int{}
	var running sync.WaitGroup
	for _, zone := range []string{"Asia/Seoul", "Asia/Tokyo", "Europe/Paris", "Europe/Rome"} {
		running.Go(func() {
			got := b.press(p, "/settings", "zone", zone)
			mu.Lock()
			defer mu.Unlock()
			won[http.StatusText(got.status)]++
		})
	}
	running.Wait()
	if won["See Other"] != 1 || won["Conflict"] != 3 {
		t.Errorf("answers %v", won)
	}
}

func TestSettingsRefusals(t *testing.T) {
	w := newWorld(t, false)
	b, min := w.reachable(), w.signedIn("min")
	p := b.get("/settings")
	for _, at := range []string{"/settings", "/settings/mute", "/settings/move", "/settings/remove"} {
		w.browser().post(at, url.Values{}).want(http.StatusSeeOther)
		b.post(at, url.Values{"token": {"x"}}).want(http.StatusForbidden)
		min.post(at, url.Values{"token": {p.form("/settings").fields.Get("token")}}).want(http.StatusForbidden)
	}
	w.browser().get("/settings").want(http.StatusSeeOther)
	if strings.Contains(w.logged.String(), "+4930123456") {
		t.Error("the log holds a number")
	}
}

// Whoever has never set a time zone is offered that of the browser, and the others while typing; it counts once it is saved.
func TestSettingsZoneOfTheBrowser(t *testing.T) {
	t.Parallel()
	s := newStage(t, "en")
	_, err := chromedp.Call(s.ctx, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Tokyo"})
	check(t, err)
	s.signIn()
	s.visit("/settings")
	s.reads("Use that of this browser: Asia/Tokyo")
	s.click("[data-here]")
	if hidden := evaluate[bool](s.chromium, "document.querySelector('[data-here]').hidden"); !hidden {
		t.Error("what was taken is still offered")
	}
	if n := evaluate[int](s.chromium, "document.querySelectorAll('#zones option').length"); n < 100 {
		t.Errorf("%d zones are offered while typing", n)
	}
	evaluate[bool](s.chromium, "window.before = true")
	s.click("form[action^='/settings'] .yes")
	s.until("saved", "!window.before && document.querySelector('#zone')?.value === 'Asia/Tokyo'")
	p, err := s.w.pages.Directory.Person(t.Context(), s.who)
	check(t, err)
	if p.Zone != "Asia/Tokyo" {
		t.Errorf("zone is %q", p.Zone)
	}
}
