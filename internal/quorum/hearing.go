// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// hearing is what a leader notes of another voter, for people: Raft itself
// counts in ticks.
type hearing struct {
	last     time.Time // of a message
	caughtUp time.Time // it then had what the leader had; zero: never
	// The leader's last index when it was heard of before, and when that was: a
	// voter that has it by now was caught up then, though entries keep coming.
	before   uint64
	beforeAt time.Time
}

// hear notes a message from a voter, after Raft took it.
func (c *core) hear(m *pb.Message, now time.Time) {
	if !c.leading {
		c.heard = nil
		return
	}
	if t := m.GetType(); t != pb.MsgAppResp && t != pb.MsgHeartbeatResp {
		return
	}
	from := m.GetFrom()
	c.rn.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
		if id != from {
			return
		}
		h := c.heard[from]
		if h == nil {
			if c.heard == nil {
				c.heard = map[uint64]*hearing{}
			}
			h = &hearing{}
			c.heard[from] = h
		}
		last := c.st.lastIndex()
		switch {
		case p.Match >= last:
			h.caughtUp = now
		case !h.beforeAt.IsZero() && p.Match >= h.before:
			h.caughtUp = h.beforeAt
		}
		h.last, h.before, h.beforeAt = now, last, now
	})
}
