// Package stream is the wire: it carries events, jobs and signals between the parts of one service and between its nodes.
// It is the only package that knows NATS.
//
// It owns:
//
//   - the bus ([Open], [Bus.Close]): a NATS server inside this process without a socket, or one reached by URL, through
//     the same code;
//   - three streams: EVENTS (assent.event.<kind>, kept for a day, read by everybody), SEND (assent.send.<channel>.<key>,
//     a work queue, with schedules under assent.later.>) and DEAD (the server's word on jobs of SEND that were tried for
//     the last time);
//   - [Bus.Relay], which moves the outbox to EVENTS, and [Bus.Consume], which hands each event to a handler;
//   - [Bus.Send] and [Bus.Work], the same for jobs, now or at a time, and [Bus.Dead], which tells of those that no worker
//     could bring to an end;
//   - [Bus.Mirror], which carries the hub's signals to other nodes.
//
// The store is the truth and NATS is the wire. Everything here is delivered at least once and may be lost with the
// JetStream folder: an event stays in the outbox until it is acknowledged, and whatever must happen has a due step in the
// store (approvals.Step). So messages only wake; they carry ids, never a text, an address or a secret, and handlers read
// again, bear repeats and bear a changed order.
//
// It refuses: HTTP, stores, and every decision about what a message means.
package stream
