// Package store is where requests, records, outbox and audit trail are kept: the union of what a backend gives
// ([Store]), and [Open], which picks one by the scheme of its dsn. What a backend must keep to is written down as tests
// in storetest.
//
// It owns no rule of the domain and no encoding of an edge: what may change is decided in approvals, and the value of a
// record belongs to the package that owns its kind. It refuses every import of an edge.
//
// # Draft of the PostgreSQL tables
//
// This build knows "bolt:" only. The tables are here as a check that nothing in the contract has the shape of one
// database, and as a start for whoever adds the other.
//
//	CREATE TABLE request (
//		id      text COLLATE "C" PRIMARY KEY,       -- time-ordered, so "newest first" is ORDER BY id DESC
//		rev     bigint NOT NULL,                    -- UPDATE … WHERE id = $1 AND rev = $2, one row or conflict
//		state   text NOT NULL,
//		subject text COLLATE "C" NOT NULL,
//		agent   text COLLATE "C" NOT NULL,
//		body    bytea NOT NULL                      -- the request's JSON; not jsonb, which rewrites numbers
//	);
//	CREATE INDEX request_subject ON request (subject, state, id DESC);
//	CREATE INDEX request_agent   ON request (agent, state, id DESC);
//	CREATE INDEX request_state   ON request (state, id DESC);
//
//	CREATE TABLE audit (
//		request text COLLATE "C" NOT NULL,          -- no foreign key: the trail outlives the request
//		n       bigint NOT NULL,
//		body    bytea NOT NULL,
//		PRIMARY KEY (request, n)                    -- what makes an id taken for ever
//	);
//
//	CREATE TABLE outbox (
//		seq     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
//		request text COLLATE "C" NOT NULL,
//		n       bigint NOT NULL,
//		FOREIGN KEY (request, n) REFERENCES audit
//	);
//
//	CREATE TABLE record (
//		kind     text COLLATE "C" NOT NULL,
//		key      text COLLATE "C" NOT NULL,         -- byte order, which Scan and the due steps rely on
//		value    bytea NOT NULL,
//		revision bigint NOT NULL,
//		expires  bigint,                            -- Unix nanoseconds: timestamptz would round
//		PRIMARY KEY (kind, key)
//	);
//	CREATE INDEX record_expires ON record (expires) WHERE expires IS NOT NULL;
//
//	CREATE TABLE meta (key text PRIMARY KEY, value text NOT NULL);
//
// What the draft has shown:
//
//   - Text columns hold neither NUL nor broken UTF-8, so ids, kinds and keys with either are refused by every backend.
//   - Update reads the row, runs change, and writes where rev is still the one it read; a lost race runs change again.
//     That is why change may run more than once and must not call the store.
//   - Numbers of an identity column can become visible out of order, so "commit order" holds between changes of which
//     one began after the other had been acknowledged. Whoever reads the outbox begins at 0 each time, and no event is
//     passed over.
//   - Expired rows count as absent in every WHERE clause, INSERT … ON CONFLICT included: a revision starts again at 1.
package store
