package ciba

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
)

// Record kinds of registration.
const (
	kindInitial    = "ciba.initial"    // initial access tokens, by id
	kindRegistered = "ciba.registered" // how many clients have registered themselves, one record
)

// Limits of initial access tokens.
const (
	maxInitialUses = 1000
	maxInitialLife = 90 * 24 * time.Hour
	maxInitialName = 60
	maxBounds      = 100 // values in each list
)

// Bounds are what a client that registers itself can have at most. What it does not ask for, it gets.
type Bounds struct {
	Types     []string `json:"authorization_details_types,omitempty"`
	Scopes    []string `json:"scopes,omitempty"` // beside openid, profile and email
	Audiences []string `json:"allowed_audiences,omitempty"`
	Hosts     []string `json:"notification_hosts,omitempty"` // of notification endpoints, beside that of jwks_uri
	Refresh   bool     `json:"refresh,omitempty"`            // the refresh_token grant
	Compat    bool     `json:"compat,omitempty"`             // assertion_audience may be compat
}

// InitialToken is an initial access token (RFC 7591 section 1.2) as an operator sees it: not the token itself, which is
// kept as a keyed hash only.
type InitialToken struct {
	ID      string
	Name    string // for operators: whom it was given to
	Bounds  Bounds
	Uses    int // registrations that are left
	Created time.Time
	Expires time.Time
}

// keptInitial is an initial access token in the store.
type keptInitial struct {
	V       int       `json:"v"`
	MAC     []byte    `json:"mac"`
	Name    string    `json:"name"`
	Bounds  Bounds    `json:"bounds"`
	Uses    int       `json:"uses"`
	Created time.Time `json:"created"`

	rec approvals.Record
}

func (k *keptInitial) row() InitialToken {
	return InitialToken{ID: k.rec.Key, Name: k.Name, Bounds: k.Bounds, Uses: k.Uses, Created: k.Created,
		Expires: k.rec.Expires}
}

// write is the token's record after a change. One that is used up is gone.
func (k *keptInitial) write() approvals.Write {
	if k.Uses == 0 {
		return approvals.Delete(k.rec.Kind, k.rec.Key, k.rec.Revision)
	}
	value, _ := json.Marshal(k) // names, numbers and bytes: cannot fail
	return approvals.Replace(k.rec, value, k.rec.Expires)
}

// ErrNoRegistration means that clients cannot register themselves here.
var ErrNoRegistration = fmt.Errorf("dynamic registration is off: %w", approvals.ErrNotEligible)

// NewInitialToken makes an initial access token with t's name, bounds, uses and end, and returns it: nobody can read it
// again.
func (h *Handler) NewInitialToken(ctx context.Context, t InitialToken) (InitialToken, string, error) {
	if h.Register == nil {
		return t, "", ErrNoRegistration
	}
	t.ID, t.Created = "iat_"+rand.Text()[:12], h.Now()
	if err := h.checkInitial(t); err != nil {
		return t, "", err
	}
	secret := NewSecret()
	kept := &keptInitial{V: 1, MAC: h.Root.MAC(keys.LabelClient, kindInitial, t.ID, secret), Name: t.Name,
		Bounds: t.Bounds, Uses: t.Uses, Created: t.Created, rec: approvals.Record{Kind: kindInitial, Key: t.ID, Expires: t.Expires}}
	if err := h.Records.Apply(context.WithoutCancel(ctx), kept.write()); err != nil {
		return t, "", fmt.Errorf("make initial access token: %w", err)
	}
	return t, t.ID + "." + secret, nil
}

func (h *Handler) checkInitial(t InitialToken) error {
	life := t.Expires.Sub(t.Created)
	for _, r := range []struct {
		ok          bool
		field, rule string
	}{
		{len(t.Name) <= maxInitialName && approvals.Visible(t.Name) == t.Name, "name",
			fmt.Sprintf("must have at most %d bytes and no invisible characters", maxInitialName)},
		{t.Uses >= 1 && t.Uses <= maxInitialUses, "uses", fmt.Sprintf("must be 1 to %d", maxInitialUses)},
		{life > 0 && life <= maxInitialLife, "expires", "must lie ahead, by at most 90 days"},
		{!slices.ContainsFunc(t.Bounds.Hosts, h.badHost), "notification_hosts",
			"must hold names of public hosts, in lower case"},
		{max(len(t.Bounds.Types), len(t.Bounds.Scopes), len(t.Bounds.Audiences), len(t.Bounds.Hosts)) <= maxBounds, "bounds",
			fmt.Sprintf("must not hold more than %d values of one kind", maxBounds)},
	} {
		if !r.ok {
			return &approvals.FieldError{Field: r.field, Rule: r.rule}
		}
	}
	limits := Metadata{Scope: strings.Join(t.Bounds.Scopes, " "), Types: t.Bounds.Types, Audiences: t.Bounds.Audiences}
	return limits.checkPermissions(h.Desk.Renderer.Types)
}

// badHost reports whether no notification endpoint could be at a host.
func (h *Handler) badHost(host string) bool {
	odd := func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' }
	place := "https://" + host + "/"
	return strings.ContainsFunc(host, odd) || hostOf(place) != host || !isEndpoint(place, h.Register.Loopback)
}

// InitialTokens lists the initial access tokens that can still be used, in order of their ids, after the given one.
func (h *Handler) InitialTokens(ctx context.Context, after string, limit int) ([]InitialToken, error) {
	recs, err := h.Records.ScanAfter(ctx, kindInitial, after, limit)
	if err != nil {
		return nil, err
	}
	list := make([]InitialToken, 0, len(recs))
	for _, rec := range recs {
		kept, err := decodeInitial(rec)
		if err != nil {
			return nil, err
		}
		list = append(list, kept.row())
	}
	return list, nil
}

// RevokeInitialToken ends an initial access token. Clients that it has registered stay.
func (h *Handler) RevokeInitialToken(ctx context.Context, id string) error {
	rec, err := h.Records.Get(ctx, kindInitial, id)
	if err != nil {
		return err
	}
	return h.Records.Apply(context.WithoutCancel(ctx), approvals.Delete(kindInitial, rec.Key, approvals.AnyRevision))
}

func decodeInitial(rec approvals.Record) (*keptInitial, error) {
	kept := &keptInitial{rec: rec}
	if err := json.Unmarshal(rec.Value, kept); err != nil {
		return nil, fmt.Errorf("read initial access token: %w", err)
	}
	return kept, nil
}

// initial finds the token that a registration shows. Unknown, used up, expired and forged are one answer (REQ-034).
func (h *Handler) initial(c *call) (*keptInitial, error) {
	id, secret, _ := strings.Cut(c.bearer(), ".")
	if id == "" || len(id) > maxTokenID {
		return nil, c.noToken()
	}
	rec, err := h.Records.Get(c.r.Context(), kindInitial, id)
	if errors.Is(err, approvals.ErrNotFound) {
		h.Root.Verify(nil, keys.LabelClient, kindInitial, id, secret) // takes the time that it takes
		return nil, c.noToken()
	}
	if err != nil {
		return nil, err
	}
	kept, err := decodeInitial(rec)
	if err != nil {
		return nil, err
	}
	if !h.Root.Verify(kept.MAC, keys.LabelClient, kindInitial, id, secret) {
		return nil, c.noToken()
	}
	return kept, nil
}

// maxTokenID bounds what a token may say about which one it is.
const maxTokenID = 64

// bearer returns the one token of the Authorization header (RFC 6750 section 2.1), or "".
func (c *call) bearer() string {
	lines := c.r.Header["Authorization"]
	if len(lines) != 1 || len(lines[0]) < 8 || !strings.EqualFold(lines[0][:7], "bearer ") {
		return ""
	}
	return lines[0][7:]
}

// noToken refuses a call without a good bearer token. One that has none at all is only told that it needs one (RFC 6750
// section 3.1).
func (c *call) noToken() error {
	f := &fault{status: http.StatusUnauthorized, code: "invalid_token", text: "The access token is missing or not valid.",
		challenge: `Bearer realm="assent"`}
	if len(c.r.Header["Authorization"]) > 0 {
		f.challenge += `, error="invalid_token"`
	}
	return f
}

// census counts the clients that have registered themselves.
type census struct {
	V       int    `json:"v"`
	Clients int    `json:"clients"` // that there are
	Recent  hourly `json:"recent"`  // registrations

	rec approvals.Record
}

// hourly counts what may happen so often in an hour.
type hourly struct {
	Since time.Time `json:"since"`
	N     int       `json:"n"`
}

// take counts one more, or says how long to wait until there is room.
func (w *hourly) take(limit int, now time.Time) (wait time.Duration) {
	if now.Sub(w.Since) >= time.Hour || now.Before(w.Since) {
		*w = hourly{Since: now}
	}
	if w.N >= limit {
		return w.Since.Add(time.Hour).Sub(now)
	}
	w.N++
	return 0
}

func (h *Handler) census(ctx context.Context) (*census, error) {
	t := &census{V: 1, rec: approvals.Record{Kind: kindRegistered, Key: "all"}}
	rec, err := h.Records.Get(ctx, t.rec.Kind, t.rec.Key)
	if errors.Is(err, approvals.ErrNotFound) {
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(rec.Value, t); err != nil {
		return nil, fmt.Errorf("read count of clients: %w", err)
	}
	t.rec = rec
	return t, nil
}

func (t *census) write() approvals.Write {
	value, _ := json.Marshal(t) // numbers: cannot fail
	return approvals.Replace(t.rec, value, time.Time{})
}

// exceeds reports whether something of list is in none of the others.
func exceeds(list []string, allowed ...[]string) bool {
	return slices.ContainsFunc(list, func(s string) bool {
		return !slices.ContainsFunc(allowed, func(set []string) bool { return slices.Contains(set, s) })
	})
}
