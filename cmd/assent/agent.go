package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"assent/approvals"
	"assent/ciba"
)

// adminFlags are shared by every command that talks to a running service.
type adminFlags struct {
	Data string `default:"${data}" env:"ASSENT_DATA" help:"Data folder of the running service."`
	JSON bool   `help:"Print JSON."`
}

// onward is the flag that a command printed for the next step needs to reach the same service.
func (c adminFlags) onward() string {
	if c.Data == defaultData {
		return ""
	}
	return " --data " + c.Data
}

type agentCmd struct {
	Add          agentAddCmd     `cmd:"" help:"Register an agent and print its secret, once."`
	List         agentListCmd    `cmd:"" help:"List agents."`
	Show         agentShowCmd    `cmd:"" help:"Show one agent, and whom it may not ask: who has paused, disconnected or reported it, or is left alone after denials."`
	Disable      agentDisableCmd `cmd:"" help:"Disable an agent; its pending requests are withdrawn."`
	Enable       agentEnableCmd  `cmd:"" help:"Let a disabled agent ask again."`
	Clear        agentClearCmd   `cmd:"" help:"Lift an agent's flags once you have looked into them: who reported it is asked again, and a suspended agent may ask."`
	Token        tokenCmd        `cmd:"" help:"Add, list, revoke the tokens that let agents register themselves."`
	RotateSecret agentRotateCmd  `cmd:"" name:"rotate-secret" help:"Replace an agent's secret and print the new one, once."`
}

type agentAddCmd struct {
	adminFlags
	Name         string   `arg:"" optional:"" help:"Name that people read, such as \"Travel Bot\"."`
	ID           string   `placeholder:"CLIENT_ID" help:"client_id; made up if not given."`
	SameName     bool     `help:"Give it a name that another agent has: people who decide cannot tell the two apart."`
	Operator     string   `placeholder:"NAME" help:"Who operates it, as people read it."`
	Type         []string `placeholder:"TYPE" help:"authorization_details type it may use; repeat. Default: all built-in types."`
	Generic      bool     `name:"generic-types" help:"Let it ask for types that this server does not know: people read them member by member, and approve with a passkey."`
	EnterCodes   bool     `help:"People type the code that the agent shows, instead of comparing it: its binding_message is 2 to 6 digits, new for each request."`
	Scope        []string `placeholder:"SCOPE" help:"Scope it may ask for beside openid, profile and email; repeat."`
	Audience     []string `placeholder:"URI" help:"Resource its tokens may be meant for; repeat. Default: the default audience."`
	Ping         string   `placeholder:"URL" help:"Notify the agent there when there is a result (ping mode), instead of leaving it to poll."`
	Basic        bool     `help:"Use client_secret_basic instead of client_secret_post."`
	File         string   `placeholder:"FILE" help:"Client metadata (RFC 7591, JSON) or fixtures instead of the flags. Members of ours, such as acr_enforce or hint_privacy, go there."`
	AcceptSecret bool     `help:"Take secrets from --file: at least 22 characters, and known to whoever reads the file."`
}

// Run registers one agent, or all of a file.
func (c *agentAddCmd) Run(ctx context.Context, s streams) error {
	clients, err := c.clients()
	if err != nil {
		return err
	}
	api, err := newAdminClient(c.Data)
	if err != nil {
		return err
	}
	if c.AcceptSecret {
		fmt.Fprintln(s.err, "warning: secrets from a file are as secret as the file; let assent make them when you can")
	}
	for _, client := range clients {
		var made madeAgent
		body := newAgent{Metadata: client, AcceptSecret: c.AcceptSecret, SameName: c.SameName}
		if err := api.call(ctx, "POST", "/agents", body, &made); err != nil {
			return err
		}
		if err := made.print(s.out, c.adminFlags); err != nil {
			return err
		}
	}
	return nil
}

func (c *agentAddCmd) clients() ([]json.RawMessage, error) {
	if (c.Name == "") == (c.File == "") {
		return nil, &exitError{exitUsage, errors.New("give a name, or --file")}
	}
	if c.File != "" {
		if c.ID != "" || c.Ping != "" || c.Operator != "" || c.Generic || c.EnterCodes || c.Basic || len(c.Type)+len(c.Scope)+len(c.Audience) > 0 {
			return nil, &exitError{exitUsage, errors.New("--file brings everything: leave the other flags out")}
		}
		clients, err := readClients(c.File)
		for i, client := range clients {
			clients[i] = withTypes(client)
		}
		return clients, err
	}
	if len(c.Type) == 0 {
		c.Type = approvals.BuiltinTypes().Names()
	}
	metadata := map[string]any{"client_name": c.Name}
	for member, values := range map[string][]string{"authorization_details_types": c.Type, "allowed_audiences": c.Audience} {
		if len(values) > 0 {
			metadata[member] = values
		}
	}
	if len(c.Scope) > 0 {
		metadata["scope"] = strings.Join(c.Scope, " ")
	}
	if c.ID != "" {
		metadata["client_id"] = c.ID
	}
	if c.Generic {
		metadata["generic_types"] = true
	}
	if c.EnterCodes {
		metadata["binding_code"] = "enter"
	}
	if c.Operator != "" {
		metadata["operator"] = c.Operator
	}
	if c.Ping != "" {
		metadata["backchannel_token_delivery_mode"] = ciba.ModePing
		metadata["backchannel_client_notification_endpoint"] = c.Ping
	}
	if c.Basic {
		metadata["token_endpoint_auth_method"] = "client_secret_basic"
	}
	raw, err := json.Marshal(metadata)
	return []json.RawMessage{raw}, err
}

// withTypes gives metadata that does not speak of types all built-in ones, as the flags do. The rest stays byte for byte:
// its faults are for the service to name.
func withTypes(metadata json.RawMessage) json.RawMessage {
	const member = "authorization_details_types"
	var object map[string]json.RawMessage
	if err := json.Unmarshal(metadata, &object); err != nil || object == nil || object[member] != nil {
		return metadata
	}
	types, _ := json.Marshal(approvals.BuiltinTypes().Names()) // strings: cannot fail
	head := fmt.Sprintf(`{"%s":%s`, member, types)
	if len(object) > 0 {
		head += ","
	}
	return append([]byte(head), bytes.TrimSpace(metadata)[1:]...)
}

// maxFile is the largest file of fixtures or metadata.
const maxFile = 16 << 20

// readClients reads one client's metadata, or the clients of a fixtures file.
func readClients(path string) ([]json.RawMessage, error) {
	raw, err := readLimited(path)
	if err != nil {
		return nil, err
	}
	var f struct {
		Clients []json.RawMessage `json:"clients"`
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("%s: must be a JSON object", path)
	}
	if f.Clients != nil {
		return f.Clients, nil
	}
	return []json.RawMessage{raw}, nil
}

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(raw) > maxFile {
		err = fmt.Errorf("%s: must not be longer than %d bytes", path, maxFile)
	}
	return raw, err
}

func (m madeAgent) print(out io.Writer, c adminFlags) error {
	if c.JSON {
		return json.NewEncoder(out).Encode(m)
	}
	fmt.Fprintf(out, "client_id:     %s\n", m.ClientID)
	if m.ClientSecret != "" {
		fmt.Fprintf(out, "client_secret: %s\n\nThe secret is shown once and kept nowhere. Lost? assent agent rotate-secret %s%s\n", m.ClientSecret, m.ClientID, c.onward())
	}
	return nil
}

type agentListCmd struct{ adminFlags }

// Run prints all agents.
func (c *agentListCmd) Run(ctx context.Context, s streams) error {
	api, err := newAdminClient(c.Data)
	if err != nil {
		return err
	}
	list, err := pages(ctx, api, "/agents", func(a agentRow) string { return a.ClientID })
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(list)
	}
	w := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "CLIENT_ID\tNAME\tMETHOD\tTYPES\tGENERIC\tCODE\tDISABLED\tFLAGS")
	for _, a := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", a.ClientID, a.Name, a.AuthMethod, strings.Join(a.Types, ","),
			yes(a.Generic), a.Code, a.disabledWords(), flagWords(a.Flags))
	}
	return w.Flush()
}

type agentShowCmd struct {
	adminFlags
	ID string `arg:"" name:"client_id" help:"Which agent."`
}

// Run prints one agent.
func (c *agentShowCmd) Run(ctx context.Context, s streams) error {
	api, err := newAdminClient(c.Data)
	if err != nil {
		return err
	}
	var a agentStory
	if err := api.call(ctx, "GET", "/agents/"+url.PathEscape(c.ID), nil, &a); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(a)
	}
	w := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	for _, line := range [][2]string{
		{"client_id", a.ClientID},
		{"name", a.Name},
		{"operator", a.Operator},
		{"method", a.AuthMethod},
		{"types", strings.Join(a.Types, ", ")},
		{"generic types", yes(a.Generic)},
		{"code", a.Code},
		{"scopes", strings.Join(a.Scopes, " ")},
		{"audiences", strings.Join(a.Audiences, " ")},
		{"disabled", a.disabledWords()},
		{"flags", flagWords(a.Flags)},
		{"added", second(a.CreatedAt)},
	} {
		if line[1] != "" {
			fmt.Fprintf(w, "%s:\t%s\n", line[0], line[1])
		}
	}
	if len(a.People) > 0 {
		fmt.Fprintln(w, "\nPERSON\tMAY NOT BE ASKED")
	}
	for _, p := range a.People {
		fmt.Fprintf(w, "%s\t%s\n", p.Sub, p.words())
	}
	return w.Flush()
}

// words says why an agent may not ask a person, the strongest reason first.
func (p leftAlone) words() string {
	var why []string
	for _, mark := range []struct {
		at   time.Time
		word string
	}{{p.ReportedAt, "reported since "}, {p.DisconnectedAt, "disconnected since "}, {p.PausedUntil, "paused until "},
		{p.CoolUntil, "cooling down after denials until "}} {
		if !mark.at.IsZero() {
			why = append(why, mark.word+second(mark.at))
		}
	}
	return strings.Join(why, ", ")
}

// disabledWords says whether an agent is disabled, and why if no operator did it.
func (a agentRow) disabledWords() string {
	if a.Why != "" {
		return yes(a.Disabled) + " (" + a.Why + ")"
	}
	return yes(a.Disabled)
}

// flagWords says how many people an agent is flagged for; "-" when it is not.
func flagWords(f approvals.Flags) string {
	var parts []string
	if f.Reports > 0 {
		parts = append(parts, fmt.Sprintf("%d reported", f.Reports))
	}
	if f.WrongCodes > 0 {
		parts = append(parts, fmt.Sprintf("%d wrong code", f.WrongCodes))
	}
	return cmp.Or(strings.Join(parts, ", "), "-")
}

// pages fetches a whole list, page by page.
func pages[T any](ctx context.Context, api *adminClient, path string, key func(T) string) ([]T, error) {
	list := []T{}
	for after := ""; ; {
		var page []T
		if err := api.call(ctx, "GET", path+"?after="+url.QueryEscape(after), nil, &page); err != nil {
			return nil, err
		}
		list = append(list, page...)
		if len(page) < listLimit {
			return list, nil
		}
		after = key(page[len(page)-1])
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

type agentDisableCmd struct {
	adminFlags
	ID string `arg:"" name:"client_id" help:"Which agent."`
}

// Run disables one agent.
func (c *agentDisableCmd) Run(ctx context.Context, s streams) error {
	return c.shut(ctx, s, "/agents/"+url.PathEscape(c.ID)+"/disable")
}

type agentEnableCmd struct {
	adminFlags
	ID       string `arg:"" name:"client_id" help:"Which agent."`
	SameName bool   `help:"Even if another agent has its name by now: people who decide cannot tell the two apart."`
}

// Run enables one agent.
func (c *agentEnableCmd) Run(ctx context.Context, s streams) error {
	return c.send(ctx, s, "/agents/"+url.PathEscape(c.ID)+"/enable", enabling{c.SameName}, "enabled")
}

type agentClearCmd struct {
	adminFlags
	ID string `arg:"" name:"client_id" help:"Which agent."`
}

// Run lifts one agent's flags.
func (c *agentClearCmd) Run(ctx context.Context, s streams) error {
	api, err := newAdminClient(c.Data)
	if err != nil {
		return err
	}
	var done cleared
	if err := api.call(ctx, "POST", "/agents/"+url.PathEscape(c.ID)+"/clear", nil, &done); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(done)
	}
	fmt.Fprintf(s.out, "cleared; %d reports lifted\n", done.Reports)
	for _, p := range done.People {
		fmt.Fprintf(s.out, "still %s for %s\n", p.words(), p.Sub)
	}
	return nil
}

// tell sends a command whose success is one word.
func (c adminFlags) tell(ctx context.Context, s streams, path, word string) error {
	return c.send(ctx, s, path, nil, word)
}

// send is tell with a body.
func (c adminFlags) send(ctx context.Context, s streams, path string, body any, word string) error {
	api, err := newAdminClient(c.Data)
	if err != nil {
		return err
	}
	if err := api.call(ctx, "POST", path, body, nil); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(map[string]string{"done": word})
	}
	_, err = fmt.Fprintln(s.out, word)
	return err
}

func (c adminFlags) shut(ctx context.Context, s streams, path string) error {
	api, err := newAdminClient(c.Data)
	if err != nil {
		return err
	}
	var done disabled
	if err := api.call(ctx, "POST", path, nil, &done); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(done)
	}
	_, err = fmt.Fprintf(s.out, "disabled; %d pending requests withdrawn\n", done.Withdrawn)
	return err
}

type agentRotateCmd struct {
	adminFlags
	ID string `arg:"" name:"client_id" help:"Which agent."`
}

// Run replaces one agent's secret. The old one stops working at once.
func (c *agentRotateCmd) Run(ctx context.Context, s streams) error {
	api, err := newAdminClient(c.Data)
	if err != nil {
		return err
	}
	var made madeAgent
	if err := api.call(ctx, "POST", "/agents/"+url.PathEscape(c.ID)+"/rotate-secret", nil, &made); err != nil {
		return err
	}
	return made.print(s.out, c.adminFlags)
}
