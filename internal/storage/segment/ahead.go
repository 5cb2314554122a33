// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"errors"
	"io"

	"gregor/internal/vfs"
)

// Zeroes ahead of the end. A sync of a file that has grown, or has got new
// blocks, costs a commit of the file system's journal; a sync of bytes that
// were written over costs none. So the active segment of a log that is synced
// often is kept longer than its content, by zeroes that were written:
//
//	+---------------------------+---------------------+
//	| batches                   | zeroes              |
//	+---------------------------+---------------------+
//	0                           end of the batches    end of the file
//
// Zeroes are no batch, and no bytes that were here before: after a crash the
// log ends before them, and nothing stale can be taken for a batch. They go
// when the segment is sealed, truncated or closed, and when it idles.

// Ahead says how much longer than its content the file may be, and the size
// beyond which it must not be for that.
type Ahead struct{ Bytes, Limit int64 }

var zeroes [64 << 10]byte

// zeroAhead writes zeroes behind end when the file ends before that. No room
// for them is no error. wmu is held.
func (s *Segment) zeroAhead(h vfs.File, end int64, ahead Ahead) error {
	if ahead.Bytes <= 0 || end < s.zeroed {
		return nil
	}
	upTo := min(end-end%ahead.Bytes+ahead.Bytes, ahead.Limit)
	if upTo <= end {
		return nil
	}
	s.zeroed = upTo // whatever comes of it
	for at := end; at < upTo; {
		n := min(upTo-at, int64(len(zeroes)))
		if _, err := h.WriteAt(zeroes[:n], at); vfs.IsNoSpace(err) {
			if err = h.Truncate(end); err == nil {
				s.zeroed = 0
			}
			return err
		} else if err != nil {
			return err
		}
		at += n
	}
	return nil
}

// Trim lets the file end with its content.
func (s *Segment) Trim() error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	size, _ := s.Tail()
	if s.zeroed <= size {
		return nil
	}
	h, err := s.File()
	if err != nil {
		return err
	}
	defer h.Release()
	return s.trimLocked(h)
}

func (s *Segment) trimLocked(h vfs.File) error {
	size, _ := s.Tail()
	if s.zeroed <= size {
		return nil
	}
	if err := h.Truncate(size); err != nil {
		return err
	}
	s.zeroed = 0
	return nil
}

// lastContent is where zeroes begin that reach to the end of the file, size
// when there are none. The last batch may end in zeroes of its own, and then
// ends behind that.
func lastContent(r io.ReaderAt, size int64) (int64, error) {
	bp := hopBuffers.Get().(*[]byte)
	defer hopBuffers.Put(bp)
	for size > 0 {
		b := (*bp)[:min(size, int64(len(*bp)))]
		if _, err := r.ReadAt(b, size-int64(len(b))); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		for i := len(b) - 1; i >= 0; i-- {
			if b[i] != 0 {
				return size - int64(len(b)-1-i), nil
			}
		}
		size -= int64(len(b))
	}
	return 0, nil
}
