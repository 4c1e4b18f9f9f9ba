package ciba

import (
	"encoding/json"
	"testing"
	"testing/synctest"
)

// TestPythonClients is what auth0-python and its AI SDK send, byte for byte: fixed paths, a hint put together by hand, the
// word None for an audience that nobody chose, JSON at the token endpoint, and a first poll at once.
func TestPythonClients(t *testing.T) {
	row(t, "REQ-182", "REQ-184", "REQ-231")
	synctest.Test(t, pythonClient)
}

func pythonClient(t *testing.T) {
	s := newService(t)
	headers := []string{"Accept", "*/*", "User-Agent", "Python/3.12.4", "Auth0-Client", "eyJuYW1lIjoiYXV0aDAtcHl0aG9uIn0="}
	asked := s.send("/bc-authorize", typeForm, form{}.with("client_id", "travel", "binding_message", "TEAL-7",
		"login_hint", `{ "format": "iss_sub", "iss": "`+testIssuer+`/", "sub": "p-ann" }`, "scope", "openid", "audience", "None",
		"authorization_details", payment, "requested_expiry", "300", "client_secret", testSecret).String(), headers...)
	for _, name := range []string{"expires_in", "interval"} {
		if n, ok := asked.json[name].(float64); !ok || n < 1 || n != float64(int(n)) {
			t.Errorf("%s: %s", name, asked.raw)
		}
	}
	body, err := json.Marshal(map[string]string{"client_id": "travel", "auth_req_id": asked.text("auth_req_id"),
		"grant_type": GrantCIBA, "client_secret": testSecret})
	must(t, err)
	poll := func() answer { return s.send("/oauth/token", "application/json", string(body), headers...) }
	if a := poll(); a.status != 400 || a.code() != "authorization_pending" {
		t.Errorf("at once: %d %s", a.status, a.raw)
	}
	if a := poll(); a.status != 400 || a.code() != "slow_down" || a.header.Get("Retry-After") != "7" {
		t.Errorf("too early: %d %s, Retry-After %q", a.status, a.raw, a.header.Get("Retry-After"))
	}
	s.approve(t, asked.text("auth_req_id"))
	a := poll()
	if n, ok := a.json["expires_in"].(float64); !ok || n < 1 || a.status != 200 || a.text("access_token") == "" ||
		a.text("token_type") != "Bearer" || a.text("scope") != "openid" || a.text("id_token") == "" {
		t.Errorf("%d %s", a.status, a.raw)
	}
	if a := s.send("/oauth/token", "application/json", `{"grant_type":"urn:auth0:params:oauth:grant-type:token-exchange:`+
		`federated-connection-access-token","client_id":"travel","client_secret":"`+testSecret+`","subject_token":"x","connection":"c"}`,
		headers...); a.status != 400 || a.code() != "unsupported_grant_type" {
		t.Errorf("token vault: %d %s", a.status, a.raw)
	}
}
