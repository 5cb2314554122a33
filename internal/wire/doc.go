// SPDX-License-Identifier: Apache-2.0

// Package wire speaks Kafka's frames: it accepts connections, cuts requests
// out of the stream, hands each to a Handler and writes the answers in the
// order of the requests. It knows the header of a request, and nothing of what
// bodies mean.
//
// Invariants:
//   - Answers leave a connection in the order in which its requests came.
//   - Only behind a Pending that says ReadOn is a further request read.
//   - Every Pending gets Reply or Cancel, once; every Reply's Owner is released
//     once; every buffer goes back to the pool.
//   - What all connections hold is bounded by Config.BufferBytes and one huge
//     frame; a connection between requests holds no buffer.
//
// Concurrency: a goroutine for each listener and each connection, one more for
// a connection while answers wait behind a Pending, and one sweeper. Close
// stops and waits for all. Locks are leaves. docs/architecture/connection.md
// draws it; header.go and output.go draw the bytes.
package wire
