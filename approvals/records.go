package approvals

import (
	"context"
	"math"
	"time"
)

// Record is a small value that an edge keeps: a session, a claim, a due step, an agent. Each edge owns its kinds and
// their encoding (JSON with a version v).
type Record struct {
	Kind     string // key space, such as "person"
	Key      string // 1 to 512 bytes
	Value    []byte
	Revision uint64    // 1 after the first write, +1 for each further one
	Expires  time.Time // zero: never. An expired record is absent for every reader.
}

// AnyRevision in a [Write] means: whatever is there now, or nothing.
const AnyRevision uint64 = math.MaxUint64

// Write is one change of a record: a put, a delete when Gone is set, or no change at all when Same is set. If the record's revision is not Record.Revision
// (0: must be absent) the whole transaction fails with [ErrConflict].
type Write struct {
	Record
	Gone bool
	Same bool
}

// PutNew writes a record that must not exist yet.
func PutNew(kind, key string, value []byte, expires time.Time) Write {
	return Write{Record: Record{Kind: kind, Key: key, Value: value, Expires: expires}}
}

// PutAny writes a record over whatever is there.
func PutAny(kind, key string, value []byte, expires time.Time) Write {
	return Write{Record: Record{Kind: kind, Key: key, Value: value, Expires: expires, Revision: AnyRevision}}
}

// Replace writes a record over the revision that was read.
func Replace(read Record, value []byte, expires time.Time) Write {
	return Write{Record: Record{Kind: read.Kind, Key: read.Key, Value: value, Expires: expires, Revision: read.Revision}}
}

// Delete removes a record; with [AnyRevision] it does not matter whether it exists.
func Delete(kind, key string, revision uint64) Write {
	return Write{Record: Record{Kind: kind, Key: key, Revision: revision}, Gone: true}
}

// Expect changes nothing: the transaction fails with [ErrConflict] unless the record still has the revision that was
// read. So a decision can hang on a record that somebody else may be changing.
func Expect(kind, key string, revision uint64) Write {
	return Write{Record: Record{Kind: kind, Key: key, Revision: revision}, Same: true}
}

// Records is what the desk and the edges need of a database for their small records.
type Records interface {
	// Get returns [ErrNotFound] for a record that is absent or expired.
	Get(ctx context.Context, kind, key string) (Record, error)
	// Scan returns at most limit records of a kind whose key starts with prefix, in key order.
	Scan(ctx context.Context, kind, prefix string, limit int) ([]Record, error)
	// ScanAfter is Scan for the next page: keys greater than after.
	ScanAfter(ctx context.Context, kind, after string, limit int) ([]Record, error)
	// Apply makes all writes in one durable transaction, or none.
	Apply(ctx context.Context, writes ...Write) error
}

// Store is what the desk needs of a database for requests.
//
// As it saves, a store drains [Request.TakeWrites] and [Request.TakeEvents], in that order and before it encodes the
// request, sets Rev (1 at creation, +1 for each update), and deletes the request if [Request.Forgotten]. If [Request.Kept]
// it makes nothing but the record writes, and they commit only while the request is what the change has read.
//
// Requests that a store was given or returns are shared: nobody changes them. A change has a request of its own.
type Store interface {
	// Create writes a new request with its events and record writes. [ErrConflict] if the id or a record is taken.
	Create(ctx context.Context, r *Request) error
	// Request returns [ErrNotFound] when there is none.
	Request(ctx context.Context, id ID) (*Request, error)
	// Update runs change on the stored request and writes request, events and record writes in one durable
	// transaction. An error of change is returned as it is and nothing is written. change may run more than once,
	// so it touches nothing but r. A change that leaves no event, no write and the same state still counts.
	Update(ctx context.Context, id ID, change func(r *Request) error) (*Request, error)
	// List returns requests, newest first.
	List(ctx context.Context, q Query) ([]*Request, error)
}

// Query selects requests; empty members select all.
type Query struct {
	Person PersonID // subject
	Agent  AgentID
	States []State
	Before ID  // page: only ids smaller than this one, that is, older requests
	Limit  int // 1 to 1000; 0 means 100
}
