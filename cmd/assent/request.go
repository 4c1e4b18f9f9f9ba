package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"assent/ciba/client"
)

type requestCmd struct {
	Issuer     string   `required:"" env:"ASSENT_ISSUER" placeholder:"URL" help:"Issuer of the service, as it is published."`
	ClientID   string   `required:"" env:"ASSENT_CLIENT_ID" placeholder:"ID" help:"client_id of the agent."`
	SecretFile string   `env:"ASSENT_CLIENT_SECRET_FILE" placeholder:"FILE" help:"File with the client_secret; or set ASSENT_CLIENT_SECRET."`
	Basic      bool     `help:"Use client_secret_basic instead of client_secret_post."`
	Who        string   `arg:"" optional:"" help:"login_hint: a name, an e-mail address or a phone number."`
	Message    string   `placeholder:"TEXT" help:"binding_message, shown to the person to compare."`
	Details    string   `placeholder:"JSON" help:"authorization_details, or @FILE."`
	Scope      string   `default:"openid" help:"Scopes, separated by spaces."`
	Resource   []string `placeholder:"URI" help:"Whom the token is for; repeat."`
	Expiry     Seconds  `placeholder:"SECONDS" help:"requested_expiry."`
	Key        string   `name:"idempotency-key" placeholder:"KEY" help:"Asking again with the same key is the same request."`
	NoWait     bool     `help:"Print the handle at once and do not wait."`
	Resume     string   `placeholder:"FILE" help:"Wait for the request whose handle an earlier --no-wait printed into FILE."`
}

// Help is printed below the flags.
func (requestCmd) Help() string {
	return "Prints the token response as JSON, or the error and the person's note for the agent.\n\nExit codes: 0 approved, 1 failed, 2 wrong usage, 3 denied or withdrawn, 4 expired or nobody could be reached."
}

// Run asks and waits.
func (c *requestCmd) Run(ctx context.Context, s streams) error {
	secret, err := c.secret()
	if err != nil {
		return err
	}
	agent, err := client.New(ctx, client.Config{Issuer: c.Issuer, ID: c.ClientID, Secret: secret, Basic: c.Basic})
	if err != nil {
		return err
	}
	waiting, err := c.waiting(ctx, agent)
	if err != nil {
		return err
	}
	out := json.NewEncoder(s.out)
	out.SetIndent("", "  ")
	if c.NoWait {
		return out.Encode(waiting)
	}
	token, err := agent.Wait(ctx, waiting)
	var denied *client.Denied
	switch {
	case errors.As(err, &denied):
		return errors.Join(out.Encode(map[string]string{"error": "access_denied", "note": denied.Note}), &exitError{exitDenied, err})
	case errors.Is(err, client.ErrDenied), errors.Is(err, client.ErrWithdrawn):
		return &exitError{exitDenied, err}
	case errors.Is(err, client.ErrExpired), errors.Is(err, client.ErrUnreachable):
		return &exitError{exitExpired, err}
	case err != nil:
		return err
	}
	return out.Encode(token)
}

// waiting asks, or reads what an earlier call asked.
func (c *requestCmd) waiting(ctx context.Context, agent *client.Client) (*client.Waiting, error) {
	if c.Resume != "" {
		raw, err := readLimited(c.Resume)
		if err != nil {
			return nil, err
		}
		waiting := &client.Waiting{}
		if err := json.Unmarshal(raw, waiting); err != nil || waiting.Handle == "" {
			return nil, &exitError{exitUsage, fmt.Errorf("%s: is not what assent request --no-wait prints", c.Resume)}
		}
		return waiting, nil
	}
	if c.Who == "" {
		return nil, &exitError{exitUsage, errors.New("say whom to ask")}
	}
	details, err := c.details()
	if err != nil {
		return nil, err
	}
	return agent.Ask(ctx, client.Ask{Hint: c.Who, Scope: c.Scope, Message: c.Message, Details: details, Resource: c.Resource,
		Life: time.Duration(c.Expiry) * time.Second, Key: c.Key})
}

func (c *requestCmd) details() (json.RawMessage, error) {
	path, isFile := strings.CutPrefix(c.Details, "@")
	if !isFile {
		return json.RawMessage(c.Details), nil
	}
	raw, err := readLimited(path)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return raw, nil
}

func (c *requestCmd) secret() (string, error) {
	if c.SecretFile == "" {
		if secret := os.Getenv("ASSENT_CLIENT_SECRET"); secret != "" {
			return secret, nil
		}
		return "", &exitError{exitUsage, errors.New("set --secret-file or ASSENT_CLIENT_SECRET")}
	}
	raw, err := readLimited(c.SecretFile)
	return strings.TrimSpace(string(raw)), err
}
