// SPDX-License-Identifier: Apache-2.0

package meta

import "errors"

// Proposal is a change on its way into the log, between whoever decides
// (meta/controller) and whoever agrees (quorum).
type Proposal struct {
	Base int64 // the version of the Image that it was decided on
	// Term is the leadership in which it was decided. It counts in no other: of
	// what led to Base then nothing may have come, and something else may have.
	Term    uint64
	Time    int64 // ms since 1970
	Records []Record
	// Done is called once: nil when the records were folded in, or (perhaps
	// wrapped) ErrDropped, ErrUnknown or ErrNotLeader. It must not block.
	Done func(error)
}

var (
	// ErrDropped: the proposal was not folded in and never will be.
	ErrDropped = errors.New("metadata: proposal was dropped")
	// ErrUnknown: leadership was lost, or the node stopped, while the proposal
	// was under way; it may be folded in yet.
	ErrUnknown = errors.New("metadata: outcome of the proposal is unknown")
	// ErrNotLeader: nothing was proposed, for this node does not lead.
	ErrNotLeader = errors.New("metadata: this node is not the active controller")
)

// maxProposalBytes keeps an entry below 1 MiB, so that none delays the
// heartbeats behind it for long.
const maxProposalBytes = 900 << 10

// recordOverhead is about what a batch adds to a record.
const recordOverhead = 10

// Split cuts records into runs that each fit one entry. More than one run is
// put between brackets, so that it is folded in whole or not at all.
func Split(name string, records []Record) [][]Record {
	var runs [][]Record
	var frame []byte
	from, size := 0, 0
	for i, r := range records {
		frame = AppendRecord(frame[:0], r)
		if size += len(frame) + recordOverhead; size > maxProposalBytes && i > from {
			runs = append(runs, records[from:i:i])
			from, size = i, len(frame)+recordOverhead
		}
	}
	runs = append(runs, records[from:len(records):len(records)])
	if len(runs) == 1 {
		return runs
	}
	runs[0] = append([]Record{BeginChangeRecord{name}}, runs[0]...)
	last := len(runs) - 1
	runs[last] = append(runs[last], EndChangeRecord{})
	return runs
}
