package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"assent/channels/push/fcmsim"
	"assent/channels/sms/twiliosim"
)

// Canaries of the ways to people, and of tokens.
const (
	canaryHouse   = "Canary House Kvw"
	canaryReply   = "canary reply of a person Xjd"
	canaryForged  = "canary-signature-Gq8="
	canaryInitial = "canary-initial-access-token-Wz4"
	canaryClient  = "Canary Client Ljp"
	canaryBad     = "canary-enrolment-Bx0"
)

// Numbers, codes, handles, texts, what providers report and persons reply, where devices and browsers listen, and every
// kind of token are used, well and badly, and stand nowhere that operators and strangers read.
func TestCanariesOfWays(t *testing.T) {
	t.Parallel()
	data := newData(t)
	quick := fmt.Sprintf(`{"clients":[
	  {"client_id":"bot","client_name":"Travel Bot","client_secret":%q,
	   "grant_types":["urn:openid:params:grant-type:ciba","refresh_token"],
	   "authorization_details_types":["payment_initiation","tool_call","document_access"]},
	  {"client_id":"proving","client_name":"Proving Bot","client_secret":%q,"dpop_bound_access_tokens":true,
	   "authorization_details_types":["payment_initiation"]}],
	  "people":[{"sub":"u_ann","login_hints":["ann"],"name":"Ann","locale":"en","zone":"UTC","phone":%q}]}`, // she may read her name on error pages
		canarySecret, canarySecret, canaryPhone)
	if err := os.WriteFile(filepath.Join(data, "..", "fixtures.json"), []byte(quick), 0o600); err != nil {
		t.Fatal(err)
	}
	p := restartDev(t, data, "--log-level", "debug", "--admin-listen", "127.0.0.1:0", "--sms-simulator", "--fcm-simulator",
		"--registration", "--sms-name", canaryHouse)
	d := newCanaryDay(t, p, data)
	d.codeByText()
	d.linkByText()
	d.browserListens()
	d.deviceListens()
	d.registers()
	d.comesBack()
	d.proves()
	d.providersFail()
	d.reports()

	d.call("GET", "/dev/sms/control/messages", nil, "")
	d.call("GET", "/dev/fcm/control/messages", nil, "")
	d.call("GET", "/dev/push/messages", nil, "")
	places := d.places()
	for _, line := range []string{`"channel":"sms"`, `"channel":"push"`, `"channel":"web"`, "message not accepted",
		"client registered"} {
		if !strings.Contains(places["log"], line) {
			t.Errorf("the log has no %s: too little has happened", line)
		}
	}
	d.prove(places, map[string]string{"client secret": canarySecret, "phone": canaryPhone,
		"name of the service": canaryHouse, "reply": canaryReply, "signature": canaryForged, "wrong access token": canaryInitial,
		"client name": canaryClient, "enrolment code": canaryBad, "device token": canaryToken})
}

// call makes a request and returns its answer.
func (d *canaryDay) call(method, path string, header http.Header, body string) wireAnswer {
	d.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = d.p.pages + path
	}
	req, err := http.NewRequestWithContext(d.t.Context(), method, path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	a, err := do(&http.Client{Transport: d.recorder}, req)
	if err != nil {
		d.t.Fatal(err)
	}
	return a
}

// want is call with an answer that must be.
func (d *canaryDay) want(status int, method, path string, header http.Header, body string) wireAnswer {
	d.t.Helper()
	a := d.call(method, path, header, body)
	if a.status != status {
		d.t.Fatalf("%s %s: status %d, want %d: %s", method, path, a.status, status, a.body)
	}
	return a
}

var jsonBody = http.Header{"Content-Type": {"application/json"}}

// codeByText signs a browser in with a code that comes as a text message.
func (d *canaryDay) codeByText() {
	t, ctx := d.t, d.t.Context()
	api, err := newAdminClient(d.data)
	if err != nil {
		t.Fatal(err)
	}
	defer api.http.CloseIdleConnections()
	var inv invitation
	if err := api.call(ctx, "POST", "/people/u_ann/invite", nil, &inv); err != nil {
		t.Fatal(err)
	}
	d.keep("invitation", inv.URL[strings.LastIndex(inv.URL, "/")+1:])
	d.page(d.person.open(ctx, inv.URL), 200)
	d.page(d.person.press(ctx, "/i/", nil), 200)
	text := d.p.texts(t, 1)
	if len(text) != 1 {
		t.Fatal("no text message with a code")
	}
	code := regexp.MustCompile(`\b[0-9]{6}\b`).FindString(text[0].Body)
	d.page(d.person.press(ctx, "/code", map[string]string{"code": code}), 200)
	d.keep("text with code", text[0].Body)
	d.keep("code in its text", text[0].Body[strings.Index(text[0].Body, code)-4:strings.Index(text[0].Body, code)+6])
}

// linkByText opens a request by the link of a text message, and by one that is wrong.
func (d *canaryDay) linkByText() {
	t, ctx := d.t, d.t.Context()
	must(t, 200)(d.agent.ask(ctx, nil, nil))
	texts := d.p.texts(t, 2)
	if len(texts) != 2 {
		t.Fatal("no text message with a link")
	}
	link := linkIn(texts[1].Body)
	d.keep("text message", texts[1].Body)
	d.keep("handle", link[strings.LastIndex(link, "/")+1:])
	d.want(404, "GET", link+"x", nil, "")
	d.page(d.person.openRequestAt(ctx, link), 200)
	d.page(d.person.press(ctx, "/deny", nil), 200)
}

// browserListens lets the browser that has just decided have notifications.
func (d *canaryDay) browserListens() {
	t := d.t
	offer := findNode(d.person.page.root, func(n *html.Node) bool { return attr(n, "id") == "push" })
	if offer == nil {
		t.Fatal("no offer after the first decision")
	}
	var sub struct {
		Endpoint string
		Keys     struct{ P256DH, Auth string }
	}
	raw := simulatedSubscription(t, d.p)
	if err := json.Unmarshal([]byte(raw), &sub); err != nil {
		t.Fatal(err)
	}
	post := func(path string, want int, form url.Values) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "POST", d.p.pages+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
		must(t, want)(do(d.person.http, req))
	}
	token := attr(offer, "data-token")
	post("/push/subscribe", 403, url.Values{"token": {canaryBad}, "subscription": {raw}})
	post("/push/subscribe", 400, url.Values{"token": {token}, "subscription": {raw[:len(raw)-2]}})
	post("/push/subscribe", 202, url.Values{"token": {token}, "subscription": {raw}})
	proof := pushedTo(t, d.p, 1)[0].Proof
	post("/push/arrived", 204, url.Values{"proof": {proof}})
	for name, value := range map[string]string{"endpoint": sub.Endpoint, "browser's key": sub.Keys.P256DH,
		"browser's secret": sub.Keys.Auth, "browser's proof": proof, "form token": token} {
		d.keep(name, value)
	}
	must(t, 200)(d.agent.ask(t.Context(), nil, nil))
	told := pushedTo(t, d.p, 2)[1].Note
	d.keep("handle of a notification", told.Navigate[strings.LastIndex(told.Navigate, "/")+1:])
}

// deviceListens enrols a device, with a wrong code before.
func (d *canaryDay) deviceListens() {
	t := d.t
	bad := fmt.Sprintf(`{"token":%q,"platform":"android","name":"Phone","enrolment":%q}`, canaryToken, canaryBad)
	if a := d.call("POST", "/me/devices", jsonBody, bad); a.status < 400 {
		t.Fatalf("enrolled with a wrong code: %d", a.status)
	}
	d.p.carries(t, d.person, canaryToken)
	d.keep("enrolment", strings.TrimPrefix(regexp.MustCompile(`#.*`).FindString(d.person.page.text("enrolment")), "#"))
	d.keep("code of the test", d.p.pushed(t, canaryToken, 1)[0].Data["id"])
}

// providersFail lets everything that leaves come back, so that errors are logged.
func (d *canaryDay) providersFail() {
	t := d.t
	d.p.order(t, "behave", twiliosim.Behaviour{Status: 400, Code: 21211})
	d.p.fcm(t, fcmsim.Behaviour{Status: 400, Code: "INVALID_ARGUMENT", Field: "message.token"})
	before := strings.Count(d.p.log(), "message not accepted")
	must(t, 200)(d.agent.ask(t.Context(), url.Values{"requested_expiry": {"900"}}, nil))
	for range 4 {
		advanceClock(t, d.p, 61*time.Second)
	}
	within(t, "failures of both", func() bool { return strings.Count(d.p.log(), "message not accepted") >= before+2 })
	d.p.order(t, "behave", twiliosim.Behaviour{})
	d.p.fcm(t, fcmsim.Behaviour{})
}

// reports lets the provider report and persons reply; and somebody else, who cannot sign.
func (d *canaryDay) reports() {
	t := d.t
	text := d.p.texts(t, 2)[1]
	if answer := d.p.order(t, "report", map[string]string{"sid": text.SID, "status": "undelivered 30005"}); answer != 204 {
		t.Errorf("report answered %d", answer)
	}
	d.keep("callback", text.Callback[strings.Index(text.Callback, "=")+1:])
	order, _ := json.Marshal(map[string]string{"from": canaryPhone, "body": canaryReply})
	d.want(200, "POST", "/dev/sms/control/inbound", jsonBody, string(order))
	forged := url.Values{"MessageSid": {"SM0123456789"}, "MessageStatus": {"delivered"}, "From": {canaryPhone},
		"Body": {canaryReply}}.Encode()
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "X-Twilio-Signature": {canaryForged}}
	d.want(403, "POST", "/sms/inbound", header, forged)
	d.want(403, "POST", text.Callback, header, forged)
}

// registers lets a client register itself, with faults before and after.
func (d *canaryDay) registers() {
	t := d.t
	said, code := runs(t, "agent", "token", "add", "--data", d.data, "--json")
	var made madeToken
	if err := json.Unmarshal([]byte(said), &made); err != nil || code != exitOK {
		t.Fatalf("code %d: %s", code, said)
	}
	with := func(token string) http.Header {
		return http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + token}}
	}
	good := fmt.Sprintf(`{"client_name":%q,"backchannel_token_delivery_mode":"poll","token_endpoint_auth_method":"client_secret_post"}`,
		canaryClient)
	d.want(401, "POST", made.Endpoint, with(canaryInitial), good)
	d.want(400, "POST", made.Endpoint, with(made.Token), strings.Replace(good, `"poll"`, `"`+canaryClient+`"`, 1))
	var client struct {
		Secret string `json:"client_secret"`
		URI    string `json:"registration_client_uri"`
		Token  string `json:"registration_access_token"`
	}
	if err := json.Unmarshal(d.want(201, "POST", made.Endpoint, with(made.Token), good).body, &client); err != nil {
		t.Fatal(err)
	}
	d.want(401, "GET", client.URI, with(canaryInitial), "")
	d.want(200, "GET", client.URI, with(client.Token), "")
	d.want(204, "DELETE", client.URI, with(client.Token), "")
	d.keep("initial access token", made.Token)
	d.keep("registration access token", client.Token)
	d.keep("registered secret", client.Secret)
}

// comesBack uses a refresh token, and then the one that was used.
func (d *canaryDay) comesBack() {
	t, ctx := d.t, d.t.Context()
	id := must(t, 200)(d.agent.ask(ctx, url.Values{"scope": {"openid offline_access"},
		"authorization_details": {`[{"type":"document_access","identifier":"doc-7","actions":["read"]}]`}}, nil)).member("auth_req_id")
	must(t, 204)(devDecide(ctx, d.agent.http, d.p.pages, id, true))
	first := must(t, 200)(d.agent.poll(ctx, id, nil)).member("refresh_token")
	refresh := func(status int, token string) wireAnswer {
		t.Helper()
		return must(t, status)(d.agent.send(ctx, "/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}, nil))
	}
	second := refresh(200, first)
	third := refresh(200, second.member("refresh_token"))
	refresh(400, first)
	must(t, 200)(d.agent.send(ctx, "/revoke", url.Values{"token": {third.member("refresh_token")}}, nil))
	d.keep("refresh token", first)
	d.keep("next refresh token", second.member("refresh_token"))
	d.keep("last refresh token", third.member("refresh_token"))
	d.keep("refreshed access token", third.member("access_token"))
}

// proves collects a token that is bound to a key, with a proof, without, and with the used one.
func (d *canaryDay) proves() {
	t, ctx := d.t, d.t.Context()
	agent := *d.agent
	agent.id = "proving"
	id := must(t, 200)(agent.ask(ctx, nil, nil)).member("auth_req_id")
	must(t, 204)(devDecide(ctx, agent.http, d.p.pages, id, true))
	poll := func(status int, proof string) wireAnswer {
		t.Helper()
		return must(t, status)(agent.poll(ctx, id, http.Header{"Dpop": {proof}, "Prefer": {"wait=0"}}))
	}
	key := curveKey(t)
	other := prove(t, key, "https://elsewhere.example", "")
	proof := prove(t, key, d.p.issuer, "")
	poll(400, other)
	poll(400, proof[:len(proof)-6])
	token := poll(200, proof)
	poll(400, proof)
	d.keep("proof", proof)
	d.keep("proof for elsewhere", other)
	d.keep("bound access token", token.member("access_token"))
}
