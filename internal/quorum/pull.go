// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"gregor/internal/meta"
	"gregor/internal/storage"
)

// A node that does not vote pulls the committed log from one that has it
// (private key 32001). The batches travel as they lie in the log, which is the
// same on all nodes.
//
//	request   format u8 = 0 | cluster string | node uvarint | directory 16
//	          | flags u8 (1 may become a voter, 2 look at my position)
//	          | kind u8 | index u64 | term u64 | at u64 | wait ms uvarint | bytes uvarint
//
//	kind 0    entries after the one at index, which ends at offset at
//	kind 1    the snapshot of index and term, from byte at on
//
//	answer    format u8 = 0 | code u8 | term u64 | leader u8: 1 = a voter follows
//	          | index u64 | of term u64 | size u64 | bytes (the rest)
//
//	code 0    entries: bytes are batches, index is the last committed one
//	code 1    too far back: take the snapshot of index and of term, size bytes
//	code 2    a piece of a snapshot of size bytes
//	code 3    refused: bytes are the reason
//	code 4    it has no more to give than the asker has, or has lost the snapshot
const PullKey int16 = 32001

// PullRequest is what an observer asks.
type PullRequest struct {
	Cluster     string
	Node        int32
	Directory   meta.UUID
	Controller  bool // it may become a voter
	Verify      bool // the position has not been looked at by this source yet
	Snapshot    bool // ask for a piece of a snapshot, from byte At on
	Index, Term uint64
	At          int64
	Wait        time.Duration // until there is something
	MaxBytes    int
}

// PullCode says what an answer holds.
type PullCode byte

const (
	PullEntries  PullCode = 0
	PullBehind   PullCode = 1
	PullPiece    PullCode = 2
	PullRefused  PullCode = 3
	PullNothing  PullCode = 4
	maxPullBytes          = 8 << 20
	maxPullWait           = time.Minute
)

// PullAnswer is what it is told.
type PullAnswer struct {
	Code       PullCode
	Term       uint64 // the source's
	Leader     *Voter // as the source knows it; nil: none
	Index      uint64
	SnapshotOf uint64 // the snapshot's term
	Size       int64
	Bytes      []byte
}

var errPull = errors.New("malformed pull")

// Append writes the request.
func (q PullRequest) Append(b []byte) []byte {
	b = appendString(append(b, 0), q.Cluster)
	b = binary.AppendUvarint(b, uint64(uint32(q.Node)))
	b = append(b, q.Directory[:]...)
	flags, kind := byte(0), byte(0)
	if q.Controller {
		flags |= 1
	}
	if q.Verify {
		flags |= 2
	}
	if q.Snapshot {
		kind = 1
	}
	b = append(b, flags, kind)
	for _, v := range []uint64{q.Index, q.Term, uint64(q.At)} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	b = binary.AppendUvarint(b, uint64(q.Wait/time.Millisecond))
	return binary.AppendUvarint(b, uint64(q.MaxBytes))
}

// DecodePullRequest is the inverse of Append.
func DecodePullRequest(b []byte) (q PullRequest, err error) {
	if len(b) == 0 || b[0] != 0 {
		return q, errPull
	}
	if q.Cluster, b, err = cutString(b[1:]); err != nil {
		return q, errPull
	}
	node, n := binary.Uvarint(b)
	if n <= 0 || node > 1<<31-1 || len(b)-n < 16+2+24 {
		return q, errPull
	}
	q.Node, b = int32(node), b[n:]
	q.Directory, b = meta.UUID(b[:16]), b[16:]
	if b[0] > 3 || b[1] > 1 {
		return q, errPull
	}
	q.Controller, q.Verify, q.Snapshot, b = b[0]&1 != 0, b[0]&2 != 0, b[1] == 1, b[2:]
	be := binary.BigEndian
	q.Index, q.Term, q.At, b = be.Uint64(b), be.Uint64(b[8:]), int64(be.Uint64(b[16:])), b[24:]
	wait, n := binary.Uvarint(b)
	if n <= 0 || q.At < 0 {
		return q, errPull
	}
	most, m := binary.Uvarint(b[n:])
	if m <= 0 || len(b) != n+m {
		return q, errPull
	}
	q.Wait = time.Duration(min(wait, uint64(maxPullWait/time.Millisecond))) * time.Millisecond
	q.MaxBytes = int(min(most, maxPullBytes))
	return q, nil
}

// Append writes the answer.
func (a PullAnswer) Append(b []byte) []byte {
	be := binary.BigEndian
	b = be.AppendUint64(append(b, 0, byte(a.Code)), a.Term)
	if a.Leader != nil {
		b = appendVoter(append(b, 1), *a.Leader)
	} else {
		b = append(b, 0)
	}
	for _, v := range []uint64{a.Index, a.SnapshotOf, uint64(a.Size)} {
		b = be.AppendUint64(b, v)
	}
	return append(b, a.Bytes...)
}

// DecodePullAnswer is the inverse of Append; Bytes are borrowed.
func DecodePullAnswer(b []byte) (a PullAnswer, err error) {
	be := binary.BigEndian
	if len(b) < 11 || b[0] != 0 || b[1] > byte(PullNothing) || b[10] > 1 {
		return a, errPull
	}
	a.Code, a.Term = PullCode(b[1]), be.Uint64(b[2:])
	some := b[10] == 1
	b = b[11:]
	if some {
		var v Voter
		if v, b, err = cutVoter(b); err != nil {
			return a, errPull
		}
		a.Leader = &v
	}
	if len(b) < 24 {
		return a, errPull
	}
	a.Index, a.SnapshotOf, a.Size, a.Bytes = be.Uint64(b), be.Uint64(b[8:]), int64(be.Uint64(b[16:])), b[24:]
	if a.Size < 0 {
		return a, errPull
	}
	return a, nil
}

// served is what may be given away, published by the loop. Never changed but
// for moved, which is closed when a newer one takes its place.
type served struct {
	term     uint64
	index    uint64 // the last that is committed and applied here
	ofTerm   uint64 // its term
	next     int64  // the offset after it
	floor    uint64
	snapshot snapshotMeta
	stopping bool
	moved    chan struct{}
}

// publishServed is called on the loop after each step.
func (n *Node) publishServed(stopping bool) {
	c := n.core
	index := max(c.applied, c.st.floor.index)
	s := &served{term: c.rn.BasicStatus().GetTerm(), index: index, next: c.st.next(index), floor: c.st.floor.index, snapshot: c.st.lastSnapshot(), stopping: stopping}
	s.ofTerm, _ = c.st.Term(index) // at or above the floor, so it is known
	old := n.served.Load()
	if old != nil && old.term == s.term && old.index == s.index && old.floor == s.floor && old.snapshot.index == s.snapshot.index && !stopping {
		return
	}
	s.moved = make(chan struct{})
	n.served.Store(s)
	if old != nil {
		close(old.moved)
	}
}

// ServePull answers an observer. It waits as long as it was asked to, and reads
// the disk on the caller's goroutine: the loop is asked for nothing but to look
// at a position once.
func (n *Node) ServePull(ctx context.Context, q PullRequest) PullAnswer {
	s := n.served.Load()
	refuse := func(format string, args ...any) PullAnswer {
		return PullAnswer{Code: PullRefused, Term: s.term, Leader: n.leaderHint(), Bytes: fmt.Appendf(nil, format, args...)}
	}
	if q.Cluster != n.cfg.Cluster {
		return refuse("node %d belongs to cluster %s, not %s", n.cfg.NodeID, n.cfg.Cluster, q.Cluster)
	}
	if !n.Membership().Self {
		return refuse("node %d does not vote, it follows itself", n.cfg.NodeID)
	}
	if q.Snapshot {
		return n.servePiece(q, s)
	}
	n.watch.fetched(q, s, time.Now())
	if q.Verify {
		if err := n.verify(ctx, q); err != nil {
			return refuse("%v", err)
		}
	}
	s = n.await(ctx, q, s)
	a := PullAnswer{Term: s.term, Leader: n.leaderHint(), Index: s.index}
	switch {
	case q.Index < s.floor:
		return n.behind(a, s)
	case q.Index >= s.index:
		a.Code = PullNothing
		return a
	}
	var err error
	if a.Bytes, err = n.readCommitted(q.At, s.next, q.MaxBytes); err != nil {
		var gone storage.ErrOffsetOutOfRange
		if errors.As(err, &gone) {
			return n.behind(a, n.served.Load())
		}
		return refuse("%v", err)
	}
	return a
}

func (n *Node) behind(a PullAnswer, s *served) PullAnswer {
	a.Code = PullNothing
	path := filepath.Join(n.cfg.Dir, s.snapshot.fileName())
	f, err := n.cfg.FS.Open(path)
	if err != nil {
		return a
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return a
	}
	a.Code, a.Index, a.SnapshotOf, a.Size = PullBehind, s.snapshot.index, s.snapshot.term, size
	return a
}

func (n *Node) servePiece(q PullRequest, s *served) PullAnswer {
	a := PullAnswer{Code: PullNothing, Term: s.term, Leader: n.leaderHint(), Index: q.Index, SnapshotOf: q.Term}
	f, err := n.cfg.FS.Open(filepath.Join(n.cfg.Dir, snapshotMeta{index: q.Index, term: q.Term}.fileName()))
	if err != nil {
		return a // another has taken its place
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil || q.At >= size {
		return a
	}
	b := make([]byte, min(int64(max(q.MaxBytes, 1)), size-q.At))
	if got, err := f.ReadAt(b, q.At); got < len(b) && err != nil {
		return a
	}
	a.Code, a.Size, a.Bytes = PullPiece, size, b
	return a
}

// await waits until there is something after q's position.
func (n *Node) await(ctx context.Context, q PullRequest, s *served) *served {
	if q.Index < s.index || q.Wait <= 0 {
		return s
	}
	t := time.NewTimer(q.Wait)
	defer t.Stop()
	term := s.term
	for q.Index >= s.index && s.term == term && !s.stopping {
		select {
		case <-s.moved:
			s = n.served.Load()
		case <-t.C:
			return s
		case <-ctx.Done():
			return s
		}
	}
	return s
}

// verify looks whether the asker's position is one of this log.
func (n *Node) verify(ctx context.Context, q PullRequest) error {
	got := make(chan error, 1)
	err := n.do(func() {
		st := n.core.st
		if q.Index < st.floor.index || q.Index > n.core.applied {
			got <- nil // a snapshot will do, or this node is the one behind
			return
		}
		if term, err := st.Term(q.Index); err != nil || term != q.Term || st.next(q.Index) != q.At {
			got <- fmt.Errorf("the log of node %d does not go with that of node %d: index %d is of term %d and ends at offset %d there, of term %d and at %d here",
				q.Node, n.cfg.NodeID, q.Index, q.Term, q.At, term, st.next(q.Index))
			return
		}
		got <- nil
	})
	if err != nil {
		return err
	}
	select {
	case err := <-got:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-n.done:
		return ErrStopped
	}
}

// readCommitted copies batches in [from, upTo) out of the log.
func (n *Node) readCommitted(from, upTo int64, most int) ([]byte, error) {
	sl, err := n.cfg.Log.Read(from, upTo, most, true)
	if err != nil {
		return nil, err
	}
	if sl.Release != nil {
		defer sl.Release()
	}
	if sl.Bytes != nil || sl.N == 0 {
		return append([]byte(nil), sl.Bytes...), nil
	}
	b := make([]byte, sl.N)
	if got, err := sl.File.ReadAt(b, sl.Off); got < len(b) && err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}

// leaderHint is told by voters only: what others were told may be stale, and
// two of them would keep it alive.
func (n *Node) leaderHint() *Voter {
	if v, ok := n.Leader(); ok && n.Membership().Self {
		return &v
	}
	return nil
}
