package ciba

import (
	"encoding/base64"
	"encoding/json"
	"math/bits"
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

// TestHandles is REQ-161: 256 bits each, in characters that no encoding changes, and never the same twice.
func TestHandles(t *testing.T) {
	t.Parallel()
	row(t, "REQ-161", "REQ-261")
	s := newService(t)
	seen, ones := map[string]bool{}, 0
	for range 200 {
		_, secret, _ := strings.Cut(s.ask(t), ".")
		raw, err := base64.RawURLEncoding.DecodeString(secret)
		if err != nil || len(raw) != 32 || seen[secret] {
			t.Fatalf("%q: %d bytes, %v", secret, len(raw), err)
		}
		seen[secret] = true
		for _, b := range raw {
			ones += bits.OnesCount8(b)
		}
	}
	if share := float64(ones) / (200 * 256); share < 0.48 || share > 0.52 { // nine standard deviations
		t.Errorf("%.3f of the bits are set", share)
	}
}
