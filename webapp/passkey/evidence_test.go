package passkey_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/go-webauthn/webauthn/protocol"

	"assent/webapp/passkey"
)

func (h *house) proven(m passkey.Matter) json.RawMessage {
	h.t.Helper()
	d := device()
	h.added(ann, d)
	proof, err := h.Confirm(h.t.Context(), "ann", "sign-in", m, h.confirmed(d, m))
	check(h.t, err)
	return proof.Evidence
}

// The stored bytes prove the decision without anything else, and no other decision.
func TestEvidence(t *testing.T) {
	raw := newHouse(t).proven(matter)
	e, err := passkey.VerifyEvidence(raw, matter, site)
	if err != nil || e.RP != "ap.example.com" || len(e.Credential) != 32 {
		t.Fatalf("%+v, %v", e, err)
	}
	for _, other := range []passkey.Matter{{Verb: "deny", Disclosure: matter.Disclosure, Granted: matter.Granted},
		{Verb: matter.Verb, Disclosure: "x", Granted: matter.Granted}, {Verb: matter.Verb, Disclosure: matter.Disclosure}} {
		if _, err := passkey.VerifyEvidence(raw, other, site); !errors.Is(err, passkey.ErrRefused) {
			t.Errorf("%+v: %v", other, err)
		}
	}
}

// Evidence of another installation, or of a page that another site has framed, proves nothing here.
func TestEvidenceElsewhere(t *testing.T) {
	raw := newHouse(t).proven(matter)
	if at := passkey.EvidenceOrigin(raw); at != site {
		t.Errorf("origin %q", at)
	}
	for _, at := range []string{"", "https://evil.example", "https://ap.example.com:444", "http://ap.example.com"} {
		if _, err := passkey.VerifyEvidence(raw, matter, at); !errors.Is(err, passkey.ErrRefused) {
			t.Errorf("at %q: %v", at, err)
		}
	}
}

// One flipped bit, of anything that was signed or that it was signed with, and nothing is proven.
func TestEvidenceFlipped(t *testing.T) {
	raw := newHouse(t).proven(matter)
	members := []string{"PublicKey", "Data", "Client", "Signature"}
	for _, name := range members {
		var e passkey.Evidence
		check(t, json.Unmarshal(raw, &e))
		bytes := reflect.ValueOf(&e).Elem().FieldByName(name).Addr().Interface().(*protocol.URLEncodedBase64)
		for i := range len(*bytes) * 8 {
			(*bytes)[i/8] ^= 1 << (i % 8)
			flipped, err := json.Marshal(e)
			check(t, err)
			if _, err := passkey.VerifyEvidence(flipped, matter, site); !errors.Is(err, passkey.ErrRefused) {
				t.Errorf("bit %d of %s: %v", i, name, err)
			}
			(*bytes)[i/8] ^= 1 << (i % 8)
		}
	}
	var e passkey.Evidence
	check(t, json.Unmarshal(raw, &e))
	for _, text := range []*string{&e.Challenge, &e.RP, &e.Kind} {
		was := *text
		for i := range len(was) * 8 {
			b := []byte(was)
			b[i/8] ^= 1 << (i % 8)
			*text = string(b)
			flipped, err := json.Marshal(e)
			check(t, err)
			if _, err := passkey.VerifyEvidence(flipped, matter, site); !errors.Is(err, passkey.ErrRefused) {
				t.Errorf("bit %d of %q: %v", i, was, err)
			}
		}
		*text = was
	}
}

// Whatever is given as evidence, it is refused and nothing breaks: nobody can make any without a key.
func FuzzEvidence(f *testing.F) {
	f.Add([]byte(`{"v":1,"kind":"webauthn","rp_id":"a","public_key":"pQECAyYgASFYIA","challenge_from":"{}"}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := passkey.VerifyEvidence(raw, matter, site); !errors.Is(err, passkey.ErrRefused) {
			t.Errorf("%q: %v", raw, err)
		}
	})
}
