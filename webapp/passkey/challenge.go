package passkey

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
)

// kindCeremony holds the challenges that are spent, as long as they would be good otherwise.
const kindCeremony = "ceremony"

// Life is how long a challenge is good.
const Life = 5 * time.Minute

// What a challenge is for. One purpose's challenge means nothing for another.
const (
	forAdding     = "add"
	forSigningIn  = "signin"
	forConfirming = "confirm"
)

// Matter is what a person decides, as the challenge of a confirmation holds it.
type Matter struct {
	Verb       string // "approve"
	Disclosure string // digest of what is on the screen
	Granted    string // digest of what the agent gets
}

// signed is what the challenge of a matter is the SHA-256 of, under a fresh nonce.
func (m Matter) signed(nonce []byte) []byte {
	return m.canonical(base64.RawURLEncoding.EncodeToString(nonce))
}

func challengeOf(signed []byte) []byte {
	sum := sha256.Sum256(signed)
	return sum[:]
}

// ticketSize is a random number and the second at which a challenge was made.
const ticketSize = 24

// ticket makes the public half of a challenge: the browser hands it back with its answer.
func (k *Keeper) ticket() string {
	var b [ticketSize]byte
	rand.Read(b[:16])
	binary.BigEndian.PutUint64(b[16:], uint64(k.Now().Unix()))
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// nonce derives the secret half. bound is what the browser alone holds or what only its sign-in has.
func (k *Keeper) nonce(purpose, bound string, p approvals.PersonID, ticket string) []byte {
	return k.Root.MAC(keys.LabelPasskey, "nonce", purpose, bound, string(p), ticket)[4:]
}

// spend checks a ticket's age and makes the write that lets it be used once.
func (k *Keeper) spend(ticket string) (approvals.Write, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(ticket)
	if err != nil || len(raw) != ticketSize {
		return approvals.Write{}, ErrRefused
	}
	age := k.Now().Unix() - int64(binary.BigEndian.Uint64(raw[16:]))
	if age < 0 || age >= int64(Life/time.Second) {
		return approvals.Write{}, ErrOver
	}
	return approvals.PutNew(kindCeremony, k.Root.Name(keys.LabelPasskey, "ceremony", ticket), []byte(`{"v":1}`),
		k.Now().Add(Life)), nil
}
