package main

import (
	"context"
	"fmt"
	"strings"

	"assent/approvals"
	"assent/channels/push"
	"assent/channels/sms"
	"assent/channels/web"
	"assent/webapp"
)

// reach lets people see and change where messages to them go.
type reach struct{ s *service }

// Ways implements [webapp.Reach].
func (r reach) Ways(ctx context.Context, p *approvals.Person) ([]webapp.Way, error) {
	names, err := r.names(ctx, p)
	if err != nil {
		return nil, err
	}
	var ways []webapp.Way
	for _, a := range r.s.addresses(p) {
		w := webapp.Way{Address: a, Kind: webapp.WayOther, Name: a.Channel}
		switch a.Channel {
		case sms.Name:
			w.Kind, w.Name = webapp.WayPhone, masked(a.Value)
			w.Fixed = a.Value != p.Phone // an operator has set it up beside the person's own
		case web.Name:
			w.Kind, w.Key = webapp.WayBrowser, keyOf(a)
			w.Name = names[w.Key]
		case push.Name:
			w.Kind, w.Key = webapp.WayDevice, keyOf(a)
			w.Name = names[w.Key]
		default:
			w.Fixed = true
		}
		ways = append(ways, w)
	}
	return ways, nil
}

// keyOf is the channel's own key of a device or a browser, which the address begins with.
func keyOf(a approvals.Address) string {
	key, _, _ := strings.Cut(a.Value, ".")
	return key
}

// names are what a person calls their devices and browsers, by the keys of the channels.
func (r reach) names(ctx context.Context, p *approvals.Person) (map[string]string, error) {
	names := map[string]string{}
	if r.s.pushes != nil {
		list, err := r.s.pushes.Devices(ctx, p.ID)
		if err != nil {
			return nil, err
		}
		for _, d := range list {
			names[d.ID] = d.Name
		}
	}
	if r.s.browsers != nil {
		list, err := r.s.browsers.Browsers(ctx, p.ID)
		if err != nil {
			return nil, err
		}
		for _, b := range list {
			names[b.ID] = b.Label
		}
	}
	return names, nil
}

// masked shows as much of a number as its owner needs to know it.
func masked(number string) string {
	if len(number) < 8 {
		return "…"
	}
	return number[:3] + " … " + number[len(number)-3:]
}

// Drop implements [webapp.Reach].
func (r reach) Drop(ctx context.Context, person approvals.PersonID, w webapp.Way) error {
	switch {
	case w.Kind == webapp.WayBrowser && r.s.browsers != nil:
		return r.s.browsers.Remove(ctx, person, w.Key)
	case w.Kind == webapp.WayDevice && r.s.pushes != nil:
		return r.s.pushes.Remove(ctx, person, w.Key)
	}
	return fmt.Errorf("drop %s: %w", w.Channel, approvals.ErrInvalid)
}
