package webapp

import (
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/approvals"
)

// formSessions is what the forms of the page are tied to, in the place of a request.
const formSessions approvals.ID = "sessions"

// maxSessions is how many sessions of one person are listed, and ended in one transaction.
const maxSessions = 100

// indexed is what the index says of a session.
type indexed struct {
	V   int    `json:"v"`
	Key string `json:"key"` // of its record now

	First string `json:"first,omitempty"` // as in [session]

	id  string
	rev uint64
}

// place is the key of a session in the index. No sub has a slash in it, so that one person's are a run of keys.
func (s *session) place() string { return string(s.Person) + "/" + s.ID }

// index makes the write that lets a session be found by its person. It stays until the session must end, at the latest.
func (s *session) index() approvals.Write {
	value, _ := json.Marshal(indexed{V: 1, Key: s.key, First: s.First}) // cannot fail
	return approvals.PutAny(kindSessions, s.place(), value, s.Ends)
}

// record is what was read of a session, for the write that comes over it.
func (s *session) record() approvals.Record {
	return approvals.Record{Kind: kindSession, Key: s.key, Revision: s.rev}
}

// still is the condition that a session goes on as it was read.
func (s *session) still() approvals.Write { return approvals.Expect(kindSession, s.key, s.rev) }

// first is the sign-in that notifications of this browser are tied to: who signs in once more without signing out goes on
// being told there.
func (s *session) first() string {
	if s.First != "" {
		return s.First
	}
	return s.ID
}

// over makes the writes that end sessions of the visitor, and stops to tell the browsers that are on them at once. A
// session that ends by itself does not: a person is told although signed out.
func (h *Handler) over(v *visit, ends func(session string) bool, writes ...approvals.Write) error {
	if h.Push == nil {
		return h.Records.Apply(v.Context(), writes...)
	}
	return h.Push.Silence(v.Context(), v.who.Person, ends, writes...)
}

// forget makes the writes that end a session. They end it for a tab that changes its secret too: if that one is first, what
// it made goes with the rest; if it is second, it finds the record gone that it changes.
func (h *Handler) forget(s *session) []approvals.Write {
	writes := []approvals.Write{approvals.Delete(kindSessions, s.place(), approvals.AnyRevision)}
	for _, key := range h.keysOf(s) {
		writes = append(writes, approvals.Delete(kindSession, key, approvals.AnyRevision))
	}
	return writes
}

// turned is when the secret was made.
func (s *session) turned() time.Time {
	if s.Turned.IsZero() {
		return s.AuthTime
	}
	return s.Turned
}

// cut is until when sessions that no index knows are over.
type cut struct {
	V  int       `json:"v"`
	At time.Time `json:"at"`
}

// ofBefore gives a session from before there was an index its id, unless the person has ended all others since. It gets
// into the index with its next change.
func (h *Handler) ofBefore(ctx context.Context, s *session) (*session, error) {
	s.ID, s.unlisted = s.key, true
	rec, err := h.Records.Get(ctx, kindCut, string(s.Person))
	if errors.Is(err, approvals.ErrNotFound) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read session: %w", err)
	}
	var c cut
	if err := json.Unmarshal(rec.Value, &c); err != nil {
		return nil, fmt.Errorf("read session: %w", err)
	}
	if !s.AuthTime.After(c.At) {
		return nil, nil
	}
	return s, nil
}

// listed reads the index of a person: the sessions whose ids begin that way.
func (h *Handler) listed(ctx context.Context, p approvals.PersonID, id string) ([]indexed, error) {
	recs, err := h.Records.Scan(ctx, kindSessions, string(p)+"/"+id, maxSessions)
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	out := make([]indexed, len(recs))
	for i, rec := range recs {
		if err := json.Unmarshal(rec.Value, &out[i]); err != nil {
			return nil, fmt.Errorf("list sessions: %w", err)
		}
		out[i].id, out[i].rev = strings.TrimPrefix(rec.Key, string(p)+"/"), rec.Revision
	}
	return out, nil
}

// forget makes the writes that end an indexed session, unless its secret has changed since it was read.
func (x indexed) forget(p approvals.PersonID) []approvals.Write {
	return []approvals.Write{approvals.Delete(kindSessions, string(p)+"/"+x.id, x.rev),
		approvals.Delete(kindSession, x.Key, approvals.AnyRevision)}
}

// sessionsView is the page of everywhere that a person is signed in.
type sessionsView struct {
	Rows   []sessionRow
	Token  string
	Others bool // there is more than this one
}

type sessionRow struct {
	ID     string
	Device string
	How    string // key
	Since  string
	Used   string
	Here   bool

	at time.Time
}

// showSessions lists where the person is signed in, this browser first.
func (h *Handler) showSessions(v *visit) (answer, error) {
	if err := h.owner(v); err != nil {
		return answer{}, err
	}
	list, err := h.listed(v.Context(), v.who.Person, "")
	if err != nil {
		return answer{}, err
	}
	view := &sessionsView{Token: h.formToken(v.who, formSessions), Rows: []sessionRow{h.sessionRow(v, v.who)}}
	for _, x := range list {
		s, err := h.sessionAt(v.Context(), x.Key)
		if err != nil {
			return answer{}, err
		}
		if s != nil && s.Left == "" && s.ID != v.who.ID {
			view.Rows = append(view.Rows, h.sessionRow(v, s))
		}
	}
	slices.SortStableFunc(view.Rows[1:], func(a, b sessionRow) int { return b.at.Compare(a.at) })
	view.Others = len(view.Rows) > 1
	return answer{page: "sessions", data: view}, nil
}

func (h *Handler) sessionRow(v *visit, s *session) sessionRow {
	now, zone := h.Now(), v.who.person.Zone
	row := sessionRow{ID: s.ID, Device: s.Device, How: "sessions.code", Since: moment(s.AuthTime, now, zone, v.lang),
		Used: moment(s.Seen, now, zone, v.lang), Here: s.ID == v.who.ID, at: s.Seen}
	if row.Device == "" {
		row.Device = say(v.lang, "sessions.unknown")
	}
	switch {
	case s.Level >= approvals.LevelPasskey:
		row.How = "sessions.passkey"
	case s.vouched():
		row.How = "sessions.upstream"
	case s.Invited:
		row.How = "sessions.invitation"
	case s.Level < approvals.LevelSession:
		row.How = "sessions.link"
	}
	return row
}

// endSessions signs the person out somewhere else: where the form says, or everywhere but here.
func (h *Handler) endSessions(v *visit) (answer, error) {
	values, err := form(v, "token", "id")
	if err != nil {
		return answer{}, err
	}
	if err := h.owner(v); err != nil {
		return answer{}, err
	}
	if subtle.ConstantTimeCompare([]byte(values.Get("token")), []byte(h.formToken(v.who, formSessions))) != 1 {
		return answer{}, errStale
	}
	h.touch(v)
	id := values.Get("id")
	for range maxRounds {
		if err = h.endOthers(v, id); !errors.Is(err, approvals.ErrConflict) {
			break
		}
	}
	if errors.Is(err, approvals.ErrConflict) {
		err = fmt.Errorf("end sessions: %w", approvals.ErrUnavailable)
	}
	if err != nil {
		return answer{}, err
	}
	h.Hub.Signal(approvals.TopicPerson(v.who.Person)) // live pages look again, and stop
	h.Log.InfoContext(v.Context(), "sessions ended by their person", "person", string(v.who.Person), "all", id == "")
	return answer{to: v.path("/sessions")}, nil
}

// maxRounds is how often a change begins again when somebody else was faster.
const maxRounds = 10

// endOthers ends one session, or all but that of the visit when id is empty. All includes the browsers whose session ended
// by itself: they may be lost.
func (h *Handler) endOthers(v *visit, id string) error {
	var writes []approvals.Write
	if id == "" {
		value, _ := json.Marshal(cut{1, h.Now()}) // cannot fail
		writes = append(writes, approvals.PutAny(kindCut, string(v.who.Person), value, h.Now().Add(aloneLife)))
	}
	for more := true; more; {
		list, err := h.listed(v.Context(), v.who.Person, id)
		if err != nil {
			return err
		}
		gone := map[string]bool{}
		for _, x := range list {
			if x.id != v.who.ID && (id == "" || x.id == id) {
				writes = append(writes, x.forget(v.who.Person)...)
				gone[cmp.Or(x.First, x.id)] = true
			}
		}
		ends := func(session string) bool { return session != v.who.first() && (id == "" || gone[session]) }
		if err := h.over(v, ends, writes...); err != nil {
			return fmt.Errorf("end sessions: %w", err)
		}
		writes, more = nil, len(list) == maxSessions
	}
	return nil
}

// sessionRoutes adds the page.
func (h *Handler) sessionRoutes(get, post func(string, func(*visit) (answer, error))) {
	get("/sessions", h.showSessions)
	post("/sessions", h.endSessions)
}
