package ciba

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"assent/approvals"
	"assent/approvals/keys"
)

func (s *service) kids(t *testing.T) (list []string) {
	t.Helper()
	a := s.get("/.well-known/jwks.json")
	var set jose.JSONWebKeySet
	must(t, json.Unmarshal([]byte(a.raw), &set))
	for _, k := range set.Keys {
		if !k.IsPublic() || k.Use != "sig" || k.Algorithm != "ES256" || strings.Contains(a.raw, `"d"`) { // REQ-012
			t.Errorf("published: %s", a.raw)
		}
		list = append(list, k.KeyID)
	}
	return list
}

// signs returns the kid of a token that is issued now, after checking it against what is published.
func (s *service) signs(t *testing.T) (kid, token string) {
	t.Helper()
	handle := s.ask(t)
	s.approve(t, handle)
	token = s.post("/token", tk(handle)).text("access_token")
	header, _ := s.verify(t, token)
	return header.KeyID, token
}

// TestRotate: a key is known before it signs, and stays published until its last token has died.
func TestRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		before := s.kids(t)
		if len(before) != 2 {
			t.Fatalf("published at first: %v", before)
		}
		old, _ := s.signs(t)
		done, err := s.Keyring.Rotate(t.Context())
		must(t, err)
		if done.KeyID != before[1] || len(s.kids(t)) != 3 {
			t.Errorf("rotation to %s, published %v", done.KeyID, s.kids(t))
		}
		if kid, _ := s.signs(t); kid != old {
			t.Error("a key signs before every cache can know it")
		}
		if _, err := s.Keyring.Rotate(t.Context()); !errors.Is(err, ErrRotating) {
			t.Errorf("second rotation: %v", err)
		}
		time.Sleep(cacheAge - time.Second)
		_, last := s.signs(t)
		time.Sleep(time.Second)
		if kid, _ := s.signs(t); kid != done.KeyID {
			t.Error("the new key does not sign")
		}
		time.Sleep(tokenLife - time.Second)
		s.verify(t, last) // the last token of the old key lives for another moment
		time.Sleep(keyLag + time.Second)
		if kids := s.kids(t); len(kids) != 2 || kids[0] != done.KeyID {
			t.Errorf("published at the end: %v", kids)
		}
		next, err := s.Keyring.Rotate(t.Context())
		must(t, err)
		if !next.SignsFrom.Equal(time.Now()) { // it has been published for long enough
			t.Errorf("signs from %v, now %v", next.SignsFrom, time.Now())
		}
		if kid, _ := s.signs(t); kid != next.KeyID {
			t.Error("the third key does not sign")
		}
	})
}

// leaving is a store whose caller goes away while the write is under way, and which cannot be read for a while.
type leaving struct {
	approvals.Records
	leave  func() // in the middle of a write; may be nil
	broken bool
	reads  int
}

func (l *leaving) Apply(ctx context.Context, writes ...approvals.Write) error {
	if l.leave != nil {
		l.leave()
	}
	return l.Records.Apply(ctx, writes...)
}

func (l *leaving) Get(ctx context.Context, kind, key string) (approvals.Record, error) {
	l.reads++
	if l.broken {
		return approvals.Record{}, approvals.ErrUnavailable
	}
	return l.Records.Get(ctx, kind, key)
}

// beside is the hub of another process, whose signals the service hears.
func (s *service) beside() *approvals.Hub {
	hub := approvals.NewHub()
	hub.Mirror(func(topics []string) { s.Hub.Deliver(topics...) })
	return hub
}

// TestRotateLeft: a caller who goes away during a rotation leaves it whole, here and elsewhere.
func TestRotateLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		ctx, leave := context.WithCancel(t.Context())
		k, err := NewKeyring(ctx, &leaving{Records: s.store, leave: leave}, s.Root, s.beside(), 0, time.Now, s.Log)
		must(t, err)
		if _, err := k.Rotate(ctx); err != nil {
			t.Errorf("rotation: %v", err)
		}
		for name, ring := range map[string]*Keyring{"here": k, "elsewhere": s.Keyring} {
			if list, err := ring.Public(); len(list) != 3 {
				t.Errorf("%s: %d keys, %v", name, len(list), err)
			}
		}
	})
}

// TestRotateUnread: a rotation that is durable has happened, though the set could not be read again. It is tried again,
// but not at every signature.
func TestRotateUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		records := &leaving{Records: s.store}
		records.leave = func() { records.broken = true }
		k, err := NewKeyring(t.Context(), records, s.Root, s.beside(), 0, time.Now, s.Log)
		must(t, err)
		if _, err := k.Rotate(t.Context()); err != nil {
			t.Errorf("rotation: %v", err)
		}
		if list, _ := s.Keyring.Public(); len(list) != 3 {
			t.Errorf("elsewhere: %d keys", len(list))
		}
		before := records.reads
		for range 100 {
			k.current()
		}
		if n := records.reads - before; n > 1 {
			t.Errorf("%d reads in no time", n)
		}
		records.broken = false
		time.Sleep(time.Second)
		if list, _ := k.Public(); len(list) != 3 {
			t.Errorf("here, a second later: %d keys", len(list))
		}
	})
}

// TestRotateElsewhere: another process hears of a rotation by signal, or within a second.
func TestRotateElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		hub := approvals.NewHub()
		there, err := NewKeyring(t.Context(), s.store, s.Root, hub, 0, time.Now, s.Log)
		must(t, err)
		slow, err := NewKeyring(t.Context(), s.store, s.Root, approvals.NewHub(), time.Second, time.Now, s.Log)
		must(t, err)
		s.Hub.Mirror(func(topics []string) { hub.Deliver(topics...) })
		_, err = s.Keyring.Rotate(t.Context())
		must(t, err)
		if list, _ := there.Public(); len(list) != 3 {
			t.Errorf("by signal: %d keys", len(list))
		}
		if list, _ := slow.Public(); len(list) != 2 {
			t.Errorf("before the second is over: %d keys", len(list))
		}
		time.Sleep(time.Second)
		if list, _ := slow.Public(); len(list) != 3 {
			t.Errorf("after a second: %d keys", len(list))
		}
		must(t, s.store.Apply(t.Context(), approvals.Delete(kindKeys, keySet, approvals.AnyRevision)))
		time.Sleep(time.Second)
		if list, err := slow.Public(); err != nil || len(list) != 3 {
			t.Errorf("without the store: %d keys, %v", len(list), err)
		}
	})
}

// TestKeyringRestart: the same keys come back, and only under the same root key.
func TestKeyringRestart(t *testing.T) {
	s := newService(t)
	again, err := NewKeyring(t.Context(), s.store, s.Root, s.Hub, 0, time.Now, s.Log)
	must(t, err)
	list, err := again.Public()
	must(t, err)
	for i, kid := range s.kids(t) {
		if list[i].KeyID != kid {
			t.Errorf("key %d changed", i)
		}
	}
	other, err := keys.New(bytes.Repeat([]byte{8}, keys.Size))
	must(t, err)
	if _, err := NewKeyring(t.Context(), s.store, other, s.Hub, 0, time.Now, s.Log); !errors.Is(err, keys.ErrOtherKey) {
		t.Errorf("other root key: %v", err)
	}
	rec, err := s.store.Get(t.Context(), kindKeys, keySet)
	must(t, err)
	if !bytes.Contains(rec.Value, []byte(`"sealed"`)) {
		t.Errorf("stored: %s", rec.Value)
	}
}
