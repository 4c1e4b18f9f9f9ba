package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"assent/approvals"
)

type doctorCmd struct {
	adminFlags
	Send    string `placeholder:"CHANNEL:ADDRESS" help:"Send a test message through the running service, such as sms:+4930123456 or push:SUB, and say what is wrong."`
	Stopped bool   `help:"The service is meant to be stopped: examine its data folder, and find nothing wrong with that. Without it, a service that does not run is a problem (exit code 1)."`
	Locale  string `default:"en" enum:"en,ko" help:"Language of the test message: en or ko."`
}

// finding is the result of one check.
type finding struct {
	Check   string `json:"check"`
	Problem string `json:"problem,omitempty"` // empty: nothing is wrong
	Note    string `json:"note,omitempty"`
}

// Run asks the running service how it is, or examines the data of a stopped one.
func (c *doctorCmd) Run(ctx context.Context, s streams) error {
	examine := c.examine
	if c.Send != "" {
		examine = c.send
	}
	findings, err := examine(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		err = json.NewEncoder(s.out).Encode(findings)
	}
	wrong := 0
	for _, f := range findings {
		word := cmp.Or(f.Problem, f.Note, "ok")
		if f.Problem != "" {
			wrong++
		}
		if !c.JSON {
			fmt.Fprintf(s.out, "%-22s %s\n", f.Check, word)
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %d checks found a problem", wrong, len(findings))
	}
	return err
}

func (c *doctorCmd) examine(ctx context.Context) ([]finding, error) {
	if _, err := os.Stat(c.Data); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	api, err := newAdminClient(c.Data)
	if err != nil {
		return nil, err
	}
	var findings []finding
	running := api.call(ctx, "GET", "/doctor", nil, &findings)
	if running == nil {
		return findings, nil
	}
	s := newService(Config{Data: c.Data, RootKeyFile: os.Getenv("ASSENT_ROOT_KEY_FILE")}, slog.New(slog.DiscardHandler))
	if _, err := os.Stat(s.storePath()); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	unlock, err := lockFolder(c.Data)
	if err != nil {
		return nil, errors.Join(err, running) // it runs, and does not answer
	}
	if err := unlock(); err != nil {
		return nil, err
	}
	findings = []finding{c.notRunning()}
	for _, open := range []struct {
		check string
		open  func(context.Context) error
	}{{"folder and root key", s.openData}, {"root key fits store", s.openStore}, {"store", func(ctx context.Context) error { return s.store.Check(ctx) }}} {
		err := open.open(ctx)
		findings = append(findings, find(open.check, err))
		if err != nil {
			break
		}
	}
	return findings, s.close()
}

// notRunning is a problem for whoever expects the service to run.
func (c *doctorCmd) notRunning() finding {
	const words = "not running; this is what its data folder says"
	if c.Stopped {
		return finding{Check: "service", Note: words}
	}
	return finding{Check: "service", Problem: words}
}

func find(check string, err error) finding {
	f := finding{Check: check}
	if err != nil {
		f.Problem = err.Error()
	}
	return f
}

// examine checks a running service.
func (s *service) examine(ctx context.Context) []finding {
	texts := finding{Check: "text messages", Note: "off: no account is configured"}
	if s.texts != nil {
		texts.Note = "on; doctor --send sms:NUMBER tries them"
	}
	pushes := finding{Check: "push to apps", Note: "off: no service account is configured"}
	if s.pushes != nil {
		pushes.Note = "on; doctor --send push:SUB tries them on a person's latest device"
	}
	return []finding{
		find("service", nil),
		find("store", s.store.Check(ctx)),
		find("bus", s.bus.Healthy()),
		find("signing keys", s.checkKeys()),
		texts,
		pushes,
		s.checkBrowsers(ctx),
		s.checkAgents(ctx),
		s.checkFlags(ctx),
	}
}

// maxNamed is how many agents a finding names.
const maxNamed = 10

// checkAgents names the agents that cannot get in with what they are registered for, such as secrets under a profile
// that takes none. They hear what strangers hear, so nobody but an operator could know why.
func (s *service) checkAgents(ctx context.Context) finding {
	barred, err := s.barredAgents(ctx)
	f := find("agents can get in", err)
	if n := len(barred); n > 0 {
		f.Problem = strings.Join(barred[:min(n, maxNamed)], ", ")
		if n > maxNamed {
			f.Problem += fmt.Sprintf(" and %d more", n-maxNamed)
		}
		f.Problem += ": profile or listeners bar their token_endpoint_auth_method; register them anew, or disable them"
	}
	return f
}

// checkFlags names the agents that people have reported or whose codes they could not tell: somebody has to look into
// them, and then clear or disable them.
func (s *service) checkFlags(ctx context.Context) finding {
	flags, err := s.desk.Flagged(ctx)
	f := find("flagged agents", err)
	ids := slices.Sorted(maps.Keys(flags))
	var named []string
	for _, id := range ids[:min(len(ids), maxNamed)] {
		about, err := s.flaggedRequests(ctx, id)
		if err != nil {
			return find("flagged agents", err)
		}
		named = append(named, string(id)+" ("+flagWords(flags[id])+": "+about+")")
	}
	if len(named) > 0 {
		f.Problem = strings.Join(named, ", ")
		if more := len(ids) - maxNamed; more > 0 {
			f.Problem += fmt.Sprintf(" and %d more", more)
		}
		f.Problem += ": look into it, then agent clear or agent disable"
	}
	return f
}

// flaggedRequests names the requests that an agent is flagged for, and their people: what queue show and person list take.
func (s *service) flaggedRequests(ctx context.Context, agent approvals.AgentID) (string, error) {
	flags, err := s.desk.FlagsOf(ctx, agent, maxNamed+1)
	var named []string
	for _, f := range flags[:min(len(flags), maxNamed)] {
		named = append(named, f.Request.Ref()+" of "+string(f.Person))
	}
	if len(flags) > maxNamed {
		named = append(named, "and more")
	}
	return strings.Join(named, ", "), err
}

func (s *service) barredAgents(ctx context.Context) (barred []string, err error) {
	err = s.everyAgent(ctx, func(a *approvals.Agent) error {
		out, err := s.agents.Barred(a)
		if out && !a.Disabled {
			barred = append(barred, string(a.ID))
		}
		return err
	})
	return barred, err
}

func (s *service) checkKeys() error {
	_, err := s.keyring.Public()
	return err
}

// ready reports whether the service can take requests.
func (s *service) ready(ctx context.Context) error {
	if _, err := s.store.Get(ctx, kindMeta, keyRootID); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}
