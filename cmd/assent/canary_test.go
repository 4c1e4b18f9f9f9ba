package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Canaries: values that must be in no log, no metric and no error text, each so odd that a hit is no accident.
const (
	canarySecret  = "canary-SECRET-pg7Wq2ZLxV9tKd4R"
	canaryPhone   = "+4915799987431"
	canaryEmail   = "canary.mail.zx81@example.com"
	canaryHint    = "canary-hint-qqxz"
	canaryName    = "Canary Person Vqx"
	canaryPayee   = "Canary Payee Wjk"
	canaryReason  = "canary remittance Fzp"
	canaryBinding = "CANARY-BIND-77"
	canaryNote    = "canary note Hrb"
	canaryCode    = "canary-user-code-Tt"
	canaryPush    = "canary-notification-token-0123456789"
	canaryKey     = "canary-idempotency-Mm"
)

// recorder keeps what goes over the wire: everything, to prove that a canary was used, and the bodies of errors.
type recorder struct {
	next http.RoundTripper

	mu     sync.Mutex
	all    bytes.Buffer
	errors bytes.Buffer
	cookie []string
}

// RoundTrip passes a call on and writes it down.
func (rec *recorder) RoundTrip(r *http.Request) (*http.Response, error) {
	var sent []byte
	if r.Body != nil {
		sent, _ = io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(sent))
	}
	resp, err := rec.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(got))
	rec.mu.Lock()
	defer rec.mu.Unlock()
	form, _ := url.QueryUnescape(string(sent))
	fmt.Fprintf(&rec.all, "%s %s %v\n%s\n%s\n%v\n%s\n", r.Method, r.URL, r.Header, sent, form, resp.Header, got)
	if resp.StatusCode >= 400 {
		fmt.Fprintf(&rec.errors, "%v\n%s\n", resp.Header, got)
	}
	for _, c := range resp.Cookies() {
		if len(c.Value) > 16 {
			rec.cookie = append(rec.cookie, c.Value)
		}
	}
	return resp, err
}

// Every secret, number and text of a whole day's work is used, and none shows up where operators and strangers read.
func TestCanaries(t *testing.T) {
	data := newData(t)
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // so that pings leave, fail and wait
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(busy.Close)
	quick := fmt.Sprintf(`{"clients":[{"client_id":"bot","client_name":"Travel Bot","client_secret":%q,
	  "backchannel_token_delivery_mode":"ping","backchannel_client_notification_endpoint":%q,
	  "authorization_details_types":["payment_initiation","tool_call"]}],
	  "people":[{"sub":"u_ann","login_hints":[%q],"name":%q,"locale":"en","zone":"UTC","phone":%q,"email":%q}]}`,
		canarySecret, busy.URL, canaryHint, canaryName, canaryPhone, canaryEmail)
	if err := os.WriteFile(filepath.Join(data, "..", "fixtures.json"), []byte(quick), 0o600); err != nil {
		t.Fatal(err)
	}
	p := restartDev(t, data, "--log-level", "debug", "--admin-listen", "127.0.0.1:0")
	day := newCanaryDay(t, p, data)
	day.work()

	places := day.places()
	if !strings.Contains(places["log"], "ping not accepted") {
		t.Error("no ping has left")
	}
	day.prove(places, map[string]string{"client secret": canarySecret, "phone": canaryPhone, "e-mail": canaryEmail, "hint": canaryHint,
		"name": canaryName, "payee": canaryPayee, "reason": canaryReason, "binding message": canaryBinding, "note": canaryNote,
		"user code": canaryCode, "notification token": canaryPush, "idempotency key": canaryKey})
}

// places stops the service and returns everything that operators and strangers can read.
func (d *canaryDay) places() map[string]string {
	t := d.t
	t.Helper()
	metrics, err := http.Get("http://" + d.p.metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	numbers, _ := io.ReadAll(metrics.Body)
	metrics.Body.Close()
	if !bytes.Contains(numbers, []byte("approvals_http_answers_total")) {
		t.Fatal("no metrics")
	}
	if err := d.p.stop(); err != nil {
		t.Fatal(err)
	}
	places := map[string]string{"log": d.p.log(), "metrics": string(numbers), "error bodies": d.errors.String()}
	if strings.Count(places["log"], "\n") < 20 || len(places["error bodies"]) < 500 {
		t.Fatalf("too little to look at: %d log lines", strings.Count(places["log"], "\n"))
	}
	return places
}

// prove looks for every canary, given or made during the day, in the places where none may be.
func (d *canaryDay) prove(places, given map[string]string) {
	t := d.t
	t.Helper()
	root, err := os.ReadFile(filepath.Join(d.data, "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	used := d.all.String()
	for name, value := range d.canaries(given) {
		if !strings.Contains(used, value) {
			t.Errorf("%s was never used", name)
		}
		d.absent(places, name, value)
	}
	d.absent(places, "root key", strings.TrimSpace(string(root)))
}

// canaryDay is an agent and a person at work, with everything written down.
type canaryDay struct {
	*recorder
	t       *testing.T
	p       *process
	data    string
	agent   *agentHTTP
	person  *browser
	handles map[string]string // secrets that came into being during the day
}

func newCanaryDay(t *testing.T, p *process, data string) *canaryDay {
	d := &canaryDay{recorder: &recorder{next: http.DefaultTransport}, t: t, p: p, data: data, person: newBrowser(), handles: map[string]string{}}
	d.agent = bot(p.issuer)
	d.agent.secret = canarySecret
	d.agent.http.Transport, d.person.http.Transport = d.recorder, d.recorder
	return d
}

func (d *canaryDay) canaries(given map[string]string) map[string]string {
	out := maps.Clone(given)
	for name, value := range d.handles {
		out[name] = value
	}
	for i, value := range d.cookie {
		out[fmt.Sprintf("cookie %d", i)] = value
	}
	return out
}

// absent looks for a value in every place, plain and in the encodings that logs and errors are prone to.
func (d *canaryDay) absent(places map[string]string, name, value string) {
	d.t.Helper()
	forms := map[string]string{"plain": value, "in a URL": url.QueryEscape(value), "in a path": url.PathEscape(value),
		"in hex": hex.EncodeToString([]byte(value)), "reversed case": strings.ToUpper(value)}
	if quoted, err := json.Marshal(value); err == nil {
		forms["in JSON"] = strings.Trim(string(quoted), `"`)
	}
	for shift := range 3 { // base64 looks different at each offset; the first and last characters depend on neighbours
		padded := strings.Repeat("x", shift) + value
		encoded := base64.RawStdEncoding.EncodeToString([]byte(padded))
		if len(encoded) > 12 {
			forms[fmt.Sprintf("in base64 at %d", shift)] = encoded[4 : len(encoded)-3]
		}
	}
	for place, text := range places {
		for form, needle := range forms {
			if at := standsAt(text, needle); len(needle) > 5 && at >= 0 {
				d.t.Errorf("%s is in the %s (%s): …%s…", name, place, form, text[max(0, at-80):min(len(text), at+40)])
			}
		}
	}
}

// standsAt is where a value stands in a text, or -1. Six digits inside a longer number, such as the fractions of a
// second, are no code.
func standsAt(text, needle string) int {
	digit := func(i int) bool { return i >= 0 && i < len(text) && '0' <= text[i] && text[i] <= '9' }
	number := strings.Trim(needle, "0123456789") == ""
	for from := 0; ; {
		i := strings.Index(text[from:], needle)
		if i < 0 {
			return -1
		}
		i += from
		if !number || !digit(i-1) && !digit(i+len(needle)) {
			return i
		}
		from = i + 1
	}
}

// work does everything once: asks that succeed and fail in each way, decisions, codes, broken forms, strangers.
func (d *canaryDay) work() {
	t, ctx := d.t, d.t.Context()
	details := fmt.Sprintf(`[{"type":"payment_initiation","instructedAmount":{"currency":"EUR","amount":"12.34"},
		"creditorName":%q,"remittanceInformationUnstructured":%q}]`, canaryPayee, canaryReason)
	form := url.Values{"login_hint": {canaryHint}, "binding_message": {canaryBinding}, "authorization_details": {details},
		"user_code": {canaryCode}, "client_notification_token": {canaryPush}}
	key := http.Header{"Idempotency-Key": {canaryKey}}

	first := must(t, 200)(d.agent.ask(ctx, form, key))
	d.keep("auth_req_id", first.member("auth_req_id"))
	must(t, 400)(d.agent.poll(ctx, first.member("auth_req_id"), http.Header{"Prefer": {"wait=0"}}))
	must(t, 400)(d.agent.poll(ctx, first.member("auth_req_id"), http.Header{"Prefer": {"wait=0"}}))
	d.openRequest()
	d.page(d.person.press(ctx, "/approve", nil), 200)
	token := must(t, 200)(d.agent.poll(ctx, first.member("auth_req_id"), key))
	d.keep("access token", token.member("access_token"))
	d.keep("id token", token.member("id_token"))
	must(t, 400)(d.agent.poll(ctx, first.member("auth_req_id"), nil))

	denied := must(t, 200)(d.agent.ask(ctx, form, nil))
	d.keep("second auth_req_id", denied.member("auth_req_id"))
	d.openRequest()
	d.page(d.person.press(ctx, "/deny", map[string]string{"note": canaryNote}), 200)
	must(t, 200)(d.agent.send(ctx, "/requests/status", url.Values{"auth_req_id": {denied.member("auth_req_id")}}, nil))
	d.faults(form)
	d.invitation()
}

func (d *canaryDay) keep(name, value string) {
	d.t.Helper()
	if value == "" {
		d.t.Fatalf("no %s", name)
	}
	d.handles[name] = value
	if _, secret, ok := strings.Cut(value, "."); ok {
		d.handles[name+", its secret part"] = secret
	}
}

// openRequest taps the message and remembers the link's handle.
func (d *canaryDay) openRequest() {
	d.t.Helper()
	d.page(d.person.openOnPhone(d.t.Context(), d.p.pages, "u_ann", startTime), 200)
	if !strings.Contains(d.person.page.visible(), canaryPayee) {
		d.t.Fatalf("the page does not show the payee: %s", d.person.page.visible())
	}
}

func (d *canaryDay) page(err error, want int) {
	d.t.Helper()
	if err != nil || d.person.page.status != want {
		d.t.Fatalf("page: %v, status %d, want %d: %s", err, d.person.page.status, want, d.person.page.visible())
	}
}

// faults sends each canary where it is wrong.
func (d *canaryDay) faults(good url.Values) {
	t, ctx := d.t, context.Background()
	for field, bad := range map[string]string{
		"scope": "openid " + canaryHint, "login_hint": canaryEmail + "x", "binding_message": canaryBinding + " https://x.example/",
		"authorization_details": `[{"type":"` + canaryPayee + `"}]`, "requested_expiry": canaryKey, "resource": canaryHint,
		"id_token_hint": canarySecret, "request": canarySecret,
	} {
		form := url.Values{}
		for name, value := range good {
			form[name] = value
		}
		form.Set(field, bad)
		if a, err := d.agent.ask(ctx, form, nil); err != nil || a.status != 400 {
			t.Errorf("bad %s: status %d, %v", field, a.status, err)
		}
	}
	for _, hint := range []string{canaryEmail, canaryPhone} {
		must(t, 200)(d.agent.ask(ctx, url.Values{"login_hint": {hint}, "client_notification_token": {canaryPush}}, nil))
	}
	wrong := *d.agent
	wrong.secret = canarySecret + "x"
	must(t, 401)(wrong.ask(ctx, good, nil))
	wrong.basic = true
	must(t, 401)(wrong.poll(ctx, d.handles["auth_req_id"], nil))
	must(t, 400)(d.agent.poll(ctx, d.handles["auth_req_id"]+"x", nil))
	d.stranger() // a signed-in person may read the own name on any page
	d.page(d.person.open(ctx, d.p.pages+"/r/"+strings.Repeat("canary", 2)), 404)
	d.page(d.person.open(ctx, d.p.pages+"/i/"+canarySecret), 404)
	d.page(d.person.open(ctx, d.p.pages+"/requests/"+strings.Repeat("0", 26)), 200) // to the sign-in
	d.page(d.person.open(ctx, d.p.pages+"/requests/"+canaryKey), 404)
}

// invitation binds a browser with a code that comes over the phone.
func (d *canaryDay) invitation() {
	t, ctx := d.t, d.t.Context()
	api, err := newAdminClient(d.data)
	if err != nil {
		t.Fatal(err)
	}
	var inv invitation
	if err := api.call(ctx, "POST", "/people/u_ann/invite", nil, &inv); err != nil {
		t.Fatal(err)
	}
	d.keep("invitation", inv.URL[strings.LastIndex(inv.URL, "/")+1:])
	d.stranger()
	d.page(d.person.open(ctx, inv.URL), 200)
	d.page(d.person.press(ctx, "/i/", nil), 200)
	code := d.codeOnPhone()
	d.page(d.person.press(ctx, "/code", map[string]string{"code": code}), 200)
	d.keep("one-time code", code)
}

// stranger takes a new browser in hand.
func (d *canaryDay) stranger() {
	d.person = newBrowser()
	d.person.http.Transport = d.recorder
}

// codeOnPhone reads the newest code from the simulated phone.
func (d *canaryDay) codeOnPhone() string {
	client := &http.Client{Transport: d.recorder}
	for deadline := time.Now().Add(startTime); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) { // as a person looks again
		req, _ := http.NewRequest("GET", d.p.pages+"/dev/phone/u_ann", nil)
		req.Header.Set("Accept", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			d.t.Fatal(err)
		}
		var messages []struct{ Code string }
		json.NewDecoder(resp.Body).Decode(&messages)
		resp.Body.Close()
		for _, m := range messages {
			if m.Code != "" {
				return m.Code
			}
		}
	}
	d.t.Fatal("no code on the phone")
	return ""
}
