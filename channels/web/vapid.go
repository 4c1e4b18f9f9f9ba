package web

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/mail"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"assent/approvals"
	"assent/approvals/keys"
)

// The key by which push services know us. Browsers subscribe to it, so it is made once and never changed.
const (
	kindKey = "web.key"
	keyName = "vapid"
	sealKey = kindKey + "/" + keyName
)

// Life of a token. RFC 8292 allows a day; push services dislike a new one for every message.
const (
	tokenLife  = 12 * time.Hour
	tokenReuse = 6 * time.Hour
	maxOrigins = 256
)

// storedKey is the key as it is kept.
type storedKey struct {
	V         int       `json:"v"`
	Sealed    []byte    `json:"sealed"` // PKCS #8
	CreatedAt time.Time `json:"created_at"`
}

// vapid says to push services who we are.
type vapid struct {
	contact string
	public  string // base64url
	signer  jose.Signer
	now     func() time.Time

	mu     sync.Mutex
	tokens map[string]token // by origin
}

type token struct {
	text string
	made time.Time
}

// openKey reads the key, or makes it. When another process was faster, its key counts.
func openKey(ctx context.Context, records approvals.Records, root *keys.Root, now time.Time) (
	*ecdsa.PrivateKey, error) {
	private, err := readKey(ctx, records, root)
	if !errors.Is(err, approvals.ErrNotFound) {
		return private, err
	}
	if err := makeKey(ctx, records, root, now); err != nil && !errors.Is(err, approvals.ErrConflict) {
		return nil, err
	}
	return readKey(ctx, records, root)
}

func readKey(ctx context.Context, records approvals.Records, root *keys.Root) (*ecdsa.PrivateKey, error) {
	rec, err := records.Get(ctx, kindKey, keyName)
	if err != nil {
		return nil, err
	}
	var stored storedKey
	if err := json.Unmarshal(rec.Value, &stored); err != nil {
		return nil, err
	}
	der, err := root.Open(sealKey, stored.Sealed)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	private, fits := parsed.(*ecdsa.PrivateKey)
	if !fits || private.Curve != elliptic.P256() {
		return nil, errors.New("stored key is not one of P-256")
	}
	return private, nil
}

func makeKey(ctx context.Context, records approvals.Records, root *keys.Root, now time.Time) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	value, err := json.Marshal(storedKey{V: 1, Sealed: root.Seal(sealKey, der), CreatedAt: now})
	if err != nil {
		return err
	}
	return records.Apply(ctx, approvals.PutNew(kindKey, keyName, value, time.Time{}))
}

func newVAPID(private *ecdsa.PrivateKey, contact string, now func() time.Time) (*vapid, error) {
	point, err := private.PublicKey.ECDH()
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: private},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, err
	}
	return &vapid{contact: contact, public: base64.RawURLEncoding.EncodeToString(point.Bytes()), signer: signer, now: now,
		tokens: map[string]token{}}, nil
}

// authorization is the header for a push service (RFC 8292, 3).
func (v *vapid) authorization(origin string) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.now()
	if kept, found := v.tokens[origin]; found && now.Before(kept.made.Add(tokenReuse)) && !now.Before(kept.made) {
		return kept.text, nil
	}
	claims, err := json.Marshal(map[string]any{"aud": origin, "exp": now.Add(tokenLife).Unix(), "sub": v.contact})
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	signed, err := v.signer.Sign(claims)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	if len(v.tokens) >= maxOrigins {
		clear(v.tokens)
	}
	text := "vapid t=" + compact + ", k=" + v.public
	v.tokens[origin] = token{text, now}
	return text, nil
}

// Check reports whether the stored key is still ours and signs, and whether push services would accept the contact.
func (c *Channel) Check(ctx context.Context) error {
	private, err := readKey(ctx, c.records, c.root)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	stored, err := newVAPID(private, c.vapid.contact, c.now)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	if stored.public != c.vapid.public {
		return errors.New("key: another one lies in the store; restart the service")
	}
	if _, err := stored.authorization("https://push.example.com"); err != nil {
		return err
	}
	return CheckContact(c.vapid.contact)
}

// CheckContact reports whether push services would accept how to reach whoever runs this: an https URL or a mailto:
// address, in a domain that exists for everybody (RFC 8292, 2.1). Apple's refuses others.
func CheckContact(contact string) error {
	wrong := &approvals.FieldError{Field: "contact", Rule: "must be https://… or mailto:… in a public domain"}
	u, err := url.Parse(contact)
	if err != nil || len(contact) > 256 {
		return wrong
	}
	host := u.Hostname()
	if u.Scheme == "mailto" {
		address, err := mail.ParseAddress(u.Opaque)
		if err != nil || address.Address != u.Opaque {
			return wrong
		}
		host = u.Opaque[strings.LastIndexByte(u.Opaque, '@')+1:]
	} else if u.Scheme != "https" {
		return wrong
	}
	if _, err := netip.ParseAddr(host); err == nil || !public(host) {
		return wrong
	}
	return nil
}

// public reports whether a domain is outside those that RFC 2606 and RFC 6761 keep from the public.
func public(domain string) bool {
	domain = strings.ToLower(strings.TrimSuffix(domain, "."))
	last := domain[strings.LastIndexByte(domain, '.')+1:]
	switch last {
	case domain, "localhost", "local", "test", "invalid", "example", "internal", "onion", "":
		return false
	}
	return true
}
