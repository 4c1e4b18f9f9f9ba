package client

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const grantCIBA = "urn:openid:params:grant-type:ciba"

// Times of one HTTP call. A held poll takes as long as the server likes, but no longer than it may.
const (
	callTime = 15 * time.Second
	holdTime = 25 * time.Second
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 1 << 20

// Config says which server to ask and who asks.
type Config struct {
	Issuer string // exactly as the server publishes it
	ID     string // client_id
	Secret string // client_secret
	Basic  bool   // client_secret_basic instead of client_secret_post
	HTTP   *http.Client
}

// Client asks one server. It is safe for concurrent use.
type Client struct {
	config Config
	http   *http.Client
	server server
}

// server is the part of the discovery document that we use.
type server struct {
	Issuer      string `json:"issuer"`
	Backchannel string `json:"backchannel_authentication_endpoint"`
	Token       string `json:"token_endpoint"`
	Status      string `json:"assent_status_endpoint"`
	Cancel      string `json:"assent_cancel_endpoint"`
}

// New reads the server's discovery document (OpenID Connect Discovery section 4). A nil Config.HTTP means a client of
// its own. Redirects are never followed.
func New(ctx context.Context, config Config) (*Client, error) {
	c := &Client{config: config, http: &http.Client{}}
	if config.HTTP != nil {
		*c.http = *config.HTTP
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	address := strings.TrimSuffix(config.Issuer, "/") + "/.well-known/openid-configuration"
	if err := c.get(ctx, address, &c.server); err != nil {
		return nil, fmt.Errorf("discover %s: %w", config.Issuer, err)
	}
	switch {
	case c.server.Issuer != config.Issuer:
		return nil, fmt.Errorf("discover %s: the server calls itself %q", config.Issuer, c.server.Issuer)
	case c.server.Backchannel == "" || c.server.Token == "":
		return nil, fmt.Errorf("discover %s: the server does not offer CIBA", config.Issuer)
	}
	return c, nil
}

// Ask is what an agent wants. Hint and Scope are required.
type Ask struct {
	Hint     string          // login_hint: a name, an e-mail address, a phone number
	Scope    string          // must contain openid
	Message  string          // binding_message: what the person compares
	Details  json.RawMessage // authorization_details: a JSON array
	Resource []string        // whom the token is for
	ACR      string          // acr_values
	Life     time.Duration   // requested_expiry; 0: as the server likes
	Key      string          // Idempotency-Key: asking again with the same key is the same request
}

// Waiting is a request that has been accepted. It may be written down as JSON and waited for by another process; its
// handle is a secret.
type Waiting struct {
	Handle    string
	ExpiresAt time.Time
	Interval  time.Duration // between polls
}

// Token is the answer that a person's approval brings.
type Token struct {
	AccessToken string          `json:"access_token"`
	TokenType   string          `json:"token_type"`
	ExpiresIn   int             `json:"expires_in"`
	Scope       string          `json:"scope"`
	IDToken     string          `json:"id_token,omitempty"`
	Details     json.RawMessage `json:"authorization_details,omitempty"` // as granted
}

// Status is what the server knows about a request.
type Status struct {
	State     string          `json:"state"` // pending, approved, denied, expired, cancelled, failed, redeemed
	Request   string          `json:"request"`
	ExpiresAt time.Time       `json:"expires_at"`
	DecidedAt time.Time       `json:"decided_at,omitzero"`
	Reason    string          `json:"reason,omitempty"`
	Note      string          `json:"note,omitempty"` // what the person wrote with a no
	Details   json.RawMessage `json:"authorization_details,omitempty"`
}

// Ask puts a request before the person (CIBA section 7).
func (c *Client) Ask(ctx context.Context, a Ask) (*Waiting, error) {
	form := url.Values{"login_hint": {a.Hint}, "scope": {a.Scope}, "resource": a.Resource}
	optional(form, "binding_message", a.Message)
	optional(form, "authorization_details", string(a.Details))
	optional(form, "acr_values", a.ACR)
	if a.Life > 0 {
		form.Set("requested_expiry", strconv.Itoa(int(a.Life/time.Second)))
	}
	header := http.Header{}
	if a.Key != "" {
		header.Set("Idempotency-Key", a.Key)
	}
	sent := time.Now()
	var ack struct {
		AuthReqID string `json:"auth_req_id"`
		ExpiresIn int    `json:"expires_in"`
		Interval  int    `json:"interval"`
	}
	if err := c.post(ctx, c.server.Backchannel, form, header, callTime, &ack); err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	if ack.AuthReqID == "" || ack.ExpiresIn <= 0 {
		return nil, errors.New("ask: the server's acknowledgement is incomplete")
	}
	if ack.Interval <= 0 {
		ack.Interval = usualInterval
	}
	return &Waiting{Handle: ack.AuthReqID, ExpiresAt: sent.Add(time.Duration(ack.ExpiresIn) * time.Second),
		Interval: time.Duration(ack.Interval) * time.Second}, nil
}

func optional(form url.Values, name, value string) {
	if value != "" {
		form.Set(name, value)
	}
}

// Poll asks once, and lets the server hold the question for at most the given time.
func (c *Client) Poll(ctx context.Context, w *Waiting, hold time.Duration) (*Token, error) {
	form := url.Values{"grant_type": {grantCIBA}, "auth_req_id": {w.Handle}}
	header := http.Header{"Idempotency-Key": {pollKey(w.Handle)}}
	header.Set("Prefer", "wait="+strconv.Itoa(int(hold/time.Second)))
	token := &Token{}
	if err := c.post(ctx, c.server.Token, form, header, hold+callTime, token); err != nil {
		return nil, err
	}
	if token.AccessToken == "" {
		return nil, errors.New("the server's token response is incomplete")
	}
	return token, nil
}

// pollKey makes every poll of a request repeatable, so that a token whose answer got lost can be had again.
func pollKey(handle string) string {
	sum := sha256.Sum256([]byte("poll " + handle))
	return base64.RawURLEncoding.EncodeToString(sum[:18])
}

// Status asks where a request stands. Servers other than Assent do not know this call.
func (c *Client) Status(ctx context.Context, w *Waiting) (*Status, error) {
	s := &Status{}
	if err := c.about(ctx, c.server.Status, w, s); err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	return s, nil
}

// Cancel withdraws a request. Servers other than Assent do not know this call.
func (c *Client) Cancel(ctx context.Context, w *Waiting) error {
	if err := c.about(ctx, c.server.Cancel, w, &Status{}); err != nil {
		return fmt.Errorf("cancel: %w", err)
	}
	return nil
}

func (c *Client) about(ctx context.Context, endpoint string, w *Waiting, out any) error {
	if endpoint == "" {
		return errors.New("the server does not offer it")
	}
	return c.post(ctx, endpoint, url.Values{"auth_req_id": {w.Handle}}, http.Header{}, callTime, out)
}

func (c *Client) get(ctx context.Context, address string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	return c.do(r, out)
}

// post sends a form with the client's credentials.
func (c *Client) post(ctx context.Context, address string, form url.Values, header http.Header, limit time.Duration,
	out any) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	form.Set("client_id", c.config.ID)
	if !c.config.Basic {
		form.Set("client_secret", c.config.Secret)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	r.Header = header
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if c.config.Basic {
		r.SetBasicAuth(url.QueryEscape(c.config.ID), url.QueryEscape(c.config.Secret)) // RFC 6749 section 2.3.1
	}
	return c.do(r, out)
}

func (c *Client) do(r *http.Request, out any) error {
	r.Header.Set("Accept", "application/json")
	resp, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return errorOf(resp, body)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}
