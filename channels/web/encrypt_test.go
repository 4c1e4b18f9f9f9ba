package web

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"
)

func raw(t testing.TB, text string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(text)
	check(t, err)
	return b
}

// TestVector is RFC 8291, section 5 and appendix A.
func TestVector(t *testing.T) {
	public, err := ecdh.P256().NewPublicKey(raw(t,
		"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"))
	check(t, err)
	ours, err := ecdh.P256().NewPrivateKey(raw(t, "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"))
	check(t, err)
	to := target{public, raw(t, "BTBZMqHH6r4Tts7J_aSIgg")}
	plain := []byte("When I grow up, I want to be a watermelon")
	got, err := to.seal(plain, len(plain)+1, ours, raw(t, "DGv6ra1nlYgDCS1FRnbzlw"))
	check(t, err)
	want := raw(t, "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6Tlz"+
		"AC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN")
	if !bytes.Equal(got, want) {
		t.Errorf("got %s", base64.RawURLEncoding.EncodeToString(got))
	}
}

// A push service learns from a body's length in which kilobyte the message ends, and nothing else.
func TestPadding(t *testing.T) {
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	check(t, err)
	to := target{key.PublicKey(), make([]byte, authSize)}
	tests := []struct{ plain, body int }{{0, 1024}, {1023, 1024}, {1024, 2048}, {2047, 2048}, {3071, 3072},
		{3072, maxPlain + 1}, {maxPlain, maxPlain + 1}, {maxPlain + 1, 0}}
	for _, tt := range tests {
		body, err := to.encrypt([]byte(strings.Repeat("x", tt.plain)))
		if tt.body == 0 {
			if err == nil {
				t.Errorf("%d bytes: encrypted, want an error", tt.plain)
			}
			continue
		}
		check(t, err)
		if want := headSize + tt.body + 16; len(body) != want || len(body) > recordSize {
			t.Errorf("%d bytes: body has %d, want %d", tt.plain, len(body), want)
		}
	}
}

func BenchmarkEncrypt(b *testing.B) {
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	check(b, err)
	to, plain := target{key.PublicKey(), make([]byte, authSize)}, make([]byte, 300)
	for b.Loop() {
		if _, err := to.encrypt(plain); err != nil {
			b.Fatal(err)
		}
	}
}
