// Package store is where requests, records, outbox and audit trail are kept: the union of what a backend gives, and
// [Open], which picks one by its scheme.
package store
