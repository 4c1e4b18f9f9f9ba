// Package bolt keeps requests, records, outbox and audit trail in one bbolt file: the store of an Assent that runs on
// one machine.
//
// It owns the file: its layout (layout.go), its schema number and upgrades (schema.go), copies (backup.go) and the
// search for damage (check.go), and the one goroutine that writes to it (commit.go). Every write is durable before its
// caller hears of it, and concurrent writers share a commit: while one is being synced, the next ones gather.
//
//	bucket      key                                              value
//	meta        "schema"                                         the schema number, in decimal
//	requests    id                                               rev (8 bytes), JSON
//	by_person   length (2 bytes), subject, state, NUL, id        empty
//	by_agent    length (2 bytes), agent, state, NUL, id          empty
//	by_state    length 0 (2 bytes), state, NUL, id               empty
//	audit       id, NUL, n (8 bytes)                             JSON
//	outbox      sequence (8 bytes)                               key in audit
//	records     kind, NUL, key                                   revision (8 bytes), expiry (8 bytes), value
//	expiry      expiry in Unix nanoseconds (8 bytes), record key empty
//
// All numbers are big-endian, so that cursors walk them in order. Ids of requests begin with their time, so that an
// index that ends with the id is in the order of time, and new rows land side by side.
//
// It refuses: a file that another process has open ([ErrInUse]), a file that a newer Assent has written ([ErrNewer]),
// a file that is not ours ([ErrForeign]), and every rule of the domain: what may change is decided in approvals.
package bolt
