package ciba

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"assent/approvals"
)

// shot is one request that a test spoils.
type shot struct {
	form    form
	extra   string // put behind the form as it is
	headers []string
}

func (sh *shot) set(pairs ...string) { sh.form = sh.form.with(pairs...) }

// unless sets a parameter that another fault has not taken.
func (sh *shot) unless(name, taken, value string) {
	if v := sh.form[name]; len(v) == 0 || v[0] != taken {
		sh.set(name, value)
	}
}

func (s *service) fire(sh shot) answer {
	return s.send("/bc-authorize", typeForm, sh.form.String()+sh.extra, sh.headers...)
}

// count says how many requests are stored.
func (s *service) count() int {
	s.t.Helper()
	list, err := s.Desk.List(context.Background(), approvals.Query{Limit: 1000})
	must(s.t, err)
	return len(list)
}

// TestOrder is REQ-083: two faults together give the error of the earlier one. And REQ-084: nothing is stored.
func TestOrder(t *testing.T) {
	row(t, "REQ-083", "REQ-084")
	faults := []struct {
		name  string
		spoil func(*shot)
		code  string
		text  string
	}{
		{"encoding", func(sh *shot) { sh.extra += "&x=%zz" }, "invalid_request", "percent"},
		{"client authentication", func(sh *shot) { sh.set("client_secret", "wrong") }, "invalid_client", "authentication"},
		{"permission", func(sh *shot) { sh.set("client_id", "web") }, "unauthorized_client", "CIBA"},
		{"duplicates", func(sh *shot) { sh.extra += "&y=1&y=1" }, "invalid_request", "more than once"},
		{"request object", func(sh *shot) { sh.set("request", "e30.e30.e30") }, "invalid_request", "request object"},
		{"hint count", func(sh *shot) { sh.set("id_token_hint", "e30.e30.e30") }, "invalid_request", "one hint"},
		{"hint", func(sh *shot) { sh.set("login_hint", "a\x07") }, "invalid_request", "login_hint"},
		{"scope", func(sh *shot) { sh.set("scope", "openid nope") }, "invalid_scope", "unknown"},
		{"resource", func(sh *shot) { sh.set("resource", "https://nobody.example") }, "invalid_target", "resource"},
		{"details", func(sh *shot) { sh.set("authorization_details", `[{"type":"nope"}]`) }, "invalid_authorization_details", "[0].type"},
		{"expiry", func(sh *shot) { sh.set("requested_expiry", "0") }, "invalid_request", "requested_expiry"},
		{"acr", func(sh *shot) { sh.set("acr_values", `a"b`) }, "invalid_request", "acr_values"},
		{"binding message", func(sh *shot) { sh.set("binding_message", "a\nb") }, "invalid_binding_message", "characters"},
		{"user code", func(sh *shot) { sh.set("user_code", strings.Repeat("x", 129)) }, "invalid_user_code", "wrong"},
		{"context", func(sh *shot) { sh.set("request_context", "[]") }, "invalid_request", "request_context"},
		{"key", func(sh *shot) { sh.headers = []string{"Idempotency-Key", strings.Repeat("k", 256)} }, "invalid_request", "Idempotency-Key"},
		{"person", func(sh *shot) { sh.unless("login_hint", "a\x07", "nobody") }, "unknown_user_id", "hint"},
		{"wrong code", func(sh *shot) { sh.unless("user_code", strings.Repeat("x", 129), "4712") }, "invalid_user_code", "wrong"},
	}
	s := newService(t)
	s.addCoded(t)
	for i, first := range faults {
		for _, second := range faults[i:] {
			sh := shot{form: coded(rightCode)}
			first.spoil(&sh)
			second.spoil(&sh)
			a := s.fire(sh)
			if a.code() != first.code || !strings.Contains(a.text("error_description"), first.text) {
				t.Errorf("%s and %s: %d %s", first.name, second.name, a.status, a.raw)
			}
		}
	}
	if n := s.count(); n != 0 {
		t.Errorf("%d refused requests are stored", n)
	}
}

// TestAuthorizeFaults has one row for every way to be refused, by requirement.
func TestAuthorizeFaults(t *testing.T) {
	row(t, "REQ-084", "REQ-170", "REQ-172", "REQ-173", "REQ-171")
	tests := []struct {
		row  string
		name string
		body form
		want string
	}{
		{"REQ-087", "no scope", bc("scope", ""), "invalid_request"},
		{"REQ-088", "no openid", bc("scope", "trips.book"), "invalid_request"},
		{"REQ-089", "quote in scope", bc("scope", `openid "x`), "invalid_scope"},
		{"REQ-089", "emoji in scope", bc("scope", "openid 🙂"), "invalid_scope"},
		{"REQ-089", "scope of another client", bc("client_id", "other", "client_secret", otherSecret, "scope", "openid trips.book"), "invalid_scope"},
		{"REQ-086", "request_uri", bc("request_uri", "https://x.example/r"), "invalid_request"},
		{"REQ-006", "request", bc("request", "e30.e30."), "invalid_request"},
		{"REQ-091", "relative resource", bc("resource", "/x"), "invalid_target"},
		{"REQ-091", "resource with fragment", bc("resource", "https://bank.example#f"), "invalid_target"},
		{"REQ-091", "resource with empty fragment", bc("resource", "https://bank.example#"), "invalid_target"},
		{"REQ-091", "unknown audience", bc("audience", "https://nobody.example"), "invalid_target"},
		{"REQ-094", "details not JSON", bc("authorization_details", "nope"), "invalid_request"},
		{"REQ-094", "details an object", bc("authorization_details", "{}"), "invalid_request"},
		{"REQ-094", "details null", bc("authorization_details", "null"), "invalid_request"},
		{"REQ-094", "details of numbers", bc("authorization_details", "[1]"), "invalid_request"},
		{"REQ-094", "object without type", bc("authorization_details", "[{}]"), "invalid_authorization_details"},
		{"REQ-095", "type is a number", bc("authorization_details", `[{"type":7}]`), "invalid_authorization_details"},
		{"REQ-095", "type not for this client", bc("client_id", "holder", "authorization_details", payment), "invalid_authorization_details"},
		{"REQ-038", "known type, not for this client", bc("client_id", "nohold", "authorization_details", `[{"type":"tool_call","tool":"x"}]`), "invalid_authorization_details"},
		{"REQ-096", "unknown member", bc("authorization_details", strings.Replace(payment, "{", `{"x\"y":1,`, 1)), "invalid_authorization_details"},
		{"REQ-099", "duplicate member", bc("authorization_details", `[{"type":"tool_call","type":"tool_call","tool":"x"}]`), "invalid_authorization_details"},
		{"REQ-099", "20 digits", bc("authorization_details", `[{"type":"tool_call","tool":"x","arguments":{"n":12345678901234567890}}]`), "invalid_authorization_details"},
		{"REQ-099", "1e400", bc("authorization_details", `[{"type":"tool_call","tool":"x","arguments":{"n":1e400}}]`), "invalid_authorization_details"},
		{"REQ-099", "nine levels", bc("authorization_details", `[{"type":"tool_call","tool":"x","arguments":{"a":{"b":{"c":{"d":{"e":{"f":{"g":{"h":1}}}}}}}}}]`), "invalid_authorization_details"},
		{"REQ-103", "no hint", bc("login_hint", ""), "invalid_request"},
		{"REQ-103", "two hints", bc("login_hint_token", "x"), "invalid_request"},
		{"REQ-103", "three hints", bc("login_hint_token", "x", "id_token_hint", "y"), "invalid_request"},
		{"REQ-107", "login_hint_token", bc("login_hint", "", "login_hint_token", "x"), "invalid_request"},
		{"REQ-110", "id_token_hint", bc("login_hint", "", "id_token_hint", "x"), "invalid_request"},
		{"REQ-104", "unknown person", bc("login_hint", "nobody@example.com"), "unknown_user_id"},
		{"REQ-104", "disabled person", bc("login_hint", "eve"), "unknown_user_id"},
		{"REQ-105", "513 characters", bc("login_hint", strings.Repeat("é", 513)), "invalid_request"},
		{"REQ-105", "control character", bc("login_hint", "ann\x07"), "invalid_request"},
		{"REQ-117", "too long", bc("binding_message", strings.Repeat("가", 129)), "invalid_binding_message"},
		{"REQ-132", "minus", bc("requested_expiry", "-1"), "invalid_request"},
		{"REQ-132", "fraction", bc("requested_expiry", "1.5"), "invalid_request"},
		{"REQ-132", "exponent", bc("requested_expiry", "1e3"), "invalid_request"},
		{"REQ-132", "letters", bc("requested_expiry", "abc"), "invalid_request"},
		{"REQ-132", "space", bc("requested_expiry", " 30"), "invalid_request"},
		{"REQ-132", "plus", bc("requested_expiry", "+30"), "invalid_request"},
		{"REQ-132", "ten digits", bc("requested_expiry", "1000000000"), "invalid_request"},
		{"REQ-085", "client without the grant", bc("client_id", "web"), "unauthorized_client"},
	}
	s := newService(t)
	for _, tt := range tests {
		t.Run(tt.row+" "+tt.name, func(t *testing.T) {
			row(t, tt.row)
			if a := s.post("/bc-authorize", tt.body); a.status != http.StatusBadRequest || a.code() != tt.want {
				t.Errorf("%d %s, want %s", a.status, a.raw, tt.want)
			}
		})
	}
	if n := s.count(); n != 0 { // REQ-084
		t.Errorf("%d refused requests are stored", n)
	}
}

// TestAuthorizeAccepts has what must not be refused, and what must not be kept.
func TestAuthorizeAccepts(t *testing.T) {
	row(t, "REQ-134")
	tests := []struct {
		row   string
		name  string
		body  form
		check func(t *testing.T, r *approvals.Request)
	}{
		{"REQ-080", "empty hint beside a good one", form(bc()).with("x", "y").empty("id_token_hint", "audience", "binding_message"), nil},
		{"REQ-081", "unknown parameter", bc("request_expiry", "300", "foo", "1"), nil},
		{"REQ-087", "openid last, twice", bc("scope", "trips.book openid openid profile"), func(t *testing.T, r *approvals.Request) {
			if got := strings.Join(r.Scope, " "); got != "trips.book openid profile" {
				t.Errorf("scope %q", got)
			}
		}},
		{"REQ-090", "offline_access is left out", bc("scope", "openid profile email offline_access"), func(t *testing.T, r *approvals.Request) {
			if got := strings.Join(r.Scope, " "); got != "openid profile email" {
				t.Errorf("scope %q", got)
			}
		}},
		{"REQ-091", "audience and resource", bc("audience", "https://bank.example", "resource", "https://trips.example/api"), func(t *testing.T, r *approvals.Request) {
			if got := strings.Join(r.Audience, " "); got != "https://trips.example/api https://bank.example" {
				t.Errorf("audience %q", got)
			}
		}},
		{"published clients: audience=None", "audience=None", bc("audience", "None"), func(t *testing.T, r *approvals.Request) {
			if len(r.Audience) != 0 {
				t.Errorf("audience %q", r.Audience)
			}
		}},
		{"REQ-098", "empty details", bc("authorization_details", "[ ]"), func(t *testing.T, r *approvals.Request) {
			if r.Requested != nil {
				t.Errorf("details %v", r.Requested)
			}
		}},
		{"REQ-116", "1234", bc("binding_message", "1234"), func(t *testing.T, r *approvals.Request) {
			if r.Binding != "1234" {
				t.Errorf("binding message %q", r.Binding)
			}
		}},
		{"REQ-122", "no message", bc("binding_message", ""), func(t *testing.T, r *approvals.Request) {
			if r.Binding != "" {
				t.Errorf("binding message %q", r.Binding)
			}
		}},
		{"REQ-123", "user_code", bc("user_code", "canary-code"), nil},
		{"CIBA 7.1", "acr_values are kept as they came", bc("acr_values", "unknown phr"), func(t *testing.T, r *approvals.Request) {
			if strings.Join(r.ACR, " ") != "unknown phr" {
				t.Errorf("acr %q", r.ACR)
			}
		}},
		{"REQ-133", "expiry too short", bc("requested_expiry", "1"), lives(10 * time.Second)},
		{"REQ-133", "expiry too long", bc("requested_expiry", "999999999"), lives(7 * 24 * time.Hour)},
		{"REQ-132", "expiry", bc("requested_expiry", "030"), lives(30 * time.Second)},
		{"REQ-139", "client_notification_token", bc("client_notification_token", "canary notification \" token"), nil},
		{"REQ-235", "audience from locations", bc("authorization_details", `[{"type":"tool_call","tool":"x","locations":["https://bank.example"]}]`), func(t *testing.T, r *approvals.Request) {
			if strings.Join(r.Audience, " ") != "https://bank.example" {
				t.Errorf("audience %q", r.Audience)
			}
		}},
		{"REQ-235", "locations that are not allowed", bc("authorization_details", `[{"type":"tool_call","tool":"x","locations":["https://else.example"]}]`), func(t *testing.T, r *approvals.Request) {
			if len(r.Audience) != 0 {
				t.Errorf("audience %q", r.Audience)
			}
		}},
	}
	s := newService(t)
	for _, tt := range tests {
		t.Run(tt.row+" "+tt.name, func(t *testing.T) {
			row(t, tt.row)
			a := s.post("/bc-authorize", tt.body)
			if a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.raw)
			}
			r, err := s.store.Request(t.Context(), idOf(a.text("auth_req_id")))
			must(t, err)
			if want := int(r.ExpiresAt.Sub(r.CreatedAt) / time.Second); a.json["expires_in"] != float64(want) { // REQ-134
				t.Errorf("expires_in %v, the request lives %d s", a.json["expires_in"], want)
			}
			if tt.check != nil {
				tt.check(t, r)
			}
			kept := stored(t, r)
			for _, canary := range []string{"canary", a.text("auth_req_id")[27:], testSecret} {
				if strings.Contains(kept, canary) {
					t.Errorf("%q is kept in %s", canary, kept)
				}
			}
		})
	}
}

func lives(want time.Duration) func(*testing.T, *approvals.Request) {
	return func(t *testing.T, r *approvals.Request) {
		if got := r.ExpiresAt.Sub(r.CreatedAt); got != want {
			t.Errorf("lives %v, want %v", got, want)
		}
	}
}

// TestTransport is about what comes before any parameter: REQ-075 to 078, 082.
func TestTransport(t *testing.T) {
	row(t, "REQ-075", "REQ-077", "REQ-078", "REQ-079", "REQ-080", "REQ-082")
	big := strings.Repeat("x", maxBody)
	tests := []struct {
		name, method, kind, body string
		status                   int
		code                     string
	}{
		{"GET", "GET", typeForm, "", 405, "invalid_request"},
		{"PUT", "PUT", typeForm, bc().String(), 405, "invalid_request"},
		{"JSON", "POST", typeJSON, `{}`, 400, "invalid_request"},
		{"no type", "POST", "", bc().String(), 400, "invalid_request"},
		{"multipart", "POST", "multipart/form-data; boundary=x", bc().String(), 400, "invalid_request"},
		{"charset", "POST", typeForm + "; charset=UTF-8", bc().String(), 200, ""},
		{"upper case", "POST", "Application/X-WWW-Form-Urlencoded;charset=utf-8", bc().String(), 200, ""},
		{"64 KiB and more", "POST", typeForm, bc().String() + "&a=" + big, 413, "invalid_request"},
		{"long value", "POST", typeForm, bc().String() + "&a=" + big[:maxValue+1], 400, "invalid_request"},
		{"longest value", "POST", typeForm, bc().String() + "&a=" + big[:maxValue], 200, ""},
		{"long name", "POST", typeForm, bc().String() + "&" + big[:maxValue] + "=a", 200, ""},
		{"many parameters", "POST", typeForm, bc().String() + strings.Repeat("&a=1", 65), 400, "invalid_request"},
		{"many empty parameters", "POST", typeForm, bc().String() + strings.Repeat("&a=", 5000), 200, ""},
		{"broken escape", "POST", typeForm, bc().String() + "&a=%4", 400, "invalid_request"},
		{"broken escape in a name", "POST", typeForm, bc().String() + "&%4g=1", 400, "invalid_request"},
		{"not UTF-8", "POST", typeForm, bc("scope", "").String() + "&scope=%FF", 400, "invalid_request"},
		{"NUL", "POST", typeForm, bc("scope", "").String() + "&scope=openid%00", 400, "invalid_request"},
		{"two scopes", "POST", typeForm, bc().String() + "&scope=openid", 400, "invalid_request"},
		{"two resources", "POST", typeForm, bc().String() + "&resource=https://bank.example&resource=https://trips.example/api", 200, ""},
		{"empty body", "POST", typeForm, "", 401, "invalid_client"},
	}
	s := newService(t)
	for _, tt := range tests {
		for _, chunked := range []bool{false, true} {
			r := httptest.NewRequest(tt.method, "/bc-authorize", strings.NewReader(tt.body))
			if chunked {
				r.ContentLength = -1
			}
			r.Header.Set("Content-Type", tt.kind)
			a := s.do(r)
			s.check(a, "/bc-authorize")
			if a.status != tt.status || a.code() != tt.code {
				t.Errorf("%s: %d %s, want %d %s", tt.name, a.status, a.raw, tt.status, tt.code)
			}
			if tt.status == 405 && a.header.Get("Allow") != "POST" {
				t.Errorf("%s: Allow %q", tt.name, a.header.Get("Allow"))
			}
		}
	}
}

// greedy is a body that notes how much room the reader offers.
type greedy struct {
	io.Reader
	room int
}

func (g *greedy) Read(b []byte) (int, error) {
	g.room = max(g.room, len(b))
	return g.Reader.Read(b)
}

// TestPromisedLength: a Content-Length is a promise, and no memory is set aside for promises.
func TestPromisedLength(t *testing.T) {
	body := &greedy{Reader: strings.NewReader(bc().String())}
	r := httptest.NewRequest(http.MethodPost, "/bc-authorize", body)
	r.Header.Set("Content-Type", typeForm)
	r.ContentLength = maxBody
	newService(t).do(r)
	if body.room > 8<<10 {
		t.Errorf("%d bytes for a body of %d", body.room, len(bc().String()))
	}
}

// TestAnyAudience: in dev mode every https resource is known; otherwise only those that the client may use.
func TestAnyAudience(t *testing.T) {
	dev := newService(t, func(p *Parts) { p.AnyHTTPSAudience = true })
	tests := map[string]string{
		"https://anything.example/x": "", "https://api.example": "", "http://anything.example": "invalid_target",
		"https://u:p@anything.example": "invalid_target", "https://anything.example#f": "invalid_target", "anything": "invalid_target",
	}
	for audience, want := range tests {
		if a := dev.post("/bc-authorize", bc("audience", audience)); a.code() != want {
			t.Errorf("%s: %d %s", audience, a.status, a.raw)
		}
	}
	if a := newService(t).post("/bc-authorize", bc("audience", "https://api.example")); a.status != 200 { // the default
		t.Errorf("default audience: %d %s", a.status, a.raw)
	}
}

// TestSeparate is REQ-168: approving one request leaves an equal one pending.
func TestSeparate(t *testing.T) {
	row(t, "REQ-168")
	s := newService(t)
	first, second := s.ask(t), s.ask(t)
	s.approve(t, first)
	if a := s.post("/token", tk(second)); a.code() != "authorization_pending" {
		t.Errorf("the other request: %s", a.raw)
	}
	if a := s.post("/token", tk(first)); a.status != 200 {
		t.Errorf("the approved request: %s", a.raw)
	}
}

// TestTooManyPending: one client's pending requests are bounded; the answer is traffic control, not a refusal by the
// person (429 temporarily_unavailable).
func TestTooManyPending(t *testing.T) {
	row(t, "REQ-176")
	s := newService(t)
	s.Desk.Terms.MaxOpen = 2
	first := s.ask(t)
	s.ask(t)
	full := s.post("/bc-authorize", bc())
	if full.status != 429 || full.code() != "temporarily_unavailable" || full.header.Get("Retry-After") == "" {
		t.Errorf("%d %s %v", full.status, full.raw, full.header)
	}
	if a := s.post("/bc-authorize", bc("client_id", "other", "client_secret", otherSecret)); a.status != 200 {
		t.Errorf("another client: %d %s", a.status, a.raw)
	}
	s.approve(t, first)
	if a := s.post("/bc-authorize", bc()); a.status != 200 {
		t.Errorf("after a decision: %d %s", a.status, a.raw)
	}
}
