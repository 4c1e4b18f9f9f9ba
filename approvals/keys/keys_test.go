package keys

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"assent/ciba/rowtest"
)

func testRoot(t testing.TB, fill byte) *Root {
	t.Helper()
	r, err := New(bytes.Repeat([]byte{fill}, Size))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRootKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	if _, err := Open(path, false); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("missing: %v", err)
	}
	made, err := Open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	again, err := Open(path, true)
	if err != nil || again.ID() != made.ID() {
		t.Errorf("reopened: %v, id %s then %s", err, made.ID(), again.ID())
	}
	if _, err := Create(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second creation: %v", err)
	}
	for name, text := range map[string]string{"short": "AAAA", "not base64": strings.Repeat("?", 43), "empty": ""} {
		bad := filepath.Join(t.TempDir(), "k")
		os.WriteFile(bad, []byte(text), 0o600)
		if _, err := Load(bad); err == nil || strings.Contains(err.Error(), "?") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A value made under one label, key or split of parts means nothing under another.
func TestMACsAreApart(t *testing.T) {
	rowtest.Row(t, "REQ-281")
	a, b := testRoot(t, 1), testRoot(t, 2)
	kept := a.MAC(LabelHandle, "ab", "c")
	if !a.Verify(kept, LabelHandle, "ab", "c") {
		t.Fatal("own value refused")
	}
	for name, ok := range map[string]bool{
		"other parts": a.Verify(kept, LabelHandle, "ab", "d"), "other split": a.Verify(kept, LabelHandle, "a", "bc"),
		"other label": a.Verify(kept, LabelClient, "ab", "c"), "other key": b.Verify(kept, LabelHandle, "ab", "c"),
		"cut": a.Verify(kept[:20], LabelHandle, "ab", "c"), "nothing": a.Verify(nil, LabelHandle, "ab", "c"),
	} {
		if ok {
			t.Errorf("%s: accepted", name)
		}
	}
	if h := a.Handle("r", "phone", "1"); len(h) != 12 || h != a.Handle("r", "phone", "1") || h == a.Handle("r", "phone", "2") {
		t.Errorf("handle %q", h)
	}
	if c := a.Code("x"); len(c) != 6 || strings.Trim(c, "0123456789") != "" {
		t.Errorf("code %q", c)
	}
}

func TestSeal(t *testing.T) {
	a, b := testRoot(t, 1), testRoot(t, 2)
	sealed := a.Seal("key/1", []byte("secret"))
	if plain, err := a.Open("key/1", sealed); err != nil || string(plain) != "secret" {
		t.Fatalf("%q %v", plain, err)
	}
	if bytes.Contains(sealed, []byte("secret")) || bytes.Equal(sealed, a.Seal("key/1", []byte("secret"))) {
		t.Error("sealed value shows itself or repeats")
	}
	if _, err := a.Open("key/2", sealed); !errors.Is(err, ErrBroken) {
		t.Errorf("other purpose: %v", err)
	}
	if _, err := b.Open("key/1", sealed); !errors.Is(err, ErrOtherKey) {
		t.Errorf("other key: %v", err)
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := a.Open("key/1", bad); err == nil {
			t.Errorf("byte %d flipped: accepted", i)
		}
	}
	for n := range sealed {
		if _, err := a.Open("key/1", sealed[:n]); err == nil {
			t.Errorf("cut to %d: accepted", n)
		}
	}
}

func BenchmarkMAC(b *testing.B) {
	r := testRoot(b, 1)
	for b.Loop() {
		r.MAC(LabelHandle, "0123456789012345678901234567890123456789012")
	}
}
