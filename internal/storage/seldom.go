// SPDX-License-Identifier: Apache-2.0

package storage

import "gregor/internal/storage/segment"

// A log that is seldom read (a follower's: who reads asks the leader) does not
// stay in the page cache. What is flushed and seldomKept behind its end is
// given back after each commit, so that what it takes next are the pages that
// it has just had, and not ones that the leaders' logs could use
// (docs/adr/0185). While somebody does read it, it stays.
const (
	// seldomKept is for those who read a little behind the end when this node
	// has just become the leader.
	seldomKept = 32 << 20
	// seldomStep is given back at a time.
	seldomStep = 1 << 20
)

// ReadSeldom says whether the log's records are read here only by exception.
func (l *Log) ReadSeldom(on bool) { l.seldom.Store(on) }

// noteRead keeps the log cached for a while.
func (l *Log) noteRead() {
	if l.seldom.Load() && !l.wasRead.Load() {
		l.wasRead.Store(true)
	}
}

// uncache gives back what segs, which have just been synced, have in the page
// cache. It is called by the committer alone.
func (l *Log) uncache(segs []*segment.Segment) {
	if !l.seldom.Load() {
		return
	}
	for i, s := range segs {
		size, _ := s.Tail()
		to := size
		if i == len(segs)-1 {
			to = max(size-seldomKept, 0) &^ (seldomStep - 1)
		}
		at := &l.uncached
		if at.base != s.Base() || at.to > size {
			*at = uncachedTo{base: s.Base()}
		}
		if to-at.to < seldomStep {
			continue
		}
		if l.wasRead.Swap(false) {
			at.to = to // these stay, for whoever reads here
			continue
		}
		h, err := s.File()
		if err != nil {
			continue // deleted meanwhile; it was only to help
		}
		h.DropCache(at.to, to-at.to)
		h.Release()
		at.to = to
	}
}

// uncachedTo is how far a segment was given back.
type uncachedTo struct{ base, to int64 }
