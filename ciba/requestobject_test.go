package ciba

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"assent/approvals"
)

// addSigning registers clients that sign their requests.
func (s *service) addSigning(t testing.TB) {
	t.Helper()
	for _, alg := range requestAlgs {
		must(t, s.saveAgent(`{"client_id":"sign-`+strings.ToLower(alg)+`","client_secret":"`+testSecret+`",`+allTypes+`,
			"allowed_audiences":["https://bank.example","https://trips.example/api"],
			"backchannel_authentication_request_signing_alg":"`+alg+`","jwks":`+jwksOf("ES256", "EdDSA", "PS256")+`}`))
	}
}

const signer = "sign-es256"

func objectClaims(id string, pairs ...any) object {
	now := time.Now().Unix()
	return from(object{"iss": id, "aud": testIssuer, "jti": newJTI(), "iat": now, "nbf": now, "exp": now + 300,
		"scope": "openid", "login_hint": "ann", "binding_message": "TEAL-7"}, pairs...)
}

// ro is the form around a request object.
func ro(id, text string, pairs ...string) form {
	return form{"client_id": {id}, "client_secret": {testSecret}, "request": {text}}.with(pairs...)
}

// TestRequestObject is section 3e: REQ-142 to 158.
func TestRequestObject(t *testing.T) {
	now := time.Now().Unix()
	var list any
	must(t, json.Unmarshal([]byte(payment), &list))
	tests := []struct {
		row, name string
		header    object
		change    []any
		outside   []string
		want      string // "": accepted
	}{
		{"REQ-142", "as it should be", nil, nil, nil, ""},
		{"REQ-145", "no iss", nil, []any{"iss", nil}, nil, "iss"},
		{"REQ-145", "another's iss", nil, []any{"iss", "travel"}, nil, "iss"},
		{"REQ-146", "issuer among others", nil, []any{"aud", []string{"https://x.example", testIssuer}}, nil, ""},
		{"REQ-146", "issuer with slash", nil, []any{"aud", testIssuer + "/"}, nil, ""},
		{"REQ-146", "endpoint only", nil, []any{"aud", testIssuer + "/bc-authorize"}, nil, "aud"},
		{"REQ-146", "no aud", nil, []any{"aud", nil}, nil, "aud"},
		{"REQ-146", "aud is a number", nil, []any{"aud", 7}, nil, "aud"},
		{"REQ-147", "no exp", nil, []any{"exp", nil}, nil, "exp, nbf and iat"},
		{"REQ-147", "no iat", nil, []any{"iat", nil}, nil, "exp, nbf and iat"},
		{"REQ-147", "no nbf", nil, []any{"nbf", nil}, nil, "exp, nbf and iat"},
		{"REQ-147", "no jti", nil, []any{"jti", nil}, nil, "jti"},
		{"REQ-147", "exp is text", nil, []any{"exp", "9"}, nil, "exp, nbf and iat"},
		{"REQ-147", "iat is text", nil, []any{"iat", "9"}, nil, "exp, nbf and iat"},
		{"REQ-147", "nbf is text", nil, []any{"nbf", "9"}, nil, "exp, nbf and iat"},
		{"REQ-147", "jti is a number", nil, []any{"jti", 9}, nil, "jti"},
		{"REQ-148", "expired", nil, []any{"exp", now - 12}, nil, "expired"},
		{"REQ-148", "70 minutes ahead", nil, []any{"exp", now + 4200, "nbf", now}, nil, "60 minutes"},
		{"REQ-148", "61 minutes long", nil, []any{"exp", now + 60, "nbf", now - 3601}, nil, "60 minutes"},
		{"REQ-149", "nbf in 10 minutes", nil, []any{"nbf", now + 600, "exp", now + 900}, nil, "future"},
		{"REQ-149", "nbf 70 minutes ago", nil, []any{"nbf", now - 4200, "exp", now - 650}, nil, "expired"},
		{"REQ-149", "iat 70 minutes ago", nil, []any{"iat", now - 4200}, nil, "ago"},
		{"REQ-149", "iat in 10 minutes", nil, []any{"iat", now + 600}, nil, "future"},
		{"REQ-060", "nbf in 8 seconds", nil, []any{"nbf", now + 8}, nil, ""},
		{"REQ-151", "scope outside too", nil, nil, []string{"scope", "openid"}, "inside"},
		{"REQ-151", "details outside", nil, nil, []string{"authorization_details", payment}, "inside"},
		{"REQ-152", "gap filled from outside", nil, []any{"binding_message", nil}, []string{"binding_message", "TEAL-7"}, "inside"},
		{"REQ-152", "gap not filled", nil, []any{"scope", nil}, nil, "scope"},
		{"REQ-081", "unknown parameter outside", nil, nil, []string{"foo", "1"}, ""},
		{"REQ-153", "scope is an array", nil, []any{"scope", []string{"openid"}}, nil, "scope of the wrong type"},
		{"REQ-153", "hint is a number", nil, []any{"login_hint", 42}, nil, "login_hint of the wrong type"},
		{"REQ-153", "message is true", nil, []any{"binding_message", true}, nil, "binding_message of the wrong type"},
		{"REQ-153", "message is null", nil, []any{"binding_message", json.RawMessage("null")}, nil, "binding_message of the wrong type"},
		{"REQ-132", "expiry as a number", nil, []any{"requested_expiry", 30}, nil, ""},
		{"REQ-132", "expiry as text", nil, []any{"requested_expiry", "30"}, nil, ""},
		{"REQ-132", "expiry with a fraction", nil, []any{"requested_expiry", 30.5}, nil, "requested_expiry"},
		{"REQ-132", "expiry is true", nil, []any{"requested_expiry", true}, nil, "requested_expiry of the wrong type"},
		{"REQ-092", "resource as text", nil, []any{"resource", "https://bank.example"}, nil, ""},
		{"REQ-092", "resource as an array", nil, []any{"resource", []string{"https://bank.example", "https://trips.example/api"}}, nil, ""},
		{"REQ-092", "resource is a number", nil, []any{"resource", 7}, nil, "resource of the wrong type"},
		{"REQ-092", "resource of numbers", nil, []any{"resource", []int{7}}, nil, "resource of the wrong type"},
		{"REQ-093", "details as an array", nil, []any{"authorization_details", list}, nil, ""},
		{"REQ-093", "details as text", nil, []any{"authorization_details", payment}, nil, ""},
		{"REQ-094", "details an object", nil, []any{"authorization_details", object{}}, nil, "authorization_details"},
		{"REQ-154", "request inside", nil, []any{"request", "x"}, nil, "request or request_uri"},
		{"REQ-154", "request_uri inside", nil, []any{"request_uri", "https://x.example"}, nil, "request or request_uri"},
		{"REQ-154", "client_id inside", nil, []any{"client_id", signer}, nil, ""},
		{"REQ-154", "another client_id inside", nil, []any{"client_id", "travel"}, nil, "another client_id"},
		{"REQ-156", "typ JWT", object{"typ": "JWT"}, nil, nil, ""},
		{"REQ-156", "typ of its own", object{"typ": "oauth-authz-req+jwt"}, nil, nil, ""},
		{"REQ-156", "typ of an assertion", object{"typ": "client-authentication+jwt"}, nil, nil, "typ"},
		{"REQ-156", "typ of a proof", object{"typ": "dpop+jwt"}, nil, nil, "typ"},
		{"REQ-157", "sub is the client", nil, []any{"sub", signer}, nil, "sub"},
		{"REQ-103", "two hints", nil, []any{"id_token_hint", "x"}, nil, "one hint"},
		{"REQ-103", "no hint", nil, []any{"login_hint", nil}, nil, "one hint"},
	}
	s := newService(t)
	s.addSigning(t)
	for _, tt := range tests {
		t.Run(tt.row+" "+tt.name, func(t *testing.T) {
			row(t, tt.row, "REQ-158")
			before := s.count()
			text := jws(t, "ES256", "ES256", tt.header, objectClaims(signer, tt.change...))
			a := s.post("/bc-authorize", ro(signer, text, tt.outside...))
			if tt.want == "" {
				if a.status != 200 {
					t.Errorf("%d %s", a.status, a.raw)
				}
				return
			}
			// REQ-158: never invalid_request_object.
			if a.code() != "invalid_request" || !strings.Contains(a.text("error_description"), tt.want) || s.count() != before {
				t.Errorf("%d %s, want %q", a.status, a.raw, tt.want)
			}
		})
	}
}

// TestRequestObjectSignature is REQ-006, 143, 144, 155, and 064 once more.
func TestRequestObjectSignature(t *testing.T) {
	row(t, "REQ-006")
	s := newService(t)
	s.addSigning(t)
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." +
		strings.Split(jws(t, "ES256", "ES256", nil, objectClaims(signer)), ".")[1] + "."
	tests := []struct {
		row, name string
		form      form
	}{
		{"REQ-143", "unsigned", bc("client_id", signer)},
		{"REQ-142", "not registered", ro("travel", jws(t, "ES256", "ES256", nil, objectClaims("travel")))},
		{"REQ-144", "PS256 for ES256", ro(signer, jws(t, "PS256", "PS256", nil, objectClaims(signer)))},
		{"REQ-144", "RS256 for PS256", ro("sign-ps256", jws(t, "PS256", "RS256", nil, objectClaims("sign-ps256")))},
		{"REQ-144", "none", ro(signer, none)},
		{"REQ-144", "wrong key", ro(signer, jws(t, "other", "ES256", object{"kid": "ES256"}, objectClaims(signer)))},
		{"REQ-064", "crit", ro(signer, jws(t, "ES256", "ES256", object{"crit": []string{"x"}}, objectClaims(signer)))},
		{"REQ-155", "five parts", ro(signer, "a.b.c.d.e")},
		{"RFC 7515", "not a JWS", ro(signer, "x")},
		{"REQ-157", "an assertion", ro(signer, jws(t, "ES256", "ES256", nil, assertionClaims(signer)))},
	}
	for _, tt := range tests {
		t.Run(tt.row+" "+tt.name, func(t *testing.T) {
			row(t, tt.row)
			if a := s.post("/bc-authorize", tt.form); a.code() != "invalid_request" {
				t.Errorf("%d %s", a.status, a.raw)
			}
		})
	}
	for _, alg := range s.get("/.well-known/openid-configuration").json["backchannel_authentication_request_signing_alg_values_supported"].([]any) {
		alg, id := alg.(string), "sign-"+strings.ToLower(alg.(string))
		if a := s.post("/bc-authorize", ro(id, jws(t, alg, alg, nil, objectClaims(id)))); a.status != 200 { // REQ-006
			t.Errorf("%s: %d %s", alg, a.status, a.raw)
		}
	}
	s.addKeyed(t)
	a := s.post("/bc-authorize", asserted(bc(), jws(t, "ES256", "ES256", nil, objectClaims("keyed")))) // REQ-157
	if a.status != 401 {
		t.Errorf("a request object is an assertion: %d %s", a.status, a.raw)
	}
}

// TestRequestObjectOnce is REQ-150: burned by the request that it leads to, and by nothing else.
func TestRequestObjectOnce(t *testing.T) {
	row(t, "REQ-150")
	s := newService(t)
	s.addSigning(t)
	text := jws(t, "ES256", "ES256", nil, objectClaims(signer))
	if a := s.post("/bc-authorize", ro(signer, text)); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	if a := s.post("/bc-authorize", ro(signer, text)); a.code() != "invalid_request" {
		t.Errorf("replay: %d %s", a.status, a.raw)
	}

	claims := objectClaims(signer, "login_hint", "zoe")
	early := jws(t, "ES256", "ES256", nil, claims)
	if a := s.post("/bc-authorize", ro(signer, early)); a.code() != "unknown_user_id" {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	must(t, s.Directory.SavePerson(t.Context(), &approvals.Person{ID: "p-zoe", Name: "Zoe", Hints: []string{"zoe"}}))
	if a := s.post("/bc-authorize", ro(signer, early)); a.status != 200 {
		t.Errorf("after a refusal: %d %s", a.status, a.raw)
	}

	raced := jws(t, "ES256", "ES256", nil, objectClaims(signer))
	var opened, refused atomic.Int32
	var wait sync.WaitGroup
	for range 10 {
		wait.Go(func() {
			switch a := s.post("/bc-authorize", ro(signer, raced)); {
			case a.status == 200:
				opened.Add(1)
			case a.code() == "invalid_request":
				refused.Add(1)
			default:
				t.Errorf("%d %s", a.status, a.raw)
			}
		})
	}
	wait.Wait()
	if opened.Load() != 1 || refused.Load() != 9 {
		t.Errorf("%d opened, %d refused", opened.Load(), refused.Load())
	}
}

// TestSignedRequestIsKept is REQ-159: what the agent has signed can be shown later, and only by whoever has the root key.
func TestSignedRequestIsKept(t *testing.T) {
	row(t, "REQ-159")
	s := newService(t)
	s.addSigning(t)
	text := jws(t, "ES256", "ES256", nil, objectClaims(signer))
	handle := s.post("/bc-authorize", ro(signer, text)).text("auth_req_id")
	if got, err := s.SignedRequest(t.Context(), idOf(handle)); err != nil || got != text {
		t.Errorf("%q, %v", got, err)
	}
	rec, err := s.store.Get(t.Context(), kindEvidence, string(idOf(handle)))
	must(t, err)
	if strings.Contains(string(rec.Value), text[:40]) || rec.Expires.Before(time.Now().Add(s.Desk.Terms.History)) {
		t.Errorf("kept until %v: %s", rec.Expires, rec.Value)
	}
	refused := s.count()
	s.post("/bc-authorize", ro(signer, jws(t, "ES256", "ES256", nil, objectClaims(signer, "scope", "nope"))))
	if list, err := s.store.Scan(t.Context(), kindEvidence, "", 10); err != nil || len(list) != 1 || s.count() != refused {
		t.Errorf("%d objects are kept, %v", len(list), err)
	}
	if _, err := s.SignedRequest(t.Context(), idOf(s.ask(t))); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("of an unsigned request: %v", err)
	}
}

// TestSecretsOfSignedRequests: an object with a secret in it is kept by its digest only.
func TestSecretsOfSignedRequests(t *testing.T) {
	row(t, "REQ-123", "REQ-128", "REQ-140", "REQ-159")
	s := newService(t)
	s.addSigning(t)
	for _, secret := range []string{"user_code", "client_notification_token"} {
		text := jws(t, "ES256", "ES256", nil, objectClaims(signer, secret, "canary-0123456789-0123456789"))
		a := s.post("/bc-authorize", ro(signer, text))
		if a.status != 200 {
			t.Fatalf("%s: %d %s", secret, a.status, a.raw)
		}
		sum := sha256.Sum256([]byte(text))
		want := "sha256:" + base64.RawURLEncoding.EncodeToString(sum[:])
		if got, err := s.SignedRequest(t.Context(), idOf(a.text("auth_req_id"))); err != nil || got != want {
			t.Errorf("%s: %q, %v", secret, got, err)
		}
	}
}

// TestRequestObjectRepeat: with an Idempotency-Key, a lost acknowledgement can be had again with the same object.
func TestRequestObjectRepeat(t *testing.T) {
	s := newService(t)
	s.addSigning(t)
	text := jws(t, "ES256", "ES256", nil, objectClaims(signer))
	first := s.post("/bc-authorize", ro(signer, text), "Idempotency-Key", "k")
	again := s.post("/bc-authorize", ro(signer, text), "Idempotency-Key", "k")
	if first.status != 200 || again.raw != first.raw {
		t.Errorf("%d %s, then %d %s", first.status, first.raw, again.status, again.raw)
	}
	other := jws(t, "ES256", "ES256", nil, objectClaims(signer, "login_hint", "bob"))
	if a := s.post("/bc-authorize", ro(signer, other), "Idempotency-Key", "k"); a.code() != "invalid_request" {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// TestSameDetails is REQ-093: three encodings of the same array are one.
func TestSameDetails(t *testing.T) {
	row(t, "REQ-093")
	s := newService(t)
	s.addSigning(t)
	var list any
	must(t, json.Unmarshal([]byte(payment), &list))
	var seen []string
	for _, a := range []answer{
		s.post("/bc-authorize", bc("authorization_details", payment)),
		s.post("/bc-authorize", ro(signer, jws(t, "ES256", "ES256", nil, objectClaims(signer, "authorization_details", payment)))),
		s.post("/bc-authorize", ro(signer, jws(t, "ES256", "ES256", nil, objectClaims(signer, "authorization_details", list)))),
	} {
		r, err := s.Desk.Request(t.Context(), idOf(a.text("auth_req_id")))
		must(t, err)
		seen = append(seen, canonical(r.Requested[0]))
	}
	if seen[0] != seen[1] || seen[0] != seen[2] {
		t.Errorf("%q", seen)
	}
}

// TestClaims: members are read as they are written, with any white space, and dates are numbers.
func TestClaims(t *testing.T) {
	tests := []struct {
		text string
		ok   bool // exp is a date
	}{
		{`{"exp":1800000000}`, true},
		{` { "exp" : 1800000000.5 } `, true},
		{`{"exp":1.8e9}`, true},
		{`{"exp": "1800000000"}`, false},
		{`{"exp":null}`, false},
		{`{"exp":-1}`, false},
		{`{"exp":1e300}`, false},
		{`{"exp":[1]}`, false},
		{`{"exp":true}`, false},
	}
	for _, tt := range tests {
		c, err := readClaims([]byte(tt.text))
		must(t, err)
		at, ok := c.date("exp")
		if ok != tt.ok || ok && at.Unix() != 1_800_000_000 {
			t.Errorf("%s: %v, %v", tt.text, at, ok)
		}
	}
	for _, bad := range []string{``, `{`, `[]`, `{}{}`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, "{\"a\":\"\xff\"}", `{"a"}`, `{"a":}`, `null`} {
		if _, err := readClaims([]byte(bad)); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func FuzzRequestObject(f *testing.F) {
	for _, claims := range []string{`{"scope":"openid","login_hint":"ann"}`, `{"authorization_details":[{}]}`, `{"authorization_details":[`,
		`{"resource":["a","b"],"requested_expiry":1e9}`, `{"resource":[[]]}`, `{"scope":"a","scope":"b"}`, `[]`, `{"iat":1e999}`, `{"exp":-1}`, `{"aud":[1]}`,
		`{"requested_expiry":30,"request_context":{}}`} {
		f.Add(claims)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := readClaims([]byte(text))
		if err != nil {
			return
		}
		c.audience()
		c.tooFarAhead(time.Now())
		if p, err := c.params(); err == nil && len(p.list) > maxParams {
			t.Errorf("%q: %d parameters", text, len(p.list))
		}
	})
}

// FuzzSignedRequest signs whatever claims it is given, so that everything behind the signature is reached.
func FuzzSignedRequest(f *testing.F) {
	f.Add("ann", payment, "openid", int64(300))
	f.Add("", "", "", int64(-1))
	f.Add(`{"format":"x"}`, "[1]", "\xff", int64(1<<62))
	s := newService(f)
	s.addSigning(f)
	f.Fuzz(func(t *testing.T, hint, details, scope string, life int64) {
		s.t = t
		claims := objectClaims(signer, "login_hint", hint, "authorization_details", details, "scope", scope, "requested_expiry", life)
		if a := s.post("/bc-authorize", ro(signer, jws(t, "ES256", "ES256", nil, claims))); a.status >= 500 {
			t.Errorf("%d %s", a.status, a.raw)
		}
	})
}
