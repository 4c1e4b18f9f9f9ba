package bolt

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"go.etcd.io/bbolt"

	"assent/approvals"
)

var (
	bucketMeta     = []byte("meta")
	bucketRequests = []byte("requests")
	bucketPerson   = []byte("by_person")
	bucketAgent    = []byte("by_agent")
	bucketState    = []byte("by_state")
	bucketAudit    = []byte("audit")
	bucketOutbox   = []byte("outbox")
	bucketRecords  = []byte("records")
	bucketExpiry   = []byte("expiry")
)

// dataBuckets lists every bucket but meta.
func dataBuckets() [][]byte {
	return [][]byte{bucketRequests, bucketPerson, bucketAgent, bucketState, bucketAudit, bucketOutbox, bucketRecords,
		bucketExpiry}
}

// Limits of what one row may hold. bbolt's own are higher; these keep one row from spoiling every commit it is in.
const (
	maxID     = 64
	maxOwner  = 512
	maxKind   = 64
	maxKey    = 512
	maxValue  = 1 << 20
	maxWrites = 1000   // of one change
	maxSent   = 10_000 // rows of the outbox at once
)

func refuse(field, rule string, args ...any) error {
	return &approvals.FieldError{Field: field, Rule: fmt.Sprintf(rule, args...)}
}

// op is one change of one row. Plans are lists of them, so that a change that is refused has written nothing.
type op struct {
	bucket []byte
	key    []byte // nil: the bucket's next sequence number
	value  []byte
	gone   bool
}

// fillInOrder is how full a page gets of rows that come in order and never grow; bbolt leaves half of it free otherwise.
const fillInOrder = 0.95

func (o op) apply(tx *bbolt.Tx) error {
	b := tx.Bucket(o.bucket)
	if o.gone {
		return b.Delete(o.key)
	}
	if o.key != nil {
		if bytes.Equal(o.bucket, bucketAudit) {
			b.FillPercent = fillInOrder
		}
		return b.Put(o.key, o.value)
	}
	b.FillPercent = fillInOrder
	seq, err := b.NextSequence()
	if err != nil {
		return err
	}
	return b.Put(number(seq), o.value)
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// place is where the indexes keep a request.
type place struct {
	id      approvals.ID
	subject approvals.PersonID
	agent   approvals.AgentID
	state   approvals.State
}

func placeOf(r *approvals.Request) place { return place{r.ID, r.Subject, r.Agent, r.State} }

// rows lists the index rows of a request.
func (p place) rows() []op {
	return []op{
		{bucket: bucketPerson, key: append(indexPrefix(string(p.subject), p.state), p.id...)},
		{bucket: bucketAgent, key: append(indexPrefix(string(p.agent), p.state), p.id...)},
		{bucket: bucketState, key: append(indexPrefix("", p.state), p.id...)},
	}
}

// move turns the index rows of one place into those of another.
func (p place) move(to place) []op {
	if p == to {
		return nil
	}
	return append(p.leave(), to.rows()...)
}

func (p place) leave() []op {
	rows := p.rows()
	for i := range rows {
		rows[i].gone = true
	}
	return rows
}

// indexPrefix is what all index keys of one owner in one state begin with. The length comes first, so that no owner's
// keys can lie among another's.
func indexPrefix(owner string, state approvals.State) []byte {
	key := make([]byte, 0, 2+len(owner)+len(state)+1+maxID)
	key = binary.BigEndian.AppendUint16(key, uint16(len(owner)))
	key = append(key, owner...)
	key = append(key, state...)
	return append(key, 0)
}

// idOfIndex reads the request id at the end of an index key.
func idOfIndex(key []byte) []byte {
	return key[bytes.LastIndexByte(key, 0)+1:]
}

func auditKey(id approvals.ID, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(id), 0), n)
}

// usualRow is more than most rows of requests have.
const usualRow = 4096

// encodeRequest puts the revision before the JSON, where it can be compared without decoding.
func encodeRequest(r *approvals.Request) ([]byte, error) {
	row := bytes.NewBuffer(append(make([]byte, 0, usualRow), number(r.Rev)...))
	if err := json.NewEncoder(row).Encode(r); err != nil {
		return nil, fmt.Errorf("encode request %s: %w", r.ID, err)
	}
	row.Truncate(row.Len() - 1) // the encoder ends with a line feed
	if row.Len() > maxValue {
		return nil, refuse("request", "must not be longer than %d bytes", maxValue)
	}
	return row.Bytes(), nil
}

func decodeRequest(row []byte) (*approvals.Request, error) {
	if len(row) < 8 {
		return nil, fmt.Errorf("decode request: row of %d bytes", len(row))
	}
	r := new(approvals.Request)
	if err := json.Unmarshal(row[8:], r); err != nil {
		return nil, fmt.Errorf("decode request: %w", err)
	}
	return r, nil
}

func revOf(row []byte) uint64 {
	if len(row) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(row)
}

const recordHead = 16

func recordKey(kind, key string) []byte {
	out := make([]byte, 0, len(kind)+1+len(key))
	out = append(out, kind...)
	out = append(out, 0)
	return append(out, key...)
}

func encodeRecord(rec approvals.Record) []byte {
	row := make([]byte, 0, recordHead+len(rec.Value))
	row = binary.BigEndian.AppendUint64(row, rec.Revision)
	row = binary.BigEndian.AppendUint64(row, uint64(stamp(rec.Expires)))
	return append(row, rec.Value...)
}

// decodeRecord copies everything out of the transaction's memory.
func decodeRecord(rowKey, row []byte) (approvals.Record, error) {
	kind, key, found := bytes.Cut(rowKey, []byte{0})
	if !found || len(row) < recordHead {
		return approvals.Record{}, fmt.Errorf("decode record: row of %d bytes", len(row))
	}
	return approvals.Record{Kind: string(kind), Key: string(key), Value: bytes.Clone(row[recordHead:]),
		Revision: binary.BigEndian.Uint64(row), Expires: stampTime(stampOf(row))}, nil
}

// stamp is a time as the expiry index keeps it; 0 is never.
func stamp(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return at.UnixNano()
}

func stampTime(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// stampOf reads a record row's expiry; a damaged row has none, and decodeRecord refuses it.
func stampOf(row []byte) int64 {
	if len(row) < recordHead {
		return 0
	}
	return int64(binary.BigEndian.Uint64(row[8:]))
}

// expired reports whether a record row is absent for readers at that moment.
func expired(row []byte, now int64) bool {
	at := stampOf(row)
	return at != 0 && at <= now
}

func expiryKey(at int64, recordKey []byte) []byte { return append(number(uint64(at)), recordKey...) }

// The times that the expiry index can hold.
var (
	minExpiry = time.Unix(0, 1)
	maxExpiry = time.Unix(0, math.MaxInt64)
)
