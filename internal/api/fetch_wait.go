// SPDX-License-Identifier: Apache-2.0

package api

import (
	"sync/atomic"
	"time"

	"gregor/internal/wire"
)

// await waits at the gates of all partitions; nil when one has moved already.
// Records read so far are let go: what is answered is read again then.
func (s *fetched) await(wait time.Duration) *fetchWait {
	n := int64(len(s.parts))
	if s.f.parked.Add(n) > maxParked {
		// Differs from Kafka, which would run out of memory: this client polls.
		s.f.parked.Add(-n)
		return nil
	}
	w := &fetchWait{s: s, done: make(chan struct{})}
	w.missing.Store(int64(s.minBytes() - s.bytes))
	iso := s.isolation()
	for i := range s.parts {
		p := &s.parts[i]
		if !p.partition.AwaitReadable(iso, p.read.ReadableEnd, w) {
			for j := range i {
				s.parts[j].partition.Forget(w)
			}
			s.f.parked.Add(-n)
			return nil
		}
	}
	s.drop()
	// The claim is for work at hand; those who wait are bounded by number.
	s.f.cfg.Memory.release(s.held)
	s.held = 0
	w.timer = time.AfterFunc(wait, w.finish)
	return w
}

// maxParked bounds the partitions of all fetches that wait, some 300 bytes
// each. More are answered at once, with what there is.
const maxParked = 200_000

// fetchWait is a Fetch that waits for bytes or for its time. It is not pooled,
// so that a late Wake meets nobody else's request.
type fetchWait struct {
	s       *fetched
	missing atomic.Int64 // bytes until min bytes are there
	over    atomic.Bool
	done    chan struct{}
	timer   *time.Timer
}

func (w *fetchWait) Wake(newBytes int) {
	if w.missing.Add(-int64(newBytes)) <= 0 {
		w.finish()
	}
}

func (w *fetchWait) finish() {
	if !w.over.Swap(true) {
		close(w.done)
	}
}

func (w *fetchWait) Done() <-chan struct{} { return w.done }
func (w *fetchWait) ReadOn() bool          { return false }

// Reply reads again and answers with what there is.
func (w *fetchWait) Reply() wire.Reply {
	w.leave()
	w.s.read(&Call{})
	return w.s.reply()
}

// Cancel is called instead of Reply when the connection has died.
func (w *fetchWait) Cancel() {
	w.leave()
	w.s.Release()
}

func (w *fetchWait) leave() {
	w.timer.Stop()
	w.s.f.parked.Add(-int64(len(w.s.parts)))
	for i := range w.s.parts {
		w.s.parts[i].partition.Forget(w)
	}
}
