// SPDX-License-Identifier: Apache-2.0

// Package peer is the outbound half of a Kafka connection: how a node asks
// another node. A Peer is one address with at most one connection, on which
// requests are pipelined and answered in their order; a Pool has a Peer for
// each node id.
//
// It knows frames and headers (package wire draws them), and of bodies only
// that kmsg encodes them. It refuses to know which node does what, and never
// repeats a request: whoever asks knows whether that would be safe.
//
// Invariants:
//   - An answer goes to the request whose correlation id it has; one out of
//     order ends the connection.
//   - A request that is not answered within its time ends the connection: what
//     stands behind it would wait too. Where requests of many callers share one,
//     Config.Patience keeps who has little time from ending it for all.
//   - Frames above Config.MaxFrame end the connection before memory is taken.
//
// Concurrency: Do may be called by any number of goroutines. Config.InFlight
// requests wait at most, others wait for their turn. A connection has one
// reader goroutine, which Close ends and waits for. Turns are a channel and no
// mutex, because writing to a socket may take long and a simulation's clock
// stands still while somebody waits for a mutex.
package peer
