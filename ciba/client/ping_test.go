package client_test

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/ciba/client"
	"assent/ciba/rowtest"
)

// TestPingWakes: a ping ends a Wait at once, whatever it says, and a second one is no fault (REQ-223).
func TestPingWakes(t *testing.T) {
	rowtest.Row(t, "REQ-223")
	tests := []struct {
		state string
		want  error
	}{{"approved", nil}, {"denied", client.ErrDenied}, {"cancelled", client.ErrWithdrawn}}
	for _, tt := range tests {
		t.Run(tt.state, func(t *testing.T) {
			s := newOp()
			s.secret = true
			c := setup(t, s, client.Config{Secret: "s:cr et/", Ping: true})
			w, err := c.Ask(t.Context(), client.Ask{Hint: "ann"})
			must(t, err)
			done := make(chan error)
			go func() {
				_, err := c.Wait(t.Context(), w)
				done <- err
			}()
			<-s.polled // at once; the next poll would come in 30 s
			if status := s.decide(w.Handle, tt.state, "too much"); status != 204 {
				t.Errorf("the ping was answered with %d", status)
			}
			err = <-done
			var no *client.Denied
			if !errors.Is(err, tt.want) || errors.As(err, &no) && no.Note != "too much" {
				t.Errorf("Wait: %v", err)
			}
			if status := s.decide(w.Handle, tt.state, ""); status != 204 {
				t.Errorf("the ping's repeat was answered with %d", status)
			}
		})
	}
}

// TestPingOvertakes: a ping that is faster than the acknowledgement is not refused.
func TestPingOvertakes(t *testing.T) {
	s := newOp()
	s.secret, s.early = true, true
	c := setup(t, s, client.Config{Secret: "s:cr et/", Ping: true})
	w, err := c.Ask(t.Context(), client.Ask{Hint: "ann"})
	must(t, err)
	if _, err := c.Wait(t.Context(), w); err != nil {
		t.Error(err)
	}
}

// TestPingRace: a hundred requests are decided while they are waited for; every one ends by its ping.
func TestPingRace(t *testing.T) {
	s := newOp()
	s.secret = true
	c := setup(t, s, client.Config{Secret: "s:cr et/", Ping: true})
	var all sync.WaitGroup
	began := time.Now()
	for range 100 {
		w, err := c.Ask(t.Context(), client.Ask{Hint: "ann"})
		must(t, err)
		all.Go(func() {
			if _, err := c.Wait(t.Context(), w); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			if status := s.decide(w.Handle, "approved", ""); status != 204 {
				t.Errorf("the ping was answered with %d", status)
			}
		})
	}
	all.Wait()
	if took := time.Since(began); took > 25*time.Second { // a slow poll would come after 30
		t.Errorf("took %v", took)
	}
}

// TestPings: what the receiver answers (REQ-223).
func TestPings(t *testing.T) {
	rowtest.Row(t, "REQ-223")
	s := newOp()
	s.secret = true
	c := setup(t, s, client.Config{Secret: "s:cr et/", Ping: true})
	w, err := c.Ask(t.Context(), client.Ask{Hint: "ann"})
	must(t, err)
	other, err := c.Ask(t.Context(), client.Ask{Hint: "ann"})
	must(t, err)
	token := "Bearer " + s.asked[0].params["client_notification_token"].(string)
	good := `{"auth_req_id":"` + w.Handle + `"}`
	tests := []struct {
		name, method, bearer, kind, body string
		want                             int
	}{
		{"as it should be", "POST", token, "application/json", good, 204},
		{"twice", "POST", token, "application/json; charset=utf-8", good, 204},
		{"scheme in lower case", "POST", "bearer" + token[6:], "application/json", good, 204},
		{"a member that we do not know", "POST", token, "application/json", `{"x":1,` + good[1:], 204},
		{"no token", "POST", "", "application/json", good, 401},
		{"wrong token", "POST", token + "x", "application/json", good, 401},
		{"another scheme", "POST", "Basic" + token[6:], "application/json", good, 401},
		{"endless token", "POST", "Bearer " + strings.Repeat("x", 1025), "application/json", good, 401},
		{"another request's token", "POST", token, "application/json", `{"auth_req_id":"` + other.Handle + `"}`, 401},
		{"unknown request", "POST", token, "application/json", `{"auth_req_id":"nobody"}`, 401},
		{"no request", "POST", token, "application/json", `{}`, 400},
		{"not a string", "POST", token, "application/json", `{"auth_req_id":7}`, 400},
		{"no JSON", "POST", token, "application/json", `auth_req_id`, 400},
		{"two objects", "POST", token, "application/json", good + good, 400},
		{"a form", "POST", token, "application/x-www-form-urlencoded", good, 415},
		{"too long", "POST", token, "application/json", `{"x":"` + strings.Repeat("x", 9000) + `"}`, 413},
		{"GET", "GET", token, "application/json", "", 405},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, "/", strings.NewReader(tt.body))
			r.Header.Set("Content-Type", tt.kind)
			if tt.bearer != "" {
				r.Header.Set("Authorization", tt.bearer)
			}
			a := httptest.NewRecorder()
			c.Pings().ServeHTTP(a, r)
			if a.Code != tt.want || a.Body.Len() != 0 || (a.Code == 401) != (a.Header().Get("WWW-Authenticate") != "") {
				t.Errorf("%d %v %q, want %d", a.Code, a.Header(), a.Body, tt.want)
			}
		})
	}
}

// TestResumeByPing: another process, which knows what was written down and nothing else, is woken too.
func TestResumeByPing(t *testing.T) {
	s := newOp()
	s.secret = true
	first := setup(t, s, client.Config{Secret: "s:cr et/", Ping: true, DPoP: dpopKey})
	w, err := first.Ask(t.Context(), client.Ask{Hint: "ann"})
	must(t, err)
	raw, err := json.Marshal(w)
	must(t, err)
	notify := s.asked[0].params["client_notification_token"].(string)
	if strings.Contains(string(raw), notify) || strings.Contains(string(raw), "s:cr") {
		t.Errorf("a secret is in %s", raw)
	}
	second := setup(t, s, client.Config{Secret: "s:cr et/", Ping: true, DPoP: dpopKey})
	if status := s.decide(w.Handle, "pending", ""); status != 401 {
		t.Errorf("before it is resumed: %d", status)
	}
	again := &client.Waiting{}
	must(t, json.Unmarshal(raw, again))
	done := make(chan error)
	go func() {
		_, err := second.Wait(t.Context(), again)
		done <- err
	}()
	<-s.polled
	if status := s.decide(w.Handle, "approved", ""); status != 204 {
		t.Errorf("after: %d", status)
	}
	must(t, <-done)
}
