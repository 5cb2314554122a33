// SPDX-License-Identifier: Apache-2.0

package history

import "fmt"

// Partition names a partition.
type Partition struct {
	Topic string
	Index int32
}

func (p Partition) String() string { return fmt.Sprintf("%s-%d", p.Topic, p.Index) }

// Outcome is what a client was told of something it asked for.
type Outcome int8

const (
	Unknown  Outcome = iota // no answer, or one that leaves it open
	Done                    // acknowledged
	Rejected                // it will never happen
)

func (o Outcome) String() string { return [...]string{"unknown", "done", "rejected"}[o] }

// Send is one record that a producer sent.
type Send struct {
	Process      int
	Partition    Partition
	Value        string
	Once         bool  // the producer is idempotent: once and in order
	Began, Ended int64 // Ended is 0 without an answer
	Outcome      Outcome
	Offset       int64 // when Done; -1: not told
}

// Record is what a reader found at an offset.
type Record struct {
	Offset int64
	Value  string
	Epoch  int32 // the leader epoch in which it was written
}

// Poll is what one poll of a reader gave of one partition.
type Poll struct {
	Process   int
	Partition Partition
	At        int64
	Records   []Record
}

// Assign tells that a reader begins anew in a partition: its position comes
// from the group's commit, or with Group "" from wherever it likes.
type Assign struct {
	Process   int
	Group     string
	Partition Partition
	At        int64
}

// Commit is an offset that a member of a group committed.
type Commit struct {
	Group        string
	Partition    Partition
	Offset       int64
	Began, Ended int64
	Outcome      Outcome
}

// Look is a position that somebody asked the cluster for: the end offset of a
// partition, or with Group set the group's committed offset.
type Look struct {
	Group        string
	Partition    Partition
	Offset       int64
	Epoch        int32 // of the leader that answered with an end offset
	Began, Ended int64
}

// History is everything that the clients of one run did and saw.
type History struct {
	Sends   []Send
	Polls   []Poll
	Assigns []Assign
	Commits []Commit
	Looks   []Look
}

// Kind is a kind of anomaly.
type Kind string

// The anomalies, see the package's doc.
const (
	Lost             Kind = "lost"
	Unseen           Kind = "unseen"
	Duplicate        Kind = "duplicate"
	Inconsistent     Kind = "inconsistent offset"
	Phantom          Kind = "phantom"
	SkippedPoll      Kind = "skipped poll"
	NonmonotonicPoll Kind = "nonmonotonic poll"
	NonmonotonicSend Kind = "nonmonotonic send"
	Overtaken        Kind = "overtaken"
	FallenEnd        Kind = "fallen end"
	LostCommit       Kind = "lost commit"
)

// Anomaly is one thing that must not be.
type Anomaly struct {
	Kind      Kind
	Partition Partition
	Text      string
}

func (a Anomaly) String() string { return fmt.Sprintf("%s: %s: %s", a.Partition, a.Kind, a.Text) }
