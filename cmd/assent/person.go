package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"assent/approvals"
	"assent/channels/sms"
)

type personCmd struct {
	Add     personAddCmd     `cmd:"" help:"Add a person who can be asked."`
	List    personListCmd    `cmd:"" help:"List people."`
	Invite  personInviteCmd  `cmd:"" help:"Make an invitation: it binds the person's browser."`
	Prefer  personPreferCmd  `cmd:"" help:"Set a person's quiet hours, and mute channels; people do that themselves at /settings."`
	Phone   personPhoneCmd   `cmd:"" help:"Give a person another phone number; they are told over everything else."`
	SignOut personSignOutCmd `cmd:"" name:"sign-out" help:"End all sign-ins and forget all browsers of a person: a lost phone."`
	Enable  personEnableCmd  `cmd:"" help:"Let a disabled person decide again."`
	Disable personDisableCmd `cmd:"" help:"Disable a person; pending requests are withdrawn, approved ones cannot be redeemed."`
}

type personAddCmd struct {
	adminFlags
	Name   string   `arg:"" help:"Name of the person."`
	Sub    string   `placeholder:"SUB" help:"Subject identifier; made up if not given. Never reused."`
	Hint   []string `placeholder:"NAME" help:"login_hint that finds this person; repeat."`
	Email  string   `placeholder:"ADDRESS" help:"E-mail address: a login_hint, and nothing is sent there."`
	Phone  string   `placeholder:"NUMBER" help:"Phone number in E.164, also a login_hint."`
	Locale string   `default:"en" enum:"en,ko" help:"Language of messages and pages: en or ko."`
	Zone   string   `default:"UTC" placeholder:"ZONE" help:"IANA time zone, such as Asia/Seoul."`

	QuietHours string   `placeholder:"FROM-TO" help:"When messages wait, on the person's clock, such as 22:00-07:00."`
	Mute       []string `placeholder:"CHANNEL" help:"Channel that brings this person no requests; repeat."`

	UserCodeFile string `placeholder:"FILE" help:"File with the person's user code: agents registered for codes must send it."`
}

// Run adds one person.
func (c *personAddCmd) Run(ctx context.Context, s streams) error {
	api, err := newAdminClient(c.Data)
	if err != nil {
		return err
	}
	body := newPerson{Sub: c.Sub, LoginHints: c.Hint, Name: c.Name, Locale: c.Locale, Zone: c.Zone, Phone: c.Phone, Email: c.Email,
		Quiet: c.QuietHours, Muted: c.Mute}
	if c.UserCodeFile != "" {
		raw, err := readLimited(c.UserCodeFile)
		if err != nil {
			return fmt.Errorf("user code: %w", err)
		}
		body.UserCode = strings.TrimRight(string(raw), "\r\n")
	}
	var made personRow
	if err := api.call(ctx, "POST", "/people", body, &made); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(made)
	}
	_, err = fmt.Fprintf(s.out, "sub: %s\n\nNext: assent person invite %s%s\n", made.Sub, made.Sub, c.onward())
	return err
}

type personListCmd struct{ adminFlags }

// Run prints all people.
func (c *personListCmd) Run(ctx context.Context, s streams) error {
	api, err := newAdminClient(c.Data)
	if err != nil {
		return err
	}
	list, err := pages(ctx, api, "/people", func(p personRow) string { return p.Sub })
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(list)
	}
	w := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "SUB\tNAME\tLANGUAGE\tZONE\tDISABLED")
	for _, p := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", p.Sub, p.Name, p.Locale, p.Zone, yes(p.Disabled))
	}
	return w.Flush()
}

type personInviteCmd struct {
	adminFlags
	Sub string `arg:"" help:"Which person."`
}

// Run makes an invitation and prints its two halves.
func (c *personInviteCmd) Run(ctx context.Context, s streams) error {
	api, err := newAdminClient(c.Data)
	if err != nil {
		return err
	}
	var inv invitation
	if err := api.call(ctx, "POST", "/people/"+url.PathEscape(c.Sub)+"/invite", nil, &inv); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(inv)
	}
	fmt.Fprintf(s.out, "link: %s\n", inv.URL)
	if inv.Code == "" {
		fmt.Fprintln(s.out, "\nGive the person the link. A code comes over the person's own channel when it is opened.")
	} else {
		fmt.Fprintf(s.out, "code: %s\n\nGive the person the link, and tell the code another way: whoever has both is that person.\n", inv.Code)
	}
	_, err = fmt.Fprintf(s.out, "Good until %s, once.\n", inv.Expires.UTC().Format(time.RFC1123))
	return err
}

type personPhoneCmd struct {
	adminFlags
	Sub    string `arg:"" help:"Which person."`
	Number string `arg:"" help:"Phone number in E.164, or none."`
}

// Run replaces the number of one person.
func (c *personPhoneCmd) Run(ctx context.Context, s streams) error {
	api, err := newAdminClient(c.Data)
	if err != nil {
		return err
	}
	number := newNumber{Phone: strings.TrimPrefix(c.Number, "none")}
	if err := api.call(ctx, "POST", "/people/"+url.PathEscape(c.Sub)+"/phone", number, nil); err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.out, "number changed; approvals that take a passkey wait for --change-hold")
	return err
}

// newNumber is the body that changes a number; empty: there is none any more.
type newNumber struct {
	Phone string `json:"phone"`
}

// changeNumber gives a person another number, in the place that the old one had in their order.
func (a *admin) changeNumber(r *http.Request) (any, error) {
	var body newNumber
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	return nil, a.changePerson(r.Context(), approvals.PersonID(r.PathValue("sub")), func(p *approvals.Person) {
		renumber(p, body.Phone, a.s.clock.Now())
	})
}

// renumber gives p another number, for which an operator vouches from now on; what the old one had shown is not its.
func renumber(p *approvals.Person, number string, at time.Time) {
	old := p.Phone
	p.Phone, p.Addresses = number, slices.Clone(p.Addresses)
	for i, a := range p.Addresses {
		if a.Channel == sms.Name && a.Value == old {
			p.Addresses[i].Value, p.Addresses[i].VerifiedAt = number, at
		}
	}
	p.Addresses = slices.DeleteFunc(p.Addresses, func(a approvals.Address) bool { return a.Value == "" })
}

type personSignOutCmd struct {
	adminFlags
	Sub string `arg:"" help:"Which person."`
}

// Run signs one person out everywhere.
func (c *personSignOutCmd) Run(ctx context.Context, s streams) error {
	return c.tell(ctx, s, "/people/"+url.PathEscape(c.Sub)+"/sign-out", "signed out everywhere; the next sign-in needs an invitation")
}

type personEnableCmd struct {
	adminFlags
	Sub string `arg:"" help:"Which person."`
}

// Run enables one person.
func (c *personEnableCmd) Run(ctx context.Context, s streams) error {
	return c.tell(ctx, s, "/people/"+url.PathEscape(c.Sub)+"/enable", "enabled")
}

type personDisableCmd struct {
	adminFlags
	Sub string `arg:"" help:"Which person."`
}

// Run disables one person.
func (c *personDisableCmd) Run(ctx context.Context, s streams) error {
	return c.shut(ctx, s, "/people/"+url.PathEscape(c.Sub)+"/disable")
}
