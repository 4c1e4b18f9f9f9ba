package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// Operations that a service acknowledges.
const (
	opAsk     = "ask"
	opWaiting = "waiting" // a poll that heard that there is nothing yet
	opApprove = "approve"
	opDeny    = "deny"
	opRedeem  = "redeem"
	opRepeat  = "repeat"  // a redemption repeated under its Idempotency-Key
	opRefused = "refused" // a poll that heard a final no
)

// entry is one acknowledged operation.
type entry struct {
	Op string `json:"op"`
	ID string `json:"id"` // auth_req_id
}

// journal is the client's own memory of what a service has acknowledged. It is a file that is synced before anybody
// relies on a line; several lines share a sync.
type journal struct {
	file  *os.File
	queue chan *line
	ended chan struct{}
	lines atomic.Int64 // on the disk
}

type line struct {
	entry
	synced chan struct{}
}

// maxLines is how many lines share one sync.
const maxLines = 256

func newJournal(t *testing.T) *journal {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "journal"))
	if err != nil {
		t.Fatal(err)
	}
	j := &journal{file: f, queue: make(chan *line, maxLines), ended: make(chan struct{})}
	go j.run()
	return j
}

// add returns once the entry is on the disk.
func (j *journal) add(op, id string) {
	l := &line{entry{op, id}, make(chan struct{})}
	j.queue <- l
	<-l.synced
}

func (j *journal) run() {
	defer close(j.ended)
	for first := range j.queue {
		batch := []*line{first}
		for waiting := len(j.queue); waiting > 0 && len(batch) < maxLines; waiting-- {
			batch = append(batch, <-j.queue)
		}
		if err := j.write(batch); err != nil {
			panic(err) // nobody may go on without a journal
		}
		j.lines.Add(int64(len(batch)))
		for _, l := range batch {
			close(l.synced)
		}
	}
}

func (j *journal) write(batch []*line) error {
	var raw []byte
	for _, l := range batch {
		one, err := json.Marshal(l.entry)
		if err != nil {
			return err
		}
		raw = append(append(raw, one...), '\n')
	}
	if _, err := j.file.Write(raw); err != nil {
		return err
	}
	return j.file.Sync()
}

// read ends the journal and returns what its file holds.
func (j *journal) read(t *testing.T) []entry {
	t.Helper()
	close(j.queue)
	<-j.ended
	return readLines[entry](t, j.file.Name())
}

// readLines reads a file of JSON lines. It may read while the service writes, so a last line without its end does not
// count: it is still being written.
func readLines[T any](t *testing.T, path string) (all []T) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text[:bytes.LastIndexByte(text, '\n')+1]) {
		var one T
		if err := json.Unmarshal(line, &one); err != nil {
			t.Fatalf("%s: %v in %q", path, err, line)
		}
		all = append(all, one)
	}
	return all
}
