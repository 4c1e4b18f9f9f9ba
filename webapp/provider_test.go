package webapp

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"assent/approvals"
	"assent/webapp/upstream"
)

// npmProvider starts oidc-provider from npm with one client, and returns its issuer. Without Node or what is installed with
// npm the test is skipped; where ASSENT_REQUIRE names node, that is a failure.
func npmProvider(t *testing.T, client map[string]any) string {
	t.Helper()
	folder := filepath.Join("upstream", "testdata", "provider")
	node, err := exec.LookPath("node")
	if err == nil {
		_, err = os.Stat(filepath.Join(folder, "node_modules"))
	}
	switch {
	case err != nil && slices.Contains(strings.Split(os.Getenv("ASSENT_REQUIRE"), ","), "node"):
		t.Fatalf("node is required: %v", err)
	case err != nil:
		t.Skipf("needs node, and npm ci in webapp/%s: %v", folder, err)
	}
	cmd := exec.CommandContext(t.Context(), node, "provider.mjs")
	cmd.Dir, cmd.Stderr = folder, os.Stderr
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	check(t, json.NewEncoder(in).Encode(map[string]any{"client": client}))
	issuer, err := bufio.NewReader(out).ReadString('\n')
	check(t, err)
	return strings.TrimSpace(issuer)
}

// wander follows redirects across hosts, as browsers do.
func (b *browserOf) wander(from, to string) (*page, string) {
	t := b.w.t
	t.Helper()
	for range 12 {
		base, err := url.Parse(from)
		check(t, err)
		at, err := base.Parse(to)
		check(t, err)
		from = at.String()
		p := b.get(from)
		if p.status != http.StatusSeeOther && p.status != http.StatusFound {
			return p, from
		}
		to = p.header.Get("Location")
	}
	t.Fatal("too many redirects")
	return nil, ""
}

// there signs in on the provider's pages, and agrees to what it asks, until it sends the browser back.
func (b *browserOf) there(away *page, typed ...string) *page {
	t := b.w.t
	t.Helper()
	away.want(http.StatusSeeOther)
	p, at := b.wander(b.w.server.URL, away.header.Get("Location"))
	for range 3 {
		if strings.HasPrefix(at, b.w.server.URL) {
			return p
		}
		p.want(http.StatusOK)
		f := p.form("/interaction/")
		for i := 0; i+1 < len(typed); i += 2 {
			f.fields.Set(typed[i], typed[i+1])
		}
		base, err := url.Parse(at)
		check(t, err)
		action, err := base.Parse(f.action)
		check(t, err)
		sent := b.post(action.String(), f.fields)
		p, at = b.wander(action.String(), sent.header.Get("Location"))
	}
	t.Fatalf("still at the provider: %s", p.words())
	return nil
}

// The whole way over HTTP with a published provider, in both languages: a person connects an account, signs in with it on
// another browser, and decides; a sign-in that is not fresh enough, or without the acr that is demanded, leads nowhere.
func TestPublishedProvider(t *testing.T) {
	t.Parallel()
	words := map[string]map[string]string{
		"ann": {"connect": "Connect Example ID", "ask": "Connect this account?", "with": "Continue with Example ID",
			"weak": "Example ID did not confirm", "cancelled": "The sign-in at Example ID was not finished",
			"unknown": "is not connected to anybody here", "again": "please sign in once more"},
		"min": {"connect": "예시 아이디 연결하기", "ask": "이 계정을 연결할까요?", "with": "예시 아이디로 계속하기",
			"weak": "예시 아이디: 여기에 필요한", "cancelled": "예시 아이디: 로그인을 끝내지", "unknown": "아직 연결되지 않은 계정이에요",
			"again": "다시 한번 로그인해 주세요"},
	}
	for who, say := range words {
		t.Run(who, func(t *testing.T) {
			w := newWorld(t, false)
			w.now = time.Now() // the provider's clock is the machine's
			issuer := npmProvider(t, map[string]any{"client_id": "assent", "client_secret": "a secret of some length, for tests",
				"redirect_uris": []string{w.server.URL + "/signin/corp/back"}})
			w.elsewhere(&http.Client{Timeout: 5 * time.Second}, upstream.Settings{Name: "corp", EN: "Example ID", KO: "예시 아이디",
				Issuer: issuer, ClientID: "assent", Secret: "a secret of some length, for tests", Scopes: []string{"profile"},
				ACRValues: []string{"urn:example:mfa"}})
			person := approvals.PersonID(who)
			good := []string{"login", who, "acr", "urn:example:mfa", "amr", "pwd otp"}

			b := w.signedIn(person)
			away := b.get(b.get("/accounts").link(say["connect"]))
			between := b.there(away, good...).want(http.StatusOK, say["ask"])
			b.follow(b.press(between, "/back")).want(http.StatusOK, who+"@corp")

			r := w.ask(person, payment)
			other := w.browser()
			other.header.Set("Accept-Language", map[string]string{"ann": "en", "min": "ko"}[who])
			door := other.visit("/requests/"+string(r.ID)).want(http.StatusOK, say["with"])
			out := func(typed ...string) *page { return other.there(other.get(door.link(say["with"])), typed...) }
			out("login", "").want(http.StatusUnprocessableEntity, say["cancelled"])
			stranger := out("login", "nobody", "acr", "urn:example:mfa").want(http.StatusOK)
			other.press(stranger, "/back").want(http.StatusUnprocessableEntity, say["unknown"])

			other.client.Jar = w.browser().client.Jar // the provider has forgotten the stranger
			door = other.visit("/requests/" + string(r.ID))
			weak := out("login", who).want(http.StatusOK)
			other.press(weak, "/back").want(http.StatusUnprocessableEntity, say["weak"])

			other.client.Jar = w.browser().client.Jar
			door = other.visit("/requests/" + string(r.ID))
			page := other.follow(other.press(out(good...), "/back")).want(http.StatusOK)
			other.press(page, "/approve")
			d := w.read(r).Decisions[0]
			if got := strings.Join(d.AMR, " "); got != "pwd otp" || d.Level != approvals.LevelSession || w.clock().Sub(d.AuthTime).Abs() > time.Minute {
				t.Errorf("decided with level %v, amr %q, auth_time %v", d.Level, got, d.AuthTime)
			}

			// A fresh sign-in is one that happens anew, whatever the provider remembers.
			again := other.get("/signin?fresh&next=/accounts").want(http.StatusOK, say["again"])
			fresh := other.there(other.get(again.link(say["with"])), good...).want(http.StatusOK)
			other.follow(other.press(fresh, "/back")).want(http.StatusOK, who+"@corp")
		})
	}
}
