// SPDX-License-Identifier: Apache-2.0

// Package partition decides for one partition: how far its high watermark may
// go, whether an append may be admitted, and which replicas belong to the
// in-sync set. It is pure: no locks, no clocks, no goroutines, no input or
// output. Its caller tells it what happened (a write, a flush, a follower's
// fetch, a tick, news from the controller) and carries out the Effects.
//
// It knows offsets, epochs and replica numbers. It refuses to know logs,
// requests and the network.
//
// # Positions
//
// A replica has two ends. Its log end counts what it has written, its flushed
// end what it has on the disk. A durable partition counts flushed ends
// wherever a position is asked for, others count log ends:
//
//	offset   0 ............ 70 ......... 90 ....... 100
//	self     |==== flushed ============= |= written =|     end 100, flushed 90
//	peer     |==== flushed =|= written ==|                 end  90, flushed 70
//	                        ^            ^
//	                        |            high watermark when not durable
//	                        high watermark when durable
//
// # Invariants
//
//   - Within one leader epoch the high watermark never falls.
//   - It never moves past the position of a member of the maximal in-sync set:
//     the committed set and, while a change is on its way to the controller,
//     the replicas which that change would add.
//   - It stands still while the committed set is smaller than the minimum.
//   - At most one proposed change is on its way.
//
// Sources: Partition.scala, Replica.java (class of that name in
// org.apache.kafka.server.replica), KIP-497, KIP-966.
package partition
