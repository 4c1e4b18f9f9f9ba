package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"assent/ciba/client"
)

// The examples run against a small server in this process, on which Ann decides at once.

func Example() {
	server := newOp()
	defer server.Close()
	server.secret = true
	ctx := context.Background()

	c, err := client.New(ctx, client.Config{Issuer: server.URL, ID: "travel", Secret: "s:cr et/"})
	if err != nil {
		fmt.Println(err)
		return
	}
	w, err := c.Ask(ctx, client.Ask{Hint: "ann", Message: "TEAL-7",
		Details: json.RawMessage(`[{"type":"payment_initiation","amount":"480.00"}]`)})
	if err != nil {
		fmt.Println(err)
		return
	}
	server.decide(w.Handle, "approved", "")

	token, err := c.Wait(ctx, w)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(token.Claims.Subject, "approved", string(token.Details))
	// Output: u_ann approved [{"type":"payment_initiation","amount":"480.00"}]
}

// A no is an error like any other; the person's note comes with it.
func ExampleClient_Wait_denied() {
	server := newOp()
	defer server.Close()
	server.secret = true
	ctx := context.Background()
	c, err := client.New(ctx, client.Config{Issuer: server.URL, ID: "travel", Secret: "s:cr et/"})
	if err != nil {
		fmt.Println(err)
		return
	}
	w, err := c.Ask(ctx, client.Ask{Hint: "ann"})
	if err != nil {
		fmt.Println(err)
		return
	}
	server.decide(w.Handle, "denied", "Too dear")

	_, err = c.Wait(ctx, w)
	var denied *client.Denied
	switch {
	case errors.As(err, &denied):
		fmt.Println("Ann says:", denied.Note)
	case errors.Is(err, client.ErrExpired):
		fmt.Println("Nobody answered.")
	case errors.Is(err, client.ErrWithdrawn):
		fmt.Println("Never mind.")
	}
	// Output: Ann says: Too dear
}

// An agent without a shared secret: it signs, its token is of no use without its key, and it is woken by pings.
func ExampleClient_Pings() {
	server := newOp()
	defer server.Close()
	ctx := context.Background()
	c, err := client.New(ctx, client.Config{Issuer: server.URL, ID: "travel",
		Key:  &client.Key{Signer: agentKey, ID: "es"}, // any crypto.Signer
		DPoP: dpopKey,
		Ping: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	agent := httptest.NewServer(c.Pings()) // for instance: mux.Handle("/pings", c.Pings())
	defer agent.Close()
	server.endpoint = agent.URL // backchannel_client_notification_endpoint

	w, err := c.Ask(ctx, client.Ask{Hint: "ann"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("ping:", server.decide(w.Handle, "approved", ""))

	token, err := c.Wait(ctx, w)
	if err != nil {
		fmt.Println(err)
		return
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/api", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	resp, err := c.Do(r, token)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	scheme, err := io.ReadAll(resp.Body)
	fmt.Println("the API saw:", string(scheme), err)
	// Output:
	// ping: 204
	// the API saw: DPoP  <nil>
}

// What Ask returns can be written down, and waited for by another process.
func ExampleWaiting() {
	server := newOp()
	defer server.Close()
	server.secret = true
	ctx := context.Background()
	config := client.Config{Issuer: server.URL, ID: "travel", Secret: "s:cr et/"}
	c, err := client.New(ctx, config)
	if err != nil {
		fmt.Println(err)
		return
	}
	w, err := c.Ask(ctx, client.Ask{Hint: "ann", Key: "order-4711"})
	if err != nil {
		fmt.Println(err)
		return
	}
	saved, err := json.Marshal(w) // a secret: keep it like one
	if err != nil {
		fmt.Println(err)
		return
	}
	server.decide(w.Handle, "approved", "")

	restarted, err := client.New(ctx, config)
	if err != nil {
		fmt.Println(err)
		return
	}
	again := &client.Waiting{}
	if err := json.Unmarshal(saved, again); err != nil {
		fmt.Println(err)
		return
	}
	token, err := restarted.Wait(ctx, again)
	fmt.Println(token, err)
	// Output: Bearer token for openid <nil>
}
