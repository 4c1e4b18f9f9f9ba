package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"assent/approvals"
	"assent/ciba"
)

// The bodies of the administration API about initial access tokens (RFC 7591 section 3).
type (
	newToken struct {
		Name      string   `json:"name"`
		Types     []string `json:"authorization_details_types"`
		Scopes    []string `json:"scopes"`
		Audiences []string `json:"allowed_audiences"`
		Hosts     []string `json:"notification_hosts"`
		Refresh   bool     `json:"refresh"`
		Compat    bool     `json:"compat"`
		Uses      int      `json:"uses"`
		Life      Seconds  `json:"expires_in"`
	}
	tokenRow struct {
		ID        string    `json:"id"`
		Name      string    `json:"name,omitempty"`
		Types     []string  `json:"authorization_details_types"`
		Scopes    []string  `json:"scopes,omitempty"`
		Audiences []string  `json:"allowed_audiences,omitempty"`
		Hosts     []string  `json:"notification_hosts,omitempty"`
		Refresh   bool      `json:"refresh,omitempty"`
		Compat    bool      `json:"compat,omitempty"`
		Uses      int       `json:"uses"`
		Expires   time.Time `json:"expires"`
	}
	madeToken struct {
		tokenRow
		Token    string `json:"initial_access_token"`
		Endpoint string `json:"registration_endpoint"`
	}
)

func rowOfToken(t ciba.InitialToken) tokenRow {
	return tokenRow{t.ID, t.Name, t.Bounds.Types, t.Bounds.Scopes, t.Bounds.Audiences, t.Bounds.Hosts,
		t.Bounds.Refresh, t.Bounds.Compat, t.Uses, t.Expires}
}

func (a *admin) addToken(r *http.Request) (any, error) {
	var body newToken
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	if body.Life > maxTokenLife {
		return nil, &approvals.FieldError{Field: "expires_in", Rule: "must be at most 7776000 (90 days)"}
	}
	t := ciba.InitialToken{Name: body.Name, Uses: body.Uses, Expires: a.s.clock.Now().Add(body.Life.Duration()),
		Bounds: ciba.Bounds{Types: body.Types, Scopes: body.Scopes, Audiences: body.Audiences, Hosts: body.Hosts,
			Refresh: body.Refresh, Compat: body.Compat}}
	made, token, err := a.s.agents.NewInitialToken(r.Context(), t)
	if err != nil {
		return nil, err
	}
	return madeToken{rowOfToken(made), token, strings.TrimSuffix(a.s.cfg.Issuer, "/") + "/register"}, nil
}

// maxTokenLife keeps the end of a token a date; the rule itself is the agents' door's.
const maxTokenLife = 90 * 24 * 3600

func (a *admin) listTokens(r *http.Request) (any, error) {
	list, err := a.s.agents.InitialTokens(r.Context(), r.URL.Query().Get("after"), listLimit)
	rows := make([]tokenRow, len(list))
	for i, t := range list {
		rows[i] = rowOfToken(t)
	}
	return rows, err
}

func (a *admin) revokeToken(r *http.Request) (any, error) {
	if err := a.s.agents.RevokeInitialToken(r.Context(), r.PathValue("id")); err != nil {
		return nil, fmt.Errorf("token %s: %w", r.PathValue("id"), err)
	}
	return nil, nil
}

type tokenCmd struct {
	Add    tokenAddCmd    `cmd:"" help:"Make an initial access token and print it, once."`
	List   tokenListCmd   `cmd:"" help:"List the tokens that can still be used."`
	Revoke tokenRevokeCmd `cmd:"" help:"End a token. The agents that it has registered stay."`
}

type tokenAddCmd struct {
	adminFlags
	Name     string   `arg:"" optional:"" help:"Whom it is for; for your own list."`
	Uses     int      `default:"1" placeholder:"N" help:"How many agents it may register."`
	Expires  Seconds  `default:"86400" placeholder:"SECONDS" help:"How long it may be used, up to 90 days."`
	Type     []string `placeholder:"TYPE" help:"authorization_details type that its agents may use; repeat. Default: all built-in types."`
	Scope    []string `placeholder:"SCOPE" help:"Scope that they may ask for beside openid, profile and email; repeat."`
	Audience []string `placeholder:"URI" help:"Resource that their tokens may be meant for; repeat. Default: the default audience."`
	Host     []string `name:"notify-host" placeholder:"HOST" help:"Host that they may be pinged at; repeat. Default: the host of the jwks_uri whose keys they must use."`
	Refresh  bool     `help:"Let them come back on an approval (the refresh_token grant)."`
	Compat   bool     `help:"Let them choose assertion_audience compat."`
}

// Run makes one token.
func (c *tokenAddCmd) Run(ctx context.Context, s streams) error {
	api, err := newAdminClient(c.Data)
	if err != nil {
		return err
	}
	if len(c.Type) == 0 {
		c.Type = approvals.BuiltinTypes().Names()
	}
	var made madeToken
	body := newToken{c.Name, c.Type, c.Scope, c.Audience, c.Host, c.Refresh, c.Compat, c.Uses, c.Expires}
	if err := api.call(ctx, "POST", "/tokens", body, &made); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(made)
	}
	_, err = fmt.Fprintf(s.out, "id:                    %s\ninitial_access_token:  %s\nregistration_endpoint: %s\n\n"+
		"The token is shown once. It registers %d agent(s) until %s.\n", made.ID, made.Token, made.Endpoint, made.Uses, made.Expires.UTC().Format(time.RFC3339))
	return err
}

type tokenListCmd struct{ adminFlags }

// Run prints all tokens that can still be used.
func (c *tokenListCmd) Run(ctx context.Context, s streams) error {
	api, err := newAdminClient(c.Data)
	if err != nil {
		return err
	}
	list, err := pages(ctx, api, "/tokens", func(t tokenRow) string { return t.ID })
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(list)
	}
	w := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tUSES\tEXPIRES\tTYPES\tSCOPES\tAUDIENCES")
	for _, t := range list {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\n", t.ID, t.Name, t.Uses, t.Expires.UTC().Format(time.RFC3339),
			strings.Join(t.Types, ","), strings.Join(t.Scopes, ","), strings.Join(t.Audiences, ","))
	}
	return w.Flush()
}

type tokenRevokeCmd struct {
	adminFlags
	ID string `arg:"" name:"id" help:"Which token: the part before the dot."`
}

// Run ends one token.
func (c *tokenRevokeCmd) Run(ctx context.Context, s streams) error {
	api, err := newAdminClient(c.Data)
	if err != nil {
		return err
	}
	if err := api.call(ctx, "DELETE", "/tokens/"+url.PathEscape(c.ID), nil, nil); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(map[string]string{"done": "revoked"})
	}
	_, err = fmt.Fprintln(s.out, "revoked")
	return err
}
