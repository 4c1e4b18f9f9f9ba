package ciba

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Sizes of the set of used assertions and of its log.
const (
	replaySize   = 16      // bytes of one hash
	replayEntry  = 24      // hash and expiry
	replayHeader = 128     // first line of the log
	maxReplay    = 1 << 20 // entries in memory
	minSweep     = 4096    // entries before the first sweep
	sweepPause   = time.Second
)

// startDoubt is how long before and after an unclean start an assertion may have been made that was used before it.
const startDoubt = 10 * time.Second

var errReplayed = errors.New("the assertion has been used")

// Replay remembers which client assertions have been used: in memory, and in a log that is written without waiting for
// the disk. The log outlives this process, however it ends. It may lack its last entries when the whole machine went
// down; then assertions from before the start are not trusted.
type Replay struct {
	path     string
	boot     string
	doubtful time.Time // assertions issued until then may have been used; zero: the log is complete

	mu     sync.Mutex
	used   map[[replaySize]byte]int64 // until when, in Unix seconds
	limit  int
	sweep  int       // how many entries make a sweep worth while
	swept  time.Time // when the last one was
	file   *os.File
	offset int64
}

// OpenReplay reads the log, or starts one. boot is different after each start of the machine, and "" if that cannot be
// told.
func OpenReplay(path, boot string, now time.Time) (*Replay, error) {
	r := &Replay{path: path, boot: boot, used: map[[replaySize]byte]int64{}, limit: maxReplay, sweep: minSweep}
	complete, err := r.read(now)
	if err != nil {
		return nil, fmt.Errorf("replay log: %w", err)
	}
	if !complete {
		r.doubtful = now.Add(startDoubt).Truncate(time.Second)
	}
	if err := r.rewrite(true); err != nil {
		return nil, fmt.Errorf("replay log: %w", err)
	}
	return r, nil
}

// header is the first line of the log: whether it was closed in order, until when its start was in doubt, and since
// which start of the machine it is written.
func (r *Replay) header(state string) []byte {
	line := fmt.Sprintf("assent replay 1 %s %d %s", state, max(r.doubtful.Unix(), 0), r.boot)
	return fmt.Appendf(nil, "%-*s\n", replayHeader-1, line)
}

// read fills the set and reports whether the log holds every entry that was ever written: it was closed in order, or
// the machine has been up since.
func (r *Replay) read(now time.Time) (complete bool, err error) {
	raw, err := os.ReadFile(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil // a new log, or one that was never used: its creation waits for the disk
	}
	if err != nil || len(raw) < replayHeader {
		return false, err
	}
	head := strings.Fields(string(raw[:replayHeader]))
	if len(head) < 5 || strings.Join(head[:3], " ") != "assent replay 1" {
		return false, nil
	}
	if doubt, err := strconv.ParseInt(head[4], 10, 64); err == nil && doubt > 0 {
		r.doubtful = time.Unix(doubt, 0)
	}
	for raw = raw[replayHeader:]; len(raw) >= replayEntry; raw = raw[replayEntry:] {
		until := int64(binary.BigEndian.Uint64(raw[replaySize:]))
		if until > now.Unix() && len(r.used) < r.limit {
			r.used[[replaySize]byte(raw[:replaySize])] = until
		}
	}
	sameBoot := len(head) == 6 && head[5] == r.boot
	return head[3] == "closed" || sameBoot, nil
}

// rewrite writes a log of what is in memory and goes on with that one.
func (r *Replay) rewrite(durable bool) error {
	fresh := r.path + ".new"
	f, err := os.OpenFile(fresh, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	all := r.header("open")
	for name, until := range r.used {
		all = append(all, name[:]...)
		all = binary.BigEndian.AppendUint64(all, uint64(until))
	}
	_, err = f.WriteAt(all, 0)
	if err == nil && durable {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(fresh, r.path)
	}
	if err == nil && durable {
		err = syncFolder(filepath.Dir(r.path))
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if r.file != nil {
		_ = r.file.Close() // its name belongs to the new log already
	}
	r.file, r.offset = f, int64(len(all))
	return nil
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Close writes everything to the disk and marks the log as complete.
func (r *Replay) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return nil
	}
	err := r.file.Sync() // the mark must not reach the disk before the entries
	if err == nil {
		_, err = r.file.WriteAt(r.header("closed"), 0)
	}
	err = errors.Join(err, r.file.Sync(), r.file.Close())
	r.file = nil
	return err
}

// use remembers a name until a time, or returns errReplayed. A full set, or a log that cannot be written, is a fault of
// ours: nothing may pass unremembered.
func (r *Replay) use(name [replaySize]byte, until, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, ok := r.used[name]; ok && known > now.Unix() {
		return errReplayed
	}
	if r.file == nil {
		return errUnavailable
	}
	if len(r.used) >= r.sweep && now.Sub(r.swept) >= sweepPause {
		if err := r.tidy(now); err != nil {
			return fmt.Errorf("%w: replay log: %w", errUnavailable, err)
		}
	}
	if len(r.used) >= r.limit {
		return errUnavailable
	}
	var entry [replayEntry]byte
	last := until.Unix() + 1 // rounded up
	copy(entry[:], name[:])
	binary.BigEndian.PutUint64(entry[replaySize:], uint64(last))
	if _, err := r.file.WriteAt(entry[:], r.offset); err != nil {
		return fmt.Errorf("%w: replay log: %w", errUnavailable, err)
	}
	r.offset += replayEntry
	r.used[name] = last
	return nil
}

// tidy forgets what has expired, in memory and in the log. It happens each time that the set has doubled.
func (r *Replay) tidy(now time.Time) error {
	r.swept = now
	for name, until := range r.used {
		if until <= now.Unix() {
			delete(r.used, name)
		}
	}
	r.sweep = min(max(minSweep, 2*len(r.used)), r.limit)
	return r.rewrite(false)
}

// unsure returns how long it takes until an assertion can be made that is certainly unused, or 0 if this one need not
// be doubted.
func (r *Replay) unsure(issued, now time.Time) time.Duration {
	if r.doubtful.IsZero() || issued.After(r.doubtful) || now.After(r.doubtful.Add(maxAssertionLife+futureSkew)) {
		return 0
	}
	return max(r.doubtful.Sub(now), 0) + time.Second
}
