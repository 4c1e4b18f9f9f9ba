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
	kindSession  = "session"
	kindBrowser  = "browser"
	kindSessions = "sessions" // index: person/id of a session → key of its record
	kindCut      = "sessions.cut"
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

// A session in use gets a new secret after turnAfter, so that a copied cookie is not good for long. What was under way
// with the old one has turnOverlap to arrive.
const (
	turnAfter   = time.Hour
	turnOverlap = 2 * time.Minute
)

// session is one sign-in on one browser.
type session struct {
	V         int                `json:"v"`
	ID        string             `json:"id,omitempty"`    // key of its first record; empty in those of before
	First     string             `json:"first,omitempty"` // ID of the one it followed on, on this browser; empty: none
	Person    approvals.PersonID `json:"person"`
	Device    string             `json:"device,omitempty"` // in the words of [device]
	Level     approvals.Level    `json:"level"`
	AMR       []string           `json:"amr,omitempty"` // RFC 8176
	AuthTime  time.Time          `json:"auth_time"`
	Seen      time.Time          `json:"seen"`
	Ends      time.Time          `json:"ends"`               // absolute
	Invited   bool               `json:"invited,omitempty"`  // it began with an invitation
	Confirmed time.Time          `json:"confirmed,omitzero"` // when a passkey last confirmed an approval on it
	Turned    time.Time          `json:"turned,omitzero"`    // when its secret was last changed
	Vouched   bool               `json:"vouched,omitempty"`  // it began with a provider's word
	Proved    time.Time          `json:"proved,omitzero"`    // when the person signed in at that provider; zero: it did not say

	// Left says why nothing else is in the record: its secret was changed, or the person has signed in anew.
	Left string `json:"left,omitempty"`

	key    string // of the record
	rev    uint64 // of the record
	secret string // what the cookie must hold now
	late   bool   // the cookie held an earlier secret

	unlisted bool              // it is from before there was an index
	person   *approvals.Person // as the directory knows it now
}

// Values of session.Left.
const (
	leftTurned = "turned" // the secret that follows leads on
	leftSignin = "signin" // nothing leads on: a sign-in is worth more than the one before
)

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

// provedAt is when the person last proved who they are: for a provider's word, when they did so there. Zero: nobody here
// knows. A provider recognises people by a cookie of its own, without asking anything, so its word alone dates nothing.
func (s *session) provedAt() time.Time {
	if s.vouched() {
		return s.Proved
	}
	return s.AuthTime
}

// vouched reports whether a provider has said who it is; in sessions of before only the time tells.
func (s *session) vouched() bool { return s.Vouched || !s.Proved.IsZero() }

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

// held returns what a cookie of this visit holds, or "" when the cookie is absent, sent twice, or nothing that we ever set.
func (h *Handler) held(r *http.Request, name string) string {
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
	return got[0].Value
}

// named returns the record key that belongs to a cookie of this visit, or "" as for [Handler.held].
func (h *Handler) named(r *http.Request, name string) string {
	secret := h.held(r, name)
	if secret == "" {
		return ""
	}
	return h.Root.Name(keys.LabelCookie, name, secret)
}

// maxTurns is how many changes of its secret a cookie may have missed within their overlap.
const maxTurns = 8

// session returns who is signed in, or nil. A disabled person is not signed in anywhere, and one who was signed out
// everywhere only where they signed in since.
func (h *Handler) session(r *http.Request) (*session, error) {
	secret := h.held(r, cookieSession)
	if secret == "" {
		return nil, nil
	}
	for turn := range maxTurns {
		s, err := h.sessionAt(r.Context(), h.Root.Name(keys.LabelCookie, cookieSession, secret))
		if err != nil || s == nil || s.Left == leftSignin {
			return nil, err
		}
		if s.Left == "" {
			s.secret, s.late = secret, turn > 0
			return s, nil
		}
		secret = h.following(secret)
	}
	return nil, nil
}

// following is the secret that comes after another one. It is derived, so that whoever misses the answer that brings it
// can be given it once more.
func (h *Handler) following(secret string) string {
	return base64.RawURLEncoding.EncodeToString(h.Root.MAC(keys.LabelCookie, "following", secret)[4:])
}

// keysOf are the records that a session can be in once it was read: its own, and the one of the secret that follows, for
// another tab may have changed it meanwhile.
func (h *Handler) keysOf(s *session) []string {
	return []string{s.key, h.Root.Name(keys.LabelCookie, cookieSession, h.following(s.secret))}
}

// sessionAt reads the session under a key, which may have left it; nil: there is none.
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
	if s.Left != "" {
		return s, nil
	}
	s.person, err = h.active(ctx, s.Person, s.AuthTime)
	if err != nil {
		return nil, fmt.Errorf("read person of session: %w", err)
	}
	if s.person == nil || !h.Now().Before(h.expires(s)) {
		return nil, nil
	}
	if s.ID == "" {
		return h.ofBefore(ctx, s)
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
	s.ID = h.Root.Name(keys.LabelCookie, cookieSession, secret)
	s.key, s.Device = s.ID, v.device()
	if v.who != nil && v.who.Person == p.ID {
		s.First = v.who.first()
	}
	writes := []approvals.Write{approvals.PutNew(kindSession, s.key, s.encode(), h.expires(&s)), s.index()}
	if v.who != nil {
		writes = append(writes, h.replaced(v.who, p)...)
	}
	return h.cookie(cookieSession, secret, life), writes
}

// replaced makes the writes that end the session before another sign-in. Nothing of it is good any more; that the same
// person has signed in anew is left as a word for the live pages of this browser, which then come back with the new cookie.
func (h *Handler) replaced(old *session, by *approvals.Person) []approvals.Write {
	if old.Person != by.ID {
		return h.forget(old)
	}
	left := session{V: 1, Left: leftSignin}
	writes := []approvals.Write{approvals.Delete(kindSessions, old.place(), approvals.AnyRevision)}
	for _, key := range h.keysOf(old) {
		writes = append(writes, approvals.PutAny(kindSession, key, left.encode(), h.Now().Add(turnOverlap)))
	}
	return writes
}

// touch notes that the person did something, which puts the end of the session off and in time changes its secret. Only
// an answer counts: a page that reloads itself, or tells that it was opened, keeps nobody signed in.
func (h *Handler) touch(v *visit) {
	s, now := v.who, h.Now()
	if s == nil {
		return
	}
	turns := now.Sub(s.turned()) >= turnAfter || s.unlisted
	if !turns && now.Sub(s.Seen) < refreshAfter {
		return
	}
	next := *s
	next.Seen = now
	writes := []approvals.Write{approvals.Replace(s.record(), next.encode(), h.expires(&next))}
	next.rev++
	if turns {
		next, writes = h.turn(next, s.record())
	}
	switch err := h.Records.Apply(v.Context(), writes...); {
	case err == nil:
		h.carry(v, next)
	case !errors.Is(err, approvals.ErrConflict): // signed out or touched by another tab: fine as it is
		h.Log.WarnContext(v.Context(), "session not extended", "err", err)
	}
}

// turn changes the secret of a session, as it shall be from then on. The old one leads on for a short time: a browser
// has more than one tab, and an answer may get lost. [Handler.carry] takes the result over once the writes are made.
func (h *Handler) turn(s session, read approvals.Record) (session, []approvals.Write) {
	now := h.Now()
	left := session{V: 1, Left: leftTurned}
	s.secret = h.following(s.secret)
	s.key, s.rev, s.Turned = h.Root.Name(keys.LabelCookie, cookieSession, s.secret), 1, now
	return s, []approvals.Write{approvals.Replace(read, left.encode(), now.Add(turnOverlap)),
		approvals.PutNew(kindSession, s.key, s.encode(), h.expires(&s)), s.index()}
}

// carry goes on with a session that was changed, and gives the browser its secret.
func (h *Handler) carry(v *visit, next session) {
	if next.key != v.who.key || next.late {
		v.cookies = append(v.cookies, h.cookie(cookieSession, next.secret, next.Ends.Sub(h.Now())))
	}
	next.late, next.unlisted = false, false
	v.who = &next
}

// end signs out on this browser, which is told nothing from then on.
func (h *Handler) end(v *visit) (*http.Cookie, error) {
	if v.who != nil {
		first := v.who.first()
		err := h.over(v, func(session string) bool { return session == first }, h.forget(v.who)...)
		if errors.Is(err, approvals.ErrConflict) {
			err = approvals.ErrUnavailable
		}
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
	return h.Root.Name(keys.LabelCookie, "form", s.ID, string(id))
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
