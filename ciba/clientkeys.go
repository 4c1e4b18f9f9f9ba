package ciba

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"assent/approvals"
)

// Limits of a client's key set, wherever it comes from (REQ-065).
const (
	maxKeySet   = 64 << 10
	maxKeys     = 32
	maxKeyTries = 4 // with one signature
)

// When a jwks_uri is fetched.
const (
	keysFresh    = 10 * time.Minute // a set is used that long without a look at its source
	keysStale    = 24 * time.Hour   // and that long when its source does not answer
	keysFloor    = 60 * time.Second // between two fetches for one client
	keysDeadline = 3 * time.Second
)

// clientKey is a key that a client signs with.
type clientKey struct {
	id, alg string // "": not said
	public  any

	certificate []byte // that came with it (x5c), or nil
}

// fits reports whether the key may be tried on a signature: its own alg must agree, and its type and size (REQ-066).
func (k clientKey) fits(alg string) bool {
	return (k.alg == "" || k.alg == alg) && takes(alg, k.public)
}

var errKeySet = errors.New("must be a JWK set with at least one public key to sign with, and no private ones")

// readKeySet takes what can be used for signatures out of a JWK set. Keys of other kinds are skipped (RFC 7517 section
// 5); a private key in it is a mishap that its owner has to hear of.
func readKeySet(raw []byte) ([]clientKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if len(raw) > maxKeySet || json.Unmarshal(raw, &set) != nil || len(set.Keys) > maxKeys {
		return nil, errKeySet
	}
	var list []clientKey
	for _, one := range set.Keys {
		key, err := readKey(one)
		if err != nil {
			return nil, err
		}
		if key != nil {
			list = append(list, *key)
		}
	}
	if len(list) == 0 {
		return nil, errKeySet
	}
	return list, nil
}

func readKey(raw []byte) (*clientKey, error) {
	var about struct {
		Use string          `json:"use"`
		Ops []string        `json:"key_ops"`
		K   json.RawMessage `json:"k"`
		D   json.RawMessage `json:"d"`
	}
	if err := json.Unmarshal(raw, &about); err != nil || about.K != nil || about.D != nil {
		return nil, errKeySet
	}
	if about.Use != "" && about.Use != "sig" || about.Ops != nil && !slices.Contains(about.Ops, "verify") {
		return nil, nil
	}
	var key jose.JSONWebKey
	if err := key.UnmarshalJSON(raw); err != nil || !key.Valid() {
		return nil, nil
	}
	found := &clientKey{id: key.KeyID, alg: key.Algorithm, public: key.Key}
	if !slices.ContainsFunc(append(slices.Clone(assertionAlgs), compatAlg), found.fits) {
		return nil, nil
	}
	if len(key.Certificates) > 0 {
		found.certificate = key.Certificates[0].Raw
	}
	return found, nil
}

// pick returns the keys to try. A header without kid means any of them.
func pick(keys []clientKey, kid string) []clientKey {
	var found []clientKey
	for _, k := range keys {
		if kid == "" || k.id == kid {
			found = append(found, k)
		}
	}
	return found
}

func withID(kid string) func([]clientKey) []clientKey {
	return func(keys []clientKey) []clientKey { return pick(keys, kid) }
}

// keysOf returns the keys that may have made a client's signature with this kid and alg. Who has none is given nobody's,
// so that a refusal costs the same.
func (cs *clients) keysOf(ctx context.Context, c *Client, id, kid, alg string) []clientKey {
	var found []clientKey
	switch {
	case c.JWKS != nil:
		found = pick(c.keys, kid)
	case c.JWKSURI != "":
		found = cs.remote.find(ctx, id, c.JWKSURI, withID(kid))
	}
	found = slices.DeleteFunc(found, func(k clientKey) bool { return !k.fits(alg) })
	if len(found) == 0 {
		return cs.nobody.keys
	}
	return found[:min(len(found), maxKeyTries)]
}

// keysOfIssuer is keysOf for somebody who signs login_hint_tokens. All clients share what is fetched.
func (cs *clients) keysOfIssuer(ctx context.Context, h hintIssuer, kid string) []clientKey {
	found := pick(h.keys, kid)
	if h.JWKSURI != "" {
		found = cs.remote.find(ctx, "issuer "+h.JWKSURI, h.JWKSURI, withID(kid))
	}
	return found[:min(len(found), maxKeyTries)]
}

// remoteKeys keeps what the jwks_uri of clients say. There is one entry for each client, or issuer of hints,
// that has one.
type remoteKeys struct {
	http    *http.Client
	now     func() time.Time
	sources sync.Map // client_id, or "issuer " and uri → *keySource
}

// keySource is one jwks_uri. Readers take no lock; one fetch happens at a time.
type keySource struct {
	uri   string
	known atomic.Pointer[fetchedKeys]

	fetching chan struct{} // holds one token while somebody fetches
	tried    time.Time     // when the last fetch began; its token guards it
}

func newKeySource(uri string) *keySource {
	return &keySource{uri: uri, fetching: make(chan struct{}, 1)}
}

// begin takes the turn to fetch. Whoever needs what is fetched waits for it, as long as the caller is there.
func (s *keySource) begin(ctx context.Context, needed bool) bool {
	select {
	case s.fetching <- struct{}{}:
		return true
	default:
	}
	if !needed {
		return false
	}
	select {
	case s.fetching <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *keySource) end() { <-s.fetching }

type fetchedKeys struct {
	keys []clientKey
	at   time.Time
}

// find returns the keys that are picked. If there are none, or the set is old, that leads to one fetch a minute
// (REQ-065); a source that does not answer leaves what was known in use.
func (r *remoteKeys) find(ctx context.Context, id, uri string, pick func([]clientKey) []clientKey) []clientKey {
	s := r.source(id, uri)
	known := s.known.Load()
	found := r.usable(known, pick)
	if len(found) > 0 && r.now().Sub(known.at) < keysFresh {
		return found
	}
	r.refresh(ctx, s, known, len(found) == 0)
	return r.usable(s.known.Load(), pick)
}

func (r *remoteKeys) usable(known *fetchedKeys, pick func([]clientKey) []clientKey) []clientKey {
	if known == nil || r.now().Sub(known.at) > keysStale {
		return nil
	}
	return pick(known.keys)
}

func (r *remoteKeys) source(id, uri string) *keySource {
	fresh := newKeySource(uri)
	v, _ := r.sources.LoadOrStore(id, fresh)
	if s := v.(*keySource); s.uri == uri {
		return s
	}
	r.sources.CompareAndSwap(id, v, fresh)
	return fresh
}

// refresh fetches the set unless somebody else just did. Those who come while a fetch is under way wait for it if they
// have no key without it.
func (r *remoteKeys) refresh(ctx context.Context, s *keySource, seen *fetchedKeys, needed bool) {
	if !s.begin(ctx, needed) {
		return
	}
	defer s.end()
	if s.known.Load() != seen || r.http == nil || !s.tried.IsZero() && r.now().Sub(s.tried) < keysFloor {
		return
	}
	s.tried = r.now()
	// The answer is for everybody who waits, so the one who asked first cannot call it off.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keysDeadline)
	defer cancel()
	if keys, err := r.fetch(ctx, s.uri); err == nil {
		s.known.Store(&fetchedKeys{keys, r.now()})
	}
}

func (r *remoteKeys) fetch(ctx context.Context, uri string) ([]clientKey, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Accept", "application/jwk-set+json, application/json")
	a, err := r.http.Do(q)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch keys: status %d", a.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(a.Body, maxKeySet+1))
	if err != nil {
		return nil, err
	}
	return readKeySet(raw)
}

// checkKeys is REQ-028: keys given or fetched, not both.
func (m Metadata) checkKeys() error {
	if len(m.JWKS) > 0 && m.JWKSURI != "" {
		return &approvals.FieldError{Field: "jwks_uri", Rule: "must be absent when jwks is given"}
	}
	if len(m.JWKS) > 0 {
		if _, err := readKeySet(m.JWKS); err != nil {
			return &approvals.FieldError{Field: "jwks", Rule: err.Error()}
		}
	}
	if m.JWKSURI == "" {
		return nil
	}
	if u, err := url.Parse(m.JWKSURI); err != nil || !isHTTPS(m.JWKSURI) || u.Opaque != "" || len(m.JWKSURI) > 2048 {
		return &approvals.FieldError{Field: "jwks_uri", Rule: "must be an https URL without user and fragment"}
	}
	return nil
}

func (m Metadata) hasKeys() bool { return len(m.JWKS) > 0 || m.JWKSURI != "" }

// squeeze takes the white space out of JSON that has been read.
func squeeze(raw json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if len(raw) == 0 || json.Compact(&b, raw) != nil {
		return nil
	}
	return b.Bytes()
}
