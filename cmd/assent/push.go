package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"

	"assent/approvals"
	"assent/channels"
	"assent/channels/push"
	"assent/webapp"
)

// pushConfig is how messages to apps on phones leave. They are off until a service account is given.
type pushConfig struct {
	FCMAccountFile string `name:"fcm-account-file" env:"ASSENT_FCM_ACCOUNT_FILE" toml:"fcm-account-file" placeholder:"FILE" help:"Service account of Firebase Cloud Messaging, JSON; push messages to apps are off without it. Or its text by ASSENT_FCM_ACCOUNT."`
	FCMProject     string `name:"fcm-project" env:"ASSENT_FCM_PROJECT" toml:"fcm-project" placeholder:"ID" help:"Firebase project. Default: that of the service account."`
	FCMURL         string `name:"fcm-url" env:"ASSENT_FCM_URL" toml:"fcm-url" placeholder:"URL" help:"Another address of the provider's API, with its version. Default: https://fcm.googleapis.com/v1."`

	FCMSimulator bool `name:"fcm-simulator" env:"ASSENT_FCM_SIMULATOR" toml:"fcm-simulator" help:"Send push messages to a simulated Firebase Cloud Messaging in this process, with its outbox at /dev/fcm. Dev mode only."`
}

// envFCMAccount is the text of a service account file. It is never on the command line, where every process could read it.
const envFCMAccount = "ASSENT_FCM_ACCOUNT"

func (c *Config) fcmAccount() bool { return c.FCMAccountFile != "" || os.Getenv(envFCMAccount) != "" }

// pushes reports whether push messages leave.
func (c *Config) pushes() bool { return c.fcmAccount() || c.FCMSimulator }

// checkPush refuses settings of push messages that cannot work together. What a value must look like is checked by the
// channel itself.
func (c *Config) checkPush() error {
	api, err := url.Parse(c.FCMURL)
	switch {
	case c.FCMSimulator && !c.Dev:
		return errors.New("--fcm-simulator needs --dev")
	case c.FCMSimulator && (c.fcmAccount() || c.FCMURL != ""):
		return errors.New("--fcm-simulator has an account of its own: leave --fcm-account-file and --fcm-url out")
	case c.FCMAccountFile != "" && os.Getenv(envFCMAccount) != "":
		return errors.New("give --fcm-account-file or ASSENT_FCM_ACCOUNT, and not both")
	case !c.pushes() && (c.FCMProject != "" || c.FCMURL != ""):
		return errors.New("--fcm-account-file is missing")
	case c.FCMURL != "" && (err != nil || api.Host == "" || api.Scheme != "https" && !c.Dev):
		return errors.New("--fcm-url must be an https URL")
	}
	return nil
}

// serviceAccount reads the service account.
func (c *Config) serviceAccount() ([]byte, error) {
	if text := os.Getenv(envFCMAccount); text != "" {
		return []byte(text), nil
	}
	raw, err := readLimited(c.FCMAccountFile)
	if err != nil {
		return nil, fmt.Errorf("service account: %w", err)
	}
	return raw, nil
}

// openPush opens the channel for push messages, if there is an account for it.
func (s *service) openPush(ctx context.Context) error {
	if !s.cfg.pushes() {
		return nil
	}
	cfg := push.Config{Project: s.cfg.FCMProject, BaseURL: s.cfg.FCMURL, Records: s.store, Directory: s.dir, Root: s.root,
		HTTP: providerClient(), Now: s.clock.Now, Log: s.log}
	var err error
	if s.cfg.FCMSimulator {
		err = s.simulateFCM(&cfg)
	} else {
		cfg.Account, err = s.cfg.serviceAccount()
	}
	if err != nil {
		return err
	}
	if s.pushes, err = push.New(ctx, cfg); err != nil {
		return fmt.Errorf("push messages: %w", err)
	}
	s.channels[s.pushes.Name()] = s.pushes
	return nil
}

// devices is what the pages register devices with; nil: nowhere.
func (s *service) devices() webapp.Devices {
	if s.pushes == nil {
		return nil
	}
	return devices{s.pushes}
}

// devices lets the pages keep devices in the channel that tells them.
type devices struct{ channel *push.Channel }

// Register implements [webapp.Devices].
func (d devices) Register(ctx context.Context, person approvals.PersonID, n webapp.NewDevice, also ...approvals.Write) (
	webapp.Registered, error) {
	w, err := d.channel.Register(ctx, person, push.Registration{Token: n.Token, Name: n.Name, Platform: n.Platform}, also...)
	return webapp.Registered{ID: w.ID, Verified: w.Verified, Expires: w.Expires}, untested(err)
}

// untested says to an app why no test has come to it.
func untested(err error) error {
	switch {
	case errors.Is(err, channels.ErrGone), errors.Is(err, channels.ErrRejected):
		return &approvals.FieldError{Field: "token", Rule: "must be one that the provider sends to"}
	case errors.Is(err, channels.ErrBusy), errors.Is(err, channels.ErrFault):
		return fmt.Errorf("%w: %w", approvals.ErrUnavailable, err)
	}
	return err
}

// Confirm implements [webapp.Devices].
func (d devices) Confirm(ctx context.Context, id, code string) error {
	return d.channel.Confirm(ctx, id, code)
}

// List implements [webapp.Devices].
func (d devices) List(ctx context.Context, person approvals.PersonID) ([]webapp.Device, error) {
	kept, err := d.channel.Devices(ctx, person)
	list := make([]webapp.Device, 0, len(kept))
	for _, k := range kept {
		list = append(list, webapp.Device{ID: k.ID, Name: k.Name, Platform: k.Platform, AddedAt: k.Added})
	}
	return list, err
}

// Remove implements [webapp.Devices].
func (d devices) Remove(ctx context.Context, person approvals.PersonID, id string) error {
	return d.channel.Remove(ctx, person, id)
}

// testAddress is where a test message goes: push messages to a person's latest device, because nobody knows a device by
// its address, and all others to the address itself.
func (s *service) testAddress(ctx context.Context, t testMessage) (approvals.Address, error) {
	if t.Channel != push.Name {
		return approvals.Address{Channel: t.Channel, Value: t.To}, nil
	}
	p, err := s.dir.Person(ctx, approvals.PersonID(t.To))
	if err != nil && !errors.Is(err, approvals.ErrNotFound) {
		return approvals.Address{}, err
	}
	if err == nil {
		i := slices.IndexFunc(p.Addresses, func(a approvals.Address) bool { return a.Channel == push.Name && push.Told(p, a) })
		if i >= 0 {
			return p.Addresses[i], nil
		}
	}
	return approvals.Address{}, &approvals.FieldError{Field: "to", Rule: "must be the sub of a person who has registered a device"}
}
