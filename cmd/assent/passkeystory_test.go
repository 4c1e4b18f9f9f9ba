package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/net/html"

	"assent/webapp/passkey/passkeytest"
)

// usePasskey create|get PART does what the page's script does with the form whose action has part in its path: it fetches
// the options, asks the story's authenticator, and sends the form with its answer.
func usePasskey(ts *testscript.TestScript, neg bool, args []string) {
	s := storyOf(ts)
	if s.device == nil {
		s.device = &passkeytest.Authenticator{Origin: "https://localhost:" + ts.Getenv("PORT")}
	}
	answer := s.device.Get
	if args[0] == "create" {
		answer = s.device.Create
	}
	err := s.browser.confirm(context.Background(), args[1], answer)
	if err == nil && s.browser.page.status >= 400 {
		err = fmt.Errorf("status %d", s.browser.page.status)
	}
	if (err != nil) != neg {
		ts.Fatalf("passkey: %v: %s", err, s.browser.page.visible())
	}
	fmt.Fprintln(ts.Stdout(), s.browser.page.visible())
}

func (b *browser) confirm(ctx context.Context, part string, device func([]byte) (string, error)) error {
	form := findNode(b.page.root, func(n *html.Node) bool {
		return n.Data == "form" && attr(n, "data-begin") != "" && strings.Contains(attr(n, "action"), part)
	})
	if form == nil {
		return errors.New("no form asks for a passkey")
	}
	filled, err := b.fill(ctx, part, nil)
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(filled.Body)
	if err != nil {
		return err
	}
	fields, err := url.ParseQuery(string(raw))
	if err != nil {
		return err
	}
	sent := url.Values{}
	for name := range strings.FieldsSeq(attr(form, "data-send")) {
		sent.Set(name, fields.Get(name))
	}
	ticket, options, err := b.begin(ctx, attr(form, "data-begin"), filled.Header, sent)
	if err != nil {
		return err
	}
	credential, err := device(options)
	if err != nil {
		return err
	}
	return b.press(ctx, part, map[string]string{"ticket": ticket, "credential": credential})
}

// begin fetches what a ceremony begins with.
func (b *browser) begin(ctx context.Context, at string, header http.Header, sent url.Values) (ticket string, options []byte, err error) {
	target, err := b.resolve(at)
	if err != nil {
		return "", nil, err
	}
	req, err := http.NewRequestWithContext(ctx, "POST", target.String(), strings.NewReader(sent.Encode()))
	if err != nil {
		return "", nil, err
	}
	req.Header = header.Clone()
	resp, err := b.http.Do(req)
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	if options, err = io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return "", nil, errors.Join(err, fmt.Errorf("begin: status %d: %s", resp.StatusCode, options))
	}
	var begun struct {
		Ticket string `json:"ticket"`
	}
	err = json.Unmarshal(options, &begun)
	return begun.Ticket, options, err
}

// claims FILE prints what the tokens of a token response say, one line each. That they are signed is for others to check.
func claims(ts *testscript.TestScript, _ bool, args []string) {
	var tokens map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &tokens))
	for _, name := range []string{"access_token", "id_token"} {
		token, _ := tokens[name].(string)
		_, rest, _ := strings.Cut(token, ".")
		payload, _, _ := strings.Cut(rest, ".")
		raw, err := base64.RawURLEncoding.DecodeString(payload)
		ts.Check(err)
		fmt.Fprintf(ts.Stdout(), "%s %s\n", name, raw)
	}
}
