package main

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An agent gets tokens of its own where an operator has switched that on and registered it for them, and nowhere else.
func TestTokensWithoutAPerson(t *testing.T) {
	data := newData(t)
	robot := strings.Replace(fixtures, `"client_id": "bot",`, `"client_id": "bot", "client_credentials_scopes": ["rates.read"],
	  "grant_types": ["urn:openid:params:grant-type:ciba", "client_credentials"],`, 1)
	if err := os.WriteFile(filepath.Join(data, "..", "fixtures.json"), []byte(robot), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := url.Values{"grant_type": {"client_credentials"}}
	p := restartDev(t, data)
	if a := must(t, 400)(bot(p.issuer).send(t.Context(), "/token", ask, nil)); a.member("error") != "unsupported_grant_type" {
		t.Errorf("off: %s", a.body)
	}
	p.kill()
	agent := bot(restartDev(t, data, "--client-credentials").issuer)
	token := must(t, 200)(agent.send(t.Context(), "/token", ask, nil)).member("access_token")
	a := must(t, 200)(agent.send(t.Context(), "/introspect", url.Values{"token": {token}}, nil))
	if !strings.HasPrefix(string(a.body), `{"active":true,`) || a.member("sub") != "bot" || a.member("scope") != "rates.read" {
		t.Errorf("introspection: %s", a.body)
	}
}
