package ciba

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

func TestFlow(t *testing.T) {
	row(t, "REQ-160", "REQ-161", "REQ-162", "REQ-163", "REQ-164", "REQ-183", "REQ-184", "REQ-190", "REQ-198", "REQ-232")
	s := newService(t)
	ack := s.post("/bc-authorize", bc("authorization_details", payment, "scope", "openid trips.book openid"))
	if ack.status != http.StatusOK || len(ack.json) != 3 { // REQ-160, 164
		t.Fatalf("bc-authorize: %d %s", ack.status, ack.raw)
	}
	handle := ack.text("auth_req_id")
	if ack.json["expires_in"] != 300.0 || ack.json["interval"] != 2.0 || strings.Trim(handle, handleChars) != "" { // REQ-161 to 163
		t.Errorf("acknowledgement: %s", ack.raw)
	}
	if a := s.post("/token", tk(handle)); a.status != 400 || a.code() != "authorization_pending" { // REQ-183, 184
		t.Errorf("pending: %d %s", a.status, a.raw)
	}
	s.approve(t, handle)
	a := s.post("/token", tk(handle)) // REQ-190: at once
	if a.status != http.StatusOK {
		t.Fatalf("token: %d %s", a.status, a.raw)
	}
	var got struct {
		Details json.RawMessage `json:"authorization_details"`
	}
	must(t, json.Unmarshal([]byte(a.raw), &got))
	if string(got.Details) != payment { // REQ-232
		t.Errorf("details: %s", got.Details)
	}
	if again := s.post("/token", tk(handle)); again.code() != "invalid_grant" { // REQ-198
		t.Errorf("second redemption: %s", again.raw)
	}
}

const handleChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_"
