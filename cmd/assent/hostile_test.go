package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// hostile is one request that a fair client never sends.
type hostile struct {
	name   string
	path   string
	kind   string // Content-Type; empty: a form
	body   string
	chunks bool // sent without Content-Length
	want   int
	error  string // member of a JSON answer; empty: the answer is a page
}

// The agents' credentials, as a form.
const botForm = "client_id=bot&client_secret=bot-secret-0123456789-abcdef"

func askBody(details string) string {
	return botForm + "&" + url.Values{"scope": {"openid"}, "login_hint": {"ann"}, "authorization_details": {details}}.Encode()
}

func payBody(amount string) string {
	return askBody(`[{"type":"payment_initiation","instructedAmount":{"currency":"EUR","amount":` + amount + `},"creditorName":"Example Travel"}]`)
}

func toolBody(arguments string) string {
	return askBody(`[{"type":"tool_call","tool":"pay","arguments":` + arguments + `}]`)
}

// nested is JSON of that depth.
func nested(depth int) string {
	return strings.Repeat(`{"a":`, depth-1) + "{}" + strings.Repeat("}", depth-1)
}

// agentsDoor are requests to the back channel (REQ-078 to 082, 094 to 099).
func agentsDoor() []hostile {
	const (
		authorize, token = "/bc-authorize", "/token"
		form             = "application/x-www-form-urlencoded"
		refused          = "invalid_request"
		details          = "invalid_authorization_details"
		grant            = "&grant_type=urn%3Aopenid%3Aparams%3Agrant-type%3Aciba"
	)
	large := strings.Repeat("a", 64<<10)
	all := []hostile{
		{name: "depth over 8", path: authorize, body: toolBody(nested(20)), want: 400, error: details},
		{name: "depth of 10,000", path: authorize, body: askBody(strings.Repeat("[", 7000) + strings.Repeat("]", 7000)), want: 400, error: refused},
		{name: "twenty digits", path: authorize, body: toolBody(`{"n":12345678901234567890}`), want: 400, error: details},
		{name: "a number beyond any float", path: authorize, body: toolBody(`{"n":1e400}`), want: 400, error: details},
		{name: "amount of twenty digits", path: authorize, body: payBody(`12345678901234567890`), want: 400, error: details},
		{name: "amount of 1e400", path: authorize, body: payBody(`1e400`), want: 400, error: details},
		{name: "amount as text of 1e400", path: authorize, body: payBody(`"1e400"`), want: 400, error: details},
		{name: "details not JSON", path: authorize, body: askBody(`[{`), want: 400, error: refused},
		{name: "details with a member twice", path: authorize, body: askBody(`[{"type":"tool_call","type":"tool_call"}]`), want: 400, error: details},
		{name: "lone surrogate", path: authorize, body: toolBody(`{"n":"\ud800"}`), want: 400, error: details},
		{name: "expiry of twenty digits", path: authorize, body: askBody(pay) + "&requested_expiry=12345678901234567890", want: 400, error: refused},
		{name: "expiry of 1e400", path: authorize, body: askBody(pay) + "&requested_expiry=1e400", want: 400, error: refused},
		{name: "no scope", path: authorize, body: botForm + "&login_hint=ann", want: 400, error: refused},
		{name: "JSON where only forms are taken", path: authorize, kind: "application/json", body: `{}`, want: 400, error: refused},
		{name: "hint as deep JSON", path: authorize, body: botForm + "&scope=openid&login_hint=" + url.QueryEscape(nested(500)), want: 400, error: refused},
		{name: "JSON of depth", path: token, kind: "application/json", body: nested(50), want: 400, error: refused},
		{name: "JSON with a number", path: token, kind: "application/json", body: `{"client_id":12345678901234567890}`, want: 400, error: refused},
		{name: "JSON with 1e400", path: token, kind: "application/json", body: `{"client_id":1e400}`, want: 400, error: refused},
		{name: "JSON cut off", path: token, kind: "application/json", body: `{"client_id":"bot`, want: 400, error: refused},
		{name: "JSON that is no UTF-8", path: token, kind: "application/json", body: "{\"client_id\":\"\xff\"}", want: 400, error: refused},
		{name: "odd auth_req_id", path: token, body: botForm + grant + "&auth_req_id=%2e%2e%2f", want: 400, error: "invalid_grant"},
	}
	for _, path := range []string{authorize, token, "/oauth/token", "/requests/status", "/requests/cancel"} {
		more := []hostile{
			{name: "body over 64 KiB", body: botForm + "&a=" + large, want: 413, error: refused},
			{name: "body over 64 KiB in chunks", body: botForm + "&a=" + large, chunks: true, want: 413, error: refused},
			{name: "body of 4 MiB", body: strings.Repeat(large, 64), want: 413, error: refused},
			{name: "invalid UTF-8", body: botForm + "&scope=%ff%fe", want: 400, error: refused},
			{name: "raw invalid UTF-8", body: botForm + "&scope=\xff\xfe", want: 400, error: refused},
			{name: "NUL", body: botForm + "&scope=%00", want: 400, error: refused},
			{name: "broken escape", body: botForm + "&scope=%zz", want: 400, error: refused},
			{name: "parameter twice", body: botForm + "&scope=openid&scope=openid", want: 400, error: refused},
			{name: "client_id twice", body: botForm + "&client_id=bot", want: 400, error: refused},
			{name: "too many parameters", body: botForm + manyParams(200), want: 400, error: refused},
			{name: "nothing", body: "", want: 401, error: "invalid_client"},
			{name: "multipart", kind: "multipart/form-data; boundary=x", body: "--x--", want: 400, error: refused},
			{name: "broken content type", kind: ";;;", body: "a=b", want: 400, error: refused},
		}
		for _, h := range more {
			h.path = path
			all = append(all, h)
		}
	}
	for i := range all {
		if all[i].kind == "" {
			all[i].kind = form
		}
	}
	return all
}

func manyParams(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("&p" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + strings.Repeat("y", i/26) + "=1")
	}
	return b.String()
}

// pageForms are posts to the buttons of a request's page and to other pages.
func pageForms(request string) []hostile {
	var all []hostile
	for _, path := range []string{request + "/approve", request + "/deny", request + "/withdraw", request + "/opened", "/signin", "/signin/code", "/signout"} {
		for _, h := range []hostile{
			{name: "body over 64 KiB", body: "token=" + strings.Repeat("a", 64<<10), want: 413},
			{name: "body over 64 KiB in chunks", body: "token=" + strings.Repeat("a", 64<<10), chunks: true, want: 413},
			{name: "body of 4 MiB", body: "token=" + strings.Repeat("a", 4<<20), want: 413},
			{name: "invalid UTF-8", body: "token=%ff", want: 400},
			{name: "broken escape", body: "token=%zz", want: 400},
			{name: "field twice", body: "token=a&token=a", want: 400},
			{name: "unknown field", body: "nobody=1", want: 400},
			{name: "JSON", kind: "application/json", body: `{"token":1e400}`, want: 400},
		} {
			h.path = path
			if h.kind == "" {
				h.kind = "application/x-www-form-urlencoded"
			}
			all = append(all, h)
		}
	}
	return all
}

// post sends h on a connection of its own, all of it, whatever the other side does meanwhile.
func (h *hostile) post(t *testing.T, base *url.URL, cookies []*http.Cookie) (wireAnswer, error) {
	t.Helper()
	conn, err := net.Dial("tcp", base.Host)
	if err != nil {
		return wireAnswer{}, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(startTime))
	req, err := http.NewRequestWithContext(t.Context(), "POST", base.ResolveReference(&url.URL{Path: h.path}).String(), strings.NewReader(h.body))
	if err != nil {
		return wireAnswer{}, err
	}
	if h.chunks {
		req.ContentLength, req.TransferEncoding = -1, []string{"chunked"}
	}
	req.Header.Set("Content-Type", h.kind)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	for _, c := range cookies {
		req.AddCookie(c)
	}
	written := make(chan error, 1)
	go func() { written <- req.Write(conn) }() // a large body may be refused before its end
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return wireAnswer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	conn.Close()
	<-written
	return wireAnswer{resp.StatusCode, resp.Header, body}, err
}

// Whatever comes in, the answer is the error that the specification names: never a 500, never a connection that is cut
// off before its answer, and the service goes on.
func TestHostileInput(t *testing.T) {
	t.Parallel()
	row(t, "REQ-078", "REQ-079", "REQ-080", "REQ-082", "REQ-094", "REQ-099")
	p := newDev(t)
	agent := bot(p.issuer)
	id := must(t, http.StatusOK)(agent.ask(t.Context(), nil, nil)).member("auth_req_id")
	ann := newBrowser()
	if err := ann.openOnPhone(t.Context(), p.pages, "u_ann", startTime); err != nil {
		t.Fatal(err)
	}
	base, err := url.Parse(p.pages)
	if err != nil {
		t.Fatal(err)
	}
	request, _, _ := strings.Cut(id, ".")
	inputs := append(agentsDoor(), pageForms("/requests/"+request)...)
	for _, h := range inputs {
		a, err := h.post(t, base, ann.http.Jar.Cookies(base))
		switch {
		case err != nil:
			t.Errorf("%s, %s: no answer: %v", h.path, h.name, err)
		case a.status != h.want || h.error != "" && a.member("error") != h.error:
			t.Errorf("%s, %s: %d %.300s, want %d %s", h.path, h.name, a.status, a.body, h.want, h.error)
		case h.error == "" && !bytes.Contains(a.body, []byte("</html>")):
			t.Errorf("%s, %s: %d is no page: %.300s", h.path, h.name, a.status, a.body)
		}
	}
	must(t, http.StatusNoContent)(devDecide(t.Context(), agent.http, p.pages, id, true)) // nothing has decided it
	if err := p.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	for line := range strings.Lines(p.log()) {
		if strings.Contains(line, "panic") || strings.Contains(line, `"level":"ERROR"`) {
			t.Errorf("log: %s", line)
		}
	}
	t.Logf("%d inputs", len(inputs))
}
