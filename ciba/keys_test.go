package ciba

import (
	"bytes"
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
