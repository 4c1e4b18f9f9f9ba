package push_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/approvals"
	"assent/channels"
	"assent/channels/push"
	"assent/channels/push/fcmsim"
)

func phone(token string) push.Registration {
	return push.Registration{Token: canary + token, Name: "Phone", Platform: "ios"}
}

// TestEnrol: only a test that came back makes a device an address, once, before all others.
func TestEnrol(t *testing.T) {
	h := newHouse(t)
	w, err := h.Register(t.Context(), "ann", phone("one"))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(h.addresses(t, "ann")); n != 0 {
		t.Fatalf("%d addresses before the test came back", n)
	}
	code := h.code(t, canary+"one")
	for _, wrong := range [][2]string{{w.ID, "x"}, {w.ID, ""}, {"", code}, {w.ID + "x", code}, {strings.Repeat("x", 600), code}} {
		if err := h.Confirm(t.Context(), wrong[0], wrong[1]); !errors.Is(err, approvals.ErrNotFound) {
			t.Errorf("Confirm: %v", err)
		}
	}
	if err := h.Confirm(t.Context(), w.ID, code); err != nil {
		t.Fatal(err)
	}
	if err := h.Confirm(t.Context(), w.ID, code); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("the same code twice: %v", err)
	}
	again, err := h.Register(t.Context(), "ann", phone("one"))
	if err != nil || !again.Verified || again.ID != w.ID || h.fcm.Calls() != 1 {
		t.Errorf("a known device: %+v %v, %d calls", again, err, h.fcm.Calls())
	}
	second := h.enrolled(t, "ann", canary+"two")
	if list := h.addresses(t, "ann"); len(list) != 2 || list[0] != second || strings.Contains(fmt.Sprint(list), canary) {
		t.Errorf("addresses %v", list)
	}
	list, err := h.Devices(t.Context(), "ann")
	if err != nil || len(list) != 2 || list[1].ID != w.ID || list[1].Name != "Phone" || list[1].Platform != "ios" {
		t.Errorf("Devices: %+v %v", list, err)
	}
	if err := h.Remove(t.Context(), "minji", w.ID); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("Remove by somebody else: %v", err)
	}
	if err := h.Remove(t.Context(), "ann", w.ID); err != nil || len(h.addresses(t, "ann")) != 1 {
		t.Errorf("Remove: %v, left %v", err, h.addresses(t, "ann"))
	}
	told := func(s approvals.Step) bool { return strings.Contains(s.Data, approvals.NoticeDeviceGone) }
	steps, err := approvals.Due(t.Context(), h.store, approvals.StepNotice, time.Now().Add(time.Minute), 10)
	if err != nil || !slices.ContainsFunc(steps, told) {
		t.Errorf("nobody is told of the removal: %v, %v", steps, err)
	}
}

// TestEnrolLate: a code is good for ten minutes, and what was never confirmed leaves nothing behind.
func TestEnrolLate(t *testing.T) {
	h := newHouse(t)
	h.set(time.Now())
	w, err := h.Register(t.Context(), "ann", phone("one"))
	if err != nil {
		t.Fatal(err)
	}
	h.set(w.Expires)
	if err := h.Confirm(t.Context(), w.ID, h.code(t, canary+"one")); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("Confirm: %v", err)
	}
	if recs, err := h.store.Scan(t.Context(), "push.device", "", 10); err != nil || len(recs) != 0 {
		t.Errorf("left %v %v", recs, err)
	}
}

// TestChangesHands: a device is its first owner's until the test of the next one has come back.
func TestChangesHands(t *testing.T) {
	h := newHouse(t)
	anns := h.enrolled(t, "ann", canary+"shared")
	w, err := h.Register(t.Context(), "minji", phone("shared"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Send(t.Context(), anns, h.message(1)); err != nil {
		t.Errorf("before the confirmation: %v", err)
	}
	if err := h.Confirm(t.Context(), w.ID, h.code(t, canary+"shared")); err != nil {
		t.Fatal(err)
	}
	before := h.fcm.Calls()
	if _, err := h.Send(t.Context(), anns, h.message(2)); !errors.Is(err, channels.ErrGone) || h.fcm.Calls() != before {
		t.Errorf("to the first owner after it: %v", err)
	}
	if list, err := h.Devices(t.Context(), "ann"); err != nil || len(list) != 0 {
		t.Errorf("devices of the first owner: %v %v", list, err)
	}
	if _, err := h.Send(t.Context(), h.addresses(t, "minji")[0], h.message(3)); err != nil {
		t.Errorf("to the second owner: %v", err)
	}
}

// TestSignedOut: a person who was signed out everywhere has lost a phone, and is told on it no more.
func TestSignedOut(t *testing.T) {
	h := newHouse(t)
	h.set(time.Now())
	to := h.enrolled(t, "ann", canary+"lost")
	h.set(h.now().Add(time.Minute))
	h.signOut(t, "ann")
	if _, err := h.Send(t.Context(), to, h.message(1)); !errors.Is(err, channels.ErrGone) {
		t.Errorf("Send: %v, want ErrGone", err)
	}
	h.set(h.now().Add(time.Minute))
	if _, err := h.Send(t.Context(), h.enrolled(t, "ann", canary+"lost"), h.message(1)); err != nil {
		t.Errorf("after it was added again: %v", err)
	}
	if n := len(h.addresses(t, "ann")); n != 1 {
		t.Errorf("%d addresses, want 1", n)
	}
}

// TestSignedOutMeanwhile: a test that was under way when its person was signed out everywhere makes no address.
func TestSignedOutMeanwhile(t *testing.T) {
	h := newHouse(t)
	h.set(time.Now())
	w, err := h.Register(t.Context(), "ann", phone("lost"))
	if err != nil {
		t.Fatal(err)
	}
	h.set(h.now().Add(time.Minute))
	h.signOut(t, "ann")
	h.set(h.now().Add(time.Minute))
	if err := h.Confirm(t.Context(), w.ID, h.code(t, canary+"lost")); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("Confirm: %v, want ErrNotFound", err)
	}
	if n := len(h.addresses(t, "ann")); n != 0 {
		t.Errorf("%d addresses, want none", n)
	}
	h.enrolled(t, "ann", canary+"lost")
}

// TestSignedOutLeavesRoom: devices that are told no more count for nothing, and go with the next one that is added.
func TestSignedOutLeavesRoom(t *testing.T) {
	h := newHouse(t)
	h.set(time.Now())
	var old approvals.Address
	for i := range 10 {
		old = h.enrolled(t, "ann", fmt.Sprintf("%sphone%d", canary, i))
		h.set(h.now().Add(10 * time.Minute))
	}
	h.signOut(t, "ann")
	p, err := h.dir.Person(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	if push.Told(p, old) {
		t.Error("a device is told although its person was signed out everywhere since")
	}
	h.set(h.now().Add(time.Minute))
	added := h.enrolled(t, "ann", canary+"new")
	if list := h.addresses(t, "ann"); len(list) != 1 || list[0] != added {
		t.Errorf("%d addresses, want the new one only", len(list))
	}
	if recs, err := h.store.Scan(t.Context(), "push.device", "", 100); err != nil || len(recs) != 1 {
		t.Errorf("%d devices kept, want 1: %v", len(recs), err)
	}
}

// TestEnrolLimits: five tests in ten minutes, ten devices.
func TestEnrolLimits(t *testing.T) {
	h := newHouse(t)
	h.set(time.Now())
	for i := range 10 {
		h.enrolled(t, "ann", fmt.Sprintf("%sphone%d", canary, i))
		if i == 4 {
			if _, err := h.Register(t.Context(), "ann", phone("more")); !errors.Is(err, approvals.ErrTooMany) {
				t.Errorf("sixth test: %v", err)
			}
			h.set(h.now().Add(10 * time.Minute))
		}
	}
	h.set(h.now().Add(10 * time.Minute))
	if _, err := h.Register(t.Context(), "ann", phone("more")); !errors.Is(err, approvals.ErrTooMany) {
		t.Errorf("eleventh device: %v", err)
	}
	if _, err := h.Register(t.Context(), "minji", phone("more")); err != nil {
		t.Errorf("somebody else's first: %v", err)
	}
}

// TestEnrolAtOnce: requests side by side do not get past the limit, and spend what they spend once.
func TestEnrolAtOnce(t *testing.T) {
	h := newHouse(t)
	spend := approvals.PutNew("ticket", "one", nil, time.Time{})
	var all sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 20 {
		all.Go(func() {
			_, err := h.Register(t.Context(), "ann", phone(fmt.Sprint("many", i)), spend)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case !errors.Is(err, approvals.ErrConflict) && !errors.Is(err, approvals.ErrTooMany):
				t.Errorf("Register: %v", err)
			}
		})
	}
	all.Wait()
	if won != 1 || h.fcm.Calls() != 1 {
		t.Errorf("%d won, %d tests left, want 1", won, h.fcm.Calls())
	}
}

// TestEnrolRefuses: a rule that is broken is named with its field, and never with the value.
func TestEnrolRefuses(t *testing.T) {
	h := newHouse(t)
	for field, r := range map[string]push.Registration{
		"token":    {Token: "short", Platform: "ios"},
		"token ":   {Token: canary + "with space", Platform: "ios"},
		"token  ":  {Token: strings.Repeat("x", 4097), Platform: "ios"},
		"platform": {Token: canary + "one", Platform: "desktop"},
		"name":     {Token: canary + "one", Platform: "ios", Name: strings.Repeat("x", 65)},
		"name ":    {Token: canary + "one", Platform: "ios", Name: "a\u202eb"},
	} {
		_, err := h.Register(t.Context(), "ann", r)
		var broken *approvals.FieldError
		if !errors.As(err, &broken) || broken.Field != strings.TrimSpace(field) || strings.Contains(err.Error(), r.Token) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if h.fcm.Calls() != 0 {
		t.Error("a test left")
	}
}

// TestEnrolUntested: a test that certainly did not leave is said; one that may have arrived is waited for.
func TestEnrolUntested(t *testing.T) {
	h := newHouse(t)
	for token, want := range map[string]error{"unregistered-0123456789": channels.ErrGone, "quota-0123456789": channels.ErrBusy,
		"third-party-0123456789": channels.ErrFault, "break-0123456789": nil} {
		_, err := h.Register(t.Context(), "ann", push.Registration{Token: token, Platform: "android"})
		if !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s: %v, want %v", token, err, want)
		}
	}
	if recs, err := h.store.Scan(t.Context(), "push.device", "", 10); err != nil || len(recs) != 3 {
		t.Errorf("kept %d devices, want those that may still be confirmed: %v", len(recs), err)
	}
	h.fcm.Behave(fcmsim.Behaviour{})
}

// FuzzRegister: whatever an app calls its device, it is refused or sent to the provider as one token.
func FuzzRegister(f *testing.F) {
	h := newHouse(f)
	f.Add(canary+"one", "Phone", "ios")
	f.Add("", "", "")
	f.Add(strings.Repeat("\xff", 20), "\x00", "android")
	f.Fuzz(func(t *testing.T, token, name, platform string) {
		h.set(h.now().Add(time.Hour))
		_, err := h.Register(t.Context(), "ann", push.Registration{Token: token, Name: name, Platform: platform})
		if err != nil && !errors.Is(err, approvals.ErrInvalid) && classOf(err) == nil {
			t.Fatalf("Register: %v", err)
		}
		if err == nil && h.last(t).Token != token {
			t.Fatalf("provider got another token")
		}
	})
}
