// SPDX-License-Identifier: Apache-2.0

// Package sim runs whole clusters in one synctest bubble: real nodes and real
// franz-go clients, disks in memory, a network in memory, time that costs
// nothing, and a nemesis that breaks what can break. Checkers watch from
// behind and judge what the clients saw.
//
//	SEEDS=1000 make sim            more seeds
//	SEED=17 make sim               the faults of seed 17 again
//
// The seed decides the faults: which, when and for how long; how the network
// delays and loses, and what a power cut leaves on a disk. It does not decide
// in which order goroutines run, so a failure may need several runs of its
// seed to come back; what it prints, the faults with their times and the ends
// of the nodes' logs, has to do. What must be replayed bit by bit is tested by
// steps, in the pure packages.
//
// The invariants, each in the file of its checker:
//
//	package history       what clients saw, with and without transactions
//	check_watermarks.go   the high watermark
//	check_logs.go         replicas agree, offsets are dense
//	check_producers.go    producers and coordinators never go back
//	check_coordinators.go what transaction coordinators wrote follows, and replays
//	check_leaders.go      one leader an epoch
//	check_images.go       one image an index
//
// Build tag synctests: franz-go's mutexes become channels with it, which a
// bubble's clock needs (a goroutine that waits for a sync.Mutex stops the
// clock).
//
// Shape: machine is owned by the goroutine of the test; a recorder and the
// checkers have leaf mutexes and are told by many.
package sim
