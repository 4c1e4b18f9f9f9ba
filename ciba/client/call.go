package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Times of one HTTP call. A held poll takes as long as the server likes, but no longer than it may.
const (
	callTime   = 15 * time.Second
	holdTime   = 25 * time.Second
	holdMargin = 5 * time.Second // from the end of a hold to the answer
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 1 << 20

var errTooLong = errors.New("the answer is too long")

// call is one form on its way to the server.
type call struct {
	address string
	form    url.Values
	header  http.Header
	limit   time.Duration
	proof   bool // with a DPoP proof, if the client has a key for it
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

// post sends a form with the client's credentials. A server that wants another nonce in the proof gets it at once
// (RFC 9449 section 8).
func (c *Client) post(ctx context.Context, p call, out any) error {
	err := c.postOnce(ctx, p, out)
	var refusal *Error
	if p.proof && c.dpop != nil && errors.As(err, &refusal) && refusal.Code == "use_dpop_nonce" {
		return c.postOnce(ctx, p, out)
	}
	return err
}

func (c *Client) postOnce(ctx context.Context, p call, out any) error {
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	header := p.header.Clone()
	if header == nil {
		header = http.Header{}
	}
	if err := c.authenticate(p.form, header); err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.address, strings.NewReader(p.form.Encode()))
	if err != nil {
		return err
	}
	r.Header = header
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if p.proof && c.dpop != nil {
		if err := c.dpop.prove(r, ""); err != nil {
			return err
		}
	}
	return c.do(r, out)
}

// authenticate adds the client's credentials (RFC 6749 section 2.3). An assertion is made for this call alone.
func (c *Client) authenticate(form url.Values, header http.Header) error {
	form.Set("client_id", c.config.ID)
	switch {
	case c.key != nil:
		assertion, err := c.assertion()
		if err != nil {
			return fmt.Errorf("sign assertion: %w", err)
		}
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", assertion)
	case c.config.Secret != "" && c.config.Basic: // RFC 6749 section 2.3.1
		r := http.Request{Header: header}
		r.SetBasicAuth(url.QueryEscape(c.config.ID), url.QueryEscape(c.config.Secret))
	case c.config.Secret != "":
		form.Set("client_secret", c.config.Secret)
	}
	return nil
}

func (c *Client) do(r *http.Request, out any) error {
	r.Header.Set("Accept", "application/json")
	resp, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if c.dpop != nil {
		c.dpop.hear(resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if len(body) > maxAnswer {
		return errTooLong
	}
	if resp.StatusCode != http.StatusOK {
		return errorOf(resp, body)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}
