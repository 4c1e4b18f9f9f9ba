package ciba

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"assent/approvals"
	"assent/approvals/keys"
)

// The signing keys lie in one record, so that a rotation is one compare-and-set.
const (
	kindKeys = "ciba.keys"
	keySet   = "set"
)

// keyLag is how long another process may go on signing with the old key after a rotation.
const keyLag = time.Minute

// retryKeys is the time between attempts to read the keys again while that fails.
const retryKeys = time.Second

// storedKey is one key as it is kept. A key is made, published, signs from SignsFrom on, and is published until Until.
type storedKey struct {
	KeyID     string    `json:"kid"`
	Alg       string    `json:"alg"`
	Sealed    []byte    `json:"sealed"` // PKCS #8
	CreatedAt time.Time `json:"created_at"`
	SignsFrom time.Time `json:"signs_from,omitzero"` // zero: it is the next one
	Until     time.Time `json:"until,omitzero"`      // zero: it has no successor
}

type storedKeys struct {
	V       int          `json:"v"`
	Keys    []storedKey  `json:"keys"` // in the order in which they sign
	Retired []retiredKey `json:"retired,omitempty"`
}

// retiredKey is the public half of a key that is not published any more: ID tokens that it signed are still good as
// hints (REQ-112).
type retiredKey struct {
	KeyID  string    `json:"kid"`
	Public []byte    `json:"public"` // PKIX
	Until  time.Time `json:"until"`
}

// Keyring holds the keys that sign tokens. Signing takes no lock and parses nothing.
type Keyring struct {
	records approvals.Records
	root    *keys.Root
	hub     *approvals.Hub
	fresh   time.Duration
	now     func() time.Time
	log     *slog.Logger

	set     atomic.Pointer[keyState]
	stale   atomic.Bool
	reading sync.Mutex
	failed  time.Time // when the last reading failed, if it did; under reading
}

type keyState struct {
	keys     []*signingKey
	retired  []clientKey
	revision uint64
	read     time.Time
	cached   storedKeys
}

// signingKey is a [keys.Signer] whose JOSE headers are ready.
type signingKey struct {
	keys.Signer
	stored      storedKey
	public      jose.JSONWebKey
	accessToken compact // typ at+jwt
	idToken     compact // typ JWT
}

// NewKeyring reads the signing keys, or makes the first one and its successor. fresh is as in
// [approvals.NewDirectory].
func NewKeyring(ctx context.Context, records approvals.Records, root *keys.Root, hub *approvals.Hub,
	fresh time.Duration, now func() time.Time, log *slog.Logger) (*Keyring, error) {
	k := &Keyring{records: records, root: root, hub: hub, fresh: fresh, now: now, log: log}
	err := k.load(ctx)
	if errors.Is(err, approvals.ErrNotFound) {
		err = k.begin(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	hub.OnDeliver(func(topic string) {
		if topic == approvals.TopicRecord(kindKeys, keySet) {
			k.stale.Store(true)
		}
	})
	return k, nil
}

// begin makes the first set. When another process was faster, its set counts.
func (k *Keyring) begin(ctx context.Context) error {
	first, err := k.create()
	if err != nil {
		return err
	}
	second, err := k.create()
	if err != nil {
		return err
	}
	first.SignsFrom = first.CreatedAt
	err = k.write(ctx, storedKeys{Keys: []storedKey{first, second}}, 0)
	if err != nil && !errors.Is(err, approvals.ErrConflict) {
		return err
	}
	return k.load(ctx)
}

// ErrRotating means that the last rotation is not over: its key has not begun to sign.
var ErrRotating = errors.New("the last rotation has not taken effect yet")

// Rotation says what [Keyring.Rotate] did.
type Rotation struct {
	KeyID     string    `json:"kid"`        // that signs next
	SignsFrom time.Time `json:"signs_from"` // once every cache of the JWKS knows it
	OldUntil  time.Time `json:"old_until"`  // when the key before it is withdrawn, its last token being dead
}

// Rotate lets the next key sign as soon as it has been published long enough, and publishes a successor. The old key
// stays published until the last token that it signed has died.
func (k *Keyring) Rotate(ctx context.Context) (Rotation, error) {
	if err := k.load(ctx); err != nil {
		return Rotation{}, fmt.Errorf("rotate keys: %w", err)
	}
	state, at := k.set.Load(), k.now()
	list, retired, err := state.retire(at)
	if err != nil {
		return Rotation{}, fmt.Errorf("rotate keys: %w", err)
	}
	next, current := &list[len(list)-1], &list[len(list)-2]
	if at.Before(current.SignsFrom) {
		return Rotation{}, ErrRotating
	}
	next.SignsFrom = at
	if known := next.CreatedAt.Add(cacheAge); known.After(at) {
		next.SignsFrom = known
	}
	current.Until = next.SignsFrom.Add(tokenLife + keyLag)
	done := Rotation{KeyID: next.KeyID, SignsFrom: next.SignsFrom, OldUntil: current.Until}
	successor, err := k.create()
	if err != nil {
		return Rotation{}, fmt.Errorf("rotate keys: %w", err)
	}
	if err := k.write(ctx, storedKeys{Keys: append(list, successor), Retired: retired}, state.revision); err != nil {
		return Rotation{}, fmt.Errorf("rotate keys: %w", err)
	}
	return done, nil
}

// retire parts the keys that are published from those that are kept for hints only. Their private halves go.
func (state *keyState) retire(at time.Time) (list []storedKey, retired []retiredKey, err error) {
	for _, r := range state.cached.Retired {
		if at.Before(r.Until) {
			retired = append(retired, r)
		}
	}
	for _, key := range state.keys {
		if !key.stored.gone(at) {
			list = append(list, key.stored)
			continue
		}
		public, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			return nil, nil, err
		}
		retired = append(retired, retiredKey{key.stored.KeyID, public, key.stored.Until.Add(maxIDTokenAge)})
	}
	return list, retired, nil
}

// signed reports whether one of our keys, published or retired, made the signature.
func (k *Keyring) signed(s *signed) bool {
	state := k.state()
	found := pick(state.retired, s.kid)
	for _, key := range state.keys {
		if key.KeyID() == s.kid {
			found = append(found, clientKey{id: s.kid, public: key.Public()})
		}
	}
	return s.by(found[:min(len(found), maxKeyTries)])
}

// accessPayload returns what a key that is still published has signed as an access token, or nil. A token of a retired
// key has expired.
func (k *Keyring) accessPayload(text string) []byte {
	at := k.now()
	for _, key := range k.state().keys {
		if payload := key.accessToken.open(text); payload != nil && !key.stored.gone(at) {
			return payload
		}
	}
	return nil
}

func (s storedKey) gone(at time.Time) bool { return !s.Until.IsZero() && !at.Before(s.Until) }

// create makes a P-256 key and seals it.
func (k *Keyring) create() (storedKey, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return storedKey{}, fmt.Errorf("make key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return storedKey{}, fmt.Errorf("make key: %w", err)
	}
	print, err := (&jose.JSONWebKey{Key: private.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		return storedKey{}, fmt.Errorf("make key: %w", err)
	}
	kid := base64.RawURLEncoding.EncodeToString(print)
	return storedKey{KeyID: kid, Alg: string(jose.ES256), CreatedAt: k.now(), Sealed: k.root.Seal(sealKey(kid), der)}, nil
}

func sealKey(kid string) string { return kindKeys + "/" + kid }

func (k *Keyring) write(ctx context.Context, set storedKeys, revision uint64) error {
	set.V = 1
	raw, err := json.Marshal(set)
	if err != nil {
		return err
	}
	w := approvals.Write{Record: approvals.Record{Kind: kindKeys, Key: keySet, Value: raw, Revision: revision}}
	// A caller who goes away must not take the answer along: the set may be written all the same, and then everybody
	// has to hear of it. What is written has happened, whether or not it can be read at this moment.
	ctx = context.WithoutCancel(ctx)
	if err := k.records.Apply(ctx, w); err != nil {
		return err
	}
	if err := k.load(ctx); err != nil {
		k.log.ErrorContext(ctx, "signing keys not read again", "error", err)
	}
	k.hub.Signal(approvals.TopicRecord(kindKeys, keySet))
	return nil
}

// load reads the set again.
func (k *Keyring) load(ctx context.Context) error {
	k.reading.Lock()
	defer k.reading.Unlock()
	return k.reload(ctx)
}

// reload is load for whoever holds the lock. What could not be read stays stale, and is not tried again at once.
func (k *Keyring) reload(ctx context.Context) error {
	k.stale.Store(false)
	k.failed = time.Time{}
	err := k.read(ctx, k.now())
	if err != nil {
		k.failed = k.now()
		k.stale.Store(true)
	}
	return err
}

func (k *Keyring) read(ctx context.Context, at time.Time) error {
	rec, err := k.records.Get(ctx, kindKeys, keySet)
	if err != nil {
		return err
	}
	if old := k.set.Load(); old != nil && old.revision == rec.Revision {
		again := *old
		again.read = at
		k.set.Store(&again)
		return nil
	}
	state := &keyState{revision: rec.Revision, read: at}
	if err := json.Unmarshal(rec.Value, &state.cached); err != nil {
		return fmt.Errorf("read key set: %w", err)
	}
	if len(state.cached.Keys) < 2 {
		return errors.New("read key set: fewer than two keys")
	}
	for _, s := range state.cached.Keys {
		key, err := k.open(s)
		if err != nil {
			return fmt.Errorf("open key %s: %w", s.KeyID, err)
		}
		state.keys = append(state.keys, key)
	}
	for _, r := range state.cached.Retired {
		public, err := x509.ParsePKIXPublicKey(r.Public)
		if err != nil {
			return fmt.Errorf("open key %s: %w", r.KeyID, err)
		}
		state.retired = append(state.retired, clientKey{id: r.KeyID, public: public})
	}
	k.set.Store(state)
	return nil
}

func (k *Keyring) open(s storedKey) (*signingKey, error) {
	der, err := k.root.Open(sealKey(s.KeyID), s.Sealed)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || s.Alg != string(jose.ES256) {
		return nil, fmt.Errorf("algorithm %s is not known", s.Alg)
	}
	return newSigningKey(localKey{private, s.KeyID}, s)
}

func newSigningKey(signer keys.Signer, s storedKey) (*signingKey, error) {
	key := &signingKey{Signer: signer, stored: s,
		public: jose.JSONWebKey{Key: signer.Public(), KeyID: signer.KeyID(), Algorithm: signer.Algorithm(), Use: "sig"}}
	var err error
	if key.accessToken, err = newCompact(signer, "at+jwt"); err != nil {
		return nil, err
	}
	key.idToken, err = newCompact(signer, "JWT")
	return key, err
}

// localKey is a key in this process's memory.
type localKey struct {
	*ecdsa.PrivateKey
	id string
}

// KeyID is the kid.
func (k localKey) KeyID() string { return k.id }

// Algorithm is ES256, the only algorithm that we sign with.
func (k localKey) Algorithm() string { return string(jose.ES256) }

// compact makes JWS in compact serialization (RFC 7515 section 7.1) of one type with one key. Its header never changes,
// so it is encoded once.
type compact struct {
	key    keys.Signer
	header string // encoded, with the dot after it
}

func newCompact(key keys.Signer, typ string) (compact, error) {
	if key.Algorithm() != string(jose.ES256) {
		return compact{}, fmt.Errorf("algorithm %s is not known", key.Algorithm())
	}
	header, err := json.Marshal(struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
		Type      string `json:"typ"`
	}{key.Algorithm(), key.KeyID(), typ})
	return compact{key, base64.RawURLEncoding.EncodeToString(header) + "."}, err
}

// sign signs with ES256; JWS wants r and s side by side, 32 bytes each (RFC 7518 section 3.4).
func (c compact) sign(payload []byte) (string, error) {
	out := make([]byte, 0, len(c.header)+(len(payload)+66)*4/3+8)
	out = base64.RawURLEncoding.AppendEncode(append(out, c.header...), payload)
	sum := sha256.Sum256(out)
	der, err := c.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	var sig struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &sig); err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	var raw [64]byte
	sig.R.FillBytes(raw[:32])
	sig.S.FillBytes(raw[32:])
	return string(base64.RawURLEncoding.AppendEncode(append(out, '.'), raw[:])), nil
}

// open returns the payload of what sign has made with this key, or nil. The header is always the same bytes, so
// nothing of it is read: what begins otherwise is not ours.
func (c compact) open(text string) []byte {
	rest, ours := strings.CutPrefix(text, c.header)
	body, mark, _ := strings.Cut(rest, ".")
	public, known := c.key.Public().(*ecdsa.PublicKey)
	if !ours || !known {
		return nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(mark)
	if err != nil || len(raw) != 64 || strings.ContainsAny(mark, "\r\n") { // which the decoder would skip
		return nil
	}
	sum := sha256.Sum256([]byte(text[:len(c.header)+len(body)]))
	if !ecdsa.Verify(public, sum[:], new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])) {
		return nil
	}
	payload, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil {
		return nil
	}
	return payload
}

// current returns the key that signs now.
func (k *Keyring) current() *signingKey {
	state, at := k.state(), k.now()
	for _, key := range slices.Backward(state.keys) {
		if from := key.stored.SignsFrom; !from.IsZero() && !at.Before(from) {
			return key
		}
	}
	return state.keys[0] // the clock went back behind the first key: it is still the right one
}

// Public returns every published key: the next one, the one that signs, and those whose tokens live (REQ-012).
func (k *Keyring) Public() ([]jose.JSONWebKey, error) {
	at := k.now()
	var list []jose.JSONWebKey
	for _, key := range k.state().keys {
		if !key.stored.gone(at) {
			list = append(list, key.public)
		}
	}
	if len(list) == 0 {
		return nil, errors.New("no key is published")
	}
	return list, nil
}

// state returns the keys in memory. When they may be old, one caller reads them again and the others go on.
func (k *Keyring) state() *keyState {
	state := k.set.Load()
	old := k.stale.Load() || k.fresh > 0 && k.now().Sub(state.read) >= k.fresh
	if !old || !k.reading.TryLock() {
		return state
	}
	defer k.reading.Unlock()
	if k.now().Sub(k.failed) < retryKeys {
		return state
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // on behalf of everybody, not of one request
	defer cancel()
	if err := k.reload(ctx); err != nil {
		k.log.Error("signing keys not read again", "error", err)
	}
	return k.set.Load()
}
