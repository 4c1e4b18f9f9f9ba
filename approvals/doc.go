// Package approvals holds the words, the rules and the one desk of Assent: an agent asks, a person decides, the agent
// collects the answer once.
//
// It owns:
//
//   - [Request] and its state machine (state.go), with one audit record for each transition ([Event]);
//   - what may be asked: typed authorization_details of RFC 9396 (details.go, types.go);
//   - what the person reads: the [Disclosure], its canonical bytes (RFC 8785) and its digest;
//   - [Person], [Agent] and the [Directory] that finds them; [Pair], what a person has said about an agent;
//   - the [Desk], through which every door, page, channel and command changes a request;
//   - the [Hub], which wakes whoever waits for a change;
//   - the ports a database must offer: [Store], [Records], [Outbox], [Trail].
//
// It refuses: HTTP, NATS, SQL, SMS, OpenID CIBA and every import beside the standard library. A protocol is a door in a
// package of its own; what a door must remember about a request travels in [Request.Door], unread here.
package approvals
