// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"gregor/internal/invariant"
	"gregor/internal/meta"
)

// Voters change one at a time, through the log like everything else: each
// change is an entry that names the voter it adds or removes, and holds once it
// is committed. A voter that is added has followed the log before, so that it
// can acknowledge at once.

// VoterChange is what to change.
type VoterChange struct {
	Kind  VoterChangeKind
	Voter Voter
	// Early: who asks is answered once the leader has begun, not when the change
	// is committed (AckWhenCommitted=false of KIP-1186).
	Early bool
}

// VoterChangeKind says how.
type VoterChangeKind byte

const (
	AddVoter    VoterChangeKind = 1
	RemoveVoter VoterChangeKind = 2
	// UpdateVoter gives a voter other endpoints.
	UpdateVoter VoterChangeKind = 3
)

// Refusals of a change.
var (
	ErrChangeUnderWay = errors.New("quorum: another change of voters is under way")
	ErrDuplicateVoter = errors.New("quorum: a voter of that id is among the voters already")
	ErrVoterNotFound  = errors.New("quorum: no such voter")
	ErrTooFew         = errors.New("quorum: what would be left could not elect a leader")
	ErrBadVoter       = errors.New("quorum: not a voter")
)

// changing is the change under way; there is one at most.
type changing struct {
	id   uint64
	kind pb.ConfChangeType
	done func(error)
}

// ChangeVoters makes a change and waits until it is committed, unless it is
// Early. Besides the refusals, err may be meta.ErrNotLeader and meta.ErrUnknown.
func (n *Node) ChangeVoters(ctx context.Context, ch VoterChange) error {
	patience := 2 * n.cfg.Tick * time.Duration(n.cfg.ElectionTicks)
	for began := time.Now(); ; {
		err := n.tryChange(ctx, ch, patience)
		// A leader of late has not heard of everybody yet.
		if !errors.Is(err, ErrTooFew) || time.Since(began) > patience {
			return err
		}
		t := time.NewTimer(n.cfg.Tick)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return err
		}
	}
}

func (n *Node) tryChange(ctx context.Context, ch VoterChange, patience time.Duration) error {
	got := make(chan error, 1)
	if err := n.do(func() { n.core.changeVoters(ch, time.Now().Add(-patience), func(err error) { got <- err }) }); err != nil {
		return err
	}
	select {
	case err := <-got:
		return err
	case <-ctx.Done():
		return errors.Join(meta.ErrUnknown, ctx.Err())
	case <-n.Stalled():
		return meta.ErrUnknown
	case <-n.done:
		return ErrStopped
	}
}

// changeVoters begins a change; who was not heard of since counts as gone.
func (c *core) changeVoters(ch VoterChange, since time.Time, done func(error)) {
	kind, err := c.judgeChange(ch, since)
	if err != nil {
		done(err)
		return
	}
	id := ch.Voter.RaftID()
	if kind == pb.ConfChangeRemoveNode && id == c.id {
		// Who leads afterwards removes it: a leader that stops by its own change
		// leaves others behind that do not know that it is made.
		c.handOver(time.Time{})
		done(meta.ErrNotLeader)
		return
	}
	cc := &pb.ConfChangeV2{Changes: []*pb.ConfChangeSingle{{Type: kind.Enum(), NodeId: new(id)}}, Context: appendVoter(nil, ch.Voter)}
	if err := c.rn.ProposeConfChange(cc); err != nil {
		done(fmt.Errorf("%w: %w", meta.ErrDropped, err))
		return
	}
	if ch.Early {
		done(nil)
		done = func(error) {}
	}
	c.changing = &changing{id, kind, done}
}

func (c *core) judgeChange(ch VoterChange, since time.Time) (kind pb.ConfChangeType, err error) {
	switch {
	case !c.leading:
		return 0, meta.ErrNotLeader
	case c.changing != nil:
		return 0, ErrChangeUnderWay
	}
	voters := c.members()
	m := Membership{Voters: voters}
	_, there := c.voters[ch.Voter.RaftID()]
	switch ch.Kind {
	case AddVoter:
		if old, ok := m.ByID(ch.Voter.ID); ok {
			return 0, fmt.Errorf("%w: %s", ErrDuplicateVoter, old)
		}
		if err := CheckVoters(append(voters, ch.Voter)); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrBadVoter, err)
		}
		return pb.ConfChangeAddNode, nil
	case RemoveVoter:
		if !there {
			return 0, fmt.Errorf("%w: %s", ErrVoterNotFound, ch.Voter)
		}
		// Differs from Kafka: a removal after which the living could not go on
		// is refused; Kafka carries it out, and the cluster stops.
		if alive := c.alive(ch.Voter.RaftID(), since); alive <= (len(voters)-1)/2 {
			return 0, fmt.Errorf("%w: %d of %d voters answer", ErrTooFew, alive, len(voters)-1)
		}
		return pb.ConfChangeRemoveNode, nil
	case UpdateVoter:
		if !there {
			return 0, fmt.Errorf("%w: %s", ErrVoterNotFound, ch.Voter)
		}
		for i := range voters {
			if voters[i].ID == ch.Voter.ID {
				voters[i] = ch.Voter
			}
		}
		if err := CheckVoters(voters); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrBadVoter, err)
		}
		return pb.ConfChangeUpdateNode, nil
	}
	return 0, fmt.Errorf("%w: a change of kind %d", ErrBadVoter, ch.Kind)
}

// handOver has the voter that is furthest, among those heard of since, stand for
// election; false: there is none.
func (c *core) handOver(since time.Time) bool {
	best, match := uint64(0), uint64(0)
	for id, p := range c.rn.Status().Progress {
		if id != c.id && !p.IsLearner && c.heard[id] != nil && c.heard[id].last.After(since) && (best == 0 || p.Match > match) {
			best, match = id, p.Match
		}
	}
	if best != 0 {
		c.rn.TransferLeader(best)
	}
	return best != 0
}

// alive counts the voters that were heard of since, this one included, without
// one of them.
func (c *core) alive(without uint64, since time.Time) (n int) {
	for id := range c.voters {
		if h := c.heard[id]; id != without && (id == c.id || h != nil && h.last.After(since)) {
			n++
		}
	}
	return n
}

// changed answers whoever waits for a change that was applied.
func (c *core) changed(ch *pb.ConfChangeSingle) {
	w := c.changing
	if w == nil {
		return
	}
	invariant.Holds(w.id == ch.GetNodeId() && w.kind == ch.GetType(), "change of voter %x applied, %x is under way", ch.GetNodeId(), w.id)
	c.changing = nil
	w.done(nil)
}

// abandonChange tells that nobody knows what will become of the change.
func (c *core) abandonChange() {
	if w := c.changing; w != nil {
		c.changing = nil
		w.done(meta.ErrUnknown)
	}
}
