// SPDX-License-Identifier: Apache-2.0

// Package replica hosts the partitions that metadata places on this node, over
// one or more storage.Dirs. It admits appends, bounds reads, moves the high
// watermark and wakes who waits for that, answers where records are, and
// carries out what metadata says: create, delete, configure, lead.
//
// It speaks Kafka's errors (kerr). Those of storage and batch become Kafka's
// here and nowhere else, see translations. It knows nothing of requests,
// connections or groups; what a partition's state means is decided by the pure
// package partition.
//
// # What is promised
//
//   - Nothing at or above the high watermark is shown to a consumer, and on a
//     durable topic the high watermark counts only what is flushed. So what a
//     consumer has read, or a producer with acks=all was told, survives a
//     power cut.
//   - An append is written whole or not at all; with acks=all it is refused
//     beforehand when fewer replicas are in sync than the minimum.
//   - A duplicate of an idempotent batch gets the original's offsets, and its
//     answer waits for what the original's waits for.
//   - Whoever waits at a partition is woken once a move of what they wait for,
//     and always when the lead or the directory is lost. Nobody polls.
//   - A log that may have lost its tail is led only in a newer leader epoch.
//   - A follower's log has only what its leader sent in the epoch that it follows
//     in, checked, or what both had before. docs/architecture/replication.md
//
// # Shape
//
//	Table      its mutex guards maps; Apply belongs to one goroutine
//	Partition  role, config, log and watermarks are published; a leaf mutex
//	           guards the leader's state and the gate; see the type
//	gate       waiters by value, in the partition's mutex
//	fetcher    one loop for each leader and lane owns what is followed there
//
// Order of locks: Partition.turn, Table.mu, Partition.mu, the log's own. Storage
// calls in by Events.Flushed on its committer, which takes mu for a moment and
// never waits. Four kinds of goroutines are made here: those that open logs
// beside Apply, which waits for them, those that see to a failed directory or
// damage, those that move logs between directories (move.go), and two
// for each fetcher; Close waits for all of them.
package replica
