package main

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const interactionID = "c770aef3-6784-41f7-8e0e-ff5f97bddb3a"

// resource calls the sample resource; headers are name, value, name, value.
func resource(t *testing.T, client *http.Client, origin string, headers ...string) wireAnswer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", origin+"/dev/resource", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	a, err := do(client, r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// REQ-258: the sample resource takes a bound token from its holder and from nobody else, bearer tokens as they are, and
// carries the interaction id through (FAPI 1.0 part 1, section 6.2.1).
func TestSampleResource(t *testing.T) {
	row(t, "REQ-258")
	t.Parallel()
	authority := credentials(t, &x509.Certificate{Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true}, curveKey(t), nil)
	own := credentials(t, &x509.Certificate{Subject: pkix.Name{CommonName: "agent"}}, curveKey(t), nil)
	his := credentials(t, &x509.Certificate{Subject: pkix.Name{CommonName: "agent"}}, curveKey(t), nil)
	c := startCertified(t, authority, own)

	simple := bot(c.issuer)
	simple.http = c.client(nil)
	handle := must(t, 200)(simple.ask(t.Context(), nil, nil)).member("auth_req_id")
	must(t, 204)(devDecide(t.Context(), simple.http, c.pages, handle, true))
	bearer := must(t, 200)(simple.poll(t.Context(), handle, nil)).member("access_token")
	taken := resource(t, simple.http, c.issuer, "Authorization", "Bearer "+bearer, "X-FAPI-Interaction-ID", interactionID)
	if taken.status != 200 || taken.member("sub") != "u_ann" || taken.header.Get("X-Fapi-Interaction-Id") != interactionID {
		t.Errorf("bearer: %d %s %v", taken.status, taken.body, taken.header)
	}
	made := map[string]bool{}
	for range 3 {
		id := resource(t, simple.http, c.issuer, "Authorization", "Bearer "+bearer).header.Get("X-Fapi-Interaction-Id")
		if !uuid.MatchString(id) || id[14] != '4' || made[id] {
			t.Errorf("made %q", id)
		}
		made[id] = true
	}
	for _, bad := range [][]string{{"x"}, {""}, {interactionID[1:]}, {interactionID + "0"}, {"c770aef3-6784-41f7-ce0e-ff5f97bddb3a"},
		{"{" + interactionID + "}"}, {interactionID, interactionID}} {
		headers := []string{"Authorization", "Bearer " + bearer}
		for _, value := range bad {
			headers = append(headers, "X-FAPI-Interaction-ID", value)
		}
		a := resource(t, simple.http, c.issuer, headers...)
		if id := a.header.Get("X-Fapi-Interaction-Id"); a.status != 400 || !uuid.MatchString(id) || id == interactionID {
			t.Errorf("interaction %q: %d, %q", bad, a.status, id)
		}
	}
	if a := resource(t, simple.http, c.issuer, "X-FAPI-Interaction-ID", interactionID); a.status != 401 || a.header.Get("WWW-Authenticate") == "" ||
		a.header.Get("X-Fapi-Interaction-Id") != interactionID {
		t.Errorf("no token: %d %v", a.status, a.header)
	}

	agent := c.agent("selfmade", &own)
	handle = must(t, 200)(agent.post(t.Context(), "/bc-authorize", askForm(nil), nil)).member("auth_req_id")
	must(t, 204)(devDecide(t.Context(), c.client(nil), c.pages, handle, true))
	bound := "Bearer " + must(t, 200)(agent.post(t.Context(), "/token", pollForm(handle), nil)).member("access_token")
	for name, tt := range map[string]struct {
		pair   *tls.Certificate
		origin string
		want   int
	}{"its holder": {&own, c.alias, 200}, "another certificate": {&his, c.alias, 401}, "no certificate": {nil, c.issuer, 401}} {
		if a := resource(t, c.client(tt.pair), tt.origin, "Authorization", bound); a.status != tt.want {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

// A DPoP token needs a proof for this call; another key's is worth nothing.
func TestSampleResourceDPoP(t *testing.T) {
	row(t, "REQ-258")
	p := newDev(t)
	mine, others := curveKey(t), curveKey(t)
	agent := bot(p.issuer)
	handle := must(t, 200)(agent.ask(t.Context(), nil, nil)).member("auth_req_id")
	must(t, 204)(devDecide(t.Context(), agent.http, p.pages, handle, true))
	first := http.Header{"Dpop": {proofBy(t, mine, "POST", p.issuer+"/token", "")}}
	token := must(t, 200)(agent.poll(t.Context(), handle, first)).member("access_token")
	here := p.issuer + "/dev/resource"
	good := proofBy(t, mine, "GET", here, token)
	for _, tt := range []struct {
		name, scheme, proof string
		want                int
	}{
		{"its holder", "DPoP", good, 200},
		{"the same proof again", "DPoP", good, 401},
		{"another key", "DPoP", proofBy(t, others, "GET", here, token), 401},
		{"another place", "DPoP", proofBy(t, mine, "GET", p.issuer+"/token", token), 401},
		{"another token", "DPoP", proofBy(t, mine, "GET", here, "x"), 401},
		{"as a bearer token", "Bearer", proofBy(t, mine, "GET", here, token), 401},
	} {
		a := resource(t, agent.http, p.issuer, "Authorization", tt.scheme+" "+token, "DPoP", tt.proof)
		if a.status != tt.want {
			t.Errorf("%s: %d %s", tt.name, a.status, a.body)
		}
	}
	if a := resource(t, agent.http, p.issuer, "Authorization", "DPoP "+token); a.status != 401 {
		t.Errorf("no proof: %d", a.status)
	}
}

// proofBy makes a DPoP proof; token is what it comes with, or "".
func proofBy(t *testing.T, key *ecdsa.PrivateKey, method, place, token string) string {
	t.Helper()
	o := (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{"jti": rand.Text(), "htm": method, "htu": place, "iat": time.Now().Unix()}
	if token != "" {
		claims["ath"] = digest([]byte(token))
	}
	text, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}
