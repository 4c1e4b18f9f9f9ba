package ciba

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"assent/approvals"
)

// REQ-022 to 024: which clients can be registered for pings.
func TestRegisterPing(t *testing.T) {
	row(t, "REQ-020", "REQ-022", "REQ-023", "REQ-024")
	const endpoint, mode = "backchannel_client_notification_endpoint", "backchannel_token_delivery_mode"
	tests := []struct {
		name, metadata string
		field          string // that is at fault; "" : none
		dev            string // likewise in dev mode; "=": as outside
	}{
		{"ping", `"backchannel_token_delivery_mode":"ping","backchannel_client_notification_endpoint":"https://desk.example/hooks/ciba?a=b"`, "", "="},
		{"a port", `"backchannel_token_delivery_mode":"ping","backchannel_client_notification_endpoint":"https://desk.example:8443/"`, "", "="},
		{"a poll client may name one", `"backchannel_client_notification_endpoint":"https://desk.example/"`, "", "="},
		{"a poll client's must be good as well", `"backchannel_client_notification_endpoint":"http://desk.example/"`, endpoint, "="},
		{"REQ-022 push", `"backchannel_token_delivery_mode":"push","backchannel_client_notification_endpoint":"https://desk.example/"`, mode, "="},
		{"REQ-020 another case", `"backchannel_token_delivery_mode":"Ping","backchannel_client_notification_endpoint":"https://desk.example/"`, mode, "="},
		{"REQ-023 no endpoint", `"backchannel_token_delivery_mode":"ping"`, endpoint, "="},
		{"blind clients poll", `"backchannel_token_delivery_mode":"ping","hint_privacy":"blind","backchannel_client_notification_endpoint":"https://desk.example/"`, "hint_privacy", "="},
	}
	for _, bad := range []string{"http://desk.example/", "https://u:p@desk.example/", "https://u@desk.example/", "https://desk.example/#x",
		"https://desk.example/#", "//desk.example/", "/hooks", "https:desk.example", "https:///x", "ftp://desk.example/", "desk.example",
		"https://desk.example/a b", "https://desk.example/\\u00e4", "https://desk.example/\\r\\nX: y", "https://desk.example:0/", "https://desk.example:99999/",
		"https://169.254.169.254/", "https://10.0.0.5/", "https://93.184.216.34/", "https://2130706433/", "https://0x7f.1/", "https://0177.0.0.1/", "https://1.2.3.0x4/",
		"https://[fd00::1]/", "https://[::ffff:10.0.0.5]/", "https://[fe80::1%25eth0]/", "https://intranet/", "https://desk.local/", "https://metadata.google.internal/",
		"https://desk.example./../x y", "https://%6c%6f/", "https://a.b_c.example/x", "https://desk.example/" + strings.Repeat("x", maxEndpoint)} {
		tests = append(tests, struct{ name, metadata, field, dev string }{"REQ-023, 024 " + bad[:min(len(bad), 40)],
			`"backchannel_token_delivery_mode":"ping","backchannel_client_notification_endpoint":"` + bad + `"`, endpoint, "="})
	}
	for _, local := range []string{"https://localhost/", "http://localhost:8080/cb", "https://LOCALHOST./", "http://127.0.0.1:9/", "https://127.0.0.1/",
		"http://[::1]:8080/"} {
		tests = append(tests, struct{ name, metadata, field, dev string }{"REQ-024 " + local,
			`"backchannel_token_delivery_mode":"ping","backchannel_client_notification_endpoint":"` + local + `"`, endpoint, ""})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := []byte(`{"client_id":"c",` + tt.metadata + `}`)
			if tt.dev == "=" {
				tt.dev = tt.field
			}
			_, err := ParseMetadata(raw, approvals.BuiltinTypes())
			refused(t, "outside", err, tt.field)
			_, err = ParseDevMetadata(raw, approvals.BuiltinTypes())
			refused(t, "dev mode", err, tt.dev)
		})
	}
}

func refused(t *testing.T, where string, err error, field string) {
	t.Helper()
	var f *approvals.FieldError
	if field == "" && err != nil || field != "" && (!errors.As(err, &f) || f.Field != field) {
		t.Errorf("%s: %v, want a fault of %q", where, err, field)
	}
}

// What is registered can be read again.
func TestPingClientKeepsItsEndpoint(t *testing.T) {
	s := newService(t)
	m, err := ParseMetadata([]byte(pingClient+deskEndpoint+`"}`), s.Desk.Renderer.Types)
	must(t, err)
	a, err := m.Agent(s.Root, time.Now())
	must(t, err)
	c, err := ClientOf(a)
	must(t, err)
	if c.NotifyURL != deskEndpoint || c.DeliveryMode != ModePing {
		t.Errorf("kept %q, %q", c.NotifyURL, c.DeliveryMode)
	}
}

// REQ-135 to 138: the token of a ping client.
func TestNotificationToken(t *testing.T) {
	row(t, "REQ-135", "REQ-136", "REQ-137", "REQ-138")
	p, _, _ := plainPinger(t)
	tests := []struct {
		name, token string
		want        int
	}{
		{"REQ-135 none", "", 400},
		{"REQ-136 1024 characters", strings.Repeat("aB3-", 256), 200},
		{"REQ-136 1025 characters", strings.Repeat("aB3-", 256) + "x", 400},
		{"REQ-137 every character", "A-z._~+/0123456789==", 200},
		{"REQ-137 a space", "0123456789 0123456789", 400},
		{"REQ-137 a quote", `0123456789"0123456789`, 400},
		{"REQ-137 a comma", "0123456789,0123456789", 400},
		{"REQ-137 a line", "0123456789\r\nX-Y: 0123456789", 400},
		{"REQ-137 not ASCII", "0123456789é0123456789", 400},
		{"REQ-137 = in the middle", "0123456789=0123456789", 400},
		{"REQ-137 only =", strings.Repeat("=", 20), 400},
		{"REQ-138 15 characters", "abcdefghij12345", 400},
		{"REQ-138 16 characters", "abcdefghij123456", 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			row(t, tt.name)
			a := p.post("/bc-authorize", bc("client_notification_token", tt.token))
			if a.status != tt.want || tt.want == 400 && a.code() != "invalid_request" {
				t.Errorf("%d %s", a.status, a.raw)
			}
			if tt.token != "" && strings.Contains(a.raw, tt.token) {
				t.Error("the answer repeats the token")
			}
		})
	}
}

// REQ-083: the token is judged after user_code and before the hint is looked up.
func TestNotificationTokenInItsTurn(t *testing.T) {
	row(t, "REQ-083")
	p, _, _ := plainPinger(t)
	if a := p.post("/bc-authorize", bc("login_hint", "nobody")); a.code() != "invalid_request" {
		t.Errorf("no token and an unknown person: %s", a.raw)
	}
	if a := p.post("/bc-authorize", bc("binding_message", "https://x.example/")); a.code() != "invalid_binding_message" {
		t.Errorf("no token and a bad binding_message: %s", a.raw)
	}
}

// REQ-138: what looks guessable is logged, without the token.
func TestGuessableTokens(t *testing.T) {
	row(t, "REQ-138")
	for token, want := range map[string]bool{strings.Repeat("a", 100): true, "abcdabcdabcdabcdabcd": true, "0123456789abcdef": true,
		"wYPF0h30jpKf7Xn42vNF4FA1iXKHO9Uw": false, "8d67dc78-7faa-4d41-aabd-67707b374255": false} {
		p, _, _ := plainPinger(t)
		p.service.ask(t, "client_notification_token", token)
		if got := strings.Contains(p.logs.String(), "looks guessable"); got != want {
			t.Errorf("%s: %d bits, logged %v", token, guessBits(token), got)
		}
		if strings.Contains(p.logs.String(), token) {
			t.Error("the log has the token")
		}
	}
}

// REQ-139: a poll client's token is neither judged nor kept, and nothing pings.
func TestTokenOfPollClient(t *testing.T) {
	row(t, "REQ-139")
	p, endpoint, _ := plainPinger(t)
	a := p.post("/bc-authorize", bc("client_id", "other", "client_secret", otherSecret, "client_notification_token", "x y"))
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	if _, err := readErrand(t.Context(), p.store, idOf(a.text("auth_req_id"))); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("errand: %v", err)
	}
	p.approve(t, a.text("auth_req_id"))
	if len(p.steps(t)) != 0 || endpoint.count() != 0 {
		t.Errorf("steps %v", p.steps(t))
	}
}

// plainPinger is a pinger outside of fake time whose endpoint says yes.
func plainPinger(t *testing.T) (*pinger, *script, *timers) {
	t.Helper()
	return timed(t, "204")
}

// The token of a signed request is in the request object; outside it is refused like every parameter (REQ-151).
func TestNotificationTokenIsSigned(t *testing.T) {
	row(t, "REQ-151")
	p, _, _ := plainPinger(t)
	p.register(t, "sign", deskEndpoint+`","jwks":`+jwksOf("ES256")+`,"backchannel_authentication_request_signing_alg":"ES256`)
	const name = "client_notification_token"
	tests := []struct {
		where   string
		inside  []any
		outside []string
		want    int
	}{
		{"inside", []any{name, pingToken}, nil, 200},
		{"nowhere", nil, nil, 400},
		{"outside", nil, []string{name, pingToken}, 400},
		{"on both sides", []any{name, pingToken}, []string{name, pingToken}, 400},
		{"no string", []any{name, 1234567890123456}, nil, 400},
		{"too short", []any{name, "abc"}, nil, 400},
	}
	for _, tt := range tests {
		object := jws(t, "ES256", "ES256", nil, objectClaims("sign", tt.inside...))
		if a := p.post("/bc-authorize", ro("sign", object, tt.outside...)); a.status != tt.want || tt.want == 400 && a.code() != "invalid_request" {
			t.Errorf("%s: %d %s", tt.where, a.status, a.raw)
		}
	}
}

// REQ-205: before and after its ping, a ping client polls like any other.
func TestPingClientPolls(t *testing.T) {
	row(t, "REQ-190", "REQ-205")
	synctest.Test(t, func(t *testing.T) {
		p, endpoint, _ := timed(t, "204")
		handle := p.ask(t)
		if a := p.post("/token", tk(handle)); a.code() != "authorization_pending" {
			t.Errorf("before: %s", a.raw)
		}
		if a := p.post("/token", tk(handle)); a.code() != "slow_down" {
			t.Errorf("at once again: %s", a.raw)
		}
		p.approve(t, handle)
		p.events(t)
		if a := p.post("/token", tk(handle)); a.status != 200 || endpoint.count() != 1 { // REQ-190
			t.Errorf("after: %d %s", a.status, a.raw)
		}
	})
}
