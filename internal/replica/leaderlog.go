// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"fmt"
	"io"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
)

// LeaderLog is a partition as a coordinator uses it: its log, under one leader
// epoch. Once that is over, Append and Read fail and the channels of Await are
// closed.
type LeaderLog struct {
	p     *Partition
	epoch int32
}

// LeaderLog returns the partition's log under the leader epoch of now, or
// NOT_LEADER_OR_FOLLOWER.
func (p *Partition) LeaderLog() (*LeaderLog, error) {
	r := p.role.Load()
	if !r.leads {
		return nil, r.refusal
	}
	return &LeaderLog{p, r.epoch}, nil
}

// Epoch is the leader epoch.
func (l *LeaderLog) Epoch() int32 { return l.epoch }

// Append writes one batch that this node built. end is the offset after its
// last record.
func (l *LeaderLog) Append(batch []byte) (end int64, err error) {
	res, err := l.p.Append(batch, -1, AppendOptions{Origin: FromCoordinator, ExpectedEpoch: l.epoch, Transactional: true})
	return res.LastOffset + 1, err
}

// Bounds returns the log start and the log end.
func (l *LeaderLog) Bounds() (start, end int64) { return l.p.LogStart(), l.p.LogEnd() }

// Committed returns the high watermark.
func (l *LeaderLog) Committed() int64 { return l.p.HighWatermark() }

// Await returns a channel that is closed once Committed has reached end or
// never will under this epoch. stop releases the wait early.
func (l *LeaderLog) Await(end int64) (done <-chan struct{}, stop func()) {
	c := &closer{ch: make(chan struct{})}
	if !l.p.AwaitCommitted(end, l.epoch, c) {
		c.Wake(0)
		return c.ch, func() {}
	}
	return c.ch, func() { l.p.Forget(c) }
}

// closer is a Waker that closes a channel.
type closer struct {
	once sync.Once
	ch   chan struct{}
}

func (c *closer) Wake(int) { c.once.Do(func() { close(c.ch) }) }

// Read returns whole batches from the one that holds offset from, about max
// bytes but at least one batch, up to the log end; nil at the end. It uses buf
// when that is large enough.
func (l *LeaderLog) Read(from int64, max int, buf []byte) ([]byte, error) {
	if epoch, leads := l.p.LeaderEpoch(); !leads || epoch != l.epoch {
		return nil, kerr.NotLeaderForPartition
	}
	r, err := l.p.Read(ReadRequest{
		From: from, MaxBytes: max, MinOne: true, Isolation: ReadAll, CurrentLeaderEpoch: l.epoch, LastFetchedEpoch: NoEpoch,
	})
	if err != nil || r.Slice.N == 0 {
		return nil, err
	}
	s := r.Slice
	if s.Release != nil {
		defer s.Release()
	}
	if cap(buf) < s.N {
		buf = make([]byte, s.N)
	}
	buf = buf[:s.N]
	if s.Bytes != nil {
		copy(buf, s.Bytes)
		return buf, nil
	}
	if n, err := s.File.ReadAt(buf, s.Off); err != nil && (err != io.EOF || n < s.N) {
		return nil, &Error{kerr.KafkaStorageError, fmt.Errorf("read %s: %w", s.File.Name(), err)}
	}
	return buf, nil
}

// MaxBatch is the size of the largest batch.
func (l *LeaderLog) MaxBatch() int { return l.p.config.Load().MaxMessageBytes }
