// Command assent is the whole service and its tools in one binary: `assent serve` runs it, `assent demo` shows it,
// the other commands administer a running service or act as an agent.
//
// This package owns configuration, wiring, listeners, the administration socket and dev mode. It refuses rules of the
// domain: what a request may become is decided in package approvals, what a protocol says in its door.
package main
