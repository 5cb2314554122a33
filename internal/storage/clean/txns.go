// SPDX-License-Identifier: Apache-2.0

package clean

import (
	"cmp"
	"slices"

	"gregor/internal/batch"
	"gregor/internal/storage"
)

// txns follows transactions while a cleaning walks up the log. It is told of
// the aborted ones ahead of time, and of every batch in order.
type txns struct {
	ahead     []storage.AbortedTxn  // by first offset, not yet reached
	aborted   map[int64]*abortedTxn // ongoing, by producer
	committed map[int64]bool        // producers with records since their last marker
}

type abortedTxn struct {
	storage.AbortedTxn
	met bool // records of it are still in the log
}

func newTxns(aborted []storage.AbortedTxn) *txns {
	aborted = slices.Clone(aborted)
	slices.SortFunc(aborted, func(a, b storage.AbortedTxn) int { return cmp.Compare(a.FirstOffset, b.FirstOffset) })
	return &txns{ahead: aborted, aborted: map[int64]*abortedTxn{}, committed: map[int64]bool{}}
}

func (t *txns) reach(offset int64) {
	for len(t.ahead) > 0 && t.ahead[0].FirstOffset <= offset {
		a := t.ahead[0]
		t.ahead = t.ahead[1:]
		if old := t.aborted[a.ProducerID]; old == nil || old.LastOffset < a.FirstOffset {
			t.aborted[a.ProducerID] = &abortedTxn{AbortedTxn: a}
		}
	}
}

// data takes in a batch of records and says whether its transaction was
// aborted, so that they can go.
func (t *txns) data(v batch.View) (aborted bool) {
	t.reach(v.LastOffset())
	if !v.Attributes().Transactional() {
		return false
	}
	// A transaction whose marker was not met (it lies before what is read, or
	// in a segment that is left alone) ends there all the same.
	if a := t.aborted[v.ProducerID()]; a != nil && v.BaseOffset() <= a.LastOffset {
		a.met = true
		return true
	}
	t.committed[v.ProducerID()] = true
	return false
}

// marker takes in a control batch and says whether nothing that it ends is
// left. Of an aborted transaction that had records, keep is the entry that the
// transaction index must keep with the marker.
func (t *txns) marker(v batch.View) (empty bool, keep *storage.AbortedTxn, err error) {
	t.reach(v.LastOffset())
	c, ok, err := v.Control()
	switch {
	case err != nil:
		return false, nil, err
	case !ok:
		return true, nil, nil // emptied by an earlier cleaning
	}
	id := v.ProducerID()
	switch c.Type {
	case batch.Abort:
		a := t.aborted[id]
		delete(t.aborted, id)
		if a != nil && a.met && v.BaseOffset() <= a.LastOffset {
			return false, &a.AbortedTxn, nil
		}
		return true, nil, nil
	case batch.Commit:
		had := t.committed[id]
		delete(t.committed, id)
		return !had, nil, nil
	}
	return false, nil, nil
}
