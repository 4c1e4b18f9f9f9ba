package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"assent/approvals"
	"assent/channels"
	"assent/webapp/passkey"
)

// LadderStep is one step of the ladder by which people are told: a [[ladder]] table of the configuration file. Without one
// every address of a person is tried once, in the person's order, a minute apart.
type LadderStep struct {
	Who     string  `toml:"who"`     // "subject", which is also the default
	Channel string  `toml:"channel"` // "sms", "push", "web", or "any" for those that no other step names
	Wait    Seconds `toml:"wait"`    // after each message; default 60
	Repeat  int     `toml:"repeat"`  // messages to each address in all; default 1
}

// Provider bounds the calls of one channel's provider: a [[provider]] table of the configuration file.
type Provider struct {
	Channel   string `toml:"channel"`    // "sms", "push" or "web"
	InFlight  int    `toml:"in-flight"`  // calls side by side; default 256
	PerSecond int    `toml:"per-second"` // calls that begin in a second; 0, the default, is no limit
}

// LevelRule is what approving takes: a [[level]] table of the configuration file. Without a currency it replaces the level of
// a whole type, also by a weaker one; with one it raises, for amounts over a bound or for all in that currency. An amount in a
// currency of which no rule of its type speaks takes the strictest level that any of them needs. Dev mode asks for no more
// than the link all the same.
type LevelRule struct {
	Type     string `toml:"type"`
	Currency string `toml:"currency"` // ISO 4217
	Over     string `toml:"over"`     // decimal amount, such as "1000.00"
	Needs    string `toml:"needs"`    // acr: urn:assent:acr:link, urn:assent:acr:session or phr
}

// levels is what the desk goes by.
func (c *Config) levels() (approvals.Levels, error) {
	rules := make([]approvals.LevelRule, len(c.Levels))
	for i, r := range c.Levels {
		rules[i] = approvals.LevelRule{Type: r.Type, Currency: r.Currency, Over: r.Over, Needs: approvals.LevelOf(r.Needs)}
	}
	return approvals.NewLevels(approvals.BuiltinTypes(), rules)
}

// checkLevels refuses rules that cannot be, and those that nobody here could fulfil: asking for less instead would be a
// silent downgrade.
func (c *Config) checkLevels() error {
	levels, err := c.levels()
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if levels.Highest() >= approvals.LevelPasskey && !c.Dev && !passkey.Possible(c.PagesURL) {
		return errors.New("configuration: a [[level]] needs phr, and passkeys need --pages-url to have a name, not an address")
	}
	return nil
}

// knownChannels are the channels that a ladder may name.
var knownChannels = []string{"sms", "push", "web", "phone"}

// ladder is what the configuration says, with defaults filled in.
func (c *Config) ladder() (l channels.Ladder) {
	if len(c.Ladder) == 0 {
		return channels.DefaultLadder()
	}
	for _, step := range c.Ladder {
		stage := channels.Stage{Who: step.Who, Channel: step.Channel, Wait: step.Wait.Duration(), Repeat: step.Repeat}
		if stage.Who == "" {
			stage.Who = channels.WhoSubject
		}
		if stage.Wait == 0 {
			stage.Wait = channels.DefaultWait
		}
		if stage.Repeat == 0 {
			stage.Repeat = 1
		}
		l = append(l, stage)
	}
	return l
}

// maxChangeHold is a week.
const maxChangeHold = Seconds(7 * 24 * 60 * 60)

// checkPolicy refuses limits and ladders that cannot be.
func (c *Config) checkPolicy() error {
	if c.PromptsPerMinute < 0 || c.PromptsOpen < 0 || c.CoolDown < 0 || c.PersonMessages < 0 {
		return errors.New("--prompts-per-minute, --prompts-open, --cool-down and --person-messages must not be negative")
	}
	if c.ChangeHold < 0 || c.ChangeHold > maxChangeHold {
		return fmt.Errorf("--change-hold must be 0 to %d seconds", maxChangeHold)
	}
	if err := c.ladder().Validate(knownChannels...); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if err := c.checkProviders(); err != nil {
		return err
	}
	types := approvals.BuiltinTypes()
	for _, name := range c.LoudTypes {
		if _, known := types[name]; !known {
			return errors.New("--loud-types must name known types of authorization_details")
		}
	}
	return nil
}

// checkProviders refuses bounds that cannot be.
func (c *Config) checkProviders() error {
	for i, p := range c.Providers {
		again := slices.ContainsFunc(c.Providers[:i], func(o Provider) bool { return o.Channel == p.Channel })
		switch {
		case again || !slices.Contains(knownChannels, p.Channel):
			return fmt.Errorf("provider[%d].channel must be %s, once", i, strings.Join(knownChannels, ", "))
		case p.InFlight < 0 || p.InFlight > channels.InFlight:
			return fmt.Errorf("provider[%d].in-flight must be 1 to %d", i, channels.InFlight)
		case p.PerSecond < 0 || p.PerSecond > maxPerSecond:
			return fmt.Errorf("provider[%d].per-second must be 0 to %d", i, maxPerSecond)
		}
	}
	return nil
}

// maxPerSecond is more than any provider takes.
const maxPerSecond = 100_000

// providerLimits is what the dispatcher bounds its providers by.
func (c *Config) providerLimits() map[string]channels.Limits {
	out := map[string]channels.Limits{}
	for _, p := range c.Providers {
		out[p.Channel] = channels.Limits{InFlight: p.InFlight, PerSecond: p.PerSecond}
	}
	return out
}

// policy is what the dispatcher goes by. Dev mode lifts the limit of messages.
func (c *Config) policy() channels.Policy {
	p := channels.Policy{Ladder: c.ladder(), Messages: c.PersonMessages, Break: c.QuietHours == "break",
		Loud: slices.Clone(c.LoudTypes)}
	if c.Dev {
		p.Messages = 0
	}
	return p
}

// prompts is what the desk goes by. Dev mode lifts all limits.
func (c *Config) prompts() approvals.PromptLimits {
	if c.Dev {
		return approvals.PromptLimits{}
	}
	limits := approvals.DefaultPromptLimits()
	limits.PerMinute, limits.Open = c.PromptsPerMinute, c.PromptsOpen
	if limits.CoolDown = c.CoolDown.Duration(); limits.CoolDown == 0 {
		limits.Denials = 0
	}
	return limits
}

// quietHours reads "22:00-07:00"; empty is none. Whether they are times is for the person's record to say.
func quietHours(text string) (approvals.QuietHours, error) {
	if text == "" {
		return approvals.QuietHours{}, nil
	}
	const size = len("22:00-07:00")
	if len(text) != size || text[size/2] != '-' {
		return approvals.QuietHours{}, &approvals.FieldError{Field: "quiet_hours", Rule: "must be like 22:00-07:00"}
	}
	return approvals.QuietHours{From: text[:size/2], To: text[size/2+1:]}, nil
}
