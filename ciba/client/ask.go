package client

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Ask is what an agent wants of whom. Exactly one of Hint, HintToken and IDToken says who the person is; everything
// else may be left out.
type Ask struct {
	Hint      string // login_hint: a name, an e-mail address, a phone number
	HintToken string // login_hint_token
	IDToken   string // id_token_hint: an ID token of an earlier approval, which may have expired

	Scope    string          // "": openid
	Message  string          // binding_message: what the person compares
	Details  json.RawMessage // authorization_details (RFC 9396): a JSON array
	Resource []string        // whom the token is for (RFC 8707)
	ACR      string          // acr_values, the best first
	Life     time.Duration   // requested_expiry, in whole seconds
	UserCode string          // user_code: a secret between the person and the server

	// Key is sent as Idempotency-Key: asking again with the same key is the same request, so an acknowledgement that
	// got lost can be had again. Ask then rides out lost connections by itself.
	Key string

	// Notify is the client_notification_token. In ping mode it is made up when it is empty; set it only to ask again
	// with the same Key from another process.
	Notify string
}

// askPatience is how long an Ask with a Key comes again when there is no answer.
const askPatience = 30 * time.Second

// maxLife keeps a server's numbers in the range of a time.Duration.
const maxLife = 10 * 365 * 24 * time.Hour

// acknowledgement is the answer of CIBA section 7.3.
type acknowledgement struct {
	AuthReqID string  `json:"auth_req_id"`
	ExpiresIn seconds `json:"expires_in"`
	Interval  seconds `json:"interval"`
}

// Ask puts a request before the person (CIBA section 7.1). It returns as soon as the server has it.
func (c *Client) Ask(ctx context.Context, a Ask) (*Waiting, error) {
	if err := a.check(); err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	if c.pings != nil && a.Notify == "" {
		a.Notify = c.newNotify(a.Key)
	}
	w, err := c.askAndListen(ctx, a)
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	return w, nil
}

// askAndListen has the request's ping recognised from before the request leaves: a fast one overtakes the
// acknowledgement.
func (c *Client) askAndListen(ctx context.Context, a Ask) (*Waiting, error) {
	if c.pings == nil {
		return c.ask(ctx, a)
	}
	digest := sha256.Sum256([]byte(a.Notify))
	defer c.pings.expect(digest)()
	w, err := c.ask(ctx, a)
	if err == nil {
		w.ping = digest
		c.pings.bell(w)
	}
	return w, err
}

func (a *Ask) check() error {
	hints := 0
	for _, h := range []string{a.Hint, a.HintToken, a.IDToken} {
		if h != "" {
			hints++
		}
	}
	switch {
	case hints != 1:
		return errors.New("exactly one of Hint, HintToken and IDToken is required")
	case len(a.Details) == 0:
		return nil
	}
	var wrong *json.SyntaxError
	if err := json.Unmarshal(a.Details, new(json.RawMessage)); errors.As(err, &wrong) {
		return fmt.Errorf("authorization_details must be JSON: %w at byte %d", err, wrong.Offset)
	}
	return nil
}

// newNotify makes a client_notification_token of 256 bits. Asking again with the same key takes the same token, or it
// would be another request.
func (c *Client) newNotify(key string) string {
	var token [32]byte
	rand.Read(token[:])
	if key != "" {
		mac := hmac.New(sha256.New, c.salt[:])
		mac.Write([]byte(key))
		copy(token[:], mac.Sum(nil))
	}
	return base64.RawURLEncoding.EncodeToString(token[:])
}

// ask sends the request, and sends it again when that cannot make a second one.
func (c *Client) ask(ctx context.Context, a Ask) (*Waiting, error) {
	p := call{address: c.server.Backchannel, header: http.Header{}, limit: callTime, proof: true}
	if a.Key != "" {
		p.header.Set("Idempotency-Key", a.Key)
	}
	r := newRetry(time.Now().Add(askPatience))
	for {
		var err error
		if p.form, err = c.askForm(a); err != nil {
			return nil, err
		}
		sent := time.Now()
		var ack acknowledgement
		if err = c.post(ctx, p, &ack); err == nil {
			return c.waiting(ack, sent)
		}
		pause, again := r.after(err)
		if a.Key == "" || !again || ctx.Err() != nil {
			return nil, err
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// waiting reads the acknowledgement. The life counts from before the request left, so that we never believe a request
// to live longer than the server does.
func (c *Client) waiting(ack acknowledgement, sent time.Time) (*Waiting, error) {
	life := ack.ExpiresIn.duration()
	if ack.AuthReqID == "" || len(ack.AuthReqID) > maxHandle || life <= 0 {
		return nil, errors.New("the server's acknowledgement is incomplete")
	}
	interval := ack.Interval.duration()
	if interval <= 0 {
		interval = usualInterval * time.Second
	}
	return &Waiting{Handle: ack.AuthReqID, ExpiresAt: sent.Add(life), Interval: interval,
		issuer: c.config.Issuer, client: c.config.ID}, nil
}

// askForm is the request as a form, or as a form around a signed object (CIBA section 7.1.1): then nothing but the
// client's credentials is outside it.
func (c *Client) askForm(a Ask) (url.Values, error) {
	params := a.params()
	if c.request != nil {
		object, err := c.requestObject(params, a)
		if err != nil {
			return nil, fmt.Errorf("sign request: %w", err)
		}
		return url.Values{"request": {object}}, nil
	}
	form := url.Values{"resource": a.Resource}
	for name, value := range params {
		form.Set(name, value)
	}
	optional(form, "authorization_details", string(a.Details))
	if a.Life >= time.Second {
		form.Set("requested_expiry", strconv.FormatInt(int64(a.Life/time.Second), 10))
	}
	return form, nil
}

// params are the parameters that are strings in a form and in a request object alike.
func (a *Ask) params() map[string]string {
	params := map[string]string{"scope": a.Scope, "login_hint": a.Hint, "login_hint_token": a.HintToken,
		"id_token_hint": a.IDToken, "binding_message": a.Message, "acr_values": a.ACR, "user_code": a.UserCode,
		"client_notification_token": a.Notify}
	if a.Scope == "" {
		params["scope"] = "openid"
	}
	for name, value := range params {
		if value == "" {
			delete(params, name)
		}
	}
	return params
}

// requestObject signs the request: fresh iat, nbf, exp and jti, five minutes long.
func (c *Client) requestObject(params map[string]string, a Ask) (string, error) {
	now := time.Now().Unix()
	claims := map[string]any{"iss": c.config.ID, "aud": c.config.Issuer, "iat": now, "nbf": now, "exp": now + 300,
		"jti": rand.Text()}
	for name, value := range params {
		claims[name] = value
	}
	if len(a.Resource) > 0 {
		claims["resource"] = a.Resource
	}
	if len(a.Details) > 0 {
		claims["authorization_details"] = a.Details
	}
	if a.Life >= time.Second {
		claims["requested_expiry"] = int64(a.Life / time.Second)
	}
	return c.request.sign("oauth-authz-req+jwt", claims)
}

func optional(form url.Values, name, value string) {
	if value != "" {
		form.Set(name, value)
	}
}

// seconds is a number of seconds in an answer. Servers write whole numbers; some write them as floats.
type seconds float64

func (s seconds) duration() time.Duration {
	if !(s > 0) {
		return 0
	}
	return time.Duration(min(float64(s), maxLife.Seconds()) * float64(time.Second))
}
