package main

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An agent comes back on one approval: over kill -9, for as long as the person read, and not after it was taken back.
func TestComingBack(t *testing.T) {
	data := newData(t)
	comes := strings.Replace(fixtures, `"client_id": "bot",`,
		`"client_id": "bot", "grant_types": ["urn:openid:params:grant-type:ciba", "refresh_token"],`, 1)
	if err := os.WriteFile(filepath.Join(data, "..", "fixtures.json"), []byte(comes), 0o600); err != nil {
		t.Fatal(err)
	}
	p := restartDev(t, data)
	again := func() *agentHTTP {
		p.kill()
		p = restartDev(t, data, "--listen", strings.TrimPrefix(p.issuer, "http://"))
		return bot(p.issuer)
	}
	agent := bot(p.issuer)
	collect := func() wireAnswer {
		t.Helper()
		id := must(t, 200)(agent.ask(t.Context(), url.Values{"scope": {"openid profile offline_access"},
			"authorization_details": {`[{"type":"document_access","identifier":"doc-7","actions":["read"]}]`}}, nil)).member("auth_req_id")
		must(t, 204)(devDecide(t.Context(), agent.http, p.pages, id, true))
		return must(t, 200)(agent.poll(t.Context(), id, nil))
	}
	refresh := func(token string) (wireAnswer, error) {
		return agent.send(t.Context(), "/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}, nil)
	}
	active := func(token string) bool {
		t.Helper()
		a := must(t, 200)(agent.send(t.Context(), "/introspect", url.Values{"token": {token}}, nil))
		return strings.HasPrefix(string(a.body), `{"active":true,`)
	}
	first := collect()
	agent = again() // killed after the redemption was answered
	second := must(t, 200)(refresh(first.member("refresh_token")))
	agent = again() // and after the exchange was
	third := must(t, 200)(refresh(second.member("refresh_token")))
	if !active(third.member("access_token")) {
		t.Error("not active after two restarts")
	}
	who, err := agent.request(t.Context(), "/userinfo", nil, http.Header{"Authorization": {"Bearer " + third.member("access_token")}})
	if err != nil {
		t.Fatal(err)
	}
	if a := must(t, 200)(do(agent.http, who)); a.member("sub") != "u_ann" || a.member("name") != "Ann" {
		t.Errorf("userinfo: %s", a.body)
	}
	must(t, 400)(refresh(first.member("refresh_token"))) // its successor has been used: everything ends
	if active(third.member("access_token")) {
		t.Error("active after reuse")
	}
	must(t, 400)(refresh(third.member("refresh_token")))

	fourth := collect()
	must(t, 200)(agent.send(t.Context(), "/revoke", url.Values{"token": {fourth.member("refresh_token")}}, nil))
	agent = again() // killed after the revocation was answered
	if active(fourth.member("access_token")) {
		t.Error("active after revocation and restart")
	}
	fifth := collect()
	postJSON(t, p.pages+"/dev/clock", `{"advance":"719h"}`)
	sixth := must(t, 200)(refresh(fifth.member("refresh_token")))
	postJSON(t, p.pages+"/dev/clock", `{"advance":"2h"}`)
	must(t, 400)(refresh(sixth.member("refresh_token")))

	for _, who := range [][]string{{"agent", "bot"}, {"person", "u_ann"}} {
		tokens := collect()
		for _, does := range []string{"disable", "enable"} {
			if said, code := runs(t, who[0], does, "--data", data, who[1]); code != exitOK {
				t.Fatalf("%s %s: %s", who[0], does, said)
			}
		}
		must(t, 400)(refresh(tokens.member("refresh_token"))) // it does not come back
	}
}
