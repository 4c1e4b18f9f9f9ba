package keys

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Size is the length of a root key in bytes.
const Size = 32

// Labels keep purposes apart: a value made under one label means nothing under another. Never reuse or rename one.
const (
	LabelHandle  = "handle"  // secrets of request handles
	LabelClient  = "client"  // client secrets
	LabelSeal    = "seal"    // sealed values
	LabelCode    = "code"    // one-time codes
	LabelCookie  = "cookie"  // session and browser cookies
	LabelLink    = "link"    // short links: making them
	LabelRefresh = "refresh" // refresh tokens
	LabelLookup  = "lookup"  // short links, idempotency keys: finding them
	LabelPush    = "push"    // subscriptions of browsers: finding them, and proofs that a test came back
	LabelPasskey = "passkey" // challenges and names of passkeys
	LabelReply   = "reply"   // codes by which people decide with a text message

	LabelUpstream = "upstream" // sign-ins elsewhere: nonces, code verifiers, names of accounts
)

// Root is the key from which everything else is derived. It is safe for concurrent use.
type Root struct {
	secret []byte
	id     [4]byte

	mu      sync.RWMutex
	derived map[string]*derived
}

// New makes a Root from 32 bytes.
func New(secret []byte) (*Root, error) {
	if len(secret) != Size {
		return nil, fmt.Errorf("root key: must have %d bytes, has %d", Size, len(secret))
	}
	r := &Root{secret: secret, derived: map[string]*derived{}}
	sum := sha256.Sum256(append([]byte("assent root key id\x00"), r.key("id")...))
	copy(r.id[:], sum[:])
	return r, nil
}

// ID names the key without giving it away: 6 characters, in every keyed hash and sealed value.
func (r *Root) ID() string { return base64.RawURLEncoding.EncodeToString(r.id[:]) }

// derived is the key of one label, with hashes that are ready to be used again: keying one costs as much as hashing.
type derived struct {
	key    []byte
	hashes sync.Pool // of *keyed
}

func (r *Root) key(label string) []byte { return r.derive(label).key }

func (r *Root) derive(label string) *derived {
	r.mu.RLock()
	d := r.derived[label]
	r.mu.RUnlock()
	if d != nil {
		return d
	}
	k, err := hkdf.Key(sha256.New, r.secret, []byte("assent v1"), label, Size)
	if err != nil {
		panic("keys: " + err.Error()) // only for lengths that we never ask for
	}
	d = &derived{key: k}
	d.hashes.New = func() any { return &keyed{hash: hmac.New(sha256.New, k)} }
	r.mu.Lock()
	r.derived[label] = d
	r.mu.Unlock()
	return d
}

// Load reads a root key file: 32 bytes in base64url or standard base64, in one line.
func Load(path string) (*Root, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("root key: %w", err)
	}
	line := strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimSpace(string(text))), "=")
	secret, err := base64.RawURLEncoding.DecodeString(line)
	if err != nil {
		return nil, fmt.Errorf("root key %s: is not base64", path)
	}
	r, err := New(secret)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; put the right file back", path, err)
	}
	return r, nil
}

// Create makes a new root key file with mode 0600 and syncs file and folder, so that nothing is ever keyed with a key
// that a power cut takes away. It fails with [fs.ErrExist] if the file is there.
func Create(path string) (*Root, error) {
	secret := make([]byte, Size)
	rand.Read(secret)
	f, err := os.CreateTemp(filepath.Dir(path), ".root-*.key") // mode 0600; half a key must never bear the name
	if err != nil {
		return nil, fmt.Errorf("root key: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = fmt.Fprintln(f, base64.RawURLEncoding.EncodeToString(secret))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Link(f.Name(), path) // fails if there is one
	}
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		return nil, fmt.Errorf("root key: %w", err)
	}
	return New(secret)
}

// Open loads the key at path, or creates it there if create is set and there is none.
func Open(path string, create bool) (*Root, error) {
	r, err := Load(path)
	if create && errors.Is(err, fs.ErrNotExist) {
		return Create(path)
	}
	return r, err
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
