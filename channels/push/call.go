package push

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
)

// maxAnswer is how much of an answer is read; the provider's are about a kilobyte.
const maxAnswer = 64 << 10

// call is one call of the provider, and what became of it. It travels in the context, because the SDK takes one client
// for all calls.
type call struct {
	end context.CancelFunc
	ctx context.Context

	tried     bool
	no        *refusal    // no access token, so nothing was sent
	connected atomic.Bool // from here on the provider may have the message when the time is over
	wrote     atomic.Bool // and from here on whatever happens
	status    int         // 0: no answer came
	header    http.Header
}

type callKey struct{}

func newCall(ctx context.Context) (context.Context, *call) {
	c := &call{}
	ctx, c.end = context.WithTimeout(context.WithValue(ctx, callKey{}, c), sendTimeout)
	c.ctx = ctx
	return ctx, c
}

// transport authorizes calls and keeps the SDK from repeating them. Left alone it tries four times more after a 503, and
// after a connection that broke when the provider may have had the message already; when to try again is for the
// dispatcher to say, who counts what was sent.
type transport struct {
	account *account
	next    http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	c, ours := r.Context().Value(callKey{}).(*call)
	if !ours || c.tried {
		return nil, refuseBody(r, fmt.Errorf("push: repeated call"))
	}
	c.tried = true
	resp, err := t.once(r, c)
	if err != nil {
		c.end() // or the SDK would call again
		return nil, refuseBody(r, err)
	}
	if resp.StatusCode == http.StatusServiceUnavailable {
		resp.StatusCode = http.StatusInternalServerError // which the SDK does not repeat; c.status keeps the truth
	}
	return resp, nil
}

// refuseBody closes what a request would have sent, as a transport must.
func refuseBody(r *http.Request, err error) error {
	if r.Body != nil {
		r.Body.Close()
	}
	return err
}

func (t *transport) once(r *http.Request, c *call) (*http.Response, error) {
	token, no := t.account.token(r.Context())
	if no != nil {
		c.no = no
		return nil, no
	}
	r = r.Clone(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GotConn:      func(httptrace.GotConnInfo) { c.connected.Store(true) },
		WroteHeaders: func() { c.wrote.Store(true) }}))
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	c.status, c.header = resp.StatusCode, resp.Header
	if resp.StatusCode == http.StatusUnauthorized {
		t.account.forget(token)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// mayHave reports whether the provider may have the message although it has not answered.
func (c *call) mayHave() bool { return c.wrote.Load() || c.connected.Load() && c.ctx.Err() != nil }
