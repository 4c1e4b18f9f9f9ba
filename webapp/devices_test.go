package webapp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/approvals"
)

// drawer keeps devices in memory, and what went to each.
type drawer struct {
	records approvals.Records
	now     func() time.Time

	mu   sync.Mutex
	kept map[string]kept // by token, which is also the id
	fail error
}

type kept struct {
	NewDevice
	person   approvals.PersonID
	code     string
	verified time.Time
}

func (d *drawer) Register(ctx context.Context, person approvals.PersonID, n NewDevice, also ...approvals.Write) (
	Registered, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.fail != nil:
		return Registered{}, d.fail
	case n.Token == "":
		return Registered{}, &approvals.FieldError{Field: "token", Rule: "must be there"}
	}
	if err := d.records.Apply(ctx, also...); err != nil {
		return Registered{}, err
	}
	if k := d.kept[n.Token]; k.person == person && !k.verified.IsZero() {
		return Registered{ID: n.Token, Verified: true}, nil
	}
	d.kept[n.Token] = kept{NewDevice: n, person: person, code: "code of " + n.Token}
	return Registered{ID: n.Token, Expires: d.now().Add(10 * time.Minute)}, nil
}

func (d *drawer) Confirm(_ context.Context, id, code string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.kept[id]
	if k.code == "" || k.code != code {
		return approvals.ErrNotFound
	}
	k.verified, k.code = d.now(), ""
	d.kept[id] = k
	return nil
}

func (d *drawer) List(_ context.Context, person approvals.PersonID) (out []Device, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, k := range d.kept {
		if k.person == person && !k.verified.IsZero() {
			out = append(out, Device{ID: id, Name: k.Name, Platform: k.Platform, AddedAt: k.verified})
		}
	}
	return out, d.fail
}

func (d *drawer) Remove(_ context.Context, person approvals.PersonID, id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.kept[id].person != person || person == "" {
		return approvals.ErrNotFound
	}
	delete(d.kept, id)
	return nil
}

func (d *drawer) of(person approvals.PersonID) []Device {
	list, _ := d.List(context.Background(), person)
	return list
}

// call makes a call as an app does: JSON, without the headers of a browser.
func (b *browserOf) call(method, at, body string) *page {
	b.w.t.Helper()
	return b.send(method, at, body, http.Header{"Content-Type": {"application/json"}})
}

// says checks an answer of the app's interface.
func (p *page) says(status int, member, want string) *page {
	p.t.Helper()
	var got map[string]any
	if err := json.Unmarshal([]byte(p.body), &got); err != nil || p.status != status || fmt.Sprint(got[member]) != want {
		p.t.Errorf("%s: %d %s, want %d with %s %q", p.at, p.status, p.body, status, member, want)
	}
	return p
}

// enrolment presses the button and reads the code off the page, as the app reads it off the screen.
func (w *world) enrolment(b *browserOf) string {
	w.t.Helper()
	link := b.press(b.get("/devices"), "/devices").want(http.StatusOK).byID("enrolment")
	at, code, found := strings.Cut(link, "#")
	if !found || at != w.server.URL+"/devices" {
		w.t.Fatalf("code says %s", link)
	}
	return code
}

const phone = `{"token":"phone-1","platform":"android","name":"Ann's phone"}`

func withCode(code string) string {
	return strings.Replace(phone, "{", `{"enrolment":"`+code+`",`, 1)
}

// A signed-in person adds, lists and removes devices, and nobody else's.
func TestDevicesBySession(t *testing.T) {
	w := newWorld(t, false)
	ann, min := w.signedIn("ann"), w.signedIn("min")
	ann.call("POST", "/me/devices", phone).says(http.StatusAccepted, "state", "testing").
		says(http.StatusAccepted, "expires_in", "600").says(http.StatusAccepted, "id", "phone-1")
	ann.call("GET", "/me/devices", "").says(http.StatusOK, "devices", "[]")
	w.browser().call("POST", "/me/devices/phone-1/confirm", `{"code":"wrong"}`).says(http.StatusNotFound, "error", "not_found")
	w.browser().call("POST", "/me/devices/phone-1/confirm", `{"code":"code of phone-1"}`).want(http.StatusNoContent)
	ann.call("POST", "/me/devices", phone).says(http.StatusOK, "state", "verified")
	if list := ann.call("GET", "/me/devices", ""); !strings.Contains(list.body, `"name":"Ann's phone","platform":"android"`) {
		t.Errorf("list: %s", list.body)
	}
	min.call("GET", "/me/devices", "").says(http.StatusOK, "devices", "[]")
	min.call("DELETE", "/me/devices/phone-1", "").says(http.StatusNotFound, "error", "not_found")
	min.post("/devices/phone-1/remove", min.get("/devices").form("/devices").fields)
	if n := len(w.drawer.of("ann")); n != 1 {
		t.Fatalf("%d devices of Ann after Min has tried to remove them", n)
	}
	w.advance(freshFor + time.Second)
	ann.call("DELETE", "/me/devices/phone-1", "").says(http.StatusForbidden, "error", "sign_in_required")
	stale := ann.post("/devices/phone-1/remove", ann.get("/devices").form("/devices").fields).want(http.StatusSeeOther)
	if to := stale.header.Get("Location"); to != "/signin?fresh=1&next=%2Fdevices" {
		t.Errorf("removing leads to %s", to)
	}
	ann.byCode("ann")
	ann.call("DELETE", "/me/devices/phone-1", "").want(http.StatusNoContent)
	ann.call("DELETE", "/me/devices/phone-1", "").says(http.StatusNotFound, "error", "not_found")
}

// The page works without script, shows no markup of a device's name, and bears a form sent twice.
func TestDevicesPage(t *testing.T) {
	w := newWorld(t, false)
	ann := w.signedIn("ann")
	ann.get("/devices").want(http.StatusOK, "No device is told yet.")
	ann.get("/inbox").want(http.StatusOK, "Phones and tablets")
	for _, d := range []string{`{"token":"a","platform":"ios","name":"<b>x</b>"}`, `{"token":"b","platform":"ios"}`} {
		ann.call("POST", "/me/devices", d).want(http.StatusAccepted)
	}
	check(t, w.drawer.Confirm(t.Context(), "a", "code of a"))
	check(t, w.drawer.Confirm(t.Context(), "b", "code of b"))
	p := ann.get("/devices").want(http.StatusOK, "<b>x</b>", "iPhone or iPad", "since 14:26 CET").lacks("<b>x")
	removal := p.form("/devices/a/remove")
	for range 2 {
		ann.post(removal.action, removal.fields).want(http.StatusSeeOther)
	}
	if n := len(w.drawer.of("ann")); n != 1 {
		t.Errorf("%d devices, want 1", n)
	}
	removal.fields.Set("token", "forged")
	ann.post("/devices/b/remove", removal.fields).want(http.StatusForbidden)
	ann.post("/devices", removal.fields).want(http.StatusForbidden)
	w.browser().get("/devices").want(http.StatusSeeOther)
	w.browser().post("/devices", removal.fields).want(http.StatusSeeOther)
}

// An app without cookies adds its device by a code, once and not for long.
func TestDevicesByCode(t *testing.T) {
	w := newWorld(t, false)
	ann, app := w.signedIn("ann"), w.browser()
	dead := func(code string) {
		t.Helper()
		app.call("POST", "/me/devices", withCode(code)).says(http.StatusForbidden, "error", "invalid_enrolment")
	}
	code := w.enrolment(ann)
	app.call("POST", "/me/devices", withCode(code)).says(http.StatusAccepted, "state", "testing")
	dead(code)
	check(t, w.drawer.Confirm(t.Context(), "phone-1", "code of phone-1"))
	if n := len(w.drawer.of("ann")); n != 1 {
		t.Errorf("%d devices of Ann", n)
	}

	old, late := w.enrolment(ann), ""
	late = w.enrolment(ann)
	dead(old)
	dead(late[:len(late)-1])
	dead(late + "x")
	dead(strings.Repeat("A", 12) + "." + strings.Repeat("A", 43))
	w.advance(enrolmentLife)
	dead(late)

	out := w.enrolment(ann)
	p, err := w.people.Person(t.Context(), "ann")
	check(t, err)
	changed := *p
	w.advance(time.Second)
	changed.SignedOutAt = w.clock()
	check(t, w.people.SavePerson(t.Context(), &changed))
	dead(out)
}

// A code is the app's whole proof: whoever else is signed in on the browser that posts it does not matter.
func TestCodeOverSession(t *testing.T) {
	w := newWorld(t, false)
	ann, min := w.signedIn("ann"), w.signedIn("min")
	min.call("POST", "/me/devices", withCode(w.enrolment(ann))).want(http.StatusAccepted)
	min.call("POST", "/me/devices", withCode("no code")).says(http.StatusForbidden, "error", "invalid_enrolment")
	if k := w.drawer.kept["phone-1"]; k.person != "ann" {
		t.Errorf("device is %s's", k.person)
	}
}

// Of twenty apps that show one code at the same moment one is taken.
func TestCodeOnce(t *testing.T) {
	w := newWorld(t, false)
	code := w.enrolment(w.signedIn("ann"))
	var all sync.WaitGroup
	var mu sync.Mutex
	got := map[int]int{}
	for range 20 {
		all.Go(func() {
			p := w.browser().call("POST", "/me/devices", withCode(code))
			mu.Lock()
			defer mu.Unlock()
			got[p.status]++
		})
	}
	all.Wait()
	if got[http.StatusAccepted] != 1 || got[http.StatusForbidden] != 19 {
		t.Errorf("answers %v, want one 202 and nineteen 403", got)
	}
}

// A registration that fails spends no code.
func TestCodeSurvivesFailure(t *testing.T) {
	w := newWorld(t, false)
	code, app := w.enrolment(w.signedIn("ann")), w.browser()
	w.drawer.fail = approvals.ErrUnavailable
	app.call("POST", "/me/devices", withCode(code)).says(http.StatusServiceUnavailable, "error", "temporarily_unavailable")
	w.drawer.fail = nil
	app.call("POST", "/me/devices", withCode(code)).want(http.StatusAccepted)
}

// No other site makes a browser add a device, and a link signs in too weakly for it.
func TestDevicesAreGuarded(t *testing.T) {
	w := newWorld(t, false)
	ann := w.signedIn("ann")
	asJSON := http.Header{"Content-Type": {"application/json"}, "Sec-Fetch-Site": {"cross-site"}}
	ann.send("POST", "/me/devices", phone, asJSON).want(http.StatusForbidden)
	ann.send("DELETE", "/me/devices/phone-1", "", http.Header{"Origin": {"https://evil.example"}}).want(http.StatusForbidden)
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""} {
		ann.send("POST", "/me/devices", phone, http.Header{"Content-Type": {kind}}).
			says(http.StatusBadRequest, "error", "invalid_request")
	}
	w.browser().call("POST", "/me/devices", phone).says(http.StatusForbidden, "error", "sign_in_required")
	w.browser().call("GET", "/me/devices", "").says(http.StatusForbidden, "error", "sign_in_required")
	w.browser().call("DELETE", "/me/devices/x", "").says(http.StatusForbidden, "error", "sign_in_required")
	weak := w.browser()
	cookie, writes := w.pages.begin(&visit{}, &approvals.Person{ID: "ann"}, approvals.LevelLink)
	check(t, w.store.Apply(t.Context(), writes...))
	weak.header.Set("Cookie", cookie.String())
	weak.call("POST", "/me/devices", phone).says(http.StatusForbidden, "error", "sign_in_required")
	if len(w.drawer.kept) > 0 {
		t.Errorf("kept %v", w.drawer.kept)
	}
	p := ann.send("PUT", "/me/devices", "", nil).want(http.StatusMethodNotAllowed)
	if allowed := p.header.Values("Allow"); !slices.Equal(allowed, []string{"GET", "POST"}) {
		t.Errorf("Allow: %v", allowed)
	}
}

// Whatever is not exactly the documented body is refused, and its bytes stand in no answer and no log.
func TestDeviceBodies(t *testing.T) {
	w := newWorld(t, false)
	ann := w.signedIn("ann")
	for body, status := range map[string]int{
		"":                             http.StatusBadRequest,
		"null x":                       http.StatusBadRequest,
		`[]`:                           http.StatusBadRequest,
		phone + phone:                  http.StatusBadRequest,
		`{"token":"c4nary","admin":1}`: http.StatusBadRequest,
		`{"token":["c4nary"]}`:         http.StatusBadRequest,
		`{"token":"c4nary`:             http.StatusBadRequest,
		`{"platform":"c4nary"}`:        http.StatusBadRequest,
		`{"token":"` + strings.Repeat("c4nary", maxJSON/6) + `"}`: http.StatusRequestEntityTooLarge,
	} {
		ann.call("POST", "/me/devices", body).says(status, "error", "invalid_request").lacks("c4nary")
	}
	ann.call("POST", "/me/devices/"+strings.Repeat("x", 65)+"/confirm", `{"code":"c"}`).want(http.StatusNotFound)
	ann.call("POST", "/me/devices/x/confirm", `{"code":"c4nary","x":1}`).says(http.StatusBadRequest, "error", "invalid_request")
	if strings.Contains(w.logged.String(), "c4nary") {
		t.Errorf("log: %s", w.logged)
	}
}

// What the keeper of devices says reaches the app in its own words.
func TestDeviceFaults(t *testing.T) {
	w := newWorld(t, false)
	ann := w.signedIn("ann")
	for err, want := range map[error]struct {
		status int
		code   string
	}{
		&approvals.FieldError{Field: "token", Rule: "must be good"}: {http.StatusBadRequest, "invalid_request"},

		approvals.ErrTooMany:     {http.StatusTooManyRequests, "too_many_devices"},
		approvals.ErrConflict:    {http.StatusConflict, "conflict"},
		approvals.ErrUnavailable: {http.StatusServiceUnavailable, "temporarily_unavailable"},
		errors.New("c4nary"):     {http.StatusInternalServerError, "server_error"},
	} {
		w.drawer.fail = fmt.Errorf("keep: %w", err)
		p := ann.call("POST", "/me/devices", phone).says(want.status, "error", want.code).lacks("c4nary")
		if again := p.header.Get("Retry-After"); (again != "") != (want.status == 429 || want.status == 503) {
			t.Errorf("%v: Retry-After %q", err, again)
		}
	}
}

// Who guesses codes from one address is slowed down.
func TestDeviceGuessing(t *testing.T) {
	w := newWorld(t, false)
	app := w.browser()
	for range 60 {
		app.call("POST", "/me/devices", withCode("guess")).want(http.StatusForbidden)
	}
	app.call("POST", "/me/devices", withCode("guess")).says(http.StatusTooManyRequests, "error", "too_many_requests")
	app.call("POST", "/me/devices/x/confirm", `{"code":"guess"}`).says(http.StatusTooManyRequests, "error", "too_many_requests")
}

// Without anybody to keep devices there is no trace of them.
func TestNoDevices(t *testing.T) {
	w := newWorld(t, false)
	ann := w.signedIn("ann")
	c := w.pages.Config
	c.Devices = nil
	pages, err := New(c)
	check(t, err)
	t.Cleanup(pages.Close)
	w.pages = pages
	ann.get("/devices").want(http.StatusNotFound)
	ann.call("POST", "/me/devices", phone).want(http.StatusNotFound)
	ann.get("/inbox").want(http.StatusOK).lacks("/devices")
}

// The path on the page draws every dark module and no other, inside an empty frame.
func TestQR(t *testing.T) {
	q, err := qrOf("https://ap.example.com/devices#7Kq2mX9wTzB4." + strings.Repeat("x", 43))
	check(t, err)
	dark := map[[2]int]bool{}
	for _, run := range strings.Split(strings.TrimSuffix(q.Path, "z"), "z") {
		var x, y, n, back int
		if _, err := fmt.Sscanf(run, "M%d %dh%dv1h-%d", &x, &y, &n, &back); err != nil || n != back {
			t.Fatalf("%q: %v", run, err)
		}
		for i := range n {
			dark[[2]int{x + i, y}] = true
		}
	}
	finder := []string{"1111111", "1000001", "1011101", "1011101", "1011101", "1000001", "1111111"}
	for _, at := range [][2]int{{quiet, quiet}, {q.Size - quiet - 7, quiet}, {quiet, q.Size - quiet - 7}} {
		for y, row := range finder {
			for x, want := range row {
				if dark[[2]int{at[0] + x, at[1] + y}] != (want == '1') {
					t.Fatalf("corner %v is not a finder pattern at %d,%d", at, x, y)
				}
			}
		}
	}
	for at := range dark {
		if min(at[0], at[1]) < quiet || max(at[0], at[1]) >= q.Size-quiet {
			t.Errorf("module %v is in the frame", at)
		}
	}
	if _, err := qrOf(strings.Repeat("x", 4000)); err == nil {
		t.Error("4000 bytes fit")
	}
}

// FuzzDevices: whatever an app sends, the answer is JSON and never a 500, and no device is kept without a session or a
// code.
func FuzzDevices(f *testing.F) {
	w := startWorld(f, false, true)
	key := w.pages.enrolmentKey("ann")
	for _, seed := range []string{"", phone, withCode("x"), withCode(key + ".x"), `{"code":"x"}`, `{"enrolment":null}`,
		`[{}]`, phone + "{}", `{"token":1e999}`, "{\"token\":\"\xff\"}", `{"TOKEN":"a","token":"b"}`} {
		f.Add("", seed)
		f.Add("/"+key+"/confirm", seed)
	}
	f.Fuzz(func(t *testing.T, path, body string) {
		req := httptest.NewRequestWithContext(t.Context(), "POST", "/me/devices", strings.NewReader(body))
		if path != "" {
			req.URL.Path = "/me/devices" + path
		}
		req.Header.Set("Content-Type", "application/json")
		w.pages.lookup = newLimiter(60, time.Second, w.clock)
		rec := httptest.NewRecorder()
		w.pages.ServeHTTP(rec, req)
		if rec.Code >= 500 || rec.Code < 400 {
			t.Fatalf("%d: %s", rec.Code, rec.Body)
		}
		if path == "" && !json.Valid(rec.Body.Bytes()) {
			t.Fatalf("%d: not JSON: %s", rec.Code, rec.Body)
		}
		if len(w.drawer.kept) > 0 {
			t.Fatal("a device was kept")
		}
	})
}
