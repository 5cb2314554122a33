// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"gregor/internal/batch"
)

// A node that does not vote is fed: what it pulled goes the way of a leader's
// message, so that there is one way into the log. Entries that were pulled are
// committed, so every leader of their term or a later one has them, and a
// message with them is one that such a leader could have sent.

// Position is up to where this node knows the log to be committed. What lies
// behind it may be taken back, where a node voted once.
type Position struct {
	Index, Term uint64
	Next        int64 // the offset after it
}

func (n *Node) publishPosition() {
	st := n.core.st
	index := max(n.core.applied, st.floor.index)
	term, _ := st.Term(index) // at or above the floor, so it is known
	p := Position{index, term, st.next(index)}
	if old := n.position.Load(); old == nil || *old != p {
		n.position.Store(&p)
	}
}

// Position is as of the last step of the loop.
func (n *Node) Position() Position { return *n.position.Load() }

// Follows tells whether this node has to pull: it does not vote, or votes and
// has heard of no leader for two election timeouts (it may have been taken out
// of the quorum meanwhile).
func (n *Node) Follows() bool {
	if !n.Membership().Self {
		return true
	}
	since := n.leaderless.Load()
	election := n.cfg.Tick * time.Duration(n.cfg.ElectionTicks)
	return since != 0 && time.Since(n.made)-time.Duration(since) > 2*election
}

// Feed takes the batches of an answer. It returns when they are in the log (or
// were refused by Raft, which the position shows), with an error when they do
// not continue it.
func (n *Node) Feed(a PullAnswer) error {
	if a.Leader != nil && a.Leader.ID != n.cfg.NodeID { // itself in an earlier life leads no more
		n.told.Store(a.Leader)
	}
	entries, err := decodePulled(a.Bytes, n.Position())
	if err != nil {
		return err
	}
	return n.through(func() error { return n.core.feed(a, entries) })
}

// decodePulled reads batches that are to follow a position.
func decodePulled(b []byte, p Position) (entries []*pb.Entry, err error) {
	for len(b) > 0 {
		v, rest, err := batch.Next(b)
		if err != nil {
			return nil, fmt.Errorf("pulled entries: %w", err)
		}
		e, err := decodeEntry(v)
		if err != nil {
			return nil, fmt.Errorf("pulled entry at offset %d: %w", v.BaseOffset(), err)
		}
		if e.GetIndex() != p.Index+1 || v.BaseOffset() != p.Next || e.GetTerm() < p.Term {
			return nil, fmt.Errorf("pulled entry %d at offset %d of term %d does not follow entry %d, which ends at %d and is of term %d",
				e.GetIndex(), v.BaseOffset(), e.GetTerm(), p.Index, p.Next, p.Term)
		}
		p = Position{e.GetIndex(), e.GetTerm(), v.NextOffset()}
		entries = append(entries, e)
		b = rest
	}
	return entries, nil
}

// FeedSnapshot takes a snapshot that was pulled.
func (n *Node) FeedSnapshot(a PullAnswer, data []byte) error {
	return n.through(func() error { return n.core.feedSnapshot(a.Term, data) })
}

// through has f done on the loop, with what follows from it, and waits.
func (n *Node) through(f func() error) error {
	got := make(chan error, 1)
	err := n.do(func() {
		err := f()
		n.after = append(n.after, func() { got <- err })
	})
	if err != nil {
		return err
	}
	select {
	case err := <-got:
		return err
	case <-n.done:
		return ErrStopped
	}
}

// feed steps a message as a leader would have sent it. The source may be in an
// earlier term than this node, which once stood for election in vain: leaders
// of later terms have what was committed in earlier ones.
func (c *core) feed(a PullAnswer, entries []*pb.Entry) error {
	from := c.id ^ 1 // some node: who leads is not known
	if a.Leader != nil && a.Leader.RaftID() != c.id {
		from = a.Leader.RaftID()
	}
	if len(entries) > 0 {
		before := entries[0].GetIndex() - 1
		term, err := c.st.Term(before)
		if err != nil {
			return err
		}
		_ = c.rn.Step(&pb.Message{ // Raft's refusals show in the position
			Type: pb.MsgApp.Enum(), From: new(from), To: new(c.id), Term: new(max(a.Term, c.rn.BasicStatus().GetTerm())),
			Index: new(before), LogTerm: new(term), Entries: entries, Commit: new(entries[len(entries)-1].GetIndex()),
		})
	}
	if !c.leading && !c.follower {
		c.announce, c.follower = false, true
		c.hooks.following()
	}
	return nil
}

// feedSnapshot installs a pulled snapshot. Raft refuses one that does not name
// this node, so such a one is put in the place of everything, and Raft's part
// begins anew after it.
func (c *core) feedSnapshot(term uint64, data []byte) error {
	m, _, err := decodeSnapshot("pulled snapshot", data)
	if err != nil {
		return err
	}
	if m.index <= c.applied {
		return nil // it came here by itself meanwhile
	}
	if t, err := c.st.Term(m.index); err == nil && t == m.term {
		// The log has it all, only not known to be committed.
		_ = c.rn.Step(&pb.Message{Type: pb.MsgApp.Enum(), From: new(c.id ^ 1), To: new(c.id), Term: new(max(term, c.rn.BasicStatus().GetTerm())),
			Index: new(m.index), LogTerm: new(m.term), Commit: new(m.index)})
		return nil
	}
	p := &pb.Snapshot{Data: data, Metadata: &pb.SnapshotMetadata{ConfState: m.conf, Index: new(m.index), Term: new(m.term)}}
	h := c.st.state.hard
	if c.rn.BasicStatus().RaftState == raft.StateLeader {
		return errors.New("a snapshot is not for a leader")
	}
	if t := max(term, m.term); t > h.term {
		if err := c.st.state.save(t, 0, h.commit); err != nil {
			return err
		}
	}
	if err := c.install(p); err != nil {
		return err
	}
	return c.startRaft()
}
