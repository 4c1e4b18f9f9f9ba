package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"assent/approvals"
)

type personPreferCmd struct {
	adminFlags
	Sub        string   `arg:"" help:"Which person."`
	QuietHours string   `placeholder:"FROM-TO" help:"When messages wait, on the person's clock, such as 22:00-07:00; none for never."`
	Mute       []string `placeholder:"CHANNEL" help:"Channel that brings this person no requests; repeat."`
	Unmute     []string `placeholder:"CHANNEL" help:"Channel that does again; repeat."`
}

// preferences is how a person wants to be told; what is empty stays as it is.
type preferences struct {
	Quiet  string   `json:"quiet_hours,omitempty"` // "22:00-07:00", or "none"
	Mute   []string `json:"mute,omitempty"`
	Unmute []string `json:"unmute,omitempty"`
}

// Run changes how one person is told.
func (c *personPreferCmd) Run(ctx context.Context, s streams) error {
	wish := preferences{Quiet: c.QuietHours, Mute: c.Mute, Unmute: c.Unmute}
	if wish.Quiet == "" && len(wish.Mute)+len(wish.Unmute) == 0 {
		return &exitError{exitUsage, errors.New("give --quiet-hours, --mute or --unmute")}
	}
	api, err := newAdminClient(c.Data)
	if err != nil {
		return err
	}
	var now personRow
	if err := api.call(ctx, "POST", "/people/"+url.PathEscape(c.Sub)+"/prefer", wish, &now); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(now)
	}
	_, err = fmt.Fprintf(s.out, "quiet hours: %s\nmuted: %s\n", orNone(now.Quiet), orNone(strings.Join(now.Muted, ", ")))
	return err
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// prefer changes what is given.
func (a *admin) prefer(r *http.Request) (any, error) {
	var wish preferences
	if err := decode(r, &wish); err != nil {
		return nil, err
	}
	quiet, err := quietHours(strings.TrimPrefix(wish.Quiet, "none"))
	if err != nil {
		return nil, err
	}
	id := approvals.PersonID(r.PathValue("sub"))
	err = a.changePerson(r.Context(), id, func(p *approvals.Person) {
		if wish.Quiet != "" {
			p.Quiet = quiet
		}
		p.Muted = slices.DeleteFunc(slices.Concat(p.Muted, missing(wish.Mute, p.Muted)), func(channel string) bool {
			return slices.Contains(wish.Unmute, channel)
		})
	})
	if err != nil {
		return nil, err
	}
	p, err := a.s.dir.Person(r.Context(), id)
	if err != nil {
		return nil, err
	}
	return rowOf(p), nil
}

// missing returns what is not there yet.
func missing(wanted, there []string) []string {
	return slices.DeleteFunc(slices.Clone(wanted), func(s string) bool { return slices.Contains(there, s) })
}
