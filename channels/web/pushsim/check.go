package pushsim

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// sender checks the token of a message (RFC 8292, 2 and 4.2) and returns whom to turn to about it.
func (s *Service) sender(r *http.Request, subscribed string) (contact string, err error) {
	parameters, found := strings.CutPrefix(r.Header.Get("Authorization"), "vapid ")
	if !found {
		return "", errors.New("scheme of Authorization must be vapid")
	}
	given := map[string]string{}
	for p := range strings.SplitSeq(parameters, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		given[name] = value
	}
	if given["k"] != subscribed {
		return "", errors.New("key is not the one that was subscribed to")
	}
	claims, err := verify(given["t"], given["k"])
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	s.tokens[given["t"]] = true
	s.mu.Unlock()
	return s.checkClaims(r, claims)
}

// verify checks a token's signature under a key in base64url.
func verify(token, key string) ([]byte, error) {
	point, err := base64.RawURLEncoding.DecodeString(key)
	if err != nil {
		return nil, errors.New("key is not base64url")
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, errors.New("key is not a point of P-256")
	}
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, errors.New("token is not an ES256 JWS")
	}
	claims, err := signed.Verify(public)
	if err != nil {
		return nil, errors.New("signature is wrong")
	}
	return claims, nil
}

func (s *Service) checkClaims(r *http.Request, raw []byte) (string, error) {
	var claims struct {
		Aud string `json:"aud"`
		Exp int64  `json:"exp"`
		Sub string `json:"sub"`
	}
	if err := json.Unmarshal(raw, &claims); err != nil {
		return "", errors.New("claims are not JSON")
	}
	origin := "http://" + r.Host
	if r.TLS != nil {
		origin = "https://" + r.Host
	}
	left := time.Unix(claims.Exp, 0).Sub(s.Now())
	contact, err := url.Parse(claims.Sub)
	switch {
	case claims.Aud != origin:
		return "", errors.New("aud is not the origin of the push service")
	case left <= 0 || left > 24*time.Hour:
		return "", errors.New("exp must be within a day")
	case err != nil || contact.Scheme != "https" && contact.Scheme != "mailto":
		return "", errors.New("sub must be https or mailto")
	}
	return claims.Sub, nil
}

// open decrypts a message with the browser's key (RFC 8188, RFC 8291), written from the formulas of RFC 8291, 3.4.
func open(b *browser, body []byte) ([]byte, error) {
	const point = 65
	if len(body) < 16+4+1+point+16+1 || body[20] != point {
		return nil, errors.New("body has no header")
	}
	salt, size, key, sealed := body[:16], binary.BigEndian.Uint32(body[16:20]), body[21:21+point], body[21+point:]
	if int(size) < len(sealed) {
		return nil, errors.New("body has more than one record")
	}
	theirs, err := ecdh.P256().NewPublicKey(key)
	if err != nil {
		return nil, errors.New("key id is not a point of P-256")
	}
	shared, err := b.private.ECDH(theirs)
	if err != nil {
		return nil, errors.New("keys do not agree")
	}
	info := append([]byte("WebPush: info\x00"), b.private.PublicKey().Bytes()...)
	input := mac(mac(b.auth, shared), info, key, []byte{1})
	pseudo := mac(salt, input)
	block, err := aes.NewCipher(mac(pseudo, []byte("Content-Encoding: aes128gcm\x00\x01"))[:16])
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	content, err := aead.Open(nil, mac(pseudo, []byte("Content-Encoding: nonce\x00\x01"))[:12], sealed, nil)
	if err != nil {
		return nil, errors.New("message does not open")
	}
	end := len(content) - 1
	for end >= 0 && content[end] == 0 {
		end--
	}
	if end < 0 || content[end] != 2 {
		return nil, errors.New("record is not the last one")
	}
	return content[:end], nil
}

func mac(key []byte, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}
