package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"assent/approvals"
	"assent/ciba/client"
)

type demoCmd struct {
	Yes bool `help:"Press the buttons too, through the real pages, and check everything that comes back."`
}

// What the demo's agent asks for.
const (
	demoDetails = `[{"type":"payment_initiation","instructedAmount":{"currency":"EUR","amount":"480.00"},` +
		`"creditorName":"Example Travel","creditorAccount":{"iban":"DE02100100109307118603"},` +
		`"remittanceInformationUnstructured":"Two nights in Lisbon"}]`
	demoCode     = "H3-91"
	demoResource = "https://bank.example.com/payments"
	demoSentence = "Pay 480.00 EUR to Example Travel"
	demoSecret   = "demo-secret-that-lives-as-long-as-the-demo"
	demoFixtures = `{"clients":[{"client_id":"travel-bot","client_name":"Travel Bot","client_secret":"` + demoSecret + `",
	  "authorization_details_types":["payment_initiation"],"allowed_audiences":["` + demoResource + `"]}],
	 "people":[{"sub":"ann","login_hints":["ann"],"name":"Ann","locale":"en","zone":"UTC"}]}`
)

// Run starts a service in a temporary folder, asks as an agent, and waits for a person, or plays the person too.
func (c *demoCmd) Run(ctx context.Context, s streams) error {
	folder, err := os.MkdirTemp("", "assent-demo")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	file := filepath.Join(folder, "fixtures.json")
	if err := os.WriteFile(file, []byte(demoFixtures), 0o600); err != nil {
		return err
	}
	cfg := Config{Data: filepath.Join(folder, "data"), Listen: "127.0.0.1:0", Dev: true, Fixtures: file,
		DefaultLife: 300, MaxLife: 604800, HistoryDays: 1}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ready := make(chan *service, 1)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return newService(cfg, newLogger(s.err, "warn")).serve(ctx, func(s *service) { ready <- s })
	})
	g.Go(func() error {
		defer stop()
		select {
		case svc := <-ready:
			return c.stay(ctx, s.out, c.show(ctx, s.out, svc.cfg.Issuer))
		case <-ctx.Done():
			return nil
		}
	})
	return g.Wait()
}

// stay keeps serving after the end of the story: the page that says so has yet to be loaded, and its links lead on.
func (c *demoCmd) stay(ctx context.Context, out io.Writer, err error) error {
	if c.Yes || err != nil || ctx.Err() != nil {
		return err
	}
	fmt.Fprintln(out, "\nLook around on Ann's phone; Ctrl-C ends.")
	<-ctx.Done()
	return nil
}

// show is the demo from the outside: it knows the issuer, the agent's secret and the phone's link.
func (c *demoCmd) show(ctx context.Context, out io.Writer, issuer string) error {
	agent, err := client.New(ctx, client.Config{Issuer: issuer, ID: "travel-bot", Secret: demoSecret})
	if err != nil {
		return err
	}
	waiting, err := agent.Ask(ctx, client.Ask{Hint: "ann", Scope: "openid", Message: demoCode, Resource: []string{demoResource},
		Details: json.RawMessage(demoDetails)})
	if err != nil {
		return err
	}
	link := issuer + "/dev/phone/ann"
	fmt.Fprintf(out, "An agent, \"Travel Bot\", asks Ann to approve: %s.\nIt shows her the check code %s.\n\n", demoSentence, demoCode)
	fmt.Fprintf(out, "Ann's phone (open it, tap the message, decide):\n\n    %s\n\n", link)

	person := &demoPerson{}
	var pressed errgroup.Group
	if c.Yes {
		pressed.Go(func() error { return person.decide(ctx, link) })
	}
	token, err := agent.Wait(ctx, waiting)
	if ctx.Err() != nil {
		return nil // the person at the keyboard has seen enough
	}
	arrived := time.Now()
	if err := pressed.Wait(); err != nil {
		return fmt.Errorf("the person's side: %w", err)
	}
	var denied *client.Denied
	if errors.As(err, &denied) {
		fmt.Fprintf(out, "Ann said no. Her note for the agent: %q\nNo token was issued.\n", denied.Note)
		return nil
	}
	if errors.Is(err, client.ErrExpired) && !c.Yes {
		return errors.New("nobody answered within five minutes; run it again")
	}
	if err != nil {
		return err
	}
	got, err := c.prove(ctx, issuer, token)
	if err != nil {
		return err
	}
	if c.Yes {
		if err := person.compare(got, token); err != nil {
			return err
		}
		fmt.Fprintf(out, "Approve pressed; the token arrived %.1f ms later.\n\n", arrived.Sub(person.pressed).Seconds()*1000)
	}
	return printEvidence(out, issuer, got)
}

// prove checks the token as an API would, and that a token with one flipped bit fails.
func (c *demoCmd) prove(ctx context.Context, issuer string, token *client.Token) (verifiedToken, error) {
	v, err := newVerifier(ctx, issuer+"/.well-known/openid-configuration")
	if err != nil {
		return verifiedToken{}, err
	}
	got, err := v.check(token.AccessToken, demoResource, time.Now())
	if err != nil {
		return got, err
	}
	for _, part := range []int{0, 1, 2} {
		if _, err := v.check(flip(token.AccessToken, part), demoResource, time.Now()); err == nil {
			return got, fmt.Errorf("a token with a flipped bit in part %d was accepted", part)
		}
	}
	return got, nil
}

// flip changes one bit in the decoded middle of one of a token's three parts.
func flip(token string, part int) string {
	parts := strings.Split(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[part])
	if err != nil {
		return ""
	}
	raw[len(raw)/2] ^= 1
	parts[part] = base64.RawURLEncoding.EncodeToString(raw)
	return strings.Join(parts, ".")
}

// demoPerson plays Ann with nothing but the printed link.
type demoPerson struct {
	canonical string // the bytes that the page says it stands for
	digest    string
	shown     string // everything that was to be read
	pressed   time.Time
}

// decide opens the phone, taps the message, reads the page and presses Approve.
func (p *demoPerson) decide(ctx context.Context, link string) error {
	b := newBrowser()
	request, err := p.tap(ctx, b, link)
	if err != nil {
		return err
	}
	if err := b.open(ctx, request); err != nil {
		return err
	}
	if err := b.press(ctx, b.page.url.Path, nil); err != nil { // Continue
		return err
	}
	p.canonical, p.digest, p.shown = b.page.text("disclosure-canonical"), strings.TrimSpace(b.page.text("disclosure-digest")), b.page.visible()
	if !strings.Contains(p.shown, demoSentence) {
		return fmt.Errorf("the page does not say %q: %s", demoSentence, p.shown)
	}
	p.pressed = time.Now()
	if err := b.press(ctx, "/approve", nil); err != nil {
		return err
	}
	if b.page.status != 200 {
		return fmt.Errorf("approve: status %d: %s", b.page.status, b.page.visible())
	}
	return nil
}

// tap waits for the message on the phone and returns its link.
func (p *demoPerson) tap(ctx context.Context, b *browser, phone string) (string, error) {
	for range 500 {
		if err := b.open(ctx, phone); err != nil {
			return "", err
		}
		if link, err := b.page.link(func(href string) bool { return strings.Contains(href, "/r/") }); err == nil {
			return link, nil
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(20 * time.Millisecond): // a phone is looked at again and again
		}
	}
	return "", errors.New("no message reached the phone within ten seconds")
}

// compare recomputes what the token claims from what the page showed and what the agent asked.
func (p *demoPerson) compare(got verifiedToken, token *client.Token) error {
	sum := sha256.Sum256([]byte(p.canonical))
	digest := base64.RawURLEncoding.EncodeToString(sum[:])
	if digest != p.digest || digest != got.Disclosure.Digest {
		return fmt.Errorf("digest of the page %s, page says %s, token says %s", digest, p.digest, got.Disclosure.Digest)
	}
	d, err := approvals.ParseCanonical([]byte(p.canonical))
	if err != nil {
		return err
	}
	for _, fact := range d.Facts {
		if !strings.Contains(p.shown, strings.Join(strings.Fields(fact.Text), " ")) {
			return fmt.Errorf("the page does not show %q, which it signs for", fact.Label)
		}
	}
	if !slices.Equal(got.Audience, []string{demoResource}) {
		return fmt.Errorf("aud is %v", got.Audience)
	}
	if life := got.Expiry.Time().Sub(got.IssuedAt.Time()); life != time.Duration(token.ExpiresIn)*time.Second {
		return fmt.Errorf("exp - iat is %v, expires_in %d s", life, token.ExpiresIn)
	}
	if !bytes.Equal(got.Details, []byte(demoDetails)) || !bytes.Equal(token.Details, []byte(demoDetails)) {
		return fmt.Errorf("authorization_details in the token differ from what was asked: %s", got.Details)
	}
	return nil
}

func printEvidence(out io.Writer, issuer string, got verifiedToken) error {
	var details bytes.Buffer
	if err := json.Indent(&details, got.Details, "  ", "  "); err != nil {
		return err
	}
	fmt.Fprintf(out, "Approved. The access token is signed by %s and says:\n\n", issuer)
	fmt.Fprintf(out, "  sub   %s (who approved)\n  client_id   %s (who asked)\n  aud   %s\n  exp   %s\n  acr   %s\n",
		got.Subject, got.ClientID, strings.Join(got.Audience, " "), got.Expiry.Time().UTC().Format(time.RFC3339), got.ACR)
	fmt.Fprintf(out, "  txn   %s\n  authorization_details\n  %s\n\n", got.Txn, details.String())
	_, err := fmt.Fprintf(out, "Evidence: SHA-256 of what Ann read is %s\n(template %s/%d, %s); a token with one flipped bit was refused.\n",
		got.Disclosure.Digest, got.Disclosure.Template, got.Disclosure.Version, got.Disclosure.Locale)
	return err
}
