// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"sync/atomic"
	"time"
)

// writeWatch notices that no append to a directory's logs comes back: a disk
// may hang in a write before anything waits for a flush (a file system that is
// frozen, a page cache that is full). Appends only count, so that they need no
// clock; who looks, every second or so, notes since when.
type writeWatch struct {
	under, ended atomic.Int64 // appends under way, and all that came back

	// Of the one goroutine that calls since.
	seen  int64
	first time.Time // no append has come back since; zero: none is under way
}

func (w *writeWatch) begin() { w.under.Add(1) }

func (w *writeWatch) end() {
	w.ended.Add(1)
	w.under.Add(-1)
}

// since is when all appends that are under way were first seen, with none that
// came back in between.
func (w *writeWatch) since(now time.Time) time.Time {
	ended := w.ended.Load()
	switch {
	case w.under.Load() == 0:
		w.first = time.Time{}
	case w.first.IsZero() || ended != w.seen:
		w.first = now
	}
	w.seen = ended
	return w.first
}

// Writing tells since when the disk has been at the appends that are under way,
// as far as it was asked before; the zero time when it takes them. One goroutine
// may call it.
func (d *Dir) Writing(now time.Time) time.Time { return d.writes.since(now) }
