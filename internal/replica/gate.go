// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/invariant"
)

// Waker is told when what it waits for may have come. Wake must not block; it
// is called under the partition's mutex, from any goroutine, and may come once
// too often. newBytes is about how much has come into sight; manyBytes when
// something else happened that ends the wait.
type Waker interface{ Wake(newBytes int) }

// manyBytes satisfies every fetch's minimum.
const manyBytes = 1 << 30

// gate is where those wait who want to see a partition move. Nobody polls:
// the one who moves the high watermark, the stable end or the log end wakes
// who waits there, once a move. It belongs to the partition's mutex.
//
// Waiters are kept by value, so a wait costs no allocation of its own.
// Committers are mostly woken from the front, in the order they came; readers
// stay until they are forgotten.
type gate struct {
	committers []committer // sorted by upTo; those before first are gone
	first      int
	readers    []reader
}

type committer struct {
	upTo  int64
	waker Waker
}

type reader struct {
	isolation Isolation
	waker     Waker
}

func (g *gate) addCommitter(upTo int64, w Waker) {
	if g.first > 0 && len(g.committers) == cap(g.committers) {
		n := copy(g.committers, g.committers[g.first:])
		clear(g.committers[n:])
		g.committers, g.first = g.committers[:n], 0
	}
	i := len(g.committers)
	for i > g.first && g.committers[i-1].upTo > upTo {
		i--
	}
	g.committers = slices.Insert(g.committers, i, committer{upTo, w})
}

func (g *gate) addReader(iso Isolation, w Waker) {
	g.readers = append(g.readers, reader{iso, w})
}

// committed wakes those for whom hw is enough.
func (g *gate) committed(hw int64) {
	for g.first < len(g.committers) && g.committers[g.first].upTo <= hw {
		g.committers[g.first].waker.Wake(0)
		g.committers[g.first].waker = nil
		g.first++
	}
	if g.first == len(g.committers) {
		g.committers, g.first = g.committers[:0], 0
	}
}

// readable wakes the readers of one isolation level.
func (g *gate) readable(iso Isolation, newBytes int) {
	for _, r := range g.readers {
		if r.isolation == iso {
			r.waker.Wake(newBytes)
		}
	}
}

// release wakes everybody and forgets the committers: what they wait for will
// not come while this node leads as it did.
func (g *gate) release() {
	g.committed(1<<63 - 1)
	for _, r := range g.readers {
		r.waker.Wake(manyBytes)
	}
}

// forget takes w out. It looks from the end for committers, because who gives
// up early has mostly come late, and swaps the last reader into the hole.
func (g *gate) forget(w Waker) {
	for i := len(g.committers) - 1; i >= g.first; i-- {
		if g.committers[i].waker == w {
			g.committers = slices.Delete(g.committers, i, i+1)
		}
	}
	for i := len(g.readers) - 1; i >= 0; i-- {
		if g.readers[i].waker == w {
			last := len(g.readers) - 1
			g.readers[i] = g.readers[last]
			g.readers[last] = reader{}
			g.readers = g.readers[:last]
		}
	}
}

func (g *gate) waiting() int { return len(g.committers) - g.first + len(g.readers) }

// signal is a Waker for one goroutine that waits.
type signal chan struct{}

func (s signal) Wake(int) {
	select {
	case s <- struct{}{}:
	default:
	}
}

// AwaitCommitted arranges one w.Wake when the high watermark reaches upTo, or
// will not while this node leads as it did in epoch. It returns false, and
// arranges nothing, when there is nothing to wait for; Committed tells why.
func (p *Partition) AwaitCommitted(upTo int64, epoch int32, w Waker) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.committedLocked(upTo, epoch) != kerr.RequestTimedOut {
		return false
	}
	p.gate.addCommitter(upTo, w)
	return true
}

// Committed tells how an append in epoch that ended at upTo has come out: nil,
// NOT_LEADER_OR_FOLLOWER, NOT_ENOUGH_REPLICAS_AFTER_APPEND,
// KAFKA_STORAGE_ERROR, or REQUEST_TIMED_OUT when it is not decided yet.
func (p *Partition) Committed(upTo int64, epoch int32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.committedLocked(upTo, epoch); err != nil {
		return err
	}
	return nil
}

func (p *Partition) committedLocked(upTo int64, epoch int32) *kerr.Error {
	switch {
	case p.offline:
		return kerr.KafkaStorageError
	case p.leader == nil || epoch < p.ledSince:
		return kerr.NotLeaderForPartition
	case p.leader.HW() < upTo:
		return kerr.RequestTimedOut
	case !p.leader.Kept():
		return kerr.NotEnoughReplicasAfterAppend
	}
	return nil
}

// AwaitReadable arranges w.Wake at each move of the end that the isolation
// level may read, until Forget. It returns false, and arranges nothing, when
// that end is no longer seen or the partition cannot be read here.
func (p *Partition) AwaitReadable(iso Isolation, seen int64, w Waker) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.offline || p.closed || p.log.Load() == nil || p.bound(iso) != seen {
		return false
	}
	p.gate.addReader(iso, w)
	return true
}

// Watch arranges w.Wake at each move of the log end, and with 0 bytes of the
// high watermark, until Forget. It returns false, and arranges nothing, when
// the partition cannot be read here.
func (p *Partition) Watch(w Waker) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.offline || p.closed || p.log.Load() == nil {
		return false
	}
	p.gate.addReader(ReadAll, w)
	return true
}

// Forget takes w back. A Wake may still be under way.
func (p *Partition) Forget(w Waker) {
	p.mu.Lock()
	p.gate.forget(w)
	p.mu.Unlock()
}

// Wait blocks until an append in epoch that ended at upTo is committed or will
// not be. It is for coordinators; requests use AwaitCommitted.
func (p *Partition) Wait(ctx context.Context, upTo int64, epoch int32) error {
	s := make(signal, 1)
	for p.AwaitCommitted(upTo, epoch, s) {
		select {
		case <-s:
		case <-ctx.Done():
			p.Forget(s)
			return ctx.Err()
		}
	}
	err := p.Committed(upTo, epoch)
	invariant.Holds(!errors.Is(err, kerr.RequestTimedOut), "wait for %d in epoch %d ended undecided", upTo, epoch)
	return err
}
