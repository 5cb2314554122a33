// SPDX-License-Identifier: Apache-2.0

// Package founding is how nodes that were told of each other by address become
// a cluster, or find that there is one already. Nodes greet each other (private
// key 32010): who they are, and how their cluster was founded.
//
// A list of static voters names nodes, but a voter in Raft is a node with its
// directory, whose id nobody knows beforehand. So the first of the list (the
// least id) founds the cluster once every other one has told it, in one round,
// that it is empty; the others learn of it with their next greeting. Until then
// nobody has voted, and afterwards nobody founds again:
//
//   - A node founds only when all others of the list are empty at that time.
//     Whoever was told of a cluster, and did not lose its disk since, prevents
//     it.
//   - An empty node takes over the founding it hears of. If that names its
//     directory, the node votes, but only if it is sure never to have voted
//     before: its directory never belonged to a cluster, or it saw the founder
//     empty since it started. Else its log was lost while its directory kept its
//     name, and it refuses to start.
//   - If it does not name its directory, the node follows, until it is added.
//
// Differs from Kafka: a static quorum begins when all its voters are there, not
// a majority. In return a voter that lost its disk is told from one that never
// had one, which Kafka cannot: it may come back empty and vote away what was
// promised.
//
// A greeting, which is also its answer:
//
//	format u8 = 0 | node uvarint | directory 16 | cluster string | founded u8
//	| voters that founded it | voters now | refusal string
//
// A list of voters is drawn in package quorum. Shape: Meeting has a leaf mutex;
// Run is called by one goroutine, which asks others with a goroutine each.
package founding
