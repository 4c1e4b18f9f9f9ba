package bolt

import (
	"bytes"
	"testing"
	"time"

	"assent/approvals"
)

// FuzzRows decodes rows of a file that may be damaged: an error or a value, never a panic.
func FuzzRows(f *testing.F) {
	good := encodeRecord(approvals.Record{Value: []byte("a"), Revision: 7, Expires: time.Unix(1, 2)})
	request, err := encodeRequest(&approvals.Request{ID: "x", Rev: 3, State: approvals.Pending})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(recordKey("k", "1"), good)
	f.Add([]byte("x"), request)
	f.Add([]byte{}, []byte("short"))
	f.Add([]byte("no NUL"), bytes.Repeat([]byte{0xff}, 16))
	f.Fuzz(func(t *testing.T, key, row []byte) {
		idOfIndex(key)
		revisionAt(row, 1)
		replaceRecord(key, row, good)
		if rec, err := decodeRecord(key, row); err == nil && rec.Revision != revOf(row) {
			t.Errorf("revision %d, want %d", rec.Revision, revOf(row))
		}
		if _, err := decodeRequest(row); err == nil && len(row) < 8 {
			t.Error("decoded a row without revision")
		}
		if _, err := decodeEvent(row); err == nil && len(row) == 0 {
			t.Error("decoded an event of no bytes")
		}
	})
}

// TestIndexKeys: whoever's name, no key of one owner and state lies among those of another.
func TestIndexKeys(t *testing.T) {
	owners := []string{"", "a", "an", "ann", "ann\x01", "annpending", "ann pending", "\uffff"}
	states := []approvals.State{"pend", approvals.Pending, approvals.Approved}
	prefixes := map[string]bool{}
	for _, owner := range owners {
		for _, state := range states {
			prefixes[string(indexPrefix(owner, state))] = true
			if got := idOfIndex(append(indexPrefix(owner, state), "id"...)); string(got) != "id" {
				t.Errorf("id of %q, %s: %q", owner, state, got)
			}
		}
	}
	if len(prefixes) != len(owners)*len(states) {
		t.Errorf("%d prefixes of %d", len(prefixes), len(owners)*len(states))
	}
	for a := range prefixes {
		for b := range prefixes {
			if a != b && bytes.HasPrefix([]byte(a), []byte(b)) {
				t.Errorf("%q begins with %q", a, b)
			}
		}
	}
}

// TestRecordRow: what goes in comes out, times to the nanosecond.
func TestRecordRow(t *testing.T) {
	for _, expires := range []time.Time{{}, minExpiry, maxExpiry, time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)} {
		want := approvals.Record{Kind: "k", Key: "a/b", Value: []byte{}, Revision: 1<<63 + 1, Expires: expires}
		got, err := decodeRecord(recordKey("k", "a/b"), encodeRecord(want))
		if err != nil || got.Kind != want.Kind || got.Key != want.Key || got.Revision != want.Revision ||
			!got.Expires.Equal(expires) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}
