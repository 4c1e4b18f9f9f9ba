package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/approvals"
	"assent/channels"
	"assent/channels/channeltest"
	"assent/channels/web/pushsim"
)

// TestEnrol: a browser is an address once its test has come back, and never before.
func TestEnrol(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	b := w.browser()
	check(t, w.web.Subscribe(ctx, "ann", "Firefox (Linux)", b.JSON()))
	_, test := w.last()
	if test.Proof == "" || test.WebPush != 0 {
		t.Fatalf("test is %+v: the service worker has to see it, with a proof", test)
	}
	told := func() bool {
		t.Helper()
		verified, err := w.web.Verified(ctx, "ann", b.Endpoint)
		check(t, err)
		if verified != (len(w.person("ann").Addresses) == 1) {
			t.Errorf("verified %t with %d addresses", verified, len(w.person("ann").Addresses))
		}
		return verified
	}
	if told() {
		t.Error("an address before the test came back")
	}
	for _, wrong := range []string{"", ".", test.Proof + "x", test.Proof[:60], "x" + test.Proof,
		strings.Repeat("a", 500)} {
		if err := w.web.Arrived(ctx, "ann", wrong, ""); !errors.Is(err, approvals.ErrNotFound) {
			t.Errorf("wrong proof: %v", err)
		}
	}
	if err := w.web.Arrived(ctx, "min", test.Proof, ""); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("somebody else's proof: %v", err)
	}
	if told() {
		t.Error("an address by a wrong proof")
	}
	for range 2 {
		check(t, w.web.Arrived(ctx, "ann", test.Proof, ""))
	}
	if !told() {
		t.Error("no address after the test came back")
	}

	check(t, w.web.Subscribe(ctx, "ann", "Firefox (Linux)", b.JSON())) // "send a test"
	if !told() {
		t.Error("another test takes the address away")
	}
	for range 2 {
		check(t, w.web.Unsubscribe(ctx, "ann", b.Endpoint))
	}
	if told() {
		t.Error("still an address")
	}
}

func TestLateProof(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	check(t, w.web.Subscribe(t.Context(), "ann", "Firefox (Linux)", b.JSON()))
	_, test := w.last()
	w.wait(proofLife)
	if err := w.web.Arrived(t.Context(), "ann", test.Proof, ""); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("late proof: %v", err)
	}
	if kept, err := w.store.Scan(t.Context(), kindSubscription, "", 10); err != nil || len(kept) != 0 {
		t.Errorf("%d kept, %v: what is not verified goes by itself", len(kept), err)
	}
}

// Nothing by which a screen could be filled lies open, in the store or the log.
func TestSealed(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	to := w.enrol("ann", b)
	kept, err := w.store.Scan(t.Context(), kindSubscription, "", 10)
	check(t, err)
	person, err := json.Marshal(w.person("ann"))
	check(t, err)
	for _, where := range []string{string(kept[0].Value), kept[0].Key, string(person), w.logged.String()} {
		for _, secret := range []string{b.Endpoint, b.Keys.P256DH, b.Keys.Auth, w.server.URL} {
			if strings.Contains(where, secret) {
				t.Errorf("%q tells where the browser listens", where)
			}
		}
	}
	if !strings.HasPrefix(to.Value, kept[0].Key+".") {
		t.Errorf("address %q does not name record %q", to.Value, kept[0].Key)
	}
}

// A shared browser tells whoever uses it now. The one before learns nothing more there.
func TestChangesHands(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	b := w.browser()
	ann := w.enrol("ann", b)
	stolen := b
	stolen.Keys.Auth = "AAAAAAAAAAAAAAAAAAAAAA"
	if err := w.web.Subscribe(ctx, "min", "Firefox (Linux)", stolen.JSON()); !errors.Is(err, approvals.ErrInvalid) {
		t.Errorf("endpoint without its keys: %v", err)
	}
	if err := w.web.Unsubscribe(ctx, "min", b.Endpoint); err != nil || len(w.person("ann").Addresses) != 1 {
		t.Errorf("somebody else unsubscribes: %v", err)
	}
	min := w.enrol("min", b)
	if min.Value == ann.Value {
		t.Error("both have the same address")
	}
	sent := len(w.sim.Outbox())
	if _, err := w.web.Send(ctx, ann, channeltest.Message(1)); !errors.Is(err, channels.ErrGone) {
		t.Errorf("Send to the one before: %v", err)
	}
	if len(w.sim.Outbox()) != sent {
		t.Error("message for one person went to another")
	}
	_, err := w.web.Send(ctx, min, channeltest.Message(1))
	check(t, err)
}

// Signed out everywhere means that no browser is told either, until it proves itself again.
func TestSignedOutEverywhere(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	b := w.browser()
	w.enrol("ann", b)
	w.wait(time.Minute)
	p := *w.person("ann")
	p.SignedOutAt = w.now()
	check(t, w.people.SavePerson(ctx, &p))
	if told, err := w.web.Verified(ctx, "ann", b.Endpoint); err != nil || told || Told(w.person("ann"), p.Addresses[0]) {
		t.Errorf("still told: %v", err)
	}
	w.wait(time.Minute)
	to := w.enrol("ann", b)
	if told, err := w.web.Verified(ctx, "ann", b.Endpoint); err != nil || !told || !Told(w.person("ann"), to) ||
		len(w.person("ann").Addresses) != 1 {
		t.Errorf("proved again, and not told: %v", err)
	}
}

// A test that was under way then proves nothing any more.
func TestSignedOutMeanwhile(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	b := w.browser()
	check(t, w.web.Subscribe(ctx, "ann", "Firefox (Linux)", b.JSON()))
	_, test := w.last()
	w.wait(time.Minute)
	p := *w.person("ann")
	p.SignedOutAt = w.now()
	check(t, w.people.SavePerson(ctx, &p))
	w.wait(time.Minute)
	if err := w.web.Arrived(ctx, "ann", test.Proof, ""); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("Arrived: %v, want ErrNotFound", err)
	}
	if n := len(w.person("ann").Addresses); n != 0 {
		t.Errorf("%d addresses, want none", n)
	}
	w.enrol("ann", b)
}

// The newest browsers count; the person's other addresses stay where they are.
func TestTooManyBrowsers(t *testing.T) {
	w := newWorld(t)
	p := *w.person("ann")
	p.Addresses = []approvals.Address{{Channel: "sms", Value: "+4930123456"}}
	check(t, w.people.SavePerson(t.Context(), &p))
	var last approvals.Address
	for range maxBrowsers + 2 {
		w.wait(time.Minute)
		last = w.enrol("ann", w.browser())
	}
	got := w.person("ann").Addresses
	if len(got) != maxBrowsers+1 || got[0] != last || got[maxBrowsers].Channel != "sms" {
		t.Errorf("%d addresses, the last %q", len(got), got[len(got)-1].Channel)
	}
	if kept, err := w.store.Scan(t.Context(), kindSubscription, "", 100); err != nil || len(kept) != maxBrowsers {
		t.Errorf("%d subscriptions kept, %v", len(kept), err)
	}
}

// Two pages and a push service that forgets, all at once: record and address are always both there or both not.
func TestRaces(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	b := w.browser()
	to := w.enrol("ann", b)
	_, test := w.last()
	var all sync.WaitGroup
	for _, f := range []func(){
		func() { w.web.Arrived(ctx, "ann", test.Proof, "") },
		func() { w.web.Unsubscribe(ctx, "ann", b.Endpoint) },
		func() { w.web.Subscribe(ctx, "ann", "Firefox (Linux)", b.JSON()) },
		func() { w.web.Send(ctx, to, channeltest.Message(1)) },
	} {
		all.Go(f)
	}
	all.Wait()
	verified, err := w.web.Verified(ctx, "ann", b.Endpoint)
	if check(t, err); verified != (len(w.person("ann").Addresses) == 1) {
		t.Errorf("verified %t with %d addresses", verified, len(w.person("ann").Addresses))
	}
}

// A push service that does not take the test says what is wrong, and nothing becomes an address.
func TestTestNotTaken(t *testing.T) {
	for status, want := range map[int]error{http.StatusGone: channels.ErrGone, http.StatusForbidden: channels.ErrFault,
		http.StatusServiceUnavailable: channels.ErrBusy} {
		w := newWorld(t)
		w.sim.Set(pushsim.Answer{Status: status})
		if err := w.web.Subscribe(t.Context(), "ann", "Firefox (Linux)", w.browser().JSON()); !errors.Is(err, want) {
			t.Errorf("%d: Subscribe: %v, want %v", status, err, want)
		}
		if len(w.person("ann").Addresses) != 0 {
			t.Errorf("%d: an address all the same", status)
		}
	}
}

const goodKeys = `"keys":{"p256dh":"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",` +
	`"auth":"BTBZMqHH6r4Tts7J_aSIgg"}`

// TestParse: endpoints are what browsers say, so only push services pass.
func TestParse(t *testing.T) {
	rules := Rules{More: []string{"push.example.com", "*.push.example.org"}}
	check(t, rules.Validate())
	good := []string{"https://fcm.googleapis.com/fcm/send/abc:def", "https://updates.push.services.mozilla.com/wpush/v2/x",
		"https://web.push.apple.com/QGx", "https://wns2-par02p.notify.windows.com/w/?token=x", "https://push.example.com/x",
		"https://a.push.example.org/x", "https://fcm.googleapis.com:443/x"}
	for _, endpoint := range good {
		if _, err := rules.parse([]byte(`{"endpoint":"` + endpoint + `","expirationTime":null,` +
			goodKeys + `}`)); err != nil {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
	bad := []string{"", "x", "/x", "http://fcm.googleapis.com/x", "https://fcm.googleapis.com:8443/x",
		"https://fcm.googleapis.com./x",
		"https://FCM.googleapis.com.evil.example/x", "https://evilfcm.googleapis.com/x",
		"https://push.services.mozilla.com/x",
		"https://evil.example/fcm.googleapis.com", "https://fcm.googleapis.com@evil.example/x",
		"https://u@fcm.googleapis.com/x",
		"https://127.0.0.1/x", "http://127.0.0.1:1/x", "https://localhost/x", "https://[::1]/x", "https://169.254.169.254/x",
		"https://fcm.googleapis.com/x#y", "https:fcm.googleapis.com", "https://push.example.org/x", "file:///etc/passwd",
		"https://fcm.googleapis.com/" + strings.Repeat("x", maxEndpoint)}
	for _, endpoint := range bad {
		_, err := rules.parse([]byte(`{"endpoint":"` + endpoint + `",` + goodKeys + `}`))
		if !errors.Is(err, approvals.ErrInvalid) {
			t.Errorf("%s: %v", endpoint, err)
		} else if len(endpoint) > 1 && strings.Contains(err.Error(), endpoint) {
			t.Errorf("%s: error repeats it", endpoint)
		}
	}
	for _, raw := range []string{"", "null", "[]", "{}", `{"endpoint":"https://fcm.googleapis.com/x"}`,
		`{"endpoint":"https://fcm.googleapis.com/x","keys":{"p256dh":"AAAA","auth":"BTBZMqHH6r4Tts7J_aSIgg"}}`,
		`{"endpoint":"https://fcm.googleapis.com/x",` + strings.Replace(goodKeys, "SIgg", "SI", 1) + `}`,
		`{"endpoint":"https://fcm.googleapis.com/x",` + goodKeys + `} {}`,
		strings.Repeat(" ", maxSubscription) + `{"endpoint":"https://fcm.googleapis.com/x",` + goodKeys + `}`} {
		if _, err := rules.parse([]byte(raw)); !errors.Is(err, approvals.ErrInvalid) {
			t.Errorf("%.60q: %v", raw, err)
		}
	}
}

func TestRulesValidate(t *testing.T) {
	for _, host := range []string{"", "*", "*.", "com", "*.com", "Push.example.com", "push.example.com:8443",
		"https://push.example.com",
		"127.0.0.1/8", "push.*.com", ".example.com", "example.com."} {
		if err := (Rules{More: []string{host}}).Validate(); !errors.Is(err, approvals.ErrInvalid) {
			t.Errorf("%q: %v", host, err)
		}
	}
}

func FuzzSubscription(f *testing.F) {
	for _, endpoint := range []string{"https://fcm.googleapis.com/x", "http://127.0.0.1:8080/x",
		"https://web.push.apple.com:443/", "https://[::1]:9/"} {
		f.Add([]byte(`{"endpoint":"` + endpoint + `","expirationTime":1.5e300,` + goodKeys + `}`))
	}
	f.Add([]byte(`{"endpoint":"\u0000","keys":null}`))
	rules := Rules{More: []string{"push.example.com"}}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := rules.parse(raw)
		if err != nil {
			if !errors.Is(err, approvals.ErrInvalid) {
				t.Errorf("%v is no field error", err)
			}
			return
		}
		if _, err := s.target.encrypt([]byte("x")); err != nil {
			t.Errorf("accepted, and cannot be sent to: %v", err)
		}
		again, err := json.Marshal(s)
		check(t, err)
		if other, err := rules.parse(again); err != nil || other.Endpoint != s.Endpoint ||
			fmt.Sprint(other.Keys) != fmt.Sprint(s.Keys) {
			t.Errorf("kept and read again: %v", err)
		}
	})
}

// TestBrowsers: a person's browsers by their names, when they were added and heard of; one is removed by its owner only, and
// none is told, nor listed, after signing out everywhere.
func TestBrowsers(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	first := w.enrol("ann", w.browser())
	second := w.enrol("ann", w.browser())
	w.enrol("min", w.browser())
	list, err := w.web.Browsers(ctx, "ann")
	if check(t, err); len(list) != 2 || list[0].Label != "Firefox (Linux)" || list[0].Added.IsZero() || list[0].Used.IsZero() {
		t.Fatalf("Browsers: %+v", list)
	}
	used := list[0].Used
	w.wait(25 * time.Hour)
	m := channeltest.Message(1)
	m.Expires = w.now().Add(5 * time.Minute)
	_, err = w.web.Send(ctx, second, m)
	check(t, err)
	if err := w.web.Remove(ctx, "min", list[0].ID); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("somebody else removes it: %v", err)
	}
	check(t, w.web.Remove(ctx, "ann", list[1].ID))
	if p := w.person("ann"); w.now().Sub(p.ReachChangedAt) > time.Minute {
		t.Errorf("the reach of Ann changed at %s", p.ReachChangedAt)
	}
	if steps, err := approvals.Due(ctx, w.store, approvals.StepNotice, w.now(), 10); err != nil ||
		!slices.ContainsFunc(steps, func(s approvals.Step) bool { return strings.Contains(s.Data, approvals.NoticeBrowserGone) }) {
		t.Errorf("nobody is told: %v, %v", steps, err)
	}
	if err := w.web.Remove(ctx, "ann", list[1].ID); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
	if list, err = w.web.Browsers(ctx, "ann"); err != nil || len(list) != 1 || list[0].Used.Sub(used) < 25*time.Hour {
		t.Errorf("Browsers: %+v, %v", list, err)
	}
	p := *w.person("ann")
	p.SignedOutAt = w.now()
	check(t, w.people.SavePerson(ctx, &p))
	if list, err = w.web.Browsers(ctx, "ann"); err != nil || len(list) != 0 {
		t.Errorf("after signing out everywhere: %+v, %v", list, err)
	}
	for _, to := range []approvals.Address{first, second} {
		if _, err := w.web.Send(ctx, to, m); !errors.Is(err, channels.ErrGone) {
			t.Errorf("Send after signing out everywhere: %v", err)
		}
	}
}

// TestExplain: every code of ours and of push services has words.
func TestExplain(t *testing.T) {
	for _, code := range []string{"code", "unsubscribed", "not_read", "unfit", "400", "401", "403", "404", "410", "413", "429", "500", "503"} {
		if Explain(code) == "" {
			t.Errorf("%s has no words", code)
		}
	}
	if Explain("") != "" || Explain("new") != "" {
		t.Error("words for what is not known")
	}
}
