package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"errors"
)

// ErrOtherKey means that a value was sealed under a different root key.
var ErrOtherKey = errors.New("sealed with another root key")

// ErrBroken means that a sealed value is damaged, or was sealed for another purpose.
var ErrBroken = errors.New("sealed value does not open")

// Seal encrypts plain with AES-256-GCM under a random nonce. purpose is authenticated: [Root.Open] needs the same one,
// so a value cannot be moved to another record. The result is key id (4), nonce (12), ciphertext, tag (16).
func (r *Root) Seal(purpose string, plain []byte) []byte {
	return r.aead().Seal(append(make([]byte, 0, 4+12+len(plain)+16), r.id[:]...), nil, plain, []byte(purpose))
}

// Open returns what was sealed for that purpose, or [ErrOtherKey] or [ErrBroken].
func (r *Root) Open(purpose string, sealed []byte) ([]byte, error) {
	if len(sealed) < len(r.id) {
		return nil, ErrBroken
	}
	if subtle.ConstantTimeCompare(sealed[:4], r.id[:]) != 1 {
		return nil, ErrOtherKey
	}
	plain, err := r.aead().Open(nil, nil, sealed[4:], []byte(purpose))
	if err != nil {
		return nil, ErrBroken
	}
	return plain, nil
}

func (r *Root) aead() cipher.AEAD {
	block, err := aes.NewCipher(r.key(LabelSeal))
	if err != nil {
		panic("keys: " + err.Error()) // only for key sizes that we never use
	}
	a, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("keys: " + err.Error())
	}
	return a
}
