// SPDX-License-Identifier: Apache-2.0

// Package vnet is a TCP/IP network in memory for tests in synctest bubbles:
// hosts with addresses, connections with buffers and delays, and everything
// that goes wrong between machines.
//
//	n := vnet.New(seed)
//	a, b := n.Host("10.0.0.1"), n.Host("10.0.0.2")
//	l, err := a.Listen(ctx, "10.0.0.1:9092")
//	c, err := b.Dial(ctx, "10.0.0.1:9092")
//	n.Cut("10.0.0.1", "10.0.0.2") // one way: a's bytes do not reach b
//	n.HealAll()
//	a.Kill()                      // its connections are reset, its ports closed
//	a.PowerOff(); a.PowerOn()     // peers hear nothing until it is back
//
// It refuses to know what the bytes mean.
//
// What a connection does is what TCP does, seen from above: bytes arrive in
// order and once, or the connection ends. A cut link does not end it: bytes are
// held, as TCP holds and repeats them, until the link heals, the reader's or
// writer's deadline passes, or the buffer is full and the writer blocks. Lost
// packets are stalls (the retransmission's time) and, rarely, resets. A reset
// is an event on the wire like any other: across a cut link the peer does not
// hear of it, which is how half-open connections come about.
//
// # Shape
//
// One mutex, a leaf, guards the whole network; nothing waits beneath it. Whoever
// waits does so on a channel or a timer, so that a bubble's clock can move on.
// There are no goroutines here.
package vnet
