package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// registers sends client metadata with a token and returns status and answer.
func registers(t *testing.T, p *process, method, target, token string, metadata map[string]any) (int, map[string]any) {
	t.Helper()
	body, err := json.Marshal(metadata)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, target, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	a, err := bot(p.issuer).http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	raw, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &out); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
	}
	return a.StatusCode, out
}

func runs(t *testing.T, args ...string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	code := run(t.Context(), args, nil, &out, &out)
	return out.String(), code
}

// An operator makes a token, an agent registers itself with it, is listed, and deletes itself.
func TestRegistration(t *testing.T) {
	data := newData(t)
	p := restartDev(t, data, "--registration")
	said, code := runs(t, "agent", "token", "add", "--data", data, "--json", "--uses", "2", "--type", "tool_call", "Ann's team")
	var made madeToken
	if err := json.Unmarshal([]byte(said), &made); err != nil || code != exitOK {
		t.Fatalf("code %d: %s", code, said)
	}
	if said, _ := runs(t, "agent", "token", "list", "--data", data); !strings.Contains(said, made.ID) || !strings.Contains(said, "Ann's team") {
		t.Errorf("listed: %s", said)
	}
	status, client := registers(t, p, "POST", made.Endpoint, made.Token, map[string]any{"client_name": "New Bot",
		"backchannel_token_delivery_mode": "poll", "token_endpoint_auth_method": "client_secret_post"})
	if status != 201 {
		t.Fatalf("register: %d %v", status, client)
	}
	if said, _ := runs(t, "agent", "list", "--data", data); !strings.Contains(said, "New Bot (self-registered)") {
		t.Errorf("listed: %s", said)
	}
	place, access := client["registration_client_uri"].(string), client["registration_access_token"].(string)
	if status, _ := registers(t, p, "GET", place, access, nil); status != 200 {
		t.Errorf("GET: %d", status)
	}
	if status, _ := registers(t, p, "DELETE", place, access, nil); status != 204 {
		t.Errorf("DELETE: %d", status)
	}
	if said, code := runs(t, "agent", "token", "revoke", "--data", data, made.ID); code != exitOK {
		t.Errorf("revoke: %s", said)
	}
	if status, _ := registers(t, p, "POST", made.Endpoint, made.Token, map[string]any{"backchannel_token_delivery_mode": "poll"}); status != 401 {
		t.Errorf("with a revoked token: %d", status)
	}
	for _, line := range []string{"client registered", "client deleted itself"} {
		if !strings.Contains(p.log(), line) {
			t.Errorf("the log has no line %q", line)
		}
	}
	for _, secret := range []string{made.Token, access, client["client_secret"].(string)} {
		if strings.Contains(p.log(), secret) {
			t.Error("the log holds a secret")
		}
	}
}

func TestRegistrationOff(t *testing.T) {
	row(t, "REQ-034")
	data := newData(t)
	p := restartDev(t, data)
	if said, code := runs(t, "agent", "token", "add", "--data", data); code != exitFailed || !strings.Contains(said, "dynamic registration is off") {
		t.Errorf("code %d: %s", code, said)
	}
	r, err := http.Post(p.issuer+"/register", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusNotFound {
		t.Errorf("status %d", r.StatusCode)
	}
}

// REQ-024, 284: nothing that a client registers makes us call an inside address, then or later. The trap stands behind
// all of them; in dev mode this machine is reached under its own name, which shows that the trap works.
func TestRegistrationIsGuarded(t *testing.T) {
	row(t, "REQ-024", "REQ-284")
	tr := newTrap(t)
	data := newData(t)
	p := restartDev(t, data, "--registration", "--outbound-ports", fmt.Sprint(tr.port))
	said, _ := runs(t, "agent", "token", "add", "--data", data, "--json", "--uses", "100")
	var made madeToken
	if err := json.Unmarshal([]byte(said), &made); err != nil {
		t.Fatal(said)
	}
	client := func(members map[string]any) map[string]any {
		members["backchannel_token_delivery_mode"], members["token_endpoint_auth_method"] = "poll", "private_key_jwt"
		return members
	}
	hosts := append(ownAddresses(t), "0.0.0.0", "[::]", "169.254.169.254", "10.0.0.5", "100.64.0.1", "[::ffff:127.0.0.1]",
		"[64:ff9b::7f00:1]")
	for _, host := range hosts {
		status, answer := registers(t, p, "POST", made.Endpoint, made.Token, client(map[string]any{"jwks_uri": tr.url(host)}))
		if status != 400 || answer["error"] != "invalid_client_metadata" || tr.count.Load() != 0 {
			t.Errorf("%s: status %d %v, %d connections", host, status, answer, tr.count.Load())
		}
	}
	for _, host := range hosts {
		status, answer := registers(t, p, "POST", made.Endpoint, made.Token, map[string]any{"jwks_uri": tr.url(host),
			"token_endpoint_auth_method": "private_key_jwt", "backchannel_token_delivery_mode": "ping", "backchannel_client_notification_endpoint": tr.url(host)})
		if status != 400 || answer["error"] != "invalid_client_metadata" || tr.count.Load() != 0 {
			t.Errorf("ping to %s: status %d %v, %d connections", host, status, answer, tr.count.Load())
		}
	}
	for _, host := range []string{"0x7f000001", "nothing.invalid"} { // names of nothing now, which may change
		status, answer := registers(t, p, "POST", made.Endpoint, made.Token, client(map[string]any{"jwks_uri": tr.url(host)}))
		if status != 201 {
			t.Fatalf("%s: status %d %v", host, status, answer)
		}
		if a := askSigned(t, p.issuer, answer["client_id"].(string)); a.status != 401 || tr.count.Load() != 0 {
			t.Errorf("%s: status %d, %d connections", host, a.status, tr.count.Load())
		}
	}
	own := client(map[string]any{"jwks_uri": tr.url("127.0.0.1")})
	for _, member := range []string{"logo_uri", "client_uri", "tos_uri", "policy_uri", "sector_identifier_uri", "initiate_login_uri"} {
		own[member] = tr.url("127.0.0.1")
	}
	own["redirect_uris"] = []string{tr.url("127.0.0.1")}
	status, answer := registers(t, p, "POST", made.Endpoint, made.Token, own)
	if status != 201 || tr.count.Load() != 0 {
		t.Fatalf("own: status %d %v, %d connections", status, answer, tr.count.Load())
	}
	if a := askSigned(t, p.issuer, answer["client_id"].(string)); a.status == 200 || tr.count.Load() == 0 {
		t.Errorf("own: status %d, %d connections: the trap does not work", a.status, tr.count.Load())
	}
}
