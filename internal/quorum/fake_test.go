// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"errors"
	"fmt"
	"sync"

	"gregor/internal/batch"
	"gregor/internal/storage"
)

// fakeLog is a log in memory that can lose what was not flushed: the smallest
// thing that keeps Log's contract.
type fakeLog struct {
	mu      sync.Mutex
	batches []batch.View
	start   int64
	end     int64
	flushed int64
	hw      int64
	appends int
	flushes int
	// fail, when set, is asked before each append and flush.
	fail func(op string) error
}

func (l *fakeLog) AppendAll(vs []batch.View, a storage.Append) (storage.Appended, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		if err := l.fail("append"); err != nil {
			return storage.Appended{}, err
		}
	}
	l.appends++
	for _, v := range vs {
		if a.Origin != storage.Replication || v.BaseOffset() != l.end {
			return storage.Appended{}, fmt.Errorf("batch at %d appended at %d", v.BaseOffset(), l.end)
		}
		l.batches = append(l.batches, append(batch.View(nil), v...))
		l.end = v.NextOffset()
	}
	return storage.Appended{}, nil
}

func (l *fakeLog) Read(from, upTo int64, maxBytes int, minOne bool) (storage.Slice, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if from < l.start || from > l.end {
		return storage.Slice{}, storage.ErrOffsetOutOfRange{Offset: from, Start: l.start, End: l.end}
	}
	var s storage.Slice
	for _, v := range l.batches {
		if v.LastOffset() < from || v.BaseOffset() >= upTo {
			continue
		}
		if len(s.Bytes)+len(v) > maxBytes && (len(s.Bytes) > 0 || !minOne) {
			break
		}
		s.Bytes = append(s.Bytes, v...)
	}
	s.N = len(s.Bytes)
	return s, nil
}

func (l *fakeLog) Start() int64 { l.mu.Lock(); defer l.mu.Unlock(); return l.start }
func (l *fakeLog) End() int64   { l.mu.Lock(); defer l.mu.Unlock(); return l.end }

func (l *fakeLog) Flush(wait bool) error {
	l.mu.Lock()
	fail := l.fail
	l.mu.Unlock()
	if fail != nil {
		if err := fail("flush"); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !wait {
		return errors.New("nobody waits")
	}
	l.flushes++
	l.flushed = l.end
	return nil
}

func (l *fakeLog) SetHighWatermark(off int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hw = off
}

func (l *fakeLog) ask(op string) error {
	if l.fail == nil {
		return nil
	}
	return l.fail(op)
}

func (l *fakeLog) TruncateTo(off int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.ask("truncate"); err != nil {
		return err
	}
	for len(l.batches) > 0 && l.batches[len(l.batches)-1].LastOffset() >= off {
		l.batches = l.batches[:len(l.batches)-1]
	}
	l.end = max(l.start, min(l.end, off))
	l.flushed = min(l.flushed, l.end)
	return nil
}

func (l *fakeLog) TruncateFully(start int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.ask("truncate"); err != nil {
		return err
	}
	l.batches, l.start, l.end, l.flushed = nil, start, start, start
	return nil
}

func (l *fakeLog) IncrementStart(off int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if off > l.hw {
		return fmt.Errorf("start %d above the high watermark %d", off, l.hw)
	}
	if err := l.ask("trim"); err != nil {
		return err
	}
	l.start = max(l.start, off)
	for len(l.batches) > 0 && l.batches[0].LastOffset() < off {
		l.batches = l.batches[1:]
	}
	return nil
}

// crash returns what a power cut leaves: everything flushed, and a random
// number of the batches after it.
func (l *fakeLog) crash(rng func(int64) int64) *fakeLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &fakeLog{start: l.start, end: l.flushed, flushed: l.flushed}
	for _, v := range l.batches {
		if v.LastOffset() >= l.flushed {
			if rng(2) == 0 {
				break
			}
			c.end, c.flushed = v.NextOffset(), v.NextOffset()
		}
		c.batches = append(c.batches, v)
	}
	return c
}
