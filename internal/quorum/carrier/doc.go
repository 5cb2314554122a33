// SPDX-License-Identifier: Apache-2.0

// Package carrier carries Raft's messages between voters, over private keys of
// the Kafka protocol. It refuses to know what the messages say, who votes, and
// where voters live (an address is asked for at each dial).
//
// Sending never blocks: each voter has a bounded queue and a goroutine of its
// own, so that one that is slow or gone holds up nobody; what does not fit, or
// is not answered in time, is dropped and Raft told, which repeats what
// matters. Snapshots travel apart, in chunks, one at a time to each voter.
//
// Both ends name the cluster, and who is of another is refused: a node that was
// set up twice must not vote in two places.
//
// Key 32000, step: messages, in order.
//
//	format u8 = 0 | cluster string | count uvarint | count times: message bytes
//
// Key 32002, chunk: a piece of the snapshot that a message carries.
//
//	format u8 = 0 | cluster string | from u64 | to u64 | index u64 | term u64
//	| size uvarint | at uvarint | piece bytes | message bytes
//
// message, without the snapshot's data, comes with the piece that ends at size,
// else it is empty. at = 0 begins anew.
//
// The answer of both:
//
//	format u8 = 0 | code u8 | text string
//	code: 0 taken, 1 another cluster, 2 not ready, 3 out of line (begin anew)
//
// Integers are big-endian; a string or bytes is a uvarint length and so many
// bytes.
//
// The end of the connection to the leader is a reason to dial it, and a refusal
// is told to Raft (probe.go): its process is gone.
//
// Shape: a leaf mutex for the table of links and one for each link's queue. A
// link has one goroutine for messages, one for a snapshot while it is sent, and one
// while a leader is probed; Close ends and waits for them.
package carrier
