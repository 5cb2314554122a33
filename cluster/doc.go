// SPDX-License-Identifier: Apache-2.0

// Package cluster is a test: three and five real `gregor server` processes,
// each in a network namespace with an address of its own, under load, while
// processes are killed and stopped, links are cut and disks fill up. What the
// clients saw is judged by internal/sim/history; what is on the disks
// afterwards must agree.
//
//	make cluster                 all of it, as CI runs it; needs root on Linux
//	make cluster RUN=Flipped     one of them
//	make failover                how long clients wait, as a table
//
// It knows nothing of the inside of a node: processes, sockets and files only.
package cluster
