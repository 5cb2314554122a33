// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"slices"

	"go.etcd.io/raft/v3"
)

// haste is how a follower stands for election ahead of Raft's clock, when it is
// known for sure that the leader's process is gone (ADR 0210). It forgets the
// leader, so that it says yes to others who ask whether an election may be, and
// asks them itself when its turn comes: at the next two ticks the first of those
// who are left, in the order of their ids, at the two after them the second, and
// so on, so that no two stand at once. (The second tick is for others that had
// not noticed at the first.) Who has no luck, because others know more, asks
// again in the next rounds; then Raft's own clock is left to find a leader.
//
//	tick     1     2     3     4     5     6     7
//	first    asks  asks              asks  asks
//	second               asks  asks              asks
//
// It ends when a leader is known or a term begins. All it hurries is the
// question: an election is won by the same votes as ever.
//
// Pure; owned by core.
type haste struct {
	term  uint64
	age   int // in ticks
	turn  int
	round int // ticks in it; 0: there is no haste
}

const (
	hasteTurn   = 2 // ticks
	hasteRounds = 3
)

// hasten begins: own stands for election against the others, without gone.
func hasten(term, own, gone uint64, voters []uint64) haste {
	left := slices.DeleteFunc(slices.Clone(voters), func(v uint64) bool { return v == gone })
	slices.Sort(left)
	turn, votes := slices.BinarySearch(left, own)
	if !votes {
		return haste{}
	}
	return haste{term: term, turn: turn, round: hasteTurn * len(left)}
}

// tick tells whether to ask now.
func (h *haste) tick(term, leader uint64) bool {
	if h.round == 0 {
		return false
	}
	if leader != raft.None || term != h.term || h.age == hasteRounds*h.round {
		*h = haste{}
		return false
	}
	now := h.age % h.round / hasteTurn
	h.age++
	return now == h.turn
}

// tick lets a tick of the clock pass.
func (c *core) tick() {
	c.rn.Tick()
	st := c.rn.BasicStatus()
	if c.haste.tick(st.GetTerm(), st.Lead) && st.RaftState != raft.StateCandidate {
		_ = c.rn.Campaign() // Raft refuses it to whoever must not stand
	}
}

// gone is told that the process of a voter is gone for sure. It matters if that
// one leads.
func (c *core) gone(voter uint64) {
	st := c.rn.BasicStatus()
	if st.Lead != voter || voter == c.id || st.RaftState != raft.StateFollower {
		return
	}
	if err := c.rn.ForgetLeader(); err != nil {
		return
	}
	c.haste = hasten(st.GetTerm(), c.id, voter, c.conf.GetVoters())
	c.hooks.gone(voter)
}

// Leads tells whether a voter leads, as far as this node knows; it never waits.
func (n *Node) Leads(voter uint64) bool { return n.status.Load().Leader == voter }

// Gone tells for sure that the process of a voter is gone: its host answers, and
// refuses connections. If it led, another leader is elected at once. Silence,
// and connections that ended, must not be told here.
func (n *Node) Gone(voter uint64) error {
	return n.do(func() { n.core.gone(voter) })
}

func (n *Node) leaderGone(id uint64) {
	if n.cfg.Events.Gone != nil {
		n.cfg.Events.Gone(n.core.voters[id])
	}
}
