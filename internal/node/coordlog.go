// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"io"
	"sync"

	"gregor/internal/coord"
	"gregor/internal/replica"
)

// coordLog is a partition of an internal topic, led here in one leader epoch,
// as a coordinator's log.
type coordLog struct {
	p     *replica.Partition
	epoch int32
	max   func() int // the largest batch now
	// guarded: the first offset of a transaction needs a guard.
	guarded func() bool
}

var _ coord.Log = coordLog{}

func (l coordLog) Append(batch []byte, o coord.AppendOptions) (int64, error) {
	r, err := l.p.Append(batch, -1, replica.AppendOptions{
		Origin: replica.FromCoordinator, ExpectedEpoch: l.epoch, TxnVersion: o.TxnVersion,
		Guard: o.Guard, Unguarded: !l.guarded(),
	})
	if err != nil {
		return 0, err
	}
	return r.LastOffset + 1, nil
}

func (l coordLog) Bounds() (int64, int64) { return l.p.LogStart(), l.p.LogEnd() }

func (l coordLog) Committed() int64 { return l.p.HighWatermark() }

// closer closes a channel at the wake that decides.
type closer struct {
	done chan struct{}
	once sync.Once
}

func (c *closer) Wake(int) { c.once.Do(func() { close(c.done) }) }

func (l coordLog) Await(end int64) (<-chan struct{}, func()) {
	c := &closer{done: make(chan struct{})}
	if !l.p.AwaitCommitted(end, l.epoch, c) {
		c.Wake(0)
		return c.done, func() {}
	}
	return c.done, func() { l.p.Forget(c) }
}

func (l coordLog) Read(from int64, maxBytes int, buf []byte) ([]byte, error) {
	r, err := l.p.Read(replica.ReadRequest{
		From: from, MaxBytes: maxBytes, MinOne: true, Isolation: replica.ReadAll,
		CurrentLeaderEpoch: l.epoch, LastFetchedEpoch: replica.NoEpoch,
	})
	if err != nil {
		return nil, err
	}
	if r.Slice.Release != nil {
		defer r.Slice.Release()
	}
	switch s := r.Slice; {
	case s.N == 0 && len(s.Bytes) == 0:
		return nil, nil
	case s.Bytes != nil:
		return append(buf[:0], s.Bytes...), nil
	default:
		if cap(buf) < s.N {
			buf = make([]byte, s.N)
		}
		buf = buf[:s.N]
		if n, err := s.File.ReadAt(buf, s.Off); err != nil && !(err == io.EOF && n == s.N) { //nolint:errorlint // ReaderAt's contract
			return nil, fmt.Errorf("read offset %d: %w", from, err)
		}
		return buf, nil
	}
}

func (l coordLog) MaxBatch() int { return l.max() }
