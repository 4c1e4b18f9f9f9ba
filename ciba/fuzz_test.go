package ciba

import (
	"strings"
	"testing"

	"assent/approvals"
)

// FuzzForm: no bytes make either endpoint fail, and every answer keeps the rules that service.check knows.
func FuzzForm(f *testing.F) {
	f.Add(bc().String())
	f.Add(bc("authorization_details", payment, "requested_expiry", "30", "resource", "https://bank.example").String())
	f.Add(tk("x.y").String())
	for _, seed := range []string{"", "&&&", "=", "a", "%", "%zz=1", "a=%ff", "a=%00", "a=1&a=1", "scope=openid;x", "\xff=\xfe", "+=+"} {
		f.Add(seed)
		f.Add(bc().String() + "&" + seed)
	}
	s := newService(f)
	f.Fuzz(func(t *testing.T, body string) {
		s.t = t
		for _, path := range []string{"/bc-authorize", "/token", "/requests/status", "/requests/cancel", "/introspect", "/revoke"} {
			if a := s.send(path, typeForm, body); a.status >= 500 {
				t.Errorf("%s %q: %d %s", path, body, a.status, a.raw)
			}
		}
	})
}

// FuzzJSON does the same for the JSON bodies of the token endpoint.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{`{}`, `[]`, `null`, `{"a":1}`, `{"grant_type":null}`, `{"a":"\ud800"}`, `{"a":{"a":{}}}`,
		`{"client_id":"travel","client_secret":"` + testSecret + `","grant_type":"` + GrantCIBA + `","auth_req_id":"x"}`} {
		f.Add(seed)
	}
	s := newService(f)
	f.Fuzz(func(t *testing.T, body string) {
		s.t = t
		if a := s.send("/token", typeJSON, body); a.status >= 500 {
			t.Errorf("%q: %d %s", body, a.status, a.raw)
		}
	})
}

// FuzzAuthorizationDetails: what is accepted can be approved and comes back in the token as it was sent.
func FuzzAuthorizationDetails(f *testing.F) {
	for _, seed := range []string{payment, "[]", "{}", "[{}]", "[1]", "null", `[{"type":"tool_call","tool":"x","arguments":{"n":1e400}}]`,
		`[{"type":"tool_call","tool":"x","arguments":{"<&>":"\u2028"}}]`, `[{"type":"tool_call","tool":"x","arguments":{"n":12345678901234567890}}]`,
		`[{"type":"document_access","identifier":"d","actions":["read"],"locations":["https://bank.example"]}]`,
		strings.Repeat("[", 100), `[{"type":"tool_call","type":"x"}]`, `[{"type":"rocket","fuel":1.5,"locations":["https://bank.example"]}]`,
		`[{"type":"rocket","":{"amount":1},"locations":{}}]`} {
		f.Add(seed)
	}
	s := newService(f)
	s.Desk.Ceiling = approvals.LevelSession // what service.approve shows, for types that nobody knows
	s.change(f, "travel", func(a *approvals.Agent) { a.Generic = true })
	f.Fuzz(func(t *testing.T, details string) {
		s.t = t
		a := s.post("/bc-authorize", bc("authorization_details", details))
		if a.status >= 500 {
			t.Fatalf("%q: %d %s", details, a.status, a.raw)
		}
		if a.status != 200 {
			return
		}
		handle := a.text("auth_req_id")
		s.approve(t, handle)
		if got := s.post("/token", tk(handle)); got.status != 200 {
			t.Errorf("%q: %d %s", details, got.status, got.raw)
		}
	})
}

// FuzzDPoP: no header makes the check of a proof fail, and what it takes for a proof is signed by the key that it names.
func FuzzDPoP(f *testing.F) {
	good := proofOf(f, "ES256", "ES256", nil)
	head, rest, _ := strings.Cut(good, ".")
	body, signature, _ := strings.Cut(rest, ".")
	f.Add(good)
	f.Add(proofOf(f, "EdDSA", "EdDSA", nil, "nonce", "x", "ath", "y"))
	f.Add(proofOf(f, "PS256", "PS256", nil, "iat", 1e300, "htu", "https://assent.example/%zz"))
	for _, jwk := range []any{nil, "x", []int{1}, object{"kty": "EC"}, object{"kty": "RSA", "n": "AQ", "e": "AQAB"},
		object{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, object{"kty": "oct", "k": "AA"},
		object{"kty": "OKP", "crv": "Ed25519", "x": "AA", "d": "AA"}} {
		f.Add(proofOf(f, "ES256", "ES256", object{"jwk": jwk}))
	}
	for _, seed := range []string{"", ".", "..", "....", head, head + "..", "." + body + ".", head + "." + body + ".",
		head + "=." + body + "." + signature, "e30.e30.e30", strings.Repeat("a.", 5000)} {
		f.Add(seed)
	}
	s := newService(f)
	f.Fuzz(func(t *testing.T, header string) {
		s.t = t
		if a := s.post("/token", tk("x"), "DPoP", header); a.status >= 500 {
			t.Errorf("%q: %d %s", header, a.status, a.raw)
		}
		if proof, err := readProof(header); err == nil && len(proof.thumbprint) != 43 {
			t.Errorf("%q: thumbprint %q", header, proof.thumbprint)
		}
	})
}
