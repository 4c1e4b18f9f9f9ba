package ciba

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"assent/approvals"
)

// TestAdvertisedTypes is REQ-011: every type that is advertised can be asked for, and no other.
func TestAdvertisedTypes(t *testing.T) {
	row(t, "REQ-011")
	s := newService(t)
	examples := map[string]string{
		"payment_initiation": payment,
		"document_access":    `[{"type":"document_access","identifier":"d1","actions":["read"]}]`,
		"tool_call":          `[{"type":"tool_call","tool":"x"}]`,
	}
	for _, name := range s.get("/.well-known/openid-configuration").json["authorization_details_types_supported"].([]any) {
		example, known := examples[name.(string)]
		if !known {
			t.Fatalf("%s is advertised, and no test asks for it", name)
		}
		if a := s.post("/bc-authorize", bc("authorization_details", example)); a.status != 200 {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
		other := strings.Replace(example, name.(string), name.(string)+"s", 1)
		if a := s.post("/bc-authorize", bc("authorization_details", other)); a.code() != "invalid_authorization_details" {
			t.Errorf("%ss: %d %s", name, a.status, a.raw)
		}
	}
}

// TestJWKS is REQ-012 and 019: public keys of one size, each with a name of its own, for anybody to keep for a while.
func TestJWKS(t *testing.T) {
	row(t, "REQ-012", "REQ-019")
	s := newService(t)
	_, err := s.Keyring.Rotate(t.Context())
	must(t, err)
	a := s.get("/.well-known/jwks.json")
	if a.status != 200 || a.header.Get("Cache-Control") != "public, max-age=300" || a.header.Get("WWW-Authenticate") != "" {
		t.Errorf("%d %v", a.status, a.header)
	}
	var set jose.JSONWebKeySet
	must(t, json.Unmarshal([]byte(a.raw), &set))
	seen := map[string]bool{}
	for _, k := range set.Keys {
		public, ok := k.Key.(*ecdsa.PublicKey)
		if !ok || public.Curve.Params().Name != "P-256" || !k.IsPublic() || k.KeyID == "" || seen[k.KeyID] {
			t.Errorf("%+v", k)
		}
		seen[k.KeyID] = true
	}
	for _, private := range []string{`"d"`, `"p"`, `"q"`, `"k"`} {
		if strings.Contains(a.raw, private) {
			t.Errorf("%s in %s", private, a.raw)
		}
	}
	if len(seen) != 3 {
		t.Errorf("%d keys", len(seen))
	}
}

// TestAdvertisedACRs is REQ-016: every level that is advertised can be asked for, and the token says so when it was
// reached.
func TestAdvertisedACRs(t *testing.T) {
	row(t, "REQ-016", "REQ-130", "REQ-260")
	s := newService(t, func(p *Parts) { p.ACRs = []string{approvals.LevelSession.ACR(), approvals.LevelPasskey.ACR()} })
	for _, v := range s.get("/.well-known/openid-configuration").json["acr_values_supported"].([]any) {
		acr := v.(string)
		handle := s.ask(t, "acr_values", acr)
		r, err := s.Desk.Request(t.Context(), idOf(handle))
		must(t, err)
		by := s.answer(r)
		by.Level = approvals.LevelOf(acr)
		_, err = s.Desk.Approve(t.Context(), r.ID, by)
		must(t, err)
		_, claims := s.verify(t, s.post("/token", tk(handle)).text("id_token"))
		if claims["acr"] != acr {
			t.Errorf("asked and reached %s, the token says %v", acr, claims["acr"])
		}
	}
}

// TestClientDocuments is REQ-017 and 041 to 046: a URL is nobody's client_id, nothing is fetched for one, and metadata
// does not promise it.
func TestClientDocuments(t *testing.T) {
	row(t, "REQ-017", "REQ-041", "REQ-042", "REQ-043", "REQ-044", "REQ-045", "REQ-046")
	var fetched atomic.Int32
	s := newService(t, func(p *Parts) {
		p.Fetch = &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			fetched.Add(1)
			return httptest.NewRecorder().Result(), nil
		})}
	})
	want := s.post("/bc-authorize", bc("client_secret", "wrong"))
	for _, id := range []string{"https://h.example", "https://h.example/agent", "https://h.example/a/../b", "https://u@h.example/c",
		"https://h.example/c#f", "http://h.example/agent", "https://127.0.0.1/agent"} {
		signed := jws(t, "ES256", "ES256", nil, assertionClaims(id))
		for _, f := range []form{bc("client_id", id), asserted(bc(), signed), asserted(bc(), signed).with("client_id", id)} {
			if a := s.post("/bc-authorize", f); a.status != 401 || a.raw != want.raw {
				t.Errorf("%s: %d %s", id, a.status, a.raw)
			}
		}
	}
	if n := fetched.Load(); n != 0 {
		t.Errorf("%d fetches", n)
	}
	if _, told := s.get("/.well-known/openid-configuration").json["client_id_metadata_document_supported"]; told {
		t.Error("it is advertised")
	}
}

// TestNotOffered: what this server does not do is not advertised, cannot be registered, and changes nothing when it is
// sent.
func TestNotOffered(t *testing.T) {
	row(t, "REQ-018", "REQ-022", "REQ-073", "REQ-115", "REQ-224", "REQ-225", "REQ-226", "REQ-227", "REQ-228", "REQ-229", "REQ-230", "REQ-004", "REQ-250", "REQ-255", "REQ-040")
	s := newService(t)
	document := s.get("/.well-known/openid-configuration")
	for _, member := range []string{"backchannel_endpoint_login_hint_token_types_supported", "authorization_endpoint",
		"client_attestation_signing_alg_values_supported", "introspection_signing_alg_values_supported"} {
		if v, told := document.json[member]; told {
			t.Errorf("%s is advertised: %v", member, v)
		}
	}
	if modes := document.json["backchannel_token_delivery_modes_supported"].([]any); slices.Contains(modes, any("push")) {
		t.Errorf("delivery modes %v", modes)
	}
	if subjects := document.json["subject_types_supported"].([]any); len(subjects) != 1 || subjects[0] != "public" {
		t.Errorf("subject types %v", subjects)
	}
	_, err := ParseMetadata([]byte(`{"client_id":"pushed","backchannel_token_delivery_mode":"push"}`), approvals.BuiltinTypes())
	if err == nil {
		t.Error("push can be registered")
	}
	asked := form{"client_id": {"travel"}, "client_secret": {testSecret}, "token": {"x"}}
	if a := s.post("/introspect", asked, "Accept", "application/token-introspection+jwt"); a.status != 200 || a.json["active"] != false {
		t.Errorf("signed introspection: %d %s", a.status, a.raw) // plain JSON, as for everybody
	}
	attested := []string{"OAuth-Client-Attestation", "e30.e30.AA", "OAuth-Client-Attestation-PoP", "e30.e30.AA"}
	if a := s.post("/bc-authorize", bc("client_secret", ""), attested...); a.status != 401 {
		t.Errorf("attestation: %d %s", a.status, a.raw)
	}
}

// TestRequestContext is REQ-141: an object of bounded size, plain or signed, which nothing decides by and nobody keeps.
func TestRequestContext(t *testing.T) {
	row(t, "REQ-141", "REQ-277", "REQ-292")
	s := newService(t)
	s.addSigning(t)
	tests := []struct {
		name, context string
		ok            bool
	}{
		{"object", `{"ip":"192.0.2.1","device":{"canary":"CANARY"}}`, true},
		{"array", `[]`, false},
		{"text", `"x"`, false},
		{"not JSON", `{`, false},
		{"too long", `{"a":"` + strings.Repeat("x", maxContext) + `"}`, false},
	}
	for _, tt := range tests {
		claims := objectClaims(signer, "request_context", json.RawMessage(`"x"`))
		if tt.name != "not JSON" {
			claims = objectClaims(signer, "request_context", json.RawMessage(tt.context))
		}
		for _, f := range []form{bc("request_context", tt.context), ro(signer, jws(t, "ES256", "ES256", nil, claims))} {
			a := s.post("/bc-authorize", f)
			if (a.status == 200) != tt.ok || !tt.ok && a.code() != "invalid_request" {
				t.Errorf("%s: %d %s", tt.name, a.status, a.raw)
			}
			if !tt.ok {
				continue
			}
			r, err := s.store.Request(t.Context(), idOf(a.text("auth_req_id")))
			must(t, err)
			if strings.Contains(stored(t, r), "CANARY") {
				t.Error("it is kept")
			}
		}
	}
}

// TestHintIsNotKept is REQ-283: once it is known who is meant, nobody needs to know how that was said.
func TestHintIsNotKept(t *testing.T) {
	row(t, "REQ-283")
	var out bytes.Buffer
	s := newService(t, func(p *Parts) {
		p.Log = slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	for _, hint := range []string{"ann@example.com", "+4930123456", "nobody-canary"} {
		a := s.post("/bc-authorize", bc("login_hint", hint))
		if a.status == 200 {
			r, err := s.store.Request(t.Context(), idOf(a.text("auth_req_id")))
			must(t, err)
			if strings.Contains(stored(t, r), hint) {
				t.Errorf("%s is kept", hint)
			}
		}
		if strings.Contains(out.String(), hint) || strings.Contains(a.raw, hint) {
			t.Errorf("%s is in the log or in the answer", hint)
		}
	}
}

// TestAnswerNeedsNoChannel is REQ-165: the request is stored with the event that will reach the person, and nothing else
// stands between asking and the answer. Here nobody takes events at all.
func TestAnswerNeedsNoChannel(t *testing.T) {
	row(t, "REQ-165", "REQ-166")
	s := newService(t)
	before, _ := s.store.Stats()
	handle := s.ask(t)
	if after, _ := s.store.Stats(); after != before+1 {
		t.Errorf("%d commits for one request", after-before)
	}
	events, err := s.store.Events(t.Context(), idOf(handle))
	must(t, err)
	waiting, err := approvals.Due(t.Context(), s.store, approvals.StepDeliver, time.Now(), 10)
	must(t, err)
	if len(events) != 1 || events[0].Kind != string(approvals.Pending) || len(waiting) != 1 {
		t.Errorf("%d events, %d deliveries waiting", len(events), len(waiting))
	}
}

// TestPollsWriteNothing is REQ-206: polls of a pending request leave the store alone, and do not read it either.
func TestPollsWriteNothing(t *testing.T) {
	row(t, "REQ-206")
	s := newService(t)
	handle := s.ask(t)
	before, _ := s.store.Stats()
	for range 100 {
		s.post("/token", tk(handle), "Prefer", "wait=0")
	}
	if after, _ := s.store.Stats(); after != before {
		t.Errorf("%d commits", after-before)
	}
	must(t, s.store.Close())
	if a := s.post("/token", tk(handle), "Prefer", "wait=0"); a.status != 400 {
		t.Errorf("without the store: %d %s", a.status, a.raw)
	}
}

// TestNoCrossOrigin is REQ-289: no page of another site may read an answer, and none gets one to a preflight.
func TestNoCrossOrigin(t *testing.T) {
	row(t, "REQ-289")
	s := newService(t)
	for _, path := range s.Paths() {
		if strings.Contains(path, "/.well-known/") {
			continue // public documents
		}
		for _, method := range []string{http.MethodOptions, http.MethodPost} {
			r := httptest.NewRequest(method, path, strings.NewReader(bc().String()))
			r.Header.Set("Content-Type", typeForm)
			r.Header.Set("Origin", "https://elsewhere.example")
			r.Header.Set("Access-Control-Request-Method", "POST")
			a := s.do(r)
			for name := range a.header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s %s: %s", method, path, name)
				}
			}
			if method == http.MethodOptions && a.status < 400 {
				t.Errorf("%s %s: %d", method, path, a.status)
			}
		}
	}
}
