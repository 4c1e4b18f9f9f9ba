package webapp

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"testing"

	"assent/approvals"
	"assent/webapp/passkey"
	"assent/webapp/upstream"
	"assent/webapp/upstream/upstreamtest"
)

// twoWays is somebody with a passkey and an account elsewhere, to whom no code can be sent.
func twoWays(t *testing.T) (*world, *browserOf, []passkey.Credential, []upstream.Account) {
	t.Helper()
	w := newNamedWorld(t)
	p := upstreamtest.New(t, w.clock)
	w.elsewhere(p.Client(), upstream.Settings{Name: "corp", EN: "Example ID", KO: "예시 아이디", Issuer: p.Issuer,
		ClientID: p.ClientID, Secret: p.Secret})
	b := w.connected(p, "ann", "a-1")
	b.use(b.get("/passkeys"), "/passkeys", newDevice().Create).want(http.StatusSeeOther)
	w.canSend = false
	keys, err := w.pages.passkeys.List(t.Context(), "ann")
	check(t, err)
	accounts, err := w.pages.Upstream.List(t.Context(), "ann")
	check(t, err)
	return w, b, keys, accounts
}

// Who gives up two ways in at the same moment keeps one: what the first of the two rests on is gone when it commits.
func TestLastTwoWaysIn(t *testing.T) {
	w, _, keys, accounts := twoWays(t)
	ann, err := w.pages.Directory.Person(t.Context(), "ann")
	check(t, err)
	in, stays, err := w.pages.otherWayIn(t.Context(), ann, byPasskey)
	check(t, err)
	if !in {
		t.Fatal("an account is no way in")
	}
	other, rests, err := w.pages.otherWayIn(t.Context(), ann, byAccount)
	check(t, err)
	check(t, w.pages.Upstream.Disconnect(t.Context(), "ann", accounts[0].Key, other, rests...))
	err = w.pages.passkeys.Remove(t.Context(), "ann", keys[0].Key(), in, stays...)
	if !errors.Is(err, approvals.ErrConflict) {
		t.Errorf("remove the passkey that is left: %v", err)
	}
}

// The pages say the same of two forms that were both made while there were two ways.
func TestGiveUpWaysInTurn(t *testing.T) {
	_, b, keys, accounts := twoWays(t)
	passkeys, others := b.get("/passkeys"), b.get("/accounts")
	b.post("/accounts/disconnect", url.Values{"key": {accounts[0].Key},
		"token": others.form("/accounts/disconnect").fields["token"]}).want(http.StatusSeeOther)
	b.post("/passkeys/remove", url.Values{"key": {keys[0].Key()},
		"token": passkeys.form("/passkeys/remove").fields["token"]}).want(http.StatusUnprocessableEntity, "only way in")
}

// A new way in is told to the person, in the transaction that makes it, and so is one way less.
func TestWaysInAreTold(t *testing.T) {
	w, b, keys, accounts := twoWays(t)
	told := func() map[string]int {
		t.Helper()
		due, err := approvals.Due(t.Context(), w.store, approvals.StepNotice, w.clock(), 10)
		check(t, err)
		told := map[string]int{}
		for _, s := range due {
			n, err := approvals.NoticeOf(s)
			check(t, err)
			told[n.What]++
		}
		return told
	}
	before := told()
	if before[approvals.NoticeAccount] != 1 || before[approvals.NoticeAccountGone] != 0 {
		t.Errorf("notices of what was added: %v", before)
	}
	remove := url.Values{"key": {keys[0].Key()}, "token": b.get("/passkeys").form("/passkeys/remove").fields["token"]}
	for range 2 { // the second time there is nothing to tell
		b.post("/passkeys/remove", remove).want(http.StatusSeeOther)
	}
	if n := told()[approvals.NoticePasskeyGone]; n != 1 {
		t.Errorf("%d notices of the passkey, want 1", n)
	}
	w.withPasskey("ann") // another way in, so that the account may go
	forget := url.Values{"key": {accounts[0].Key}, "token": b.get("/accounts").form("/accounts/disconnect").fields["token"]}
	for range 2 {
		b.post("/accounts/disconnect", forget).want(http.StatusSeeOther)
	}
	if n := told()[approvals.NoticeAccountGone]; n != 1 {
		t.Errorf("%d notices of the account, want 1", n)
	}
}

// A number that takes no codes any more is no way in.
func TestDeadNumberIsNoWayIn(t *testing.T) {
	w := newNamedWorld(t)
	arrives := true
	w.pages.CodeArrives = func(context.Context, *approvals.Person) (bool, error) { return arrives, nil }
	b, _ := w.withPasskey("ann")
	remove := b.get("/passkeys").form("/passkeys/remove")
	arrives = false
	b.post(remove.action, remove.fields).want(http.StatusUnprocessableEntity, "only way in")
	arrives = true
	b.post(remove.action, remove.fields).want(http.StatusSeeOther)
}
