package channels

import "testing"

// TestMemory: whatever comes, a memory holds so much and no more, and the latest value is among it.
func TestMemory(t *testing.T) {
	var m memory[int, int]
	for i := range mostKnown + 100 {
		m.keep(i, 2*i)
		if v, found := m.of(i); !found || v != 2*i {
			t.Fatalf("of %d: %d, %t", i, v, found)
		}
	}
	if n := len(m.known); n != mostKnown {
		t.Errorf("%d values, want %d", n, mostKnown)
	}
	m.forget(mostKnown + 99)
	if _, found := m.of(mostKnown + 99); found {
		t.Error("what was forgotten is there")
	}
}
