// SPDX-License-Identifier: Apache-2.0

// Package quorum agrees on the metadata log. It drives go.etcd.io/raft's
// RawNode from one loop, keeps Raft's log in a storage log named
// __cluster_metadata-0, folds committed entries into meta.Images and publishes
// them in order. It refuses to know what the records decide (meta/plan) and
// how messages reach other voters (a Transport is handed in).
//
// One voter is a quorum of one and takes no other way than three.
//
// Promises:
//   - Term and vote are durable before entries of that term, and entries
//     before any message that promises them.
//   - A commit index is never persisted above the last durable entry.
//   - An entry is one record batch; offsets are equal on all voters, because
//     every entry takes as many offsets as it has records, everywhere.
//   - Each proposal names the version of the Image it was decided on, and is
//     dropped by everybody alike unless that is the version it meets.
//   - A proposal is always answered: applied, dropped, or unknown (leadership
//     was lost, or the disk hangs).
//   - Damage below the durable end refuses to start, naming file and position.
//
// An entry as a batch (leader epoch = Raft's term):
//
//	record 0   value = kind (u8) | index (uvarint) | term (uvarint)
//	record 1   value = format (u8 = 0) | sequence (uvarint) | base version (varint) | ms (varint)
//	record 2.. value = one meta record's frame each
//
// The data that Raft carries is the values from record 1 on, end to end; a
// change of voters has one record 1, Raft's own bytes; the empty entry of a
// new leader has record 0 alone. docs/formats/metadata.md draws it all.
//
// Shape: loop-owned. Node's loop owns core and everything beneath; what others
// may read is published by pointer. docs/architecture/goroutines lists: the
// loop, the publisher, the disk guard, and a snapshot writer while it writes.
package quorum
