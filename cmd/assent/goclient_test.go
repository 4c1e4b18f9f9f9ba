package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"assent/ciba/client"
)

// offered is what the Go client's cases need of the service: what is not advertised is not tried.
type offered struct {
	Modes    []string `json:"backchannel_token_delivery_modes_supported"`
	DPoP     []string `json:"dpop_signing_alg_values_supported"`
	Userinfo string   `json:"userinfo_endpoint"`
}

// goAgent is one case: how the agent is registered, and what its client is set up with.
type goAgent struct {
	signed, dpop, ping bool
	polls              chan struct{} // answers to polls
}

// RoundTrip lets the test see when a poll has been answered.
func (a goAgent) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if strings.HasSuffix(r.URL.Path, "/token") {
		a.polls <- struct{}{}
	}
	return resp, err
}

func (a goAgent) String() string {
	return fmt.Sprintf("signed=%v,dpop=%v,ping=%v", a.signed, a.dpop, a.ping)
}

// TestGoClient: our own client for agents against the binary, with keys only: every combination of signed request,
// sender binding and delivery, each approved and denied.
func TestGoClient(t *testing.T) {
	t.Parallel()
	data := newData(t)
	p := restartDev(t, data)
	var can offered
	resp, err := http.Get(p.issuer + "/.well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&can); err != nil {
		t.Fatal(err)
	}
	for _, signed := range []bool{false, true} {
		for _, dpop := range []bool{false, true} {
			for _, ping := range []bool{false, true} {
				a := goAgent{signed, dpop, ping, make(chan struct{}, 100)}
				t.Run(a.String(), func(t *testing.T) {
					if dpop && len(can.DPoP) == 0 || ping && !slices.Contains(can.Modes, "ping") {
						t.Skip("the service does not offer it")
					}
					a.flow(t, p, data, can)
				})
			}
		}
	}
}

func (a goAgent) flow(t *testing.T, p *process, data string, can offered) {
	var pings atomic.Int32
	var handler atomic.Pointer[http.Handler]
	own := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pings.Add(1)
		(*handler.Load()).ServeHTTP(w, r)
	}))
	t.Cleanup(own.Close)
	c := a.client(t, p.issuer, data, own.URL)
	if receiver := c.Pings(); receiver != nil {
		handler.Store(&receiver)
	}
	ask := client.Ask{Hint: "ann", Details: json.RawMessage(pay), Message: "TEAL-7"}
	token, err := a.decide(t, c, ask, p.issuer+"/dev/approve")
	if err != nil {
		t.Fatal(err)
	}
	if kind := map[bool]string{true: "DPoP", false: "Bearer"}[a.dpop]; token.TokenType != kind || token.Claims.Subject != "u_ann" ||
		token.Disclosure == nil || string(token.Details) != pay {
		t.Errorf("token %v, claims %+v, disclosure %+v, details %s", token, token.Claims, token.Disclosure, token.Details)
	}
	if can.Userinfo != "" {
		a.userinfo(t, c, token, can.Userinfo)
	}
	if _, err := a.decide(t, c, ask, p.issuer+"/dev/deny"); !errors.Is(err, client.ErrDenied) {
		t.Errorf("denied: %v", err)
	}
	if a.ping != (pings.Load() > 0) {
		t.Errorf("%d pings", pings.Load())
	}
}

// client registers the agent and makes its client.
func (a goAgent) client(t *testing.T, issuer, data, endpoint string) *client.Client {
	t.Helper()
	_, auth, err1 := ed25519.GenerateKey(rand.Reader)
	sign, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	id := strings.NewReplacer("=", "-", ",", "-").Replace(a.String())
	metadata := map[string]any{"client_id": id, "client_name": "Go Bot", "token_endpoint_auth_method": "private_key_jwt",
		"authorization_details_types": []string{"payment_initiation"},
		"jwks": jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: crypto.PublicKey(auth.Public()), KeyID: "auth"},
			{Key: sign.Public(), KeyID: "sign"}}}}
	config := client.Config{Issuer: issuer, ID: id, Key: &client.Key{Signer: auth, ID: "auth"}, Ping: a.ping,
		HTTP: &http.Client{Transport: a}}
	if a.signed {
		metadata["backchannel_authentication_request_signing_alg"] = "ES256"
		config.RequestKey = &client.Key{Signer: sign, ID: "sign"}
	}
	if a.dpop {
		metadata["dpop_bound_access_tokens"] = true
		config.DPoP = sign
	}
	if a.ping {
		metadata["backchannel_token_delivery_mode"] = "ping"
		metadata["backchannel_client_notification_endpoint"] = endpoint + "/pings"
	}
	raw, err := json.Marshal(metadata)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := newAdminClient(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.call(t.Context(), "POST", "/agents", newAgent{Metadata: raw, SameName: true}, &madeAgent{}); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// decide asks, has the person decide, and waits for what comes of it. In ping mode the first poll is over by then, and
// only a ping can bring the next one in time.
func (a goAgent) decide(t *testing.T, c *client.Client, ask client.Ask, button string) (*client.Token, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for len(a.polls) > 0 { // of the request before
		<-a.polls
	}
	w, err := c.Ask(ctx, ask)
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		token *client.Token
		err   error
	}
	done := make(chan result, 1)
	go func() {
		token, err := c.Wait(ctx, w)
		done <- result{token, err}
	}()
	if a.ping {
		<-a.polls
	}
	body, err := json.Marshal(map[string]string{"auth_req_id": w.Handle, "user": "ann"})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(button, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("%s: %d", button, resp.StatusCode)
	}
	r := <-done
	return r.token, r.err
}

// userinfo is an API that takes the token, by whatever it is bound to.
func (a goAgent) userinfo(t *testing.T, c *client.Client, token *client.Token, address string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r, token)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var said struct{ Sub string }
	if err := json.NewDecoder(resp.Body).Decode(&said); err != nil || resp.StatusCode != http.StatusOK || said.Sub != "u_ann" {
		t.Errorf("userinfo: %d, %v, %q", resp.StatusCode, err, said.Sub)
	}
}
