package sms

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"

	"github.com/twilio/twilio-go/client"
	api "github.com/twilio/twilio-go/rest/api/v2010"

	"assent/channels"
)

// maxAnswer is how much of an answer is read; the provider's are about a kilobyte.
const maxAnswer = 64 << 10

// account is who we are at the provider.
type account struct {
	sid, token string
	base       *url.URL // instead of https://api.twilio.com; nil: that
	next       http.RoundTripper
}

// create hands in a message.
func (a account) create(ctx context.Context, params *api.CreateMessageParams) (*api.ApiV2010Message, *call, error) {
	ctx, cancel := context.WithTimeout(ctx, channels.SendTimeout)
	defer cancel()
	service, c := a.service(ctx)
	msg, err := service.CreateMessage(params)
	return msg, c, err
}

// fetch reads a message.
func (a account) fetch(ctx context.Context, sid string) (*api.ApiV2010Message, *call, error) {
	ctx, cancel := context.WithTimeout(ctx, channels.SendTimeout)
	defer cancel()
	service, c := a.service(ctx)
	msg, err := service.FetchMessage(sid, &api.FetchMessageParams{})
	return msg, c, err
}

// service is the SDK for one call. The SDK knows neither a context nor another host, drops status and headers, and leaves
// the body of an answer that is an error open, which costs its connection if it is not JSON; so each call has a transport
// of its own over the shared one that does all of this. The time-out is the context's too: a client's own waits for the
// body's end, and leaves a goroutine behind for each one that is never closed.
func (a account) service(ctx context.Context) (*api.ApiService, *call) {
	c := &call{ctx: ctx, base: a.base, next: a.next}
	sdk := &client.Client{Credentials: client.NewCredentials(a.sid, a.token), HTTPClient: &http.Client{Transport: c,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	sdk.SetAccountSid(a.sid)
	return api.NewApiService(&client.RequestHandler{Client: sdk}), c
}

// call is the transport of one call, and what became of it.
type call struct {
	ctx  context.Context
	base *url.URL
	next http.RoundTripper

	wrote  atomic.Bool // from here on the provider may have the message
	status int         // 0: no answer came
	header http.Header
}

// RoundTrip implements [http.RoundTripper].
func (c *call) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := httptrace.WithClientTrace(c.ctx, &httptrace.ClientTrace{WroteHeaders: func() { c.wrote.Store(true) }})
	r = r.Clone(ctx)
	if c.base != nil {
		r.URL.Scheme, r.URL.Host, r.Host = c.base.Scheme, c.base.Host, ""
	}
	resp, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	c.status, c.header = resp.StatusCode, resp.Header
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}
