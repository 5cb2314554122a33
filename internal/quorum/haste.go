// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"slices"

	"go.etcd.io/raft/v3"
)

// haste is how a follower stands for election ahead of Raft's clock, when it is
// known for sure that the leader's process is gone (ADR 0210). It forgets the
// leader, so that it says yes to others who ask whether an election may be, and
// asks them itself when its turn comes: at the next tick the first of those who
// are left, in the order of their ids, two ticks later the second, and so on, so
// that no two stand at once. Who has no luck (others have not noticed yet, or
// know more) asks again, some times; then Raft's own clock is left to find a
// leader.
//
//	tick     1     2     3     4     5     6     7
//	first    asks                    asks
//	second               asks                    asks
//
// It ends when a leader is known or a term begins. All it hurries is the
// question: an election is won by the same votes as ever.
//
// Pure; owned by core.
type haste struct {
	term  uint64
	tries int // left; 0: there is no haste
	wait  int // ticks until the next
	every int // ticks from one to the next
}

const (
	hasteTries = 3
	hasteApart = 2 // ticks between two voters' turns
)

// hasten begins: own stands for election against the others, without gone.
func hasten(term, own, gone uint64, voters []uint64) haste {
	left := slices.DeleteFunc(slices.Clone(voters), func(v uint64) bool { return v == gone })
	slices.Sort(left)
	turn, votes := slices.BinarySearch(left, own)
	if !votes {
		return haste{}
	}
	return haste{term: term, tries: hasteTries, wait: 1 + hasteApart*turn, every: hasteApart * len(left)}
}

// tick tells whether to ask now.
func (h *haste) tick(term, leader uint64) bool {
	if h.tries == 0 {
		return false
	}
	if leader != raft.None || term != h.term {
		*h = haste{}
		return false
	}
	if h.wait--; h.wait > 0 {
		return false
	}
	h.tries--
	h.wait = h.every
	return true
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
}

// Leads tells whether a voter leads, as far as this node knows; it never waits.
func (n *Node) Leads(voter uint64) bool { return n.status.Load().Leader == voter }

// Gone tells for sure that the process of a voter is gone: its host answers, and
// refuses connections. If it led, another leader is elected at once. Silence,
// and connections that ended, must not be told here.
func (n *Node) Gone(voter uint64) error {
	return n.do(func() { n.core.gone(voter) })
}
