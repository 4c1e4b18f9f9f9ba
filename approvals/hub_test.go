package approvals

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestHubWakesOnlyItsTopic(t *testing.T) {
	h := NewHub()
	a, both := h.Watch("a"), h.Watch("a", "b")
	defer both.Close()
	h.Signal("b")
	h.Signal("b") // not taken yet: still one
	if len(a.C) != 0 || len(both.C) != 1 {
		t.Fatalf("after b: a %d, both %d", len(a.C), len(both.C))
	}
	<-both.C
	a.Close()
	h.Signal("a", "c")
	if len(a.C) != 0 || len(both.C) != 1 {
		t.Errorf("after a: closed %d, both %d", len(a.C), len(both.C))
	}
}

func TestHubMirrorsOwnSignalsOnly(t *testing.T) {
	h := NewHub()
	var sent, dropped []string
	h.Mirror(func(topics []string) { sent = append(sent, topics...) })
	h.OnDeliver(func(topic string) { dropped = append(dropped, topic) })
	w := h.Watch("x")
	defer w.Close()
	h.Deliver("x")
	if len(w.C) != 1 || len(sent) != 0 || fmt.Sprint(dropped) != "[x]" {
		t.Errorf("delivered: woken %d, sent %v, dropped %v", len(w.C), sent, dropped)
	}
	h.Signal("y")
	if fmt.Sprint(sent) != "[y]" || len(dropped) != 1 {
		t.Errorf("signalled: sent %v, dropped %v", sent, dropped)
	}
}

func TestHubUnderLoad(t *testing.T) {
	h := NewHub()
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			topic := fmt.Sprint(i % 10)
			w := h.Watch(topic)
			defer w.Close()
			h.Signal(topic)
			<-w.C
		})
	}
	wg.Wait()
}

func TestCacheNeverKeepsAnOvertakenLoad(t *testing.T) {
	c := newCache[int](100, 0, time.Now)
	v, err := c.get("k", func() (int, error) {
		c.set("k", 2, func(int) bool { return false }) // a commit while the old value was being read
		return 1, nil
	})
	if v != 1 || err != nil {
		t.Fatal(v, err)
	}
	if v, _ := c.get("k", func() (int, error) { return 3, nil }); v != 2 {
		t.Errorf("kept %d, want the committed 2", v)
	}
	c.set("k", 1, func(old int) bool { return old > 1 })
	if v, _ := c.get("k", func() (int, error) { return 3, nil }); v != 2 {
		t.Errorf("an older value replaced a newer one: %d", v)
	}
}

func TestCacheAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache[int](100, time.Second, time.Now)
		loads := 0
		load := func() (int, error) { loads++; return loads, nil }
		c.get("k", load)
		c.get("k", load)
		time.Sleep(time.Second)
		if v, _ := c.get("k", load); v != 2 {
			t.Errorf("after a second: %d after %d loads", v, loads)
		}
		if _, err := c.get("gone", func() (int, error) { return 0, ErrNotFound }); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache[int](320, 0, time.Now)
	for i := range 10_000 {
		c.get(fmt.Sprint(i), func() (int, error) { return i, nil })
	}
	kept := 0
	for i := range c.shards {
		kept += len(c.shards[i].values)
	}
	if kept > 320 {
		t.Errorf("kept %d values of 320", kept)
	}
}
