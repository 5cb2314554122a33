// SPDX-License-Identifier: Apache-2.0

// Package meta holds the facts of a cluster: which topics, partitions,
// brokers, controllers, settings and features there are. It is the vocabulary
// in which the metadata log is written and the immutable Image into which that
// log is folded.
//
// It refuses to know how facts are decided (meta/plan), agreed upon (quorum)
// or told to clients (api): no Kafka message types, no clocks, no locks, no
// goroutines, no randomness. The same records give the same Image on every
// node.
//
// Records are facts, not commands: a Partition record is the whole state of a
// partition, so replaying needs no code that decides, and a record can be read
// without those before it. Each is framed as
//
//	+---------+---------+----------+- - - - - - - -+
//	| type    | version | length   | body          |
//	| uvarint | uvarint | uvarint  | length bytes  |
//	+---------+---------+----------+- - - - - - - -+
//
// docs/formats/metadata.md draws each body. An unknown type or version is an
// error: a node that cannot understand a fact must not pretend that it did.
//
// Shape: published immutable. An Image and everything reachable from it is
// never changed after With returned it, and may be read from any goroutine
// without a lock. With shares structure: the cost of a change does not grow
// with the cluster.
package meta
