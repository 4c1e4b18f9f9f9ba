package bolt_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"assent/approvals"
	"assent/store/bolt"
)

var long = flag.Bool("long", false, "run the long loops: hundreds of kills")

// crashFile, in the environment, turns this test binary into the process that is killed.
const crashFile = "ASSENT_TEST_CRASH_FILE"

// TestMain runs the victim instead of the tests when it is asked to.
func TestMain(m *testing.M) {
	if path := os.Getenv(crashFile); path != "" {
		if err := victim(path, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// The victim's requests go through these states, one after the other, and each is told only after its write returned.
var stages = []string{"created", "approved", "redeemed", "forgotten"}

// victim writes from many goroutines until it is killed. Each line it prints is an acknowledgement.
func victim(path string, out io.Writer) error {
	s, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make(chan error, 16)
	for i := range 12 {
		wg.Go(func() { errs <- lives(s, out, i) })
	}
	wg.Go(func() { errs <- counts(s, out) })
	wg.Go(func() { errs <- relays(s, out) })
	wg.Go(func() { errs <- prunes(s) })
	return <-errs // a victim that gets this far has found a fault
}

// lives takes one request after the other through its stages.
func lives(s *bolt.Store, out io.Writer, worker int) error {
	ctx := context.Background()
	for n := 0; ; n++ {
		at := time.Now()
		r := pending(at, approvals.PersonID(fmt.Sprint("person", worker)))
		id := string(r.ID)
		r.Also(approvals.PutNew("created", id, nil, at.Add(time.Duration(rand.IntN(200))*time.Millisecond)))
		r.Open(r.Subject, time.Time{}, at)
		if err := s.Create(ctx, r); err != nil {
			return err
		}
		fmt.Fprintln(out, "request", id, 0)
		for stage, change := range []func(*approvals.Request) error{
			func(r *approvals.Request) error {
				return r.Approve(approvals.Decision{By: r.Subject, Level: approvals.LevelSession}, at)
			},
			func(r *approvals.Request) error { return r.Redeem(at) },
			func(r *approvals.Request) error { r.Forget(); return nil },
		}[:1+n%3] {
			_, err := s.Update(ctx, r.ID, func(r *approvals.Request) error {
				r.Also(approvals.PutNew(stages[stage+1], id, []byte(id), time.Time{}))
				return change(r)
			})
			if err != nil {
				return err
			}
			fmt.Fprintln(out, "request", id, stage+1)
		}
	}
}

// counts moves two records together, so that a torn transaction would show.
func counts(s *bolt.Store, out io.Writer) error {
	ctx := context.Background()
	for {
		left, err := s.Get(ctx, "count", "left")
		if err != nil && !errors.Is(err, approvals.ErrNotFound) {
			return err
		}
		next := strconv.AppendUint(nil, left.Revision+1, 10)
		write := func(key string) approvals.Write {
			return approvals.Replace(approvals.Record{Kind: "count", Key: key, Revision: left.Revision}, next, time.Time{})
		}
		err = s.Apply(ctx, write("left"), write("right"))
		if err != nil {
			return err
		}
		fmt.Fprintln(out, "count", string(next), 0)
	}
}

// relays marks events as sent, in small batches.
func relays(s *bolt.Store, out io.Writer) error {
	ctx := context.Background()
	for {
		events, err := s.Unsent(ctx, 0, 7)
		if err != nil {
			return err
		}
		var seqs []uint64
		for _, e := range events {
			seqs = append(seqs, e.Seq)
		}
		if err := s.Sent(ctx, seqs...); err != nil {
			return err
		}
		for _, e := range events {
			fmt.Fprintln(out, "sent", e.ID(), e.Seq)
		}
	}
}

func prunes(s *bolt.Store) error {
	for {
		if _, err := s.Prune(context.Background(), 20); err != nil {
			return err
		}
	}
}

func pending(at time.Time, who approvals.PersonID) *approvals.Request {
	return &approvals.Request{V: 1, ID: approvals.NewID(at), State: approvals.Pending, Agent: "travel-bot",
		AgentName: "Travel Bot", Subject: who, Approvers: []approvals.PersonID{who}, Rule: approvals.SubjectOnce,
		Level: approvals.LevelSession, Locale: "en", Zone: "UTC", CreatedAt: at, DecideBy: at.Add(time.Hour),
		ExpiresAt: at.Add(time.Hour)}
}

// acks is what a victim has said before it died.
type acks struct {
	stage map[approvals.ID]int // highest stage that was acknowledged
	count uint64
	sent  map[uint64]bool // outbox rows
	lines int
}

func (a *acks) read(t *testing.T, line string) {
	t.Helper()
	f := strings.Fields(line)
	if len(f) != 3 {
		t.Fatalf("the victim said %q", line)
	}
	a.lines++
	n, _ := strconv.ParseUint(f[2], 10, 64)
	switch f[0] {
	case "request":
		a.stage[approvals.ID(f[1])] = int(n)
	case "count":
		a.count, _ = strconv.ParseUint(f[1], 10, 64)
	case "sent":
		a.sent[n] = true
	}
}

// kill runs a victim on the file and kills it some time after its start or, when it is to be working, after its first
// acknowledgement. A line that the kill cut off is none.
func kill(t *testing.T, path string, working bool, after time.Duration) *acks {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if !working {
		time.AfterFunc(after, cancel)
	}
	cmd := exec.CommandContext(ctx, os.Args[0]) // killed with SIGKILL when ctx ends
	cmd.Env = append(os.Environ(), crashFile+"="+path)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	a := &acks{stage: map[approvals.ID]int{}, sent: map[uint64]bool{}}
	switch err := cmd.Start(); {
	case errors.Is(err, context.Canceled):
		return a // its time was over before it began
	case err != nil:
		t.Fatal(err)
	}
	for in := bufio.NewReader(out); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			break
		}
		if a.read(t, line); working && a.lines == 1 {
			time.AfterFunc(after, cancel)
		}
	}
	cmd.Wait() // "signal: killed"
	if ctx.Err() == nil || stderr.Len() > 0 {
		t.Fatalf("the victim ended by itself: %s", stderr.String())
	}
	return a
}

// TestCrash kills a writing process again and again and looks for what it had acknowledged.
func TestCrash(t *testing.T) {
	kills := 6
	if testing.Short() {
		kills = 2
	}
	if *long {
		kills = 300
	}
	path := filepath.Join(t.TempDir(), "assent.db")
	all := &acks{stage: map[approvals.ID]int{}, sent: map[uint64]bool{}}
	var lines int
	for i := range kills {
		a := kill(t, path, i%3 != 1, time.Duration(rand.IntN(200))*time.Millisecond)
		lines += a.lines
		all.count = max(all.count, a.count)
		survived(t, path, a, all.count)
		for id, stage := range a.stage {
			all.stage[id] = stage
		}
		maps.Copy(all.sent, a.sent)
		if t.Failed() {
			t.Fatalf("after kill %d of %d", i+1, kills)
		}
	}
	survived(t, path, all, all.count)
	t.Logf("%d kills, %d acknowledged writes, %d requests", kills, lines, len(all.stage))
	if lines == 0 {
		t.Error("nothing was acknowledged, so nothing was tested")
	}
}

// survived reopens the file and compares it with what was acknowledged.
func survived(t *testing.T, path string, a *acks, count uint64) {
	t.Helper()
	s, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		t.Fatalf("reopen: %v", err)
	}
	defer s.Close()
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	for id, stage := range a.stage {
		requestSurvived(t, s, id, stage)
	}
	left, _ := s.Get(t.Context(), "count", "left")
	right, _ := s.Get(t.Context(), "count", "right")
	if left.Revision < count || string(left.Value) != string(right.Value) || left.Revision != right.Revision {
		t.Errorf("counted to %d acknowledged, %d and %d stored", count, left.Revision, right.Revision)
	}
	events, err := s.Unsent(t.Context(), 0, 1_000_000)
	if err != nil {
		t.Error(err)
	}
	for _, e := range events {
		if a.sent[e.Seq] {
			t.Errorf("row %d was marked as sent and is back", e.Seq)
		}
	}
}

// requestSurvived accepts the acknowledged stage, and the next one: its answer may have died with the process.
func requestSurvived(t *testing.T, s *bolt.Store, id approvals.ID, acked int) {
	t.Helper()
	stage := 0
	for i, kind := range stages[1:] { // each stage left a record in the same transaction
		if rec, err := s.Get(t.Context(), kind, string(id)); err == nil && string(rec.Value) == string(id) {
			stage = i + 1
		}
	}
	if stage != acked && stage != acked+1 {
		t.Errorf("request %s: %s was acknowledged, %s is stored", id, stages[acked], stages[stage])
	}
	events, err := s.Events(t.Context(), id)
	if want := min(stage, 2) + 1; err != nil || len(events) != want {
		t.Errorf("request %s: %d audit records, %v, want %d", id, len(events), err, want)
	}
	r, err := s.Request(t.Context(), id)
	if stage == 3 {
		if !errors.Is(err, approvals.ErrNotFound) {
			t.Errorf("request %s: %v, want it forgotten", id, err)
		}
		return
	}
	want := []approvals.State{approvals.Pending, approvals.Approved, approvals.Redeemed}[stage]
	if err != nil || r.State != want || r.Rev != uint64(stage+1) {
		t.Errorf("request %s: %v, %v, want %s at revision %d", id, r, err, want, stage+1)
	}
}
