package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"assent/approvals"
	"assent/channels"
	"assent/channels/sms"
)

// smsConfig is how text messages leave. They are off until an account is given.
type smsConfig struct {
	TwilioAccount   string `name:"twilio-account" env:"ASSENT_TWILIO_ACCOUNT" toml:"twilio-account" placeholder:"SID" help:"Account SID at Twilio; text messages are off without it. The auth token comes by ASSENT_TWILIO_TOKEN or a file."`
	TwilioTokenFile string `name:"twilio-token-file" env:"ASSENT_TWILIO_TOKEN_FILE" toml:"twilio-token-file" placeholder:"FILE" help:"File with the auth token."`
	TwilioService   string `name:"twilio-service" env:"ASSENT_TWILIO_SERVICE" toml:"twilio-service" placeholder:"SID" help:"Messaging Service that messages leave by. With an RCS sender in it, phones that can get RCS."`
	TwilioSender    string `name:"twilio-sender" env:"ASSENT_TWILIO_SENDER" toml:"twilio-sender" placeholder:"NUMBER" help:"Number or name that messages leave by, instead of a Messaging Service."`
	TwilioURL       string `name:"twilio-url" env:"ASSENT_TWILIO_URL" toml:"twilio-url" placeholder:"URL" help:"Another address of Twilio's API, such as that of a region."`

	SMSURL       string `name:"sms-url" env:"ASSENT_SMS_URL" toml:"sms-url" placeholder:"URL" help:"Where Twilio reaches this service from outside: URL/status and URL/inbound. Default: the pages' origin and /sms."`
	SMSCountries string `name:"sms-countries" env:"ASSENT_SMS_COUNTRIES" toml:"sms-countries" placeholder:"CODES" help:"Countries whose numbers may get messages, such as KR,DE. Default: the sender number's own."`
	SMSName      string `name:"sms-name" default:"Approvals" env:"ASSENT_SMS_NAME" toml:"sms-name" help:"What this service is called in text messages."`
	SMSNameKO    string `name:"sms-name-ko" default:"승인함" env:"ASSENT_SMS_NAME_KO" toml:"sms-name-ko" help:"The same in Korean."`
	SMSParts     int    `name:"sms-parts" default:"1" env:"ASSENT_SMS_PARTS" toml:"sms-parts" placeholder:"PARTS" help:"Longest message, in parts: each is billed."`
	SMSBurst     int    `name:"sms-burst" default:"3" env:"ASSENT_SMS_BURST" toml:"sms-burst" placeholder:"MESSAGES" help:"Most messages to one number in ten minutes."`
	SMSDaily     int    `name:"sms-daily" default:"10" env:"ASSENT_SMS_DAILY" toml:"sms-daily" placeholder:"MESSAGES" help:"Most messages to one number in a day."`
	SMSDayParts  int    `name:"sms-day-parts" default:"2000" env:"ASSENT_SMS_DAY_PARTS" toml:"sms-day-parts" placeholder:"PARTS" help:"Most parts to all numbers in one day (UTC); then nothing leaves until the next."`

	SMSReplies   bool `name:"sms-replies" env:"ASSENT_SMS_REPLIES" toml:"sms-replies" help:"Let people decide by replying to a text message. They can always deny so; approve only what a [[level]] lowers to urn:assent:acr:link and what the message says in full, in up to 3 parts. Needs the inbound webhook."`
	SMSSimulator bool `name:"sms-simulator" env:"ASSENT_SMS_SIMULATOR" toml:"sms-simulator" help:"Send text messages to a simulated Twilio in this process, with its outbox at /dev/sms. Dev mode only."`
}

// plainPath is a path that means nothing to a router.
var plainPath = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+/?$`)

// texts reports whether text messages leave.
func (c *Config) texts() bool { return c.TwilioAccount != "" || c.SMSSimulator }

// checkSMS refuses settings of text messages that cannot work together. What a value must look like is checked by the
// channel itself.
func (c *Config) checkSMS() error {
	api, err := url.Parse(c.TwilioURL)
	public, publicErr := url.Parse(c.SMSURL)
	switch {
	case c.SMSURL != "" && (publicErr != nil || public.Host == "" || public.RawQuery != "" || public.Fragment != "" ||
		!plainPath.MatchString(public.Path) || public.Scheme != "https" && !c.Dev):
		return errors.New("--sms-url must be an https URL with a plain path such as /sms")
	case c.SMSSimulator && !c.Dev:
		return errors.New("--sms-simulator needs --dev")
	case c.SMSSimulator && c.TwilioAccount != "":
		return errors.New("--sms-simulator has an account of its own: leave --twilio-account out")
	case c.SMSReplies && !c.texts():
		return errors.New("--sms-replies needs text messages: --twilio-account is missing")
	case c.SMSReplies && c.TwilioService == "" && !c.SMSSimulator && !strings.HasPrefix(c.TwilioSender, "+"):
		return errors.New("--sms-replies needs a sender that can be replied to: a number or a Messaging Service")
	case !c.texts() && (c.TwilioService != "" || c.TwilioSender != "" || c.TwilioTokenFile != ""):
		return errors.New("--twilio-account is missing")
	case c.TwilioURL != "" && (err != nil || api.Host == "" || api.Scheme != "https" && !c.Dev):
		return errors.New("--twilio-url must be an https origin")
	}
	return nil
}

// twilioToken reads the auth token; it is never on the command line, where every process could read it.
func (c *Config) twilioToken() (string, error) {
	if token := os.Getenv("ASSENT_TWILIO_TOKEN"); token != "" {
		return token, nil
	}
	if c.TwilioTokenFile == "" {
		return "", errors.New("text messages: ASSENT_TWILIO_TOKEN or --twilio-token-file is missing")
	}
	raw, err := readLimited(c.TwilioTokenFile)
	if err != nil {
		return "", fmt.Errorf("twilio token: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}

// openSMS opens the channel for text messages, if there is an account for it.
func (s *service) openSMS() (err error) {
	if !s.cfg.texts() {
		return nil
	}
	cfg, err := s.smsConfig()
	if err != nil {
		return err
	}
	if s.texts, err = sms.New(cfg); err != nil {
		return fmt.Errorf("text messages: %w", err)
	}
	s.channels[s.texts.Name()] = s.texts
	s.callbacks = map[string]http.Handler{cfg.CallbackURL: s.texts.Status(), cfg.InboundURL: s.texts.Inbound()}
	return nil
}

func (s *service) smsConfig() (cfg sms.Config, err error) {
	at := strings.TrimSuffix(s.cfg.SMSURL, "/")
	if at == "" {
		at = s.cfg.PagesURL + "/sms"
	}
	cfg = sms.Config{Account: s.cfg.TwilioAccount, Service: s.cfg.TwilioService, Sender: s.cfg.TwilioSender,
		BaseURL: s.cfg.TwilioURL, CallbackURL: at + "/status", InboundURL: at + "/inbound", PagesURL: s.cfg.PagesURL,
		Names: sms.Names{EN: s.cfg.SMSName, KO: s.cfg.SMSNameKO}, MostParts: s.cfg.SMSParts,
		Caps:    sms.Caps{Burst: s.cfg.SMSBurst, Day: s.cfg.SMSDaily, DayParts: s.cfg.SMSDayParts},
		Records: s.store, Root: s.root, HTTP: providerClient(), Now: s.clock.Now, Log: s.log,
		Receipt: func(ctx context.Context, r channels.Receipt) error { return s.dispatcher.Receipt(ctx, r) }}
	if s.cfg.SMSReplies {
		cfg.Decide = func(ctx context.Context, r channels.Reply) (approvals.State, error) {
			return s.dispatcher.Decide(ctx, r)
		}
		cfg.Waits = func(ctx context.Context, id approvals.ID) bool { return s.dispatcher.Waits(ctx, id) }
	}
	if s.cfg.SMSSimulator {
		err = s.simulateTwilio(&cfg)
	} else {
		cfg.Token, err = s.cfg.twilioToken()
	}
	if err != nil {
		return cfg, err
	}
	if cfg.Countries, err = s.cfg.countries(cfg.Sender); err != nil {
		return cfg, fmt.Errorf("--sms-countries: %w", err)
	}
	return cfg, nil
}

// simulatedCountries are those of the simulator, where no message costs anything.
const simulatedCountries = "KR,US,DE,FR,GB,JP"

// countries are those that may be sent to: the configured ones, or that of the sender's number.
func (c *Config) countries(sender string) (sms.Countries, error) {
	codes := c.SMSCountries
	switch {
	case codes == "" && c.SMSSimulator:
		codes = simulatedCountries
	case codes == "":
		codes = sms.CountryOf(sender)
	}
	if codes == "" {
		return sms.Countries{}, errors.New("is missing, such as KR,DE: a Messaging Service has no country of its own")
	}
	return sms.ParseCountries(strings.Split(codes, ","))
}

// providerClient calls providers that the operator has chosen. Connections stay open for as many calls as may be under way.
func providerClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 2*channels.InFlight, channels.InFlight
	return &http.Client{Transport: transport}
}

// checkCallbacks makes sure that no address of a provider hides one of the agents' door.
func (s *service) checkCallbacks() error {
	for at := range s.callbacks {
		if u, _ := url.Parse(at); slices.Contains(s.agents.Paths(), u.Path) {
			return fmt.Errorf("--sms-url: %s belongs to agents", u.Path)
		}
	}
	return nil
}

// textAddress is where text messages reach a person whom an operator has given a phone number.
func (s *service) textAddress(p *approvals.Person) (approvals.Address, bool) {
	if s.texts == nil || p.Phone == "" {
		return approvals.Address{}, false
	}
	return approvals.Address{Channel: s.texts.Name(), Value: p.Phone, VerifiedAt: p.CreatedAt}, true
}
