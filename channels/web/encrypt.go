package web

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Sizes of RFC 8291 and of our own padding.
const (
	saltSize   = 16
	authSize   = 16
	pointSize  = 65                           // an uncompressed point of P-256
	recordSize = 4096                         // no push service has to take more (RFC 8030, 7.2)
	headSize   = saltSize + 4 + 1 + pointSize // salt, record size, length of key id, key id (RFC 8188, 2.1)
	maxPlain   = recordSize - headSize - 16 - 1
	padTo      = 1024 // a push service sees multiples of this length, and not how long a name is
)

// target is whom a message is encrypted for: a browser's public key and the secret it shares with us.
type target struct {
	public *ecdh.PublicKey
	auth   []byte
}

// encrypt makes the body of a push message (RFC 8291): one record of aes128gcm under a key that only this browser and a
// fresh key of ours agree on.
func (t target) encrypt(plain []byte) ([]byte, error) {
	ours, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	salt := make([]byte, saltSize)
	rand.Read(salt)
	padded := (len(plain) + padTo) / padTo * padTo // one octet at least, which delimits (RFC 8188, 2)
	return t.seal(plain, min(padded, maxPlain+1), ours, salt)
}

// seal is encrypt with nothing left to chance. padded is how long the record's content is, with delimiter and padding.
func (t target) seal(plain []byte, padded int, ours *ecdh.PrivateKey, salt []byte) ([]byte, error) {
	if len(plain) >= padded || padded > maxPlain+1 {
		return nil, fmt.Errorf("encrypt: message is longer than %d bytes", maxPlain)
	}
	shared, err := ours.ECDH(t.public)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	point := ours.PublicKey().Bytes()
	info := "WebPush: info\x00" + string(t.public.Bytes()) + string(point)
	input, err := hkdf.Key(sha256.New, shared, t.auth, info, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	aead, nonce, err := contentKey(input, salt)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	content := make([]byte, padded)
	content[copy(content, plain)] = 2 // the last record (RFC 8188, 2)
	body := append(make([]byte, 0, headSize+padded+aead.Overhead()), salt...)
	body = binary.BigEndian.AppendUint32(body, recordSize)
	body = append(append(body, pointSize), point...)
	return aead.Seal(body, nonce, content, nil), nil
}

// contentKey derives key and nonce of the first and only record (RFC 8188, 2.2 and 2.3).
func contentKey(input, salt []byte) (cipher.AEAD, []byte, error) {
	key, err := hkdf.Key(sha256.New, input, salt, "Content-Encoding: aes128gcm\x00", 16)
	if err != nil {
		return nil, nil, err
	}
	nonce, err := hkdf.Key(sha256.New, input, salt, "Content-Encoding: nonce\x00", 12)
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, nil, err
	}
	aead, err := cipher.NewGCM(block)
	return aead, nonce, err
}
