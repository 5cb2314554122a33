// SPDX-License-Identifier: Apache-2.0

// Package history judges what clients of a cluster saw: which records they were
// told are written, and which they read, where and in what order. It knows
// nothing of the cluster; simulations and tests of real processes feed it alike.
// The anomalies are those of Jepsen's Kafka workload, and some that need the
// order of events in time:
//
//	lost            acknowledged, and not there although later records are
//	unseen          acknowledged, and nobody read that far: lost at the end
//	duplicate       an idempotent producer's record at two offsets
//	inconsistent    two records at one offset
//	phantom         a record that nobody sent, or whose sending was refused
//	skipped poll    a reader passed over a record that is in the log
//	nonmonotonic poll   a reader got an offset that it had passed
//	nonmonotonic send   a producer's later record at the smaller offset
//	overtaken       a record sent after another was acknowledged stands before it
//	fallen end      an end offset below what that leader, or one before it, had shown
//	lost commit     a group stands before an offset whose commit was acknowledged
//
// Transactions have a history of their own (Txns, CheckTxns) and these
// anomalies:
//
//	aborted read        a reader of committed records got one that never was
//	early read          it got one before its commit was asked for
//	torn                a transaction's records or offsets are there in part
//	lost transaction    acknowledged as committed, and not there
//	repeated            more came of an input than should
//	skipped input       less, and the group has passed it
//	unfinished input    the group never passed it
//	vanished            a committed record was read and is not there in the end
//	zombie              written or committed by an instance that was fenced
//	hanging transaction it never ends
//
// Record values are unique within a history; that is how records are told
// apart. Offsets need not be dense here: compaction and markers leave gaps. A
// gap counts only where somebody knows a record in it.
//
// Times are a logical clock: each beginning and each end of an act of a client
// takes its next value, so that "A ended before B began" is a comparison.
//
// Shape: Recorder has a leaf mutex and may be used from any goroutine; History
// and Check are plain data and a function.
package history
