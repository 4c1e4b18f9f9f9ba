package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"assent/ciba/client"
)

type requestCmd struct {
	Issuer     string   `required:"" env:"ASSENT_ISSUER" placeholder:"URL" help:"Issuer of the service, as it is published."`
	ClientID   string   `required:"" env:"ASSENT_CLIENT_ID" placeholder:"ID" help:"client_id of the agent."`
	SecretFile string   `env:"ASSENT_CLIENT_SECRET_FILE" placeholder:"FILE" help:"File with the client_secret; or set ASSENT_CLIENT_SECRET."`
	Basic      bool     `help:"Use client_secret_basic instead of client_secret_post."`
	KeyFile    string   `env:"ASSENT_CLIENT_KEY_FILE" placeholder:"FILE" help:"Private key (PEM or JWK; P-256, Ed25519 or RSA) for private_key_jwt instead of a secret."`
	KeyID      string   `name:"key-id" placeholder:"KID" help:"kid of the key, if it is not in the file."`
	Sign       string   `name:"sign-with" placeholder:"FILE" help:"Private key to sign the request with, for agents that are registered for signed requests."`
	DPoP       string   `name:"dpop-key" placeholder:"FILE" help:"P-256 private key to bind the token to (DPoP). --resume needs it again."`
	Who        string   `arg:"" optional:"" help:"login_hint: a name, an e-mail address or a phone number."`
	Message    string   `placeholder:"TEXT" help:"binding_message, shown to the person to compare."`
	Details    string   `placeholder:"JSON" help:"authorization_details, or @FILE."`
	Scope      string   `default:"openid" help:"Scopes, separated by spaces."`
	Resource   []string `placeholder:"URI" help:"Whom the token is for; repeat."`
	ACR        string   `name:"acr" placeholder:"VALUES" help:"acr_values: how the person should prove who they are, the best first."`
	Expiry     Seconds  `placeholder:"SECONDS" help:"requested_expiry."`
	Key        string   `name:"idempotency-key" placeholder:"KEY" help:"Asking again with the same key is the same request."`
	NoWait     bool     `help:"Print the handle at once and do not wait."`
	Resume     string   `placeholder:"FILE" help:"Wait for the request whose handle an earlier --no-wait printed into FILE."`
}

// Help is printed below the flags.
func (requestCmd) Help() string {
	return `Prints JSON: the token response when the person approves, otherwise error, state and the person's note.

Exit codes:
  0  approved
  1  failed: the service refused the request or could not be reached
  2  wrong usage
  3  denied
  4  expired: nobody answered in time
  5  unreachable: no message got through to the person
  6  withdrawn
  7  not asked: the person takes no requests of this agent now, or none of --acr can be reached

A service with a certificate of your own making is trusted with SSL_CERT_FILE=FILE.
When it is interrupted it prints the handle, as --no-wait does.`
}

// endings is how a request can end without a token: the exit code, and what is printed.
var endings = []struct {
	is           error
	code         int
	error, state string
}{
	{client.ErrDenied, exitDenied, "access_denied", "denied"},
	{client.ErrExpired, exitExpired, "expired_token", "expired"},
	{client.ErrUnreachable, exitUnreachable, "transaction_failed", "failed"},
	{client.ErrWithdrawn, exitWithdrawn, "access_denied", "cancelled"},
}

// ending is the JSON of a request that ended without a token.
type ending struct {
	Error string `json:"error"`
	State string `json:"state"`
	Note  string `json:"note,omitempty"`
}

// Run asks and waits.
func (c *requestCmd) Run(ctx context.Context, s streams) error {
	config, err := c.config()
	if err != nil {
		return err
	}
	agent, err := client.New(ctx, config)
	var stranger x509.UnknownAuthorityError
	if errors.As(err, &stranger) {
		return fmt.Errorf("%w (trust it with SSL_CERT_FILE=FILE)", err)
	}
	if err != nil {
		return err
	}
	waiting, err := c.waiting(ctx, agent)
	if errors.Is(err, client.ErrDenied) {
		return &exitError{exitNotAsked, err} // the question itself was refused: nobody has said no
	}
	if err != nil {
		return err
	}
	if c.NoWait {
		return printJSON(s.out, waiting)
	}
	token, err := agent.Wait(ctx, waiting)
	if err != nil && ctx.Err() != nil {
		return errors.Join(printJSON(s.out, waiting), errors.New("interrupted, and still asked: collect it with --resume FILE, where FILE holds what was just printed"))
	}
	if err != nil {
		return printEnding(s.out, err)
	}
	return printJSON(s.out, token)
}

// printEnding prints how the request ended and turns that into an exit code.
func printEnding(out io.Writer, err error) error {
	for _, e := range endings {
		if !errors.Is(err, e.is) {
			continue
		}
		said := ending{Error: e.error, State: e.state}
		var denied *client.Denied
		if errors.As(err, &denied) {
			said.Note = denied.Note
		}
		return errors.Join(printJSON(out, said), &exitError{e.code, e.is})
	}
	return err
}

func printJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// config is who the agent is.
func (c *requestCmd) config() (client.Config, error) {
	config := client.Config{Issuer: c.Issuer, ID: c.ClientID, Basic: c.Basic}
	var err error
	if config.Key, err = readAgentKey(c.KeyFile, c.KeyID); err != nil {
		return config, err
	}
	if config.Key == nil {
		if config.Secret, err = c.secret(); err != nil {
			return config, err
		}
	}
	if config.RequestKey, err = readAgentKey(c.Sign, c.KeyID); err != nil {
		return config, err
	}
	bound, err := readAgentKey(c.DPoP, "")
	if bound != nil {
		config.DPoP = bound.Signer
	}
	return config, err
}

// waiting asks, or reads what an earlier call asked.
func (c *requestCmd) waiting(ctx context.Context, agent *client.Client) (*client.Waiting, error) {
	if c.Resume != "" {
		raw, err := readLimited(c.Resume)
		if err != nil {
			return nil, err
		}
		waiting := &client.Waiting{}
		if err := json.Unmarshal(raw, waiting); err != nil {
			return nil, &exitError{exitUsage, fmt.Errorf("%s: is not what assent request --no-wait prints: %w", c.Resume, err)}
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
		ACR: c.ACR, Life: c.Expiry.Duration(), Key: c.Key})
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
		return "", &exitError{exitUsage, errors.New("set --secret-file, --key-file or ASSENT_CLIENT_SECRET")}
	}
	raw, err := readLimited(c.SecretFile)
	return strings.TrimSpace(string(raw)), err
}
