// SPDX-License-Identifier: Apache-2.0

// Package node is the wiring: it builds the rooms of one process, starts and
// stops them in a written order, and carries published metadata to each. It
// decides nothing that a room could decide.
//
// Starting (each phase is a method of Node, in this order):
//
//	bind     listeners are bound, nothing is accepted yet: an address that is
//	         taken is told before anything is touched
//	admin    metrics and health over HTTP
//	dirs     log directories are locked, formatted or checked
//	server   other nodes are answered; everybody else waits at the front
//	cluster  it is learned how the cluster was founded, and so what it is called
//	control  the metadata log is read and the quorum joined; who is elected
//	         first founds the cluster; published images open partitions
//	register the broker tells the controller of itself and is let in
//	serve    the front opens
//
// Stopping is the same backwards.
//
// Metadata is published by one goroutine (the quorum's publisher), one image
// after the other, in the order that publish is written in: settings,
// partitions, the pointer that requests read, coordinators.
package node
