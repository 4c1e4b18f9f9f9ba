package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"assent/approvals"
	"assent/channels/push"
	"assent/channels/web"
	"assent/channels/web/pushsim"
	"assent/webapp"
)

// webPushConfig is how notifications reach browsers. They are off until somebody can be turned to about them.
type webPushConfig struct {
	WebPushContact string `name:"web-push-contact" env:"ASSENT_WEB_PUSH_CONTACT" toml:"web-push-contact" placeholder:"URL" help:"Whom push services may turn to, such as mailto:push@example.com; notifications in browsers are off without it."`
	WebPushHosts   string `name:"web-push-hosts" env:"ASSENT_WEB_PUSH_HOSTS" toml:"web-push-hosts" placeholder:"HOSTS" help:"Push services beside those of Chrome, Firefox, Safari and Edge, such as push.example.com,*.push.example.org."`
}

// devContact stands in for a contact in dev mode, where push services have nobody to turn to.
const devContact = "mailto:dev@example.com"

// pushContact is whom push services may turn to; "" when notifications in browsers are off.
func (c *Config) pushContact() string {
	if c.WebPushContact == "" && c.Dev {
		return devContact
	}
	return c.WebPushContact
}

func (c *Config) pushRules() web.Rules {
	rules := web.Rules{Loopback: c.Dev}
	if c.WebPushHosts != "" {
		rules.More = strings.Split(c.WebPushHosts, ",")
	}
	return rules
}

// checkWebPush refuses settings of notifications that push services would refuse later.
func (c *Config) checkWebPush() error {
	if c.WebPushContact != "" {
		if err := web.CheckContact(c.WebPushContact); err != nil {
			return fmt.Errorf("--web-push-%w", err)
		}
	}
	if c.WebPushHosts != "" && c.pushContact() == "" {
		return errors.New("--web-push-contact is missing")
	}
	if err := c.pushRules().Validate(); err != nil {
		return fmt.Errorf("--web-push-hosts: %w", err)
	}
	return nil
}

// pushConnections is how many connections to one push service may be open. Its host is on a list, so it need not be
// spared like one that anybody names.
const pushConnections = 64

// openWebPush opens the channel for browsers, with the simulated push service in dev mode.
func (s *service) openWebPush(ctx context.Context) (err error) {
	contact := s.cfg.pushContact()
	if contact == "" {
		return nil
	}
	guard := s.guard()
	guard.perHost = pushConnections
	s.browsers, err = web.New(ctx, web.Parts{Records: s.store, Directory: s.dir, Root: s.root,
		HTTP:    newGuardedClient(guard),
		Contact: contact, PagesURL: s.cfg.PagesURL, Rules: s.cfg.pushRules(), Now: s.clock.Now, Log: s.log})
	if err != nil {
		return err
	}
	s.channels[s.browsers.Name()] = s.browsers
	if s.dev != nil {
		s.dev.push = &pushMode{pushsim.New(pushPath, s.clock.Now), s.cfg.PagesURL, s.browsers.Key()}
	}
	return nil
}

// push is what the pages get of it: nothing at all when it is off.
func (s *service) push() webapp.Push {
	if s.browsers == nil {
		return nil
	}
	return browserPush{s.browsers}
}

// browserPush is the channel as the pages know it.
type browserPush struct{ *web.Channel }

// Browsers lists the browsers of a person in the pages' words.
func (b browserPush) Browsers(ctx context.Context, person approvals.PersonID) ([]webapp.Browser, error) {
	found, err := b.Channel.Browsers(ctx, person)
	browsers := make([]webapp.Browser, len(found))
	for i, one := range found {
		browsers[i] = webapp.Browser(one)
	}
	return browsers, err
}

// canCode reports whether a one-time code reaches the person. Browsers and apps take none: both are added from a session
// that is signed in, and a browser may be the one where the code is asked for.
func (s *service) canCode(p *approvals.Person) bool {
	return slices.ContainsFunc(s.addresses(p), func(a approvals.Address) bool {
		return a.Channel != web.Name && a.Channel != push.Name
	})
}

// codeArrives is canCode for a number as it is now.
func (s *service) codeArrives(ctx context.Context, p *approvals.Person) (bool, error) {
	for _, a := range s.addresses(p) {
		switch {
		case a.Channel == web.Name, a.Channel == push.Name:
			continue
		case s.texts == nil || a.Channel != s.texts.Name():
			return true, nil
		}
		if takes, err := s.texts.Reaches(ctx, a.Value); takes || err != nil {
			return takes, err
		}
	}
	return false, nil
}

// checkBrowsers says how it is with notifications in browsers.
func (s *service) checkBrowsers(ctx context.Context) finding {
	if s.browsers == nil {
		return finding{Check: "web push", Note: "off: no --web-push-contact is configured"}
	}
	f := find("web push", s.browsers.Check(ctx))
	if f.Problem == "" {
		f.Note = "on; push services may turn to " + s.cfg.pushContact()
	}
	return f
}

// pushMode is the simulated push service of dev mode. Programs subscribe to it as a browser would, hand the
// subscription to the pages, and read what has come.
type pushMode struct {
	sim    *pushsim.Service
	origin string
	key    string
}

const pushPath = "/dev/push"

// subscribe answers POST {} with a subscription.
func (m *pushMode) subscribe(w http.ResponseWriter, r *http.Request) {
	if err := readJSON(r, &struct{}{}); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s, err := m.sim.Subscribe(m.origin, m.key)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(s.JSON())
}

// pushed is a message as a browser has decrypted it.
type pushed struct {
	pushsim.Message
	Payload json.RawMessage `json:"payload"`
}

// messages answers with everything that the push service has taken, oldest first.
func (m *pushMode) messages(w http.ResponseWriter, _ *http.Request) {
	all := []pushed{}
	for _, got := range m.sim.Outbox() {
		all = append(all, pushed{got, got.Payload})
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(all)
}
