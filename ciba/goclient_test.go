package ciba

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"assent/ciba/client"
)

// RoundTrip lets a client call the handler without a socket, so that time can be faked.
func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// TestGoClient: our own client against our own door, for every end a request can have.
func TestGoClient(t *testing.T) {
	tests := []struct {
		name string
		act  func(t *testing.T, s *service, c *client.Client, w *client.Waiting)
		want error
	}{
		{"approved", func(t *testing.T, s *service, _ *client.Client, w *client.Waiting) { s.approve(t, w.Handle) }, nil},
		{"denied", func(t *testing.T, s *service, _ *client.Client, w *client.Waiting) { s.deny(t, w.Handle, "not today") }, client.ErrDenied},
		{"withdrawn", func(t *testing.T, s *service, c *client.Client, w *client.Waiting) { must(t, c.Cancel(t.Context(), w)) }, client.ErrWithdrawn},
		{"expired", func(*testing.T, *service, *client.Client, *client.Waiting) { time.Sleep(5 * time.Minute) }, client.ErrExpired},
	}
	for _, tt := range tests {
		for _, basic := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newService(t)
					config := client.Config{Issuer: testIssuer, ID: "travel", Secret: testSecret, HTTP: &http.Client{Transport: s}}
					if basic {
						config.ID, config.Secret, config.Basic = "basic", basicSecret, true
					}
					c, err := client.New(t.Context(), config)
					must(t, err)
					w, err := c.Ask(t.Context(), client.Ask{Hint: "ann", Scope: "openid", Message: "TEAL-7", Key: "k"})
					must(t, err)
					if again, err := c.Ask(t.Context(), client.Ask{Hint: "ann", Scope: "openid", Message: "TEAL-7", Key: "k"}); err != nil || again.Handle != w.Handle {
						t.Errorf("asked again: %v, %v", again, err)
					}
					type result struct {
						token *client.Token
						err   error
					}
					done := make(chan result, 1)
					go func() {
						token, err := c.Wait(t.Context(), w)
						done <- result{token, err}
					}()
					time.Sleep(40 * time.Second)
					began := time.Now()
					tt.act(t, s, c, w)
					got := <-done
					if !errors.Is(got.err, tt.want) || tt.want == nil && got.token.AccessToken == "" {
						t.Errorf("Wait: %v", got.err)
					}
					if tt.name == "approved" && time.Since(began) != 0 {
						t.Errorf("the token came %v after the decision", time.Since(began))
					}
					var no *client.Denied
					if errors.As(got.err, &no) && no.Note != "not today" {
						t.Errorf("note %q", no.Note)
					}
				})
			})
		}
	}
}

// TestGoClientAsks: every member of an Ask arrives.
func TestGoClientAsks(t *testing.T) {
	s := newService(t)
	c, err := client.New(t.Context(), client.Config{Issuer: testIssuer, ID: "travel", Secret: testSecret, HTTP: &http.Client{Transport: s}})
	must(t, err)
	w, err := c.Ask(t.Context(), client.Ask{Hint: "ann", Scope: "openid trips.book", Message: "TEAL-7", Details: json.RawMessage(payment),
		Resource: []string{"https://bank.example"}, ACR: "phr", Life: time.Minute})
	must(t, err)
	r, err := s.Desk.Request(t.Context(), idOf(w.Handle))
	must(t, err)
	if r.Binding != "TEAL-7" || len(r.Requested) != 1 || r.Audience[0] != "https://bank.example" || r.ACR[0] != "phr" ||
		r.ExpiresAt.Sub(r.CreatedAt) != time.Minute || len(r.Scope) != 2 {
		t.Errorf("request %+v", r)
	}
	var refused *client.Error
	if _, err := c.Ask(t.Context(), client.Ask{Hint: "nobody", Scope: "openid"}); !errors.As(err, &refused) || refused.Code != "unknown_user_id" {
		t.Errorf("Ask: %v", err)
	}
	status, err := c.Status(t.Context(), w)
	must(t, err)
	if status.State != "pending" || status.Request != string(r.ID) || status.ExpiresAt.IsZero() {
		t.Errorf("status %+v", status)
	}
}

// TestGoClientKeys: private_key_jwt and signed requests with every algorithm, and the ID token as the next hint.
func TestGoClientKeys(t *testing.T) {
	s := newService(t)
	s.addKeyed(t)
	s.addSigning(t)
	for _, alg := range requestAlgs {
		key := &client.Key{Signer: testKeys()[alg], ID: alg}
		for name, config := range map[string]client.Config{
			"assertion": {ID: "keyed", Key: key},
			"signed":    {ID: "sign-" + strings.ToLower(alg), Secret: testSecret, RequestKey: key},
		} {
			t.Run(name+" "+alg, func(t *testing.T) {
				config.Issuer, config.HTTP = testIssuer, &http.Client{Transport: s}
				c, err := client.New(t.Context(), config)
				must(t, err)
				ask := client.Ask{Hint: "ann", Message: "TEAL-7", Life: time.Minute, ACR: "phr", Key: "k" + alg}
				w, err := c.Ask(t.Context(), ask)
				must(t, err)
				if again, err := c.Ask(t.Context(), ask); err != nil || again.Handle != w.Handle {
					t.Errorf("asked again: %v, %v", again, err)
				}
				s.approve(t, w.Handle)
				token, err := c.Wait(t.Context(), w)
				must(t, err)
				if token.Claims.Subject != "p-ann" || token.Disclosure == nil {
					t.Errorf("claims %+v, disclosure %+v", token.Claims, token.Disclosure)
				}
				if _, err := c.Wait(t.Context(), w); err != nil {
					t.Errorf("the same answer again: %v", err)
				}
				_, err = c.Ask(t.Context(), client.Ask{IDToken: token.IDToken})
				must(t, err)
			})
		}
	}
}
