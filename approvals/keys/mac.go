package keys

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
)

// MAC is the keyed hash of parts under a label: the key id and 32 bytes of HMAC-SHA-256. Parts are length-prefixed, so
// that ("ab", "c") and ("a", "bc") differ.
func (r *Root) MAC(label string, parts ...string) []byte {
	d := r.derive(label)
	k := d.hashes.Get().(*keyed)
	defer d.hashes.Put(k)
	return k.sum(append(make([]byte, 0, 36), r.id[:]...), parts)
}

// keyed is an HMAC with its key in place.
type keyed struct {
	hash    hash.Hash
	message []byte // room for parts with their lengths
}

// sum appends the keyed hash of parts to b.
func (k *keyed) sum(b []byte, parts []string) []byte {
	k.message = k.message[:0]
	for _, p := range parts {
		k.message = binary.BigEndian.AppendUint32(k.message, uint32(len(p)))
		k.message = append(k.message, p...)
	}
	k.hash.Reset()
	k.hash.Write(k.message)
	clear(k.message) // parts are secrets
	return k.hash.Sum(b)
}

// Verify compares a kept MAC in constant time.
func (r *Root) Verify(kept []byte, label string, parts ...string) bool {
	return subtle.ConstantTimeCompare(kept, r.MAC(label, parts...)) == 1
}

// Name is a MAC as text, for keys of records: base64url, 48 characters.
func (r *Root) Name(label string, parts ...string) string {
	return base64.RawURLEncoding.EncodeToString(r.MAC(label, parts...))
}

// Handle derives a short link's handle: 72 bits, 12 base64url characters. The same parts always give the same handle, so
// it need not be stored to be sent.
func (r *Root) Handle(parts ...string) string {
	return base64.RawURLEncoding.EncodeToString(r.MAC(LabelLink, parts...)[4 : 4+9])
}

// Code derives a one-time code: six decimal digits. The same parts always give the same code.
func (r *Root) Code(parts ...string) string {
	n := binary.BigEndian.Uint64(r.MAC(LabelCode, parts...)[4:]) // modulo bias: 2^64 / 10^6, nothing
	return fmt.Sprintf("%06d", n%1_000_000)
}

// Reply derives the code of a message that a person may answer: four decimal digits. The same parts always give the same
// code, so it need not be stored to be compared.
func (r *Root) Reply(parts ...string) string {
	n := binary.BigEndian.Uint64(r.MAC(LabelReply, parts...)[4:])
	return fmt.Sprintf("%04d", n%10_000)
}
