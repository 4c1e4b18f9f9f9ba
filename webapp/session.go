package webapp

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
)

// Record kinds of sessions and bound browsers. Their keys are keyed hashes of what the cookies hold, so that a copy of
// the store signs nobody in.
const (
	kindSession = "session"
	kindBrowser = "browser"
)

// Lives of a sign-in and of a browser's binding.
const (
	sessionLife = 7 * 24 * time.Hour   // from sign-in, whatever happens
	sessionIdle = 24 * time.Hour       // from the last thing the person did
	aloneLife   = 30 * 24 * time.Hour  // the same two where no channel can carry a code: only an operator's invitation
	aloneIdle   = 14 * 24 * time.Hour  // leads in again
	linkLife    = time.Hour            // of a session that only a link opened
	browserLife = 400 * 24 * time.Hour // the longest that browsers keep a cookie
)

// refreshAfter keeps a busy person from writing the session at every step.
const refreshAfter = 10 * time.Minute

// session is one sign-in on one browser.
type session struct {
	V         int                `json:"v"`
	Person    approvals.PersonID `json:"person"`
	Level     approvals.Level    `json:"level"`
	AMR       []string           `json:"amr,omitempty"` // RFC 8176
	AuthTime  time.Time          `json:"auth_time"`
	Seen      time.Time          `json:"seen"`
	Ends      time.Time          `json:"ends"`               // absolute
	Invited   bool               `json:"invited,omitempty"`  // it began with an invitation
	Confirmed time.Time          `json:"confirmed,omitzero"` // when a passkey last confirmed an approval on it

	key    string            // of the record
	rev    uint64            // of the record
	person *approvals.Person // as the directory knows it now
}

// expires is when a session ends if the person does nothing more. A channel that came later counts from then on.
func (h *Handler) expires(s *session) time.Time {
	idle, life := sessionIdle, sessionLife
	if !h.CanSend(s.person) {
		idle, life = aloneIdle, aloneLife
	}
	ends := s.Ends
	for _, end := range []time.Time{s.Seen.Add(idle), s.AuthTime.Add(life)} {
		if end.Before(ends) {
			ends = end
		}
	}
	return ends
}

func (s *session) encode() []byte {
	value, _ := json.Marshal(s) // strings, numbers and times: cannot fail
	return value
}

// Cookie names without the prefix that HTTPS allows.
const (
	cookieSession = "assent"
	cookieBrowser = "assent-browser"
)

// secretSize is 256 bits; what a cookie may look like is exactly this, in base64url.
const secretSize = 32

func newSecret() string {
	b := make([]byte, secretSize)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

func (h *Handler) cookie(name, value string, life time.Duration) *http.Cookie {
	c := &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: int(life.Seconds()), HttpOnly: true,
		SameSite: http.SameSiteLaxMode}
	if h.secure {
		c.Name, c.Secure = "__Host-"+name, true
	}
	if value == "" {
		c.MaxAge = -1
	}
	return c
}

// named returns the record key that belongs to a cookie of this visit, or "" when the cookie is absent, sent twice, or
// nothing that we ever set.
func (h *Handler) named(r *http.Request, name string) string {
	full := name
	if h.secure {
		full = "__Host-" + name
	}
	got := r.CookiesNamed(full)
	if len(got) != 1 {
		return ""
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(got[0].Value)
	if err != nil || len(raw) != secretSize {
		return ""
	}
	return h.Root.Name(keys.LabelCookie, name, got[0].Value)
}

// session returns who is signed in, or nil. A disabled person is not signed in anywhere, and one who was signed out
// everywhere only where they signed in since.
func (h *Handler) session(r *http.Request) (*session, error) {
	key := h.named(r, cookieSession)
	if key == "" {
		return nil, nil
	}
	return h.sessionAt(r.Context(), key)
}

func (h *Handler) sessionAt(ctx context.Context, key string) (*session, error) {
	rec, err := h.Records.Get(ctx, kindSession, key)
	if errors.Is(err, approvals.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read session: %w", err)
	}
	s := &session{key: key, rev: rec.Revision}
	if err := json.Unmarshal(rec.Value, s); err != nil {
		return nil, fmt.Errorf("read session: %w", err)
	}
	s.person, err = h.active(ctx, s.Person, s.AuthTime)
	if err != nil {
		return nil, fmt.Errorf("read person of session: %w", err)
	}
	if s.person == nil || !h.Now().Before(h.expires(s)) {
		return nil, nil
	}
	return s, nil
}

// active returns the person of something that began at a time, or nil when it is over for them: they are gone or
// disabled, or were signed out everywhere since.
func (h *Handler) active(ctx context.Context, id approvals.PersonID, began time.Time) (*approvals.Person, error) {
	p, err := h.Directory.Person(ctx, id)
	if errors.Is(err, approvals.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if p.Disabled || !p.SignedOutAt.IsZero() && !began.After(p.SignedOutAt) {
		return nil, nil
	}
	return p, nil
}

// begin makes a new session, under a new cookie whatever the browser held before. The writes take effect when the
// caller applies them; the old session goes with them.
func (h *Handler) begin(v *visit, p *approvals.Person, level approvals.Level, amr ...string) (
	*http.Cookie, []approvals.Write) {
	return h.start(v, p, session{Level: level, AMR: amr})
}

// start is begin for a session of which more is known than how well the person signed in.
func (h *Handler) start(v *visit, p *approvals.Person, s session) (*http.Cookie, []approvals.Write) {
	secret, life, now := newSecret(), sessionLife, h.Now()
	switch {
	case s.Level < approvals.LevelSession:
		life = linkLife
	case !h.CanSend(p):
		life = aloneLife
	}
	s.V, s.Person, s.AuthTime, s.Seen, s.Ends, s.person = 1, p.ID, now, now, now.Add(life), p
	writes := []approvals.Write{approvals.PutNew(kindSession, h.Root.Name(keys.LabelCookie, cookieSession, secret),
		s.encode(), h.expires(&s))}
	if v.who != nil {
		writes = append(writes, approvals.Delete(kindSession, v.who.key, approvals.AnyRevision))
	}
	return h.cookie(cookieSession, secret, life), writes
}

// touch notes that the person did something, which puts the end of the session off. Only an answer counts: a page
// that reloads itself, or tells that it was opened, keeps nobody signed in.
func (h *Handler) touch(v *visit) {
	s, now := v.who, h.Now()
	if s == nil || now.Sub(s.Seen) < refreshAfter {
		return
	}
	s.Seen = now
	rec := approvals.Record{Kind: kindSession, Key: s.key, Revision: s.rev}
	err := h.Records.Apply(v.Context(), approvals.Replace(rec, s.encode(), h.expires(s)))
	if err != nil && !errors.Is(err, approvals.ErrConflict) { // signed out or touched by another tab: fine as it is
		h.Log.WarnContext(v.Context(), "session not extended", "err", err)
	}
}

// end signs out on this browser.
func (h *Handler) end(v *visit) (*http.Cookie, error) {
	if v.who != nil {
		err := h.Records.Apply(v.Context(), approvals.Delete(kindSession, v.who.key, approvals.AnyRevision))
		if err != nil {
			return nil, fmt.Errorf("end session: %w", err)
		}
		h.Hub.Signal(approvals.TopicPerson(v.who.Person)) // its live streams look again, and stop
	}
	return h.cookie(cookieSession, "", 0), nil
}

// formToken ties a form to the session and the request it was made for. Cross-origin protection already refuses other
// sites; this one covers browsers that send neither Origin nor Sec-Fetch-Site, and forms left over from an earlier
// sign-in. It needs no nonce: decisions go one way, so a form that is sent twice decides once.
func (h *Handler) formToken(s *session, id approvals.ID) string {
	return h.Root.Name(keys.LabelCookie, "form", s.key, string(id))
}

// browser is a browser that an invitation has bound to a person.
type browser struct {
	V       int                `json:"v"`
	Person  approvals.PersonID `json:"person"`
	BoundAt time.Time          `json:"bound_at"`

	key    string
	person *approvals.Person
}

// bound returns the browser of this visit, or nil when no invitation has bound it to anybody active, or none since the
// person was signed out everywhere.
func (h *Handler) bound(v *visit) (*browser, error) {
	key := h.named(v.Request, cookieBrowser)
	if key == "" {
		return nil, nil
	}
	rec, err := h.Records.Get(v.Context(), kindBrowser, key)
	if errors.Is(err, approvals.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read browser: %w", err)
	}
	b := &browser{key: key}
	if err := json.Unmarshal(rec.Value, b); err != nil {
		return nil, fmt.Errorf("read browser: %w", err)
	}
	b.person, err = h.active(v.Context(), b.Person, b.BoundAt)
	if err != nil {
		return nil, fmt.Errorf("read person of browser: %w", err)
	}
	if b.person == nil {
		return nil, nil
	}
	v.speak(b.person)
	return b, nil
}

// bind makes the cookie and the write that tie a browser to a person.
func (h *Handler) bind(p approvals.PersonID) (*http.Cookie, approvals.Write) {
	secret, now := newSecret(), h.Now()
	value, _ := json.Marshal(browser{V: 1, Person: p, BoundAt: now}) // cannot fail
	return h.cookie(cookieBrowser, secret, browserLife),
		approvals.PutNew(kindBrowser, h.Root.Name(keys.LabelCookie, cookieBrowser, secret), value, now.Add(browserLife))
}
