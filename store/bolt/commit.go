package bolt

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"assent/approvals"
)

// maxBatch is how many changes share one commit.
const maxBatch = 256

// job is one change on its way. plan looks at the transaction and says what to write; an error of plan is the answer
// to the caller, and then nothing is written. plan may run twice.
type job struct {
	ctx  context.Context
	plan func(tx *bbolt.Tx) ([]op, error)
	err  error
	done chan struct{}
}

// committer is the one goroutine that writes. It takes everything that waits, writes it in one transaction and answers
// when that is durable. There is no timer: while one commit is synced, the next batch gathers.
type committer struct {
	db     *bbolt.DB
	before func() error
	queue  chan *job
	ended  chan struct{}

	mu     sync.RWMutex // read: sending to queue; write: closing it
	closed bool

	durable atomic.Uint64                 // transaction id of the last commit that was synced
	turn    atomic.Pointer[chan struct{}] // closed after each commit, good or bad
	broken  atomic.Bool                   // a commit is visible in memory and may be missing on disk

	commits, writes atomic.Uint64
}

// newCommitter starts the goroutine; close ends it.
func newCommitter(db *bbolt.DB, before func() error) (*committer, error) {
	c := &committer{db: db, before: before, queue: make(chan *job, maxBatch), ended: make(chan struct{})}
	c.next()
	// What a killed process wrote last is in the file, but perhaps not yet on the disk.
	if err := db.Sync(); err != nil {
		return nil, fmt.Errorf("sync: %w", err)
	}
	visible, err := c.visible()
	if err != nil {
		return nil, err
	}
	c.durable.Store(visible)
	go c.run()
	return c, nil
}

// do hands a change in and waits until it is durable. When ctx ends first the caller gets its error, and the change
// may still be made.
func (c *committer) do(ctx context.Context, plan func(tx *bbolt.Tx) ([]op, error)) error {
	j := &job{ctx: ctx, plan: plan, done: make(chan struct{})}
	if err := c.send(j); err != nil {
		return err
	}
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *committer) send(j *job) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return errClosed
	}
	select {
	case c.queue <- j:
		return nil
	case <-j.ctx.Done():
		return j.ctx.Err()
	}
}

func (c *committer) close() {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.queue)
	}
	c.mu.Unlock()
	<-c.ended
}

func (c *committer) run() {
	defer close(c.ended)
	for first := range c.queue {
		c.commitAll(c.gather(first))
	}
}

// gather takes what waits. Those whom the last commit has just answered get a turn first: what they hand in next would
// otherwise always be one commit late, and batches half as large as they could be.
func (c *committer) gather(first *job) []*job {
	for waiting := -1; waiting < len(c.queue); {
		waiting = len(c.queue)
		runtime.Gosched()
	}
	batch := []*job{first}
	for len(batch) < maxBatch {
		select {
		case j, open := <-c.queue:
			if !open {
				return batch
			}
			batch = append(batch, j)
		default:
			return batch
		}
	}
	return batch
}

// writeError is a row that bbolt did not take; a fault of one change, not of the disk.
type writeError struct{ error }

func (e writeError) Unwrap() error { return e.error }

// commitAll answers every job of the batch. When one of them cannot be written, each gets a transaction of its own, so
// that it fails alone.
func (c *committer) commitAll(batch []*job) {
	err := c.try(batch)
	if _, single := errors.AsType[writeError](err); single && len(batch) > 1 {
		for _, j := range batch {
			c.answer([]*job{j}, c.try([]*job{j}))
		}
		return
	}
	c.answer(batch, err)
}

// answer tells every caller. After a failed commit even refusals count for nothing: they may rest on what was not
// written.
func (c *committer) answer(batch []*job, err error) {
	for _, j := range batch {
		if err != nil {
			j.err = fmt.Errorf("%w: %w", approvals.ErrUnavailable, err)
		}
		close(j.done)
	}
}

var (
	errNothing = errors.New("nothing to write")
	errBroken  = errors.New("an earlier commit could not be synced; restart the service")
)

// try makes one transaction of the batch. On success every job holds its own result.
func (c *committer) try(batch []*job) error {
	if c.broken.Load() {
		return errBroken
	}
	var id, written uint64
	err := c.db.Update(func(tx *bbolt.Tx) error {
		id, written = uint64(tx.ID()), 0
		for _, j := range batch {
			ops, err := j.decide(tx)
			if err != nil {
				return err
			}
			if len(ops) > 0 {
				written++
			}
		}
		if written == 0 {
			return errNothing // no commit for refusals
		}
		if c.before != nil {
			return c.before()
		}
		return nil
	})
	if errors.Is(err, errNothing) {
		return nil
	}
	defer c.next()
	if err != nil {
		c.inspect()
		return fmt.Errorf("commit: %w", err)
	}
	c.durable.Store(id)
	c.commits.Add(1)
	c.writes.Add(written)
	return nil
}

// decide runs the plan of one job and, unless it refuses, writes what it says.
func (j *job) decide(tx *bbolt.Tx) ([]op, error) {
	if j.err = j.ctx.Err(); j.err != nil {
		return nil, nil // nobody waits any more
	}
	ops, err := j.plan(tx)
	if j.err = err; err != nil {
		return nil, nil
	}
	for _, o := range ops {
		if err := o.apply(tx); err != nil {
			return nil, writeError{fmt.Errorf("write to %s: %w", o.bucket, err)}
		}
	}
	return ops, nil
}

// inspect looks whether a failed commit can be seen all the same: bbolt writes its meta page before it syncs it. Such
// a commit is neither made nor undone, so nothing may build on it until the file has been opened again.
func (c *committer) inspect() {
	if visible, err := c.visible(); err != nil || visible > c.durable.Load() {
		c.broken.Store(true)
	}
}

func (c *committer) visible() (id uint64, err error) {
	err = c.db.View(func(tx *bbolt.Tx) error {
		id = uint64(tx.ID())
		return nil
	})
	return id, err
}

// next lets those go on who wait for a commit.
func (c *committer) next() {
	fresh := make(chan struct{})
	if old := c.turn.Swap(&fresh); old != nil {
		close(*old)
	}
}

// await returns when transaction id is durable. Readers see a commit a moment before its sync has returned; without
// this wait an answer could leave that a power failure takes back.
func (c *committer) await(ctx context.Context, id uint64) error {
	for {
		turn := *c.turn.Load()
		if c.durable.Load() >= id {
			return nil
		}
		if c.broken.Load() {
			return fmt.Errorf("%w: %w", approvals.ErrUnavailable, errBroken)
		}
		select {
		case <-turn:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
